// One moment of the store, in the terms in which the views speak.

import { hostPort, label, short } from './format.js';

const FADE = 30_000;              // ms for which a closed connection is still shown
const FADE_BYTES = 2 * 2 ** 20;   // of earlier snapshots that may be decoded for it

// The transports that have a colour of their own, told by what stands in the
// transport id or the address.
const TRANSPORTS = [
  ['relay', /p2p-circuit/], ['webrtc', /webrtc/], ['webtransport', /webtransport/],
  ['quic', /quic/], ['websocket', /\bwss?\b/], ['tcp', /tcp/], ['unix', /unix|memory/],
];

export const hash = (s) => {
  let n = 0x811c9dc5;
  for (let i = 0; i < s.length; i++)
    n = Math.imul(n ^ s.charCodeAt(i), 0x01000193);
  return (n ^ n >>> 15) >>> 0;
};

const COLOURS = 7;
export const colourOf = (transport) => {
  const known = TRANSPORTS.findIndex(([name]) => name === transport);
  return `c${known >= 0 ? known : hash(transport) % COLOURS}`;
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
const labelOf = remembered(label);
// Indices into TRANSPORTS; its length when none fits.
const signOf = remembered((s) => {
  const at = TRANSPORTS.findIndex(([, sign]) => sign.test(s));
  return at < 0 ? TRANSPORTS.length : at;
});

const tagOf = (tags, name) => tags.find((t) => t.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';

function processOf(tags) {
  const pid = tagOf(tags, 'pid');
  return [tagOf(tags, 'process'), pid && `(pid ${pid})`].filter(Boolean).join(' ');
}

// Some publishers give the ends as initiator and responder: ours is then known
// by our peer ID.
function ends({ src_multiaddr: src, dst_multiaddr: dst }, own) {
  return own && dst.includes(own) ? [dst, src] : [src, dst];
}

function row(c, own) {
  const [local, remote] = ends(c.endpoints, own);
  const id = labelOf(c.transport_id);
  const relayed = c.conn_id !== '' || Object.hasOwn(c, 'conn');
  const transport = relayed ? 'relay' : TRANSPORTS[Math.min(signOf(id), signOf(remote))]?.[0] ?? (id || 'unknown');
  const { traffic_in, traffic_out } = c.traffic;
  const place = placeOf(remote);
  return {
    c, local, remote, transport,
    key: c.id || `${local} ${remote}`,
    name: c.peer_id ? short(c.peer_id) : place || 'unknown peer',
    // Who is at the other end: without a peer ID a service by host and port, a
    // caller, whose port says nothing, by host.
    peer: c.peer_id || (c.role === 'INITIATOR' ? place : hostOf(place)) || 'unknown peer',
    process: processOf(c.user_provided_tags),
    agent: c.agent_version,
    status: c.status,
    role: c.role,
    rateIn: traffic_in.inst_bw, rateOut: traffic_out.inst_bw,
    in: traffic_in.cum_bytes, out: traffic_out.cum_bytes,
    latency: c.latency_ns,
    streams: c.streams.streams.length || c.streams.stream_ids.length,
    opened: c.timeline.open_ts,
    closed: c.status === 'CLOSED',
    gone: false,   // closed, or only in an earlier snapshot
  };
}

export function group(items, keyOf, start, add) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key))
      groups.set(key, { key, ...start });
    add(groups.get(key), item);
  }
  return [...groups.values()];
}

// How many items there are of each kind, most first.
export const tally = (items, of) =>
  group(items, of, { n: 0 }, (g) => { g.n++; }).sort((a, b) => b.n - a.n || (a.key < b.key ? -1 : 1));

// By what was moved so far, which unlike rates does not change places every second.
export const heaviest = (a, b) => b.in + b.out - a.in - a.out || (a.key < b.key ? -1 : 1);

const addTraffic = (sum, x) => {
  sum.rateIn += x.rateIn;
  sum.rateOut += x.rateOut;
  sum.in += x.in;
  sum.out += x.out;
};
const NO_TRAFFIC = { rateIn: 0, rateOut: 0, in: 0, out: 0 };
const trafficOf = ({ traffic_in: i, traffic_out: o }) =>
  ({ rateIn: i.inst_bw, rateOut: o.inst_bw, in: i.cum_bytes, out: o.cum_bytes });

// Everything is worked out when first asked for.
export class Moment {
  #known = {};

  // index: of the snapshot in the store.
  constructor(store, index) {
    this.store = store;
    this.index = index;
    this.snapshot = store.snapshots[index];
    this.runtime = this.snapshot.runtime;
    this.ts = this.snapshot.ts;
  }

  #once(name, make) {
    return this.#known[name] ??= make();
  }

  get state() {
    return this.#once('state', () => this.store.state(this.snapshot));
  }

  // The connections in this snapshot.
  get rows() {
    return this.#once('rows', () => this.state.subsystems.connections.map((c) => row(c, this.runtime.peer_id)));
  }

  get open() {
    return this.#once('open', () => this.rows.filter((r) => !r.closed));
  }

  // Those and the ones that went away shortly before.
  get fading() {
    return this.#once('fading', () => {
      const here = new Set(this.rows.map((r) => r.key));
      const all = this.rows.map((r) => r.closed ? { ...r, gone: true } : r);
      let budget = FADE_BYTES;
      for (let i = this.index - 1; i >= 0; i--) {
        const earlier = this.store.snapshots[i];
        budget -= earlier.bytes.length;
        if (this.snapshot.at - earlier.at > FADE || budget < 0 && i < this.index - 1)
          break;
        for (const c of this.store.state(earlier).subsystems.connections) {
          if (here.has(c.id) || !c.id)
            continue;
          here.add(c.id);
          all.push({ ...row(c, this.runtime.peer_id), gone: true, status: 'CLOSED', rateIn: 0, rateOut: 0 });
        }
      }
      return all;
    });
  }

  get totals() {
    return trafficOf(this.state.traffic);
  }

  // Open connections by who is at the other end, the heaviest first.
  get peers() {
    return this.#once('peers', () => group(this.open, (r) => r.peer,
      { ...NO_TRAFFIC, rows: 0 }, (peer, r) => {
        addTraffic(peer, r);
        peer.rows++;
        if (!peer.first || r.rateIn + r.rateOut > peer.first.rateIn + peer.first.rateOut)
          peer.first = r;
      }).sort(heaviest));
  }

  get streams() {
    return this.#once('streams', () => this.rows.flatMap((r) => r.c.streams.streams.map((s, i) => ({
      s, row: r, key: `${r.key} ${s.id || i}`, protocol: s.protocol || 'not negotiated yet', name: r.name,
      role: s.role, status: s.status, opened: s.timeline.open_ts, latency: s.latency_ns,
      gone: s.status === 'CLOSED' || r.closed, ...trafficOf(s.traffic),
    }))));
  }

  get protocols() {
    return this.#once('protocols', () => (this.state.protocols.length
      ? this.state.protocols.map((p) => ({ key: p.protocol, streams: p.streams, ...trafficOf(p.traffic) }))
      : group(this.streams, (s) => s.protocol, { ...NO_TRAFFIC, streams: 0 }, (p, s) => {
        addTraffic(p, s);
        p.streams += !s.gone;
      })).sort(heaviest));
  }

  // How many open connections there are of each kind, most first.
  tally(of) {
    return tally(this.open, of);
  }

  // What was known when this snapshot was taken, the newest last.
  get events() {
    const next = this.store.snapshots[this.index + 1];
    const all = this.store.events;
    return next ? all.filter((e) => e.at <= this.snapshot.at) : all;
  }
}
