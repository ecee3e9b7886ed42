// A table of streams that come from other servers, or go to them, with a button that stops one: of all, and of one stream.

import * as api from './api.js';
import { Rows, attribute, confirm, el, keepFocus, say, toast } from './dom.js';
import { bytes, duration, name } from './format.js';

const STATES = { running: 'Running', connecting: 'Connects', waiting: 'Waits to try again' };
const BY = {
  players: 'for its players', publisher: 'for its publisher', forward: 'by the configuration', backend: 'by the back end', operator: 'by an operator',
};

export class RelaysTable {
  // `way`: 'pull' or 'push'.
  constructor(context, { way, label, none, withStream }) {
    Object.assign(this, { context, way, withStream });
    const column = (text, className) => el('th', { role: 'columnheader', scope: 'col', class: className, text });
    this.body = el('tbody', { role: 'rowgroup' });
    this.table = el('table', { role: 'table', class: 'rows relays clients phone', 'aria-label': label },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' },
        withStream ? column('Stream', 'c-name') : null, column(way === 'pull' ? 'From' : 'To', 'c-peer'), column('State', 'c-kind'),
        column('For', 'c-time'), column('Bytes', 'c-number'), column('', 'c-act'))),
      this.body);
    this.none = el('p', { class: 'help', text: none });
    this.element = el('div', { tabindex: '-1' }, this.table, this.none);
    this.rows = new Rows(this.body, { key: (r) => r.id, make: (r) => this.make(r), update: (row, r) => this.update(row, r) });
    this.set([]);
  }

  set(relays) {
    keepFocus(this.body, this.element, () => this.rows.set(relays));
    this.table.hidden = !relays.length;
    this.none.hidden = relays.length > 0;
  }

  make(relay) {
    const cell = (className, label, ...children) => el('td', { role: 'cell', class: className, 'data-label': label }, ...children);
    const row = {
      relay, link: el('a', { class: 'clip' }), server: el('span', { class: 'mono' }), error: el('small', { class: 'bad' }),
      state: el('span'), by: el('small'), time: cell('c-time', 'For'), bytes: cell('c-number', 'Bytes'),
      stop: el('button', { type: 'button', class: 'danger small', text: 'Stop' }),
    };
    row.stop.addEventListener('click', () => this.stop(row));
    row.element = el('tr', { role: 'row' },
      this.withStream ? cell('c-name', 'Stream', row.link) : null, cell('c-peer', this.way === 'pull' ? 'From' : 'To', row.server, row.error),
      cell('c-kind', 'State', row.state, row.by), row.time, row.bytes, cell('c-act', null, row.stop));
    return row;
  }

  update(row, relay) {
    row.relay = relay;
    say(row.link, name(relay.stream.path));
    attribute(row.link, 'href', `#/stream/${encodeURIComponent(relay.stream.key)}`);
    say(row.server, relay.server ? name(relay.server) : '–');
    // Of one that runs, it is history.
    say(row.error, relay.state === 'running' || !relay.lastError ? '' : name(relay.lastError));
    say(row.state, STATES[relay.state] || name(relay.state));
    const tries = relay.retries ? `, ${relay.retries} ${relay.retries === 1 ? 'retry' : 'retries'}` : '';
    say(row.by, `${BY[relay.by] || name(relay.by)}${tries}`);
    const { server } = this.context;
    say(row.time, relay.runningSinceMs && server ? duration(server.nowMs - relay.runningSinceMs) : '–');
    say(row.bytes, bytes(relay.bytes));
    // An edge's publisher is accepted only as long as its origin takes the stream.
    row.stop.hidden = relay.by === 'publisher';
    attribute(row.stop, 'aria-label', `Stop the ${this.way} of ${name(relay.stream.path)}${relay.server ? ` ${this.way === 'pull' ? 'from' : 'to'} ${name(relay.server)}` : ''}`);
  }

  async stop(row) {
    const { relay } = row;
    const pull = this.way === 'pull';
    const again = relay.by === 'players' ? ' A player that comes begins it again.' : relay.by === 'operator' ? '' : ' It begins again when the stream is published anew.';
    const sure = await confirm({
      title: pull ? 'Stop this pull?' : 'Stop this push?',
      text: `${name(relay.stream.path)} ${pull ? 'no longer comes from' : 'no longer goes to'} ${relay.server ? name(relay.server) : 'another server'}${pull ? ', and its players are let go' : ''}.${again}`,
      action: 'Stop',
    });
    if (!sure || row.asked) return;
    row.asked = true;
    try {
      await (pull ? api.stopPull(relay.id) : api.stopPush(relay.id));
      toast(pull ? 'The pull is stopped.' : 'The push is stopped.');
    } catch (error) {
      const message = error.kind === 'gone' ? 'It has ended already.' : this.context.failed(error);
      if (message) toast(message, error.kind !== 'gone');
    }
    row.asked = false;
    this.context.refresh();
  }
}

// A form that begins one: says what is wrong beside the field, keeps what was typed until it worked.
export function onSubmit(context, form, begin, done) {
  const error = form.querySelector('.bad');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (form.dataset.asked) return;
    form.dataset.asked = 'yes';
    say(error, '');
    try {
      const changed = await begin();
      form.reset();
      toast(changed ? done : 'It is there already.');
    } catch (failed) {
      const message = context.failed(failed);
      if (message) say(error, message);
    }
    delete form.dataset.asked;
    context.refresh();
  });
}
