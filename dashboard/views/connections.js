import { h } from '../dom.js';
import { bytes, count, duration, label, latency, plural, rate, words } from '../format.js';
import { colourOf } from '../model.js';
import { dash, dot, id } from '../parts.js';
import { Table } from '../table.js';
import { panel } from './connection.js';

const none = (f) => (rows) => !rows.some(f);

const filters = { status: '', role: '', transport: '', agent: '', process: '' };
let selected;      // key of a row
let ask;           // the app's way of drawing again
let moment;        // the one shown

const columns = [
  { id: 'status', title: 'Status', min: 76, value: (r) => words(r.status), cell: (r) => [dot(r.status, r.gone), ' ', words(r.status)] },
  { id: 'name', title: 'Peer', min: 168, grow: 1.2, value: (r) => r.name, cell: (r) => id(r.c.peer_id || r.remote, { shown: r.name, row: true }) },
  { id: 'process', title: 'Process', min: 130, grow: 1, value: (r) => r.process, hidden: none((r) => r.process) },
  { id: 'agent', title: 'Agent', min: 130, grow: 1, value: (r) => r.agent, hidden: none((r) => r.agent) },
  { id: 'rateIn', title: 'In', min: 82, number: true, value: (r) => r.rateIn, cell: (r) => dash(r.rateIn, rate) },
  { id: 'rateOut', title: 'Out', min: 82, number: true, value: (r) => r.rateOut, cell: (r) => dash(r.rateOut, rate) },
  { id: 'in', title: 'Total in', min: 76, number: true, value: (r) => r.in, cell: (r) => bytes(r.in) },
  { id: 'out', title: 'Total out', min: 76, number: true, value: (r) => r.out, cell: (r) => bytes(r.out) },
  { id: 'latency', title: 'Round trip', min: 76, number: true, value: (r) => r.latency, cell: (r) => dash(r.latency, latency) },
  { id: 'opened', title: 'Age', min: 86, number: true, value: (r) => -r.opened, cell: (r) => dash(r.opened, () => duration((r.c.timeline.close_ts || moment.ts) - r.opened)) },
  { id: 'streams', title: 'Streams', min: 66, number: true, value: (r) => r.streams, hidden: none((r) => r.streams) },
  { id: 'transport', title: 'Transport', min: 116, value: (r) => r.transport + label(r.c.transport_id), cell: (r) => [h('span', { class: `swatch ${colourOf(r.transport)}` }), label(r.c.transport_id) || r.transport] },
  { id: 'role', title: 'Role', min: 76, value: (r) => words(r.role) },
  { id: 'remote', title: 'Remote address', min: 220, grow: 1.4, value: (r) => r.remote, cell: (r) => id(r.remote, { shown: r.remote, row: true }) },
  { id: 'local', title: 'Local address', min: 180, grow: 1, value: (r) => r.local, cell: (r) => id(r.local, { shown: r.local, row: true }) },
  { id: 'encryption', title: 'Encryption', min: 110, value: (r) => r.c.attribs.encryption, hidden: none((r) => r.c.attribs.encryption) },
  { id: 'multiplexer', title: 'Multiplexer', min: 110, value: (r) => r.c.attribs.multiplexer, hidden: none((r) => r.c.attribs.multiplexer) },
  { id: 'retransmitted', title: 'Sent again', min: 82, number: true, value: (r) => r.c.retransmitted_bytes, cell: (r) => dash(r.c.retransmitted_bytes, bytes), hidden: none((r) => r.c.retransmitted_bytes) },
  { id: 'tags', title: 'Tags', min: 160, grow: 1, value: (r) => r.c.user_provided_tags.join(', '), hidden: none((r) => r.c.user_provided_tags.length) },
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
    const text = `${r.c.peer_id} ${r.remote} ${r.name} ${r.local} ${r.agent} ${words(r.status)} ${words(r.role)} ${r.transport} ${label(r.c.transport_id)} ${r.c.user_provided_tags.join(' ')} ${r.c.streams.streams.map((s) => s.protocol).join(' ')}`.toLowerCase();
    return wanted.every((w) => text.includes(w));
  };
}

function choice(name, rows) {
  const values = [...new Set(rows.map((r) => r[name]))].filter((v) => v !== '').sort();
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
            type: 'search', class: 'search', placeholder: 'Search peers, addresses, agents, protocols', 'aria-label': 'Search connections', value: query,
            oninput: (e) => setParam('q', e.target.value),
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
          h('span', { class: 'aside' }, rows.length === all.length ? plural(rows.length, 'connection') : `${count(rows.length)} of ${count(all.length)}`)),
        table.update(rows, chosen?.key)),
      chosen && panel(m, chosen, { close, again: update }));
  },
};
