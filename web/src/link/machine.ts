// What to do about the stream: (state, input) -> state and effects. No clock, no network, no chance: all are arguments.
//
// The gateway says a heartbeat every 15 s. Silence is told before it is acted on, and what is not heard is never called live.

import type { StreamEvent } from '../model/types';

/** No word for so long: what is shown may be old. Milliseconds. */
export const SILENT_MS = 25_000;
/** No word for so long: the connection is dead. */
export const DEAD_MS = 40_000;
/** How long to wait for the head of the answer. */
export const OPENING_MS = 20_000;
/** Never longer between two tries, whatever the gateway asks for; nor sooner. */
export const MAX_WAIT_MS = 120_000;
export const MIN_WAIT_MS = 500;
/** Two heartbeats: by so much may the gateway's time be further on than the page noticed. */
const ASLEEP_MS = 30_000;
/** The longest wait that doubling leads to. */
const MAX_BACKOFF_MS = 30_000;
const DEFAULT_RETRY_MS = 3_000;

/** What the page may truthfully say. Times are milliseconds of a clock that only goes forward, that of this tab. */
export type Connection =
  | { state: 'connecting' }
  | { state: 'live' }
  /** The stream is there and says that reports are old, or says nothing; or the tab that reads it says nothing. */
  | { state: 'stale'; why: 'silent' | 'reports' | 'tab'; since: number }
  | { state: 'reconnecting'; at: number; since: number; why: string }
  | { state: 'signed-out' }
  | { state: 'not-allowed' };

export interface LinkState {
  phase: 'ended' | 'opening' | 'open' | 'waiting';
  connection: Connection;
  /** Tries since the last one that led to a stream. */
  tries: number;
  /** What the gateway asks to wait, with its own jitter. */
  retryMs: number;
  lastId: string | null;
  view: string | null;
  /** When the stream was lost, until it is there again. */
  lostAt: number | null;
  /** The last word of the gateway; null before the first. */
  heardAt: number | null;
  /** The gateway's own time when it last told it, milliseconds since the epoch. */
  toldAt: number | null;
  /** When the present phase began. */
  since: number;
  /** When to try again. */
  tryAt: number;
}

export type Input =
  | { kind: 'start' }
  | { kind: 'opened' }
  | { kind: 'refused'; status: number; retryAfter: number | null }
  | { kind: 'lost'; why: string }
  | { kind: 'events'; events: readonly StreamEvent[] }
  | { kind: 'retry'; ms: number }
  | { kind: 'tick' }
  /** The page is looked at again, the machine woke, the network is back, or somebody signed in. */
  | { kind: 'wake' }
  /** The machine slept, in which the clock that only goes forward stands still: nobody knows how old the last word is. */
  | { kind: 'slept' }
  /** The reader signed out: what was shown was for whoever was signed in. */
  | { kind: 'signed-out' }
  | { kind: 'stop' };

export type Effect =
  | { do: 'open'; lastId: string | null }
  | { do: 'close' }
  | { do: 'deliver'; events: readonly StreamEvent[] }
  | { do: 'back'; lostFor: number };

/** Whether the gateway is heard: some of its reports may be old all the same. */
export function hears(connection: Connection): boolean {
  return connection.state === 'live' || (connection.state === 'stale' && connection.why === 'reports');
}

/** Whether both say the same, give or take what a message between two tabs takes. */
export function alike(a: Connection, b: Connection): boolean {
  const near = (key: 'since' | 'at') => Math.abs(((a as Times)[key] ?? 0) - ((b as Times)[key] ?? 0)) < 500;
  return a.state === b.state && (a as Times).why === (b as Times).why && near('since') && near('at');
}

type Times = { since?: number; at?: number; why?: string };

