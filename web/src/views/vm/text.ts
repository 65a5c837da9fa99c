// A log as harmless text: what would move, hide or colour something else is shown as the sign that it is.

/** Characters of a log that are shown, the latest. */
export const MAX_CHARS = 64 * 1024;

/** `\x1b[31m` as `␛[31m`, a right-to-left override as `⟨U+202E⟩`; line ends and tabs stay. */
export function harmless(text: string): string {
  return (
    text
      .replaceAll('\r\n', '\n')
      // C0 controls have pictures of their own from U+2400 on; DEL has U+2421.
      // eslint-disable-next-line no-control-regex
      .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replaceAll('\u007f', '\u2421')
      .replace(/[\u0080-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g, named)
  );
}

function named(c: string): string {
  return `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

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
