// A frame of the stream to an event that is known; null for what is not, which a client has to pass over.

import type { StreamEvent } from './types';

const OF_A_VM = new Set(['status', 'progress', 'task_complete', 'run_started', 'run_complete']);
const OF_A_RUN = new Set(['progress', 'task_complete', 'run_started', 'run_complete']);
const OTHERS = new Set(['connected', 'heartbeat', 'error', 'reset']);

export function read(name: string | undefined, data: string, id?: string): StreamEvent | null {
  if (!name || !(OF_A_VM.has(name) || OTHERS.has(name))) return null;
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const fields = value as Record<string, unknown>;
  if (OF_A_VM.has(name) && typeof fields['vm'] !== 'string') return null;
  if (OF_A_RUN.has(name) && typeof fields['run'] !== 'string') return null;
  if (name === 'task_complete' && typeof fields['key'] !== 'string') return null;
  return { name, data: value, id } as StreamEvent;
}
