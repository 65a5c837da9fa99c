// Small parts that several views are made of.

import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

import type { Seconds, Stage, Trouble } from '../model/types';
import { gatewayNow } from '../store/clock';
import { onTick } from '../store/ticker';
import { duration, NONE, resultWord, STAGE_WORDS, WHOSE_WORDS } from './format';
import { line } from './harmless';

export function StageBadge({ stage }: { stage: Stage | null | undefined }) {
  const known = stage ?? 'off';
  return (
    <span class={`badge stage-${known}`} data-stage={known}>
      {stage ? STAGE_WORDS[stage] : 'unknown'}
    </span>
  );
}

/** Counts up from `since` without drawing anything else anew. */
export function Age({ since, behind = '', title }: { since: Seconds | null | undefined; behind?: string; title?: string }) {
  const span = useRef<HTMLSpanElement>(null);
  // Before the frame in which it is drawn anew: an effect would make a second one.
  useLayoutEffect(() => {
    const show = (now: Seconds) => {
      const text = since === null || since === undefined ? NONE : duration(now - since) + behind;
      if (span.current && span.current.textContent !== text) span.current.textContent = text;
    };
    show(gatewayNow() / 1000);
    return onTick(show);
  }, [since, behind]);
  return <span ref={span} class="age" title={title} />;
}

/** A bar of what passed, failed and is unknown, out of `total`. */
export function Bar(props: { passed: number; failed: number; unknown: number; total: number | null; label: string }) {
  const { passed, failed, unknown, label } = props;
  const done = passed + failed + unknown;
  const total = Math.max(props.total ?? done, done, 1);
  const share = (part: number) => ({ width: `${(100 * part) / total}%` });
  return (
    <div
      class="bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={props.total ?? undefined}
      aria-valuenow={props.total === null ? undefined : done}
      aria-valuetext={`${done} of ${props.total ?? 'unknown'}: ${passed} passed, ${failed} failed, ${unknown} unknown`}
    >
      <span class="bar-passed" style={share(passed)} />
      <span class="bar-failed" style={share(failed)} />
      <span class="bar-unknown" style={share(unknown)} />
    </div>
  );
}

export function ResultMark({ success }: { success: boolean | null }) {
  const word = resultWord(success);
  return (
    <span class={`result result-${word}`}>
      <span aria-hidden="true">{success === true ? '✓' : success === false ? '✕' : '?'}</span> {word}
    </span>
  );
}

/** Errors in force, each with where to look. */
export function Troubles({ errors }: { errors: readonly Trouble[] }) {
  if (errors.length === 0) return null;
  return (
    <ul class="troubles">
      {errors.map((error) => (
        <li key={error.code} data-error={error.code}>
          <strong>{line(error.code.replaceAll('_', ' '))}</strong> <bdi>{line(error.message)}</bdi>
          <span class="hint">
            {' '}
            look at {WHOSE_WORDS[error.whose] ?? error.whose}; {error.retryable ? 'tried again by itself' : 'needs a person'}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** What a view shows instead of what it does not have. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>;
}

/** Says `words` to who listens, whenever `cause` changes and only then: not what changes by itself. */
export function Said({ cause, words }: { cause: unknown; words: string }) {
  const said = useRef({ cause, words: '' });
  if (said.current.cause !== cause) said.current = { cause, words };
  return (
    <span class="visually-hidden" role="status">
      {said.current.words || null}
    </span>
  );
}

export type SortOrder<K extends string> = { by: K; down: boolean };

/** A table's head that sorts by what it names. */
export function SortHead<K extends string>(props: {
  name: K;
  order: SortOrder<K>;
  onSort: (order: SortOrder<K>) => void;
  children: ComponentChildren;
  numeric?: boolean;
}) {
  const { name, order, onSort, children } = props;
  const active = order.by === name;
  return (
    <th scope="col" class={props.numeric ? 'numeric' : undefined} aria-sort={active ? (order.down ? 'descending' : 'ascending') : 'none'}>
      <button type="button" class="sort" onClick={() => onSort({ by: name, down: active ? !order.down : false })}>
        {children}
        <span aria-hidden="true">{active ? (order.down ? ' ↓' : ' ↑') : ''}</span>
      </button>
    </th>
  );
}
