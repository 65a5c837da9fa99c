// What is known of the machine itself.

import type { Status } from '../../model/types';
import { bytes, duration, NONE, percent, time } from '../../ui/format';
import { line } from '../../ui/harmless';

function share(used: number | null | undefined, of: number | null | undefined): string {
  if (used === null || used === undefined) return NONE;
  return of ? `${bytes(used)} of ${bytes(of)} (${percent(used / of)})` : bytes(used);
}

function yes(value: boolean | null | undefined): string {
  return value === null || value === undefined ? NONE : value ? 'yes' : 'no';
}

/** A dependency as the report has it: a name, or a name with what is known of it. */
export function dependency(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.values(value).filter((part) => part !== null).join(' ');
}

export function Facts({ status }: { status: Status }) {
  const container = status.container;
  const facts: [string, string][] = [
    ['Container', container ? `${container.name}, ${container.state ?? (container.running ? 'running' : 'stopped')}` : 'none'],
    ['Image', container?.image ?? NONE],
    ['Container started', container?.started_at ? time(Date.parse(container.started_at) / 1000) : NONE],
    ['Benchmark server', status.probe ? status.probe.status : NONE],
    ['Disk', share(status.storage?.used, status.storage?.total)],
    ['Memory', share(status.memory?.used, status.memory?.limit)],
    ['QEMU monitor', yes(status.qemu_monitor)],
    ['Setup script', status.setup_script ?? NONE],
    ['Dependencies', status.dependencies.length > 0 ? status.dependencies.map(dependency).join(', ') : NONE],
    ['Power', status.power ?? NONE],
    ['Clock', clock(status.clock_skew)],
    ['Last report', time(status.reported_at)],
  ];
  return (
    <section class="panel" aria-labelledby="facts-title">
      <h2 id="facts-title">Machine</h2>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <bdi>{line(value)}</bdi>
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function clock(skew: number | null): string {
  if (skew === null) return NONE;
  if (Math.abs(skew) < 1) return 'right within a second';
  return `${duration(Math.abs(skew))} ${skew > 0 ? 'ahead of' : 'behind'} the gateway's`;
}
