// A plot of uPlot's: drawn anew when the theme or the width changes, fed when the data does.

import { useEffect, useMemo, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { some } from '../ui/format';
import type { Task } from '../views/shared/tasks';
import { inWords, scoreRange, series, taskRange, type Series } from './series';

const HEIGHT = 180;

interface Shape {
  title: string;
  unit: string;
  data: (series: Series) => uPlot.AlignedData;
  lines: (colour: (name: string) => string) => uPlot.Series[];
  range?: (least: number | null, most: number | null) => [number, number];
}

const SCORE: Shape = {
  title: 'Score',
  unit: '',
  data: ({ x, score, mean }) => [x, score, mean],
  lines: (colour) => [
    { label: 'score', stroke: colour('--accent'), paths: () => null, points: { show: true, size: 5, fill: colour('--accent') } },
    { label: 'mean of 10', stroke: colour('--pass'), width: 2, points: { show: false }, spanGaps: true },
  ],
  range: scoreRange,
};

const DURATION: Shape = {
  title: 'Duration',
  unit: ' s',
  data: ({ x, duration }) => [x, duration],
  lines: (colour) => [
    { label: 'duration', stroke: colour('--accent'), fill: colour('--accent-soft'), width: 1.5, points: { show: true, size: 4 } },
  ],
};

/** The scores and the durations of a run's tasks, of which `before` closed earlier and are not shown. */
export function Plots({ tasks, before = 0 }: { tasks: readonly Task[]; before?: number }) {
  const columns = useMemo(() => series(tasks, before), [tasks, before]);
  const words = useMemo(() => inWords(columns), [columns]);
  if (columns.x.length === 0) return null;
  return (
    <section class="plots" aria-label={`Plots of ${some(columns.x.length, 'task')}: ${words}`}>
      <Plot shape={SCORE} columns={columns} />
      <Plot shape={DURATION} columns={columns} />
    </section>
  );
}

function Plot({ shape, columns }: { shape: Shape; columns: Series }) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(columns);
  latest.current = columns;
  useEffect(() => {
    const at = frame.current;
    if (!at) return undefined;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(shape, at.clientWidth), shape.data(latest.current), at);
    };
    draw();
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: at.clientWidth, height: HEIGHT }));
    sizes.observe(at);
    window.addEventListener('themechange', draw);
    return () => {
      sizes.disconnect();
      window.removeEventListener('themechange', draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(shape.data(columns)), [shape, columns]);
  return (
    <figure class="panel plot">
      <figcaption>{shape.title} over tasks</figcaption>
      <div ref={frame} aria-hidden="true" data-plot={shape.title.toLowerCase()} />
    </figure>
  );
}

function options({ unit, lines, range }: Shape, width: number): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour('--text-soft'), grid: { stroke: colour('--line') }, ticks: { stroke: colour('--line') } };
  return {
    width: Math.max(width, 100),
    height: HEIGHT,
    scales: {
      x: { time: false, range: (_, first, last) => taskRange(first, last) },
      y: range ? { range: (_, least, most) => range(least, most) } : {},
    },
    axes: [
      { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] },
      { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => `${tick}${unit}`) },
    ],
    series: [{ label: 'task' }, ...lines(colour)],
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
  };
}
