// For those with the scope `admin`: who watches, with which key, what was held back, what was reloaded.

import { useEffect, useState } from 'preact/hooks';

import type { Replicas } from '../../model/replicas';
import { gatewayNow } from '../../store/clock';
import { ask, Refused, useAsked, type Asked } from '../../ui/fetch';
import { duration, NONE, number, some, time } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Age, Empty } from '../../ui/parts';
import { Doubt, NotThere } from '../runs/refused';
import { ReplicaTable } from './replicas';
import type { KeyRow, Limits, Reload, Streams, StreamRow } from './types';

/** How often the lists are asked for, milliseconds, while somebody looks. */
const EVERY_MS = 5000;

/** A number that changes every few seconds while the page is looked at. */
function useRound(): [number, () => void] {
  const [round, setRound] = useState(0);
  useEffect(() => {
    const timer = window.setInterval(() => {
      if (document.visibilityState === 'visible') setRound((before) => before + 1);
    }, EVERY_MS);
    return () => window.clearInterval(timer);
  }, []);
  return [round, () => setRound(round + 1)];
}

export function AdminView() {
  const [round, again] = useRound();
  return (
    <>
      <h1 class="visually-hidden">Administration</h1>
      <ReplicaTable asked={useAsked<Replicas>('/api/replicas', round)} again={again} />
      <StreamTable asked={useAsked<Streams>('/api/streams?limit=200', round)} again={again} />
      <KeyTable asked={useAsked<KeyRow[]>('/api/keys', round)} again={again} />
      <LimitTable asked={useAsked<Limits>('/api/limits', round)} again={again} />
      <LastReload asked={useAsked<Reload>('/api/reload', round)} again={again} />
    </>
  );
}

interface Part<T> {
  asked: Asked<T>;
  again: () => void;
}

