// The frame around every view.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';

import type { Link } from './link/link';
import { hears } from './link/machine';
import { headline, title } from './shell/headline';
import { Help } from './shell/help';
import { Notices } from './shell/notices';
import { supported, want, wanted } from './shell/notify';
import { to, useRoute, type Route } from './shell/route';
import { Barred, ConnectionState } from './shell/status';
import { setTheme, theme, type Theme } from './shell/theme';
import { usePage, type Page } from './store/store';
import { line } from './ui/harmless';
import { Empty } from './ui/parts';
import { AdminView } from './views/admin';
import { FleetView } from './views/fleet';
import { CompareView, RunsView, RunView } from './views/runs';
import { VmView } from './views/vm';

import failedIcon from './shell/icons/failed.svg?no-inline';
import idleIcon from './shell/icons/idle.svg?no-inline';
import lostIcon from './shell/icons/lost.svg?no-inline';
import runningIcon from './shell/icons/running.svg?no-inline';

const connectionOf = (page: Page) => page.connection;
const troubleOf = (page: Page) => page.fleet.trouble;
const sessionOf = (page: Page) => page.session;

const newerOf = (page: Page) => page.newer;

const ICONS: Record<string, string> = { failed: failedIcon, idle: idleIcon, lost: lostIcon, running: runningIcon };

function useHeadline(route: Route): void {
  const said = usePage(headline);
  useEffect(() => {
    document.title = title(said, route);
    document.getElementById('icon')?.setAttribute('href', ICONS[said.split('|')[0] ?? ''] ?? idleIcon);
  }, [said, route]);
}

/** Who goes to another view is there: with the keyboard, and in what is read aloud. */
function useArrival(route: Route, main: { current: HTMLElement | null }): void {
  const before = useRef(route);
  useEffect(() => {
    if (before.current === route) return;
    before.current = route;
    const heading = main.current?.querySelector<HTMLElement>('h1') ?? main.current;
    heading?.setAttribute('tabindex', '-1');
    heading?.focus();
  }, [route]);
}

function View({ route }: { route: Route }) {
  switch (route.view) {
    case 'fleet':
      return <FleetView />;
    case 'vm':
      return <VmView key={route.name} name={route.name} />;
    case 'runs':
      return <RunsView key={route.vm} vm={route.vm} />;
    case 'run':
      return <RunView key={route.run} run={route.run} />;
    case 'compare':
      return <CompareView key={`${route.a}/${route.b}`} a={route.a} b={route.b} />;
    case 'admin':
      return <AdminView />;
    case 'nowhere':
      return (
        <Empty>
          <h1>There is nothing here</h1> <a href={to.fleet}>To the fleet</a>
        </Empty>
      );
  }
}

function NavLink({ href, here, children }: { href: string; here: boolean; children: string }) {
  return (
    <a href={href} aria-current={here ? 'page' : undefined}>
      {children}
    </a>
  );
}

export function App({ link }: { link: Link }) {
  const route = useRoute();
  const connection = usePage(connectionOf);
  const trouble = usePage(troubleOf);
  const session = usePage(sessionOf);
  const newer = usePage(newerOf);
  const [helps, setHelps] = useState(false);
  const closeHelp = useCallback(() => setHelps(false), []);
  const main = useRef<HTMLElement>(null);
  useHeadline(route);
  useArrival(route, main);
  useKeys(() => setHelps(true));
  const admin = session?.scopes.includes('admin') ?? false;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        To the content
      </a>
      <header class="top">
        <a class="brand" href={to.fleet}>
          gatewatch
        </a>
        <nav aria-label="Views">
          <NavLink href={to.fleet} here={route.view === 'fleet' || route.view === 'vm'}>
            Fleet
          </NavLink>
          <NavLink href={to.runs()} here={['runs', 'run', 'compare'].includes(route.view)}>
            Runs
          </NavLink>
          {admin && (
            <NavLink href={to.admin} here={route.view === 'admin'}>
              Admin
            </NavLink>
          )}
        </nav>
        <ConnectionState connection={connection} onTry={() => link.wake()} />
        <Choices onHelp={() => setHelps(true)} />
        {session?.kind === 'session' && session.expires_at !== null && <SignOut name={session.name} link={link} />}
      </header>
      <Barred connection={connection} />
      {trouble && (
        <p class="banner banner-warn" role="alert">
          {line(trouble.message)}
        </p>
      )}
      {newer && (
        <p class="banner banner-info" role="status" data-newer>
          There is a newer version of this page.
          <button type="button" class="small" onClick={() => location.reload()}>
            Reload
          </button>
        </p>
      )}
      <Notices />
      <main ref={main} id="main" tabIndex={-1} data-view={route.view} class={hears(connection) ? undefined : 'not-live'}>
        <View route={route} />
      </main>
      {helps && <Help onClose={closeHelp} />}
    </>
  );
}

/** The keys of the whole page. None while the reader writes. */
function useKeys(help: () => void): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const writes = event.target instanceof Element && event.target.closest('input, select, textarea, dialog') !== null;
      if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
      const jump = ({ f: to.fleet, r: to.runs() } as Record<string, string>)[event.key];
      if (jump !== undefined) location.hash = jump;
      else if (event.key === '?') help();
      else if (event.key === '/') {
        const filter = document.querySelector<HTMLInputElement>('input[type=search]');
        if (!filter) return;
        event.preventDefault();
        filter.focus();
        filter.select();
      }
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, []);
}

function SignOut({ name, link }: { name: string; link: Link }) {
  const [failed, setFailed] = useState(false);
  const leave = async () => {
    const answer = await fetch('/auth/session', { method: 'DELETE' }).catch(() => null);
    // 401: the session was over already.
    const gone = answer !== null && (answer.ok || answer.status === 401);
    setFailed(!gone);
    if (gone) link.signedOut();
  };
  return (
    <button type="button" class="small" data-action="sign-out" title={`signed in with ${line(name)}`} onClick={() => void leave()}>
      {failed ? 'Not signed out; try again' : 'Sign out'}
    </button>
  );
}

function Choices({ onHelp }: { onHelp: () => void }) {
  const [chosen, choose] = useState<Theme>(theme);
  const [notifies, setNotifies] = useState(wanted);
  return (
    <div class="choices">
      {supported() && (
        <button
          type="button"
          class="small"
          aria-pressed={notifies}
          title="A desktop notification when a run ends or a VM stops answering"
          onClick={() => void want(!notifies).then(setNotifies)}
        >
          Notify me
        </button>
      )}
      <label class="theme">
        <span class="visually-hidden">Colours</span>
        <select
          value={chosen}
          onChange={(event) => {
            const next = event.currentTarget.value as Theme;
            setTheme(next);
            choose(next);
          }}
        >
          <option value="system">system</option>
          <option value="light">light</option>
          <option value="dark">dark</option>
        </select>
      </label>
      <button type="button" class="small" onClick={onHelp} aria-label="Help: keys and words">
        ?
      </button>
    </div>
  );
}
