// The recordings at work, and what went wrong with them.

import * as api from './api.js';
import { $, Rows, attribute, confirm, el, say, show, toast } from './dom.js';
import { bytes, count, moment, name } from './format.js';

export class RecordingsView {
  constructor(context) {
    this.context = context;
    this.answer = null;
    this.figures = new Rows($('recording-figures'), {
      key: ([title]) => title,
      make: ([title]) => {
        const value = el('dd');
        return { element: el('div', {}, el('dt', { text: title }), value), value };
      },
      update: (row, [, text, bad]) => { say(row.value, text); row.value.className = bad ? 'bad' : ''; },
    });
    const column = (text, className) => el('th', { role: 'columnheader', scope: 'col', class: className, text });
    const body = el('tbody', { role: 'rowgroup' });
    this.table = el('table', { role: 'table', class: 'rows recordings other phone', 'aria-label': 'Recordings at work' },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' },
        column('Stream'), column('File'), column('Size', 'c-number'), column('Since'), column('Finished', 'c-number'), column(''))),
      body);
    this.none = el('p', { class: 'empty', text: 'Nothing is recorded at the moment. dvr: { enabled: on } of a vhost records its streams; a stream’s own page can record it alone.' });
    $('recordings').append(this.table, this.none);
    this.rows = new Rows(body, { key: (r) => r.key, make: (r) => this.make(r), update: (row, r) => this.update(row, r) });
  }

  enter() { if (this.answer) this.draw(); }
  leave() {}
  async ask() { this.answer = await api.recordings(); }

  make(recording) {
    const cell = (className, label, ...children) => el('td', { role: 'cell', class: className, 'data-label': label }, ...children);
    const row = {
      link: el('a', { class: 'clip' }), path: el('span', { class: 'mono' }), error: el('small', { class: 'bad' }),
      size: cell('c-number', 'Size'), since: cell('', 'Since'), files: cell('c-number', 'Finished'),
      stop: el('button', { type: 'button', class: 'quiet small', text: 'Stop' }),
    };
    row.stop.addEventListener('click', () => stop(this.context, recording.key, row.link.textContent));
    row.element = el('tr', { role: 'row' },
      cell('', null, row.link), cell('', 'File', row.path, row.error), row.size, row.since, row.files, cell('c-number', null, row.stop));
    return row;
  }

  update(row, recording) {
    say(row.link, name(recording.stream));
    attribute(row.link, 'href', `#/stream/${encodeURIComponent(recording.key)}`);
    say(row.path, recording.path ? name(recording.path) : recording.errors ? 'none: see the error' : 'waits for a keyframe');
    say(row.error, recording.lastError
      ? `${recording.errors > 1 ? `${count(recording.errors)} errors, the last: ` : 'Error: '}${name(recording.lastError)}` : '');
    say(row.size, bytes(recording.bytes));
    say(row.since, moment(recording.sinceMs));
    say(row.files, `${count(recording.files)} ${recording.files === 1 ? 'file' : 'files'}`);
    attribute(row.stop, 'aria-label', `Stop recording ${name(recording.stream)}`);
  }

  draw() {
    const { finished, finishedBytes, errors, now } = this.answer;
    this.figures.set([
      ['At work', count(now.length)], ['Files finished', count(finished)], ['Bytes finished', bytes(finishedBytes)],
      ['Errors', count(errors), errors > 0],
    ]);
    this.rows.set(now);
    show(this.table, now.length > 0);
    show(this.none, now.length === 0);
  }
}

export async function stop(context, key, what) {
  const sure = await confirm({ title: 'Stop this recording?', text: `${what} goes on, and its file is finished now.`, action: 'Stop recording' });
  if (!sure) return;
  try {
    await api.record(key, false);
    toast('The recording is being finished.');
  } catch (error) {
    const message = context.failed(error);
    if (message) toast(message, true);
  }
  context.refresh();
}
