// Building and changing the page. Text goes in as text only: nothing here takes markup.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

// An element: `options` are attributes, but `text` (its text), `on` (listeners by event). null and false leave one out.
export function el(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

export function svg(tag, options = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), options, children);
}

function fill(element, options, children) {
  for (const [key, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'text') element.textContent = value;
    else if (key === 'on') for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Changes a text only if it is another one: a screen reader or a selection is not disturbed by the same words again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

export function attribute(element, key, value) {
  if (value === null) element.removeAttribute(key);
  else if (element.getAttribute(key) !== value) element.setAttribute(key, value);
}

// Keeps the children of `parent` one for each item, in order: makes what is new, updates what stays, removes what is gone. A row stays
// the same element for as long as its item is there, so focus and selection stay with it.
export class Rows {
  constructor(parent, { key, make, update }) {
    Object.assign(this, { parent, key, make, update, rows: new Map() });
  }

  set(items) {
    const rows = new Map();
    let at = this.parent.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      if (rows.has(key)) continue;
      const row = this.rows.get(key) || this.make(item);
      rows.set(key, row);
      this.update(row, item);
      if (row.element === at) at = at.nextElementSibling;
      else this.parent.insertBefore(row.element, at);
    }
    for (const [key, row] of this.rows) if (!rows.has(key)) row.element.remove();
    this.rows = rows;
  }
}

// Changes rows of `body`. One that goes takes the focus along: its neighbour has it then, or the next Tab would begin at the top of the
// page; `instead` has it when none is left.
export function keepFocus(body, instead, change) {
  const focused = [...body.children].findIndex((row) => row.contains(document.activeElement));
  change();
  if (focused < 0 || body.contains(document.activeElement)) return;
  const next = body.children[Math.min(focused, body.children.length - 1)];
  (next?.querySelector('button:not([hidden])') || instead).focus();
}

// Asks before something is done that cannot be taken back. Resolves to true or false.
export function confirm({ title, text, action }) {
  const dialog = $('confirm');
  say($('confirm-title'), title);
  say($('confirm-text'), text);
  say($('confirm-yes'), action);
  dialog.returnValue = '';
  dialog.showModal();
  // Enter by habit must not throw anybody out.
  $('confirm-no').focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

let toastTimer = null;

// One line at the foot of the page that goes by itself; heard by screen readers.
export function toast(text, bad = false) {
  const element = $('toast');
  clearTimeout(toastTimer);
  element.dataset.bad = String(bad);
  element.textContent = text;
  element.classList.add('shown');
  toastTimer = setTimeout(() => {
    element.classList.remove('shown');
    element.textContent = '';
  }, bad ? 12000 : 6000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast('Copied.');
  } catch {
    // Not a secure context (plain http to another host), or not allowed.
    toast('The browser does not let this page copy. Select the text and copy it by hand.', true);
  }
}
