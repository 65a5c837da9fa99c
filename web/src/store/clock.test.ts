import { expect, it } from 'vitest';

import { gatewayNow, offsetAfter, setClock } from './clock';

it('is the clock of the gateway, whatever that of the browser says', () => {
  expect(offsetAfter(null, 1_000_000, 400)).toBe(999_600);
  // The least delayed word counts, another clock does as well.
  expect(offsetAfter(999_600, 1_001_000, 1900)).toBe(999_600);
  expect(offsetAfter(999_600, 1_001_600, 1900)).toBe(999_700);
  expect(offsetAfter(999_600, 5_000_000, 1900)).toBe(4_998_100);
  expect(offsetAfter(999_600, 5_000, 1900)).toBe(3_100);
  setClock(Number.NaN);
  expect(Math.abs(gatewayNow() - Date.now())).toBeLessThan(1000);
  setClock(Date.now() - 3_600_000);
  expect(Date.now() - gatewayNow()).toBeGreaterThan(3_599_000);
});
