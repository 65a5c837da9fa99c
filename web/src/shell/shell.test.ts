import { describe, expect, it } from 'vitest';

import { after, connected, progress, runComplete, status } from '../model/made';
import { words } from './notify';
import { route, to } from './route';

describe('the view that the address names', () => {
  it.each([
    ['', { view: 'fleet' }],
    ['#/', { view: 'fleet' }],
    ['#/vm/waa-1', { view: 'vm', name: 'waa-1' }],
    ['#/runs', { view: 'runs', vm: null }],
    ['#/runs?vm=waa-1', { view: 'runs', vm: 'waa-1' }],
    ['#/runs/9c1f', { view: 'run', run: '9c1f' }],
    ['#/compare/a/b', { view: 'compare', a: 'a', b: 'b' }],
    ['#/admin', { view: 'admin' }],
    ['#/admin/x', { view: 'nowhere' }],
    ['#/vm', { view: 'nowhere' }],
    ['#/%zz', { view: 'nowhere' }],
  ])('%s', (fragment, wanted) => {
    expect(route(fragment)).toEqual(wanted);
  });

  it('is written as it is read', () => {
    expect(route(to.vm('a b/c'))).toEqual({ view: 'vm', name: 'a b/c' });
    expect(route(to.compare('a', 'b/c'))).toEqual({ view: 'compare', a: 'a', b: 'b/c' });
    expect(route(to.runs('x y'))).toEqual({ view: 'runs', vm: 'x y' });
  });
});

describe('what is worth a notification', () => {
  const before = after(status('a', { stage: 'running' }), progress('a', 'r', { current_task: 'task_7' }));

  it('is a run that ended and a VM that died', () => {
    expect(words(before, [runComplete('a', 'r', 3, 2)])).toEqual([{ title: 'a: the run is over', body: '2 passed, 1 failed', tag: 'run-r' }]);
    expect(words(before, [status('a', { stage: 'unreachable' })])[0]?.body).toBe('It was at task_7.');
  });

  it('is not what a snapshot tells, nor what is known already', () => {
    expect(words(before, [connected(), status('a', { stage: 'unreachable' })])).toEqual([]);
    expect(words(before, [status('b', { stage: 'unreachable' })])).toEqual([]);
    const gone = after(status('a', { stage: 'unreachable' }));
    expect(words(gone, [status('a', { stage: 'unreachable' })])).toEqual([]);
    expect(words(before, [status('a')])).toEqual([]);
  });
});
