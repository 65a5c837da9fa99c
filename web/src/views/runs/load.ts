// A whole run out of the history, page by page.

import { useEffect, useState } from 'preact/hooks';

import type { RunRow, TaskRow } from '../../model/types';
import { ask, kept, refusal, type Asked } from '../../ui/fetch';
import { ofRow, type Task } from '../shared/tasks';

/** Pages of 1,000 tasks that are read of one run; longer ones are for the export. */
export const MAX_PAGES = 10;

export interface WholeRun {
  run: RunRow;
  tasks: Task[];
  /** There are more tasks than were read. */
  cut: boolean;
}

interface Answer {
  run: RunRow;
  tasks: TaskRow[];
  next: string | null;
}

export async function wholeRun(run: string, signal: AbortSignal): Promise<WholeRun> {
  const tasks: Task[] = [];
  let next: string | null = null;
  let row: RunRow | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const cursor: string = next === null ? '' : `&cursor=${encodeURIComponent(next)}`;
    const answer: Answer = await ask<Answer>(`/api/runs/${encodeURIComponent(run)}?limit=1000${cursor}`, { signal });
    row = answer.run;
    tasks.push(...answer.tasks.map(ofRow));
    next = answer.next;
    if (next === null) break;
  }
  if (!row) throw new Error('no page was read');
  return { run: row, tasks, cut: next !== null };
}

/** Asked again when `again` changes, as when a task of it was over. */
export function useWholeRun(run: string, again: unknown = null): Asked<WholeRun> {
  const [asked, setAsked] = useState<Asked<WholeRun>>({ state: 'loading' });
  useEffect(() => {
    const abort = new AbortController();
    wholeRun(run, abort.signal).then(
      (value) => setAsked({ state: 'there', value }),
      (error: unknown) => {
        if (!abort.signal.aborted) setAsked((before) => kept(before, refusal(error)));
      },
    );
    return () => abort.abort();
  }, [run, again]);
  return asked;
}
