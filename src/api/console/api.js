// What the server says and does, in the shapes that this page shows: the only file that knows the API's paths and fields.
//
// Every call resolves to plain values or throws an `ApiError`. Rates are kbit/s, times milliseconds. Nothing is kept here but the
// credentials, and those in this tab alone.

const BASE = new URL('api/v1/live/', document.baseURI);
const CREDENTIALS = 'pingora-live.api';
const PATIENCE_MS = 10000;
// Streams in one answer: a page that people read, and some 100 KB.
export const MAX_STREAMS = 500;
export const CLIENTS_PER_PAGE = 100;
// Pulls, and pushes, in one answer.
export const MAX_RELAYS = 500;

export class ApiError extends Error {
  // `kind`: 'away' (no answer), 'sign-in' (401), 'refused' (403), 'gone' (404), 'failed' (all else).
  constructor(kind, message, errors = []) {
    super(message);
    Object.assign(this, { kind, errors });
  }
}

// ---- credentials ----------------------------------------------------------------------------------------

function credentials() {
  try { return sessionStorage.getItem(CREDENTIALS); } catch { return remembered; }
}
let remembered = null;   // where the browser keeps nothing

function remember(value) {
  remembered = value;
  try {
    if (value === null) sessionStorage.removeItem(CREDENTIALS);
    else sessionStorage.setItem(CREDENTIALS, value);
  } catch { /* kept in `remembered` */ }
}

export const signedIn = () => credentials() !== null;
export const signOut = () => remember(null);
export const signInByToken = (token) => remember(`Bearer ${token}`);

export function signInByPassword(user, password) {
  // RFC 7617: UTF-8. btoa takes one character for a byte.
  const octets = new TextEncoder().encode(`${user}:${password}`);
  remember(`Basic ${btoa(String.fromCharCode(...octets))}`);
}

// ---- one request ----------------------------------------------------------------------------------------

