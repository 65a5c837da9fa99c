// A person watches a fleet from before it is switched on until its benchmark is over.

import { copyFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from 'playwright-core';
import { afterAll, expect, it } from 'vitest';

import { closeBrowser, eventually, figure, Gateway, OUT, picture, PICTURE, sleep, state, Visitor } from './support';

afterAll(closeBrowser);

const begins = () => Math.floor(Date.now() / 1000) + 8;

/** Notes every stage that the card of `vm` goes through. */
async function noteStages(page: Page, vm: string): Promise<void> {
  await page.evaluate((name) => {
    const seen = new Set<string>();
    Object.assign(window, { seen });
    new MutationObserver(() => {
      const stage = document.querySelector<HTMLElement>(`[data-vm="${name}"]`)?.dataset['stage'];
      if (stage) seen.add(stage);
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  }, vm);
}

it('shows the whole timeline of a VM, its tasks and what came of them', async () => {
  const vm = `[[vm]]\nname = "waa-1"\ntransport = "simulated"\n[vm.simulated]\nspeed = "3"\nonce = true\nstarted = "${begins()}"\n`;
  const gateway = await Gateway.serve(() => `[poll]\ninterval = "1s"\nidle_interval = "1s"\n${vm}`);
  const visitor = await Visitor.new({ permissions: ['notifications'] });
  await visitor.context.addInitScript(() => {
    const told: string[] = [];
    class Notification {
      static permission = 'granted';
      static requestPermission = () => Promise.resolve('granted');
      constructor(title: string) {
        told.push(title);
      }
    }
    Object.assign(window, { Notification, told });
  });
  const page = await visitor.signedIn(gateway);
  await page.getByRole('button', { name: 'Notify me' }).click();
  await page.waitForSelector('button[aria-pressed="true"]');
  await noteStages(page, 'waa-1');
  const card = page.locator('[data-vm="waa-1"]');
  await page.waitForSelector('[data-vm="waa-1"][data-stage="running"]');
  await page.waitForSelector('[data-vm="waa-1"] .bar-passed');
  expect(await page.title()).toBe('1 running · gatewatch');
  expect(await page.getAttribute('#icon', 'href')).toMatch(/^\/assets\/running-/);
  await page.waitForSelector('[data-figure="eta"]:has-text("left")');
  await picture(page, 'fleet-running');
  await page.waitForSelector('[data-vm="waa-1"][data-stage="complete"]');
  await eventually('all tasks', async () => (await card.locator('[data-figure="done"]').textContent()) === '30 of 30');
  const seen = await page.evaluate(() => [...(window as unknown as { seen: Set<string> }).seen]);
  for (const stage of ['off', 'starting', 'ready', 'running', 'complete']) expect(seen).toContain(stage);

  expect(await page.evaluate(() => (window as unknown as { told: string[] }).told)).toEqual(['waa-1: the run is over']);

  // Who comes later sees where it has been all the same.
  await page.reload();
  await state(page, 'live');
  await card.getByRole('link', { name: 'waa-1' }).click();
  await eventually('the stages of before', async () => (await page.locator('[data-stage-change]').count()) >= 4);
  await page.waitForSelector('[data-table="tasks"]');
  expect(await page.locator('[data-table="tasks"] tbody tr').count()).toBe(30);
  await eventually('both plots', async () => (await page.locator('[data-plot] canvas').count()) === 2);
  await page.getByRole('button', { name: 'Score' }).click();
  expect(await page.locator('th[aria-sort="ascending"]').textContent()).toContain('Score');
  await page.fill('[aria-label="Search tasks"]', 'failed');
  await eventually('only failed ones', async () => (await page.locator('[data-table="tasks"] .result-passed').count()) === 0);
  const wanted = page.waitForEvent('download');
  await page.getByRole('button', { name: 'CSV', exact: true }).click();
  expect((await wanted).suggestedFilename()).toMatch(/^waa-1-.*\.csv$/);
  await picture(page, 'vm-complete');

  // Nothing was asked of anybody else, and nothing went against the page's policy.
  expect(visitor.requests.filter((url) => !url.startsWith(gateway.said.url) && !url.startsWith('blob:'))).toEqual([]);
  expect(visitor.faults()).toEqual([]);
  await visitor.close();
  await gateway.stop();
});

it('says what was missed while the gateway was gone, and goes on', async () => {
  const gateway = await Gateway.demo('--speed', '3', '--vms', '2');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('[data-stage="running"]');
  await gateway.kill();
  await state(page, 'reconnecting');
  await page.waitForSelector('[data-connection="reconnecting"]:has-text("again in")');
  await picture(page, 'reconnecting');
  await sleep(6000);
  await gateway.start();
  await state(page, 'live');
  const notice = page.locator('[data-notice="missed"]');
  await notice.waitFor();
  await page.waitForSelector('[data-notice][data-over="true"]');
  expect(await notice.textContent()).toMatch(/the connection was lost for \d+ s\. (No result|\d+ results?) came in meanwhile/);
  await notice.getByRole('button').click();
  expect(await page.locator('[data-notice]').count()).toBe(0);
  expect(await page.locator('article[data-vm]').count()).toBe(2);
  await visitor.close();
  await gateway.stop();
});

it('shows all anew when the gateway cannot go on from where the page was, and says so', async () => {
  const gateway = await Gateway.demo('--speed', '3', '--vms', '2');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('[data-stage="running"]');
  await gateway.kill();
  await state(page, 'reconnecting');
  // As an operator who begins with an empty journal.
  for (const file of readdirSync(gateway.dir).filter((name) => name.startsWith('journal.db'))) rmSync(join(gateway.dir, file));
  await gateway.start();
  await state(page, 'live');
  await page.waitForSelector('[data-notice="anew"]');
  await eventually('both cards', async () => (await page.locator('article[data-vm]').count()) === 2);
  await visitor.close();
  await gateway.stop();
});

it('shares one stream between its tabs, and the next one takes over', async () => {
  const gateway = await Gateway.demo('--speed', '3', '--vms', '3');
  const visitor = await Visitor.new();
  const first = await visitor.signedIn(gateway);
  await first.waitForSelector('article[data-vm="demo-3"]');
  const others = [await visitor.page(), await visitor.page(), await visitor.page()];
  for (const page of others) {
    await page.goto(gateway.url());
    await state(page, 'live');
    await page.waitForSelector('article[data-vm="demo-3"]');
  }
  expect(await gateway.metric('gatewatch_streams_open')).toBe(1);
  const opened = await gateway.metric('gatewatch_streams_opened_total');
  await first.close();
  await eventually('another one reads it', async () => (await gateway.metric('gatewatch_streams_opened_total')) === opened + 1);
  await eventually('one stream', async () => (await gateway.metric('gatewatch_streams_open')) === 1);
  // It went on from the last id: nothing was told anew.
  expect(await gateway.metric('gatewatch_streams_resumed_total')).toBeGreaterThanOrEqual(1);
  for (const page of others) await state(page, 'live');
  const age = others[2]?.locator('[data-vm="demo-1"] footer .age').last();
  await eventually('it is kept up to date', async () => /^[0-9] s ago$/.test((await age?.textContent()) ?? ''));
  await visitor.close();
  await gateway.stop();
});

it('stays legible and cheap with two hundred VMs', async () => {
  const gateway = await Gateway.demo('--vms', '200', '--speed', '5');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await eventually('every card', async () => (await page.locator('article[data-vm]').count()) === 200);
  await page.waitForSelector('[data-stage="running"]');
  await picture(page, 'fleet-200');
  await page.keyboard.press('/');
  await page.keyboard.type('demo-17');
  await eventually('those that match', async () => (await page.locator('article[data-vm]').count()) === 11);
  await page.fill('#filter', '');
  await page.getByLabel('Sort by').selectOption('trouble');
  await eventually('trouble first', async () => (await page.locator('article[data-vm]').first().getAttribute('data-health')) === 'broken');
  // Drawn are only the cards whose VM changed: one element stays the same from one batch to the next.
  figure('main thread with 200 VMs, percent of a core', (await load(visitor, page, 10)).toFixed(1));
  await visitor.close();
  await gateway.stop();
});

/** What the main thread of a page does, in percent of a core. */
async function load(visitor: Visitor, page: Page, seconds: number): Promise<number> {
  const session = await visitor.context.newCDPSession(page);
  // Of the thread itself: a clock on the wall would count what other processes do.
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find((one) => one.name === 'TaskDuration')?.value ?? 0;
  };
  const before = await spent();
  await sleep(seconds * 1000);
  const share = (100 * ((await spent()) - before)) / seconds;
  await session.detach();
  return share;
}

/** The least of three: what else the machine does only ever adds to a timing. Enough is enough. */
async function least(measure: () => Promise<number>, enough: number): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < 3 && best >= enough; i += 1) best = Math.min(best, await measure());
  return best;
}

