import { describe, expect, it } from 'vitest';

import { EMPTY, isOpen, MAX_RUNS, MAX_STAGES, MAX_TASKS, MAX_VMS, reduce } from './fleet';
import { after, connected, done, progress, reset, runComplete, runStarted, status, trouble } from './made';
import type { Stage } from './types';

describe('the fleet as the events tell of it', () => {
  it('keeps each completion once, whatever comes again', () => {
    const fleet = after(done('a', 'r', 1), done('a', 'r', 2), done('a', 'r', 1));
    expect(fleet.vms.get('a')?.runs[0]?.tasks.map((task) => task.key)).toEqual(['r-1', 'r-2']);
    expect(fleet.completions).toBe(2);
    const again = reduce(fleet, [done('a', 'r', 2), done('a', 'r', 3)]);
    expect(again.vms.get('a')?.runs[0]?.tasks).toHaveLength(3);
  });

  it('drops all that was shown at a reset, and takes what follows', () => {
    const fleet = after(status('a'), done('a', 'r', 1), reset(), status('b'));
    expect([...fleet.vms.keys()]).toEqual(['b']);
    expect(fleet.completions).toBe(0);
  });

  it('notes each change of stage once, with where it came from', () => {
    const stages: Stage[] = ['booting', 'booting', 'oobe', 'ready'];
    const events = stages.map((stage, i) => status('a', { stage, stage_since: i, timestamp: i, from: i === 0 ? 'building' : null }));
    expect(after(...events).vms.get('a')?.stages).toEqual([
      { stage: 'booting', from: 'building', at: 0 },
      { stage: 'oobe', from: 'booting', at: 2 },
      { stage: 'ready', from: 'oobe', at: 3 },
    ]);
  });

  it('shows no older status over a newer one', () => {
    const fleet = after(status('a', { percent: 50, timestamp: 200 }), status('a', { percent: 10, timestamp: 100 }));
    expect(fleet.vms.get('a')?.status?.percent).toBe(50);
  });

  it('keeps errors in force until they are resolved', () => {
    const fleet = after(trouble('a', 'ssh_timeout'), trouble('a', 'log_gap'), trouble('a', 'ssh_timeout', true));
    expect(Object.keys(fleet.vms.get('a')?.errors ?? {})).toEqual(['log_gap']);
    expect(after(trouble(null, 'revoked')).trouble?.code).toBe('revoked');
    expect(after(trouble(null, 'revoked'), connected()).trouble).toBeNull();
  });

  it('lets a VM go that was removed', () => {
    expect(after(status('a'), status('a', { stage: 'removed' })).vms.size).toBe(0);
  });

  it('takes names for names, even those of methods', () => {
    const fleet = after(status('constructor'), status('tostring'));
    expect([...fleet.vms.keys()]).toEqual(['constructor', 'tostring']);
  });

  it('keeps several runs of several logs apart', () => {
    const fleet = after(
      runStarted('a', 'one'),
      progress('a', 'two', { source: '/other', total_tasks: 9 }),
      done('a', 'one', 1),
      runComplete('a', 'one', 1),
    );
    const [one, two] = fleet.vms.get('a')?.runs ?? [];
    expect([one?.tasks.length, one && isOpen(one), one?.source]).toEqual([1, false, '/log']);
    expect([two?.tasks.length, two && isOpen(two), two?.source]).toEqual([0, true, '/other']);
  });

  it('leaves what did not change the same object, so that it is not drawn anew', () => {
    const before = after(status('a'), done('a', 'r', 1), status('b'), done('b', 's', 1));
    const next = reduce(before, [done('a', 'r', 2)]);
    expect(next.vms.get('b')).toBe(before.vms.get('b'));
    expect(next.vms.get('a')).not.toBe(before.vms.get('a'));
    expect(before.vms.get('a')?.runs[0]?.tasks).toHaveLength(1);
    expect(reduce(before, [])).toBe(before);
  });

  it('holds no more than its bounds, however much comes', () => {
    const tasks = Array.from({ length: MAX_TASKS + 10 }, (_, n) => done('a', 'r', n));
    const run = after(...tasks).vms.get('a')?.runs[0];
    expect([run?.tasks.length, run?.keys.size, run?.tasks[0]?.number]).toEqual([MAX_TASKS, MAX_TASKS, 10]);
    const runs = Array.from({ length: MAX_RUNS + 5 }, (_, n) => runComplete('a', `r${n}`));
    const kept = after(progress('a', 'open'), ...runs).vms.get('a')?.runs.map((one) => one.run);
    expect(kept).toHaveLength(MAX_RUNS);
    expect(kept).toContain('open');
    const flips = Array.from({ length: 2 * MAX_STAGES }, (_, n) => status('a', { stage: n % 2 ? 'ready' : 'booting', timestamp: n }));
    expect(after(...flips).vms.get('a')?.stages).toHaveLength(MAX_STAGES);
    const vms = after(...Array.from({ length: MAX_VMS + 3 }, (_, n) => status(`vm-${n}`)));
    expect([vms.vms.size, vms.beyond]).toEqual([MAX_VMS, 3]);
    expect(EMPTY.vms.size).toBe(0);
  });
});
