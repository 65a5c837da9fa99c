import { expect, it } from 'vitest';

import type { Back } from '../link/link';
import { EMPTY } from '../model/fleet';
import { gapAfter } from '../model/missed';
import { current, dismiss, notice } from './store';

const back = (number: number, more: Partial<Back> = {}): Back => ({ ...gapAfter(EMPTY), number, lostFor: 1000, tab: false, ...more });

it('tells of a gap in one notice, which stays away once it was dismissed', () => {
  notice(back(1));
  notice(back(1, { over: true, results: 3 }));
  notice(back(2));
  expect(current().notices.map((one) => [one.id, one.back.over, one.back.results])).toEqual([
    [1, true, 3],
    [2, false, 0],
  ]);
  dismiss(2);
  notice(back(2, { over: true }));
  expect(current().notices.map((one) => one.id)).toEqual([1]);
  for (let number = 3; number < 20; number += 1) notice(back(number));
  expect(current().notices).toHaveLength(5);
});
