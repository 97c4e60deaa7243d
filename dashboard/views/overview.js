import { h } from '../dom.js';
import { bars, sparkline } from '../charts.js';
import { bytes, count, latency, moment, most as mostOf, plural, rate, words } from '../format.js';
import { colourOf, group, heaviest } from '../model.js';
import { bar, card, facts, few, id, inOut, kindOf, shares, topFew, total, twoBars, why } from '../parts.js';

const TOP = 7;
const LISTED = 40;  // addresses, resources
const STATUSES = 9;
const SPARK = 90;   // snapshots

const tile = (label, value, note, spark) => h('section', { class: 'tile', key: label },
  h('h2', null, label), h('p', { class: 'big' }, value), h('p', { class: 'note' }, note || '\u00a0'),
  spark ?? h('div', { class: 'spark' }));

// How many there are of each order of magnitude (of 2), from 1/8 ms to 2 s.
function spread(latencies) {
  const counts = new Array(14).fill(0);
  for (const ns of latencies)
    counts[Math.max(0, Math.min(13, Math.floor(Math.log2(ns / 125_000))))]++;
  return counts;
}

function tiles(m) {
  const last = m.store.snapshots.slice(Math.max(0, m.index + 1 - SPARK), m.index + 1);
  const most = mostOf(last, (s) => Math.max(s.rateIn, s.rateOut));
  const t = m.totals;
  const trips = m.open.map((r) => r.latency).filter(Boolean).sort((a, b) => a - b);
  const calling = m.open.filter((r) => r.role === 'INITIATOR').length;
  return h('div', { class: 'tiles' },
    tile('Traffic in', rate(t.rateIn), `${bytes(t.in)} in total`, sparkline(last.map((s) => s.rateIn), 'in', most)),
    tile('Traffic out', rate(t.rateOut), `${bytes(t.out)} in total`, sparkline(last.map((s) => s.rateOut), 'out', most)),
    tile('Connections', count(m.open.length), `${count(calling)} of them opened by us`,
      sparkline(last.map((s) => s.connections), 'plain')),
    m.snapshot.streams
      ? tile('Streams', count(m.snapshot.streams), plural(m.protocols.length, 'protocol'),
        sparkline(last.map((s) => s.streams), 'plain'))
      : tile('Peers', count(m.peers.length),
        m.runtime.source === 'kernel' ? 'by address, as the kernel knows no peer IDs' : ''),
    tile('Round trip', trips.length ? latency(trips[trips.length >> 1]) : '–',
      trips.length ? `median; 90 % below ${latency(trips[Math.floor(trips.length * 0.9)])}` : 'not measured',
      trips.length > 1 && bars(spread(trips))));
}

const REACH = { PUBLIC: 'good', PRIVATE: 'warn' };

function node(m) {
  const { runtime: r, state } = m;
  return card('Node', r.source && `source: ${r.source}`,
    facts([
      ['Peer ID', r.peer_id && id(r.peer_id)],
      ['Implementation', r.implementation],
      ['Version', r.version],
      ['Platform', r.platform],
      ['Host', r.hostname],
      ['Snapshots', r.interval_ms && `at least ${latency(r.interval_ms * 1e6)} apart`],
      ['Taken', `${moment(m.ts)}${state.snapshot_duration_ms ? `, over ${count(state.snapshot_duration_ms)} ms` : ''}`],
    ]),
    h('h3', null, 'Addresses'),
    state.addresses.length
      ? h('ul', { class: 'addresses' }, few(state.addresses, LISTED, (a, i) => h('li', { key: i },
        id(a.multiaddr, { shown: a.multiaddr }),
        h('span', { class: `badge ${REACH[a.reachability] ?? ''}` }, words(a.reachability)))))
      : why(r.source === 'kernel'
        ? 'The kernel lists connections, not the addresses a node announces.' : 'The node has told none.'));
}

const STATUS = ['ACTIVE', 'OPENING', 'CLOSING', 'ERROR', 'CLOSED'];

