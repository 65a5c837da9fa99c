import { describe, expect, it } from 'vitest';

import { bytes, duration, number, percent, score, some, time } from './format';

describe('values in words', () => {
  it.each([
    [0, '0 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [185, '3 min 05 s'],
    [7620, '2 h 07 min'],
    [86_400 * 4 + 3600 * 3, '4 d 3 h'],
    [-5, '0 s'],
    [null, '–'],
    [Number.NaN, '–'],
  ])('a duration of %s', (seconds, wanted) => {
    expect(duration(seconds)).toBe(wanted);
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [32212254720, '30.0 GiB'],
    [null, '–'],
  ])('bytes: %s', (value, wanted) => {
    expect(bytes(value)).toBe(wanted);
  });

  it('are the same for what is not known', () => {
    expect([percent(null), score(undefined), number(null), time(null)]).toEqual(['–', '–', '–', '–']);
    expect([percent(0.666), score(0.5), number(12_345)]).toEqual(['67 %', '0.50', '12\u202f345']);
    expect([some(1, 'result'), some(0, 'result'), some(2, 'box', 'boxes')]).toEqual(['1 result', '0 results', '2 boxes']);
  });

  it('name the day of another day', () => {
    const noon = Date.UTC(2026, 10, 26, 12) / 1000;
    expect(time(noon, noon)).toMatch(/^\d\d:\d\d:\d\d$/);
    expect(time(noon - 86_400 * 3, noon)).toMatch(/^2026-11-23 \d\d:\d\d:\d\d$/);
  });
});