/** The state of another tab, whose clock is `by` behind this one's. */
export function shifted(state: LinkState, by: number): LinkState {
  const connection = { ...state.connection };
  if ('since' in connection) connection.since += by;
  if ('at' in connection) connection.at += by;
  const { heardAt, lostAt, since, tryAt } = state;
  return {
    ...state,
    connection,
    heardAt: heardAt === null ? null : heardAt + by,
    lostAt: lostAt === null ? null : lostAt + by,
    since: since + by,
    tryAt: tryAt + by,
  };
}

export const INITIAL: LinkState = {
  phase: 'ended',
  connection: { state: 'connecting' },
  tries: 0,
  retryMs: DEFAULT_RETRY_MS,
  lastId: null,
  view: null,
  lostAt: null,
  heardAt: null,
  toldAt: null,
  since: 0,
  tryAt: 0,
};

type Step = [LinkState, Effect[]];

/** `now` in milliseconds of a clock that only goes forward, `chance` from 0 to 1. */
export function step(state: LinkState, input: Input, now: number, chance: number): Step {
  switch (input.kind) {
    case 'start':
      return state.phase === 'ended' ? open({ ...state, connection: { state: 'connecting' } }, now) : [state, []];
    case 'opened':
      return [{ ...state, phase: 'open', since: now, heardAt: now }, []];
    case 'refused':
      return refused(state, input.status, input.retryAfter, now, chance);
    case 'lost':
      return state.phase === 'ended' ? [state, []] : wait(state, input.why, null, now, chance);
    case 'events':
      return events(state, input.events, now);
    case 'retry':
      return [{ ...state, retryMs: clamp(input.ms) }, []];
    case 'tick':
      return tick(state, now, chance);
    case 'wake':
      return wake(state, now, chance);
    case 'slept':
      return slept(state, now, chance);
    case 'signed-out': {
      const nothing: StreamEvent = { name: 'reset', data: { reason: 'grants_changed' } };
      const over: LinkState = { ...INITIAL, connection: { state: 'signed-out' } };
      return [over, [{ do: 'close' }, { do: 'deliver', events: [nothing] }]];
    }
    case 'stop':
      return [{ ...state, phase: 'ended' }, [{ do: 'close' }]];
  }
}

function open(state: LinkState, now: number): Step {
  return [{ ...state, phase: 'opening', since: now, tries: state.tries + 1 }, [{ do: 'open', lastId: state.lastId }]];
}

/** What is known is as old as this, whenever it was noticed that there is no more. */
function lastWord(state: LinkState): number {
  return state.heardAt ?? state.since;
}

function clamp(ms: number): number {
  return Math.min(MAX_WAIT_MS, Math.max(MIN_WAIT_MS, ms));
}

/** Tries again later: after what the gateway asks for, else after its `retry`, doubled each time. */
function wait(state: LinkState, why: string, retryAfter: number | null, now: number, chance: number): Step {
  const doubled = Math.min(MAX_BACKOFF_MS, state.retryMs * 2 ** Math.min(10, Math.max(0, state.tries - 1)));
  const ms = clamp(retryAfter === null ? doubled * (0.75 + chance / 2) : retryAfter * 1000 * (1 + chance / 5));
  const lostAt = state.lostAt ?? lastWord(state);
  const connection: Connection = { state: 'reconnecting', at: now + ms, since: lostAt, why };
  return [{ ...state, phase: 'waiting', since: now, tryAt: now + ms, lostAt, connection }, [{ do: 'close' }]];
}

function refused(state: LinkState, status: number, retryAfter: number | null, now: number, chance: number): Step {
  if (status === 401 || status === 403) {
    const connection: Connection = { state: status === 401 ? 'signed-out' : 'not-allowed' };
    return [{ ...state, phase: 'ended', connection, lostAt: state.lostAt ?? lastWord(state) }, []];
  }
  return wait(state, reason(status), retryAfter, now, chance);
}

function reason(status: number): string {
  if (status === 429) return 'too many streams or requests from here';
  if (status === 503) return 'the gateway is stopping or has too much to do';
  return `the gateway answered ${status}`;
}

