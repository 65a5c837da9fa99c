// What the plots draw: columns of numbers over the tasks in the order in which they closed.

import type { Task } from '../views/shared/tasks';

/** Points drawn, the latest. */
export const MAX_POINTS = 2000;
/** Tasks that the running mean of scores looks back over. */
export const WINDOW = 10;

export type Column = (number | null)[];

export interface Series {
  /** 1, 2, 3…: the place of the task in the run. */
  x: number[];
  score: Column;
  /** The mean of the last `WINDOW` scores. */
  mean: Column;
  duration: Column;
}

/** `before`: tasks of the run that closed earlier and are not among `tasks`. */
export function series(tasks: readonly Task[], before = 0): Series {
  const ordered = [...tasks].sort((a, b) => a.at - b.at || (a.number ?? 0) - (b.number ?? 0));
  const first = Math.max(0, ordered.length - MAX_POINTS);
  const shown = ordered.slice(first);
  const recent: number[] = [];
  const mean: Column = [];
  for (const task of shown) {
    if (task.score !== null) recent.push(task.score);
    if (recent.length > WINDOW) recent.shift();
    mean.push(recent.length === 0 ? null : recent.reduce((sum, score) => sum + score, 0) / recent.length);
  }
  return {
    x: shown.map((_, i) => before + first + i + 1),
    score: shown.map((task) => task.score),
    mean,
    duration: shown.map((task) => task.duration),
  };
}

type Range = [number, number];

/** Of scores: from 0 to 1, and wider where a score is; with room for the points at its ends. */
export function scoreRange(least: number | null, most: number | null): Range {
  const [low, high] = [Math.min(0, least ?? 0), Math.max(1, most ?? 1)];
  const room = (high - low) / 20;
  return [low - room, high + room];
}

/** Of tasks: one alone stands in the middle. */
export function taskRange(first: number | null, last: number | null): Range {
  const [from, to] = [first ?? 0, last ?? 1];
  return from === to ? [from - 1, to + 1] : [from, to];
}

/** The same in words, for who does not see the plot. */
export function inWords({ score, duration }: Series): string {
  const known = (column: Column) => column.filter((value) => value !== null);
  const scores = known(score);
  const durations = known(duration);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const of = [
    scores.length > 0 ? `${scores.length} scores, ${mean(scores).toFixed(2)} on average` : 'no scores',
    durations.length > 0
      ? `${durations.length} durations from ${Math.min(...durations).toFixed(0)} to ${Math.max(...durations).toFixed(0)} seconds`
      : 'no durations',
  ];
  return of.join('; ');
}
