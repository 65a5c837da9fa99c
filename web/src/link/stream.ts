// One request for the stream, read frame by frame.

import { createParser } from 'eventsource-parser';

import { read } from '../model/read';
import type { StreamEvent } from '../model/types';

/** At the interval that the gateway is configured for: a page that is open all day should not hurry the VMs. */
const STREAM = '/api/benchmark-sse';
/** A frame of more than this is none of the gateway's; characters. */
const MAX_FRAME = 1 << 20;

export interface Heard {
  opened: () => void;
  refused: (status: number, retryAfter: number | null) => void;
  retry: (ms: number) => void;
  events: (events: StreamEvent[]) => void;
  lost: (why: string) => void;
}

/** Opens the stream behind `lastId`; the answer closes it, after which nothing more is heard. */
export function openStream(lastId: string | null, heard: Heard): () => void {
  const abort = new AbortController();
  const unlessClosed = <A extends unknown[]>(tell: (...args: A) => void) => {
    return (...args: A) => {
      if (!abort.signal.aborted) tell(...args);
    };
  };
  const lost = unlessClosed(heard.lost);
  follow(lastId, abort.signal, {
    opened: unlessClosed(heard.opened),
    refused: unlessClosed(heard.refused),
    retry: unlessClosed(heard.retry),
    events: unlessClosed(heard.events),
    lost,
  }).then(
    (refused) => {
      if (!refused) lost('the stream ended');
    },
    () => lost('no connection'),
  );
  return () => abort.abort();
}

/** Whether the gateway refused, of which nothing more is to be told. */
async function follow(lastId: string | null, signal: AbortSignal, heard: Heard): Promise<boolean> {
  const headers: Record<string, string> = { Accept: 'text/event-stream' };
  if (lastId !== null) headers['Last-Event-ID'] = lastId;
  const answer = await fetch(STREAM, { headers, signal, cache: 'no-store', redirect: 'error' });
  if (!answer.ok || answer.body === null) {
    heard.refused(answer.status, retryAfter(answer.headers.get('Retry-After')));
    return true;
  }
  heard.opened();
  let events: StreamEvent[] = [];
  const parser = createParser({
    onEvent: ({ event, data, id }) => {
      const known = read(event, data, id);
      if (known) events.push(known);
    },
    onRetry: heard.retry,
    maxBufferSize: MAX_FRAME,
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    parser.feed(value);
    if (events.length > 0) {
      heard.events(events);
      events = [];
    }
  }
}

/** Seconds; null where the header is absent or says nothing usable. */
export function retryAfter(header: string | null): number | null {
  return header !== null && /^\d{1,6}$/.test(header.trim()) ? Number(header) : null;
}
