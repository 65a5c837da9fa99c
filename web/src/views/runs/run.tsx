// One run out of the history.

import { useCallback, useState } from 'preact/hooks';

import { passRate } from '../../model/derive';
import type { RunRow } from '../../model/types';
import { Plots } from '../../plots/plot';
import { to } from '../../shell/route';
import { usePage, type Page } from '../../store/store';
import { useFollowing } from '../../ui/following';
import { duration, number, percent, score, time } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Bar } from '../../ui/parts';
import { TaskTable } from '../shared/table';
import { Figure } from '../vm';
import { useWholeRun, type WholeRun } from './load';
import { Doubt, NotThere } from './refused';

export function RunView({ run }: { run: string }) {
  const [again, setAgain] = useState(0);
  const asked = useWholeRun(run, again);
  const open = asked.state === 'there' && asked.value.run.state === 'open';
  const mark = usePage(useCallback((page: Page) => markOf(page, run), [run]));
  useFollowing(mark, open, () => setAgain(again + 1));
  const whole = asked.state === 'there' ? asked.value : null;
  return (
    <div data-run={run}>
      <header class="head">
        <h1>Run {line(run)}</h1>
        {whole && <Whence run={whole.run} />}
      </header>
      <Doubt asked={asked} />
      {whole ? <Whole whole={whole} /> : <NotThere asked={asked} what={`run ${line(run)}`} again={() => setAgain(again + 1)} />}
    </div>
  );
}

/** Another number whenever the stream tells of a task of this run, or of its end. */
function markOf(page: Page, id: string): number {
  for (const vm of page.fleet.vms.values()) {
    const run = vm.runs.find((one) => one.run === id);
    if (run) return 2 * run.tasks.length + (run.ended === null ? 0 : 1);
  }
  return 0;
}

function Whence({ run }: { run: RunRow }) {
  const path = `/api/runs/${encodeURIComponent(run.run)}`;
  return (
    <>
      <a href={to.vm(run.vm)}>{line(run.vm)}</a>
      <span>
        <bdi>{line(run.source)}</bdi>
      </span>
      <span>{run.historic ? 'from before the gateway' : `began ${time(run.started_at)}`}</span>
      <nav aria-label="Of this run">
        <a href={`${path}?format=csv`}>CSV</a>
        <a href={`${path}?format=jsonl`}>JSON lines</a>
      </nav>
    </>
  );
}

function Whole({ whole: { run, tasks, cut } }: { whole: WholeRun }) {
  return (
    <>
      <section class="panel" aria-label="Summary">
        <p class="figures">
          <Figure name="done" value={`${number(run.completed)} of ${run.total_tasks === null ? '?' : number(run.total_tasks)}`} />
          <Figure name="pass rate" value={percent(passRate(run))} />
          <Figure name="mean score" value={score(run.average_score)} />
          <Figure name="passed, failed, unknown" value={`${number(run.passed)} / ${number(run.failed)} / ${number(run.unknown)}`} />
          <Figure name="took" value={duration(run.duration)} />
          <Figure name="state" value={run.state === 'open' ? 'goes on' : (run.reason ?? 'over').replaceAll('_', ' ')} />
        </p>
        <Bar passed={run.passed} failed={run.failed} unknown={run.unknown} total={run.total_tasks} label="Tasks done" />
      </section>
      {cut && <p class="banner banner-info">The first {number(tasks.length)} tasks are shown; the CSV has all.</p>}
      <Plots tasks={tasks} />
      <TaskTable run={run.run} vm={run.vm} tasks={tasks} />
    </>
  );
}
