// Which view the address names. It stands in the fragment, so that the gateway serves one page and no view is a request.

import { useEffect, useRef, useState } from 'preact/hooks';

export type Route =
  | { view: 'fleet' }
  | { view: 'vm'; name: string }
  | { view: 'runs'; vm: string | null }
  | { view: 'run'; run: string }
  | { view: 'compare'; a: string; b: string }
  | { view: 'admin' }
  | { view: 'nowhere' };

/** Where the wanted fragment waits while the reader signs in: the login page's address cannot hold one. */
const KEPT = 'gatewatch-view';

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

export function route(fragment: string): Route {
  const [path = '', query = ''] = fragment.replace(/^#/, '').split('?');
  const parts = path.split('/').filter((part) => part !== '').map(decoded);
  if (parts.includes(null)) return { view: 'nowhere' };
  const [first, second, third] = parts as string[];
  if (first === undefined) return { view: 'fleet' };
  if (first === 'vm' && second !== undefined && parts.length === 2) return { view: 'vm', name: second };
  if (first === 'runs' && parts.length === 1) return { view: 'runs', vm: new URLSearchParams(query).get('vm') };
  if (first === 'runs' && second !== undefined && parts.length === 2) return { view: 'run', run: second };
  if (first === 'compare' && second !== undefined && third !== undefined && parts.length === 3) {
    return { view: 'compare', a: second, b: third };
  }
  if (first === 'admin' && parts.length === 1) return { view: 'admin' };
  return { view: 'nowhere' };
}

export const to = {
  fleet: '#/',
  vm: (name: string) => `#/vm/${encodeURIComponent(name)}`,
  runs: (vm?: string) => (vm === undefined ? '#/runs' : `#/runs?vm=${encodeURIComponent(vm)}`),
  run: (run: string) => `#/runs/${encodeURIComponent(run)}`,
  compare: (a: string, b: string) => `#/compare/${encodeURIComponent(a)}/${encodeURIComponent(b)}`,
  admin: '#/admin',
};

export function useRoute(): Route {
  const [at, setAt] = useState(() => route(location.hash));
  const seen = useRef(location.hash);
  useEffect(() => {
    const look = () => setAt(route(location.hash));
    window.addEventListener('hashchange', look);
    // It may have changed between the first drawing and now.
    if (location.hash !== seen.current) look();
    return () => window.removeEventListener('hashchange', look);
  }, []);
  return at;
}

/** To the login page, and back to this very view. */
export function signIn(): void {
  sessionStorage.setItem(KEPT, location.hash);
  location.assign('/login?next=/');
}

/** After a login: the view that was wanted before it. */
export function restoreView(): void {
  const kept = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (kept !== null && location.hash === '') history.replaceState(null, '', `/${kept}`);
}
