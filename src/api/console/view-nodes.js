// This node, and the nodes that it is configured to fetch from and send to.

import * as api from './api.js';
import { $, Rows, el, say, show } from './dom.js';
import { bitrate, bytes, count, duration, name } from './format.js';

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
    $('nodes').append(title, figures, el('h3', { text: 'Nodes of the registry' }), this.away, this.nodeTable, this.nodeNone, el('h3', { text: 'Origins and targets' }), this.table, this.none);
  }

  enter() { this.stale = true; }
  leave() {}

  async ask() {
    this.nodes = await api.nodes();
    if (!this.stale) return;
    this.keys = await api.origins();
    this.stale = false;
  }

  draw() {
    const { server } = this.context;
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
