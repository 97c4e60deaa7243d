// Small pieces that several views are made of.

import { h } from './dom.js';
import { bytes, count, rate, short, words } from './format.js';

let announce = () => {};
// say: called with a sentence for everybody to notice.
export const onAnnounce = (say) => { announce = say; };

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages that did not come from this machine or by https have no clipboard.
    const field = document.body.appendChild(document.createElement('textarea'));
    field.value = text;
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    if (!done)
      return announce('This browser lets no page copy.');
  }
  return announce('Copied.');
}

// An identifier: shown short, copied whole on click. row: inside a table row,
// which is where the keyboard stops and opens what offers the same.
export const id = (full, { shown = short(full), row } = {}) => full && h(row ? 'span' : 'button', {
  class: 'id', type: row ? null : 'button', title: `${full}\nClick to copy`,
  onclick: (e) => { e.stopPropagation(); copy(full); },
}, shown);

// The name of a status or the like as a class; unknown ones share one.
export const kindOf = (name) => words(name).split(' ')[0];

export const dot = (status, gone) =>
  h('span', { class: `dot ${gone ? 'closed' : kindOf(status)}`, 'aria-hidden': 'true' });

export const why = (...sentence) => h('p', { class: 'why' }, ...sentence);

export const code = (command) => h('button', {
  class: 'code', type: 'button', title: 'Click to copy', onclick: () => copy(command),
}, command);

// Why a page is empty: the kernel source cannot see what, or else the reason.
export const nothing = (title, m, unseen, reason) => h('div', { class: 'empty' }, h('h2', null, title),
  m.runtime.source === 'kernel'
    ? [why(`${unseen} A libp2p node that publishes to the daemon fills this page:`),
      code('introspectd --feed /run/introspectd.sock')]
    : why(reason));

export const card = (title, aside, ...body) => h('section', { class: 'card', key: title },
  h('header', null, h('h2', null, title), aside && h('span', { class: 'aside' }, aside)), ...body);

// Terms and what they are; entries without a value are left out.
export const facts = (entries) => h('dl', { class: 'facts' },
  entries.filter(([, v]) => v).map(([k, v]) => h('div', { key: k }, h('dt', null, k), h('dd', null, v))));

// As many items of a list as a page can draw and a person read, and how many more there are.
export const few = (list, limit, draw) => [
  (list.length > limit ? list.slice(0, limit) : list).map(draw),
  list.length > limit && h('li', { key: ' more', class: 'faint' }, `and ${count(list.length - limit)} more`),
];

// The largest few of them by name, and the rest as one.
export function topFew(items, limit) {
  if (items.length <= limit)
    return items;
  const rest = items.slice(limit - 1);
  return [...items.slice(0, limit - 1), {
    key: ' other', label: `${count(rest.length)} others`, colour: 'plain-tone', n: rest.reduce((n, i) => n + i.n, 0),
  }];
}

const part = (n, of) => `${of ? Math.min(100, n / of * 100) : 0}%`;

export const bar = (n, of, kind = '') => h('span', { class: `bar ${kind}`, 'aria-hidden': 'true' },
  h('span', { style: { width: part(n, of) } }));

// In and out as two bars on one scale.
export const twoBars = (x, most) => h('span', { class: 'two' }, bar(x.rateIn, most, 'in'), bar(x.rateOut, most, 'out'));

// Shares of a whole as one bar with its legend. items: { key, n, colour, label }.
export const shares = (items) => {
  const all = items.reduce((n, i) => n + i.n, 0);
  return [
    h('div', { class: 'shares', 'aria-hidden': 'true' },
      items.filter((i) => i.n).map((i) => h('span', { key: i.key, class: i.colour, style: { width: part(i.n, all) } }))),
    h('ul', { class: 'legend' }, items.map((i) => h('li', { key: i.key },
      h('span', { class: `swatch ${i.colour}`, 'aria-hidden': 'true' }),
      h('span', { class: 'grow' }, i.label ?? i.key),
      h('span', { class: 'num' }, count(i.n))))),
  ];
};

// A number, or a dash for none, so that what happens stands out.
export const dash = (n, f) => n ? f(n) : h('span', { class: 'faint' }, '–');

export const inOut = (x) => h('span', { class: 'inout' },
  h('span', { title: 'in' }, h('i', { class: 'in' }, '↓'), dash(x.rateIn, rate)),
  h('span', { title: 'out' }, h('i', { class: 'out' }, '↑'), dash(x.rateOut, rate)));

export const total = (x) => bytes(x.in + x.out);
