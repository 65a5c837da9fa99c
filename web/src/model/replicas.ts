// Which replica does what, as `/api/replicas` tells it: pure.

import type { Seconds } from './types';

export interface Replica {
  replica: string;
  version: string;
  started_at: Seconds;
  /** When the one that answers heard of it last. */
  heard_at: Seconds;
  /** It is about to stop. */
  draining: boolean;
  /** Null without the scope `admin`. */
  streams: number | null;
  /** Those of its VMs that the session sees. */
  polls: string[];
  /** It is the one that answers. */
  self: boolean;
}

export interface Replicas {
  replicas: Replica[];
}

/** Who polls a VM, by its name. */
export type Pollers = ReadonlyMap<string, string>;

export const NOBODY: Pollers = new Map();

/**
 * Who polls what, where that is a question: of one that is alone it is none. While a VM changes hands two may name it: the
 * newest word counts. Gives `before` if it says the same.
 */
export function pollers(replicas: readonly Replica[], before: Pollers = NOBODY): Pollers {
  if (replicas.length < 2) return NOBODY;
  const told = [...replicas].sort((a, b) => a.heard_at - b.heard_at);
  const now = new Map(told.flatMap(({ replica, polls }) => polls.map((vm) => [vm, replica] as const)));
  const same = now.size === before.size && [...now].every(([vm, replica]) => before.get(vm) === replica);
  return same ? before : now;
}

/** A few names, or how many there are. */
export function few(names: readonly string[], most = 3): string {
  if (names.length === 0) return 'none';
  return names.length > most ? `${names.length} VMs` : names.join(', ');
}
