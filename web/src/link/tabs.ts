// One tab of this browser leads, the others follow: Web Locks choose it, a BroadcastChannel carries what it reads.

/** The name of the lock and of the channel. */
const NAME = 'gatewatch-stream';

export interface Handlers<State, Batch> {
  /** This tab leads from now on, until it closes. */
  lead: () => void;
  /** Another tab has come: what it needs to go on from. Asked of the tab that leads. */
  share: () => State;
  /** What the leading tab shares with this one, which has just come. */
  state: (state: State) => void;
  /** What the leading tab read since. Never before `state`. */
  batch: (batch: Batch) => void;
  /** Another tab wants a try at once. Asked of the tab that leads. */
  woken: () => void;
  /** A tab that is looked at wants time to be looked at: browsers hold the timers back of one that is not. Asked of the tab that leads. */
  tick: () => void;
  /** The reader signed out in another tab. Told the tab that leads. */
  signedOut: () => void;
}

export interface Tabs<State, Batch> {
  send: (batch: Batch) => void;
  wake: () => void;
  tick: () => void;
  signedOut: () => void;
  close: () => void;
  /** Only to carry the types. */
  readonly _?: State;
}

type Message<State, Batch> =
  | { kind: 'hello'; from: string }
  | { kind: 'state'; to: string; state: State }
  | { kind: 'batch'; batch: Batch }
  | { kind: 'wake' }
  | { kind: 'tick' }
  | { kind: 'signed-out' };

export function openTabs<State, Batch>(handlers: Handlers<State, Batch>): Tabs<State, Batch> {
  // Neither is there without a secure origin: then each tab reads a stream of its own.
  if (!('locks' in navigator) || !('BroadcastChannel' in window)) {
    queueMicrotask(handlers.lead);
    return { send: () => {}, wake: () => {}, tick: () => {}, signedOut: () => {}, close: () => {} };
  }
  const me = crypto.randomUUID();
  const channel = new BroadcastChannel(NAME);
  let leads = false;
  let knows = false;
  const post = (message: Message<State, Batch>) => channel.postMessage(message);
  channel.onmessage = ({ data }: MessageEvent<Message<State, Batch>>) => {
    if (leads) {
      if (data.kind === 'hello') post({ kind: 'state', to: data.from, state: handlers.share() });
      if (data.kind === 'wake') handlers.woken();
      if (data.kind === 'tick') handlers.tick();
      if (data.kind === 'signed-out') handlers.signedOut();
    } else if (data.kind === 'state' && data.to === me) {
      knows = true;
      handlers.state(data.state);
    } else if (data.kind === 'batch' && knows) {
      handlers.batch(data.batch);
    }
  };
  const released = new AbortController();
  navigator.locks
    .request(NAME, { signal: released.signal }, () => {
      leads = true;
      handlers.lead();
      // Held until the tab closes.
      return new Promise<void>((resolve) => released.signal.addEventListener('abort', () => resolve()));
    })
    .catch((error: unknown) => {
      if (!released.signal.aborted) throw error;
    });
  post({ kind: 'hello', from: me });
  return {
    send: (batch) => {
      if (leads) post({ kind: 'batch', batch });
    },
    wake: () => post({ kind: 'wake' }),
    tick: () => post({ kind: 'tick' }),
    signedOut: () => post({ kind: 'signed-out' }),
    close: () => {
      released.abort();
      channel.close();
    },
  };
}
