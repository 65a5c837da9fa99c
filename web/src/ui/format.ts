// Values to the words of the page.

import type { Seconds } from '../model/types';
import { gatewayNow } from '../store/clock';

/** What is not known. */
export const NONE = '–';

/** `42 s`, `3 min 05 s`, `2 h 07 min`, `4 d 3 h`: two units at most. */
export function duration(seconds: Seconds | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** Of a share from 0 to 1. */
export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? NONE : `${Math.round(share * 100)} %`;
}

export function score(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : value.toFixed(2);
}

export function number(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : value.toLocaleString('en').replaceAll(',', '\u202f');
}

/** Binary units, as `df -h` has them. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${rest >= 100 || unit === 0 ? Math.round(rest) : rest.toFixed(1)} ${units[unit]}`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-CA', { year: 'numeric', month: '2-digit', day: '2-digit' });

/** `14:03:22` of today, `2026-11-26 14:03:22` of another day, in the reader's time zone. */
export function time(at: Seconds | null | undefined, now: Seconds = gatewayNow() / 1000): string {
  if (at === null || at === undefined) return NONE;
  const date = new Date(at * 1000);
  const today = day.format(date) === day.format(new Date(now * 1000));
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

/** `1 result`, `3 results`. */
export function some(count: number, one: string, many = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`;
}

export { STAGE_WORDS } from '../model/derive';

/** Where to look, in words. */
export const WHOSE_WORDS: Record<string, string> = {
  vm: 'the VM',
  network: 'the network',
  local: 'the gateway',
  client: 'this browser',
};

export function resultWord(success: boolean | null): 'passed' | 'failed' | 'unknown' {
  return success === null ? 'unknown' : success ? 'passed' : 'failed';
}
