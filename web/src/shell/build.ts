// Which build of the page this is, by the name of its script, which changes with what is in it.

/** Of another build another one: tabs of different builds do not understand each other's messages. */
export const BUILD = scriptOf(import.meta.url) ?? 'development';

/** The script's name in an address or a page; null where there is none. */
export function scriptOf(text: string): string | null {
  return /\/assets\/(index-[\w-]+)\.js/.exec(text)?.[1] ?? null;
}

/** Whether the gateway has another page by now: it was upgraded while this one was open. */
export async function outdated(): Promise<boolean> {
  const answer = await fetch('/', { cache: 'no-store' });
  const script = answer.ok ? scriptOf(await answer.text()) : null;
  return script !== null && script !== BUILD;
}
