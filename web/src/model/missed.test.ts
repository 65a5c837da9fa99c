import { describe, expect, it } from 'vitest';

import { reduce, type Fleet } from './fleet';
import { after, connected, done, heartbeat, progress, reset, runComplete, status } from './made';
import { gapAfter, gapInWords, heardIn, listed } from './missed';
import type { StreamEvent } from './types';

/** What is told of `batches`, one after the other. */
function told(known: Fleet, ...batches: StreamEvent[][]) {
  let [gap, fleet] = [gapAfter(known), known];
  for (const batch of batches) {
    gap = heardIn(gap, fleet, batch);
    fleet = reduce(fleet, batch);
  }
  return gap;
}

const dead = (vm: string, at: number): StreamEvent => ({ ...status(vm, { stage: 'unreachable', from: 'running', stage_since: at }), id: 'e-9.0' });

describe('what was missed', () => {
  const known = after(status('a', { stage: 'running' }), progress('a', 'r'), done('a', 'r', 1), status('b'), done('b', 's', 1));

  it('is known when the gateway tells how things are now, however long it took', () => {
    const slow = [[connected(), done('a', 'r', 1), done('a', 'r', 2)], [done('a', 'r', 3)], [done('b', 's', 2)]];
    const during = told(known, ...slow);
    expect([during.over, during.results, gapInWords(during)]).toEqual([false, 3, 'What came in meanwhile is being read.']);
    const at = told(known, ...slow, [done('b', 's', 3), status('a'), done('a', 'r', 4)], [done('a', 'r', 5)]);
    expect([at.over, at.results]).toEqual([true, 4]);
    expect(gapInWords(at)).toBe('4 results came in meanwhile and stand here now.');
    expect(gapInWords(told(known, [connected()], [heartbeat()]))).toBe('No result came in meanwhile.');
  });

  it('is not over at a change of stage that was missed', () => {
    expect(told(known, [connected(), dead('b', 200)]).over).toBe(false);
  });

  it('names runs that ended and VMs that died, also those that are back', () => {
    const back = { ...status('b', { stage: 'ready', stage_since: 300, timestamp: 300 }), id: 'e-10.0' };
    const gap = told(known, [connected(), { ...runComplete('a', 'r', 2), id: 'e-8.0' }, dead('b', 200), back, status('b')]);
    expect([gap.ended, gap.died]).toEqual([['a'], ['b']]);
    expect(gapInWords(gap)).toBe('No result came in meanwhile. A run is over on a. b stopped answering.');
    const gone = after(dead('b', 50));
    expect(told(gone, [connected(), status('b', { stage: 'unreachable', stage_since: 50 })]).died).toEqual([]);
  });

  it('is told as far as it can be when all is shown anew', () => {
    const now = [connected(), reset(), done('a', 'r', 1), status('a', { stage: 'unreachable', stage_since: 500 }), progress('a', 'r', { open: false })];
    const gap = told(known, now);
    expect(gap).toMatchObject({ anew: true, over: true, ended: ['a'], died: ['a'] });
    expect(gapInWords(gap)).toBe('A run is over on a. a stopped answering.');
  });

  it('lists no more names than a person reads', () => {
    expect([listed(['a']), listed(['a', 'b']), listed(['a', 'b', 'c', 'd', 'e'])]).toEqual(['a', 'a and b', 'a, b, c and 2 more']);
  });
});
