import { describe, expect, it } from 'vitest';

import { inWords, scoreRange, series, taskRange } from '../plots/series';
import { kept, type Asked } from '../ui/fetch';
import { harmless, line } from '../ui/harmless';
import { pairs, sortedPairs, tally } from './runs/compare';
import { compared, csv, found, sorted, type Task } from './shared/tasks';
import { dependency } from './vm/facts';
import { wholeHistory } from './vm/stages';
import { appended, joined, MAX_CHARS } from './vm/text';

function task(id: string, n: number, more: Partial<Task> = {}): Task {
  return { key: `${id}-${n}`, id, number: n, success: true, score: 1, steps: 3, duration: 10, at: n, worker: null, ...more };
}

describe('a log as text', () => {
  it('cannot move, hide or colour anything', () => {
    expect(harmless('<img onerror=alert(1)>')).toBe('<img onerror=alert(1)>');
    expect(harmless('\x1b[31mred\x07\x00')).toBe('␛[31mred␇␀');
    expect(harmless('a\u202eb\u2066c\u200fd')).toBe('a⟨U+202E⟩b⟨U+2066⟩c⟨U+200F⟩d');
    expect(harmless('one\r\ntwo\tthree\rfour\u2028')).toBe('one\ntwo\tthree␍four⟨U+2028⟩');
    expect(harmless('a\u00adb\u{e0041}')).toBe('a⟨U+00AD⟩b⟨U+E0041⟩');
    expect(line('one\ntwo\t\x85')).toBe('one␊two␉⟨U+0085⟩');
    expect(harmless('żółć 日本語 🙂')).toBe('żółć 日本語 🙂');
  });

  it('goes on where it was, begins anew with another file, and stays within its bound', () => {
    const part = (start: number, text: string, generation = 1) => ({ source: '/log', generation, start, end: start + text.length, text });
    let logs = joined([], [part(100, 'one\n')]);
    logs = joined(logs, [part(104, 'two\n')]);
    expect(logs[0]).toEqual({ source: '/log', generation: 1, end: 108, text: 'one\ntwo\n' });
    expect(joined(logs, [part(108, '')])[0]).toBe(logs[0]);
    expect(joined(logs, [part(500, 'later\n')])[0]?.text).toBe('later\n');
    expect(joined(logs, [part(108, 'new\n', 2)])[0]?.text).toBe('new\n');
    expect(joined(logs, [])).toEqual([]);
    const long = appended('first\n', 'a line of the log\n'.repeat(10_000));
    expect(long.length).toBeLessThanOrEqual(MAX_CHARS);
    expect(long.startsWith('a line')).toBe(true);
    expect(appended('', 'x'.repeat(MAX_CHARS + 5))).toHaveLength(MAX_CHARS);
  });
});

describe('tasks of a run', () => {
  const tasks = [
    task('b', 2, { success: false, score: 0, duration: null }),
    task('a10', 10, { success: null, score: null }),
    task('a2', 1, { duration: 5 }),
  ];

  it('are found and sorted, what is not known last', () => {
    expect(found(tasks, ' A1 ').map((one) => one.id)).toEqual(['a10']);
    expect(found(tasks, 'failed').map((one) => one.id)).toEqual(['b']);
    const ids = (by: Parameters<typeof sorted>[1], down = false) => sorted(tasks, by, down).map((one) => one.id);
    expect(ids('id')).toEqual(['a2', 'a10', 'b']);
    expect(ids('number', true)).toEqual(['a10', 'b', 'a2']);
    expect(ids('score')).toEqual(['b', 'a2', 'a10']);
    expect(ids('score', true)).toEqual(['a2', 'b', 'a10']);
    expect(ids('duration', true)).toEqual(['a10', 'a2', 'b']);
    expect(ids('result')).toEqual(['b', 'a10', 'a2']);
    expect(compared(null, null, true)).toBe(0);
  });

  it('are CSV that no spreadsheet takes for a formula', () => {
    const text = csv('r', 'a', [task('=cmd|"x",1', 1, { at: 0, score: null, success: false })]);
    expect(text).toBe(
      'run,vm,number,task_id,result,score,steps,duration,closed_at,key\r\n' +
        `r,a,1,"'=cmd|""x"",1",failed,,3,10,1970-01-01T00:00:00.000Z,"'=cmd|""x"",1-1"\r\n`,
    );
  });

  it('are plotted in the order in which they closed', () => {
    const drawn = series(tasks);
    expect(drawn.x).toEqual([1, 2, 3]);
    expect(series(tasks, 1000).x).toEqual([1001, 1002, 1003]);
    expect(drawn.score).toEqual([1, 0, null]);
    expect(drawn.mean).toEqual([1, 0.5, 0.5]);
    expect(inWords(drawn)).toBe('2 scores, 0.50 on average; 2 durations from 5 to 10 seconds');
    expect(inWords(series([]))).toBe('no scores; no durations');
  });

  it('are plotted whole, wherever their scores are and however few they are', () => {
    expect(scoreRange(0.2, 0.9)).toEqual([-0.05, 1.05]);
    expect(scoreRange(null, null)).toEqual([-0.05, 1.05]);
    const [low, high] = scoreRange(-3, 100);
    expect([low < -3, high > 100]).toEqual([true, true]);
    expect([taskRange(1, 1), taskRange(1, 9), taskRange(null, null)]).toEqual([[0, 2], [1, 9], [0, 1]]);
  });
});

