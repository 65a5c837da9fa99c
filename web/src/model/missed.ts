// What came in while the page heard nothing, from the first word after it until the gateway has told all of it. Pure.

import { isOpen, reduce, type Fleet, type Run } from './fleet';
import type { StreamEvent } from './types';

/** Names that are told; how many there are beyond is told too. */
const NAMES = 3;

export interface Gap {
  /** What was known before. */
  known: Fleet;
  /** Completions. */
  results: number;
  /** VMs whose run ended, and those that stopped answering. */
  ended: readonly string[];
  died: readonly string[];
  /** The gateway could not go on from where the page was. */
  anew: boolean;
  /** All of it was told. */
  over: boolean;
}

export function gapAfter(known: Fleet): Gap {
  return { known, results: 0, ended: [], died: [], anew: false, over: false };
}

/**
 * Whether all that was missed was told before `event`: the durable events come first, each with its id; what is so now comes
 * behind them, and only its last frame has an id. What says nothing of a VM says it at the latest.
 */
function endsReplay(event: StreamEvent): boolean {
  if (event.name === 'heartbeat' || event.name === 'progress') return true;
  return (event.name === 'status' || event.name === 'error') && !event.id;
}

/** The gap after `events`, which came when `fleet` was known. */
export function heardIn(gap: Gap, fleet: Fleet, events: readonly StreamEvent[]): Gap {
  if (gap.over) return gap;
  const end = events.findIndex(endsReplay);
  const told = end < 0 ? events : events.slice(0, end);
  const reset = told.findLastIndex((event) => event.name === 'reset');
  const before = reset < 0 ? fleet.completions : 0;
  const results = gap.results + reduce(fleet, told).completions - before;
  const anew = gap.anew || reset >= 0;
  if (end < 0) return { ...gap, results, anew };
  // With the state of each VM, which stands behind what was missed.
  const now = reduce(fleet, events);
  return { known: gap.known, results, anew, over: true, ended: ended(gap.known, now), died: died(gap.known, now) };
}

function ended(known: Fleet, now: Fleet): string[] {
  return names(known, now, (name) => {
    const before = known.vms.get(name)?.runs ?? [];
    const wasOver = (run: Run) => before.some((other) => other.run === run.run && !isOpen(other));
    return (now.vms.get(name)?.runs ?? []).some((run) => !isOpen(run) && !run.historic && !wasOver(run));
  });
}

/** Also those that answer again. */
function died(known: Fleet, now: Fleet): string[] {
  return names(known, now, (name) => {
    const seen = known.vms.get(name)?.stages ?? [];
    const since = seen.at(-1)?.at ?? -Infinity;
    const fresh = (now.vms.get(name)?.stages ?? []).filter((change) => change.at > since);
    return seen.at(-1)?.stage !== 'unreachable' && fresh.some((change) => change.stage === 'unreachable');
  });
}

/** Of VMs that were known before. */
function names(known: Fleet, now: Fleet, wanted: (name: string) => boolean): string[] {
  return [...now.vms.keys()].filter((name) => known.vms.has(name) && wanted(name)).sort();
}

/** `a`, `a and b`, `a, b, c and 4 more`. */
export function listed(all: readonly string[]): string {
  const shown = all.slice(0, NAMES);
  const rest = all.length - shown.length;
  const last = rest > 0 ? `${rest} more` : shown.pop();
  return shown.length === 0 ? (last ?? '') : `${shown.join(', ')} and ${last}`;
}

/** In words; nothing before all of it was told, so that a screen reader is told it once. */
export function gapInWords({ over, anew, results, ended, died }: Gap): string {
  if (!over) return 'What came in meanwhile is being read.';
  const count = results === 0 ? 'No result' : results === 1 ? '1 result' : `${results} results`;
  const came = anew ? '' : `${count} came in meanwhile${results === 0 ? '' : ' and stand here now'}.`;
  const over_ = ended.length === 0 ? '' : `A run is over on ${listed(ended)}.`;
  const dead = died.length === 0 ? '' : `${listed(died)} stopped answering.`;
  return [came, over_, dead].filter((part) => part !== '').join(' ');
}
