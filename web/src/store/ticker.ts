// One clock for all that counts up: a timer a second, however many ages the page shows, and none while nobody looks.

import { useEffect, useState } from 'preact/hooks';

import type { Seconds } from '../model/types';
import { gatewayNow } from './clock';

/** Milliseconds to just behind the gateway's next full second: timers may be a little early, and would come twice. */
export function untilFullSecond(): number {
  return 1010 - (gatewayNow() % 1000);
}

type Listener = (now: Seconds) => void;

const listeners = new Set<Listener>();
let timer: number | undefined;

function tick(): void {
  // At the full second, when the link applies what came.
  timer = window.setTimeout(tick, untilFullSecond());
  const now = gatewayNow() / 1000;
  for (const listener of listeners) listener(now);
}

function arrange(): void {
  const wanted = listeners.size > 0 && document.visibilityState === 'visible';
  if (wanted && timer === undefined) {
    tick();
  } else if (!wanted && timer !== undefined) {
    window.clearTimeout(timer);
    timer = undefined;
  }
}

/** Calls `listener` each second while somebody looks at the page. */
export function onTick(listener: Listener): () => void {
  if (listeners.size === 0) document.addEventListener('visibilitychange', arrange);
  listeners.add(listener);
  arrange();
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) document.removeEventListener('visibilitychange', arrange);
    arrange();
  };
}

/** The gateway's seconds since the epoch, new each second. */
export function useNow(): Seconds {
  const [now, setNow] = useState(() => gatewayNow() / 1000);
  useEffect(() => onTick(setNow), []);
  return now;
}