function split(m) {
  // All of them always, so that nothing moves when the first one closes.
  const counts = new Map(STATUS.map((key) => [key, 0]));
  for (const { status } of m.rows)
    counts.set(status, (counts.get(status) ?? 0) + 1);
  const statuses = [...counts].map(([key, n]) => ({ key, n, label: words(key), colour: `s-${kindOf(key)}` }));
  const roles = [['INITIATOR', 'opened by us', 'in-tone'], ['RESPONDER', 'opened by peers', 'plain-tone']];
  return card('Connections', h('a', { href: '#/connections' }, 'all'),
    m.rows.length ? [
      h('h3', null, 'Status'),
      shares(topFew(statuses, STATUSES)),
      h('h3', null, 'Role'),
      shares(roles.map(([key, text, colour]) =>
        ({ key, label: text, colour, n: m.open.filter((r) => r.role === key).length }))),
      h('h3', null, 'Transport'),
      shares(topFew(m.tally((r) => r.transport).map((t) => ({ ...t, colour: colourOf(t.key) })), TOP)),
    ] : why('No connection is open.'));
}

// The first of a list that is in order. name: item => what stands before the bars.
function top(title, items, name, aside, none) {
  const best = items.slice(0, TOP);
  const most = mostOf(best, (x) => Math.max(x.rateIn, x.rateOut));
  return card(title, aside, best.length
    ? h('ol', { class: 'top' }, best.map((x) => h('li', { key: x.key },
      h('span', { class: 'grow name' }, name(x)), twoBars(x, most), inOut(x),
      h('span', { class: 'num faint', title: 'in and out together, so far' }, total(x)))))
    : why(none));
}

const isBytes = /memory|bytes|rss/;

function resources(m) {
  const list = m.state.resources;
  return card('Resources', null, list.length
    ? h('ul', { class: 'resources' }, few(list, LISTED, (r) => {
      const show = isBytes.test(r.name) ? bytes : count;
      const part = r.limit ? r.used / r.limit : 0;
      return h('li', { key: `${r.scope} ${r.name}` },
        h('span', { class: 'grow' }, h('span', { class: 'faint' }, `${r.scope} `), r.name),
        h('span', { class: 'num' }, show(r.used), h('span', { class: 'faint' }, r.limit ? ` of ${show(r.limit)}` : '')),
        r.limit
          ? bar(r.used, r.limit, part >= 0.9 ? 'bad' : part >= 0.75 ? 'warn' : '')
          : h('span', { class: 'faint' }, 'no limit'));
    }))
    : why(m.runtime.source === 'kernel'
      ? 'Memory and open files are shown when one process is watched: introspectd --pid NAME.'
      : 'The node has told none.'));
}

export default {
  title: 'Overview',
  render(m) {
    const kernel = m.runtime.source === 'kernel';
    const named = (x) => x.first.c.peer_id ? id(x.key) : h('span', { title: x.key }, x.key);
    const processes = group(m.open.filter((r) => r.process), (r) => r.process,
      { rateIn: 0, rateOut: 0, in: 0, out: 0, n: 0 }, (p, r) => {
        for (const k of ['rateIn', 'rateOut', 'in', 'out'])
          p[k] += r[k];
        p.n++;
      }).sort(heaviest);
    const agents = m.tally((r) => r.agent).filter((a) => a.key);
    return [tiles(m), h('div', { class: 'cards' },
      node(m),
      split(m),
      top('Top peers', m.peers, named, h('a', { href: '#/swarm' }, plural(m.peers.length, 'peer')), 'No peer is connected.'),
      kernel && processes.length
        ? top('Top processes', processes, (x) => [x.key, h('span', { class: 'faint' }, ` ×${count(x.n)}`)], null, '')
        : top('Top protocols', m.protocols, (x) => h('span', { title: x.key }, x.key), h('a', { href: '#/streams' }, 'all'),
          kernel ? 'The kernel sees no protocols inside connections. Let the node tell: introspectd --feed PATH.'
            : 'No stream is open.'),
      agents.length > 0 && card('Agents', plural(agents.length, 'kind'),
        shares(topFew(agents.map((a, i) => ({ ...a, colour: `c${i}` })), TOP))),
      resources(m))];
  },
};
