// What the page withstands: tabs that come at once or hang, clocks that are wrong, names that are hostile or long, browsers that
// show no notifications, answers that are refused.

import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from 'playwright-core';
import { afterAll, expect, it } from 'vitest';

import { closeBrowser, eventually, fill, Gateway, picture, sleep, state, Visitor } from './support';

afterAll(closeBrowser);

const POLL = '[poll]\ninterval = "1s"\nidle_interval = "1s"\n';
const simulated = (name: string) => `[[vm]]\nname = "${name}"\ntransport = "simulated"\n[vm.simulated]\nspeed = "20"\ntasks = 3\n`;
const dead = (name: string) => `[[vm]]\nname = "${name}"\nhost = "127.0.0.1"\nport = 1\nuser = "x"\n`;

/** A VM whose log this test writes. */
function local(dir: string, name: string): string {
  const log = join(dir, `${name}.log`);
  writeFileSync(log, '');
  // The process is this test's own: a benchmark that goes on.
  return `[[vm]]\nname = "${name}"\ntransport = "local"\ncontainer = ""\nprobe_url = ""\nprocess = "node"\nbenchmark_log = "${log}"\n`;
}

async function soon(page: Page, wanted: string, ms: number): Promise<void> {
  await page.waitForSelector(`[data-connection="${wanted}"]`, { timeout: ms });
}

/** Notes what `selector` says from now on, as a screen reader would hear it. */
async function listen(page: Page, selector: string): Promise<() => Promise<string[]>> {
  await page.evaluate((regions) => {
    const said: string[] = [];
    Object.assign(window, { said });
    new MutationObserver((changes) => {
      for (const { target } of changes) {
        const region = (target instanceof Element ? target : target.parentElement)?.closest(regions);
        if (region) said.push(region.textContent ?? '');
      }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  }, selector);
  return () => page.evaluate(() => (window as unknown as { said: string[] }).said);
}

/** Each heartbeat says that some reports are old. */
async function oldReports(visitor: Visitor): Promise<void> {
  await visitor.context.addInitScript(() => {
    const { fetch } = window;
    const change = (text: string) => text.replaceAll('"stale":false}', '"stale":true}');
    window.fetch = async (...asked: Parameters<typeof fetch>) => {
      const answer = await fetch(...asked);
      if (answer.headers.get('Content-Type') !== 'text/event-stream' || !answer.body) return answer;
      const changed = answer.body
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new TransformStream<string, string>({ transform: (text, to) => to.enqueue(change(text)) }))
        .pipeThrough(new TextEncoderStream());
      return new Response(changed, { headers: answer.headers });
    };
  });
}

/** Notifications that are kept instead of shown; `throws`: as on Android. */
async function notifications(visitor: Visitor, throws = false): Promise<void> {
  await visitor.context.addInitScript((fails) => {
    const told: string[] = [];
    class Notification {
      static permission = 'granted';
      constructor(title: string) {
        told.push(title);
        if (fails) throw new TypeError('Illegal constructor');
      }
    }
    Object.assign(window, { Notification, told });
    localStorage.setItem('gatewatch-notify', 'yes');
  }, throws);
}

const told = (page: Page) => page.evaluate(() => (window as unknown as { told: string[] }).told.length);

it('is live in each of the tabs that were opened at one moment', async () => {
  const gateway = await Gateway.demo('--vms', '3');
  const visitor = await Visitor.new();
  await (await visitor.signedIn(gateway)).close();
  for (let round = 0; round < 3; round += 1) {
    const pages = await Promise.all([1, 2, 3, 4, 5, 6].map(() => visitor.page()));
    await Promise.all(pages.map((page) => page.goto(gateway.url(), { waitUntil: 'commit' })));
    await Promise.all(pages.map((page) => soon(page, 'live', 15_000)));
    await Promise.all(pages.map((page) => page.waitForSelector('article[data-vm="demo-3"]')));
    await Promise.all(pages.map((page) => page.close()));
  }
  await visitor.close();
  await gateway.stop();
});

it('goes on when the tab that reads the stream hangs, and does not blame the gateway', async () => {
  const gateway = await Gateway.demo('--vms', '3');
  const visitor = await Visitor.new();
  const leader = await visitor.signedIn(gateway);
  const follower = await visitor.page();
  await follower.goto(gateway.url());
  await state(follower, 'live');
  const words = await listen(follower, '#connection [role=status]');
  const session = await visitor.context.newCDPSession(leader);
  await session.send('Debugger.enable');
  await session.send('Debugger.pause');
  void leader.evaluate(() => 1).catch(() => {});
  await soon(follower, 'stale', 15_000);
  expect(await follower.locator('#connection [role=status]').textContent()).toBe('the tab that reads the stream does not answer');
  await soon(follower, 'live', 20_000);
  await follower.waitForSelector('[data-notice]:has-text("the tab that reads the stream")');
  expect((await words()).filter((said) => /gateway|reconnecting/.test(said))).toEqual([]);
  const late = await visitor.page();
  await late.goto(gateway.url());
  await soon(late, 'live', 10_000);
  // Once it goes on it follows.
  await session.send('Debugger.resume');
  await session.send('Debugger.disable');
  await eventually('one stream', async () => (await gateway.metric('gatewatch_streams_open')) === 1);
  await soon(leader, 'live', 10_000);
  for (const page of [leader, follower, late]) {
    const age = page.locator('[data-vm="demo-1"] footer .age').last();
    await eventually('it is kept up to date', async () => /^[0-9] s ago$/.test((await age.textContent()) ?? ''));
  }
  await visitor.close();
  await gateway.stop();
});

it('tells true ages to a browser whose clock is an hour behind', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  await visitor.context.addInitScript(() => {
    const now = Date.now.bind(Date);
    Date.now = () => now() - 3_600_000;
  });
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('article[data-vm]');
  gateway.pause();
  await sleep(12_000);
  const age = await page.locator('article footer .age').last().textContent();
  gateway.pause(true);
  expect(Number.parseInt(age ?? '', 10)).toBeGreaterThanOrEqual(8);
  expect(Number.parseInt(age ?? '', 10)).toBeLessThan(60);
  await visitor.close();
  await gateway.stop();
});

