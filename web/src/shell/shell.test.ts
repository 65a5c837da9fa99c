import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { EMPTY } from '../model/fleet';
import { after, connected, progress, runComplete, status } from '../model/made';
import type { Session } from '../model/types';
import { Refused } from '../ui/fetch';
import { BUILD, outdated, scriptOf } from './build';
import { headline, title } from './headline';
import { say, words } from './notify';
import { route, to } from './route';
import { WhoAmI } from './session';

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

  it('shows the signs of a name that would turn it round', () => {
    const fleet = after(status('a', { stage: 'running' }), progress('a', 'r', { current_task: 'a\u202egnp.exe' }));
    expect(words(fleet, [status('a', { stage: 'unreachable' })])[0]?.body).toBe('It was at a⟨U+202E⟩gnp.exe.');
  });

  it('does no harm where a page may not make one', () => {
    class Notification {
      static permission = 'granted';
      constructor() {
        throw new TypeError('Illegal constructor');
      }
    }
    vi.stubGlobal('Notification', Notification);
    vi.stubGlobal('window', { Notification, isSecureContext: true });
    vi.stubGlobal('localStorage', { getItem: () => 'yes' });
    expect(() => say([{ title: 'a', body: '', tag: 'a' }])).not.toThrow();
    vi.unstubAllGlobals();
  });

  it('is not what a snapshot tells, nor what is known already', () => {
    expect(words(before, [connected(), status('a', { stage: 'unreachable' })])).toEqual([]);
    expect(words(before, [status('b', { stage: 'unreachable' })])).toEqual([]);
    const gone = after(status('a', { stage: 'unreachable' }));
    expect(words(gone, [status('a', { stage: 'unreachable' })])).toEqual([]);
    expect(words(before, [status('a')])).toEqual([]);
  });
});

describe('the title and the icon', () => {
  const fleet = after(status('a', { stage: 'running' }), status('b', { stage: 'running' }), status('c', { stage: 'unreachable' }));
  const at = (view: string) => title(headline({ fleet, connection: { state: 'live' } }), route(view));

  it('say what runs also when something broke, and the view', () => {
    expect(headline({ fleet, connection: { state: 'stale', why: 'reports', since: 0 } })).toBe('failed|1 in trouble, 2 running');
    expect(at('#/')).toBe('1 in trouble, 2 running · gatewatch');
    expect(at('#/vm/waa-1')).toBe('1 in trouble, 2 running · waa-1 · gatewatch');
    expect(title(headline({ fleet: EMPTY, connection: { state: 'live' } }), route('#/runs'))).toBe('Runs · gatewatch');
  });

  it('say when nothing is known', () => {
    const said = (connection: Parameters<typeof headline>[0]['connection'], view = '') => {
      const words = headline({ fleet, connection });
      return [words.split('|')[0], title(words, route(view))];
    };
    expect(said({ state: 'connecting' })).toEqual(['lost', '(connecting) gatewatch']);
    expect(said({ state: 'reconnecting', at: 0, since: 0, why: 'x' }, '#/vm/a')).toEqual(['lost', '(not live) a · gatewatch']);
    expect(said({ state: 'stale', why: 'tab', since: 0 })).toEqual(['lost', '(not live) gatewatch']);
  });
});

describe('who is signed in', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const session = (name: string): Session => ({ name, kind: 'session', scopes: ['admin'], vms: ['*'], expires_at: null });

  it('is asked until there is an answer, and anew when grants change', async () => {
    const told: (string | null)[] = [];
    const answers: (Session | Error)[] = [new Refused(503, 'busy', 4), new TypeError('no network'), session('a'), session('b'), new Refused(401, 'over', null)];
    const asked: number[] = [];
    const start = Date.now();
    const who = new WhoAmI(
      async () => {
        asked.push(Date.now() - start);
        const answer = answers.shift();
        if (answer instanceof Error || !answer) throw answer ?? new Error('asked too often');
        return answer;
      },
      (said) => told.push(said?.name ?? null),
    );
    who.ask();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([asked, told]).toEqual([[0, 4000, 6000], ['a']]);
    who.ask();
    await vi.advanceTimersByTimeAsync(60_000);
    who.ask();
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(told).toEqual(['a', 'b', null]);
    expect(asked).toHaveLength(5);
  });

  it('is nobody once the reader signed out, whatever is answered then', async () => {
    const told: (string | null)[] = [];
    const who = new WhoAmI(
      async () => session('a'),
      (said) => told.push(said?.name ?? null),
    );
    who.ask();
    who.forget();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toEqual([null]);
  });
});

describe('the build of the page', () => {
  it('is the name of its script, and another one is told', async () => {
    expect(scriptOf('<script type="module" crossorigin src="/assets/index-BA89fu_4.js"></script>')).toBe('index-BA89fu_4');
    expect(scriptOf('<h1>plain</h1>')).toBeNull();
    expect(BUILD).toBe('development');
    const page = (text: string, status = 200) => vi.stubGlobal('fetch', () => Promise.resolve(new Response(text, { status })));
    page('<script src="/assets/index-new.js"></script>');
    expect(await outdated()).toBe(true);
    page('<h1>plain</h1>');
    expect(await outdated()).toBe(false);
    page('<script src="/assets/index-new.js"></script>', 503);
    expect(await outdated()).toBe(false);
    vi.unstubAllGlobals();
  });
});
