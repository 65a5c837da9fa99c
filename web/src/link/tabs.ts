// One tab of this browser leads, the others follow: Web Locks choose it, a BroadcastChannel carries what it reads.
//
// A tab that follows asks until it knows what the one that leads knows, and again whenever it cannot go on from there. One that
// leads and does not answer loses its lock to one that asked; each leadership has a term, so that what a tab says that lost it
// and does not know yet is not taken for news.

import { heardFrom, look, suspects, type Watch } from './watch';

/** Between two questions for what the leading tab knows, milliseconds. */
const HELLO_MS = 1000;

export interface Handlers<State, Batch> {
  /** This tab leads from now on. `taken`: from one that hangs. */
  lead: (taken: boolean) => void;
  /** This tab led, and another one does now. */
  follow: () => void;
  /** What another tab needs to go on from. `fresh`: it has just come. Asked of the tab that leads. */
  share: (fresh: boolean) => State;
  /** What the leading tab shares with this one. */
  state: (state: State) => void;
  /** What the leading tab read since. Never before `state`. */
  batch: (batch: Batch) => void;
  /** Another tab wants a try at once. Asked of the tab that leads. */
  woken: () => void;
  /** Another tab wants time to be looked at: browsers hold the timers back of one that is hidden. Asked of the tab that leads. */
  tick: () => void;
  /** The reader signed out in another tab. Told the tab that leads. */
  signedOut: () => void;
  /** The tab that leads has not answered since `since`. */
  hangs: (since: number) => void;
}

export interface Tabs<Batch> {
  send: (batch: Batch) => void;
  wake: () => void;
  signedOut: () => void;
  /** Looks after the tab that leads; often. `seen`: somebody looks at this one. */
  look: (seen: boolean) => void;
  close: () => void;
}

type Message<State, Batch> =
  | { kind: 'hello'; from: string; fresh: boolean }
  | { kind: 'state'; to: string; term: number; n: number; state: State }
  | { kind: 'batch'; term: number; n: number; batch: Batch }
  | { kind: 'leads' | 'beat'; term: number }
  | { kind: 'wake' | 'tick' | 'signed-out' };

export interface Channel {
  postMessage: (message: unknown) => void;
  onmessage: ((event: MessageEvent) => void) | null;
  close: () => void;
}

export interface Surroundings {
  locks: Pick<LockManager, 'request'>;
  channel: (name: string) => Channel;
  /** Milliseconds that only go forward, and since the epoch. */
  now: () => number;
  epoch: () => number;
  id: string;
}

class Sharing<State, Batch> implements Tabs<Batch> {
  #around: Surroundings;
  #name: string;
  #handlers: Handlers<State, Batch>;
  #channel: Channel;
  #leads = false;
  #knows = false;
  #fresh = true;
  /** Of the leadership that is known. */
  #term = 0;
  /** Batches of it. */
  #n = 0;
  #watch: Watch;
  #helloAt = -Infinity;
  #closed = false;
  #hung = false;
  #waits = new AbortController();
  #release: () => void = () => {};

  constructor(name: string, handlers: Handlers<State, Batch>, around: Surroundings) {
    this.#around = around;
    this.#name = name;
    this.#handlers = handlers;
    this.#watch = heardFrom(around.now());
    this.#channel = around.channel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Message<State, Batch>>) => this.#hear(data);
    this.#queue();
    this.#hello();
  }

