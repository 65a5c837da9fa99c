// Past runs, a page after the other; two of them can be compared.

import { useEffect, useState } from 'preact/hooks';

import { passRate } from '../../model/derive';
import type { RunRow } from '../../model/types';
import { to } from '../../shell/route';
import { usePage, type Page } from '../../store/store';
import { ask, refusal, type Asked } from '../../ui/fetch';
import { useFollowing } from '../../ui/following';
import { duration, number, percent, score, time } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Bar, Empty } from '../../ui/parts';
import { NotThere } from './refused';

/** Runs of one page of the gateway's, and pages that are kept on screen. */
const LIMIT = 50;
const MAX_RUNS = 1000;

interface Answer {
  runs: RunRow[];
  next: string | null;
}

interface Wanted {
  vm: string;
  state: '' | 'open' | 'ended';
}

const vmsOf = (page: Page) => page.fleet.vms;

/** Another number whenever a run begins or ends. */
function runsMark(page: Page): number {
  let mark = 0;
  for (const vm of page.fleet.vms.values()) {
    for (const run of vm.runs) mark += run.ended === null ? 1 : 2;
  }
  return mark;
}

function path({ vm, state }: Wanted, extra: Record<string, string>): string {
  const query = new URLSearchParams(extra);
  if (vm !== '') query.set('vm', vm);
  if (state !== '') query.set('state', state);
  return `/api/runs?${query.toString()}`;
}

export function RunsView({ vm }: { vm: string | null }) {
  const [wanted, setWanted] = useState<Wanted>({ vm: vm ?? '', state: '' });
  const [picked, setPicked] = useState<string[]>([]);
  const { runs, next, asked, more, again } = useRuns(wanted);
  // The two that were picked last.
  const pick = (run: string) => setPicked(picked.includes(run) ? picked.filter((one) => one !== run) : [...picked, run].slice(-2));
  const [a, b] = picked;
  return (
    <section aria-labelledby="runs-title">
      <div class="tools">
        <h1 id="runs-title">Runs</h1>
        <Filters wanted={wanted} change={setWanted} />
        <a href={path(wanted, { format: 'csv' })}>Runs (CSV)</a>
        <a href={path(wanted, { format: 'csv', rows: 'tasks' })}>Their tasks (CSV)</a>
        {a !== undefined && b !== undefined ? (
          <a class="primary" href={to.compare(a, b)} data-action="compare">
            Compare the two
          </a>
        ) : (
          <span class="hint">Tick two runs to compare them.</span>
        )}
      </div>
      {asked.state !== 'there' && runs.length === 0 && <NotThere asked={asked} what="runs" again={again} />}
      {asked.state === 'there' && runs.length === 0 && <Empty>No run matches.</Empty>}
      {runs.length > 0 && <Rows runs={runs} picked={picked} pick={pick} />}
      {asked.state === 'refused' && runs.length > 0 && <NotThere asked={asked} what="more runs" again={more} />}
      {next !== null && runs.length < MAX_RUNS && (
        <p class="pages">
          <button type="button" disabled={asked.state === 'loading'} onClick={more}>
            More
          </button>
        </p>
      )}
      {runs.length >= MAX_RUNS && next !== null && <p class="hint">Older runs are in the CSV, or behind a filter.</p>}
    </section>
  );
}

function useRuns(wanted: Wanted) {
  const [runs, setRuns] = useState<RunRow[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const [asked, setAsked] = useState<Asked<null>>({ state: 'loading' });
  const [page, setPage] = useState<{ cursor: string | null; at: number }>({ cursor: null, at: 0 });
  useEffect(() => {
    const abort = new AbortController();
    const { cursor } = page;
    setAsked({ state: 'loading' });
    const extra = { limit: String(LIMIT), ...(cursor === null ? {} : { cursor }) };
    ask<Answer>(path(wanted, extra), { signal: abort.signal }).then(
      (answer) => {
        setRuns((before) => (cursor === null ? answer.runs : [...before, ...answer.runs]));
        setNext(answer.next);
        setAsked({ state: 'there', value: null });
      },
      (error: unknown) => {
        if (!abort.signal.aborted) setAsked(refusal(error));
      },
    );
    return () => abort.abort();
  }, [wanted.vm, wanted.state, page]);
  useEffect(() => {
    setRuns([]);
    setNext(null);
    setPage({ cursor: null, at: Date.now() });
  }, [wanted.vm, wanted.state]);
  const more = () => setPage({ cursor: next, at: Date.now() });
  const again = () => setPage({ cursor: null, at: Date.now() });
  // Who looks at older ones keeps them.
  useFollowing(usePage(runsMark), runs.length <= LIMIT, again);
  return { runs, next, asked, more, again };
}

function Filters({ wanted, change }: { wanted: Wanted; change: (wanted: Wanted) => void }) {
  const vms = usePage(vmsOf);
  const names = [...new Set([...vms.keys(), ...(wanted.vm === '' ? [] : [wanted.vm])])].sort();
  return (
    <>
      <label>
        VM{' '}
        <select value={wanted.vm} onChange={(event) => change({ ...wanted, vm: event.currentTarget.value })}>
          <option value="">all</option>
          {names.map((name) => (
            <option key={name} value={name}>
              {line(name)}
            </option>
          ))}
        </select>
      </label>
      <label>
        State{' '}
        <select
          value={wanted.state}
          onChange={(event) => change({ ...wanted, state: event.currentTarget.value as Wanted['state'] })}
        >
          <option value="">all</option>
          <option value="open">going on</option>
          <option value="ended">over</option>
        </select>
      </label>
    </>
  );
}

function Rows({ runs, picked, pick }: { runs: readonly RunRow[]; picked: readonly string[]; pick: (run: string) => void }) {
  return (
    <div class="scrolls panel" tabIndex={0} role="region" aria-labelledby="runs-title">
      <table data-table="runs">
        <thead>
          <tr>
            <th scope="col">
              <span class="visually-hidden">Compare</span>
            </th>
            <th scope="col">Run</th>
            <th scope="col">VM</th>
            <th scope="col">Began</th>
            <th scope="col" class="numeric">
              Took
            </th>
            <th scope="col">Tasks</th>
            <th scope="col" class="numeric">
              Pass rate
            </th>
            <th scope="col" class="numeric">
              Mean score
            </th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <tr key={run.run} data-run={run.run}>
              <td>
                <input
                  type="checkbox"
                  aria-label={`Compare run ${run.run}`}
                  checked={picked.includes(run.run)}
                  onChange={() => pick(run.run)}
                />
              </td>
              <th scope="row">
                <a href={to.run(run.run)}>{run.run}</a>
              </th>
              <td>
                <bdi>{line(run.vm)}</bdi>
              </td>
              <td>{run.historic ? 'before the gateway' : time(run.started_at)}</td>
              <td class="numeric">{duration(run.duration)}</td>
              <td class="wide">
                <span class="counts">
                  {number(run.completed)} of {run.total_tasks === null ? '?' : number(run.total_tasks)}
                </span>
                <Bar passed={run.passed} failed={run.failed} unknown={run.unknown} total={run.total_tasks} label={`Tasks of ${run.run}`} />
              </td>
              <td class="numeric">{percent(passRate(run))}</td>
              <td class="numeric">{score(run.average_score)}</td>
              <td>{run.state === 'open' ? 'goes on' : line(run.reason ?? 'over').replaceAll('_', ' ')}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
