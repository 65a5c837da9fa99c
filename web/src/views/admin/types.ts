// The answers of the routes for administrators, see docs/API.md.

import type { Seconds } from '../../model/types';

export interface StreamRow {
  id: string;
  principal: { kind: string; id: string; name: string };
  client: string;
  opened_at: Seconds;
  /** Null: all that the credential sees. */
  vms: string[] | null;
  interval: number;
  queue: number;
  delivered: number;
  coalesced: number;
  protocol: string;
}

export interface Streams {
  streams: StreamRow[];
  total: number;
}

export interface KeyRow {
  id: string;
  name: string;
  scopes: string[];
  vms: string[];
  /** RFC 3339; null for a key that never ends. */
  expires_at: string | null;
  last_used: string | null;
  expired: boolean;
  rotating: boolean;
}

export interface Limits {
  hits: { kind: string; count: number }[];
  recent: { at: Seconds; kind: string; client: string; path: string | null }[];
}

export interface Reload {
  last: { at: Seconds; outcome: string; changed: string[]; problems: string[] } | null;
  started_at: Seconds;
  version: string;
  certificate_expires_at: Seconds | null;
}
