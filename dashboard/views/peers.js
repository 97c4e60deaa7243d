import { h } from '../dom.js';
import { bytes, count, duration, hex, latency, of, plural, rate, words } from '../format.js';
import { GROUPS, eachMoved, group, heaviest } from '../model.js';
import { hasNetworks, networkAt } from '../networks.js';
import { card, changeColumn, compared, dash, dot, facts, few, filtered, id, movedOf, name, showMoved, why } from '../parts.js';
import { colourOf } from '../row.js';
import { get, set, span } from '../route.js';
import { column, ifAny, number, Table } from '../table.js';
import { aside, way } from './connection.js';
import { filterKey, fits, tools } from './filters.js';
import { history } from './history.js';

const CONNECTIONS = 30;   // of a peer, in its panel

let moment, by = 'now';

const moved = (id, title, side, kind) => number(id, title, 92, (p) => movedOf(p, by)[side], (n) => showMoved(by)(n), { bar: kind });
const both = (p) => movedOf(p, by)[0] + movedOf(p, by)[1];

const bucketOf = (p) => moment.dhtPeers.get(p.key);
const topicsOf = (p) => moment.topicsOf.get(p.key) ?? [];
const networkOf = (p) => networkAt(p.first.place).text;
const transports = (p) => [...new Set(p.all.map((r) => r.transport))];

const shared = [
  moved('in', 'In', 0, 'in'), moved('out', 'Out', 1, 'out'),
  number('both', 'In + out', 92, both, (n) => showMoved(by)(n)),
  changeColumn(),
  number('connections', 'Connections', 86, (p) => p.rows, count),
  ifAny(number('streams', 'Streams', 66, undefined, count)),
];

const table = new Table({
  label: 'Peers', sort: ['both', -1], empty: 'No peer fits. Clear the search and the filters to see all.',
  onopen: (p) => set({ peer: p.key }),
  columns: [
    column('name', 'Peer', 168, undefined, {
      grow: 1, cell: (p) => [dot('ACTIVE', p.gone), ' ', name(p.key, p.first.c.peer_id ? p.name : p.key)],
    }),
    ifAny(column('process', 'Process', 130, undefined, { grow: 1 })),
    ifAny(column('agent', 'Agent', 150, undefined, { grow: 1 })),
    ...shared,
    number('latency', 'Round trip', 76, undefined, latency),
    number('opened', 'Known for', 86, (p) => -p.opened, null, { cell: (p) => dash(p.opened, () => duration(moment.ts - p.opened)) }),
    column('transport', 'Transport', 116, (p) => transports(p).join(', '), {
      cell: (p) => transports(p).map((t) => [h('span', { class: `swatch ${colourOf(t)}` }), t, ' ']),
    }),
    ifAny(column('network', 'Network', 150, networkOf)),
    ifAny(number('bucket', 'DHT bucket', 80, (p) => bucketOf(p)?.cpl + 1 || 0, (n) => n - 1)),
    ifAny(column('topics', 'Topics', 140, (p) => topicsOf(p).join(', '))),
    ifAny(number('unlisted', 'Not listed', 76, undefined, count)),
  ],
});

const groups = new Table({
  label: 'Groups of peers', sort: ['both', -1], empty: 'No peer fits. Clear the search and the filters to see all.',
  onopen: (g) => set({ [get('group')]: g.key, group: '' }),
  columns: [
    column('name', 'Group', 200, (g) => g.key, {
      grow: 2, cell: (g) => [get('group') === 'transport' && h('span', { class: `swatch ${colourOf(g.key)}` }), g.key],
    }),
    number('peers', 'Peers', 70, (g) => g.peers.size, count),
    ...shared,
    number('latency', 'Round trip', 76, undefined, latency),
  ],
});

// Connections, and what closed ones moved, as groups of a kind.
function grouped(m, kind, fit) {
  const start = { rows: 0, streams: 0, rateIn: 0, rateOut: 0, movedIn: 0, movedOut: 0, latency: 0 };
  const of = GROUPS[kind][1];
  const list = group(m.open.filter(fit), of, start, (g, r) => {
    (g.peers ??= new Set()).add(r.peer);
    g.rows++;
    g.streams += r.streams;
    g.rateIn += r.rateIn;
    g.rateOut += r.rateOut;
    if (r.latency && (!g.latency || r.latency < g.latency))
      g.latency = r.latency;
  });
  if (by === 'now')
    return list;
  const known = new Map(list.map((g) => [g.key, g]));
  const groupOf = (r) => known.get(of(r)) ?? known.set(of(r), { ...start, key: of(r), peers: new Set(), gone: true }).get(of(r));
  eachMoved(m.store, m.span(by).from, m.index, (r, movedIn, movedOut) => {
    if (!fit(r))
      return;
    const g = groupOf(r);
    g.movedIn += movedIn;
    g.movedOut += movedOut;
  });
  m.compare(by, `${kind} ${filterKey()}`, (r) => fit(r) ? of(r) : undefined, known, groupOf);
  return [...known.values()].sort(heaviest(by));
}

