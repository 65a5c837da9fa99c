// A VM at a glance.

import { memo } from 'preact/compat';

import { counts, currentRun, eta, health, passRate, TIMELINE } from '../../model/derive';
import type { Run, Vm } from '../../model/fleet';
import type { Stage, Status } from '../../model/types';
import { to } from '../../shell/route';
import { useNow } from '../../store/ticker';
import { duration, number, percent, STAGE_WORDS, time } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Age, Bar, StageBadge, Troubles } from '../../ui/parts';
import { Sparkline } from './sparkline';

/** Drawn anew only when its own VM changed. `poller` is the replica that polls it, where there are several. */
export const Card = memo(function Card({ vm, poller }: { vm: Vm; poller: string | undefined }) {
  const status = vm.status;
  const stage = status?.stage;
  const run = currentRun(vm);
  const shows = stage === 'running' || stage === 'complete' || stage === 'unreachable';
  const errors = Object.values(vm.errors);
  return (
    <article class={`card health-${health(vm)}`} data-vm={vm.name} data-stage={stage ?? 'unknown'} data-health={health(vm)}>
      <header>
        <h2>
          <a href={to.vm(vm.name)}>{line(vm.name)}</a>
        </h2>
        <StageBadge stage={stage} />
      </header>
      <Timeline status={status} />
      {run && shows ? <Progress run={run} running={stage === 'running'} /> : <Boot status={status} />}
      <Troubles errors={errors} />
      <footer>
        <span>
          in this stage <Age since={status?.stage_since} />
        </span>
        <span class={status?.stale ? 'old' : undefined}>
          {status?.stale ? 'old report, ' : 'report '}
          <Age since={status?.answered_at ?? status?.reported_at} behind=" ago" />
        </span>
        {poller !== undefined && (
          <span class="poller" data-poller={poller}>
            polled by <bdi>{line(poller)}</bdi>
          </span>
        )}
      </footer>
    </article>
  );
});

function Progress({ run, running }: { run: Run; running: boolean }) {
  const made = counts(run);
  const rate = passRate(made);
  const progress = run.progress;
  return (
    <div class="progress">
      <p class="figures">
        <span class="big" data-figure="done">
          {number(made.done)} of {made.total === null ? '?' : number(made.total)}
        </span>
        <span class="big" data-figure="rate" title="passed of those whose result is known">
          {percent(rate)}
          {rate !== null && <span class="hint"> passed</span>}
        </span>
      </p>
      <Bar {...made} label="Tasks done" />
      {running && progress?.current_task ? (
        <p class="task" title={line(progress.instruction ?? '') || undefined}>
          <bdi>{line(progress.current_task)}</bdi>
          {progress.current_step !== null && <span class="hint"> step {progress.current_step}</span>}
        </p>
      ) : (
        <p class="task hint">{run.ended ? `over since ${time(run.ended.timestamp)}` : 'between tasks'}</p>
      )}
      <p class="tail">
        <Sparkline tasks={run.tasks} />
        {running && <Eta run={run} />}
      </p>
    </div>
  );
}

function Eta({ run }: { run: Run }) {
  const now = useNow();
  const at = eta(run, now);
  return (
    <span class="eta" data-figure="eta">
      {at === null ? 'no estimate yet' : `about ${duration(at - now)} left`}
    </span>
  );
}

/** What there is to say before a benchmark runs. */
function Boot({ status }: { status: Status | null }) {
  const stage = status?.stage;
  const left = status?.download_seconds_left;
  let word = 'no report yet';
  if (stage === 'off') word = 'powered off';
  else if (stage === 'unreachable') word = 'does not answer';
  else if (stage === 'ready') word = 'waits for a benchmark';
  else if (stage === 'running') word = 'no log yet';
  else if (stage === 'complete') word = 'the last benchmark is over';
  else if (stage) word = `${STAGE_WORDS[stage]}${left ? `, ${duration(left)} left` : ''}`;
  const boots = stage !== undefined && !['off', 'unreachable', 'ready', 'running', 'complete'].includes(stage);
  return (
    <div class="progress">
      <p class="figures">
        <span class="boot">{word}</span>
        {boots && status?.percent !== null && status?.percent !== undefined && (
          <span class="big" data-figure="boot">
            {Math.round(status.percent)} %
          </span>
        )}
      </p>
    </div>
  );
}

const SHORT: Partial<Record<Stage, string>> = { oobe: 'first boot' };

/** The stages as steps; those before the present one are done. */
function Timeline({ status }: { status: Status | null }) {
  const at = TIMELINE.indexOf(status?.stage ?? 'off');
  const known = status !== null && at >= 0;
  const label = known ? `Stage ${at + 1} of ${TIMELINE.length}: ${STAGE_WORDS[status.stage]}` : 'Stage not known';
  return (
    <div class="timeline" role="img" aria-label={label}>
      {TIMELINE.map((stage, i) => (
        <span key={stage} class={!known || i > at ? 'step' : i === at ? 'step here' : 'step past'} title={SHORT[stage] ?? stage} />
      ))}
    </div>
  );
}
