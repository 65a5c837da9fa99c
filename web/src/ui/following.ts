// What was asked for is asked for again when the stream tells of more.

import { useEffect, useRef } from 'preact/hooks';

/** So long after the first news, milliseconds: what comes meanwhile is in the answer too. */
const AGAIN_MS = 3000;

/** Calls `again` after `mark` changed, if `follows` then. */
export function useFollowing(mark: number, follows: boolean, again: () => void): void {
  const seen = useRef(mark);
  const timer = useRef<number | undefined>(undefined);
  const latest = useRef({ mark, follows, again });
  latest.current = { mark, follows, again };
  useEffect(() => {
    if (mark === seen.current || timer.current !== undefined) return;
    timer.current = window.setTimeout(() => {
      timer.current = undefined;
      seen.current = latest.current.mark;
      if (latest.current.follows) latest.current.again();
    }, AGAIN_MS);
  }, [mark]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
}
