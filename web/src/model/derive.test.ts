import { describe, expect, it } from 'vitest';

import { chosen, counts, currentRun, eta, health, meanScore, passRate, summary } from './derive';
import type { Run, Vm } from './fleet';
import { after, done, progress, runComplete, status, trouble } from './made';

function vmOf(...events: Parameters<typeof after>): Vm {
  const vm = after(...events).vms.get('a');
  if (!vm) throw new Error('no events of a');
  return vm;
}

function runOf(...events: Parameters<typeof after>): Run {
  const run = currentRun(vmOf(...events));
  if (!run) throw new Error('no run');
  return run;
}

const tasks = (n: number) => Array.from({ length: n }, (_, i) => done('a', 'r', i + 1));

describe('when a run will be over', () => {
  it('is not foretold from too little', () => {
    const total = progress('a', 'r', { total_tasks: 10 });
    expect(eta(runOf(total, ...tasks(2)), 1200)).toBeNull();
    expect(eta(runOf(...tasks(5)), 1400)).toBeNull();
    expect(eta(runOf(total, ...tasks(10)), 1700)).toBeNull();
    expect(eta(runOf(total, ...tasks(5), runComplete('a', 'r', 5)), 1400)).toBeNull();
  });

  it('is foretold from the pace of the latest tasks', () => {
    const total = progress('a', 'r', { total_tasks: 10 });
    // A task a minute, the fifth at 1300: the tenth at 1600.
    expect(eta(runOf(total, ...tasks(5)), 1310)).toBe(1600);
    // Slow ones of long ago do not count.
    const slow = done('a', 'r', 0, { timestamp: -100_000, duration: 90_000 });
    expect(eta(runOf(total, slow, ...tasks(10), progress('a', 'r', { total_tasks: 20 })), 1610)).toBe(1600 + 9 * 60);
  });

  it('is not foretold any more when a task takes far longer than those before, nor from old logs', () => {
    const total = progress('a', 'r', { total_tasks: 10 });
    expect(eta(runOf(total, ...tasks(5)), 1300 + 301)).toBeNull();
    const historic = [1, 2, 3, 4].map((n) => done('a', 'r', n, { historic: true }));
    expect(eta(runOf(total, ...historic), 1300)).toBeNull();
  });
});

describe('how far a run is', () => {
  it('goes by whichever tells more', () => {
    const said = progress('a', 'r', { completed: 1, passed: 1, total_tasks: 9 });
    expect(counts(runOf(said, ...tasks(3)))).toEqual({ done: 3, total: 9, passed: 3, failed: 0, unknown: 0 });
    const more = progress('a', 'r', { completed: 5, passed: 2, failed: 2, unknown: 1 });
    expect(counts(runOf(more, ...tasks(3)))).toEqual({ done: 5, total: null, passed: 2, failed: 2, unknown: 1 });
  });

  it('has a pass rate only where a result is known', () => {
    expect(passRate({ passed: 0, failed: 0 })).toBeNull();
    expect(passRate({ passed: 3, failed: 1 })).toBe(0.75);
    expect(meanScore([{ score: null }])).toBeNull();
    expect(meanScore([{ score: 1 }, { score: null }, { score: 0 }])).toBe(0.5);
  });

  it('is the open run that is shown, else the latest', () => {
    expect(runOf(progress('a', 'open'), runComplete('a', 'over')).run).toBe('open');
    expect(runOf(runComplete('a', 'one'), runComplete('a', 'two')).run).toBe('two');
  });
});

describe('how a VM fares', () => {
  it.each([
    ['broken', [status('a', { stage: 'unreachable' })]],
    ['broken', [status('a'), trouble('a', 'log_gap')]],
    ['doubtful', [status('a', { stale: true })]],
    ['doubtful', [progress('a', 'r')]],
    ['busy', [status('a', { stage: 'downloading' })]],
    ['idle', [status('a', { stage: 'off' })]],
    ['well', [status('a', { stage: 'running' })]],
  ])('is %s', (wanted, events) => {
    expect(health(vmOf(...events))).toBe(wanted);
  });

  it('is found by name, stage or task, and sorted as asked for', () => {
    const fleet = after(
      status('vm-10', { stage: 'running' }),
      progress('vm-10', 'r', { current_task: 'chrome/42' }),
      status('vm-2', { stage: 'booting' }),
      status('vm-1', { stage: 'unreachable' }),
    );
    const vms = [...fleet.vms.values()];
    const names = (text: string, sort: 'name' | 'stage' | 'trouble', only: 'all' | 'trouble' | 'running' = 'all') =>
      chosen(vms, { text, sort, only }).map((vm) => vm.name);
    expect(names('', 'name')).toEqual(['vm-1', 'vm-2', 'vm-10']);
    expect(names('', 'trouble')).toEqual(['vm-1', 'vm-2', 'vm-10']);
    expect(names('', 'stage')).toEqual(['vm-10', 'vm-2', 'vm-1']);
    expect(names('CHROME', 'name')).toEqual(['vm-10']);
    expect(names('boot', 'name')).toEqual(['vm-2']);
    expect(chosen([...after(status('a', { stage: 'oobe' })).vms.values()], { text: 'First boot', sort: 'name', only: 'all' })).toHaveLength(1);
    expect(names('', 'name', 'trouble')).toEqual(['vm-1']);
    expect(names('', 'name', 'running')).toEqual(['vm-10']);
    expect(summary(vms)).toEqual({ running: 1, broken: 1, vms: 3 });
  });
});
