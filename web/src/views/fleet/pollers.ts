// Which replica polls what, asked for now and then: the stream tells of VMs, whoever polls them.

import { useEffect, useState } from 'preact/hooks';

import { NOBODY, pollers, type Pollers, type Replicas } from '../../model/replicas';
import { ask } from '../../ui/fetch';

/** Between two questions, milliseconds, and where there was one replica only. */
const EVERY_MS = 10_000;
const ALONE_EVERY_MS = 60_000;

/** Asks while somebody looks and `live` says that there is somebody to ask. */
export function usePollers(live: boolean): Pollers {
  const [known, setKnown] = useState(NOBODY);
  useEffect(() => {
    if (!live) return;
    const abort = new AbortController();
    let timer: number | undefined;
    const look = async () => {
      let wait = EVERY_MS;
      if (document.visibilityState === 'visible') {
        try {
          const { replicas } = await ask<Replicas>('/api/replicas', { signal: abort.signal });
          if (replicas.length < 2) wait = ALONE_EVERY_MS;
          setKnown((before) => pollers(replicas, before));
        } catch {
          // Who polls is a detail: what is wrong is said by the state of the stream.
        }
      }
      if (!abort.signal.aborted) timer = window.setTimeout(() => void look(), wait);
    };
    void look();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [live]);
  return known;
}
