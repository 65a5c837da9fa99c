// The answers of the routes for administrators, see docs/API.md.

import type { Seconds } from '../../model/types';

export interface StreamRow {
  id: string;
  principal: string;
  /** What was shown: api_key, jwt, session or ticket. */
  kind: string;
  client: string;
  opened_at: Seconds;
  /** Null: all that the credential sees. */
  vms: string[] | null;
  interval: number;
  /** Commits that it has not taken yet. */
  behind: number;
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
  hits: { limit: string; count: number }[];
}

export interface Reload {
  last: { at: Seconds; outcome: string; problems: string[]; needs_restart: string[] } | null;
  started_at: Seconds;
  version: string;
  certificate_expires_at: Seconds | null;
}
