// Events and states for tests, each with only what the test is about.

import { EMPTY, reduce, type Fleet } from './fleet';
import type { Progress, Status, StreamEvent, TaskComplete } from './types';

export function status(vm: string, more: Partial<Status> = {}): StreamEvent {
  const data: Status = {
    vm,
    stage: 'ready',
    stage_since: 100,
    reachable: true,
    stale: false,
    connected: true,
    waa_ready: true,
    probe: null,
    percent: 100,
    download_seconds_left: null,
    power: null,
    container: null,
    setup_script: null,
    dependencies: [],
    process: null,
    storage: null,
    memory: null,
    qemu_monitor: null,
    clock_skew: null,
    errors: 0,
    reported_at: 100,
    answered_at: 100,
    timestamp: 100,
    ...more,
  };
  return { name: 'status', data };
}

export function done(vm: string, run: string, n: number, more: Partial<TaskComplete> = {}): StreamEvent {
  const data: TaskComplete = {
    vm,
    run,
    key: `${run}-${n}`,
    task_id: `task_${n}`,
    number: n,
    worker: null,
    success: true,
    score: 1,
    steps: 5,
    duration: 60,
    historic: false,
    log_time: null,
    timestamp: 1000 + 60 * n,
    ...more,
  };
  return { name: 'task_complete', data, id: `e-${n}.0` };
}

export function progress(vm: string, run: string, more: Partial<Progress> = {}): StreamEvent {
  const data: Progress = {
    vm,
    run,
    source: '/log',
    tasks_completed: 0,
    total_tasks: 0,
    current_task: null,
    current_step: null,
    completed: 0,
    passed: 0,
    failed: 0,
    unknown: 0,
    action: null,
    instruction: null,
    domain: null,
    open: true,
    started_at: 1000,
    ended_at: null,
    model: null,
    average_score: null,
    historic: false,
    timestamp: 1000,
    ...more,
  };
  return { name: 'progress', data };
}

export function runStarted(vm: string, run: string): StreamEvent {
  const data = { vm, run, source: '/log', total_tasks: null, historic: false, log_time: null, timestamp: 1000 };
  return { name: 'run_started', data };
}

export function runComplete(vm: string, run: string, completed = 0, passed = completed): StreamEvent {
  const counts = { completed, passed, failed: completed - passed, unknown: 0 };
  const data = { vm, run, source: '/log', ...counts, reason: 'process_ended', historic: false, log_time: null, timestamp: 9000 };
  return { name: 'run_complete', data };
}

export function trouble(vm: string | null, code: string, resolved = false): StreamEvent {
  const data = { vm, code, message: 'it is so', retryable: true, whose: 'network' as const, resolved, timestamp: 100 };
  return { name: 'error', data };
}

export function connected(view = 'v'): StreamEvent {
  return { name: 'connected', data: { timestamp: 1, interval: 1, version: '0', replica: 'a', view }, id: undefined };
}

export function heartbeat(stale = false, id?: string): StreamEvent {
  return { name: 'heartbeat', data: { timestamp: 1, stale }, id };
}

export function reset(reason = 'pruned'): StreamEvent {
  return { name: 'reset', data: { reason } };
}

export function after(...events: StreamEvent[]): Fleet {
  return reduce(EMPTY, events);
}
