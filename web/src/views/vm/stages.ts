// Where a VM has been.

import type { StageChange } from '../../model/fleet';
import type { Seconds, Stage } from '../../model/types';

/** A stage and since when. */
export interface Reached {
  stage: Stage;
  since: Seconds;
}

/** What the gateway remembers from before `stages`, which this page saw, and those. */
export function wholeHistory(told: readonly Reached[], stages: readonly StageChange[]): Reached[] {
  const first = stages[0];
  const seen = stages.map(({ stage, at }) => ({ stage, since: at }));
  return [...told.filter((one) => first === undefined || one.since < first.at), ...seen];
}
