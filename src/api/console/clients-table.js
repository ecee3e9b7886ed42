// A table of clients with a button that ends one: in the list of all, and on a stream's page.

import * as api from './api.js';
import { Rows, attribute, confirm, el, keepFocus, say, toast } from './dom.js';
import { bitrate, bytes, duration, name } from './format.js';

const FORMATS = { flv: 'FLV', ts: 'MPEG-TS', aac: 'AAC', mp3: 'MP3', rtmp: 'RTMP' };
const PROTOCOLS = { http1: 'HTTP/1', http2: 'HTTP/2', websocket: 'WebSocket', rtmp: 'RTMP', pull: 'a pull' };

export const formatName = (format) => FORMATS[format] || name(format);
export const protocolName = (protocol) => PROTOCOLS[protocol] || name(protocol);

export class ClientsTable {
  constructor(context, { label, withStream }) {
    Object.assign(this, { context, withStream });
    const column = (text, className) => el('th', { role: 'columnheader', scope: 'col', class: className, text });
    const body = el('tbody', { role: 'rowgroup' });
    this.table = el('table', { role: 'table', class: 'rows clients phone', 'aria-label': label },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' },
        column('Address', 'c-peer'), withStream ? column('Stream', 'c-name') : null, column('Does', 'c-kind'),
        column('For', 'c-time'), column('Bitrate', 'c-number'), column('Bytes', 'c-number'), column('', 'c-act'))),
      body);
    this.none = el('p', { class: 'help', text: 'Nobody is here.' });
    this.element = el('div', { tabindex: '-1' }, this.table, this.none);
    this.body = body;
    this.rows = new Rows(body, { key: (c) => c.id, make: (c) => this.make(c), update: (row, c) => this.update(row, c) });
    this.set([]);
  }

  set(clients) {
    keepFocus(this.body, this.element, () => this.rows.set(clients));
    this.table.hidden = !clients.length;
    this.none.hidden = clients.length > 0;
  }

  make(client) {
    const cell = (className, label, ...children) => el('td', { role: 'cell', class: className, 'data-label': label }, ...children);
    const address = el('span', { class: 'mono' });
    const page = el('small', { class: 'clip' });
    const link = el('a', { class: 'clip' });
    const kind = el('span');
    const how = el('small');
    const button = el('button', { type: 'button', class: 'danger small', text: 'Disconnect' });
    const row = {
      client, address, page, link, kind, how, button,
      time: cell('c-time', 'For'), kbps: cell('c-number', 'Bitrate'), bytes: cell('c-number', 'Bytes'),
    };
    button.addEventListener('click', () => this.kick(row));
    row.element = el('tr', { role: 'row' },
      cell('c-peer', 'Address', address, page), this.withStream ? cell('c-name', 'Stream', link) : null,
      cell('c-kind', 'Does', kind, how), row.time, row.kbps, row.bytes, cell('c-act', null, button));
    return row;
  }

  update(row, client) {
    row.client = client;
    say(row.address, client.address ? name(client.address) : '–');
    say(row.page, client.page ? name(client.page) : '');
    say(row.link, name(client.stream.path));
    attribute(row.link, 'href', `#/stream/${encodeURIComponent(client.stream.key)}`);
    say(row.kind, client.publishes ? 'Publishes' : client.waits ? 'Waits' : 'Plays');
    const skips = client.skips ? `, ${client.skips} ${client.skips === 1 ? 'skip' : 'skips'}` : '';
    say(row.how, client.publishes ? protocolName(client.protocol)
      : client.format === client.protocol ? `${formatName(client.format)}${skips}`
        : `${formatName(client.format)} by ${protocolName(client.protocol)}${skips}`);
    say(row.time, duration(client.uptimeMs));
    say(row.kbps, bitrate(client.kbps));
    say(row.bytes, bytes(client.bytes));
    attribute(row.button, 'aria-label', `Disconnect ${client.publishes ? 'publisher' : 'player'} ${client.address ? name(client.address) : client.id}`);
  }

  async kick(row) {
    const { client } = row;
    const who = client.address ? name(client.address) : `number ${client.id}`;
    const sure = await confirm({
      title: client.publishes ? 'Disconnect this publisher?' : 'Disconnect this player?',
      text: `${who} ${client.publishes ? 'publishes' : 'plays'} ${name(client.stream.path)}. It may connect again.`,
      action: 'Disconnect',
    });
    if (!sure) return;
    if (row.asked) return;
    row.asked = true;
    try {
      await api.kick(client.id);
      toast(`${who} is disconnected.`);
    } catch (error) {
      const message = error.kind === 'gone' ? `${who} has left already.` : this.context.failed(error);
      if (message) toast(message, error.kind !== 'gone');
    }
    row.asked = false;
    this.context.refresh();
  }
}
