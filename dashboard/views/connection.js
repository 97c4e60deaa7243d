// The panel beside the connections: everything about one of them.

import { h } from '../dom.js';
import { bytes, count, duration, hex, label, latency, moment, most as mostOf, plural, rate, words } from '../format.js';
import { bar, card, dot, facts, few, filtered, id, inOut, why } from '../parts.js';
import { history } from './history.js';

const STREAMS = 50;   // drawn in the panel
const TAGS = 20;

function streams(row) {
  const list = row.c.streams.streams;
  if (!list.length)
    return why(row.streams
      ? `${plural(row.streams, 'stream')}; the source tells their ids alone.` : 'None is known in this connection.');
  const most = row.gone ? 0 : mostOf(list, (s) => s.traffic.traffic_in.inst_bw + s.traffic.traffic_out.inst_bw);
  return h('ul', { class: 'streams' }, few(list, STREAMS, (s, i) => {
    const { traffic_in, traffic_out } = s.traffic, gone = row.gone || s.status === 'CLOSED';
    return h('li', { key: s.id || i, class: gone ? 'gone' : '' },
      h('span', { class: 'grow' }, dot(s.status, gone), ' ', filtered('streams', { protocol: s.protocol }, s.protocol || 'not negotiated yet')),
      h('span', { class: 'faint' }, gone ? 'closed' : words(s.status)),
      !gone && inOut({ rateIn: traffic_in.inst_bw, rateOut: traffic_out.inst_bw }),
      !gone && bar(traffic_in.inst_bw + traffic_out.inst_bw, most));
  }));
}

// What happened when, as [name, value] pairs.
function timeline(m, { c, closedAt }) {
  const { open_ts, upgraded_ts, close_ts } = c.timeline, closed = close_ts || closedAt;
  const since = (ts) => ts <= m.ts ? ` (${duration(m.ts - ts)} before)` : '';
  const took = open_ts ? ` (took ${count(upgraded_ts - open_ts)} ms)` : '';
  return [
    ['Opened', open_ts && moment(open_ts, m.ts) + since(open_ts)],
    ['Upgraded', upgraded_ts && moment(upgraded_ts, m.ts) + took],
    ['Closed', closed && moment(closed, m.ts) + since(closed)],
    ['Because', c.close_reason],
    ['Lasted', closed && open_ts && duration(closed - open_ts)],
  ];
}

export function way(name, kind, big, note) {
  return h('div', null, h('span', { class: 'faint' }, name), h('p', { class: `big ${kind}` }, big), h('p', { class: 'note' }, note));
}

const inAll = (g) => bytes(g.cum_bytes) + (g.cum_packets ? ` in ${plural(g.cum_packets, 'packet')}` : '');

function relay(c) {
  if (c.conn_id)
    return hex(c.conn_id);
  return Object.hasOwn(c, 'conn') && (c.conn.peer_id || c.conn.endpoints.dst_multiaddr);
}

// The frame of a panel: a heading, what it is about, and a way to close it.
export const aside = (what, heading, about, close, ...body) => h('aside', {
  class: 'panel', key: 'panel', 'aria-label': what, tabindex: -1, ref: (el) => el.focus({ preventScroll: true }),
},
h('header', null,
  h('div', { class: 'grow' }, h('h2', null, heading), h('p', { class: 'faint' }, about)),
  h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: close }, '✕')),
...body);

export function panel(m, row, close) {
  const { c } = row;
  return aside('Connection', [dot(row.status, row.gone), ' ', row.name],
    [row.agent, row.process].filter(Boolean).join(' · ') || row.transport, close,
    row.gone && why('This connection is closed. What it was before:'),
    row.unlisted && why('The kernel knows this connection; the node does not list it.'),
    h('div', { class: 'pair' },
      way('In', 'in', row.gone ? '–' : rate(row.rateIn), inAll(c.traffic.traffic_in)),
      way('Out', 'out', row.gone ? '–' : rate(row.rateOut), inAll(c.traffic.traffic_out))),
    history(m, (r) => r.key === row.key),
    facts([
      ['Peer', filtered('peers', { peer: row.peer }, 'all about this peer')],
      ['Peer ID', c.peer_id && id(c.peer_id)],
      ['Remote', row.remote && id(row.remote, { shown: row.remote })],
      ['Local', row.local && id(row.local, { shown: row.local })],
      ['Status', words(row.status)],
      ['Opened by', row.opener],
      ['Transport', label(c.transport_id)],
      ['Encryption', c.attribs.encryption],
      ['Multiplexer', c.attribs.multiplexer],
      ['Round trip', c.latency_ns && latency(c.latency_ns)],
      ['Sent again', c.retransmitted_bytes && bytes(c.retransmitted_bytes)],
      ['Lost', c.lost_packets && plural(c.lost_packets, 'packet')],
      ['Counted by', c.kernel_traffic && 'the kernel, headers of encryption and multiplexer included'],
      ['Limited', c.limited && 'yes: relayed, with limits on time or data'],
      ['Relayed over', relay(c)],
      ['Agent', row.agent],
      ...timeline(m, row),
      ['Id', c.id && id(hex(c.id))],
      ['Tags', c.user_provided_tags.slice(0, TAGS).join(', ')],
    ]),
    card('Streams', row.streams ? count(row.streams) : null, streams(row)));
}
