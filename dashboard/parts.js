// Small pieces that several views are made of.

import { h } from './dom.js';
import { bytes, count, most as mostOf, rate, short, words } from './format.js';
import { SPANS } from './model.js';
import { get, href, PICK, set, span } from './route.js';

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

// An identifier: shown short, copied whole on click. Not for where a click opens something.
export const id = (full, { shown = short(full) } = {}) => full && h('button', {
  class: 'id', type: 'button', title: `${full}\nClick to copy`, onclick: () => copy(full),
}, shown);

// A name of nothing but blanks would be a link that nobody sees.
const seen = (text) => typeof text !== 'string' || text.trim() ? text : `“${text}”`;

// The same in a row of a table, where a click opens the row.
export const name = (full, shown = short(full)) => h('span', { class: 'id', title: full }, seen(shown));

export const copyLink = () => copy(location.href);

// The name of a status or the like as a class; unknown ones share one.
export const kindOf = (status) => words(status).split(' ')[0];

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
const twoBars = ([bytesIn, bytesOut], most) =>
  h('span', { class: 'two' }, bar(bytesIn, most, 'in'), bar(bytesOut, most, 'out'));

// Shares of a whole as one bar with its legend. items: { key, n, colour, label, href }.
export const shares = (items) => {
  const all = items.reduce((n, i) => n + i.n, 0);
  return [
    h('div', { class: 'shares', 'aria-hidden': 'true' },
      items.filter((i) => i.n).map((i) => h('span', { key: i.key, class: i.colour, style: { width: part(i.n, all) } }))),
    h('ul', { class: 'legend' }, items.map((i) => h('li', { key: i.key }, h(i.href ? 'a' : 'span', { href: i.href, class: 'entry' },
      h('span', { class: `swatch ${i.colour}`, 'aria-hidden': 'true' }),
      h('span', { class: 'grow', title: i.label ?? i.key }, i.label ?? i.key),
      h('span', { class: 'num' }, count(i.n)))))),
  ];
};

// A number, or a dash for none, so that what happens stands out.
export const dash = (n, f) => n ? f(n) : h('span', { class: 'faint' }, '–');

// In and out in the span that is counted: of things with rateIn, rateOut, movedIn, movedOut.
export const movedOf = (x, by) => by === 'now' ? [x.rateIn, x.rateOut] : [x.movedIn, x.movedOut];
export const showMoved = (by) => by === 'now' ? rate : bytes;

export function inOut(x, by = 'now') {
  const [bytesIn, bytesOut] = movedOf(x, by), show = showMoved(by);
  return h('span', { class: 'inout' },
    h('span', { title: 'in' }, h('i', { class: 'in' }, '↓'), dash(bytesIn, show)),
    h('span', { title: 'out' }, h('i', { class: 'out' }, '↑'), dash(bytesOut, show)));
}

// Buttons of which one is on. choices: [value, text] pairs.
const switcher = (label, choices, chosen, choose) => h('span', { class: 'switch', role: 'group', 'aria-label': label },
  choices.map(([value, text]) => h('button', {
    key: value, type: 'button', 'aria-pressed': value === chosen ? 'true' : 'false', onclick: () => choose(value),
  }, text)));

// Which span is counted: now, 10 minutes, all, and the range when one is selected.
export const spans = () => switcher('What is counted',
  Object.entries(SPANS).filter(([key]) => key !== 'range' || get('from')), span(), (by) => set({ by }));

// With what a span can be compared: values of vs in the address.
const EARLIER = [['', 'the time before'], ['3600000', 'an hour before'], ['86400000', 'a day before'], [PICK, 'another range: drag']];

export function against() {
  const vs = get('vs'), known = EARLIER.some(([value]) => value === vs);
  return h('select', { class: 'against', key: 'against', 'aria-label': 'compare with', value: known ? vs : 'range', onchange: (e) => set({ vs: e.target.value }) },
    EARLIER.map(([value, text]) => h('option', { key: value, value }, `against ${text}`)),
    !known && h('option', { key: 'range', value: 'range' }, 'against the range selected'));
}

