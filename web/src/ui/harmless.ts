// Foreign text as harmless text: what would move, hide or colour something else is shown as the sign that it is.

/** Controls beyond ASCII, marks of direction, and characters that take no room or leave it blank. */
const UNSEEN =
  /[\u0080-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** `\x1b[31m` as `␛[31m`, a right-to-left override as `⟨U+202E⟩`; line ends and tabs stay. */
export function harmless(text: string): string {
  return (
    text
      .replaceAll('\r\n', '\n')
      // C0 controls have pictures of their own from U+2400 on; DEL has U+2421.
      // eslint-disable-next-line no-control-regex
      .replace(/[\u0000-\u0008\u000b-\u001f]/g, picture)
      .replaceAll('\u007f', '\u2421')
      .replace(UNSEEN, named)
  );
}

/** The same for what is one line: a name, a message. */
export function line(text: string): string {
  return harmless(text).replace(/[\t\n]/g, picture);
}

function picture(c: string): string {
  return String.fromCharCode(0x2400 + c.charCodeAt(0));
}

function named(c: string): string {
  return `⟨U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`;
}
