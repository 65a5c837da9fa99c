// Puts the parts together: the link feeds the store, the views read it.

import { render } from 'preact';

import { App } from './app';
import { Link } from './link/link';
import { alike, hears, type Connection } from './link/machine';
import type { Session } from './model/types';
import { BUILD, outdated } from './shell/build';
import { say, words } from './shell/notify';
import { restoreView, signIn } from './shell/route';
import { WhoAmI } from './shell/session';
import { watchTheme } from './shell/theme';
import { current, notice, update } from './store/store';
import { ask } from './ui/fetch';

watchTheme();
restoreView();

const who = new WhoAmI(
  () => ask<Session>('/auth/session'),
  (session) => update({ session }),
);
/** Whether the gateway was heard since the page was loaded, or refused to be. */
let answered = false;

function connected(connection: Connection): void {
  const before = current().connection;
  if (alike(before, connection)) return;
  const first = !answered;
  answered ||= connection.state !== 'connecting' && connection.state !== 'reconnecting';
  update({ connection });
  // A reader who comes without a session has nothing to look at yet. One who had one decides when to leave the page.
  if (connection.state === 'signed-out' && first && document.visibilityState === 'visible') signIn();
  if (connection.state === 'signed-out') who.forget();
  if (!hears(connection) || hears(before)) return;
  who.ask();
  // The gateway that is back may be a new one.
  if (!first) outdated().then((newer) => update({ newer }), () => {});
}

const link = new Link({
  fleet: (fleet, events) => {
    const { fleet: before, connection } = current();
    update({ fleet });
    if (events.some((event) => event.name === 'reset')) who.ask();
    if (hears(connection)) say(words(before, events));
  },
  connection: connected,
  back: notice,
});

const root = document.getElementById('app');
if (root) render(<App link={link} />, root);
link.start(`gatewatch-stream-${BUILD}`);
