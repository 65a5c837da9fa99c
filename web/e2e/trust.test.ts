// What the page shows can be trusted: it never says live when it is not, logs are text, a login ends in front of the login page.

import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import AxeBuilder from 'axe-core';
import type { Page } from 'playwright-core';
import { afterAll, expect, it } from 'vitest';

import { closeBrowser, eventually, fill, Gateway, picture, state, Visitor } from './support';

afterAll(closeBrowser);

const SIMULATED = '[[vm]]\nname = "waa-1"\ntransport = "simulated"\n[vm.simulated]\nspeed = "20"\n';

it('leads to the login page, and back to the view that was asked for', async () => {
  const gateway = await Gateway.serve(() => SIMULATED);
  // A session lasts no longer than the key behind it.
  const soon = new Date(Math.ceil(Date.now() / 1000) * 1000 + 20_000).toISOString().replace('.000', '');
  const key = await gateway.newKey('short', 'events:read', soon);
  const visitor = await Visitor.new();
  const page = await visitor.page();
  await page.goto(gateway.url('#/vm/waa-1'));
  await page.waitForURL(/\/login\?next=/);
  await eventually('the key is in force', async () => {
    await fill(page, key);
    return (await page.locator('#key').count()) === 0;
  });
  await state(page, 'live');
  expect(page.url()).toBe(gateway.url('#/vm/waa-1'));

  // The session ends while the page is open.
  await state(page, 'signed-out');
  expect(await page.locator('[data-vm="waa-1"]').count(), 'what was known stays').toBe(1);
  await picture(page, 'signed-out');
  await page.click('[data-action="sign-in"]');
  await page.waitForURL(/\/login\?next=/);
  await fill(page, gateway.said.key);
  await state(page, 'live');
  expect(page.url()).toBe(gateway.url('#/vm/waa-1'));

  // Another tab follows, and leaves with it. Who signs in there again is back in both.
  const other = await visitor.page();
  await other.goto(gateway.url('#/runs'));
  await state(other, 'live');
  await other.click('[data-action="sign-out"]');
  await state(other, 'signed-out');
  await state(page, 'signed-out');
  expect(await page.locator('article[data-vm]').count()).toBe(0);
  await other.click('[data-action="sign-in"]');
  await other.waitForURL(/\/login\?next=/);
  await fill(other, gateway.said.key);
  await state(other, 'live');
  expect(other.url()).toBe(gateway.url('#/runs'));
  await state(page, 'live');

  await page.click('[data-action="sign-out"]');
  await state(page, 'signed-out');
  expect(await page.locator('[data-vm]').count(), 'what was shown was for whoever was signed in').toBe(0);
  await visitor.close();
  await gateway.stop();
});

it('says that it hears nothing while the connection is open and silent', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('article[data-vm="demo-1"]');
  gateway.pause();
  await state(page, 'stale');
  expect(await page.locator('#connection [role=status]').textContent()).toBe('no word from the gateway');
  await state(page, 'reconnecting');
  gateway.pause(true);
  await state(page, 'live');
  await page.waitForSelector('[data-notice]');
  await visitor.close();
  await gateway.stop();
});

it('says so when the credential may not read events', async () => {
  const gateway = await Gateway.serve(() => SIMULATED);
  const key = await gateway.newKey('scraper', 'metrics:read');
  const visitor = await Visitor.new();
  const page = await visitor.page();
  await eventually('the key is in force', async () => {
    await page.goto(`${gateway.said.url}/login?next=/`);
    await fill(page, key);
    return !page.url().includes('/auth/session') && (await page.locator('.refused').count()) === 0;
  });
  await state(page, 'not-allowed');
  await visitor.close();
  await gateway.stop();
});

