// What the page shows, in one place; views read a part of it and are drawn anew when that part changes.

import { useEffect, useState } from 'preact/hooks';

import type { Back } from '../link/link';
import type { Connection } from '../link/machine';
import { EMPTY, type Fleet } from '../model/fleet';
import type { Session } from '../model/types';

/** Notices kept, the latest. */
const MAX_NOTICES = 5;

export interface Notice {
  id: number;
  at: number;
  back: Back;
}

export interface Page {
  fleet: Fleet;
  connection: Connection;
  /** When the last word of the gateway came, milliseconds since the epoch. */
  session: Session | null;
  notices: readonly Notice[];
}

type Listener = () => void;

let page: Page = { fleet: EMPTY, connection: { state: 'connecting' }, session: null, notices: [] };
const listeners = new Set<Listener>();
let noticed = 0;

export function current(): Page {
  return page;
}

export function update(change: Partial<Page>): void {
  page = { ...page, ...change };
  for (const listener of [...listeners]) listener();
}

export function notice(back: Back): void {
  noticed += 1;
  const fresh = { id: noticed, at: Date.now(), back };
  update({ notices: [...page.notices, fresh].slice(-MAX_NOTICES) });
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