async function ask(path, { method = 'GET', body = null } = {}) {
  const headers = { accept: 'application/json' };
  const shown = credentials();
  if (shown !== null) headers.authorization = shown;
  if (body !== null) headers['content-type'] = 'application/json';
  let answer;
  let value = null;
  try {
    answer = await fetch(new URL(path, BASE), {
      method,
      headers,
      body: body === null ? null : JSON.stringify(body),
      // The page has a form of its own for the password; the browser's box would come up for each request.
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await answer.text();
    try { value = JSON.parse(text); } catch { value = null; }
  } catch (error) {
    throw new ApiError('away', error.name === 'TimeoutError' ? 'The server does not answer.' : 'The server cannot be reached.');
  }
  if (answer.ok && value !== null) return value;
  const message = value?.message || `The server answered ${answer.status} ${answer.statusText}`.trim();
  if (answer.status === 401) throw new ApiError('sign-in', message);
  if (answer.status === 403) throw new ApiError('refused', message);
  if (answer.status === 404) throw new ApiError('gone', message);
  throw new ApiError('failed', message, Array.isArray(value?.errors) ? value.errors : []);
}

const one = encodeURIComponent;
const kbps = (bits) => bits / 1000;
const list = (value) => (Array.isArray(value) ? value : []);

// ---- what there is --------------------------------------------------------------------------------------

export async function server() {
  const s = await ask('server');
  return {
    version: s.version,
    pid: s.pid,
    uptimeMs: s.uptime_ms,
    ready: s.ready !== false,
    streams: s.streams,
    publishers: s.publishers,
    players: list(s.players).reduce((sum, { count }) => sum + count, 0),
    connections: s.connections,
    behind: s.behind,
    kbpsIn: kbps(s.bits_per_second_in),
    kbpsOut: kbps(s.bits_per_second_out),
    bytesIn: s.bytes_in,
    bytesOut: s.bytes_out,
    listeners: list(s.listeners).map(({ protocol, address }) => ({ kind: protocol, address })),
    nowMs: s.now_at_ms,
  };
}

function streamOf(s) {
  const video = list(s.tracks).find((track) => track.kind === 'video');
  return {
    key: s.id,
    vhost: s.vhost,
    app: s.app,
    name: s.name,
    path: `${s.app}/${s.name}`,
    ready: s.ready,
    publisher: s.publisher && {
      client: s.publisher.client,
      address: s.publisher.address,
      protocol: s.publisher.protocol,
    },
    uptimeMs: s.publisher ? s.publisher.uptime_ms : null,
    kbps: kbps(s.bits_per_second_in),
    kbpsOut: kbps(s.bits_per_second_out),
    bytesIn: s.bytes_in,
    bytesOut: s.bytes_out,
    fps: video ? video.frames_per_second : null,
    players: s.players_total,
    formats: list(s.players),
    tracks: list(s.tracks).map((t) => ({
      key: `${t.kind} ${t.id}`,
      kind: t.kind,
      id: t.id,
      codec: t.codec,
      profile: [t.profile, t.level].filter(Boolean).join(' '),
      form: t.kind === 'video'
        ? [t.width && t.height ? `${t.width} × ${t.height}` : '', `${Math.round(t.frames_per_second * 10) / 10} fps`]
        : [t.sample_rate ? `${t.sample_rate / 1000} kHz` : '', { 1: 'mono', 2: 'stereo' }[t.channels] || (t.channels ? `${t.channels} channels` : '')],
      kbps: kbps(t.bits_per_second),
    })),
    gop: s.gop && { frames: s.gop.frames, ms: s.gop.duration_ms },
    logs: list(s.logs).map((log) => ({ format: log.format, ms: log.window_ms, bytes: log.bytes, units: log.units })),
    memory: s.memory_bytes,
    drops: s.dropped_frames,
    skips: s.skips,
    firstByte: s.first_byte,
    recording: s.recording ? recordingOf(s.recording) : null,
  };
}

export async function streams() {
  const { total, streams: all } = await ask(`streams?start=0&count=${MAX_STREAMS}`);
  return { total, streams: list(all).map(streamOf) };
}

export const stream = async (key) => streamOf(await ask(`streams/${one(key)}`));

// Clients in the order in which they came; of one stream if its key is given.
export async function clients({ start = 0, stream: key = '' } = {}) {
  const { total, clients: all } = await ask(`clients?start=${start}&count=${CLIENTS_PER_PAGE}&stream=${one(key)}`);
  return {
    total,
    clients: list(all).map((c) => ({
      id: c.id,
      publishes: c.action === 'publish',
      protocol: c.protocol,
      format: c.format,
      waits: c.waits,
      stream: { key: c.stream_id, vhost: c.stream.vhost, path: `${c.stream.app}/${c.stream.name}` },
      address: c.address,
      page: c.page,
      uptimeMs: c.uptime_ms,
      bytes: c.bytes,
      kbps: kbps(c.bits_per_second),
      skips: c.skips,
      firstByteMs: c.first_byte_ms,
    })),
  };
}

export async function blocks() {
  const { blocks: all } = await ask('blocks');
  return list(all).map((b) => ({ key: b.id, vhost: b.vhost, path: `${b.app}/${b.name}`, sinceMs: b.since_at_ms }));
}

function recordingOf(r) {
  return {
    key: r.stream_id,
    vhost: r.stream.vhost,
    stream: `${r.stream.app}/${r.stream.name}`,
    sinceMs: r.since_at_ms,
    path: r.path,
    bytes: r.bytes,
    files: r.files,
    errors: r.errors,
    lastError: r.last_error,
  };
}

export async function recordings() {
  const r = await ask('recordings');
  return { finished: r.finished, finishedBytes: r.finished_bytes, errors: r.errors, now: list(r.recordings).map(recordingOf) };
}

export async function configuration() {
  const { keys } = await ask('config');
  return list(keys).map((k) => ({ path: k.path, value: k.value, isDefault: k.is_default, needsRestart: k.needs_restart }));
}

// This node among those that share its registry.
export async function nodes() {
  const n = await ask('nodes');
  return {
    registry: n.registry,
    name: n.name,
    away: n.away,
    leases: n.leases,
    others: list(n.others).map((o) => ({
      name: o.name, addresses: list(o.addresses), connections: o.connections, limit: o.limit, fetches: list(o.fetches),
    })),
  };
}

function relayOf(r) {
  return {
    id: r.id,
    stream: { key: r.stream_id, vhost: r.stream.vhost, path: `${r.stream.app}/${r.stream.name}` },
    by: r.by,
    state: r.state,
    server: r.server,
    sinceMs: r.since_at_ms,
    runningSinceMs: r.running_since_at_ms,
    bytes: r.bytes,
    retries: r.retries,
    lastError: r.last_error,
  };
}

// Streams that come from other servers, and those that go to them.
export async function pulls() {
  const { total, pulls: all } = await ask(`pulls?start=0&count=${MAX_RELAYS}`);
  return { total, relays: list(all).map(relayOf) };
}

export async function pushes() {
  const { total, pushes: all } = await ask(`pushes?start=0&count=${MAX_RELAYS}`);
  return { total, relays: list(all).map(relayOf) };
}

// What the configuration says of other servers: where streams are fetched from and sent to.
export async function origins() {
  const theirs = /(^|\.)(cluster|forward|relay|pull|edge|upstreams)(\.|\[|$)/;
  return (await configuration()).filter(({ path, isDefault }) => !isDefault && theirs.test(path));
}

// ---- what can be done -----------------------------------------------------------------------------------

const change = async (path, options) => (await ask(path, options)).changed === true;

export const kick = (id) => change(`clients/${one(id)}`, { method: 'DELETE' });
export const kickPublisher = (key) => change(`streams/${one(key)}/publisher`, { method: 'DELETE' });
export const record = (key, on) => change(`streams/${one(key)}/recording`, { method: on ? 'POST' : 'DELETE' });
export const stopPull = (id) => change(`pulls/${one(id)}`, { method: 'DELETE' });
export const stopPush = (id) => change(`pushes/${one(id)}`, { method: 'DELETE' });
export const unblock = (key) => change(`blocks/${one(key)}`, { method: 'DELETE' });

export function block({ vhost, app, name }) {
  return change('blocks', { method: 'POST', body: { vhost, app, name } });
}

// `vhost` may be left out; `from` and `to` are addresses of streams.
export function pull({ vhost, app, name, from }) {
  return change('pulls', { method: 'POST', body: { ...(vhost ? { vhost } : {}), app, name, from } });
}

export function push({ vhost, app, name, to }) {
  return change('pushes', { method: 'POST', body: { vhost, app, name, to } });
}

export async function reload() {
  const { changed, needs_restart: needsRestart } = await ask('reload', { method: 'POST' });
  return { changed: list(changed), needsRestart: list(needsRestart) };
}
