// The page's link to the gateway: drives the state machine with the clock, the network and the other tabs.
//
// All tabs of a browser share one stream, since over HTTP/1.1 a browser opens six connections to a gateway and no more. The
// tab that holds the lock reads the stream and hands on what it reads; when it goes, the next one goes on from the last id.

import { EMPTY, reduce, type Fleet } from '../model/fleet';
import type { StreamEvent } from '../model/types';
import { INITIAL, SILENT_MS, step, type Connection, type Input, type LinkState } from './machine';
import { untilFullSecond } from '../store/ticker';
import { openStream } from './stream';
import { openTabs, type Tabs } from './tabs';

/** How often time is looked at, milliseconds. */
const TICK_MS = 500;
/** Events that may wait for it; then they are applied at once. */
const MAX_WAITING = 2000;
/** What was missed counts as told so long after the stream is back. */
const CAUGHT_UP_MS = 1500;

export interface Back {
  /** Milliseconds. */
  lostFor: number;
  /** Completions that came in meanwhile. */
  results: number;
  /** The gateway could not go on from where the page was. */
  anew: boolean;
}

export interface Told {
  fleet: (fleet: Fleet, events: readonly StreamEvent[]) => void;
  connection: (connection: Connection) => void;
  back: (back: Back) => void;
}

/** What a tab needs to go on where another one was. */
interface Shared {
  fleet: Fleet;
  link: LinkState;
}

interface Batch {
  events: readonly StreamEvent[];
  link: LinkState;
  lostFor: number | null;
}

export class Link {
  #told: Told;
  #state: LinkState = INITIAL;
  #fleet: Fleet = EMPTY;
  #waiting: StreamEvent[] = [];
  #flushing: number | undefined;
  #close: () => void = () => {};
  #tabs: Tabs<Shared, Batch> | undefined;
  #leads = false;
  /** When a follower last heard of the tab that leads. */
  #heardAt = Date.now();
  #timer: number | undefined;

  constructor(told: Told) {
    this.#told = told;
  }

  start(): void {
    this.#tabs = openTabs<Shared, Batch>({
      lead: () => {
        this.#leads = true;
        // What the tab before had open is gone with it.
        this.#state = { ...this.#state, phase: 'ended' };
        this.#input({ kind: 'start' });
      },
      share: () => {
        this.#flush();
        this.#input({ kind: 'wake' });
        return { fleet: this.#fleet, link: this.#state };
      },
      state: ({ fleet, link }) => {
        this.#heardAt = Date.now();
        this.#fleet = fleet;
        this.#follow(link);
        this.#told.fleet(fleet, []);
      },
      batch: (batch) => this.#take(batch),
      woken: () => this.#input({ kind: 'wake' }),
      tick: () => this.#input({ kind: 'tick' }),
      signedOut: () => this.#input({ kind: 'signed-out' }),
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
    if (this.#leads) {
      this.#input({ kind: 'tick' });
      return;
    }
    // Each heartbeat that the leading tab hears is handed on: from its silence follows the same as from the gateway's.
    const silent = Date.now() - this.#heardAt;
    if (silent > SILENT_MS && this.#state.connection.state === 'live') {
      this.#follow({ ...this.#state, connection: { state: 'stale', why: 'silent', since: this.#heardAt } });
    }
    if (this.#state.connection.state !== 'live' && document.visibilityState === 'visible') this.#tabs?.tick();
  }

  #input(input: Input): void {
    if (!this.#leads) return;
    const before = this.#state;
    const [state, effects] = step(before, input, Date.now(), Math.random());
    this.#state = state;
    let lostFor: number | null = null;
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
      } else {
        lostFor = effect.lostFor;
      }
    }
    if (before.connection !== state.connection || lostFor !== null) this.#flush(lostFor);
    else if (this.#waiting.length > MAX_WAITING || document.hidden) this.#flush();
    else if (this.#waiting.length > 0) {
      // When all that counts up changes too, so that there is one frame for both.
      this.#flushing ??= window.setTimeout(() => this.#flush(), untilFullSecond());
    }
  }

  /** Applies what waits and hands it on to the other tabs. */
  #flush(lostFor: number | null = null): void {
    window.clearTimeout(this.#flushing);
    this.#flushing = undefined;
    const batch: Batch = { events: this.#waiting, link: this.#state, lostFor };
    this.#waiting = [];
    this.#tabs?.send(batch);
    this.#apply(batch);
  }

  #take(batch: Batch): void {
    this.#heardAt = Date.now();
    this.#state = batch.link;
    this.#apply(batch);
  }

  #apply({ events, link, lostFor }: Batch): void {
    const before = this.#fleet.completions;
    this.#follow(link);
    if (lostFor !== null) this.#report(lostFor, before);
    if (events.some((event) => event.name === 'reset')) this.#anew = true;
    this.#fleet = reduce(this.#fleet, events);
    if (events.length > 0) this.#told.fleet(this.#fleet, events);
  }

  #anew = false;

  #report(lostFor: number, before: number): void {
    this.#anew = false;
    window.setTimeout(() => {
      const results = Math.max(0, this.#fleet.completions - before);
      this.#told.back({ lostFor, results, anew: this.#anew });
    }, CAUGHT_UP_MS);
  }

  #follow(link: LinkState): void {
    this.#state = link;
    this.#told.connection(link.connection);
  }
}