// Wanted are less than 5 % of a core. Timings are noisy on a machine that others use too: what fails is twice that, three times over.
it('paints soon, and costs little with fifty VMs at an event a second each', async () => {
  const gateway = await Gateway.demo('--vms', '50', '--speed', '1');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  const paint = await least(async () => {
    await page.reload();
    await page.waitForSelector('article[data-vm="demo-50"]');
    return page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Infinity);
  }, 500);
  figure('first paint, ms', Math.round(paint));
  expect(paint).toBeLessThan(500);
  const alone = await least(() => load(visitor, page, 10), 5);
  figure('main thread with 50 VMs, percent of a core', alone.toFixed(1));
  expect(alone).toBeLessThan(10);

  // One that is looked at, while the tab that reads the stream is hidden and hands on what it reads.
  const follower = await visitor.page();
  await follower.goto(gateway.url());
  await state(follower, 'live');
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { get: () => true });
    Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await follower.waitForSelector('article[data-vm="demo-50"]');
  const followed = await least(() => load(visitor, follower, 10), 5);
  figure('main thread of a tab that follows a hidden one, percent of a core', followed.toFixed(1));
  expect(followed).toBeLessThan(10);
  await visitor.close();
  await gateway.stop();
});

it('is the picture in the README', async () => {
  const gateway = await Gateway.demo('--vms', '6', '--speed', '2');
  const visitor = await Visitor.new({ viewport: { width: 1280, height: 720 } });
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('[data-stage="running"] .bar-failed');
  await page.waitForSelector('[data-figure="eta"]:has-text("left")');
  for (const colours of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme: colours });
    await picture(page, `fleet-${colours}`);
  }
  if (process.env['UPDATE_DOCS'] === '1') copyFileSync(join(OUT, 'fleet-light.png'), PICTURE);
  await visitor.close();
  await gateway.stop();
});
