// Lines over the last minutes, in SVG. One file for the small ones in the rows and the large ones of a stream.

import { say, svg, attribute } from './dom.js';
import { isNumber } from './format.js';
import { GAP_MS, KEPT_MS } from './history.js';

// The least of 1, 2, 2.5 and 5 times a power of ten that holds the value: round figures at the axis.
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 2.5, 5, 10]) if (value <= step * power * 1.0001) return step * power;
  return 10 * power;
}

// The points of one field as pieces without gaps, each a list of [x, y] in the box.
function pieces(samples, field, now, { width, height, top, max }) {
  const all = [];
  let piece = null;
  let last = null;
  for (const sample of samples) {
    const value = sample[field];
    if (!isNumber(value) || sample.at < now - KEPT_MS) { if (!isNumber(value)) piece = null; continue; }
    if (!piece || sample.at - last > GAP_MS) all.push(piece = []);
    last = sample.at;
    const x = width * (1 - (now - sample.at) / KEPT_MS);
    const y = top + (height - top) * (1 - value / max);
    piece.push([Math.round(x * 10) / 10, Math.round(y * 10) / 10]);
  }
  return all;
}

const line = (piece) => `M${piece.map(([x, y]) => `${x} ${y}`).join('L')}${piece.length === 1 ? 'h0' : ''}`;
const area = (piece, floor) => `${line(piece)}V${floor}H${piece[0][0]}Z`;

// A small line without axes, for a row. Says nothing to a screen reader: the figure stands beside it.
export class Sparkline {
  constructor() {
    this.area = svg('path', { class: 'chart-area' });
    this.line = svg('path', { class: 'chart-line' });
    this.element = svg('svg', {
      class: 'spark', viewBox: '0 0 120 28', preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false',
    }, this.area, this.line);
  }

  draw(samples, field, now) {
    const values = samples.map((sample) => sample[field]).filter(isNumber);
    const max = Math.max(1, ...values) * 1.1;
    const parts = pieces(samples, field, now, { width: 120, height: 27, top: 2, max });
    attribute(this.area, 'd', parts.map((piece) => area(piece, 28)).join(''));
    attribute(this.line, 'd', parts.map(line).join(''));
  }
}

const HEIGHT = 132;
const PLOT_TOP = 8;
const PLOT_HEIGHT = 104;

// A graph with axes, the present value and, under the pointer, the value at that moment.
export class Graph {
  constructor({ title, field, format }) {
    Object.assign(this, { title, field, format, samples: [], now: 0, width: 300, at: null });
    this.grid = [0, 1, 2].map(() => svg('line', { class: 'chart-grid' }));
    this.labels = [0, 1, 2].map(() => svg('text', { class: 'chart-label' }));
    this.times = [0, 1, 2].map(() => svg('text', { class: 'chart-label' }));
    this.area = svg('path', { class: 'chart-area' });
    this.line = svg('path', { class: 'chart-line' });
    this.cross = svg('line', { class: 'chart-cross', y1: PLOT_TOP, y2: PLOT_HEIGHT, visibility: 'hidden' });
    this.dot = svg('circle', { class: 'chart-dot', r: 4, visibility: 'hidden' });
    this.svg = svg('svg', { class: 'graph', role: 'img', height: HEIGHT },
      ...this.grid, this.area, this.line, this.cross, this.dot, ...this.labels, ...this.times);
    this.value = document.createElement('span');
    this.value.className = 'graph-value';
    const caption = document.createElement('figcaption');
    const heading = document.createElement('span');
    heading.textContent = title;
    caption.append(heading, this.value);
    this.element = document.createElement('figure');
    this.element.className = 'card';
    this.element.append(caption, this.svg);
    this.svg.addEventListener('pointermove', (event) => { this.at = event.offsetX; this.point(); });
    this.svg.addEventListener('pointerleave', () => { this.at = null; this.point(); });
    new ResizeObserver(() => {
      const width = Math.round(this.svg.clientWidth);
      if (width > 0 && width !== this.width) { this.width = width; this.draw(this.samples, this.now); }
    }).observe(this.svg);
  }

  draw(samples, now) {
    Object.assign(this, { samples, now });
    const known = samples.filter((sample) => isNumber(sample[this.field]) && sample.at >= now - KEPT_MS);
    const values = known.map((sample) => sample[this.field]);
    this.known = known;
    this.max = ceiling(Math.max(0, ...values) * 1.05);
    const box = { width: this.width, height: PLOT_HEIGHT, top: PLOT_TOP, max: this.max };
    const parts = pieces(samples, this.field, now, box);
    attribute(this.svg, 'viewBox', `0 0 ${this.width} ${HEIGHT}`);
    attribute(this.area, 'd', parts.map((piece) => area(piece, PLOT_HEIGHT)).join(''));
    attribute(this.line, 'd', parts.map(line).join(''));
    [0, 0.5, 1].forEach((part, i) => {
      const y = PLOT_TOP + (PLOT_HEIGHT - PLOT_TOP) * (1 - part);
      for (const [key, value] of [['x1', 0], ['x2', this.width], ['y1', y], ['y2', y]]) attribute(this.grid[i], key, String(value));
      attribute(this.labels[i], 'x', '2');
      attribute(this.labels[i], 'y', String(part === 1 ? y + 11 : y - 3));
      say(this.labels[i], part === 0 ? '' : this.format(this.max * part).replace(/\.(\d*?)0+ /, (_, digits) => (digits ? `.${digits} ` : ' ')));
      const x = [0, this.width / 2, this.width][i];
      attribute(this.times[i], 'x', String(x));
      attribute(this.times[i], 'y', String(HEIGHT - 8));
      attribute(this.times[i], 'text-anchor', ['start', 'middle', 'end'][i]);
      say(this.times[i], ['5 min ago', '2½ min', 'now'][i]);
    });
    const last = known[known.length - 1];
    attribute(this.svg, 'aria-label', last
      ? `${this.title} in the last five minutes: now ${this.format(last[this.field])}, least ${this.format(Math.min(...values))}, most ${this.format(Math.max(...values))}`
      : `${this.title}: nothing known yet`);
    this.point();
  }

  // Where the pointer is; else the newest value.
  point() {
    const known = this.known || [];
    let chosen = known[known.length - 1];
    let words = chosen ? this.format(chosen[this.field]) : '–';
    const pointed = this.at !== null && chosen;
    if (pointed) {
      const at = this.now - KEPT_MS * (1 - this.at / this.width);
      for (const sample of known) if (Math.abs(sample.at - at) < Math.abs(chosen.at - at)) chosen = sample;
      const ago = Math.round((this.now - chosen.at) / 1000);
      words = `${this.format(chosen[this.field])}, ${ago < 3 ? 'now' : `${ago} s ago`}`;
      const x = String(this.width * (1 - (this.now - chosen.at) / KEPT_MS));
      attribute(this.cross, 'x1', x);
      attribute(this.cross, 'x2', x);
      attribute(this.dot, 'cx', x);
      attribute(this.dot, 'cy', String(PLOT_TOP + (PLOT_HEIGHT - PLOT_TOP) * (1 - chosen[this.field] / this.max)));
    }
    attribute(this.cross, 'visibility', pointed ? 'visible' : 'hidden');
    attribute(this.dot, 'visibility', pointed ? 'visible' : 'hidden');
    say(this.value, words);
  }
}
