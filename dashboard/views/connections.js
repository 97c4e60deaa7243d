import { h } from '../dom.js';
import { bytes, count, duration, hex, latency, of, rate, words } from '../format.js';
import { GROUPS } from '../model.js';
import { changeColumn, compared, dash, dot, name } from '../parts.js';
import { colourOf, labelOf } from '../row.js';
import { get, set, span } from '../route.js';
import { column, ifAny, number as shown, Table } from '../table.js';
import { panel } from './connection.js';
import { filterKey, fits, tools } from './filters.js';

let moment;        // the one shown
let moved;         // Map of what connections moved in the span that is counted, if it is one

const text = (id, title, min, value) => column(id, title, min, value, { grow: min > 120 ? 1 : 0 });
const number = (id, title, min, show, value = (r) => r[id], more) => shown(id, title, min, value, show, more);
// In the span that is counted, unless that is now or all.
const spanned = (id, title) => number(id, title, 76, bytes, (r) => movedOf(r)[id], { hidden: () => !moved });
const NONE = { movedIn: 0, movedOut: 0 };
const movedOf = (r) => moved?.get(r.key) ?? NONE;
const address = (id, title, min) => ({ ...text(id, title, min, (r) => r[id]), cell: (r) => name(r[id], r[id]) });

const age = (r) => duration((r.c.timeline.close_ts || r.closedAt || moment.ts) - r.opened);
const transportId = (r) => labelOf(r.c.transport_id) || r.transport;

const columns = [
  {
    ...text('name', 'Peer', 168),
    cell: (r) => [dot(r.status, r.gone), ' ', name(r.c.peer_id || r.remote, r.name)],
  },
  text('status', 'Status', 66, (r) => words(r.status)),
  ifAny(text('process', 'Process', 130)),
  ifAny(text('agent', 'Agent', 130)),
  number('rateIn', 'In', 86, rate, undefined, { bar: 'in' }),
  number('rateOut', 'Out', 86, rate, undefined, { bar: 'out' }),
  spanned('movedIn', 'Moved in'), spanned('movedOut', 'Moved out'), changeColumn(movedOf),
  number('in', 'Total in', 76, bytes),
  number('out', 'Total out', 76, bytes),
  number('latency', 'Round trip', 76, latency),
  number('opened', 'Age', 86, null, (r) => -r.opened, { cell: (r) => dash(r.opened, () => age(r)) }),
  ifAny(number('streams', 'Streams', 66, count)),
  {
    ...text('transport', 'Transport', 116, transportId),
    cell: (r) => [h('span', { class: `swatch ${colourOf(r.transport)}` }), transportId(r)],
  },
  text('role', GROUPS.role[0], 76, GROUPS.role[1]),
  address('remote', 'Remote address', 220),
  address('local', 'Local address', 180),
  ifAny(text('encryption', 'Encryption', 110, (r) => r.c.attribs.encryption)),
  ifAny(text('multiplexer', 'Multiplexer', 110, (r) => r.c.attribs.multiplexer)),
  ifAny(number('again', 'Sent again', 82, bytes, (r) => r.c.retransmitted_bytes)),
  ifAny(number('lost', 'Lost', 66, count, (r) => r.c.lost_packets)),
  ifAny(text('reason', 'Closed because', 120, (r) => r.c.close_reason)),
  ifAny(text('unlisted', 'Listed', 100, (r) => r.unlisted ? 'by the kernel' : '')),
  ifAny(text('tags', 'Tags', 160, (r) => r.c.user_provided_tags.join(', '))),
];

const keyOf = (r) => hex(r.key);

const table = new Table({
  label: 'Connections', columns, sort: ['in', -1],
  empty: 'No connection fits. Clear the search and the filters to see all.',
  onopen: (row) => set({ connection: keyOf(row) }),
});

const FILTERS = ['status', 'role', 'transport', 'agent', 'process', 'listed'];

export default {
  title: 'Connections',
  badge: (m) => m.snapshot.connections,
  fills: true,
  render(m) {
    moment = m;
    const by = span();
    moved = by === 'now' || by === 'total' ? undefined : m.connections(by);
    const all = m.fading, rows = all.filter(fits()), wanted = get('connection');
    const chosen = wanted && all.find((r) => keyOf(r) === wanted);
    const close = () => {
      set({ connection: '' });
      table.el.querySelector('[role=row][tabindex="0"]')?.focus();
    };
    return h('div', { class: 'split', onkeydown: (e) => { if (chosen && e.key === 'Escape') close(); } },
      h('div', { class: 'column' },
        tools(FILTERS, all, compared(), table.chooser(), h('span', { class: 'aside' }, of(rows, all, 'connection'),
          moved && `; ${m.spanText(by)}`, m.closed.more ? `, ${count(m.closed.more)} more that closed` : '')),
        table.update(rows, { selected: chosen?.key, filter: filterKey() })),
      chosen && panel(m, chosen, close));
  },
};
