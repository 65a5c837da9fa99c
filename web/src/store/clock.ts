// Two clocks, neither of which is the browser's own: one that only goes forward, for how long something took, and the
// gateway's, for how old something is. A browser's clock may be an hour wrong, or be set while the page is open.

/** Words are late on a slow line, by different times: a clock that is further off than this is another one. Milliseconds. */
const SAME_MS = 2000;

/** Goes forward and never jumps; of this tab alone. Milliseconds. */
export function monotonic(): number {
  return performance.now();
}

/** What is to be added to the clock that goes forward after the gateway said `gateway`, both in milliseconds. */
export function offsetAfter(known: number | null, gateway: number, forward: number): number {
  const told = gateway - forward;
  // The word that was under way for the shortest time is the nearest to the truth.
  return known === null || Math.abs(told - known) > SAME_MS ? told : Math.max(known, told);
}

let offset: number | null = null;

/** The gateway, or a tab that heard it, says what time it is. Milliseconds since the epoch. */
export function setClock(gateway: number): void {
  if (Number.isFinite(gateway)) offset = offsetAfter(offset, gateway, monotonic());
}

/** The gateway's time, milliseconds since the epoch; before it said one, this machine's. */
export function gatewayNow(): number {
  return offset === null ? Date.now() : offset + monotonic();
}
