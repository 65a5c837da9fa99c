import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { Fleet } from '../model/fleet';
import { connected, progress, runComplete, status } from '../model/made';
import type { StreamEvent } from '../model/types';
import { Link, type Back } from './link';
import type { Connection } from './machine';

/** A page without other tabs, and a gateway that says what it is told to say. */
const page = { hidden: false, visibilityState: 'visible', addEventListener: () => {}, removeEventListener: () => {} };
let say: (...events: StreamEvent[]) => Promise<void>;
let opened = 0;
const faults: unknown[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] });
  opened = 0;
  faults.length = 0;
  page.hidden = false;
  vi.stubGlobal('window', { setTimeout, clearTimeout, setInterval, clearInterval, addEventListener: () => {}, removeEventListener: () => {} });
  vi.stubGlobal('document', page);
  vi.stubGlobal('navigator', {});
  vi.stubGlobal('reportError', (fault: unknown) => faults.push(fault));
  vi.stubGlobal('fetch', () => {
    opened += 1;
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const to = writable.getWriter();
    say = async (...events) => {
      const frames = events.map(({ name, data, id }) => `event: ${name}\ndata: ${JSON.stringify(data)}\n${id ? `id: ${id}\n` : ''}\n`);
      await to.write(new TextEncoder().encode(frames.join('')));
      // What is read is read in turns of the real loop.
      for (let i = 0; i < 5; i += 1) await new Promise((done) => setImmediate(done));
    };
    return Promise.resolve(new Response(readable));
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function started(told: Partial<ConstructorParameters<typeof Link>[0]>): Promise<Link> {
  const link = new Link({ fleet: () => {}, connection: () => {}, back: () => {}, ...told });
  link.start('name');
  for (let i = 0; i < 5; i += 1) await new Promise((done) => setImmediate(done));
  return link;
}

it('goes on whatever those do who are told', async () => {
  const states: string[] = [];
  const fleets: Fleet[] = [];
  const link = await started({
    connection: (connection: Connection) => {
      states.push(connection.state);
      throw new Error('a view broke');
    },
    fleet: (fleet) => {
      fleets.push(fleet);
      throw new Error('a notification may not be made');
    },
  });
  await say({ ...connected(), id: undefined }, status('a'));
  await say(status('b'));
  await vi.advanceTimersByTimeAsync(1100);
  expect([opened, states.at(-1)]).toEqual([1, 'live']);
  expect([...(fleets.at(-1)?.vms.keys() ?? [])]).toEqual(['a', 'b']);
  expect(faults.length).toBeGreaterThan(2);
  link.stop();
});

it('draws once a second, and nothing that a notification comes of waits in a tab that is hidden', async () => {
  let drawn = 0;
  const link = await started({ fleet: () => (drawn += 1) });
  await say(connected(), status('a'));
  const first = drawn;
  for (let i = 0; i < 10; i += 1) await say(progress('a', 'r', { completed: i }));
  expect(drawn).toBe(first);
  await vi.advanceTimersByTimeAsync(1100);
  expect(drawn).toBe(first + 1);
  page.hidden = true;
  for (let i = 0; i < 10; i += 1) await say(progress('a', 'r', { completed: i }));
  expect(drawn).toBeLessThanOrEqual(first + 2);
  const before = drawn;
  await say(runComplete('a', 'r', 9));
  expect(drawn).toBe(before + 1);
  link.stop();
});

it('asks anew once the machine slept, and not when its clock was set back', async () => {
  const link = await started({});
  await say(connected());
  vi.setSystemTime(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(1000);
  expect(opened).toBe(1);
  vi.setSystemTime(Date.now() + 7_200_000);
  await vi.advanceTimersByTimeAsync(1000);
  expect(opened).toBe(2);
  await say(connected());
  await vi.advanceTimersByTimeAsync(10_000);
  expect(opened).toBe(2);
  link.stop();
});

it('tells of a gap until all that was missed was told', async () => {
  const told: Back[] = [];
  const link = await started({ back: (back) => told.push(back) });
  await say(connected(), status('a'));
  await vi.advanceTimersByTimeAsync(41_000);
  expect(opened).toBe(1);
  await vi.advanceTimersByTimeAsync(5000);
  expect(opened).toBe(2);
  await say(connected(), { ...runComplete('a', 'r', 2), id: 'e-2.0' });
  expect(told.at(-1)).toMatchObject({ number: 1, over: false, tab: false });
  expect(told.at(-1)?.lostFor).toBeGreaterThan(40_000);
  await say(status('a'));
  await vi.advanceTimersByTimeAsync(1100);
  expect(told.at(-1)).toMatchObject({ number: 1, over: true, ended: ['a'] });
  const count = told.length;
  await say(status('a'));
  await vi.advanceTimersByTimeAsync(1100);
  expect(told).toHaveLength(count);
  link.stop();
});
