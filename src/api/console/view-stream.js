// One stream: its picture, its figures and graphs, its tracks, its clients.

import * as api from './api.js';
import { Graph } from './chart.js';
import { ClientsTable, formatName, protocolName } from './clients-table.js';
import { $, Rows, attribute, confirm, copy, el, say, show, toast } from './dom.js';
import { bitrate, bytes, count, duration, fps, name, span } from './format.js';
import { Player } from './player.js';
import { RelaysTable, onSubmit } from './relays-table.js';
import { stop as stopRecording } from './view-recordings.js';
import { publisherOf } from './view-streams.js';

const DEFAULT_VHOST = '__defaultVhost__';
const BASE = 'pingora-live.base';   // where players reach the server, if somebody typed it

function storedBase() {
  try { return localStorage.getItem(BASE) || ''; } catch { return ''; }
}

export class StreamView {
  constructor(context) {
    this.context = context;
    this.key = '';
    this.stream = null;
    this.gone = false;
    this.player = new Player();
    this.graphs = [
      new Graph({ title: 'Bitrate', field: 'kbps', format: bitrate }),
      new Graph({ title: 'Frames', field: 'fps', format: fps }),
      new Graph({ title: 'Players', field: 'players', format: count }),
    ];
    $('graphs').append(...this.graphs.map((graph) => graph.element));
    this.table = new ClientsTable(context, { label: 'Clients of this stream', withStream: false });
    this.more = el('p', { class: 'help', hidden: true });
    $('stream-clients').append(this.table.element, this.more);
    this.pushes = new RelaysTable(context, { way: 'push', label: 'Pushes of this stream', none: 'It goes to no other server.', withStream: false });
    $('stream-pushes').append(this.pushes.element);
    onSubmit(context, $('push-form'), () => api.push({ ...this.stream, to: $('push-to').value.trim() }), 'The push begins.');
    this.figures = new Rows($('stream-figures'), {
      key: ([title]) => title,
      make: ([title]) => {
        const value = document.createTextNode('');
        const note = el('small');
        const box = el('dd', {}, value, note);
        return { element: el('div', {}, el('dt', { text: title }), box), value, note };
      },
      update: (row, [, text, note]) => {
        if (row.value.data !== text) row.value.data = text;
        say(row.note, note || '');
      },
    });
    const cell = (className, label, ...children) => el('td', { role: 'cell', class: className, 'data-label': label }, ...children);
    this.tracks = new Rows($('tracks'), {
      key: (t) => t.key,
      make: () => {
        const row = { kind: cell('', null), codec: cell('', null), kbps: cell('c-number', null), profile: el('small'), text: el('span'), size: el('span'), rate: el('small') };
        row.codec.append(row.text, row.profile);
        row.element = el('tr', { role: 'row' }, row.kind, row.codec, cell('', null, row.size, row.rate), row.kbps);
        return row;
      },
      update: (row, t) => {
        say(row.kind, `${t.kind === 'video' ? 'Video' : 'Audio'}${t.id ? ` ${t.id}` : ''}`);
        say(row.text, name(t.codec));
        say(row.profile, name(t.profile));
        say(row.size, t.form[0] || '–');
        say(row.rate, t.form[1]);
        say(row.kbps, bitrate(t.kbps));
      },
    });
    this.formats = new Rows($('formats'), {
      key: (f) => `${f.format} ${f.protocol}`,
      make: () => {
        const row = { title: cell('', null), share: el('span', { class: 'share', 'aria-hidden': 'true' }), players: cell('c-number', null) };
        row.element = el('tr', { role: 'row' }, row.title, cell('', null, row.share), row.players);
        return row;
      },
      update: (row, f) => {
        say(row.title, f.format === f.protocol ? formatName(f.format) : `${formatName(f.format)}, ${protocolName(f.protocol)}`);
        row.share.style.width = `${100 * f.count / Math.max(1, this.stream.players)}%`;
        say(row.players, count(f.count));
      },
    });
    this.addresses = new Rows($('addresses'), {
      key: ([title]) => title,
      make: ([title]) => {
        const code = el('code');
        const button = el('button', { type: 'button', class: 'quiet small', text: 'Copy', 'aria-label': `Copy the address for ${title}` });
        button.addEventListener('click', () => copy(code.textContent));
        return { element: el('li', {}, el('span', { text: title }), code, button), code };
      },
      update: (row, [, text]) => say(row.code, text),
    });
    $('play').addEventListener('click', () => {
      if (this.player.wanted) this.player.close();
      else this.play();
    });
    $('format').addEventListener('change', () => this.play());
    $('kick-publisher').addEventListener('click', () => this.kickPublisher());
    $('block').addEventListener('click', () => this.block());
    $('record').addEventListener('click', () => this.record());
    $('base').value = storedBase();
    $('base-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = $('base').value.trim().replace(/\/+$/, '');
      try {
        if (text) localStorage.setItem(BASE, text);
        else localStorage.removeItem(BASE);
      } catch { /* then for this page alone */ }
      this.typed = text;
      this.draw(Date.now());
      this.play();
    });
    this.typed = storedBase();
  }

  enter(key) {
    this.key = key;
    this.stream = this.context.streams.streams.find((s) => s.key === key) || null;
    this.clients = null;
    this.pushed = [];
    this.blocked = null;
    this.started = false;
    this.gone = false;
    this.table.set([]);
    this.pushes.set([]);
    show(this.more, false);
    this.draw(Date.now());
    return this.stream ? name(this.stream.path) : 'Stream';
  }

  leave() { this.player.close(); }

  async ask() {
    const { key } = this;
    const gone = (error) => { if (error.kind === 'gone') return null; throw error; };
    const [stream, clients, blocks, pushes] = await Promise.all([api.stream(key).catch(gone), api.clients({ stream: key }), api.blocks(), api.pushes()]);
    if (key !== this.key) return;
    this.gone = stream === null;
    if (stream) this.stream = stream;
    this.clients = clients;
    this.blocked = blocks.find((b) => b.key === key) || null;
    this.pushed = pushes.relays.filter((push) => push.stream.key === key);
  }

  // ---- what is shown ------------------------------------------------------------------------------------

  draw(now) {
    const { stream, blocked, clients, gone } = this;
    const known = stream !== null;
    show($('stream-body'), known);
    show($('stream-gone'), gone || Boolean(blocked));
    say($('stream-gone'), blocked
      ? 'This stream is blocked: nobody may publish or play it until it is unblocked, or the server is started again.'
      : known ? 'The stream is not there at the moment. What is shown is the last that was known.' : 'There is no such stream.');
    show($('block'), known || Boolean(blocked));
    say($('block'), blocked ? 'Unblock' : 'Block');
    const title = known ? stream.path : blocked ? blocked.path : '';
    say($('stream-title'), title ? name(title) : gone ? 'No such stream' : 'Loading…');
    $('kick-publisher').disabled = gone || !known || !stream.publisher;
    $('record').disabled = gone || !known;
    show($('record'), known);
    if (!known) { say($('stream-where'), ''); $('stream-state').dataset.state = 'stopped'; say($('stream-state'), gone ? 'Not there' : ''); return; }
    document.title = `${name(stream.path)} – pingora-live console`;

    const state = gone ? 'Not there' : !stream.publisher ? 'Held for its publisher' : stream.ready ? 'Live' : 'Waits for its first keyframe';
    $('stream-state').dataset.state = !gone && stream.publisher && stream.ready ? 'live' : 'stopped';
    say($('stream-state'), blocked ? `${state}, blocked` : state);
    const protocol = stream.publisher?.protocol ? ` by ${protocolName(stream.publisher.protocol)}` : '';
    say($('stream-where'), `${stream.vhost === DEFAULT_VHOST ? '' : `Vhost ${name(stream.vhost)}. `}Publisher: ${publisherOf(stream)}${protocol}.`);
    say($('record'), stream.recording ? 'Stop recording' : 'Record');

    const log = stream.logs.reduce((longest, one) => (longest && longest.ms >= one.ms ? longest : one), null);
    const { p50_ms: p50, p99_ms: p99, plays } = stream.firstByte || {};
    const { recording } = stream;
    this.figures.set([
      ['Bitrate', bitrate(stream.kbps), `${bytes(stream.bytesIn)} in all`],
      ['To players', bitrate(stream.kbpsOut), `${bytes(stream.bytesOut)} in all`],
      ['Frames', fps(stream.fps), ''],
      ['Players', count(stream.players), ''],
      ['GOP', stream.gop ? span(stream.gop.ms) : '–', stream.gop ? `${count(stream.gop.frames)} frames` : ''],
      ['Log window', log ? span(log.ms) : '–', log ? `${count(log.units)} units` : ''],
      ['Memory', bytes(stream.memory), `${count(stream.logs.length)} ${stream.logs.length === 1 ? 'log' : 'logs'}`],
      ['First byte', span(p50 ?? NaN), plays ? `p99 ${span(p99)}` : 'no play yet'],
      ['Skips', count(stream.skips), 'of slow players'],
      ['Drops', count(stream.drops), 'at the start'],
      ['Live for', stream.publisher ? duration(stream.uptimeMs) : '–', ''],
      ['Recording', recording ? (recording.path ? bytes(recording.bytes) : 'waits') : 'off',
        recording ? (recording.lastError ? `${count(recording.errors)} errors: ${name(recording.lastError)}` : `${count(recording.files)} files finished`) : ''],
    ]);
    const samples = this.context.history.of(this.key);
    for (const graph of this.graphs) graph.draw(samples, now);

    this.tracks.set(stream.tracks);
    show($('tracks-none'), !stream.tracks.length);
    this.formats.set(stream.formats);
    show($('formats-none'), !stream.formats.length);
    if (clients) {
      this.table.set(clients.clients);
      const rest = clients.total - clients.clients.length;
      show(this.more, rest > 0);
      say(this.more, rest > 0 ? `The first ${count(clients.clients.length)} of ${count(clients.total)}.` : '');
    }
    this.pushes.set(this.pushed);
    const where = this.where();
    this.addresses.set([
      ['HTTP-FLV', where.flv], ['WebSocket-FLV', where['ws-flv']], ['MPEG-TS', where.ts], ['RTMP', where.rtmp],
    ]);
    attribute($('base'), 'placeholder', this.context.base);
    if (!this.started && this.context.base && !gone) {
      this.started = true;
      this.play();
    }
  }

  // Its addresses, by format. Names are a peer's: each segment is encoded.
  where() {
    const { stream } = this;
    const base = this.typed || this.context.base || location.origin;
    const path = stream.path.split('/').map(encodeURIComponent).join('/');
    const query = stream.vhost === DEFAULT_VHOST ? '' : `?vhost=${encodeURIComponent(stream.vhost)}`;
    let host = location.hostname;
    try { host = new URL(base).hostname; } catch { /* told by the player */ }
    const rtmp = this.context.server?.listeners.find((one) => one.kind === 'rtmp');
    const port = rtmp ? rtmp.address.split(':').pop() : '1935';
    return {
      flv: `${base}/${path}.flv${query}`,
      'ws-flv': `${base.replace(/^http/i, 'ws')}/${path}.flv${query}`,
      ts: `${base}/${path}.ts${query}`,
      rtmp: `rtmp://${host}${port === '1935' ? '' : `:${port}`}/${path}${query}`,
    };
  }

  play() {
    const where = this.where();
    try {
      void new URL(where.flv);
    } catch {
      this.player.stop('The address given below is none. For example: https://live.example.com');
      return;
    }
    this.player.tries = 0;
    this.player.open(where, $('format').value);
  }

  // ---- what can be done ---------------------------------------------------------------------------------

  async act(question, call, done) {
    if (question && !await confirm(question)) return;
    try {
      await call();
      toast(done);
    } catch (error) {
      const message = this.context.failed(error);
      if (message) toast(message, true);
    }
    this.context.refresh();
  }

  kickPublisher() {
    const { stream } = this;
    return this.act({
      title: 'Disconnect the publisher?',
      text: `${publisherOf(stream)} publishes ${name(stream.path)}. It may connect again; a block keeps it away.`,
      action: 'Disconnect',
    }, () => api.kickPublisher(stream.key), 'The publisher is disconnected.');
  }

  block() {
    const { stream, blocked } = this;
    if (blocked) return this.act(null, () => api.unblock(blocked.key), 'The stream may be published and played again.');
    return this.act({
      title: 'Block this stream?',
      text: `${name(stream.path)} ends now, and nobody may publish or play it until it is unblocked, or the server is started again.`,
      action: 'Block',
    }, () => api.block(stream), 'The stream is blocked.');
  }

  record() {
    const { stream } = this;
    if (stream.recording) return stopRecording(this.context, stream.key, name(stream.path));
    return this.act(null, () => api.record(stream.key, true), 'The recording begins with the next keyframe.');
  }
}