it('notices silence though the clock of the browser is set back', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.evaluate(() => {
    const now = Date.now.bind(Date);
    Date.now = () => now() - 3_600_000;
  });
  gateway.pause();
  const seen = () => page.locator('article').first().evaluate((card) => Number(getComputedStyle(card).opacity));
  expect(await seen()).toBe(1);
  try {
    await soon(page, 'stale', 45_000);
    expect(await seen(), 'what is old is dimmed').toBeLessThan(1);
  } finally {
    gateway.pause(true);
  }
  await visitor.close();
  await gateway.stop();
});

it('stays live where a notification may not be made, as on Android', async () => {
  const gateway = await Gateway.serve(() => POLL + simulated('waa-1'));
  const visitor = await Visitor.new();
  await notifications(visitor, true);
  await visitor.context.addInitScript(() => Object.defineProperty(document, 'hidden', { get: () => true }));
  const page = await visitor.signedIn(gateway);
  const opened = await gateway.metric('gatewatch_streams_opened_total');
  await eventually('one was tried', async () => (await told(page)) > 1);
  await sleep(3000);
  expect(await gateway.metric('gatewatch_streams_opened_total')).toBe(opened);
  expect(await page.getAttribute('#connection', 'data-connection')).toBe('live');
  await visitor.close();
  await gateway.stop();
});

it('tells of runs that end, and knows who is signed in, while some reports are old', async () => {
  const gateway = await Gateway.serve(() => POLL + simulated('waa-1') + dead('waa-2'));
  const visitor = await Visitor.new();
  await notifications(visitor);
  await oldReports(visitor);
  const page = await visitor.signedIn(gateway);
  await state(page, 'stale');
  const before = await told(page);
  await eventually('a run that ended', async () => (await told(page)) > before);
  expect(await page.locator('#connection [role=status]').textContent()).toBe('some reports are old');
  expect(await page.title()).toMatch(/^1 in trouble/);
  const other = await visitor.page();
  await other.goto(gateway.url());
  await state(other, 'stale');
  await other.getByRole('link', { name: 'Admin' }).waitFor();
  await visitor.close();
  await gateway.stop();
});

