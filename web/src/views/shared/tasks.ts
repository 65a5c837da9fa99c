// Tasks of a run as a table shows them: from the stream or from the history, searched and sorted.

import { byName } from '../../model/derive';
import type { TaskComplete, TaskRow } from '../../model/types';
import { resultWord } from '../../ui/format';

/** A task that is over, wherever it was heard of. */
export interface Task {
  key: string;
  id: string;
  number: number | null;
  success: boolean | null;
  score: number | null;
  steps: number | null;
  /** Seconds. */
  duration: number | null;
  /** When the gateway heard of it, seconds since the epoch. */
  at: number;
  worker: string | null;
}

export function ofEvent(event: TaskComplete): Task {
  return { ...common(event), at: event.timestamp };
}

export function ofRow(row: TaskRow): Task {
  return { ...common(row), at: row.closed_at };
}

function common(from: TaskComplete | TaskRow): Omit<Task, 'at'> {
  const { key, task_id: id, number, success, score, steps, duration, worker } = from;
  return { key, id, number, success, score, steps, duration, worker };
}

export type Column = 'number' | 'id' | 'result' | 'score' | 'steps' | 'duration';

/** Those whose id or result has `text` in it. */
export function found(tasks: readonly Task[], text: string): Task[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return [...tasks];
  return tasks.filter((task) => task.id.toLowerCase().includes(wanted) || resultWord(task.success).includes(wanted));
}

const RESULTS = ['failed', 'unknown', 'passed'];

/** In order; what is not known comes last either way, and of equals the one that closed first comes first. */
export function sorted(tasks: readonly Task[], by: Column, down: boolean): Task[] {
  const value: Record<Column, (task: Task) => number | string | null> = {
    number: (task) => task.number,
    id: (task) => task.id,
    result: (task) => RESULTS.indexOf(resultWord(task.success)),
    score: (task) => task.score,
    steps: (task) => task.steps,
    duration: (task) => task.duration,
  };
  const of = value[by];
  return [...tasks].sort((a, b) => compared(of(a), of(b), down));
}

/** For `sort`: nulls last, whichever way it goes. */
export function compared(a: number | string | null, b: number | string | null, down: boolean): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order = typeof a === 'string' && typeof b === 'string' ? byName(a, b) : Number(a) - Number(b);
  return down ? -order : order;
}

/** Formulas begin so in spreadsheets. */
const FORMULA = /^[=+\-@\t\r]/;

function field(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const safe = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** RFC 4180, as the gateway's own export has it, of the rows that are shown. Names are as the log has them, unseen characters too: it is data. */
export function csv(run: string, vm: string, tasks: readonly Task[]): string {
  const head = ['run', 'vm', 'number', 'task_id', 'result', 'score', 'steps', 'duration', 'closed_at', 'key'];
  const rows = tasks.map((task) => [
    run,
    vm,
    task.number,
    task.id,
    resultWord(task.success),
    task.score,
    task.steps,
    task.duration,
    new Date(task.at * 1000).toISOString(),
    task.key,
  ]);
  return [head, ...rows].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}