function events(state: LinkState, got: readonly StreamEvent[], now: number): Step {
  if (state.phase !== 'open') return [state, []];
  const next: LinkState = { ...state, heardAt: now };
  const effects: Effect[] = [];
  for (const [at, event] of got.entries()) {
    if (event.id) next.lastId = event.id;
    if (event.name === 'connected') {
      const other = next.view !== null && next.view !== event.data.view;
      next.view = event.data.view;
      if (other && state.lastId !== null) {
        // The id tells only what was missed of VMs that were seen before: what is seen now is asked for anew.
        const reset: StreamEvent = { name: 'reset', data: { reason: 'grants_changed' } };
        const [opening, opens] = open({ ...next, lastId: null, tries: 0 }, now);
        return [opening, [{ do: 'deliver', events: [...got.slice(0, at), reset] }, { do: 'close' }, ...opens]];
      }
      if (next.lostAt !== null) effects.push({ do: 'back', lostFor: lostFor(next.lostAt, next.toldAt, event.data.timestamp * 1000, now) });
      Object.assign(next, { lostAt: null, tries: 0, connection: { state: 'live' } satisfies Connection });
    }
    if (event.name === 'heartbeat') next.connection = reports(next, event.data.stale, now);
    if (event.name === 'connected' || event.name === 'heartbeat') next.toldAt = event.data.timestamp * 1000;
  }
  if (next.connection.state === 'stale' && next.connection.why !== 'reports') next.connection = { state: 'live' };
  return [next, [{ do: 'deliver', events: got }, ...effects]];
}

/** By the clock that only goes forward, unless the gateway's says that this machine slept meanwhile. */
function lostFor(lostAt: number, toldAt: number | null, told: number, now: number): number {
  const [here, there] = [now - lostAt, toldAt === null ? 0 : told - toldAt];
  return there - here > ASLEEP_MS ? there : here;
}

function reports(state: LinkState, stale: boolean, now: number): Connection {
  const { connection } = state;
  if (!stale) return connection.state === 'live' ? connection : { state: 'live' };
  const goesOn = connection.state === 'stale' && connection.why === 'reports';
  return goesOn ? connection : { state: 'stale', why: 'reports', since: now };
}

function tick(state: LinkState, now: number, chance: number): Step {
  const silent = now - lastWord(state);
  if (state.phase === 'waiting' && now >= state.tryAt) return open(state, now);
  if (state.phase === 'opening' && now - state.since > OPENING_MS) return wait(state, 'no answer', null, now, chance);
  if (state.phase === 'open' && silent > DEAD_MS) return wait(state, 'silence', null, now, chance);
  if (state.phase === 'open' && silent > SILENT_MS && state.connection.state === 'live') {
    return [{ ...state, connection: { state: 'stale', why: 'silent', since: lastWord(state) } }, []];
  }
  return [state, []];
}

/** Asks anew: what came last may be hours old. */
function slept(state: LinkState, now: number, chance: number): Step {
  if (state.phase !== 'open' && state.phase !== 'opening') return wake(state, now, chance);
  const lostAt = state.lostAt ?? lastWord(state);
  const [opening, opens] = open({ ...state, tries: 0, lostAt, connection: { state: 'connecting' } }, now);
  return [opening, [{ do: 'close' }, ...opens]];
}

/** At once, instead of when it was planned: nobody should look at a countdown who has just come back. */
function wake(state: LinkState, now: number, chance: number): Step {
  const { connection } = state;
  const barred = state.phase === 'ended' && (connection.state === 'signed-out' || connection.state === 'not-allowed');
  // Who has just signed in must not be told by another tab that nobody is.
  if (barred) return open({ ...state, tries: 0, connection: { state: 'connecting' } }, now);
  if (state.phase === 'waiting') return open({ ...state, tries: 0 }, now);
  return tick(state, now, chance);
}
