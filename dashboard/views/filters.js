// What chooses among connections and peers: the search, which every view has, and filters
// by kind. All of it stands in the address of the page.

import { h } from '../dom.js';
import { words } from '../format.js';
import { GROUPS, tally } from '../model.js';
import { networkAt } from '../networks.js';
import { topFew } from '../parts.js';
import { labelOf } from '../row.js';
import { get, set } from '../route.js';

const CHOICES = 50;   // of a filter

const KINDS = { status: ['Status', (r) => words(r.status)], ...GROUPS };

function textOf(r) {
  if (!r.text) {
    r.text = [
      networkAt(r.place).text, r.c.peer_id, r.name, r.remote, r.local, r.agent, r.process, words(r.status), r.transport, labelOf(r.c.transport_id),
      ...r.c.user_provided_tags, ...r.c.streams.streams.map((s) => s.protocol),
    ].join(' ').toLowerCase();
  }
  return r.text;
}

// Plain words, all of which must occur somewhere: text => whether it fits the search.
export function matcher() {
  const wanted = get('q').toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => wanted.every((w) => text.toLowerCase().includes(w));
}

// The filters that are set: [name, value] pairs.
export const active = () => Object.keys(KINDS).map((name) => [name, get(name)]).filter(([, v]) => v);

// The search and the filters, for a row.
export function fits() {
  const wanted = get('q').toLowerCase().split(/\s+/).filter(Boolean), kinds = active();
  if (!wanted.length && !kinds.length)
    return () => true;
  return (r) => {
    if (!kinds.every(([name, v]) => KINDS[name][1](r) === v))
      return false;
    const text = wanted.length ? textOf(r) : '';
    return wanted.every((w) => text.includes(w));
  };
}

export const filterKey = () => [get('q'), get('group'), ...active().flat()].join('\0');

const clearAll = () => set({ q: '', ...Object.fromEntries(Object.keys(KINDS).map((name) => [name, ''])) });

function choice(name, rows) {
  const [title, of] = KINDS[name], chosen = get(name);
  const kinds = topFew(tally(rows, of), CHOICES).filter((v) => v.key !== ' other').map((v) => v.key).sort();
  if (chosen && !kinds.includes(chosen))
    kinds.push(chosen);
  return (kinds.length > 1 || chosen) && h('select', {
    key: name, 'aria-label': title.toLowerCase(), class: chosen ? 'set' : '', value: chosen,
    onchange: (e) => set({ [name]: e.target.value }),
  }, h('option', { value: '' }, `${title}: any`), kinds.map((v) => h('option', { key: v, value: v }, v)));
}

// names: of the filters to choose by; others that are set are told, to be taken away.
export const tools = (names, rows, ...more) => h('div', { class: 'tools' },
  names.map((name) => choice(name, rows)),
  active().filter(([name]) => !names.includes(name)).map(([name, v]) => h('button', {
    key: name, type: 'button', class: 'chip', 'aria-label': `${KINDS[name][0]}: ${v}. Take this filter away`,
    onclick: () => set({ [name]: '' }),
  }, `${KINDS[name][0]}: ${v} ✕`)),
  (active().length > 0 || get('q')) && h('button', { type: 'button', class: 'quiet', onclick: clearAll }, 'Clear'),
  ...more);