function bucketText(m, p) {
  const b = bucketOf(p);
  if (b)
    return filtered('dht', { q: p.key }, `bucket ${b.cpl}, ${words(b.status)}${b.age ? `, for ${duration(b.age)}` : ''}`);
  return m.dhtPeers.size ? 'in no bucket of the routing table' : '';
}

const connection = (r) => h('li', { key: r.key },
  h('span', { class: 'grow' }, dot(r.status, r.gone), ' ',
    filtered('connections', { connection: hex(r.key) }, r.place || r.remote || 'connection')),
  h('span', { class: 'faint' }, h('span', { class: `swatch ${colourOf(r.transport)}` }), ` ${r.transport}`,
    r.streams ? `, ${plural(r.streams, 'stream')}` : ''));

function panel(m, p, close) {
  const spanned = m.peers('10m').find((x) => x.key === p.key), all = m.peers('total').find((x) => x.key === p.key);
  const note = (side) => `${bytes(movedOf(spanned, '10m')[side])} in 10 min, ${bytes(movedOf(all, 'total')[side])} in all`;
  return aside('Peer', [dot('ACTIVE', p.gone), ' ', p.first.c.peer_id ? p.name : p.key],
    [p.agent, p.process].filter(Boolean).join(' · ') || plural(p.rows, 'connection'), close,
    p.gone && why('No connection to this peer is open any more.'),
    h('div', { class: 'pair' },
      way('In', 'in', p.gone ? '–' : rate(p.rateIn), note(0)), way('Out', 'out', p.gone ? '–' : rate(p.rateOut), note(1))),
    history(m, (r) => r.peer === p.key),
    facts([
      ['Peer ID', p.first.c.peer_id && id(p.first.c.peer_id)],
      ['Agent', p.agent && filtered('peers', { agent: GROUPS.agent[1](p) }, p.agent)],
      ['Process', p.process],
      ['Round trip', p.latency && latency(p.latency)],
      ['Network', networkOf(p)],
      ['Routing table', bucketText(m, p)],
      ['Topics', topicsOf(p).length > 0 && h('ul', null, few(topicsOf(p), 8, (t) => h('li', { key: t }, filtered('topics', { q: t }, t))))],
    ]),
    card('Connections', count(p.rows), h('ul', { class: 'streams' }, few(p.all, CONNECTIONS, connection))));
}

const grouping = (kind) => h('select', {
  key: 'group', 'aria-label': 'group by', class: kind ? 'set' : '', value: kind,
  onchange: (e) => set({ group: e.target.value, sort: '' }),
},
h('option', { value: '' }, 'one by one'),
Object.entries(GROUPS).filter(([k]) => hasNetworks() || k !== 'as' && k !== 'country').map(([k, [title]]) => h('option', { key: k, value: k }, `by ${title.replace(/^[A-Z](?=[a-z])/, (c) => c.toLowerCase())}`)));

const FILTERS = ['agent', 'version', 'transport', 'process'];

export default {
  title: 'Peers',
  badge: (m) => m.peerCount,
  fills: true,
  render(m) {
    moment = m;
    by = span();
    const fit = fits(), kind = Object.hasOwn(GROUPS, get('group')) ? get('group') : '';
    const all = m.peers(by), filter = filterKey();
    const peers = all.filter((p) => p.all.length ? p.all.some(fit) : fit(p.first));
    const wanted = get('peer'), chosen = !kind && wanted && all.find((p) => p.key === wanted);
    const close = () => {
      set({ peer: '' });
      table.el.querySelector('[role=row][tabindex="0"]')?.focus();
    };
    return h('div', { class: 'split', onkeydown: (e) => { if (chosen && e.key === 'Escape') close(); } },
      h('div', { class: 'column' },
        tools(FILTERS, m.open,
          grouping(kind),
          compared(), !kind && table.chooser(),
          h('span', { class: 'aside' }, `${of(peers, all, 'peer')}; ${m.spanText(by)}`)),
        kind ? groups.update(grouped(m, kind, fit), { filter }) : table.update(peers, { selected: chosen?.key, filter })),
      chosen && panel(m, chosen, close));
  },
};
