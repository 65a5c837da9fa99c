// What the gateway says: the events of the stream and the answers of its routes, as docs/API.md has them. Fields may come
// at any time that are not here; what is here may be relied on.

/** Seconds since the Unix epoch, with fractions. */
export type Seconds = number;

export type Stage =
  | 'off'
  | 'starting'
  | 'downloading'
  | 'extracting'
  | 'configuring'
  | 'building'
  | 'booting'
  | 'oobe'
  | 'ready'
  | 'running'
  | 'complete'
  | 'unreachable'
  | 'removed';

/** Where to look when something is wrong. */
export type Whose = 'vm' | 'network' | 'local' | 'client';

export interface Container {
  name: string;
  image: string | null;
  state: string | null;
  running: boolean;
  started_at: string | null;
}

export interface Status {
  vm: string;
  stage: Stage;
  /** The stage before; only on the durable event that tells of the change. */
  from?: Stage | null;
  stage_since: Seconds | null;
  reachable: boolean;
  stale: boolean;
  connected: boolean;
  waa_ready: boolean;
  probe: { status: string; vnc_url: string | null } | null;
  /** Progress of the boot, 0 to 100. */
  percent: number | null;
  download_seconds_left: number | null;
  power: string | null;
  container: Container | null;
  setup_script: string | null;
  dependencies: unknown[];
  process: unknown;
  /** Bytes. */
  storage: { used: number | null; total: number | null } | null;
  /** Bytes; `limit` is null where there is none. */
  memory: { used: number | null; limit: number | null } | null;
  qemu_monitor: boolean | null;
  /** The VM's clock minus the gateway's, seconds. */
  clock_skew: number | null;
  errors: number;
  reported_at: Seconds | null;
  answered_at: Seconds | null;
  timestamp: Seconds;
}

export interface Progress {
  vm: string;
  run: string;
  source: string;
  tasks_completed: number;
  total_tasks: number;
  current_task: string | null;
  current_step: number | null;
  completed: number;
  passed: number;
  failed: number;
  unknown: number;
  action: string | null;
  instruction: string | null;
  domain: string | null;
  open: boolean;
  started_at: Seconds | null;
  ended_at: Seconds | null;
  model: string | null;
  average_score: number | null;
  historic: boolean;
  timestamp: Seconds;
}

export interface TaskComplete {
  vm: string;
  run: string;
  /** Names this completion for good. */
  key: string;
  task_id: string;
  number: number | null;
  worker: string | null;
  /** Null where the log does not say. */
  success: boolean | null;
  score: number | null;
  steps: number | null;
  /** Seconds. */
  duration: number | null;
  historic: boolean;
  log_time: string | null;
  timestamp: Seconds;
}

export interface RunStarted {
  vm: string;
  run: string;
  source: string;
  total_tasks: number | null;
  historic: boolean;
  log_time: string | null;
  timestamp: Seconds;
}

export interface RunComplete {
  vm: string;
  run: string;
  source: string;
  completed: number;
  passed: number;
  failed: number;
  unknown: number;
  reason: string;
  historic: boolean;
  log_time: string | null;
  timestamp: Seconds;
}

export interface Trouble {
  message: string;
  code: string;
  retryable: boolean;
  whose: Whose;
  /** Absent where it is about the stream. */
  vm?: string | null;
  resolved: boolean;
  timestamp: Seconds;
}

export interface Connected {
  timestamp: Seconds;
  interval: number;
  version: string;
  replica: string;
  /** A hash of what the credential may see and what was asked for. */
  view: string;
}

export interface Heartbeat {
  timestamp: Seconds;
  stale: boolean;
}

/** An event of the stream, read and known by name. */
export type StreamEvent = { id?: string | undefined } & (
  | { name: 'connected'; data: Connected }
  | { name: 'status'; data: Status }
  | { name: 'progress'; data: Progress }
  | { name: 'task_complete'; data: TaskComplete }
  | { name: 'run_started'; data: RunStarted }
  | { name: 'run_complete'; data: RunComplete }
  | { name: 'heartbeat'; data: Heartbeat }
  | { name: 'error'; data: Trouble }
  | { name: 'reset'; data: { reason: string } }
);

/** A run, in a row of `GET /api/runs`. */
export interface RunRow {
  run: string;
  vm: string;
  vm_id: string;
  source: string;
  state: 'open' | 'ended';
  reason: string | null;
  started_at: Seconds;
  ended_at: Seconds | null;
  duration: number | null;
  total_tasks: number | null;
  completed: number;
  passed: number;
  failed: number;
  unknown: number;
  average_score: number | null;
  scored: number;
  historic: boolean;
}

/** A task, in a row of `GET /api/runs/{run}`. */
export interface TaskRow {
  run: string;
  vm: string;
  number: number | null;
  task_id: string;
  success: boolean | null;
  score: number | null;
  steps: number | null;
  duration: number | null;
  closed_at: Seconds;
  log_time: string | null;
  worker: string | null;
  historic: boolean;
  key: string;
}

/** A VM, in `GET /api/vms`. */
export interface VmRow {
  name: string;
  ssh_host: string;
  ssh_user: string;
  docker_container: string | null;
  internal_ip: string | null;
  vnc_reachable: boolean | null;
  waa_probe_status: string;
  stage: Stage;
  stale: boolean;
}

/** Who the caller is: `GET /auth/session`. */
export interface Session {
  name: string;
  kind: string;
  scopes: string[];
  vms: string[];
  expires_at: Seconds | string | null;
}
