// The configuration in effect, and reading it again.

import * as api from './api.js';
import { $, copy, el, say, show, toast } from './dom.js';
import { count, name } from './format.js';

export class ConfigurationView {
  constructor(context) {
    this.context = context;
    this.keys = null;
    this.stale = true;
    this.shown = '';
    for (const id of ['configuration-filter', 'configuration-changed']) $(id).addEventListener('input', () => this.list());
    $('configuration-copy').addEventListener('click', () => copy(this.shown));
    $('reload').addEventListener('click', () => this.reload());
  }

  enter() { this.stale = true; }
  leave() {}

  // Once for each visit: it changes by a reload only.
  async ask() {
    if (!this.stale) return;
    this.keys = await api.configuration();
    this.stale = false;
    this.list();
  }

  draw() {}

  list() {
    if (!this.keys) return;
    const words = $('configuration-filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const changed = $('configuration-changed').checked;
    const found = this.keys.filter(({ path, value, isDefault }) => (!changed || !isDefault)
      && words.every((word) => `${path} ${value}`.toLowerCase().includes(word)));
    this.shown = found.map(({ path, value }) => `${path}: ${value}`).join('\n');
    $('configuration').replaceChildren(...found.map(({ path, value, isDefault, needsRestart }) => el('div', { class: isDefault ? 'is-default' : null },
      el('b', { text: name(path) }), ': ', el('span', { text: value }),
      needsRestart ? el('i', { text: '  # another value needs a restart' }) : null)));
    show($('configuration'), found.length > 0);
    say($('configuration-count'), found.length === this.keys.length ? `${count(found.length)} keys` : `${count(found.length)} of ${count(this.keys.length)} keys`);
  }

  async reload() {
    const box = $('reload-answer');
    $('reload').disabled = true;
    try {
      const { changed, needsRestart } = await api.reload();
      const part = (title, keys) => (keys.length
        ? [el('p', { text: title }), el('ul', {}, ...keys.map((key) => el('li', { class: 'mono', text: name(key) })))] : []);
      box.replaceChildren(...(changed.length || needsRestart.length ? [] : [el('p', { text: 'The file was read again. Nothing in it is different.' })]),
        ...part('These have another value now:', changed),
        ...part('These were written differently, and keep their value until a restart:', needsRestart));
      box.classList.remove('bad');
      toast('The configuration was read again.');
    } catch (error) {
      const message = this.context.failed(error);
      if (message) {
        box.replaceChildren(el('p', { text: message }), el('ul', {}, ...(error.errors || []).map((text) => el('li', { class: 'mono', text: name(text) }))));
        box.classList.add('bad');
      }
    }
    show(box, box.childNodes.length > 0);
    $('reload').disabled = false;
    this.stale = true;
    this.context.refresh();
  }
}
