// What the page says about a VM beyond what the events say: pure, with the time as an argument.

import { isOpen, type Run, type Vm } from './fleet';
import type { Seconds, Stage, TaskComplete } from './types';

/** The stages of the boot in their order; the timeline of a card. */
export const TIMELINE: readonly Stage[] = [
  'off',
  'starting',
  'downloading',
  'extracting',
  'configuring',
  'building',
  'booting',
  'oobe',
  'ready',
  'running',
  'complete',
];

/** What people read of a stage. */
export const STAGE_WORDS: Record<Stage, string> = {
  off: 'off',
  starting: 'starting',
  downloading: 'downloading',
  extracting: 'extracting',
  configuring: 'configuring',
  building: 'building',
  booting: 'booting',
  oobe: 'first boot',
  ready: 'ready',
  running: 'running',
  complete: 'complete',
  unreachable: 'unreachable',
  removed: 'removed',
};

/** Tasks that must be done before an end is foretold. */
export const TASKS_FOR_ETA = 3;
/** The latest tasks that an end is foretold from. */
const TASKS_OF_ETA = 10;

/** The run to show: the latest that goes on, else the latest. */
export function currentRun(vm: Vm): Run | undefined {
  return vm.runs.findLast(isOpen) ?? vm.runs.at(-1);
}

export interface Counts {
  done: number;
  /** Null while it is not known. */
  total: number | null;
  passed: number;
  failed: number;
  unknown: number;
}

/** How far a run is. Of progress and completions, whichever tells more: a completion comes at once, progress at intervals. */
export function counts(run: Run): Counts {
  const said = run.ended ?? run.progress;
  const total = run.progress?.total_tasks || run.totalTasks || null;
  if (said && said.completed >= run.tasks.length) {
    const { completed: done, passed, failed, unknown } = said;
    return { done, total, passed, failed, unknown };
  }
  const passed = run.tasks.filter((task) => task.success === true).length;
  const failed = run.tasks.filter((task) => task.success === false).length;
  const done = run.tasks.length;
  return { done, total, passed, failed, unknown: done - passed - failed };
}

/** Passed of those whose result is known, 0 to 1; null before there is one. */
export function passRate({ passed, failed }: { passed: number; failed: number }): number | null {
  return passed + failed === 0 ? null : passed / (passed + failed);
}

/**
 * When the run will be over, going by its latest tasks; null where nothing honest can be said: too few tasks, no total, or
 * a task that takes far longer than those before.
 */
export function eta(run: Run, now: Seconds): Seconds | null {
  const { done, total } = counts(run);
  if (!isOpen(run) || total === null || done >= total) return null;
  const latest = run.tasks.filter((task) => !task.historic && task.duration !== null).slice(-TASKS_OF_ETA);
  const last = latest.at(-1);
  if (latest.length < TASKS_FOR_ETA || !last) return null;
  // From one end to the next, so that pauses between tasks and several workers are counted in.
  const first = latest[0] as TaskComplete;
  const between = (last.timestamp - first.timestamp) / (latest.length - 1);
  const mean = between > 0 ? between : average(latest.map((task) => task.duration ?? 0));
  const since = Math.max(0, now - last.timestamp);
  if (mean <= 0 || since > 5 * mean) return null;
  return Math.max(now, last.timestamp + mean * (total - done));
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The mean score of the tasks that have one; null where none has. */
export function meanScore(tasks: readonly { score: number | null }[]): number | null {
  const scores = tasks.flatMap(({ score }) => (score === null ? [] : [score]));
  return scores.length === 0 ? null : average(scores);
}

/** How a VM fares, the gravest first: what a person across the room must see. */
export type Health = 'broken' | 'doubtful' | 'busy' | 'well' | 'idle';
export const HEALTHS: readonly Health[] = ['broken', 'doubtful', 'busy', 'well', 'idle'];

export function health(vm: Vm): Health {
  const status = vm.status;
  if (!status) return 'doubtful';
  if (status.stage === 'unreachable') return 'broken';
  if (Object.keys(vm.errors).length > 0) return 'broken';
  if (status.stale) return 'doubtful';
  if (status.stage === 'off') return 'idle';
  return status.stage === 'ready' || status.stage === 'running' || status.stage === 'complete' ? 'well' : 'busy';
}

export type SortBy = 'name' | 'stage' | 'trouble';

export interface Filter {
  text: string;
  sort: SortBy;
  only: 'all' | 'trouble' | 'running';
}

/** The VMs to show, in their order. */
export function chosen(vms: readonly Vm[], { text, sort, only }: Filter): Vm[] {
  const wanted = text.trim().toLowerCase();
  const matches = (vm: Vm) =>
    wanted === '' ||
    vm.name.toLowerCase().includes(wanted) ||
    (vm.status?.stage ?? '').includes(wanted) ||
    (vm.status ? String(STAGE_WORDS[vm.status.stage]) : '').includes(wanted) ||
    (currentRun(vm)?.progress?.current_task ?? '').toLowerCase().includes(wanted);
  const kept = vms.filter((vm) => {
    if (only === 'trouble' && !['broken', 'doubtful'].includes(health(vm))) return false;
    return (only !== 'running' || vm.status?.stage === 'running') && matches(vm);
  });
  const rank: Record<SortBy, (vm: Vm) => number> = {
    name: () => 0,
    stage: (vm) => -TIMELINE.indexOf(vm.status?.stage ?? 'off'),
    trouble: (vm) => HEALTHS.indexOf(health(vm)),
  };
  return kept.sort((a, b) => rank[sort](a) - rank[sort](b) || byName(a.name, b.name));
}

const collator = new Intl.Collator('en', { numeric: true });

/** `vm-2` before `vm-10`. */
export function byName(a: string, b: string): number {
  return collator.compare(a, b);
}

/** What the title and the icon of the page say. */
export interface Summary {
  running: number;
  broken: number;
  vms: number;
}

export function summary(vms: readonly Vm[]): Summary {
  return {
    running: vms.filter((vm) => vm.status?.stage === 'running').length,
    broken: vms.filter((vm) => health(vm) === 'broken').length,
    vms: vms.length,
  };
}
