// The streams, one row each.

import { Sparkline } from './chart.js';
import { $, Rows, attribute, el, say, show } from './dom.js';
import { bitrate, count, duration, fps, name } from './format.js';

const ORDERS = {
  name: () => 0,   // the server gives them by name
  players: (a, b) => b.players - a.players,
  kbps: (a, b) => b.kbps - a.kbps,
  uptime: (a, b) => (a.uptimeMs ?? Infinity) - (b.uptimeMs ?? Infinity),
};
const DEFAULT_VHOST = '__defaultVhost__';

// Who publishes, in a few words.
export function publisherOf(stream) {
  if (!stream.publisher) return 'waiting for it to come back';
  const { address, protocol } = stream.publisher;
  return address ? name(address) : protocol ? name(protocol) : 'the server itself';
}

export class StreamsView {
  constructor(context) {
    this.context = context;
    this.order = [];
    this.figures = new Rows($('summary'), {
      key: ([title]) => title,
      make: ([title]) => {
        const value = el('dd', { text: '–' });
        return { element: el('div', {}, el('dt', { text: title }), value), value };
      },
      update: (row, [, text]) => say(row.value, text),
    });
    this.rows = new Rows($('stream-rows'), { key: (s) => s.key, make: (s) => this.make(s), update: (row, s) => this.update(row, s) });
    $('streams').classList.add('phone');
    for (const id of ['filter', 'order']) $(id).addEventListener('input', () => { this.order = []; this.draw(Date.now()); });
    $('stream-rows').addEventListener('click', (event) => {
      // The whole row opens the stream, but not while somebody marks text in it, and a link does it by itself.
      const row = event.target.closest('tr');
      if (!row || event.target.closest('a') || String(getSelection())) return;
      location.hash = row.querySelector('a').hash;
    });
    this.summary(null);
  }

  enter() { this.order = []; this.draw(Date.now()); }
  leave() {}
  async ask() {}

  make(stream) {
    const link = el('a', { href: `#/stream/${encodeURIComponent(stream.key)}`, class: 'clip' });
    const vhost = el('small', { class: 'clip' });
    const spark = new Sparkline();
    const cell = (className, label, ...children) => el('td', { role: 'cell', class: className, 'data-label': label }, ...children);
    const cells = {
      kbps: cell('c-number', 'Bitrate'), fps: cell('c-number', 'Frames'), players: cell('c-number', 'Players'),
      time: cell('c-time', 'Live for'), who: cell('c-who', 'Publisher'),
    };
    const element = el('tr', { role: 'row' }, cell('c-name', null, link, vhost), cell('c-spark', null, spark.element), ...Object.values(cells));
    return { element, link, vhost, spark, ...cells };
  }

  update(row, stream) {
    say(row.link, name(stream.path));
    attribute(row.link, 'title', name(stream.path));
    say(row.vhost, stream.vhost === DEFAULT_VHOST ? '' : name(stream.vhost));
    say(row.kbps, bitrate(stream.kbps));
    say(row.fps, fps(stream.fps));
    say(row.players, count(stream.players));
    say(row.time, stream.publisher ? duration(stream.uptimeMs) : '–');
    say(row.who, publisherOf(stream));
    row.spark.draw(this.context.history.of(stream.key), 'kbps', this.now);
  }

  summary(server) {
    this.figures.set([
      ['Streams', count(server?.streams)],
      ['Players', count(server?.players)],
      ['In', bitrate(server?.kbpsIn)],
      ['Out', bitrate(server?.kbpsOut)],
      ['Players behind', count(server?.behind)],
      ['Up for', duration(server?.uptimeMs)],
    ]);
  }

  draw(now) {
    this.now = now;
    const { server, streams: { total, streams } } = this.context;
    this.summary(server);
    if (!server) return;
    const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (s) => {
      const text = `${s.vhost} ${s.path} ${publisherOf(s)}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const found = this.sorted(words.length ? streams.filter(matches) : streams);
    this.rows.set(found);
    show($('streams'), found.length > 0);
    show($('streams-none'), found.length === 0);
    if (!found.length) {
      say($('streams-none-text'), streams.length ? 'No stream matches.' : 'Nobody publishes at the moment. A stream stands here as soon as one does:');
      const listener = server.listeners.find((one) => one.kind === 'rtmp');
      const port = listener ? listener.address.split(':').pop() : '1935';
      say($('streams-none-how'), `ffmpeg -re -i FILE -c:v libx264 -c:a aac -f flv rtmp://${location.hostname}:${port}/live/livestream`);
      show($('streams-none-how'), !streams.length);
    }
    say($('streams-count'), words.length ? `${count(found.length)} of ${count(streams.length)}` : '');
    show($('streams-more'), total > streams.length);
    say($('streams-more'), total > streams.length ? `The first ${count(streams.length)} of ${count(total)} by name.` : '');
  }

  // In the chosen order. While somebody points at the rows or has the focus in them, they keep their places: a row that moves away from
  // under a finger opens another stream.
  sorted(streams) {
    const busy = $('stream-rows').matches(':hover, :focus-within') && this.order.length;
    const chosen = $('order').value;
    const sorted = [...streams].sort(ORDERS[chosen]);
    if (!busy || chosen === 'name') {
      this.order = sorted.map((s) => s.key);
      return sorted;
    }
    const at = new Map(this.order.map((key, i) => [key, i]));
    const place = (s) => at.get(s.key) ?? at.size;   // new ones last, in their order
    sorted.sort((a, b) => place(a) - place(b));
    this.order = sorted.map((s) => s.key);
    return sorted;
  }
}