it('shows a hostile log as text', async () => {
  const gateway = await Gateway.serve((dir) => {
    writeFileSync(join(dir, 'bench.log'), '');
    return (
      '[poll]\ninterval = "1s"\nidle_interval = "1s"\n[[vm]]\nname = "here"\ntransport = "local"\ncontainer = ""\nprobe_url = ""\n' +
      `process = "no-such-process"\nbenchmark_log = "${dir}/bench.log"\n`
    );
  });
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway, '#/vm/here');
  const evil = '<img src=x onerror="window.ran = true">';
  appendFileSync(
    join(gateway.dir, 'bench.log'),
    `Task 1/3: ${evil}\n${evil}\n\x1b[31mred\x1b[0m \u202egnp.exe\n<script>window.ran = true</script>\nResult: PASS\nTask 2/3: b\n`,
  );
  const log = page.locator('pre[data-log]').first();
  await eventually('the log', async () => ((await log.textContent()) ?? '').includes('gnp.exe'));
  const text = (await log.textContent()) ?? '';
  expect(text).toContain(evil);
  expect(text).toContain('␛[31mred␛[0m ⟨U+202E⟩gnp.exe');
  expect(text).toContain('<script>window.ran = true</script>');
  await eventually('the task', async () => (await page.locator('[data-table="tasks"] tbody tr').count()) >= 1);
  await picture(page, 'hostile-log');
  await page.goto(gateway.url('#/'));
  await page.waitForSelector('article[data-vm="here"]');
  expect(await page.evaluate(() => (window as unknown as { ran?: boolean }).ran)).toBeUndefined();
  expect(await page.locator('img').count()).toBe(0);
  expect(visitor.faults()).toEqual([]);
  appendFileSync(join(gateway.dir, 'bench.log'), 'it grows\n');
  await page.goto(gateway.url('#/vm/here'));
  await eventually('more of the log', async () => ((await log.textContent()) ?? '').includes('it grows'));
  await visitor.close();
  await gateway.stop();
});

/** Faults that axe-core calls serious or critical. */
async function faults(page: Page): Promise<string[]> {
  await page.evaluate(AxeBuilder.source);
  return page.evaluate(async () => {
    const axe = (window as unknown as { axe: typeof AxeBuilder }).axe;
    const { violations } = await axe.run(document, { resultTypes: ['violations'] });
    const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    return grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).slice(0, 3).join(' | ')}`);
  });
}

it('has no serious fault for people who see, hear or move less, in any view, light and dark, and fits a phone', async () => {
  const gateway = await Gateway.demo('--vms', '4', '--speed', '20');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('[data-stage="running"]');
  await page.goto(gateway.url('#/runs'));
  await eventually('two runs', async () => {
    await page.reload();
    await state(page, 'live');
    await page.waitForSelector('[data-table="runs"] tbody tr, .empty');
    return (await page.locator('[data-table="runs"] tbody tr').count()) >= 2;
  });
  const runs = await page.locator('[data-table="runs"] tbody tr').evaluateAll((rows) => rows.map((row) => (row as HTMLElement).dataset['run'] ?? ''));
  const [a = '', b = ''] = runs;
  const views = {
    fleet: '#/',
    vm: '#/vm/demo-1',
    runs: '#/runs',
    run: `#/runs/${a}`,
    compare: `#/compare/${a}/${b}`,
    admin: '#/admin',
  };
  for (const [name, fragment] of Object.entries(views)) {
    await page.goto(gateway.url(fragment));
    await page.waitForSelector(`main[data-view="${name}"]`);
    await page.waitForSelector('main .card, main .panel');
    await page.waitForFunction(() => document.querySelector('main .empty')?.textContent?.startsWith('Loading') !== true);
    for (const colours of ['light', 'dark'] as const) {
      await page.setViewportSize({ width: 1280, height: 900 });
      await page.emulateMedia({ colorScheme: colours });
      expect(await faults(page), `${name}, ${colours}`).toEqual([]);
      await picture(page, `${name}-${colours}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    await eventually(`${name} fits a phone`, async () => (await wide()) <= 0, 5000);
    await picture(page, `${name}-phone`);
  }
  expect(visitor.faults()).toEqual([]);
  await visitor.close();
  await gateway.stop();
});

it('goes by keyboard alone', async () => {
  const gateway = await Gateway.demo('--vms', '3', '--speed', '5');
  const visitor = await Visitor.new({ reducedMotion: 'reduce' });
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('article[data-vm="demo-1"]');
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('To the content');
  await page.keyboard.press('Enter');
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  await eventually('it is closed', async () => (await page.locator('dialog[open]').count()) === 0);
  await page.keyboard.press('/');
  await page.keyboard.type('demo-2');
  await eventually('one card', async () => (await page.locator('article[data-vm]').count()) === 1);
  await page.keyboard.press('Escape');
  await page.locator('article[data-vm="demo-2"] a').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('main[data-view="vm"]');
  await page.keyboard.press('r');
  await page.waitForSelector('main[data-view="runs"]');
  await page.keyboard.press('f');
  await page.waitForSelector('main[data-view="fleet"]');
  await visitor.close();
  await gateway.stop();
});
