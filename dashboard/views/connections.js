import { h } from '../dom.js';
import { bytes, count, duration, label, latency, of, rate, words } from '../format.js';
import { colourOf, tally } from '../model.js';
import { dash, dot, id as ident, topFew } from '../parts.js';
import { Table } from '../table.js';
import { panel } from './connection.js';


const filters = { status: '', role: '', transport: '', agent: '', process: '' };
const CHOICES = 50;   // of a filter

let selected;      // key of a row
let ask;           // the app's way of drawing again
let moment;        // the one shown

const text = (id, title, min, value) => ({ id, title, min, grow: min > 120 ? 1 : 0, value });
const number = (id, title, min, show, value = (r) => r[id]) =>
  ({ id, title, min, number: true, value, cell: (r) => dash(value(r), show) });
const address = (id, title, min) =>
  ({ ...text(id, title, min, (r) => r[id]), cell: (r) => ident(r[id], { shown: r[id], row: true }) });
// Left out when no row has any.
const ifAny = (column) => ({ ...column, hidden: (rows) => !rows.some(column.value) });

const age = (r) => duration((r.c.timeline.close_ts || moment.ts) - r.opened);

const columns = [
  { ...text('status', 'Status', 76, (r) => words(r.status)), cell: (r) => [dot(r.status, r.gone), ' ', words(r.status)] },
  {
    ...text('name', 'Peer', 168, (r) => r.name),
    cell: (r) => ident(r.c.peer_id || r.remote, { shown: r.name, row: true }),
  },
  ifAny(text('process', 'Process', 130, (r) => r.process)),
  ifAny(text('agent', 'Agent', 130, (r) => r.agent)),
  number('rateIn', 'In', 82, rate),
  number('rateOut', 'Out', 82, rate),
  number('in', 'Total in', 76, bytes),
  number('out', 'Total out', 76, bytes),
  number('latency', 'Round trip', 76, latency),
  { ...number('opened', 'Age', 86, null, (r) => -r.opened), cell: (r) => dash(r.opened, () => age(r)) },
  ifAny(number('streams', 'Streams', 66, count)),
  {
    ...text('transport', 'Transport', 116, (r) => label(r.c.transport_id) || r.transport),
    cell: (r) => [h('span', { class: `swatch ${colourOf(r.transport)}` }), label(r.c.transport_id) || r.transport],
  },
  text('role', 'Role', 76, (r) => words(r.role)),
  address('remote', 'Remote address', 220),
  address('local', 'Local address', 180),
  ifAny(text('encryption', 'Encryption', 110, (r) => r.c.attribs.encryption)),
  ifAny(text('multiplexer', 'Multiplexer', 110, (r) => r.c.attribs.multiplexer)),
  ifAny(number('retransmitted', 'Sent again', 82, bytes, (r) => r.c.retransmitted_bytes)),
  ifAny(text('tags', 'Tags', 160, (r) => r.c.user_provided_tags.join(', '))),
];

const table = new Table({
  label: 'Connections', columns, sort: ['in', -1],
  empty: 'No connection fits. Clear the search and the filters to see all.',
  onopen: (row) => { selected = row.key; ask(); },
});

// Plain words, all of which must occur somewhere in the row.
function matcher(query) {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  return (r) => {
    if (!wanted.length)
      return true;
    const all = [
      r.c.peer_id, r.name, r.remote, r.local, r.agent, words(r.status), words(r.role), r.transport, label(r.c.transport_id),
      ...r.c.user_provided_tags, ...r.c.streams.streams.map((s) => s.protocol),
    ].join(' ').toLowerCase();
    return wanted.every((w) => all.includes(w));
  };
}

function choice(name, rows) {
  const values = topFew(tally(rows, (r) => r[name]).filter((v) => v.key !== ''), CHOICES)
    .filter((v) => v.key !== ' other').map((v) => v.key).sort();
  if (filters[name] !== '' && !values.includes(filters[name]))
    values.push(filters[name]);
  return values.length > 1 || filters[name] !== '' ? h('select', {
    key: name, 'aria-label': name, class: filters[name] !== '' ? 'set' : '', value: filters[name],
    onchange: (e) => { filters[name] = e.target.value; ask(); },
  }, h('option', { value: '' }, `any ${name}`), values.map((v) => h('option', { key: v, value: v }, words(v)))) : null;
}

export default {
  title: 'Connections',
  badge: (m) => m.open.length,
  fills: true,
  render(m, { params, setParam, update }) {
    ask = update;
    moment = m;
    const query = params.get('q') ?? '';
    const matches = matcher(query);
    const active = Object.entries(filters).filter(([, v]) => v !== '');
    const all = m.fading;
    const rows = all.filter((r) => active.every(([k, v]) => String(r[k]) === v) && matches(r));
    const chosen = selected && all.find((r) => r.key === selected);
    const close = () => {
      selected = undefined;
      update();
      table.el.querySelector('[role=row][tabindex="0"]')?.focus();
    };
    return h('div', { class: 'split', onkeydown: (e) => { if (chosen && e.key === 'Escape') close(); } },
      h('div', { class: 'column' },
        h('div', { class: 'tools' },
          h('input', {
            type: 'search', class: 'search', placeholder: 'Search peers, addresses, agents, protocols',
            'aria-label': 'Search connections', value: query, oninput: (e) => setParam('q', e.target.value),
          }),
          ['status', 'role', 'transport', 'agent', 'process'].map((name) => choice(name, all)),
          (active.length > 0 || query) && h('button', {
            type: 'button', class: 'quiet', onclick: () => {
              for (const key of Object.keys(filters))
                filters[key] = '';
              setParam('q', '');
              update();
            },
          }, 'Clear'),
          h('span', { class: 'aside' }, of(rows, all, 'connection'))),
        table.update(rows, chosen?.key)),
      chosen && panel(m, chosen, { close, again: update }));
  },
};
