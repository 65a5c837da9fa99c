// The page that needs no build: what the stream says, as text. Everything from the stream is hostile until it is a text
// node, so nothing here writes markup.
'use strict';

const SHOWN_EVENTS = 60;
// The server says a heartbeat every 15 s; twice that and more in silence means that the connection is dead.
const SILENCE_MS = 40000;
// EventSource gives up for good when a reconnect is answered with anything but 200; then this page tries again itself.
const RETRY_MS = 5000;

const vms = new Map();
const seen = new Set();
let source = null;
let retry = 0;
let lastHeard = 0;
let lastId = '';
let view = null;

const byId = (id) => document.getElementById(id);

function connection(state, text) {
  byId('connection').dataset.state = state;
  byId('connection').textContent = text;
}

function vm(name) {
  if (!vms.has(name)) vms.set(name, { status: {}, progress: {}, errors: new Map() });
  return vms.get(name);
}

function cell(row, text) {
  row.insertCell().textContent = text === undefined || text === null ? '' : String(text);
}

function draw() {
  const body = byId('vms');
  body.replaceChildren();
  for (const name of [...vms.keys()].sort()) {
    const { status, errors } = vms.get(name);
    // Of a VM that boots anew, the run before is not what goes on now.
    const shows = ['running', 'complete'].includes(status.stage);
    const progress = shows ? vms.get(name).progress : {};
    const row = body.insertRow();
    row.dataset.vm = name;
    cell(row, name);
    cell(row, status.stale ? `${status.stage} (stale)` : status.stage);
    cell(row, progress.current_task);
    cell(row, progress.current_step);
    cell(row, progress.total_tasks ? `${progress.completed} of ${progress.total_tasks}` : progress.completed);
    cell(row, progress.passed);
    cell(row, progress.failed);
    cell(row, progress.unknown);
    cell(row, [...errors.values()].join('; '));
  }
}

function list(name, data, id) {
  const item = document.createElement('li');
  item.dataset.event = name;
  if (id) item.dataset.id = id;
  const at = data.timestamp ? new Date(data.timestamp * 1000).toLocaleTimeString() : '';
  const detail = { status: data.stage, progress: `${data.current_task} step ${data.current_step}`,
    task_complete: `${data.task_id} ${data.success === null ? 'result unknown' : data.success ? 'passed' : 'failed'}`,
    run_started: data.run, run_complete: `${data.passed} passed, ${data.failed} failed, ${data.unknown} unknown`,
    error: data.resolved ? `${data.code} resolved` : `${data.code}: ${data.message}`, reset: data.reason }[name] || '';
  item.textContent = `${at} ${name} ${data.vm || ''} ${detail}`;
  byId('events').prepend(item);
  while (byId('events').children.length > SHOWN_EVENTS) byId('events').lastChild.remove();
}

const handle = {
  connected(data) {
    const other = view !== null && data.view !== view;
    view = data.view;
    if (other && lastId) {
      // The id tells only what was missed of VMs that were seen before: what is seen now is asked for anew.
      lastId = '';
      handle.reset();
      seen.clear();
      connect();
      return false;
    }
    connection('live', 'live');
    byId('sign-in').hidden = true;
    offerSignOut();
  },
  heartbeat(data) { connection('live', data.stale ? 'live, but some VM has no fresh report' : 'live'); },
  reset() { vms.clear(); byId('events').replaceChildren(); },
  status(data) {
    if (data.stage === 'removed') vms.delete(data.vm); else vm(data.vm).status = data;
  },
  progress(data) { vm(data.vm).progress = data; },
  task_complete(data) {
    // A client that lived through a reset drops what it already has.
    if (seen.has(data.key)) return false;
    seen.add(data.key);
    if (seen.size > 5000) seen.delete(seen.values().next().value);
    return true;
  },
  run_started() {},
  run_complete() {},
  error(data) {
    const target = data.vm ? vm(data.vm).errors : null;
    if (!target) connection('lost', `${data.code}: ${data.message}`);
    else if (data.resolved) target.delete(data.code);
    else target.set(data.code, `${data.code}: ${data.message}`);
  },
};

function connect() {
  clearTimeout(retry);
  if (source) source.close();
  lastHeard = Date.now();
  // A new EventSource starts without an id, so the position is handed on: nothing is missed in between.
  source = new EventSource(`/api/benchmark-sse?interval=1${lastId ? `&lastEventId=${encodeURIComponent(lastId)}` : ''}`);
  for (const [name, action] of Object.entries(handle)) {
    source.addEventListener(name, (event) => {
      // The browser's own `error` events have no data: the connection is gone, not a message of the server.
      if (event.data === undefined) return;
      lastHeard = Date.now();
      if (event.lastEventId) lastId = event.lastEventId;
      const data = JSON.parse(event.data);
      if (action(data) !== false && name !== 'heartbeat') list(name, data, event.lastEventId);
      draw();
    });
  }
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) refused();
    else connection('lost', 'reconnecting');
  };
}

async function refused() {
  const answer = await fetch('/auth/session').catch(() => null);
  if (answer && answer.status === 401) {
    signedOut();
    return;
  }
  connection('lost', 'refused; trying again');
  retry = setTimeout(connect, RETRY_MS * (0.5 + Math.random()));
}

function signedOut() {
  connection('lost', 'signed out');
  byId('sign-in').hidden = false;
  byId('sign-out').hidden = true;
}

async function offerSignOut() {
  const answer = await fetch('/auth/session').catch(() => null);
  if (!answer || !answer.ok) return;
  const who = await answer.json();
  // Where everybody is let in nothing ends, and there is nothing to sign out of.
  byId('sign-out').hidden = who.kind !== 'session' || who.expires_at === null;
  byId('sign-out').title = `signed in as ${who.name}`;
}

async function signOut() {
  const answer = await fetch('/auth/session', { method: 'DELETE' }).catch(() => null);
  // 401: the session was over already.
  if (!answer || (!answer.ok && answer.status !== 401)) {
    connection('lost', 'not signed out: the gateway did not answer; try again');
    return;
  }
  clearTimeout(retry);
  source.close();
  // What was shown is for whoever was signed in.
  lastId = '';
  handle.reset();
  draw();
  signedOut();
}

setInterval(() => {
  if (source && source.readyState !== EventSource.CLOSED && Date.now() - lastHeard > SILENCE_MS) {
    connection('lost', 'silent; reconnecting');
    connect();
  }
}, 5000);

byId('sign-out').addEventListener('click', signOut);
connect();