  send(batch: Batch): void {
    if (!this.#leads) return;
    this.#n += 1;
    this.#post({ kind: 'batch', term: this.#term, n: this.#n, batch });
  }

  wake(): void {
    this.#post({ kind: 'wake' });
  }

  signedOut(): void {
    this.#post({ kind: 'signed-out' });
  }

  look(seen: boolean): void {
    if (this.#leads) return;
    const now = this.#around.now();
    const [watch, verdict] = look(this.#watch, now, seen);
    this.#watch = watch;
    if (verdict === 'take') this.#take();
    else if (verdict === 'ask') this.#post({ kind: 'tick' });
    if (!this.#knows && now - this.#helloAt >= HELLO_MS) this.#hello();
    if (suspects(watch, now)) {
      this.#hung = true;
      this.#handlers.hangs(watch.firstAt);
    }
  }

  close(): void {
    this.#closed = true;
    this.#waits.abort();
    this.#release();
    this.#channel.close();
  }

  #post(message: Message<State, Batch>): void {
    if (!this.#closed) this.#channel.postMessage(message);
  }

  #hello(): void {
    this.#helloAt = this.#around.now();
    this.#post({ kind: 'hello', from: this.#around.id, fresh: this.#fresh });
  }

  #hear(message: Message<State, Batch>): void {
    if (!('term' in message)) {
      if (this.#leads) this.#answer(message);
      return;
    }
    // Of a tab that does not know yet that it leads no more.
    if (message.term < this.#term) return;
    if (message.term > this.#term) this.#other(message.term);
    if (this.#leads) return;
    this.#watch = heardFrom(this.#around.now());
    if (message.kind === 'state') {
      if (message.to !== this.#around.id) return;
      this.#knows = true;
      this.#fresh = false;
      this.#hung = false;
      this.#n = message.n;
      this.#handlers.state(message.state);
    } else if (message.kind === 'batch' && this.#knows && message.n === this.#n + 1) {
      this.#n = message.n;
      this.#handlers.batch(message.batch);
    } else if (message.kind === 'batch' || !this.#knows || this.#hung) {
      // It cannot go on from here, or said that nothing is heard.
      this.#knows = false;
      this.#hung = false;
      if (message.kind === 'leads' || this.#around.now() - this.#helloAt >= HELLO_MS / 4) this.#hello();
    }
  }

  #answer(message: Exclude<Message<State, Batch>, { term: number }>): void {
    if (message.kind === 'hello') {
      const state = this.#handlers.share(message.fresh);
      this.#post({ kind: 'state', to: message.from, term: this.#term, n: this.#n, state });
    } else if (message.kind === 'wake') {
      this.#handlers.woken();
    } else if (message.kind === 'signed-out') {
      this.#handlers.signedOut();
    } else {
      this.#handlers.tick();
      this.#post({ kind: 'beat', term: this.#term });
    }
  }

  /** Another tab leads than was known. */
  #other(term: number): void {
    this.#term = term;
    this.#knows = false;
    if (!this.#leads) return;
    this.#leads = false;
    this.#handlers.follow();
  }

  /** Waits for the lock. */
  #queue(): void {
    this.#waits = new AbortController();
    const { signal } = this.#waits;
    void this.#held(this.#around.locks.request(this.#name, { signal }, () => this.#lead(false)), signal);
  }

  /** Takes the lock from a tab that does not answer. */
  #take(): void {
    this.#watch = heardFrom(this.#around.now());
    this.#waits.abort();
    this.#waits = new AbortController();
    void this.#held(this.#around.locks.request(this.#name, { steal: true }, () => this.#lead(true)), this.#waits.signal);
  }

  #lead(taken: boolean): Promise<void> {
    this.#leads = true;
    this.#knows = true;
    this.#fresh = false;
    this.#hung = false;
    this.#term = Math.max(this.#term + 1, this.#around.epoch());
    this.#n = 0;
    this.#post({ kind: 'leads', term: this.#term });
    this.#handlers.lead(taken);
    // Held until the tab closes, or another one takes it.
    return new Promise((done) => {
      this.#release = done;
    });
  }

  /** Until the lock is no longer this tab's. */
  async #held(lock: Promise<unknown>, waits: AbortSignal): Promise<void> {
    try {
      await lock;
    } catch {
      if (this.#closed || waits.aborted) return;
      // Another tab took it, since this one did not answer.
      if (this.#leads) this.#other(this.#term);
      // Whatever its term: that of a tab that has not heard of this one's may be lower.
      this.#term = 0;
      this.#knows = false;
      this.#watch = heardFrom(this.#around.now());
      this.#queue();
      this.#hello();
    }
  }
}

export function openTabs<State, Batch>(name: string, handlers: Handlers<State, Batch>): Tabs<Batch> {
  // Neither is there without a secure origin: then each tab reads a stream of its own.
  if (!('locks' in navigator) || !('BroadcastChannel' in window)) {
    queueMicrotask(() => handlers.lead(false));
    return { send: () => {}, wake: () => {}, signedOut: () => {}, look: () => {}, close: () => {} };
  }
  return sharing(name, handlers, {
    locks: navigator.locks,
    channel: (of) => new BroadcastChannel(of),
    now: () => performance.now(),
    epoch: () => Date.now(),
    id: crypto.randomUUID(),
  });
}

/** The same in whatever surroundings. */
export function sharing<State, Batch>(name: string, handlers: Handlers<State, Batch>, around: Surroundings): Tabs<Batch> {
  return new Sharing(name, handlers, around);
}
