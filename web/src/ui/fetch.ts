// What a view asks the gateway for: loading, there, or not to be had and why.

import { useEffect, useState } from 'preact/hooks';

import { retryAfter } from '../link/stream';

export type Asked<T> =
  | { state: 'loading' }
  /** `doubt`: why it could not be had again, and may be old. */
  | { state: 'there'; value: T; doubt?: string }
  /** `retryAfter` in seconds, where the gateway says so. */
  | { state: 'refused'; status: number; why: string; retryAfter: number | null };

/** An answer that is none that was hoped for. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    why: string,
    readonly retryAfter: number | null,
  ) {
    super(why);
  }
}

/** Asks for JSON. Throws `Refused` for a problem document, and what `fetch` throws. */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await fetch(path, { cache: 'no-store', ...init });
  if (answer.ok) return (await answer.json()) as T;
  const problem = (await answer.json().catch(() => null)) as { title?: string; detail?: string } | null;
  const why = problem?.detail ?? problem?.title ?? `the gateway answered ${answer.status}`;
  throw new Refused(answer.status, why, retryAfter(answer.headers.get('Retry-After')));
}

/** What is shown after `refused`: what was there before, unless the reader may not see it any more or it is gone. */
export function kept<T>(before: Asked<T>, refused: Asked<never>): Asked<T> {
  if (before.state !== 'there' || refused.state !== 'refused') return refused;
  const passes = refused.status === 0 || refused.status === 429 || refused.status >= 500;
  return passes ? { ...before, doubt: refused.why } : refused;
}

export function refusal(error: unknown): Asked<never> {
  if (error instanceof Refused) {
    return { state: 'refused', status: error.status, why: error.message, retryAfter: error.retryAfter };
  }
  return { state: 'refused', status: 0, why: 'the gateway could not be reached', retryAfter: null };
}

/** Asks for `path` when it changes, or `again` does, and gives up when the view goes. What was there stays until it is answered. */
export function useAsked<T>(path: string, again: unknown = null): Asked<T> {
  const [asked, setAsked] = useState<{ path: string; asked: Asked<T> }>({ path, asked: { state: 'loading' } });
  useEffect(() => {
    const abort = new AbortController();
    ask<T>(path, { signal: abort.signal }).then(
      (value) => setAsked({ path, asked: { state: 'there', value } }),
      (error: unknown) => {
        if (abort.signal.aborted) return;
        setAsked((before) => ({ path, asked: kept(before.path === path ? before.asked : { state: 'loading' }, refusal(error)) }));
      },
    );
    return () => abort.abort();
  }, [path, again]);
  return asked.path === path ? asked.asked : { state: 'loading' };
}
