// Puts the parts together: the link feeds the store, the views read it.

import { render } from 'preact';

import { App } from './app';
import { Link } from './link/link';
import type { Session } from './model/types';
import { say, words } from './shell/notify';
import { restoreView, signIn } from './shell/route';
import { watchTheme } from './shell/theme';
import { current, notice, update } from './store/store';
import { ask } from './ui/fetch';

watchTheme();
restoreView();

/** Who signed in, for the views that not everybody has; asked again whenever the stream is there anew. */
async function whoAmI(): Promise<void> {
  const session = await ask<Session>('/auth/session').catch(() => null);
  update({ session });
}

const link = new Link({
  fleet: (fleet, events) => {
    const { fleet: before, connection } = current();
    update({ fleet });
    if (connection.state === 'live') say(words(before, events));
  },
  connection: (connection) => {
    const before = current().connection;
    if (before === connection) return;
    // A reader who comes without a session has nothing to look at yet.
    if (connection.state === 'signed-out' && before.state === 'connecting') signIn();
    update({ connection });
    if (connection.state === 'signed-out') update({ session: null });
    if (connection.state === 'live' && before.state !== 'live') void whoAmI();
  },
  back: notice,
});

const root = document.getElementById('app');
if (root) render(<App link={link} />, root);
link.start();
