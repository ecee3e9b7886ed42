// All clients, a page at a time.

import * as api from './api.js';
import { ClientsTable, formatName, protocolName } from './clients-table.js';
import { $, say, show } from './dom.js';
import { count } from './format.js';

export class ClientsView {
  constructor(context) {
    this.context = context;
    this.start = 0;
    this.answer = { total: 0, clients: [] };
    this.table = new ClientsTable(context, { label: 'Clients', withStream: true });
    $('clients').append(this.table.element);
    $('client-filter').addEventListener('input', () => this.draw());
    $('clients-back').addEventListener('click', () => this.turn(-1));
    $('clients-next').addEventListener('click', () => this.turn(1));
  }

  enter() {}
  leave() {}

  turn(by) {
    this.start = Math.max(0, this.start + by * api.CLIENTS_PER_PAGE);
    this.context.refresh();
  }

  async ask() {
    this.answer = await api.clients({ start: this.start });
    // Those of the last pages may have left.
    if (this.start >= this.answer.total && this.start > 0) {
      this.start = Math.max(0, Math.ceil(this.answer.total / api.CLIENTS_PER_PAGE) - 1) * api.CLIENTS_PER_PAGE;
      this.answer = await api.clients({ start: this.start });
    }
  }

  draw() {
    const { total, clients } = this.answer;
    const words = $('client-filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (c) => [
      c.address, c.page, c.stream.vhost, c.stream.path, c.publishes ? 'publishes' : 'plays',
      formatName(c.format), protocolName(c.protocol),
    ].join(' ').toLowerCase();
    const found = words.length ? clients.filter((c) => words.every((word) => text(c).includes(word))) : clients;
    this.table.set(found);
    say($('clients-count'), words.length ? `${count(found.length)} of ${count(clients.length)} on this page` : `${count(total)} in all`);
    const paged = total > api.CLIENTS_PER_PAGE;
    show($('client-pages'), paged);
    say($('clients-page'), paged ? `${count(this.start + 1)} to ${count(this.start + clients.length)} of ${count(total)}` : '');
    $('clients-back').disabled = this.start === 0;
    $('clients-next').disabled = this.start + clients.length >= total;
  }
}
