// What stands in the place of something that the gateway did not give.

import type { Asked } from '../../ui/fetch';
import { signIn } from '../../shell/route';
import { line } from '../../ui/harmless';
import { Empty } from '../../ui/parts';

/** Beside what is shown although it could not be had again. */
export function Doubt({ asked }: { asked: Asked<unknown> }) {
  if (asked.state !== 'there' || asked.doubt === undefined) return null;
  return <p class="hint old">This may be old: it could not be had again ({line(asked.doubt)}).</p>;
}

export function NotThere({ asked, what, again }: { asked: Asked<unknown>; what: string; again?: () => void }) {
  if (asked.state === 'loading') return <Empty>Loading {what}…</Empty>;
  if (asked.state === 'there') return null;
  return (
    <div class="banner banner-warn" role="alert">
      <p>
        <strong>No {what}:</strong> {line(asked.why)}
        {asked.retryAfter !== null && ` (in ${asked.retryAfter} s again)`}
      </p>
      {asked.status === 401 && (
        <button type="button" class="primary" onClick={signIn}>
          Sign in
        </button>
      )}
      {asked.status !== 401 && asked.status !== 404 && again && (
        <button type="button" class="small" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}
