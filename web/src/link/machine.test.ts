import { describe, expect, it } from 'vitest';

import { connected, done, heartbeat } from '../model/made';
import type { Connected, StreamEvent } from '../model/types';
import { alike, DEAD_MS, hears, INITIAL, MAX_WAIT_MS, MIN_WAIT_MS, OPENING_MS, shifted, SILENT_MS, step, type Effect, type Input, type LinkState } from './machine';

/** A link that is driven by hand. */
class Lab {
  state: LinkState = INITIAL;
  now = 1_000_000;
  effects: Effect[] = [];

  do(input: Input, chance = 0.5): this {
    [this.state, this.effects] = step(this.state, input, this.now, chance);
    return this;
  }

  after(ms: number): this {
    this.now += ms;
    return this;
  }

  live(view = 'v'): this {
    return this.do({ kind: 'start' })
      .do({ kind: 'opened' })
      .do({ kind: 'events', events: [connected(view), { ...done('a', 'r', 1), id: 'e-1.0' }] });
  }

  get shown() {
    return this.state.connection;
  }

  get did() {
    return this.effects.map((effect) => effect.do);
  }
}

describe('the link to the gateway', () => {
  it('is live once the gateway said so, not before', () => {
    const lab = new Lab().do({ kind: 'start' });
    expect([lab.did, lab.shown.state]).toEqual([['open'], 'connecting']);
    lab.do({ kind: 'opened' });
    expect(lab.shown.state).toBe('connecting');
    lab.do({ kind: 'events', events: [connected()] });
    expect(lab.shown.state).toBe('live');
  });

  it('goes on from the last id', () => {
    const lab = new Lab().live().do({ kind: 'lost', why: 'no connection' });
    expect([lab.shown.state, lab.did]).toEqual(['reconnecting', ['close']]);
    lab.after(60_000).do({ kind: 'tick' });
    expect(lab.effects).toEqual([{ do: 'open', lastId: 'e-1.0' }]);
    lab.do({ kind: 'opened' }).do({ kind: 'events', events: [heartbeat(false, 'e-9.0')] });
    expect(lab.state.lastId).toBe('e-9.0');
  });

  it('tells how long it was away once it is back', () => {
    const lab = new Lab().live().do({ kind: 'lost', why: 'x' }).after(30_000).do({ kind: 'tick' }).do({ kind: 'opened' });
    lab.after(500).do({ kind: 'events', events: [connected()] });
    expect(lab.effects).toContainEqual({ do: 'back', lostFor: 30_500 });
    expect(lab.shown.state).toBe('live');
    lab.do({ kind: 'events', events: [heartbeat()] });
    expect(lab.did).toEqual(['deliver']);
  });

  it('counts what was lost from the last word, not from when it was noticed', () => {
    const lab = new Lab().live();
    const heard = lab.now;
    lab.after(20_000).do({ kind: 'lost', why: 'x' });
    expect(lab.shown).toMatchObject({ state: 'reconnecting', since: heard });
    lab.do({ kind: 'wake' }).do({ kind: 'opened' }).do({ kind: 'events', events: [connected()] });
    expect(lab.effects).toContainEqual({ do: 'back', lostFor: 20_000 });
    const never = new Lab().do({ kind: 'start' }).after(7000).do({ kind: 'lost', why: 'x' });
    expect(never.shown).toMatchObject({ since: never.now - 7000 });
  });

  it('asks anew after the machine slept, and tells how long by the clock of the gateway', () => {
    const lab = new Lab().live().do({ kind: 'slept' });
    expect([lab.did, lab.shown.state]).toEqual([['close', 'open'], 'connecting']);
    const later = { ...connected(), data: { ...(connected().data as Connected), timestamp: 7201 } } as StreamEvent;
    lab.after(100).do({ kind: 'opened' }).do({ kind: 'events', events: [later] });
    expect(lab.effects).toContainEqual({ do: 'back', lostFor: 7_200_000 });
    expect(new Lab().live().do({ kind: 'lost', why: 'x' }).do({ kind: 'slept' }).did).toEqual(['open']);
  });

  it('is the same for a tab whose clock began at another time', () => {
    const lab = new Lab().live().after(1000).do({ kind: 'lost', why: 'x' });
    const there = shifted(lab.state, -900_000);
    expect(there.tryAt - (lab.now - 900_000)).toBe(lab.state.tryAt - lab.now);
    expect(there).toMatchObject({ lostAt: 100_000, heardAt: 100_000, connection: { since: 100_000, why: 'x' } });
    expect([shifted(INITIAL, 5).heardAt, shifted(INITIAL, 5).lostAt]).toEqual([null, null]);
    expect(alike(there.connection, shifted(lab.state, -900_100).connection)).toBe(true);
    expect(alike(there.connection, lab.shown)).toBe(false);
    expect(alike({ state: 'live' }, { state: 'connecting' })).toBe(false);
  });

  it('hears the gateway also where reports are old, and where it hears nothing it says so', () => {
    const lab = new Lab().live();
    expect(hears(lab.shown)).toBe(true);
    expect(hears(lab.do({ kind: 'events', events: [heartbeat(true)] }).shown)).toBe(true);
    expect(hears(new Lab().live().after(SILENT_MS + 1).do({ kind: 'tick' }).shown)).toBe(false);
    expect(hears(lab.do({ kind: 'lost', why: 'x' }).shown)).toBe(false);
  });

  it('waits longer each time, never longer than its bounds, and as long as it is told to', () => {
    const lab = new Lab().live().do({ kind: 'retry', ms: 1000 });
    const waits: number[] = [];
    for (let i = 0; i < 12; i += 1) {
      lab.do({ kind: 'lost', why: 'x' });
      waits.push(lab.state.tryAt - lab.now);
      lab.now = lab.state.tryAt;
      lab.do({ kind: 'tick' });
      expect(lab.did).toEqual(['open']);
    }
    expect(waits.slice(0, 5)).toEqual([1000, 1000, 2000, 4000, 8000]);
    expect(Math.max(...waits)).toBe(30_000);
    for (const [said, waited] of [
      [7, 7700],
      [100_000, MAX_WAIT_MS],
      [0, MIN_WAIT_MS],
    ] as const) {
      lab.do({ kind: 'refused', status: 503, retryAfter: said });
      expect(lab.state.tryAt - lab.now).toBe(waited);
      lab.now = lab.state.tryAt;
      lab.do({ kind: 'tick' });
    }
  });

  it('says that it hears nothing before it gives the connection up', () => {
    const lab = new Lab().live().after(SILENT_MS - 1).do({ kind: 'tick' });
    expect(lab.shown.state).toBe('live');
    lab.after(2).do({ kind: 'tick' });
    expect(lab.shown).toMatchObject({ state: 'stale', why: 'silent' });
    lab.do({ kind: 'events', events: [heartbeat()] });
    expect(lab.shown.state).toBe('live');
    lab.after(DEAD_MS + 1).do({ kind: 'tick' });
    expect([lab.shown.state, lab.did]).toEqual(['reconnecting', ['close']]);
    const answerless = new Lab().do({ kind: 'start' }).after(OPENING_MS + 1).do({ kind: 'tick' });
    expect(answerless.shown.state).toBe('reconnecting');
  });

  it('says so when the gateway says that reports are old', () => {
    const lab = new Lab().live().do({ kind: 'events', events: [heartbeat(true)] });
    expect(lab.shown).toMatchObject({ state: 'stale', why: 'reports', since: lab.now });
    const since = lab.now;
    lab.after(15_000).do({ kind: 'events', events: [heartbeat(true)] });
    expect(lab.shown).toMatchObject({ state: 'stale', why: 'reports', since });
    lab.do({ kind: 'events', events: [heartbeat(false)] });
    expect(lab.shown.state).toBe('live');
  });

  it('stops at a closed door, and tries again when somebody is there', () => {
    for (const [status, state] of [
      [401, 'signed-out'],
      [403, 'not-allowed'],
    ] as const) {
      const lab = new Lab().live().do({ kind: 'lost', why: 'x' }).after(60_000).do({ kind: 'tick' });
      lab.do({ kind: 'refused', status, retryAfter: null });
      expect([lab.shown.state, lab.did]).toEqual([state, []]);
      lab.after(3_600_000).do({ kind: 'tick' });
      expect(lab.did).toEqual([]);
      lab.do({ kind: 'wake' });
      expect(lab.effects).toEqual([{ do: 'open', lastId: 'e-1.0' }]);
      expect(lab.shown.state, 'it is not known any more').toBe('connecting');
    }
  });

  it('does not wait for a countdown when somebody comes back', () => {
    const lab = new Lab().live().do({ kind: 'lost', why: 'x' }).do({ kind: 'wake' });
    expect(lab.did).toEqual(['open']);
    const live = new Lab().live().after(DEAD_MS + 1).do({ kind: 'wake' });
    expect(live.shown.state).toBe('reconnecting');
  });

  it('begins anew without an id when it may see other VMs than before', () => {
    const lab = new Lab().live('one').do({ kind: 'lost', why: 'x' }).do({ kind: 'wake' }).do({ kind: 'opened' });
    lab.do({ kind: 'events', events: [connected('two'), done('b', 's', 1)] });
    expect(lab.did).toEqual(['deliver', 'close', 'open']);
    expect(lab.effects[0]).toMatchObject({ events: [{ name: 'reset' }] });
    expect(lab.effects[2]).toEqual({ do: 'open', lastId: null });
    lab.do({ kind: 'opened' }).do({ kind: 'events', events: [connected('two')] });
    expect(lab.shown.state).toBe('live');
  });

  it('shows nothing of before once the reader signed out', () => {
    const lab = new Lab().live().do({ kind: 'signed-out' });
    expect(lab.effects).toEqual([{ do: 'close' }, { do: 'deliver', events: [{ name: 'reset', data: { reason: 'grants_changed' } }] }]);
    expect([lab.shown.state, lab.state.lastId, lab.state.view]).toEqual(['signed-out', null, null]);
    lab.do({ kind: 'wake' });
    expect(lab.effects).toEqual([{ do: 'open', lastId: null }]);
  });

  it('says nothing more once it is stopped', () => {
    const lab = new Lab().live().do({ kind: 'stop' });
    expect(lab.did).toEqual(['close']);
    lab.do({ kind: 'lost', why: 'x' }).after(100_000).do({ kind: 'tick' });
    expect(lab.did).toEqual([]);
  });
});
