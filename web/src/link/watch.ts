// Whether the tab that leads is still there: it answers each question, so that silence says that it hangs. Pure.
//
// Only questions without an answer count, and several: a tab that slept, or whose timers the browser holds back, has heard
// nothing either, and the answer may wait behind the timer that looks.

/** Between two questions. Milliseconds. */
export const ASK_MS = 1000;
/** A tab that nobody looks at asks only after so long a silence. */
export const QUIET_MS = 5000;
/** Questions without an answer for so long are told. */
export const SUSPECT_MS = 5000;
/** For so long: the tab hangs, and another one takes its place. */
export const TAKE_MS = 10_000;
const QUESTIONS = 3;

export interface Watch {
  heardAt: number;
  /** Questions since then, and when the first and the last were asked. */
  asked: number;
  firstAt: number;
  lastAt: number;
}

export function heardFrom(now: number): Watch {
  return { heardAt: now, asked: 0, firstAt: now, lastAt: -Infinity };
}

/** What to do now. */
export type Verdict = 'nothing' | 'ask' | 'take';

export function look(watch: Watch, now: number, seen: boolean): [Watch, Verdict] {
  if (watch.asked >= QUESTIONS && now - watch.firstAt >= TAKE_MS) return [watch, 'take'];
  const due = now - watch.lastAt >= ASK_MS && (seen || now - watch.heardAt >= QUIET_MS);
  if (!due) return [watch, 'nothing'];
  const firstAt = watch.asked === 0 ? now : watch.firstAt;
  return [{ ...watch, asked: watch.asked + 1, firstAt, lastAt: now }, 'ask'];
}

/** Whether it is time to say that the tab does not answer. */
export function suspects(watch: Watch, now: number): boolean {
  return watch.asked >= QUESTIONS && now - watch.firstAt >= SUSPECT_MS;
}
