// The benchmark's log as it grows. Asked for only while somebody looks.

import { useEffect, useRef, useState } from 'preact/hooks';

import { ask } from '../../ui/fetch';
import { harmless, line } from '../../ui/harmless';
import { Empty } from '../../ui/parts';
import { joined, type Log, type LogPart } from './text';

/** How often it is asked for, milliseconds; the gateway knows more only after a poll anyway. */
const EVERY_MS = 2000;
/** After a refusal. */
const LATER_MS = 15_000;

interface Answer {
  logs: LogPart[];
  container: string;
}

interface Shown {
  logs: Log[];
  container: string;
  refused: string | null;
}

function useLogs(vm: string): Shown {
  const [shown, setShown] = useState<Shown>({ logs: [], container: '', refused: null });
  const latest = useRef(shown);
  latest.current = shown;
  useEffect(() => {
    const abort = new AbortController();
    let timer: number | undefined;
    const look = async () => {
      timer = undefined;
      if (document.visibilityState === 'visible') {
        // With several logs the whole is asked for: a position is one log's.
        const { logs } = latest.current;
        const only = logs.length === 1 ? logs[0] : undefined;
        const after = only ? `?after=${only.end}` : '';
        try {
          const path = `/api/vms/${encodeURIComponent(vm)}/log${after}`;
          const answer = await ask<Answer>(path, { signal: abort.signal });
          const next = joined(latest.current.logs, answer.logs);
          setShown({ logs: next, container: harmless(answer.container), refused: null });
          timer = window.setTimeout(look, EVERY_MS);
        } catch (error) {
          if (abort.signal.aborted) return;
          setShown({ ...latest.current, refused: error instanceof Error ? error.message : String(error) });
          timer = window.setTimeout(look, LATER_MS);
        }
      }
    };
    const seen = () => {
      if (document.visibilityState === 'visible' && timer === undefined) void look();
    };
    void look();
    document.addEventListener('visibilitychange', seen);
    return () => {
      abort.abort();
      window.clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }, [vm]);
  return shown;
}

export function LogTail({ vm }: { vm: string }) {
  const { logs, container, refused } = useLogs(vm);
  return (
    <section class="panel" aria-labelledby="log-title">
      <h2 id="log-title">Log</h2>
      {refused !== null && <p class="hint">The log could not be had: {line(refused)}</p>}
      {logs.length === 0 && container === '' && <Empty>Nothing was read of a log since the gateway was started.</Empty>}
      {logs.map((log) => (
        <Tail key={log.source} name={log.source} text={log.text} />
      ))}
      {container !== '' && (
        <details>
          <summary>The container's own output, its last lines</summary>
          <Tail name="container" text={container} />
        </details>
      )}
    </section>
  );
}

/** Stays at the end unless the reader scrolled away from it. */
function Tail({ name, text }: { name: string; text: string }) {
  const box = useRef<HTMLPreElement>(null);
  const follows = useRef(true);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  return (
    <>
      <h3>
        <bdi>{line(name)}</bdi>
      </h3>
      <pre
        ref={box}
        class="log"
        dir="ltr"
        tabIndex={0}
        role="region"
        aria-label={`Log ${line(name)}`}
        data-log={name}
        onScroll={({ currentTarget: at }) => {
          follows.current = at.scrollHeight - at.scrollTop - at.clientHeight < 24;
        }}
      >
        {text}
      </pre>
    </>
  );
}
