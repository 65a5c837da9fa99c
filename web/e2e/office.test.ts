// What administrators see and do, and past runs.

import { afterAll, expect, it } from 'vitest';

import { closeBrowser, eventually, fill, Gateway, picture, state, Visitor } from './support';

afterAll(closeBrowser);

it('shows administrators who watches, and revokes a key from there', async () => {
  const gateway = await Gateway.demo('--vms', '2', '--speed', '5');
  const key = await gateway.newKey('wall-screen', 'events:read');
  const admin = await Visitor.new();
  const page = await admin.signedIn(gateway, '#/admin');
  const id = key.split('_')[1] ?? '';
  await page.waitForSelector(`[data-key="${id}"]`);

  const guest = await Visitor.new();
  const screen = await guest.page();
  await screen.goto(`${gateway.said.url}/login?next=/`);
  await fill(screen, key);
  await state(screen, 'live');
  expect(await screen.getByRole('link', { name: 'Admin' }).count(), 'it is not for everybody').toBe(0);
  await page.waitForSelector(`[data-table="streams"] tr:has-text("${id}")`);
  const itself = page.locator('[data-table="replicas"] tbody tr');
  expect(await itself.count(), 'it is alone').toBe(1);
  await eventually('both of them', async () => (await itself.locator('td').nth(1).textContent()) === '2');
  expect(await itself.locator('td').first().textContent()).toBe('demo-1, demo-2');
  await picture(page, 'admin');

  await page.locator(`[data-key="${id}"] button`).click();
  await page.waitForSelector('dialog[open]');
  await picture(page, 'revoke');
  await page.click('[data-action="revoke"]');
  await page.waitForSelector(`text=The key ${id} is revoked.`);
  await eventually('it is gone', async () => (await page.locator(`[data-key="${id}"]`).count()) === 0);
  await state(screen, 'signed-out');
  await state(page, 'live');
  expect([...admin.faults(), ...guest.faults()]).toEqual([]);
  await Promise.all([admin.close(), guest.close()]);
  await gateway.stop();
});

it('says who polls a VM where there are several replicas, and nothing of it where there is one', async () => {
  const gateway = await Gateway.demo('--vms', '2');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway, '#/');
  await page.waitForSelector('[data-vm="demo-2"]');
  await eventually('it was asked', async () => visitor.requests.some((url) => url.endsWith('/api/replicas')));
  expect(await page.locator('[data-poller]').count()).toBe(0);
  // What two of them would answer.
  await page.route('**/api/replicas', async (route) => {
    const answer = await route.fetch();
    const { replicas } = (await answer.json()) as { replicas: object[] };
    const other = { ...replicas[0], replica: 'gate-2', self: false, polls: ['demo-2'] };
    await route.fulfill({ response: answer, json: { replicas: [{ ...replicas[0], replica: 'gate-1', polls: ['demo-1'] }, other] } });
  });
  await page.reload();
  await page.waitForSelector('[data-vm="demo-1"] [data-poller="gate-1"]');
  await page.waitForSelector('[data-vm="demo-2"] [data-poller="gate-2"]');
  await picture(page, 'pollers');
  expect(visitor.faults()).toEqual([]);
  await visitor.close();
  await gateway.stop();
});

it('compares two past runs task by task', async () => {
  const gateway = await Gateway.demo('--vms', '3', '--speed', '20');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway, '#/runs');
  await page.getByLabel('State').selectOption('ended');
  // The list follows the fleet by itself.
  await eventually('two runs that are over', async () => (await page.locator('[data-table="runs"] tbody tr').count()) >= 2);
  for (const row of [0, 1]) await page.locator('[data-table="runs"] input[type=checkbox]').nth(row).check();
  await page.click('[data-action="compare"]');
  await page.waitForSelector('[data-table="pairs"] tbody tr');
  const tally = (await page.locator('[data-tally]').textContent()) ?? '';
  const total = [...tally.matchAll(/\d+/g)].reduce((sum, [count]) => sum + Number(count), 0);
  expect(total).toBe(await page.locator('[data-table="pairs"] tbody tr').count());
  await picture(page, 'compare');
  await page.getByLabel('only what changed').check();
  await eventually('no pair that is the same', async () => (await page.locator('[data-change="same"]').count()) === 0);
  await page.goBack();
  await page.getByLabel('State').selectOption('ended');
  const rows = page.locator('[data-table="runs"] tbody tr');
  await eventually('only runs that are over', async () => (await rows.count()) > 0 && (await rows.filter({ hasText: 'goes on' }).count()) === 0);
  await page.locator('[data-table="runs"] tbody th a').first().click();
  await page.waitForSelector('[data-table="tasks"] tbody tr');
  await eventually('both plots', async () => (await page.locator('[data-plot] canvas').count()) === 2);
  expect(visitor.faults()).toEqual([]);
  await visitor.close();
  await gateway.stop();
});
