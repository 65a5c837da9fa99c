// Real gateways and a real browser for the tests of this folder.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const ROOT = resolve(import.meta.dirname, '../..');
const BINARY = process.env['GATEWATCH'] ?? join(ROOT, 'target/debug/gatewatch');
/** Pictures and figures of a run; build output. */
export const OUT = join(ROOT, 'target/tmp/dashboard');
/** Where the picture in the README is. */
export const PICTURE = join(ROOT, 'docs/dashboard.png');

/** How long something that happens by itself may take on a busy machine. */
export const SOON = 45_000;

interface Said {
  url: string;
  key: string;
  ca: string | null;
  admin_url: string;
  login: string;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Those that run: a test that fails leaves its own to whoever ends the file. */
const running = new Set<ChildProcess>();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A `gatewatch demo` or `gatewatch serve` that ends with the test. */
export class Gateway {
  #child: ChildProcess | undefined;
  #log = '';
  said!: Said;

  private constructor(
    private readonly args: string[],
    readonly dir: string,
  ) {}

  /** With the whole edge: TLS and a login. A restart has the same address, keys and sessions. */
  static async demo(...options: string[]): Promise<Gateway> {
    const dir = mkdtempSync(join(tmpdir(), 'dashboard-'));
    const listen = `127.0.0.1:${await freePort()}`;
    const gateway = new Gateway(['demo', '--json', '--listen', listen, '--data-dir', dir, ...options], dir);
    await gateway.start();
    return gateway;
  }

  /** `sections` of a configuration with keys, over TLS. */
  static async serve(sections: (dir: string) => string): Promise<Gateway> {
    const dir = mkdtempSync(join(tmpdir(), 'dashboard-'));
    const [port, admin] = [await freePort(), await freePort()];
    const config = join(dir, 'gatewatch.toml');
    writeFileSync(
      config,
      `[server]\nlisten = "127.0.0.1:${port}"\n[admin]\nlisten = "127.0.0.1:${admin}"\n[tls]\nmode = "dev"\n` +
        `[data]\ndir = "${dir}/data"\n[auth]\nkeys_file = "${dir}/keys.toml"\n${sections(dir)}`,
    );
    const gateway = new Gateway(['serve', '--config', config], dir);
    const key = (await run(['key', 'new', '--name', 'admin', '--scopes', 'admin', '--keys-file', join(dir, 'keys.toml')])).trim();
    gateway.said = { url: `https://127.0.0.1:${port}`, key, ca: null, admin_url: `http://127.0.0.1:${admin}`, login: '' };
    await gateway.start();
    return gateway;
  }

  async start(): Promise<void> {
    const child = spawn(BINARY, this.args, { cwd: this.dir, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    child.stderr.on('data', (bytes: Buffer) => {
      this.#log = (this.#log + bytes.toString()).slice(-100_000);
    });
    let out = '';
    child.stdout.on('data', (bytes: Buffer) => {
      out += bytes.toString();
    });
    const ready = async () => {
      if (this.args[0] === 'demo') {
        if (!out.includes('\n')) return false;
        this.said = JSON.parse(out.slice(0, out.indexOf('\n'))) as Said;
      }
      const answer = await fetch(`${this.said.admin_url}/readyz`).catch(() => null);
      return answer?.ok === true;
    };
    const until = Date.now() + SOON;
    while (!(await ready())) {
      if (child.exitCode !== null || Date.now() > until) throw new Error(`it is not ready:\n${this.#log}`);
      await sleep(50);
    }
  }

  /** Ends it as a machine that loses its power does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Stops it in its tracks, its connections open; `on`: lets it go on. */
  pause(on = false): void {
    this.#child?.kill(on ? 'SIGCONT' : 'SIGSTOP');
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    await gone;
  }

  url(fragment = ''): string {
    return `${this.said.url}/${fragment}`;
  }

  /** The value of one series. */
  async metric(series: string): Promise<number> {
    const page = await (await fetch(`${this.said.admin_url}/metrics`)).text();
    const line = page.split('\n').find((one) => one.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1));
  }

  /** Makes a key, which is in force a moment later. */
  async newKey(name: string, scopes: string, expires = 'never'): Promise<string> {
    const file = ['keys.toml', 'demo-keys.toml'].map((one) => join(this.dir, one)).find((one) => existsSync(one)) ?? '';
    return (await run(['key', 'new', '--name', name, '--scopes', scopes, '--expires', expires, '--keys-file', file])).trim();
  }
}

/** The output of a command of the binary. */
async function run(args: string[]): Promise<string> {
  const child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (err += bytes.toString()));
  const code = await new Promise((done) => child.once('close', done));
  if (code !== 0) throw new Error(`${args.join(' ')}: ${err}`);
  return out;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Tries until `check` holds. */
export async function eventually(what: string, check: () => Promise<boolean>, limit = SOON): Promise<void> {
  const until = Date.now() + limit;
  while (!(await check())) {
    if (Date.now() > until) throw new Error(`not within ${limit} ms: ${what}`);
    await sleep(100);
  }
}

let shared: Promise<Browser> | undefined;

/** One Chromium for all tests of a file. */
function browser(): Promise<Browser> {
  shared ??= chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  return shared;
}

export async function closeBrowser(): Promise<void> {
  await (await shared)?.close();
  shared = undefined;
  running.forEach((child) => child.kill('SIGKILL'));
}

/** A visitor with an empty profile: what it asked for and what it complained about. */
export class Visitor {
  readonly requests: string[] = [];
  readonly complaints: string[] = [];

  private constructor(readonly context: BrowserContext) {}

  static async new(options: Parameters<Browser['newContext']>[0] = {}): Promise<Visitor> {
    const context = await (await browser()).newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(SOON);
    return new Visitor(context);
  }

  async page(): Promise<Page> {
    const page = await this.context.newPage();
    page.on('request', (request) => this.requests.push(request.url()));
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text());
    });
    return page;
  }

  /** A page that is signed in and live at `fragment`. */
  async signedIn(gateway: Gateway, fragment = ''): Promise<Page> {
    const page = await this.page();
    if (gateway.said.login !== '') await page.goto(gateway.said.login);
    else await signIn(page, gateway, gateway.said.key);
    await page.goto(gateway.url(fragment));
    await state(page, 'live');
    return page;
  }

  /** What it complained about the page's policy, or a script's fault. */
  faults(): string[] {
    return this.complaints.filter((line) => !/net::ERR|Failed to load resource/.test(line));
  }

  async close(): Promise<void> {
    await this.context.close();
  }
}

/** Signs in by the form. */
export async function signIn(page: Page, gateway: Gateway, key: string): Promise<void> {
  await page.goto(`${gateway.said.url}/login?next=/`);
  await fill(page, key);
}

export async function fill(page: Page, key: string): Promise<void> {
  await page.fill('#key', key);
  await page.click('button[type=submit]');
}

/** Waits for a state of the connection. */
export async function state(page: Page, wanted: string): Promise<void> {
  await page.waitForSelector(`[data-connection="${wanted}"]`);
}

export async function picture(page: Page, name: string): Promise<void> {
  mkdirSync(OUT, { recursive: true });
  await page.screenshot({ path: join(OUT, `${name}.png`) });
}

/** Notes a figure of this run; timings are told and decide nothing. */
export function figure(name: string, value: number | string): void {
  mkdirSync(OUT, { recursive: true });
  const file = join(OUT, 'figures.json');
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>) : {};
  writeFileSync(file, `${JSON.stringify({ ...before, [name]: value }, null, 2)}\n`);
  console.log(`${name}: ${value}`);
}
