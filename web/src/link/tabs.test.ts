import { beforeEach, describe, expect, it } from 'vitest';

import { sharing, type Channel, type Handlers, type Tabs } from './tabs';
import { SUSPECT_MS, TAKE_MS } from './watch';

/** Locks and channels of one browser, whose messages wait until they are let through. */
class Browser {
  now = 1000;
  tabs: Tab[] = [];
  #channels: (Channel & { hung: boolean })[] = [];
  #mail: [Channel & { hung: boolean }, unknown][] = [];
  #holder: { reject: (why: Error) => void; hangs: () => boolean } | undefined;
  /** What a tab that hangs will learn once it wakes. */
  late: (() => void)[] = [];
  #queue: { grant: () => void; gone: boolean }[] = [];

  channel(): Channel & { hung: boolean } {
    const made: Channel & { hung: boolean } = {
      hung: false,
      onmessage: null,
      postMessage: (message) => {
        for (const other of this.#channels) if (other !== made) this.#mail.push([other, structuredClone(message)]);
      },
      close: () => {
        this.#channels = this.#channels.filter((other) => other !== made);
      },
    };
    this.#channels.push(made);
    return made;
  }

  request(options: LockOptions, callback: () => Promise<void>, hangs: () => boolean): Promise<unknown> {
    return new Promise((done, reject) => {
      const waiting = {
        gone: false,
        grant: () => {
          const held = { reject, hangs };
          this.#holder = held;
          void callback().then(() => {
            if (this.#holder === held) this.#free();
            done(undefined);
          });
        },
      };
      options.signal?.addEventListener('abort', () => {
        waiting.gone = true;
        reject(new Error('aborted'));
      });
      const holder = this.#holder;
      const lose = () => holder?.reject(new Error('stolen'));
      if (options.steal && holder?.hangs()) this.late.push(lose);
      else if (options.steal) lose();
      if (options.steal || !this.#holder) waiting.grant();
      else this.#queue.push(waiting);
    });
  }

  #free(): void {
    this.#holder = undefined;
    let next = this.#queue.shift();
    while (next?.gone) next = this.#queue.shift();
    next?.grant();
  }

  /** Lets every message through, and what follows from it. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i += 1) {
      await Promise.resolve();
      const mail = this.#mail;
      this.#mail = [];
      for (const [to, data] of mail) {
        if (to.hung) this.#mail.push([to, data]);
        else to.onmessage?.({ data } as MessageEvent);
      }
    }
  }

  open(): Tab {
    const tab = new Tab(this);
    this.tabs.push(tab);
    return tab;
  }

  /** Half seconds in which every tab that does not hang looks round. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 500) {
      this.now += 500;
      for (const tab of this.tabs) if (!tab.channel.hung) tab.tabs.look(true);
      await this.settle();
    }
  }
}

class Tab implements Handlers<number[], number> {
  leads = false;
  heard: number[] = [];
  hung: number | null = null;
  taken = false;
  fresh: boolean[] = [];
  ticks = 0;
  channel!: Channel & { hung: boolean };
  tabs: Tabs<number>;

  constructor(browser: Browser) {
    this.tabs = sharing<number[], number>('name', this, {
      locks: {
        request: ((_: string, options: LockOptions, callback: () => Promise<void>) => browser.request(options, callback, () => this.channel.hung)) as LockManager['request'],
      },
      channel: () => (this.channel = browser.channel()),
      now: () => browser.now,
      epoch: () => browser.now,
      id: `tab-${browser.tabs.length}`,
    });
  }

  lead = (taken: boolean) => Object.assign(this, { leads: true, taken });
  follow = () => Object.assign(this, { leads: false });
  share = (fresh: boolean) => (this.fresh.push(fresh), [...this.heard]);
  state = (state: number[]) => Object.assign(this, { heard: state, hung: null });
  batch = (batch: number) => this.heard.push(batch);
  woken = () => {};
  tick = () => (this.ticks += 1);
  signedOut = () => {};
  hangs = (since: number) => Object.assign(this, { hung: since });

  say(value: number): void {
    this.heard.push(value);
    this.tabs.send(value);
  }
}

let browser: Browser;
beforeEach(() => {
  browser = new Browser();
});

describe('the tabs of a browser', () => {
  it('share what one of them reads', async () => {
    const [a, b] = [browser.open(), browser.open()];
    await browser.settle();
    a.say(1);
    await browser.settle();
    const late = browser.open();
    await browser.settle();
    a.say(2);
    await browser.settle();
    expect([a.leads, b.leads, late.leads]).toEqual([true, false, false]);
    expect([b.heard, late.heard]).toEqual([[1, 2], [1, 2]]);
    expect(a.fresh, 'a tab that comes wants a try at once').toEqual([true, true]);
  });

  it('know what goes on however they come, and ask until they do', async () => {
    const first = browser.open();
    await browser.settle();
    first.say(1);
    // Asked while the one that answers goes: nobody hears it.
    const [b, c] = [browser.open(), browser.open()];
    first.tabs.close();
    await browser.settle();
    expect([b.leads, c.leads]).toEqual([true, false]);
    b.say(7);
    await browser.settle();
    expect(c.heard, 'the new one said that it leads').toEqual([7]);
  });

  it('ask again when a batch does not join on to what they know', async () => {
    const [a, b] = [browser.open(), browser.open()];
    await browser.settle();
    a.say(1);
    await browser.settle();
    const { onmessage } = b.channel;
    b.channel.onmessage = null;
    a.say(2);
    await browser.settle();
    b.channel.onmessage = onmessage;
    browser.now += 400;
    a.say(3);
    await browser.settle();
    expect(b.heard).toEqual([1, 2, 3]);
    expect(a.fresh).toEqual([true, false]);
  });

  it('take the place of one that hangs, which follows when it wakes', async () => {
    const [a, b, c] = [browser.open(), browser.open(), browser.open()];
    await browser.settle();
    a.say(1);
    await browser.settle();
    await browser.pass(60_000);
    expect([a.leads, b.hung, a.ticks > 50]).toEqual([true, null, true]);

    a.channel.hung = true;
    await browser.pass(SUSPECT_MS + 1000);
    expect([b.hung !== null, b.leads]).toEqual([true, false]);
    await browser.pass(TAKE_MS - SUSPECT_MS);
    const leading = [b, c].filter((tab) => tab.leads);
    expect(leading).toHaveLength(1);
    const [other] = [b, c].filter((tab) => !tab.leads);
    expect(leading[0]?.taken).toBe(true);
    leading[0]?.say(2);
    // It does not know yet: nobody takes that for news.
    a.say(99);
    a.channel.hung = false;
    await browser.settle();
    browser.late.forEach((lose) => lose());
    await browser.pass(2000);
    expect(a.leads).toBe(false);
    expect([a.heard, other?.heard, leading[0]?.heard]).toEqual([[1, 2], [1, 2], [1, 2]]);
    expect(other?.hung).toBeNull();
  });

  it('lead no more once they are closed', async () => {
    const [a, b] = [browser.open(), browser.open()];
    await browser.settle();
    a.tabs.close();
    await browser.settle();
    b.tabs.close();
    const c = browser.open();
    await browser.settle();
    expect(c.leads).toBe(true);
  });
});

describe('a leading tab', () => {
  it('is not taken for one that hangs by a tab that slept itself', async () => {
    const [a, b] = [browser.open(), browser.open()];
    await browser.settle();
    for (let i = 0; i < 10; i += 1) {
      // Timers once a minute, and the answer behind the timer.
      browser.now += 60_000;
      b.tabs.look(false);
      await browser.settle();
    }
    expect([a.leads, b.leads, b.hung]).toEqual([true, false, null]);
  });
});
