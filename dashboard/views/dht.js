import { h } from '../dom.js';
import { count, duration, moment, of, plural, words } from '../format.js';
import { tally } from '../model.js';
import { bar, card, comparing, facts, filtered, id, kindOf, name, nothing, signed, turnover, why } from '../parts.js';
import { get, set, span } from '../route.js';
import { column, ifAny, number, Table } from '../table.js';
import { matcher } from './filters.js';

const CELLS_MAX = 64;     // places of a bucket that are drawn
const BUCKETS_MAX = 64;

let picked;   // peer ID

const AGES = [[60_000, 'a0'], [600_000, 'a1'], [3_600_000, 'a2'], [Infinity, 'a3']];
const freshness = (p) => p.status === 'ACTIVE'
  ? AGES.find(([limit]) => p.age_in_bucket < limit)[1] : kindOf(p.status);

const LEGEND = [
  ['a0', 'active, under a minute in its bucket'], ['a1', 'under 10 min'], ['a2', 'under an hour'], ['a3', 'longer'],
  ['candidate', 'candidate'], ['missing', 'missing'], ['rejected', 'rejected'],
];

// was: those of the time with which a span is compared, if it is.
function queries(title, q, was = q) {
  const all = q.success + q.error + q.timeout;
  const outcomes = [['success', ''], ['error', 'bad'], ['timeout', 'warn']];
  return card(title, plural(all, 'query', 'queries'), all
    ? h('ul', { class: 'resources' }, outcomes.map(([name, kind]) => h('li', { key: name },
      h('span', { class: 'grow' }, name), h('span', { class: 'faint' }, q[name] !== was[name] && signed(q[name] - was[name], count)),
      h('span', { class: 'num' }, count(q[name])), bar(q[name], all, kind))))
    : why('None counted so far.'));
}

// Arrow keys walk through the peers of all buckets.
function walk(e) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
  if (!step)
    return;
  e.preventDefault();
  const all = [...e.currentTarget.querySelectorAll('.cell')];
  all[all.indexOf(document.activeElement) + step]?.focus();
}

// The list of what the buckets draw.
const table = new Table({
  label: 'Peers of the routing table', sort: ['cpl', -1], empty: 'The routing table is empty, or no peer in it fits the search.',
  onopen: (p) => set({ peer: p.peer_id }),
  columns: [
    column('peer', 'Peer', 200, (p) => p.peer_id, { grow: 2, cell: (p) => name(p.peer_id) }),
    column('cpl', 'Bucket', 70, undefined, { number: true }),
    column('status', 'Status', 90, (p) => words(p.status)),
    number('age', 'In its bucket', 100, (p) => p.age_in_bucket, duration),
    column('connected', 'Connected', 100, (p) => p.connected ? 'yes' : 'no'),
    ifAny(column('change', 'Change', 70)),
  ],
});

const peersOf = (dht) => dht.buckets.flatMap(({ cpl, peers }) => peers.map(({ peer_id, status, age_in_bucket }, i) =>
  ({ peer_id, status, age_in_bucket, cpl, place: `${cpl} ${peer_id}`, key: `${cpl} ${i} ${peer_id}` })));

// The peers of a routing table; compared with an earlier one, who came into which bucket since, and
// who went from it.
function rowsOf(m, dht, then) {
  const now = peersOf(dht), before = then ? peersOf(then) : [];
  const [here, there] = [now, before].map((list) => new Set(list.map((p) => p.place)));
  const went = before.filter((p) => !here.has(p.place)).map((p) => ({ ...p, key: `gone ${p.key}`, gone: true, change: 'went' }));
  for (const p of now)
    p.change = then && !there.has(p.place) ? 'came' : '';
  for (const p of now.concat(went))
    p.connected = m.connected.has(p.peer_id);
  return now.concat(went);
}

function list(all) {
  const fit = matcher(), rows = all.filter((p) => fit(p.peer_id)), here = (p) => !p.gone;
  return [h('div', { class: 'tools', key: 'tools' }, h('h2', null, 'Peers'), h('span', { class: 'aside' }, of(rows.filter(here), all.filter(here), 'peer'))),
    table.update(rows, { filter: get('q') })];
}