describe('two runs compared', () => {
  it('tells what changed, task by task', () => {
    const a = [task('same', 1), task('breaks', 2, { score: 1 }), task('mended', 3, { success: false }), task('gone', 4)];
    const b = [task('same', 1), task('breaks', 2, { success: false, score: 0.25 }), task('mended', 3), task('new', 5)];
    const list = pairs(a, b);
    expect(tally(list)).toEqual({ 'newly failed': 1, 'newly passed': 1, other: 0, 'other score': 0, 'only in A': 1, 'only in B': 1, same: 1 });
    const ids = sortedPairs(list, 'change', false).map((pair) => pair.id);
    expect(ids).toEqual(['breaks', 'mended', 'gone', 'new', 'same']);
    expect(list.find((pair) => pair.id === 'breaks')).toMatchObject({ score: -0.75, duration: 0 });
    expect(list.find((pair) => pair.id === 'gone')).toMatchObject({ score: null, b: null });
  });

  it('takes another score for a change, whatever the result', () => {
    const list = pairs([task('x', 1, { score: 0.5 }), task('y', 2, { score: null })], [task('x', 1, { score: 0.25 }), task('y', 2, { score: null })]);
    expect(list.map((pair) => pair.change)).toEqual(['other score', 'same']);
  });

  it('pairs a task that came again with its like', () => {
    const a = [task('x', 1), task('x', 2, { success: false })];
    const b = [task('x', 1), task('x', 2), task('x', 3, { success: null })];
    expect(pairs(a, b).map((pair) => [pair.time, pair.change])).toEqual([
      [1, 'same'],
      [2, 'newly passed'],
      [3, 'only in B'],
    ]);
  });
});

describe('the stages of a VM', () => {
  it('are what the gateway remembers, and then what the page saw', () => {
    const told = [
      { stage: 'booting' as const, since: 1 },
      { stage: 'ready' as const, since: 5 },
    ];
    const saw = [
      { stage: 'ready' as const, from: null, at: 5 },
      { stage: 'running' as const, from: 'ready' as const, at: 9 },
    ];
    expect(wholeHistory(told, saw).map((one) => `${one.stage} ${one.since}`)).toEqual(['booting 1', 'ready 5', 'running 9']);
    expect(wholeHistory(told, [])).toEqual(told);
    expect(wholeHistory([], saw)).toHaveLength(2);
  });
});

describe('what is known of a machine', () => {
  it('names dependencies in whatever shape they come', () => {
    expect([dependency('git'), dependency({ name: 'git', complete: true, note: null }), dependency(3)]).toEqual(['git', 'git true', '3']);
  });
});

describe('what was asked for again and refused', () => {
  const there: Asked<number> = { state: 'there', value: 1 };
  const refused = (status: number) => ({ state: 'refused' as const, status, why: 'busy', retryAfter: null });

  it('stays, with a doubt, unless the reader may not see it any more', () => {
    for (const status of [0, 429, 500, 503]) expect(kept(there, refused(status))).toEqual({ ...there, doubt: 'busy' });
    for (const status of [401, 403, 404]) expect(kept(there, refused(status))).toEqual(refused(status));
    expect(kept<number>({ state: 'loading' }, refused(503))).toEqual(refused(503));
  });
});