it('shows a right-to-left override in the name of a task as the sign that it is, and a lone task in the plots', async () => {
  const gateway = await Gateway.serve((dir) => POLL + local(dir, 'r'));
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('[data-vm="r"]');
  await sleep(2500);
  appendFileSync(join(gateway.dir, 'r.log'), 'Task 1/5: a\u202egnp.exe\nResult: PASS\nTask 2/5: b\u202egnp.exe\n');
  await page.waitForSelector('[data-vm="r"] .task bdi');
  expect(await page.locator('[data-vm="r"] .task').textContent()).toContain('b⟨U+202E⟩gnp.exe');
  await page.goto(gateway.url('#/vm/r'));
  await page.waitForSelector('[data-table="tasks"] tbody th');
  expect(await page.locator('[data-table="tasks"] tbody').textContent()).toContain('a⟨U+202E⟩gnp.exe');
  expect(await page.locator('[data-plot] canvas').count()).toBe(2);
  expect(await page.locator('main').textContent()).not.toContain('\u202e');
  await visitor.close();
  await gateway.stop();
});

it('fits a phone of 320 px with a name of 63 characters and several runs, in every view, and does not chatter', async () => {
  const name = 'w'.repeat(63);
  const gateway = await Gateway.serve(() => POLL + simulated(name) + simulated('b'));
  const visitor = await Visitor.new({ viewport: { width: 320, height: 640 } });
  const page = await visitor.signedIn(gateway, `#/vm/${name}`);
  await eventually('two runs', async () => (await page.locator('#run-title ~ label select option').count()) >= 2);
  const runs = await page.evaluate(async () => {
    const { runs } = (await (await fetch('/api/runs')).json()) as { runs: { run: string }[] };
    return runs.map(({ run }) => run);
  });
  const views = ['#/', `#/vm/${name}`, `#/vm/${name}x`, '#/runs', `#/runs/${runs[0]}`, `#/compare/${runs[0]}/${runs[1]}`, '#/admin', '#/nowhere'];
  for (const view of views) {
    await page.goto(gateway.url(view));
    await page.waitForSelector('main .card, main .panel, main .empty');
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    await sleep(1500);
    expect.soft(await wide(), view).toBeLessThanOrEqual(0);
    const active = await page.evaluate(() => [document.activeElement?.tagName, document.activeElement?.textContent]);
    if (view !== '#/') expect.soft(await page.title(), view).toContain(active[0] === 'H1' ? active[1] : '(no heading has the focus)');
  }
  await page.goto(gateway.url(`#/vm/${name}`));
  await page.waitForSelector('[data-table="tasks"]');
  await picture(page, 'vm-320');
  await sleep(1000);
  const said = await listen(page, '[role=status], [role=alert], [role=log]');
  await sleep(10_000);
  expect(await said()).toEqual([]);
  await page.fill('[aria-label="Search tasks"]', 'passed');
  await eventually('what was found is said', async () => (await said()).some((words) => /of \d+ task/.test(words)));
  await visitor.close();
  await gateway.stop();
});

it('shows the view that was asked for while it was being drawn', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  await (await visitor.signedIn(gateway)).close();
  const page = await visitor.page();
  await page.addInitScript(() => {
    const look = new MutationObserver(() => {
      if (!document.querySelector('#app main')) return;
      look.disconnect();
      location.hash = '#/vm/demo-1';
    });
    look.observe(document, { subtree: true, childList: true });
  });
  await page.goto(gateway.url());
  await page.waitForSelector('main[data-view="vm"]', { timeout: 10_000 });
  await visitor.close();
  await gateway.stop();
});

it('knows who is signed in although the first question was refused', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  let asked = 0;
  await page.route('**/auth/session', (route) => {
    asked += 1;
    return asked === 1 ? route.fulfill({ status: 503, headers: { 'Retry-After': '1' }, body: '{}' }) : route.continue();
  });
  await page.reload();
  await state(page, 'live');
  await page.getByRole('link', { name: 'Admin' }).waitFor({ timeout: 20_000 });
  await visitor.close();
  await gateway.stop();
});

