// The durations of the latest tasks as bars, the failed ones marked.

import { memo } from 'preact/compat';

import type { TaskComplete } from '../../model/types';
import { duration } from '../../ui/format';

/** Bars, the latest tasks. */
const BARS = 24;
const WIDTH = 120;
const HEIGHT = 24;

export const Sparkline = memo(function Sparkline({ tasks }: { tasks: readonly TaskComplete[] }) {
  const shown = tasks.filter((task) => task.duration !== null).slice(-BARS);
  if (shown.length === 0) return <span class="sparkline" />;
  const longest = Math.max(...shown.map((task) => task.duration ?? 0), 1);
  const step = WIDTH / BARS;
  const last = shown.at(-1)?.duration ?? 0;
  const label = `Durations of the last ${shown.length} tasks: longest ${duration(longest)}, latest ${duration(last)}`;
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      {shown.map((task, i) => {
        const height = Math.max(1.5, ((task.duration ?? 0) / longest) * HEIGHT);
        return (
          <rect
            key={task.key}
            x={i * step}
            y={HEIGHT - height}
            width={step - 1.5}
            height={height}
            class={task.success === false ? 'failed' : task.success ? 'passed' : 'unknown'}
          />
        );
      })}
    </svg>
  );
});
