// A connection in the terms in which the views speak.

import { hostPort, label, short } from './format.js';

// The transports that have a colour of their own, told by what stands in the
// transport id or the address.
const TRANSPORTS = [
  ['relay', /p2p-circuit/], ['webrtc', /webrtc/], ['webtransport', /webtransport/],
  ['quic', /quic/], ['websocket', /\bwss?\b/], ['tcp', /tcp/], ['unix', /unix|memory/],
];

// The class of the colour of a transport: each has its own, unknown ones share one.
export const colourOf = (transport) => {
  const known = TRANSPORTS.findIndex(([name]) => name === transport);
  return known >= 0 ? `c${known}` : 'c-other';
};

// A function of strings that come again with every snapshot.
function remembered(f, most = 50_000) {
  const known = new Map();
  return (s) => {
    let result = known.get(s);
    if (result === undefined) {
      if (known.size >= most)
        known.clear();
      known.set(s, result = f(s));
    }
    return result;
  };
}

const placeOf = remembered(hostPort);
const hostOf = remembered((place) => place.replace(/:\d+$/, ''));
export const labelOf = remembered(label);
const shortOf = remembered(short);
// Indices into TRANSPORTS; its length when none fits.
const signOf = remembered((s) => {
  const at = TRANSPORTS.findIndex(([, sign]) => sign.test(s));
  return at < 0 ? TRANSPORTS.length : at;
});

const OPENERS = { INITIATOR: 'us', RESPONDER: 'the peer' };
// Who opened a connection or stream. A tag says that nobody knows, as every value of the role means something.
export const openerOf = (x) => x.user_provided_tags.includes('role=unknown') ? 'not known' : OPENERS[x.role] ?? 'not known';

const tagOf = (tags, name) => tags.find((t) => t.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';

function processOf(tags) {
  if (!tags.length)
    return '';
  const pid = tagOf(tags, 'pid');
  return [tagOf(tags, 'process'), pid && `(pid ${pid})`].filter(Boolean).join(' ');
}

// Some publishers give the ends as initiator and responder: ours is then known
// by our peer ID.
function ends({ src_multiaddr: src, dst_multiaddr: dst }, own) {
  return own && dst.includes(own) ? [dst, src] : [src, dst];
}

function make(c, own) {
  const [local, remote] = ends(c.endpoints, own);
  const id = labelOf(c.transport_id);
  const relayed = c.conn_id !== '' || Object.hasOwn(c, 'conn');
  const transport = relayed ? 'relay' : TRANSPORTS[Math.min(signOf(id), signOf(remote))]?.[0] ?? (id || 'unknown');
  const { traffic_in, traffic_out } = c.traffic;
  const place = placeOf(remote), closed = c.status === 'CLOSED';
  return {
    c, own, local, remote, transport, place,
    key: c.id || `${local} ${remote}`,
    name: c.peer_id ? shortOf(c.peer_id) : place || 'unknown peer',
    // Who is at the other end: without a peer ID a service by host and port, a
    // caller, whose port says nothing, by host.
    peer: c.peer_id || (c.role === 'INITIATOR' ? place : hostOf(place)) || 'unknown peer',
    process: processOf(c.user_provided_tags),
    agent: c.agent_version,
    status: c.status,
    opener: openerOf(c),
    // What is closed moves nothing any more, whatever was measured last.
    rateIn: closed ? 0 : traffic_in.inst_bw, rateOut: closed ? 0 : traffic_out.inst_bw,
    in: traffic_in.cum_bytes, out: traffic_out.cum_bytes,
    latency: c.latency_ns,
    streams: c.streams.streams.length || c.streams.stream_ids.length,
    opened: c.timeline.open_ts,
    unlisted: c.unlisted,
    closed,
    gone: closed,   // closed, or only in an earlier snapshot
    text: '',       // all that is searched, once it was
  };
}

const ROW = Symbol('row');   // on a decoded Connection

// The row of a decoded Connection, made once. own: the peer ID of the node.
export function rowOf(c, own) {
  if (c[ROW]?.own !== own)
    c[ROW] = make(c, own);
  return c[ROW];
}

// The network of an address: what IPv4 has before `bits`, and of IPv6 the first 32; '' when
// it is none.
export function networkOf(place, bits) {
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.\d+(:\d+)?$/.exec(place);
  if (v4)
    return `${v4.slice(1, 1 + bits / 8).join('.')}${bits === 16 ? '.0.0' : '.0'}/${bits}`;
  const v6 = /^\[([\da-f:]+)(?:%.*)?\]/i.exec(place)?.[1];
  if (!v6)
    return '';
  const groups = v6.split('::')[0].split(':').filter(Boolean);
  return `${[groups[0] ?? '0', groups[1] ?? '0'].join(':')}::/32`;
}

// kubo/0.29.0/hash is kubo, version 0.29.0.
export const agentName = (agent) => agent.split('/')[0];
export const agentVersion = (agent) => agent.split('/').slice(0, 2).join(' ');