it('stays where it is when the reader is signed out, in every tab, until the reader signs in with one of them', async () => {
  const gateway = await Gateway.serve(() => POLL + simulated('a') + simulated('b'));
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  const other = await visitor.page();
  await other.goto(gateway.url('#/vm/b'));
  await state(other, 'live');
  await visitor.context.clearCookies();
  await gateway.kill();
  await gateway.start();
  for (const tab of [page, other]) await state(tab, 'signed-out');
  // A glance at each.
  for (const tab of [page, other]) await tab.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await sleep(2000);
  expect([page.url(), other.url()]).toEqual([gateway.url(), gateway.url('#/vm/b')]);
  for (const tab of [page, other]) await state(tab, 'signed-out');
  await page.click('[data-action="sign-in"]');
  await page.waitForURL(/\/login\?next=/);
  await fill(page, gateway.said.key);
  await state(page, 'live');
  await state(other, 'live');
  expect(other.url()).toBe(gateway.url('#/vm/b'));
  await visitor.close();
  await gateway.stop();
});

it('keeps the question whether to revoke a key, and the list, when the list cannot be had again', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway, '#/admin');
  await page.locator('[data-table="keys"] button').first().click();
  await page.waitForSelector('dialog[open]');
  await page.route('**/api/keys', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{"title":"busy"}' }));
  await page.waitForSelector('text=it could not be had again (busy)');
  expect(await page.locator('dialog[open]').count()).toBe(1);
  await page.unroute('**/api/keys');
  await eventually('the doubt goes', async () => (await page.getByText('it could not be had again').count()) === 0);
  expect(await page.locator('dialog[open]').count()).toBe(1);
  await visitor.close();
  await gateway.stop();
});

it('says that it shows the latest of many tasks, and where the others are', async () => {
  const gateway = await Gateway.serve((dir) => POLL + local(dir, 'k'));
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway, '#/vm/k');
  await page.waitForSelector('[data-vm="k"]');
  await sleep(2500);
  const tasks = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => `Task ${from + i + 1}/7000: task_${from + i}\nScore: ${i === 0 ? -2 : 3}\nResult: PASS\n`).join('');
  for (let from = 0; from < 6000; from += 1000) {
    appendFileSync(join(gateway.dir, 'k.log'), tasks(from, 1000));
    await sleep(1200);
  }
  appendFileSync(join(gateway.dir, 'k.log'), 'Task 6001/7000: now\n');
  await page.waitForSelector('[data-cut]:has-text("The latest 5\u202f000 of 6\u202f000 tasks")');
  await picture(page, 'vm-cut');
  await page.locator('[data-cut] a').first().click();
  await eventually('all of them', async () => ((await page.locator('[data-count]').textContent()) ?? '').startsWith('6\u202f000'));
  await visitor.close();
  await gateway.stop();
});

it('says that there is a newer page once the gateway was upgraded', async () => {
  const gateway = await Gateway.demo('--vms', '1');
  const visitor = await Visitor.new();
  const page = await visitor.signedIn(gateway);
  await page.route(
    (url) => url.pathname === '/',
    (route) => route.fulfill({ contentType: 'text/html', body: '<script type="module" src="/assets/index-another.js"></script>' }),
  );
  await gateway.kill();
  await state(page, 'reconnecting');
  await gateway.start();
  await page.waitForSelector('[data-newer]');
  await page.unrouteAll();
  await page.locator('[data-newer] button').click();
  await state(page, 'live');
  expect(await page.locator('[data-newer]').count()).toBe(0);
  await visitor.close();
  await gateway.stop();
});

it('tells the stage and the state also in the colours of the system', async () => {
  const gateway = await Gateway.demo('--vms', '3', '--speed', '5');
  const visitor = await Visitor.new({ forcedColors: 'active' });
  const page = await visitor.signedIn(gateway);
  await page.waitForSelector('.step.here');
  const colour = (selector: string) => page.locator(selector).first().evaluate((element) => getComputedStyle(element).backgroundColor);
  const [here, ahead, dot, panel] = [await colour('.step.here'), await colour('.step:last-child'), await colour('.connection .dot'), await colour('.top')];
  expect(here).not.toBe(ahead);
  expect(dot).not.toBe(panel);
  await picture(page, 'forced-colours');
  await visitor.close();
  await gateway.stop();
});
