// A log as it grows, as harmless text.

import { harmless } from '../../ui/harmless';

/** Characters of a log that are shown, the latest. */
export const MAX_CHARS = 64 * 1024;

/** What was shown and what came, no longer than `MAX_CHARS`, from the beginning of a line on. */
export function appended(shown: string, came: string): string {
  const all = shown + came;
  if (all.length <= MAX_CHARS) return all;
  const cut = all.slice(-MAX_CHARS);
  const line = cut.indexOf('\n');
  return line < 0 ? cut : cut.slice(line + 1);
}

/** One log of `GET /api/vms/{vm}/log`. Offsets in bytes. */
export interface LogPart {
  source: string;
  generation: number;
  start: number;
  end: number;
  text: string;
}

export interface Log {
  source: string;
  generation: number;
  end: number;
  text: string;
}

/** The logs after an answer: each goes on where it was, or anew if the answer does not join on to it. */
export function joined(logs: readonly Log[], parts: readonly LogPart[]): Log[] {
  return parts.map((part) => {
    const known = logs.find((log) => log.source === part.source);
    const goesOn = known !== undefined && known.generation === part.generation && known.end === part.start;
    if (goesOn && part.text === '') return known;
    const text = appended(goesOn ? known.text : '', harmless(part.text));
    return { source: part.source, generation: part.generation, end: part.end, text };
  });
}
