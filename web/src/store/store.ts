// What the page shows, in one place; views read a part of it and are drawn anew when that part changes.

import { useEffect, useState } from 'preact/hooks';

import type { Back } from '../link/link';
import type { Connection } from '../link/machine';
import { EMPTY, type Fleet } from '../model/fleet';
import type { Session } from '../model/types';
import { gatewayNow } from './clock';

/** Notices kept, the latest. */
const MAX_NOTICES = 5;

export interface Notice {
  /** The number of the gap that it is about. */
  id: number;
  /** Milliseconds since the epoch. */
  at: number;
  back: Back;
}

export interface Page {
  fleet: Fleet;
  connection: Connection;
  /** Who is signed in; null while that is not known. */
  session: Session | null;
  /** The gateway has a newer page than this one. */
  newer: boolean;
  notices: readonly Notice[];
}

type Listener = () => void;

let page: Page = { fleet: EMPTY, connection: { state: 'connecting' }, session: null, newer: false, notices: [] };
const listeners = new Set<Listener>();
let noticed = 0;

export function current(): Page {
  return page;
}

export function update(change: Partial<Page>): void {
  page = { ...page, ...change };
  for (const listener of [...listeners]) listener();
}

/** Tells of a gap, or more of it; one that the reader dismissed stays away. */
export function notice(back: Back): void {
  const { notices } = page;
  if (notices.some((one) => one.id === back.number)) {
    update({ notices: notices.map((one) => (one.id === back.number ? { ...one, back } : one)) });
  } else if (back.number > noticed) {
    noticed = back.number;
    update({ notices: [...notices, { id: back.number, at: gatewayNow(), back }].slice(-MAX_NOTICES) });
  }
}

export function dismiss(id: number): void {
  update({ notices: page.notices.filter((one) => one.id !== id) });
}

/** A part of what the page shows. Parts are compared by identity: take what is kept, make nothing new. */
export function usePage<T>(part: (page: Page) => T): T {
  const [value, setValue] = useState(() => part(page));
  useEffect(() => {
    const look = () => setValue(() => part(page));
    look();
    listeners.add(look);
    return () => {
      listeners.delete(look);
    };
  }, [part]);
  return value;
}
