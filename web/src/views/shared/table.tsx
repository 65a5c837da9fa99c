// The tasks of a run: searched, sorted, a page at a time.

import { useMemo, useState } from 'preact/hooks';

import { duration, NONE, number, score, some } from '../../ui/format';
import { line } from '../../ui/harmless';
import { Empty, ResultMark, Said, SortHead, type SortOrder } from '../../ui/parts';
import { csv, found, sorted, type Column, type Task } from './tasks';

/** Rows drawn at once: more would make the page slow, and nobody reads them. */
const PAGE = 100;

/** `draw` gives one page of `rows` and the buttons to turn it. */
export function usePages<T>(rows: readonly T[]): { shown: readonly T[]; turn: preact.JSX.Element | null } {
  const [wanted, setPage] = useState(0);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  const page = Math.min(wanted, pages - 1);
  const shown = rows.slice(page * PAGE, (page + 1) * PAGE);
  if (pages === 1) return { shown, turn: null };
  const where = `${number(page * PAGE + 1)} to ${number(page * PAGE + shown.length)} of ${number(rows.length)}`;
  const turn = (
    <p class="pages">
      <button type="button" class="small" disabled={page === 0} onClick={() => setPage(page - 1)}>
        Before
      </button>
      <span>{where}</span>
      <Said cause={page} words={where} />
      <button type="button" class="small" disabled={page === pages - 1} onClick={() => setPage(page + 1)}>
        Next
      </button>
    </p>
  );
  return { shown, turn };
}

/** Hands `text` to the reader as a file. */
export function download(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has it by then; without this each file would stay in memory.
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function TaskTable({ run, vm, tasks }: { run: string; vm: string; tasks: readonly Task[] }) {
  const [text, setText] = useState('');
  const [order, setOrder] = useState<SortOrder<Column>>({ by: 'number', down: true });
  const rows = useMemo(() => sorted(found(tasks, text), order.by, order.down), [tasks, text, order]);
  const { shown, turn } = usePages(rows);
  const head = { order, onSort: setOrder };
  const count = text === '' ? some(tasks.length, 'task') : `${rows.length} of ${some(tasks.length, 'task')}`;
  return (
    <section class="panel" aria-labelledby="tasks-title">
      <div class="tools">
        <h2 id="tasks-title">Tasks</h2>
        <input
          type="search"
          placeholder="Search id or result"
          aria-label="Search tasks"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <span class="hint" data-count>
          {count}
        </span>
        <Said cause={text} words={count} />
        <button
          type="button"
          class="small"
          disabled={rows.length === 0}
          onClick={() => download(`${vm}-${run}.csv`, csv(run, vm, rows), 'text/csv;charset=utf-8')}
        >
          CSV
        </button>
      </div>
      {tasks.length === 0 ? (
        <Empty>No task is over yet.</Empty>
      ) : (
        <div class="scrolls" tabIndex={0} role="region" aria-labelledby="tasks-title">
          <table data-table="tasks">
            <thead>
              <tr>
                <SortHead name="number" numeric {...head}>
                  No.
                </SortHead>
                <SortHead name="id" {...head}>
                  Task
                </SortHead>
                <SortHead name="result" {...head}>
                  Result
                </SortHead>
                <SortHead name="score" numeric {...head}>
                  Score
                </SortHead>
                <SortHead name="steps" numeric {...head}>
                  Steps
                </SortHead>
                <SortHead name="duration" numeric {...head}>
                  Duration
                </SortHead>
              </tr>
            </thead>
            <tbody>
              {shown.map((task) => (
                <tr key={task.key} data-task={task.id}>
                  <td class="numeric">{task.number ?? NONE}</td>
                  <th scope="row">
                    <bdi>{line(task.id)}</bdi>
                  </th>
                  <td>
                    <ResultMark success={task.success} />
                  </td>
                  <td class="numeric">{score(task.score)}</td>
                  <td class="numeric">{task.steps ?? NONE}</td>
                  <td class="numeric">{duration(task.duration)}</td>
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