function buckets(m, update, rows) {
  const { dht } = m.state.subsystems;
  const peers = dht.buckets.flatMap((b) => b.peers), { connected } = m, fit = matcher(), q = get('q');
  const peer = peers.find((p) => p.peer_id === picked) ?? (q && peers.find((p) => fit(p.peer_id))) ?? peers[0];
  const changes = tally(rows.filter((p) => p.change), (p) => `${p.cpl} ${p.change}`);
  const changed = (cpl) => turnover(...['came', 'went'].map((how) => changes.find((c) => c.key === `${cpl} ${how}`)?.n ?? 0));
  const pick = (p) => () => { picked = p.peer_id; update(); };
  return card('Routing table', `${plural(peers.length, 'peer')} in ${plural(dht.buckets.length, 'bucket')}`,
    why('A bucket holds peers whose keys begin with the same number of bits as ours: ' +
      'the higher the number, the closer they are.'),
    h('div', { class: 'buckets', onkeydown: walk },
      [...dht.buckets].sort((a, b) => a.cpl - b.cpl).slice(0, BUCKETS_MAX).map((b) => h('div', { class: 'bucket', key: b.cpl },
        h('span', { class: 'num' }, b.cpl),
        h('div', { class: 'cells', role: 'group', 'aria-label': `Bucket ${b.cpl}` },
          b.peers.slice(0, CELLS_MAX).map((p, i) => h('button', {
            key: p.peer_id + i, type: 'button', class: `cell ${freshness(p)}${p === peer ? ' picked' : ''}${q && !fit(p.peer_id) ? ' dim' : ''}`,
            'aria-label': `${p.peer_id}, ${words(p.status)}`, tabindex: p === peer ? 0 : -1,
            onfocus: pick(p), onmouseenter: pick(p),
          })),
          Array.from({ length: Math.max(0, Math.min(CELLS_MAX, dht.params.k) - b.peers.length) },
            (_, i) => h('span', { key: i, class: 'cell free' }))),
        h('span', { class: 'num faint' }, dht.params.k ? `${b.peers.length} of ${dht.params.k}` : b.peers.length, changed(b.cpl),
          b.peers.length > CELLS_MAX && h('span', { class: 'note' }, ` ${count(b.peers.length - CELLS_MAX)} not drawn`))))),
    dht.buckets.length > BUCKETS_MAX && why(`And ${count(dht.buckets.length - BUCKETS_MAX)} more buckets.`),
    peer && h('p', { class: 'picked-peer' }, id(peer.peer_id), ` ${words(peer.status)}`,
      peer.age_in_bucket ? `, ${duration(peer.age_in_bucket)} in its bucket` : '',
      connected.has(peer.peer_id) ? [', ', filtered('peers', { peer: peer.peer_id }, 'connected')] : ', not connected'),
    h('ul', { class: 'legend row' }, LEGEND.map(([kind, text]) => h('li', { key: kind }, h('span', { class: `cell ${kind}` }), text))));
}

export default {
  title: 'DHT',
  badge: (m) => m.snapshot.dht,
  render(m, { update }) {
    const { dht } = m.state.subsystems;
    if (!dht.enabled && !m.snapshot.dht)
      return nothing('No routing table here', m,
        'A DHT lives inside the node, where the kernel cannot look.', 'The node has told of no DHT.');
    const then = m.then(span())?.subsystems.dht, rows = rowsOf(m, dht, then);
    return [comparing(m), h('div', { class: 'cards dht' },
      buckets(m, update, rows),
      h('div', { class: 'pile' },
        card('DHT', dht.enabled ? 'enabled' : 'disabled', facts([
          ['Protocol', dht.protocol],
          ['Running since', dht.start_ts && moment(dht.start_ts, m.ts)],
          ['For', dht.start_ts && dht.start_ts <= m.ts && duration(m.ts - dht.start_ts)],
          ['Bucket size (k)', dht.params.k || ''],
          ['Concurrency (α)', dht.params.alpha || ''],
          ['Resiliency (β)', dht.params.beta || ''],
          ['Disjoint paths', dht.params.disjoint_paths || ''],
        ])),
        queries('Queries in', dht.incoming_queries, then?.incoming_queries),
        queries('Queries out', dht.outgoing_queries, then?.outgoing_queries))),
    ...list(rows)];
  },
};
