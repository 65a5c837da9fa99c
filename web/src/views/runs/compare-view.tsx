// Two runs side by side.

import { useMemo, useState } from 'preact/hooks';

import { passRate } from '../../model/derive';
import type { RunRow } from '../../model/types';
import { to } from '../../shell/route';
import { duration, NONE, percent, score, time } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Empty, ResultMark, SortHead, type SortOrder } from '../../ui/parts';
import { usePages } from '../shared/table';
import { CHANGES, pairs, sortedPairs, tally, type Column, type Pair } from './compare';
import { useWholeRun, type WholeRun } from './load';
import { NotThere } from './refused';

export function CompareView({ a, b }: { a: string; b: string }) {
  const ofA = useWholeRun(a);
  const ofB = useWholeRun(b);
  return (
    <div data-compare={`${a} ${b}`}>
      <header class="head">
        <h1>Two runs compared</h1>
        <a href={to.compare(b, a)}>The other way round</a>
      </header>
      {ofA.state === 'there' && ofB.state === 'there' ? (
        <Both a={ofA.value} b={ofB.value} />
      ) : (
        <NotThere asked={ofA.state === 'there' ? ofB : ofA} what={`run ${line(ofA.state === 'there' ? b : a)}`} />
      )}
    </div>
  );
}

function Both({ a, b }: { a: WholeRun; b: WholeRun }) {
  const list = useMemo(() => pairs(a.tasks, b.tasks), [a, b]);
  return (
    <>
      <div class="sides">
        <Side name="A" run={a.run} />
        <Side name="B" run={b.run} />
      </div>
      {(a.cut || b.cut) && <p class="banner banner-warn">One of them is too long to be compared whole.</p>}
      <Pairs list={list} />
    </>
  );
}

function Side({ name, run }: { name: string; run: RunRow }) {
  return (
    <section class="panel" aria-label={`Run ${name}`}>
      <h2>
        {name}: <a href={to.run(run.run)}>{run.run}</a>
      </h2>
      <p>
        <bdi>{line(run.vm)}</bdi>, {run.historic ? 'from before the gateway' : time(run.started_at)}
      </p>
      <p>
        <span class="big">{percent(passRate(run))}</span> passed, mean score {score(run.average_score)}, took {duration(run.duration)}
      </p>
    </section>
  );
}

/** With its sign; what is zero has none. */
function signed(value: number | null, digits: number, unit = ''): string {
  if (value === null) return NONE;
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return `${text}${unit}`;
  return `${value > 0 ? '+' : '−'}${text}${unit}`;
}

function Pairs({ list }: { list: readonly Pair[] }) {
  const [changed, setChanged] = useState(false);
  const [order, setOrder] = useState<SortOrder<Column>>({ by: 'change', down: false });
  const counts = useMemo(() => tally(list), [list]);
  const rows = useMemo(
    () => sortedPairs(changed ? list.filter((pair) => pair.change !== 'same') : list, order.by, order.down),
    [list, changed, order],
  );
  const { shown, turn } = usePages(rows);
  const head = { order, onSort: setOrder };
  return (
    <section class="panel" aria-labelledby="pairs-title">
      <div class="tools">
        <h2 id="pairs-title">Task by task, A to B</h2>
        <label>
          <input type="checkbox" checked={changed} onChange={(event) => setChanged(event.currentTarget.checked)} /> only what changed
        </label>
        <span data-tally>
          {CHANGES.filter((change) => counts[change] > 0)
            .map((change) => `${counts[change]} ${change}`)
            .join(', ')}
        </span>
      </div>
      {rows.length === 0 ? (
        <Empty>Nothing differs.</Empty>
      ) : (
        <div class="scrolls" tabIndex={0} role="region" aria-labelledby="pairs-title">
          <table data-table="pairs">
            <thead>
              <tr>
                <SortHead name="id" {...head}>
                  Task
                </SortHead>
                <th scope="col">A</th>
                <th scope="col">B</th>
                <SortHead name="change" {...head}>
                  Change
                </SortHead>
                <SortHead name="score" numeric {...head}>
                  Score
                </SortHead>
                <SortHead name="duration" numeric {...head}>
                  Duration
                </SortHead>
              </tr>
            </thead>
            <tbody>
              {shown.map((pair) => (
                <tr key={`${pair.time} ${pair.id}`} data-change={pair.change}>
                  <th scope="row">
                    <bdi>{line(pair.id)}</bdi>
                    {pair.time > 1 && <span class="hint"> (time {pair.time})</span>}
                  </th>
                  <td>{pair.a ? <ResultMark success={pair.a.success} /> : NONE}</td>
                  <td>{pair.b ? <ResultMark success={pair.b.success} /> : NONE}</td>
                  <td class={`change-${pair.change.replaceAll(' ', '-')}`}>{pair.change}</td>
                  <td class="numeric">{signed(pair.score, 2)}</td>
                  <td class="numeric">{signed(pair.duration, 0, ' s')}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {turn}
    </section>
  );
}