// Both, where a span is counted that can be compared.
export const compared = () => [spans(), (span() === 'range' || span() === '10m') && against()];

// What a view shows above all when a span is counted that can be compared.
export const comparing = (m, ...what) => span() !== 'now' && span() !== 'total' && h('div', { class: 'tools', key: 'comparing' },
  compared(), h('span', null, what), h('span', { class: 'aside' }, m.spanText(span())));

// How many connections opened and closed in a span, and in the time with which it is compared.
export function churn(m, by) {
  const { held, from, to } = m.second(by), { opened, closed } = m.churn(by), then = held && m.churn(by, from, to);
  return [filtered('connections', { sort: 'opened' }, `${count(opened)} opened`), ', ', filtered('connections', { status: 'closed' }, `${count(closed)} closed`),
    then && h('span', { class: 'faint' }, ` against ${count(then.opened)} and ${count(then.closed)}`)];
}

// What is in a list and not in another one.
export const without = (list, other) => {
  const known = new Set(other);
  return known.size ? list.filter((x) => !known.has(x)) : list;
};

// How many came and went; nothing where none did.
export const turnover = (came, went) => came + went > 0 && h('span', { class: 'faint' }, ` +${count(came)} −${count(went)}`);

// More or less than in the time with which the span is compared, in bytes.
export const signed = (n, show = bytes) => `${n < 0 ? '−' : '+'}${show(Math.abs(n))}`;
const change = (x) => x.movedIn + x.movedOut - (x.was ?? 0);
export const showChange = (x) => dash(Math.round(change(x)), (n) => [x.was === 0 && h('span', { class: 'faint' }, 'new '), signed(n)]);
export const changeColumn = (of = (x) => x) => ({
  id: 'change', title: 'Change', min: 100, number: true, hint: 'against the time compared with',
  value: (r) => change(of(r)), cell: (r) => showChange(of(r)), hidden: (rows) => !rows.some((r) => of(r).was !== undefined),
});

// A link that filters a view.
export const filtered = (view, values, ...text) => h('a', { href: href(view, values) }, ...text.map(seen));

// A list that keeps its order while the mouse is over it, so that a click meets what was
// aimed at. items: in order; draw: item => <li>.
const resting = new Map();   // name of the list: keys as they stood
function steady(listName, items, limit, draw) {
  const kept = resting.get(listName);
  const byKey = kept && new Map(items.map((x) => [x.key, x]));
  const shown = kept ? kept.map((key) => byKey.get(key)).filter(Boolean) : items.slice(0, limit);
  return h('ol', {
    class: 'top', onpointerenter: (e) => { if (e.pointerType === 'mouse') resting.set(listName, shown.map((x) => x.key)); },
    onpointerleave: () => { resting.delete(listName); },
  }, shown.map(draw));
}

// The first of a list that is in order, what they moved in the span that is counted, and how
// much the rest did. title: of the card; label: item => what stands before the bars.
export function top(title, items, { limit, by, label, aside, none }) {
  const best = items.slice(0, limit);
  const sum = (list) => list.reduce((n, x) => n + movedOf(x, by)[0] + movedOf(x, by)[1], 0);
  const most = mostOf(best, (x) => Math.max(...movedOf(x, by))), rest = items.slice(limit);
  return card(title, aside, best.length ? [
    steady(title, items, limit, (x) => h('li', { key: x.key, class: x.gone ? 'gone' : '' },
      h('span', { class: 'grow name' }, label(x)), twoBars(movedOf(x, by), most), inOut(x, by))),
    rest.length > 0 && h('p', { class: 'note faint' },
      `and ${count(rest.length)} more, together ${showMoved(by)(sum(rest))}`),
  ] : why(none));
}
