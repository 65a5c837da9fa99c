// What the page may truthfully say of its connection.

import type { Connection } from '../link/machine';
import { monotonic } from '../store/clock';
import { useNow } from '../store/ticker';
import { duration } from '../ui/format';
import { signIn } from './route';

/** The words of a state without its countdown: what a screen reader is told, once. */
export function connectionWord(connection: Connection): string {
  switch (connection.state) {
    case 'connecting':
      return 'connecting';
    case 'live':
      return 'live';
    case 'stale':
      return { silent: 'no word from the gateway', reports: 'some reports are old', tab: 'the tab that reads the stream does not answer' }[connection.why];
    case 'reconnecting':
      return `reconnecting: ${connection.why}`;
    case 'signed-out':
      return 'signed out';
    case 'not-allowed':
      return 'not allowed';
  }
}

function Countdown({ at, since }: { at: number; since: number }) {
  useNow();
  const now = monotonic();
  const left = Math.max(0, Math.ceil((at - now) / 1000));
  return (
    <span class="hint">
      {left > 0 ? `again in ${left} s` : 'trying'}; lost for {duration((now - since) / 1000)}
    </span>
  );
}

function Since({ since }: { since: number }) {
  useNow();
  return <span class="hint">for {duration((monotonic() - since) / 1000)}</span>;
}

export function ConnectionState({ connection, onTry }: { connection: Connection; onTry: () => void }) {
  return (
    <div class={`connection connection-${connection.state}`} data-connection={connection.state} id="connection">
      <span class="dot" aria-hidden="true" />
      {/* Only the word is a live region: a countdown would talk all the time. */}
      <span role="status">{connectionWord(connection)}</span>
      {connection.state === 'reconnecting' && (
        <>
          <Countdown at={connection.at} since={connection.since} />
          <button type="button" class="small" onClick={onTry}>
            Try now
          </button>
        </>
      )}
      {connection.state === 'stale' && <Since since={connection.since} />}
    </div>
  );
}

/** Over the view when what it shows is no longer kept up to date and only a person can change that. */
export function Barred({ connection }: { connection: Connection }) {
  if (connection.state === 'signed-out') {
    return (
      <div class="banner banner-warn" role="alert">
        <p>
          <strong>You are signed out.</strong> What you see is what was known then.
        </p>
        <button type="button" class="primary" onClick={signIn} data-action="sign-in">
          Sign in
        </button>
      </div>
    );
  }
  if (connection.state === 'not-allowed') {
    return (
      <div class="banner banner-warn" role="alert">
        <p>
          <strong>Your credential may not read events.</strong> It needs the scope <code>events:read</code>.
        </p>
        <button type="button" class="primary" onClick={signIn} data-action="sign-in">
          Sign in with another
        </button>
      </div>
    );
  }
  return null;
}
