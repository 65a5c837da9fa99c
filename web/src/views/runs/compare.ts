// Two runs, task by task.

import { compared, type Task } from '../shared/tasks';

export type Change = 'newly failed' | 'newly passed' | 'other' | 'other score' | 'same' | 'only in A' | 'only in B';

export interface Pair {
  id: string;
  /** Which time this id came in its run, from 1 on. */
  time: number;
  a: Task | null;
  b: Task | null;
  change: Change;
  /** B's minus A's; null where either has none. */
  score: number | null;
  duration: number | null;
}

/** Pairs tasks by their id; those that came several times in a run, in the order in which they closed. */
export function pairs(a: readonly Task[], b: readonly Task[]): Pair[] {
  const ofA = numbered(a);
  const ofB = numbered(b);
  return [...new Set([...ofA.keys(), ...ofB.keys()])].map((name) => {
    const left = ofA.get(name);
    const right = ofB.get(name);
    const [at, bt] = [left?.task ?? null, right?.task ?? null];
    return {
      id: (at ?? bt)?.id ?? '',
      time: left?.time ?? right?.time ?? 1,
      a: at,
      b: bt,
      change: changeOf(at, bt),
      score: less(bt?.score, at?.score),
      duration: less(bt?.duration, at?.duration),
    };
  });
}

function numbered(tasks: readonly Task[]): Map<string, { task: Task; time: number }> {
  const times = new Map<string, number>();
  const named = new Map<string, { task: Task; time: number }>();
  for (const task of tasks) {
    const time = (times.get(task.id) ?? 0) + 1;
    times.set(task.id, time);
    named.set(`${time} ${task.id}`, { task, time });
  }
  return named;
}

function changeOf(a: Task | null, b: Task | null): Change {
  if (a === null) return 'only in B';
  if (b === null) return 'only in A';
  if (a.success === b.success) return a.score === b.score ? 'same' : 'other score';
  if (b.success === true) return 'newly passed';
  return b.success === false ? 'newly failed' : 'other';
}

function less(b: number | null | undefined, a: number | null | undefined): number | null {
  return typeof a === 'number' && typeof b === 'number' ? b - a : null;
}

/** What a reader looks for first comes first. */
export const CHANGES: readonly Change[] = ['newly failed', 'newly passed', 'other', 'other score', 'only in A', 'only in B', 'same'];

export type Column = 'id' | 'change' | 'score' | 'duration';

export function sortedPairs(list: readonly Pair[], by: Column, down: boolean): Pair[] {
  const value: Record<Column, (pair: Pair) => number | string | null> = {
    id: (pair) => pair.id,
    change: (pair) => CHANGES.indexOf(pair.change),
    score: (pair) => pair.score,
    duration: (pair) => pair.duration,
  };
  const of = value[by];
  return [...list].sort((x, y) => compared(of(x), of(y), down) || compared(x.id, y.id, false) || x.time - y.time);
}

export function tally(list: readonly Pair[]): Record<Change, number> {
  const counts = Object.fromEntries(CHANGES.map((change) => [change, 0])) as Record<Change, number>;
  for (const pair of list) counts[pair.change] += 1;
  return counts;
}
