// The page's link to the gateway: drives the state machine with the clock, the network and the other tabs.
//
// All tabs of a browser share one stream, since over HTTP/1.1 a browser opens six connections to a gateway and no more. The
// tab that holds the lock reads the stream and hands on what it reads; when it goes, the next one goes on from the last id.

import { EMPTY, reduce, type Fleet } from '../model/fleet';
import { gapAfter, heardIn, type Gap } from '../model/missed';
import type { StreamEvent } from '../model/types';
import { gatewayNow, monotonic, setClock } from '../store/clock';
import { untilFullSecond } from '../store/ticker';
import { alike, INITIAL, shifted, step, type Connection, type Input, type LinkState } from './machine';
import { openStream } from './stream';
import { openTabs, type Tabs } from './tabs';

/** How often time is looked at, milliseconds. */
const TICK_MS = 500;
/** Events that may wait to be drawn together; then they are applied at once. */
const MAX_WAITING = 2000;
/** This machine's clock went on by so much more than time did. Milliseconds. */
const SLEPT_MS = 10_000;
/** Nothing waits longer than this in a tab whose timers the browser holds back, once there is more. Milliseconds. */
const LATEST_MS = 1000;

export interface Back extends Gap {
  /** One gap has one, however often it is told of. */
  number: number;
  /** Milliseconds. */
  lostFor: number;
  /** It was the tab that read the stream that was silent, not the gateway. */
  tab: boolean;
}

export interface Told {
  fleet: (fleet: Fleet, events: readonly StreamEvent[]) => void;
  connection: (connection: Connection) => void;
  back: (back: Back) => void;
}

type Lost = { lostFor: number; tab: boolean };

/** What a tab says of itself: when by its own clock, and by the gateway's. */
interface Said {
  link: LinkState;
  at: number;
}

/** What a tab needs to go on where another one was. */
interface Shared extends Said {
  fleet: Fleet;
  gateway: number;
}

interface Batch extends Said {
  events: readonly StreamEvent[];
  back: Lost | null;
}

/** What a notification may come of does not wait. */
function urgent(event: StreamEvent): boolean {
  return event.name === 'run_complete' || (event.name === 'status' && event.data.stage === 'unreachable');
}

function ahead(): number {
  return Date.now() - monotonic();
}

/** A fault of whoever is told something is not one of the stream. */
function safely(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    reportError(error);
  }
}

export class Link {
  #told: Told;
  #state: LinkState = INITIAL;
  #fleet: Fleet = EMPTY;
  /** Read and not handed on yet, or handed on by another tab and not applied yet. */
  #waiting: StreamEvent[] = [];
  #flushing: number | undefined;
  #flushedAt = 0;
  #close: () => void = () => {};
  #tabs: Tabs<Batch> | undefined;
  #leads = false;
  /** The stream is read anew since the tab that read it hung. */
  #taken = false;
  /** This machine's clock minus the one that only goes forward. */
  #ahead = ahead();
  #gap: Back | null = null;
  #gaps = 0;
  #timer: number | undefined;

  constructor(told: Told) {
    this.#told = told;
  }