function StreamTable({ asked, again }: Part<Streams>) {
  if (asked.state !== 'there') return <NotThere asked={asked} what="streams" again={again} />;
  const { streams, total } = asked.value;
  return (
    <section class="panel" aria-labelledby="streams-title">
      <Doubt asked={asked} />
      <div class="tools">
        <h2 id="streams-title">Live streams</h2>
        <span class="hint">{total > streams.length && `${streams.length} of `}
          {some(total, 'stream')} at this replica</span>
      </div>
      {streams.length === 0 ? (
        <Empty>Nobody watches.</Empty>
      ) : (
        <div class="scrolls" tabIndex={0} role="region" aria-labelledby="streams-title">
          <table data-table="streams">
            <thead>
              <tr>
                <th scope="col">Who</th>
                <th scope="col">From</th>
                <th scope="col">For</th>
                <th scope="col">VMs</th>
                <th scope="col" class="numeric">
                  Interval
                </th>
                <th scope="col" class="numeric">
                  Behind
                </th>
                <th scope="col" class="numeric">
                  Delivered
                </th>
                <th scope="col" class="numeric">
                  Coalesced
                </th>
                <th scope="col">Protocol</th>
              </tr>
            </thead>
            <tbody>
              {streams.map((stream) => (
                <Stream key={stream.id} stream={stream} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Stream({ stream }: { stream: StreamRow }) {
  const { vms } = stream;
  return (
    <tr>
      <th scope="row">
        <bdi>{line(stream.principal)}</bdi> <span class="hint">{stream.kind.replaceAll('_', ' ')}</span>
      </th>
      <td>{stream.client}</td>
      <td>
        <Age since={stream.opened_at} />
      </td>
      <td title={vms?.join(', ')}>{vms === null ? 'all it may see' : vms.length > 3 ? some(vms.length, 'VM') : vms.join(', ')}</td>
      <td class="numeric">{stream.interval} s</td>
      <td class="numeric">{number(stream.behind)}</td>
      <td class="numeric">{number(stream.delivered)}</td>
      <td class="numeric">{number(stream.coalesced)}</td>
      <td>{stream.protocol}</td>
    </tr>
  );
}

function KeyTable({ asked, again }: Part<KeyRow[]>) {
  const [said, say] = useState<string | null>(null);
  const [asks, askFor] = useState<KeyRow | null>(null);
  if (asked.state !== 'there') return <NotThere asked={asked} what="keys" again={again} />;
  const revoke = async (key: KeyRow) => {
    askFor(null);
    try {
      await ask(`/api/keys/${encodeURIComponent(key.id)}/revoke`, { method: 'POST' });
      say(`The key ${key.id} is revoked.`);
    } catch (error) {
      say(`The key ${key.id} is not revoked: ${error instanceof Refused ? line(error.message) : 'the gateway could not be reached'}`);
    }
    again();
  };
  return (
    <section class="panel" aria-labelledby="keys-title">
      <Doubt asked={asked} />
      <div class="tools">
        <h2 id="keys-title">API keys</h2>
        <span role="status">{said}</span>
      </div>
      <div class="scrolls" tabIndex={0} role="region" aria-labelledby="keys-title">
        <table data-table="keys">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Id</th>
              <th scope="col">Scopes</th>
              <th scope="col">VMs</th>
              <th scope="col">Ends</th>
              <th scope="col">Last used</th>
              <th scope="col">
                <span class="visually-hidden">What to do</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {asked.value.map((key) => (
              <tr key={key.id} data-key={key.id}>
                <th scope="row">
                  <bdi>{line(key.name)}</bdi>
                  {key.rotating && <span class="hint"> (two secrets)</span>}
                </th>
                <td>{key.id}</td>
                <td>{key.scopes.join(', ')}</td>
                <td>{key.vms.join(', ')}</td>
                <td>{key.expires_at === null ? 'never' : key.expired ? 'over' : moment(key.expires_at)}</td>
                <td>{key.last_used === null ? 'not since the start' : moment(key.last_used)}</td>
                <td>
                  <button type="button" class="small danger" onClick={() => askFor(key)}>
                    Revoke
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {asks && <Confirm key_={asks} yes={() => void revoke(asks)} no={() => askFor(null)} />}
    </section>
  );
}

function moment(text: string): string {
  return time(Date.parse(text) / 1000);
}

function Confirm({ key_: key, yes, no }: { key_: KeyRow; yes: () => void; no: () => void }) {
  return (
    <dialog
      ref={(dialog) => {
        if (dialog && !dialog.open) dialog.showModal();
      }}
      aria-labelledby="revoke-title"
      onClose={no}
    >
      <h2 id="revoke-title">Revoke {line(key.name)}?</h2>
      <p>
        The key {key.id} and every session that was opened with it end at once, and so do their streams. This cannot be taken back.
      </p>
      <form method="dialog">
        <button class="small">Keep it</button>
        <button type="button" class="primary danger" onClick={yes} data-action="revoke">
          Revoke
        </button>
      </form>
    </dialog>
  );
}

function LimitTable({ asked, again }: Part<Limits>) {
  if (asked.state !== 'there') return <NotThere asked={asked} what="limits" again={again} />;
  const hit = asked.value.hits.filter(({ count }) => count > 0);
  return (
    <section class="panel" aria-labelledby="limits-title">
      <Doubt asked={asked} />
      <h2 id="limits-title">Limits hit</h2>
      {hit.length === 0 ? (
        <Empty>None since the gateway was started.</Empty>
      ) : (
        <ul class="plain" data-list="limits">
          {hit.map(({ limit, count }) => (
            <li key={limit}>
              {limit.replaceAll('_', ' ')}: {some(count, 'time')}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function LastReload({ asked, again }: Part<Reload>) {
  if (asked.state !== 'there') return <NotThere asked={asked} what="reload" again={again} />;
  const { last, started_at, version, certificate_expires_at: ends } = asked.value;
  return (
    <section class="panel" aria-labelledby="reload-title">
      <Doubt asked={asked} />
      <h2 id="reload-title">This gateway</h2>
      <dl class="facts">
        <div>
          <dt>Version</dt>
          <dd>{version}</dd>
        </div>
        <div>
          <dt>Started</dt>
          <dd>{time(started_at)}</dd>
        </div>
        <div>
          <dt>Certificate ends</dt>
          <dd>{ends === null ? NONE : `${time(ends)} (in ${duration(ends - gatewayNow() / 1000)})`}</dd>
        </div>
        <div>
          <dt>Last reload</dt>
          <dd>{last === null ? 'none since the start' : `${time(last.at)}: ${last.outcome}`}</dd>
        </div>
      </dl>
      {last && last.needs_restart.length > 0 && <p>In force only after a restart: {last.needs_restart.join(', ')}</p>}
      {last && last.problems.length > 0 && (
        <ul class="troubles">
          {last.problems.map((problem) => (
            <li key={problem}>{line(problem)}</li>
          ))}
        </ul>
      )}
    </section>
  );
}
