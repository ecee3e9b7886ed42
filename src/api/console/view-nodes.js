// This node, the streams that it fetches and sends, the nodes beside it, and what is configured of all that.

import * as api from './api.js';
import { $, Rows, el, say, show } from './dom.js';
import { bitrate, bytes, count, duration, name } from './format.js';
import { RelaysTable, onSubmit } from './relays-table.js';

export class NodesView {
  constructor(context) {
    this.context = context;
    this.stale = true;
    this.keys = [];
    this.nodes = null;
    const title = el('h3', { text: 'This node' });
    const figures = el('dl', { class: 'figures' });
    this.figures = new Rows(figures, {
      key: ([text]) => text,
      make: ([text]) => {
        const value = el('dd');
        return { element: el('div', {}, el('dt', { text }), value), value };
      },
      update: (row, [, text]) => say(row.value, text),
    });
    const body = el('tbody', { role: 'rowgroup' });
    const column = (text) => el('th', { role: 'columnheader', scope: 'col', text });
    this.table = el('table', { role: 'table', class: 'rows other phone', 'aria-label': 'Origins and targets' },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, column('Set by'), column('Value'))), body);
    this.rows = new Rows(body, {
      key: (k) => k.path,
      make: () => {
        const path = el('td', { role: 'cell', class: 'mono' });
        const value = el('td', { role: 'cell', class: 'mono' });
        return { element: el('tr', { role: 'row' }, path, value), path, value };
      },
      update: (row, k) => { say(row.path, name(k.path)); say(row.value, name(k.value)); },
    });
    this.none = el('p', { class: 'empty', text: 'No origin, edge or forwarding is configured: the streams here are those that are published here.' });
    const nodeBody = el('tbody', { role: 'rowgroup' });
    this.nodeTable = el('table', { role: 'table', class: 'rows other nodes phone', 'aria-label': 'Nodes of the registry' },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' },
        column('Node'), column('Addresses'), el('th', { role: 'columnheader', scope: 'col', class: 'c-number', text: 'Connections' }), column('Fetches'))), nodeBody);
    this.nodeRows = new Rows(nodeBody, {
      key: (node) => node.name,
      make: () => {
        const cell = (label, className) => el('td', { role: 'cell', class: className, 'data-label': label });
        const row = { name: cell(null, 'mono'), at: cell('Addresses', 'mono'), load: cell('Connections', 'c-number'), fetches: cell('Fetches') };
        row.element = el('tr', { role: 'row' }, row.name, row.at, row.load, row.fetches);
        return row;
      },
      update: (row, node) => {
        say(row.name, name(node.name));
        say(row.at, node.addresses.map(name).join(' '));
        say(row.load, node.limit ? `${count(node.connections)} of ${count(node.limit)}` : count(node.connections));
        say(row.fetches, node.fetches.map(name).join(', ') || '–');
      },
    });
    this.nodeNone = el('p', { class: 'help' });
    this.away = el('p', { class: 'message', role: 'alert', hidden: true, text: 'The registry does not answer. This node goes on without it; what stands here of the others is old.' });
    this.pulls = new RelaysTable(context, { way: 'pull', label: 'Streams from other servers', none: 'No stream comes from another server.', withStream: true });
    this.pushes = new RelaysTable(context, { way: 'push', label: 'Streams to other servers', none: 'No stream goes to another server.', withStream: true });
    this.more = el('p', { class: 'help' });
    $('this-node').append(title, figures);
    $('pulls').append(this.pulls.element);
    $('pushes').append(this.pushes.element, this.more);
    $('nodes').append(el('h3', { text: 'Nodes of the registry' }), this.away, this.nodeTable, this.nodeNone, el('h3', { text: 'Origins and targets in the configuration' }), this.table, this.none);
    onSubmit(context, $('pull-form'), () => this.pull(), 'The pull begins.');
  }

  enter() { this.stale = true; }
  leave() {}

  async ask() {
    [this.nodes, this.pulled, this.pushed] = await Promise.all([api.nodes(), api.pulls(), api.pushes()]);
    if (!this.stale) return;
    this.keys = await api.origins();
    this.stale = false;
  }

  // An app may hold slashes, a stream's own name does not.
  pull() {
    const path = $('pull-as').value.trim().replace(/^\/+|\/+$/g, '');
    const cut = path.lastIndexOf('/');
    if (cut < 1) throw new api.ApiError('failed', 'The stream here is named by its app and its own name: live/camera');
    const vhost = $('pull-vhost').value.trim();
    return api.pull({ vhost, app: path.slice(0, cut), name: path.slice(cut + 1), from: $('pull-from').value.trim() });
  }

  draw() {
    const { server } = this.context;
    this.pulls.set(this.pulled.relays);
    this.pushes.set(this.pushed.relays);
    const left = this.pulled.total - this.pulled.relays.length + this.pushed.total - this.pushed.relays.length;
    say(this.more, left > 0 ? `And ${count(left)} more pulls and pushes.` : '');
    show(this.more, left > 0);
    this.figures.set([
      ['Version', name(server.version).replace(/^pingora-live\//, '')],
      ['Process', String(server.pid)],
      ['Up for', duration(server.uptimeMs)],
      ['Takes clients', server.ready ? 'yes' : 'no: shutting down'],
      ['Streams', count(server.streams)],
      ['Publishers', count(server.publishers)],
      ['Players', count(server.players)],
      ['Connections', count(server.connections)],
      ['Players behind', count(server.behind)],
      ['In', `${bitrate(server.kbpsIn)}`],
      ['Out', `${bitrate(server.kbpsOut)}`],
      ['In since start', bytes(server.bytesIn)],
      ['Out since start', bytes(server.bytesOut)],
    ]);
    const { registry, name: own, away, leases, others } = this.nodes;
    show(this.away, registry && away);
    this.nodeRows.set(others);
    show(this.nodeTable, others.length > 0);
    say(this.nodeNone, !registry ? 'This node shares no registry with others (live.registry).'
      : `${others.length ? '' : 'No other node is there. '}This one is called ${name(own)} and has ${count(leases)} ${leases === 1 ? 'stream' : 'streams'} registered.`);
    this.rows.set(this.keys);
    show(this.table, this.keys.length > 0);
    show(this.none, this.keys.length === 0);
  }
}
