// What the page knows of the fleet, made of events alone: (state, events) -> state. Nothing here looks at a clock.

import type { Progress, RunComplete, Seconds, Stage, Status, StreamEvent, TaskComplete, Trouble } from './types';

/** Runs kept of one VM; older ones are in the history. */
export const MAX_RUNS = 8;
/** Completions kept of one run, the latest. */
export const MAX_TASKS = 5000;
/** Changes of stage kept of one VM, the latest. */
export const MAX_STAGES = 200;
/** VMs kept; what comes beyond is counted and not shown. */
export const MAX_VMS = 2000;

export interface StageChange {
  stage: Stage;
  /** Null where it is not known: what this page saw first. */
  from: Stage | null;
  at: Seconds;
}

export interface Run {
  run: string;
  source: string;
  startedAt: Seconds | null;
  totalTasks: number | null;
  historic: boolean;
  progress: Progress | null;
  ended: RunComplete | null;
  tasks: readonly TaskComplete[];
  keys: ReadonlySet<string>;
}

export interface Vm {
  name: string;
  status: Status | null;
  stages: readonly StageChange[];
  /** In the order in which they were first seen. */
  runs: readonly Run[];
  /** In force, by code. */
  errors: Readonly<Record<string, Trouble>>;
}

export interface Fleet {
  vms: ReadonlyMap<string, Vm>;
  /** VMs for which there was no room. */
  beyond: number;
  /** Completions that came, each once, since the page or the last reset began. */
  completions: number;
  /** What is wrong with the stream itself. */
  trouble: Trouble | null;
}

export const EMPTY: Fleet = { vms: new Map(), beyond: 0, completions: 0, trouble: null };

interface Draft {
  vms: Map<string, Vm>;
  beyond: number;
  completions: number;
  trouble: Trouble | null;
  /** What was copied already for this batch and may be written to. */
  own: Set<object>;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** The state after `events`; the same object if nothing came of them. Each VM and run is copied once, whatever befalls it. */
export function reduce(state: Fleet, events: readonly StreamEvent[]): Fleet {
  if (events.length === 0) return state;
  const draft: Draft = { ...state, vms: new Map(state.vms), own: new Set() };
  for (const event of events) apply(draft, event);
  const { own: _, ...fleet } = draft;
  return fleet;
}

function apply(draft: Draft, event: StreamEvent): void {
  switch (event.name) {
    case 'connected':
      draft.trouble = null;
      break;
    case 'reset':
      Object.assign(draft, { ...EMPTY, vms: new Map() });
      break;
    case 'status':
      status(draft, event.data);
      break;
    case 'progress': {
      const run = ofRun(draft, event.data.vm, event.data.run, event.data.source);
      if (run) {
        run.progress = event.data;
        run.startedAt ??= event.data.started_at;
        run.historic = event.data.historic;
      }
      break;
    }
    case 'run_started': {
      const run = ofRun(draft, event.data.vm, event.data.run, event.data.source);
      if (run) {
        run.startedAt = event.data.timestamp;
        run.totalTasks = event.data.total_tasks;
        run.historic = event.data.historic;
      }
      break;
    }
    case 'run_complete': {
      const run = ofRun(draft, event.data.vm, event.data.run, event.data.source);
      if (run) run.ended = event.data;
      break;
    }
    case 'task_complete':
      completion(draft, event.data);
      break;
    case 'error':
      trouble(draft, event.data);
      break;
    case 'heartbeat':
      break;
  }
}

function status(draft: Draft, data: Status): void {
  if (data.stage === 'removed') {
    draft.vms.delete(data.vm);
    return;
  }
  const vm = ofVm(draft, data.vm);
  if (!vm) return;
  const last = vm.stages.at(-1);
  if (last?.stage !== data.stage) {
    const from = data.from ?? last?.stage ?? null;
    const change = { stage: data.stage, from, at: data.stage_since ?? data.timestamp };
    vm.stages = [...vm.stages, change].slice(-MAX_STAGES);
  }
  // What a durable event tells of may be older than the live one that is shown.
  if (!vm.status || data.timestamp >= vm.status.timestamp) vm.status = data;
}

function completion(draft: Draft, data: TaskComplete): void {
  const run = ofRun(draft, data.vm, data.run, '');
  if (!run || run.keys.has(data.key)) return;
  // Both are this batch's own copies, see `ofRun`.
  (run.tasks as TaskComplete[]).push(data);
  (run.keys as Set<string>).add(data.key);
  draft.completions += 1;
  if (run.tasks.length > MAX_TASKS) {
    const gone = (run.tasks as TaskComplete[]).shift();
    if (gone) (run.keys as Set<string>).delete(gone.key);
  }
}

function trouble(draft: Draft, data: Trouble): void {
  if (!data.vm) {
    draft.trouble = data.resolved ? null : data;
    return;
  }
  const vm = ofVm(draft, data.vm);
  if (!vm) return;
  const { [data.code]: _, ...others } = vm.errors;
  vm.errors = data.resolved ? others : { ...others, [data.code]: data };
}

/** This batch's own copy of a VM; undefined if there is no room for one more. */
function ofVm(draft: Draft, name: string): Writable<Vm> | undefined {
  const known = draft.vms.get(name);
  if (known && draft.own.has(known)) return known;
  if (!known && draft.vms.size >= MAX_VMS) {
    draft.beyond += 1;
    return undefined;
  }
  const vm: Vm = known ? { ...known } : { name, status: null, stages: [], runs: [], errors: {} };
  draft.vms.set(name, vm);
  draft.own.add(vm);
  return vm;
}

/** This batch's own copy of a run. */
function ofRun(draft: Draft, name: string, id: string, source: string): Writable<Run> | undefined {
  const vm = ofVm(draft, name);
  if (!vm) return undefined;
  const at = vm.runs.findIndex((run) => run.run === id);
  const known = vm.runs[at];
  if (known && draft.own.has(known)) {
    if (source) (known as Writable<Run>).source = source;
    return known;
  }
  const run: Run = known
    ? { ...known, source: source || known.source, tasks: [...known.tasks], keys: new Set(known.keys) }
    : {
        run: id,
        source,
        startedAt: null,
        totalTasks: null,
        historic: false,
        progress: null,
        ended: null,
        tasks: [],
        keys: new Set(),
      };
  draft.own.add(run);
  vm.runs = known ? vm.runs.map((other, i) => (i === at ? run : other)) : bounded([...vm.runs, run]);
  return run;
}

/** Without the oldest run that is over, else the oldest, if there are too many. */
function bounded(runs: Run[]): Run[] {
  if (runs.length <= MAX_RUNS) return runs;
  const over = runs.findIndex((run) => !isOpen(run));
  runs.splice(over < 0 ? 0 : over, 1);
  return runs;
}

/** Whether the run goes on, as far as the events say. */
export function isOpen(run: Run): boolean {
  return run.ended === null && run.progress?.open !== false;
}
