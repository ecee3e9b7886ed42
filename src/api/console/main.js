// The console: which view is open, and when the server is asked.
//
// One loop asks for what the open view shows, one round after the other. It rests while the page is hidden, and asks seldom while the
// server is away. `window.pingoraConsole` says what it does, for a test.

import * as api from './api.js';
import { $, attribute, say, show } from './dom.js';
import { duration } from './format.js';
import { History } from './history.js';
import { ClientsView } from './view-clients.js';
import { ConfigurationView } from './view-configuration.js';
import { NodesView } from './view-nodes.js';
import { RecordingsView } from './view-recordings.js';
import { StreamView } from './view-stream.js';
import { StreamsView } from './view-streams.js';

const ROUND_MS = 2000;
// A hidden page: often enough that the graphs are not empty when it is looked at again.
const HIDDEN_MS = 30000;
// Between tries while the server is away.
const AWAY_S = [2, 3, 5, 8, 15, 30];
// A round that takes long on a busy server is followed by a longer rest.
const REST_FACTOR = 5;

const shared = window.pingoraConsole = { rounds: 0, away: 0, state: 'connecting', view: '' };
const context = {
  history: new History(),
  server: null,
  streams: { total: 0, streams: [] },
  base: '',
  // Something was done that changes what is shown: ask at once.
  refresh: () => soon(0),
  // Shows why an action failed; signs in again if that is it.
  failed: null,
};

const views = {
  streams: new StreamsView(context),
  stream: new StreamView(context),
  clients: new ClientsView(context),
  nodes: new NodesView(context),
  recordings: new RecordingsView(context),
  configuration: new ConfigurationView(context),
};

let view = null;
let viewName = '';
let signingIn = false;
let timer = null;
let asking = false;
let again = false;
let tries = 0;
let countdown = null;

// ---- views ----------------------------------------------------------------------------------------------

function place() {
  const [, name = '', argument = ''] = location.hash.split('/');
  let decoded = '';
  try { decoded = decodeURIComponent(argument); } catch { /* a broken address names nothing */ }
  return Object.hasOwn(views, name) ? [name, decoded] : ['streams', ''];
}

function open(focus) {
  const [name, argument] = place();
  if (view) view.leave();
  for (const other of Object.keys(views)) show($(`view-${other}`), other === name && !signingIn);
  for (const link of document.querySelectorAll('nav a')) {
    const mine = link.dataset.view === name || (name === 'stream' && link.dataset.view === 'streams');
    attribute(link, 'aria-current', mine ? 'page' : null);
  }
  shared.view = name;
  viewName = name;
  view = signingIn ? null : views[name];
  if (!view) return;
  const title = view.enter(argument) || $(`${name}-title`).textContent;
  document.title = `${title} – pingora-live console`;
  if (focus) {
    window.scrollTo(0, 0);
    $(`${name}-title`).focus();
  }
  soon(0);
}

// ---- asking ---------------------------------------------------------------------------------------------

function soon(ms) {
  clearTimeout(timer);
  if (asking) { again = again || ms === 0; return; }
  timer = setTimeout(round, ms);
}

async function round() {
  if (signingIn || asking) return;
  asking = true;
  again = false;
  const began = performance.now();
  let rest = ROUND_MS;
  const mine = view;
  try {
    const [server, streams] = await Promise.all([api.server(), api.streams(), mine ? mine.ask() : null]);
    const now = Date.now();
    context.server = server;
    context.streams = streams;
    context.history.add(now, streams.streams);
    context.base = playBase(server);
    back(server);
    // Another view may have been opened meanwhile, and asks for itself.
    if (view === mine && mine) mine.draw(now);
    shared.rounds += 1;
    rest = Math.max(document.hidden ? HIDDEN_MS : ROUND_MS, (performance.now() - began) * REST_FACTOR);
  } catch (error) {
    rest = trouble(error);
  }
  asking = false;
  if (!signingIn) soon(again ? 0 : rest);
}

function setState(state, words) {
  shared.state = state;
  $('state').dataset.state = state;
  say($('state'), words);
}

function back(server) {
  tries = 0;
  clearInterval(countdown);
  show($('away'), false);
  // Without the seconds: a screen reader would say it anew each time.
  setState('live', server.ready ? 'Live' : 'The server is shutting down');
  say($('server'), `${server.version}, up for ${duration(server.uptimeMs)}`);
  show($('sign-out'), api.signedIn());
}

// Tells what is wrong; milliseconds until the next try.
function trouble(error) {
  if (error.kind === 'sign-in') { askToSignIn(); return 0; }
  if (!(error instanceof api.ApiError)) console.error(error);
  shared.away += 1;
  const wait = AWAY_S[Math.min(tries, AWAY_S.length - 1)] * (document.hidden ? 4 : 1);
  tries += 1;
  setState('away', error.kind === 'away' ? 'Server away' : 'Trouble');
  let left = wait;
  const message = error instanceof api.ApiError ? error.message : 'What the server says cannot be shown.';
  const tick = () => { say($('away-retry'), `Try now (${left} s)`); left = Math.max(0, left - 1); };
  clearInterval(countdown);
  countdown = setInterval(tick, 1000);
  tick();
  say($('away-text'), `${message} ${shared.rounds ? 'What is shown is the last that was known.' : ''}`.trim());
  show($('away'), true);
  return wait * 1000;
}

// Where players reach this server: what was typed here; else the machine of this page, at the port of its HTTP listener.
function playBase(server) {
  const listener = (kind) => server.listeners.find((one) => one.kind === kind);
  const secure = location.protocol === 'https:';
  const found = secure ? listener('https') || listener('http') : listener('http') || listener('https');
  const port = found ? found.address.split(':').pop() : '8080';
  return `${found ? found.kind : 'http'}://${location.hostname}:${port}`;
}

// ---- signing in -----------------------------------------------------------------------------------------

function askToSignIn() {
  const wrong = api.signedIn();
  api.signOut();
  signingIn = true;
  clearInterval(countdown);
  show($('away'), false);
  show($('sign-out'), false);
  setState('connecting', 'Not signed in');
  say($('sign-in-error'), wrong ? 'The server does not take this token or password.' : '');
  say($('sign-in-why'), 'The API of this server asks who you are (live.api.auth).');
  open(false);
  show($('view-sign-in'), true);
  document.title = 'Sign in – pingora-live console';
  $(wrong && $('user').value ? 'password' : 'token').focus();
}

$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = $('token').value.trim();
  if (token) api.signInByToken(token);
  else if ($('user').value) api.signInByPassword($('user').value, $('password').value);
  else { say($('sign-in-error'), 'Give a token, or a user and a password.'); return; }
  $('token').value = $('password').value = '';
  signingIn = false;
  show($('view-sign-in'), false);
  setState('connecting', 'Connecting…');
  open(true);
});

$('sign-out').addEventListener('click', () => {
  api.signOut();
  askToSignIn();
});

// ---- events ---------------------------------------------------------------------------------------------

context.failed = (error) => {
  if (error.kind === 'sign-in') { askToSignIn(); return null; }
  return error.message;
};
$('away-retry').addEventListener('click', () => { tries = 0; soon(0); });
$('skip').addEventListener('click', (event) => {
  // Its address would be taken for a view's.
  event.preventDefault();
  $('main').focus();
});
window.addEventListener('hashchange', () => open(true));
document.addEventListener('visibilitychange', () => { if (!document.hidden) { tries = 0; soon(0); } });
window.addEventListener('online', () => soon(0));

open(false);
