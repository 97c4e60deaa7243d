// The panel beside the connections: everything about one of them.

import { h } from '../dom.js';
import { mirrored } from '../charts.js';
import { bytes, count, duration, hex, label, latency, moment, most as mostOf, plural, rate, words } from '../format.js';
import { bar, card, dot, facts, few, id, inOut, why } from '../parts.js';

const SLICE = 8;   // ms of searching old snapshots at a time
const WIDTH = 320, HEIGHT = 72;
const STREAMS = 50;   // drawn in the panel
const TAGS = 20;

let history = {};   // of one connection: { store, id, next, first, points }

// What the connection did in each snapshot of the store; undefined where it was
// not there. Works in slices: again() is called when there is more to do.
function historyOf(store, id, again) {
  if (history.store !== store || history.id !== id)
    history = { store, id, first: store.dropped, next: store.dropped, points: [] };
  const h = history, until = performance.now() + SLICE;
  if (store.dropped > h.first) {
    h.points.splice(0, store.dropped - h.first);
    h.first = store.dropped;
    h.next = Math.max(h.next, h.first);
  }
  for (; h.next < store.dropped + store.snapshots.length; h.next++) {
    if (performance.now() > until) {
      again();
      break;
    }
    const c = store.track(store.snapshots[h.next - store.dropped], id);
    h.points.push(c && { rateIn: c.traffic.traffic_in.inst_bw, rateOut: c.traffic.traffic_out.inst_bw });
  }
  return h.points;
}

function chart(m, row, again) {
  const points = historyOf(m.store, row.c.id, again);
  const most = mostOf(points, (p) => p ? Math.max(p.rateIn, p.rateOut) : 0);
  const x = (i) => i / Math.max(1, m.store.snapshots.length - 1) * WIDTH;
  return h('figure', { class: 'history' },
    h('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img',
      'aria-label': `Rates over time, at most ${rate(most)}`,
    },
      mirrored(points.map((p, i) => p && { ...p, x: x(i) }), WIDTH, HEIGHT, most),
      h('path', { class: 'now', d: `M${x(m.index)} 0V${HEIGHT}` })),
    h('figcaption', null,
      h('span', null, `rates in ${plural(points.length, 'snapshot')}`), h('span', null, `peak ${rate(most)}`)));
}

function streams(row) {
  const list = row.c.streams.streams;
  if (!list.length)
    return why(row.streams
      ? `${plural(row.streams, 'stream')}; the source tells their ids alone.` : 'None is known in this connection.');
  const most = mostOf(list, (s) => s.traffic.traffic_in.inst_bw + s.traffic.traffic_out.inst_bw);
  return h('ul', { class: 'streams' }, few(list, STREAMS, (s, i) => {
    const { traffic_in, traffic_out } = s.traffic;
    return h('li', { key: s.id || i, class: s.status === 'CLOSED' ? 'gone' : '' },
      h('span', { class: 'grow' }, dot(s.status), ' ', s.protocol || 'not negotiated yet'),
      h('span', { class: 'faint' }, words(s.status)),
      inOut({ rateIn: traffic_in.inst_bw, rateOut: traffic_out.inst_bw }),
      bar(traffic_in.inst_bw + traffic_out.inst_bw, most));
  }));
}

// What happened when, as [name, value] pairs.
function timeline(m, { c }) {
  const { open_ts, upgraded_ts, close_ts } = c.timeline;
  const since = (ts) => ts <= m.ts ? ` (${duration(m.ts - ts)} before)` : '';
  const took = open_ts ? ` (took ${count(upgraded_ts - open_ts)} ms)` : '';
  return [
    ['Opened', open_ts && moment(open_ts, m.ts) + since(open_ts)],
    ['Upgraded', upgraded_ts && moment(upgraded_ts, m.ts) + took],
    ['Closed', close_ts && moment(close_ts, m.ts) + since(close_ts)],
    ['Lasted', close_ts && open_ts && duration(close_ts - open_ts)],
  ];
}

function way(name, kind, bandwidth, g) {
  const packets = g.cum_packets ? ` in ${plural(g.cum_packets, 'packet')}` : '';
  return h('div', null, h('span', { class: 'faint' }, name), h('p', { class: `big ${kind}` }, rate(bandwidth)),
    h('p', { class: 'note' }, bytes(g.cum_bytes) + packets));
}

const ROLES = { INITIATOR: 'initiator (opened by us)', RESPONDER: 'responder (opened by the peer)' };

function relay(c) {
  if (c.conn_id)
    return hex(c.conn_id);
  return Object.hasOwn(c, 'conn') && (c.conn.peer_id || c.conn.endpoints.dst_multiaddr);
}

export function panel(m, row, { close, again }) {
  const { c } = row;
  return h('aside', {
    class: 'panel', key: 'panel', 'aria-label': 'Connection', tabindex: -1,
    ref: (el) => el.focus({ preventScroll: true }),
  },
  h('header', null,
    h('div', { class: 'grow' },
      h('h2', null, dot(row.status, row.gone), ' ', row.name),
      h('p', { class: 'faint' }, [row.agent, row.process].filter(Boolean).join(' · ') || row.transport)),
    h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: close }, '✕')),
  row.gone && why('This connection is closed. What it was before:'),
  h('div', { class: 'pair' },
    way('In', 'in', row.rateIn, c.traffic.traffic_in),
    way('Out', 'out', row.rateOut, c.traffic.traffic_out)),
  chart(m, row, again),
  facts([
    ['Peer ID', c.peer_id && id(c.peer_id)],
    ['Remote', row.remote && id(row.remote, { shown: row.remote })],
    ['Local', row.local && id(row.local, { shown: row.local })],
    ['Status', words(row.status)],
    ['Role', ROLES[row.role] ?? words(row.role)],
    ['Transport', label(c.transport_id)],
    ['Encryption', c.attribs.encryption],
    ['Multiplexer', c.attribs.multiplexer],
    ['Round trip', c.latency_ns && latency(c.latency_ns)],
    ['Retransmitted', c.retransmitted_bytes && bytes(c.retransmitted_bytes)],
    ['Limited', c.limited && 'yes: relayed, with limits on time or data'],
    ['Relayed over', relay(c)],
    ['Agent', row.agent],
    ...timeline(m, row),
    ['Id', c.id && id(hex(c.id))],
    ['Tags', c.user_provided_tags.slice(0, TAGS).join(', ')],
  ]),
  card('Streams', row.streams ? count(row.streams) : null, streams(row)));
}