  start(name: string): void {
    this.#tabs = openTabs<Shared, Batch>(name, {
      lead: (taken) => this.#lead(taken),
      follow: () => this.#drop(),
      share: (fresh) => {
        this.#flush();
        // Somebody is there.
        if (fresh) this.#input({ kind: 'wake' });
        return { fleet: this.#fleet, link: this.#state, at: monotonic(), gateway: gatewayNow() };
      },
      state: ({ fleet, link, at, gateway }) => {
        setClock(gateway);
        this.#drop();
        this.#fleet = fleet;
        this.#follow(shifted(link, monotonic() - at));
        safely(() => this.#told.fleet(fleet, []));
      },
      batch: (batch) => this.#take(batch),
      woken: () => this.#input({ kind: 'wake' }),
      tick: () => {
        this.#time();
        if (this.#waiting.length > 0 && monotonic() - this.#flushedAt >= LATEST_MS) this.#flush();
      },
      signedOut: () => this.#input({ kind: 'signed-out' }),
      hangs: (since) => this.#hangs(since),
    });
    this.#timer = window.setInterval(() => this.#tick(), TICK_MS);
    window.addEventListener('online', this.#wake);
    document.addEventListener('visibilitychange', this.#wake);
  }

  /** Tries at once. */
  wake(): void {
    if (this.#leads) this.#input({ kind: 'wake' });
    else this.#tabs?.wake();
  }

  /** The reader signed out, in whichever tab. */
  signedOut(): void {
    if (this.#leads) this.#input({ kind: 'signed-out' });
    else this.#tabs?.signedOut();
  }

  stop(): void {
    window.clearInterval(this.#timer);
    window.removeEventListener('online', this.#wake);
    document.removeEventListener('visibilitychange', this.#wake);
    this.#input({ kind: 'stop' });
    this.#tabs?.close();
  }

  #wake = (): void => {
    if (document.visibilityState === 'visible') this.wake();
  };

  #tick(): void {
    if (this.#leads) this.#time();
    else this.#tabs?.look(document.visibilityState === 'visible');
  }

  #time(): void {
    const before = this.#ahead;
    this.#ahead = ahead();
    // It slept, or its clock was set, which looks the same: to ask anew does no harm.
    this.#input({ kind: this.#ahead - before > SLEPT_MS ? 'slept' : 'tick' });
  }

  #lead(taken: boolean): void {
    this.#ahead = ahead();
    this.#applyWaiting(null);
    this.#leads = true;
    this.#taken = taken;
    const { lostAt, heardAt } = this.#state;
    // What the tab before had open is gone with it.
    this.#state = { ...this.#state, phase: 'ended', lostAt: taken ? (lostAt ?? heardAt) : lostAt };
    this.#input({ kind: 'start' });
  }

  /** Another tab reads the stream: what this one had open and had not handed on, that one has too. */
  #drop(): void {
    this.#leads = false;
    this.#close();
    this.#close = () => {};
    window.clearTimeout(this.#flushing);
    this.#flushing = undefined;
    this.#waiting = [];
  }

  /** The tab that reads the stream does not answer, of which the gateway knows nothing. */
  #hangs(since: number): void {
    const { state } = this.#state.connection;
    if (state !== 'live' && state !== 'stale' && state !== 'reconnecting') return;
    this.#follow({ ...this.#state, connection: { state: 'stale', why: 'tab', since } });
  }

  #input(input: Input): void {
    if (!this.#leads) return;
    const before = this.#state;
    const [state, effects] = step(before, input, monotonic(), Math.random());
    this.#state = state;
    let back: Lost | null = null;
    for (const effect of effects) {
      if (effect.do === 'close') {
        this.#close();
        this.#close = () => {};
      } else if (effect.do === 'open') {
        this.#close = openStream(effect.lastId, {
          opened: () => this.#input({ kind: 'opened' }),
          refused: (status, retryAfter) => this.#input({ kind: 'refused', status, retryAfter }),
          retry: (ms) => this.#input({ kind: 'retry', ms }),
          events: (events) => this.#input({ kind: 'events', events }),
          lost: (why) => this.#input({ kind: 'lost', why }),
        });
      } else if (effect.do === 'deliver') {
        this.#waiting.push(...effect.events);
        told(effect.events);
      } else {
        back = { lostFor: effect.lostFor, tab: this.#taken };
        this.#taken = false;
      }
    }
    if (this.#due(before.connection !== state.connection || back !== null)) this.#flush(back);
    else this.#later();
  }

  /** Whether what waits is to be applied now: else with all that counts up, so that there is one frame for both. */
  #due(changed: boolean): boolean {
    if (changed || this.#waiting.length > MAX_WAITING) return true;
    if (!document.hidden || this.#waiting.length === 0) return false;
    return monotonic() - this.#flushedAt >= LATEST_MS || this.#waiting.some(urgent);
  }

  #later(): void {
    if (this.#waiting.length === 0) return;
    this.#flushing ??= window.setTimeout(() => (this.#leads ? this.#flush() : this.#applyWaiting(null)), untilFullSecond());
  }

  /** Applies what waits and hands it on to the other tabs. */
  #flush(back: Lost | null = null): void {
    this.#tabs?.send({ events: this.#waiting, link: this.#state, at: monotonic(), back });
    this.#applyWaiting(back);
  }

  /** What another tab read. */
  #take({ events, link, at, back }: Batch): void {
    told(events);
    const before = this.#state.connection;
    this.#state = shifted(link, monotonic() - at);
    this.#waiting.push(...events);
    if (this.#due(back !== null || !alike(before, this.#state.connection))) this.#applyWaiting(back);
    else this.#later();
  }

  #applyWaiting(back: Lost | null): void {
    window.clearTimeout(this.#flushing);
    this.#flushing = undefined;
    this.#flushedAt = monotonic();
    const events = this.#waiting;
    this.#waiting = [];
    const before = this.#fleet;
    this.#follow(this.#state);
    if (back !== null) this.#begin(back, before);
    this.#fleet = reduce(before, events);
    if (events.length > 0) safely(() => this.#told.fleet(this.#fleet, events));
    if (this.#gap) this.#goOn({ ...this.#gap, ...heardIn(this.#gap, before, events) });
  }

  #begin({ lostFor, tab }: Lost, known: Fleet): void {
    // One that was lost again before all was told is one gap.
    const open = this.#gap;
    if (!open) this.#gaps += 1;
    this.#gap = {
      ...gapAfter(open?.known ?? known),
      results: open?.results ?? 0,
      number: this.#gaps,
      lostFor: lostFor + (open?.lostFor ?? 0),
      tab: tab && (open?.tab ?? true),
    };
  }

  #goOn(gap: Back): void {
    this.#gap = gap.over ? null : gap;
    safely(() => this.#told.back(gap));
  }

  #follow(link: LinkState): void {
    this.#state = link;
    safely(() => this.#told.connection(link.connection));
  }
}

/** What time it is by the gateway's clock, as soon as it says so. */
function told(events: readonly StreamEvent[]): void {
  for (const event of events) {
    if (event.name === 'connected' || event.name === 'heartbeat') setClock(event.data.timestamp * 1000);
  }
}
