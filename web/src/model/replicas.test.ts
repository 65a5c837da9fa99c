import { describe, expect, it } from 'vitest';

import { few, NOBODY, pollers, type Replica } from './replicas';

function up(replica: string, heard_at: number, ...polls: string[]): Replica {
  return { replica, version: '0.1.0', started_at: 1, heard_at, draining: false, streams: null, polls, self: false };
}

describe('who polls a VM', () => {
  it('is told where there is more than one replica', () => {
    expect([...pollers([up('a', 5, 'x', 'y'), up('b', 5, 'z')])]).toEqual([
      ['x', 'a'],
      ['y', 'a'],
      ['z', 'b'],
    ]);
    expect(pollers([up('a', 5, 'x')])).toBe(NOBODY);
    expect(pollers([])).toBe(NOBODY);
  });

  it('is the one whose word is newest while a VM changes hands', () => {
    expect(pollers([up('a', 9, 'x'), up('b', 5, 'x')]).get('x')).toBe('a');
    expect(pollers([up('a', 5, 'x'), up('b', 9, 'x')]).get('x')).toBe('b');
  });

  it('is the same thing for as long as nothing changed, so that nothing is drawn anew', () => {
    const before = pollers([up('a', 5, 'x'), up('b', 5)]);
    expect(pollers([up('a', 8, 'x'), up('b', 9)], before)).toBe(before);
    const after = pollers([up('a', 10), up('b', 10, 'x')], before);
    expect(after).not.toBe(before);
    expect(pollers([up('b', 11, 'x')], after)).toBe(NOBODY);
    expect(pollers([up('a', 10), up('b', 10, 'y')], after).get('x')).toBeUndefined();
  });
});

it('names a few VMs and counts many', () => {
  expect([few([]), few(['a', 'b', 'c']), few(['a', 'b', 'c', 'd'])]).toEqual(['none', 'a, b, c', '4 VMs']);
});
