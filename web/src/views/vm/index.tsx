// One VM: how it came to where it is, its tasks, its log, the machine.

import { useCallback, useMemo, useState } from 'preact/hooks';

import { counts, currentRun, eta, meanScore, passRate } from '../../model/derive';
import { isOpen, MAX_TASKS, type Run, type StageChange, type Vm } from '../../model/fleet';
import { Plots } from '../../plots/plot';
import { to } from '../../shell/route';
import { usePage, type Page } from '../../store/store';
import { useNow } from '../../store/ticker';
import { useAsked } from '../../ui/fetch';
import { duration, number, percent, score, time } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Age, Bar, Empty, StageBadge, Troubles } from '../../ui/parts';
import { TaskTable } from '../shared/table';
import { ofEvent } from '../shared/tasks';
import { Facts } from './facts';
import { wholeHistory, type Reached } from './stages';
import { LogTail } from './log';

/** Stages on the page, the latest. */
const SHOWN_STAGES = 24;

export function VmView({ name }: { name: string }) {
  const part = useCallback((page: Page) => page.fleet.vms.get(name), [name]);
  const vm = usePage(part);
  const [chosen, choose] = useState<string | null>(null);
  if (!vm) {
    return (
      <Empty>
        <h1>{line(name)}</h1>
        No VM of this name is known here: it is not configured, or this credential does not see it. <a href={to.fleet}>To the fleet</a>
      </Empty>
    );
  }
  const run = vm.runs.find((one) => one.run === chosen) ?? currentRun(vm);
  return (
    <div class="vm" data-vm={vm.name}>
      <Head vm={vm} />
      <Troubles errors={Object.values(vm.errors)} />
      <Stages vm={vm.name} stages={vm.stages} />
      {run ? <OfRun vm={vm} run={run} choose={choose} /> : <Empty>No run of this VM is known yet.</Empty>}
      <LogTail vm={vm.name} />
      {vm.status && <Facts status={vm.status} />}
    </div>
  );
}

/** The address of a page that is opened elsewhere; null for one that is no web page. */
export function webAddress(text: string | null | undefined): string | null {
  if (!text || !URL.canParse(text)) return null;
  return ['http:', 'https:'].includes(new URL(text).protocol) ? text : null;
}

function Head({ vm }: { vm: Vm }) {
  const status = vm.status;
  const vnc = webAddress(status?.probe?.vnc_url);
  return (
    <header class="head">
      <h1>{line(vm.name)}</h1>
      <StageBadge stage={status?.stage} />
      <span>
        in this stage <Age since={status?.stage_since} />
      </span>
      <span class={status?.stale ? 'old' : undefined}>
        {status?.stale ? 'old report, ' : 'report '}
        <Age since={status?.answered_at ?? status?.reported_at} behind=" ago" />
      </span>
      <nav aria-label="Of this VM">
        {vnc !== null && (
          <a href={vnc} target="_blank" rel="noreferrer noopener">
            Screen (VNC)
          </a>
        )}
        <a href={to.runs(vm.name)}>All its runs</a>
        <a href={`/api/runs?vm=${encodeURIComponent(vm.name)}&format=csv&rows=tasks`}>All its tasks (CSV)</a>
      </nav>
    </header>
  );
}

/** How long it was in each stage. */
function Stages({ vm, stages }: { vm: string; stages: readonly StageChange[] }) {
  const now = useNow();
  const asked = useAsked<{ stages: Reached[] }>(`/api/vms/${encodeURIComponent(vm)}/stages`);
  const history = wholeHistory(asked.state === 'there' ? asked.value.stages : [], stages).slice(-SHOWN_STAGES);
  return (
    <section class="panel" aria-labelledby="stages-title">
      <h2 id="stages-title">Stages</h2>
      <ol class="stages">
        {history.map(({ stage, since }, i) => (
          <li key={`${since}-${stage}`} data-stage-change={stage}>
            <StageBadge stage={stage} />
            <span>since {time(since)}</span>
            <span class="hint">{duration((history[i + 1]?.since ?? now) - since)}</span>
          </li>
        ))}
      </ol>
      {asked.state === 'refused' && <p class="hint">What was before this page was opened could not be had: {asked.why}</p>}
    </section>
  );
}

function OfRun({ vm, run, choose }: { vm: Vm; run: Run; choose: (run: string) => void }) {
  const tasks = useMemo(() => run.tasks.map(ofEvent), [run.tasks]);
  const made = counts(run);
  const cut = run.tasks.length >= MAX_TASKS && made.done > run.tasks.length;
  return (
    <>
      <section class="panel" aria-labelledby="run-title">
        <div class="tools">
          <h2 id="run-title">
            <a href={to.run(run.run)}>Run {run.run}</a>
          </h2>
          {vm.runs.length > 1 && (
            <label>
              Show{' '}
              <select value={run.run} onChange={(event) => choose(event.currentTarget.value)}>
                {vm.runs.map((one) => (
                  <option key={one.run} value={one.run}>
                    {time(one.startedAt)} {isOpen(one) ? '(goes on)' : ''} {line(one.source)}
                  </option>
                ))}
              </select>
            </label>
          )}
        </div>
        <p class="figures">
          <Figure name="done" value={`${number(made.done)} of ${made.total === null ? '?' : number(made.total)}`} />
          <Figure name="pass rate" value={percent(passRate(made))} />
          <Figure name={cut ? 'mean score of those shown' : 'mean score'} value={score(meanScore(run.tasks))} />
          <Figure name="passed, failed, unknown" value={`${number(made.passed)} / ${number(made.failed)} / ${number(made.unknown)}`} />
          {isOpen(run) && <Left run={run} />}
        </p>
        <Bar {...made} label="Tasks done" />
        {isOpen(run) && run.progress?.current_task && (
          <p class="task">
            now <bdi>{line(run.progress.current_task)}</bdi>
            {run.progress.current_step !== null && `, step ${run.progress.current_step}`}
            {run.progress.action && `, ${line(run.progress.action)}`}
            {run.progress.instruction && (
              <>
                : <bdi>{line(run.progress.instruction)}</bdi>
              </>
            )}
          </p>
        )}
      </section>
      {cut && (
        <p class="banner banner-info" data-cut>
          <span>
            The latest {number(run.tasks.length)} of {number(made.done)} tasks are shown. <a href={to.run(run.run)}>The run</a> has the first ones too,
            and <a href={`/api/runs/${encodeURIComponent(run.run)}?format=csv`}>its CSV</a> has all.
          </span>
        </p>
      )}
      <Plots tasks={tasks} before={cut ? made.done - run.tasks.length : 0} />
      <TaskTable run={run.run} vm={vm.name} tasks={tasks} />
    </>
  );
}

function Left({ run }: { run: Run }) {
  const now = useNow();
  const at = eta(run, now);
  return <Figure name="left, foretold" value={at === null ? 'not yet' : duration(at - now)} />;
}

export function Figure({ name, value }: { name: string; value: string }) {
  return (
    <span class="figure">
      <span class="big">{value}</span>
      <span class="hint">{name}</span>
    </span>
  );
}
