import { h } from '../dom.js';
import { clock, count, moment, of, plural, short } from '../format.js';
import { name, why } from '../parts.js';
import { get, set } from '../route.js';
import { column, number, Table } from '../table.js';
import { matcher } from './filters.js';

const KINDS = 100;      // to choose from
const PROPERTIES = 20;  // of an event, in its line

const parsed = new WeakMap();   // event: its content as an object, or undefined

function contentOf(event) {
  if (!parsed.has(event)) {
    let value;
    try {
      value = JSON.parse(event.content);
    } catch {
      // Shown as it is.
    }
    parsed.set(event, value && typeof value === 'object' ? value : undefined);
  }
  return parsed.get(event);
}

const plain = (v) => typeof v === 'object' ? JSON.stringify(v) : String(v);

function one(value, type) {
  const text = plain(value);
  if (type === 'PEERID')
    return name(text);
  if (type === 'TIME')
    return clock(Number(value));
  return text.length > 40 ? short(text) : text;
}

// One property for the line: long lists by their length.
function brief(value, type) {
  if (!Array.isArray(value))
    return one(value, type);
  return value.length === 1 ? one(value[0], type) : `${count(value.length)} items`;
}

let typeOf;   // event => its EventType or undefined

function line(event) {
  const content = contentOf(event);
  if (!content)
    return event.content;
  const types = typeOf(event)?.property_types ?? [];
  return Object.entries(content).slice(0, PROPERTIES).map(([k, v]) => h('span', { key: k, class: 'property' },
    h('span', { class: 'faint' }, `${k} `), brief(v, types.find((t) => t.name === k)?.type)));
}

const table = new Table({
  label: 'Events', sort: ['time', -1], empty: 'No event fits.',
  onopen: (row) => set({ event: String(row.key) === get('event') ? '' : row.key }),
  columns: [
    number('time', 'Time', 76, (r) => r.e.ts, clock),
    column('name', 'Kind', 150, (r) => r.e.name),
    column('content', 'Content', 420, (r) => r.e.content, { grow: 1, cell: (r) => line(r.e) }),
  ],
});

export default {
  title: 'Events',
  badge: (m) => m.events.length,
  fills: true,
  render(m, { live }) {
    typeOf = (e) => m.store.eventType(e.name, m.runtime);
    const { events } = m, from = m.range?.[0] ?? 0;
    if (!events.length)
      return h('div', { class: 'empty' }, h('h2', null, 'No events here'),
        why(!live ? 'There is none up to this moment of the recording.'
          : m.runtime.event_types.length
            ? `The node knows ${plural(m.runtime.event_types.length, 'kind')} of events; none has come so far.`
            : 'This source tells of no events. Recordings that hold events show them here; open one below the menu.'));
    const kinds = [...new Set(events.map((e) => e.name))].sort().slice(0, KINDS), kind = get('kind'), fit = matcher();
    const fits = (e) => (!kind || e.name === kind) && e.at >= from && fit(`${e.name} ${e.content}`);
    const rows = events.filter(fits).map((e) => ({ key: e.order, e }));
    const chosen = rows.find((r) => String(r.key) === get('event'));
    return h('div', { class: 'column' },
      h('div', { class: 'tools' },
        h('select', { 'aria-label': 'kind', value: kind, onchange: (e) => set({ kind: e.target.value }) },
          h('option', { value: '' }, 'any kind'), kinds.map((k) => h('option', { key: k, value: k }, k))),
        h('span', { class: 'aside' }, of(rows, events, 'event'))),
      table.update(rows, { selected: chosen?.key, filter: `${kind}\0${get('q')}` }),
      chosen && h('section', { class: 'below', 'aria-label': 'Event', key: 'event' },
        h('header', null, h('h2', null, `${chosen.e.name}, ${moment(chosen.e.ts, m.ts)}`),
          h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: () => set({ event: '' }) }, '✕')),
        h('pre', { tabindex: 0 }, contentOf(chosen.e) ? JSON.stringify(contentOf(chosen.e), null, 2) : chosen.e.content)));
  },
};
