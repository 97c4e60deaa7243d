// One moment of the store, in the terms in which the views speak.

import { clock, duration } from './format.js';
import { networkAt } from './networks.js';
import { agentName, agentVersion, networkOf, openerOf, rowOf } from './row.js';

const FADE = 30_000;        // ms for which a closed connection is still shown
const FADED_MAX = 200;      // of them
const WINDOW = 600_000;     // ms of “10 min”
const LATE = 60_000;        // ms by which a source may be late to tell of a connection

export function group(items, keyOf, start, add) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    let g = groups.get(key);
    if (!g)
      groups.set(key, g = { key, ...start });
    add(g, item);
  }
  return [...groups.values()];
}

// How many items there are of each kind, most first.
export const tally = (items, of) =>
  group(items, of, { n: 0 }, (g) => { g.n++; }).sort((a, b) => b.n - a.n || (a.key < b.key ? -1 : 1));

const trafficOf = ({ traffic_in: i, traffic_out: o }) =>
  ({ rateIn: i.inst_bw, rateOut: o.inst_bw, in: i.cum_bytes, out: o.cum_bytes });

// What is counted, in words: bytes per second now, or bytes in a span of time.
export const SPANS = { now: 'now', '10m': '10 min', total: 'total', range: 'range' };

// By what a list is ordered that is shown by span.
export const heaviest = (by) => by === 'now'
  ? (a, b) => b.rateIn + b.rateOut - a.rateIn - a.rateOut || (a.key < b.key ? -1 : 1)
  : (a, b) => b.movedIn + b.movedOut - a.movedIn - a.movedOut || (a.key < b.key ? -1 : 1);

const NO_NETWORK = 'not in the table';

// How peers and connections can be put together: by AS and country where there is a table of them.
export const GROUPS = {
  agent: ['Agent', (r) => agentName(r.agent) || 'agent not known'],
  version: ['Agent version', (r) => agentVersion(r.agent) || 'agent not known'],
  transport: ['Transport', (r) => r.transport],
  net16: ['Network (IPv4 /16, IPv6 /32)', (r) => networkOf(r.place, 16) || 'no IP address'],
  net24: ['Network (IPv4 /24, IPv6 /32)', (r) => networkOf(r.place, 24) || 'no IP address'],
  as: ['AS', (r) => { const { as, name } = networkAt(r.place); return `${as} ${name}`.trim() || NO_NETWORK; }],
  country: ['Country', (r) => networkAt(r.place).country || NO_NETWORK],
  process: ['Process', (r) => r.process || 'process not known'],
  role: ['Opened by', (r) => r.opener],
  listed: ['Listed by the node', (r) => r.unlisted ? 'known to the kernel alone' : 'listed'],
};

// What each connection moved from one snapshot (its index, -1: from its beginning) to another:
// f is called with the connection's row, and bytes in and out.
export function eachMoved(store, from, to, f) {
  const { snapshots } = store, base = new Map(), first = snapshots[from];
  for (let i = 0; i < (first?.tracks.length ?? 0); i++)
    base.set(first.tracks[i], i);
  const since = (track, bytesIn, bytesOut) => {
    const i = base.get(track);
    // Of what was open but did not move most nothing is known at that time.
    if (i === undefined && first?.partial && track.row.opened < first.ts)
      return;
    // Nor of what had long been open when it was told first: it counts from then on.
    const late = i === undefined && first && track.row.opened && track.row.opened < first.ts - LATE;
    const [wasIn, wasOut] = late ? track.first : i === undefined ? [0, 0] : [first.moved[2 * i], first.moved[2 * i + 1]];
    f(track.row, Math.max(0, bytesIn - wasIn), Math.max(0, bytesOut - wasOut), track);
  };
  const { tracks, moved } = snapshots[to];
  for (let i = 0; i < tracks.length; i++) {
    if (!tracks[i].row.closed || snapshots[to].departed.includes(tracks[i]))
      since(tracks[i], moved[2 * i], moved[2 * i + 1]);
  }
  for (let k = from + 1; k <= to; k++) {
    for (const track of snapshots[k].departed) {
      if (k < to || track.seen !== snapshots[to].order)
        since(track, track.in, track.out);
    }
  }
}

// What each group of connections moved between two snapshots, which does not change any more, by
// kind of groups: { row: one of them, moved: bytes } by key. keyOf: row => key, undefined to leave it out.
const known = new Map();
function movedBefore(store, from, to, kind, keyOf) {
  const { snapshots } = store, which = `${snapshots[from].order} ${snapshots[to].order}`;
  let before = known.get(kind);
  if (before?.which !== which || before.store !== store) {
    if (known.size > 4)
      known.clear();
    known.set(kind, before = { which, store, groups: new Map() });
    eachMoved(store, from, to, (row, movedIn, movedOut) => {
      const key = keyOf(row), g = before.groups.get(key);
      if (g)
        g.moved += movedIn + movedOut;
      else if (key !== undefined)
        before.groups.set(key, { row, moved: movedIn + movedOut });
    });
  }
  return before.groups;
}

// Everything is worked out when first asked for.
export class Moment {
  #known = {};

  // index: of the snapshot in the store. range: [from, to], ms on the store's time line. second:
  // what a span is compared with, a range like that, or how many ms earlier; 0: as long a time
  // before.
  constructor(store, index, range, second = 0) {
    this.store = store;
    this.index = index;
    this.range = range;
    this.compared = second;
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
    return this.#once('rows', () => this.state.subsystems.connections.map((c) => rowOf(c, this.runtime.peer_id)));
  }

  get open() {
    return this.#once('open', () => this.rows.filter((r) => !r.closed));
  }

  // Connections that went away shortly before, or in the range; the newest first.
  get closed() {
    return this.#once('closed', () => {
      const { snapshots } = this.store, all = [];
      const from = this.range?.[0] ?? this.snapshot.at - FADE;
      let more = 0;
      for (let i = this.index; i >= 0 && snapshots[i].at > from; i--) {
        for (const { row } of snapshots[i].departed) {
          if (all.length < FADED_MAX)
            all.push({ ...row, gone: true, closed: true, status: 'CLOSED', rateIn: 0, rateOut: 0, closedAt: snapshots[i].ts });
          else
            more++;
        }
      }
      all.more = more;
      return all;
    });
  }

  // Those in this snapshot and those.
  get fading() {
    return this.#once('fading', () => {
      const here = new Set(this.open.map((r) => r.key));
      const closed = this.closed.filter((r) => !here.has(r.key) && here.add(r.key));
      const told = this.rows.filter((r) => r.closed && !here.has(r.key)).slice(0, FADED_MAX);
      return [...this.open, ...closed, ...told];
    });
  }

  get totals() {
    return trafficOf(this.state.traffic);
  }

  // The first snapshot of a span and how long it is: { from: index, ms }. The past that is
  // held may be shorter than what was asked for.
  span(by) {
    const { snapshots } = this.store, { at } = this.snapshot;
    if (by === 'range' && this.range) {
      const from = this.store.indexAt(this.range[0]);
      return { from, ms: at - snapshots[from].at };
    }
    if (by === 'total')
      return { from: -1, ms: at - this.store.first };
    const from = this.store.indexAt(at - WINDOW);
    return { from, ms: at - snapshots[from].at };
  }

  // What a span really covers, in words.
  spanText(by) {
    if (by === 'now')
      return 'bytes per second now';
    if (by === 'total')
      return 'in all, by what is open now or was seen to close';
    const { ms } = this.span(by);
    return ms < 1000 ? 'nothing is held of the time before' : `in the ${duration(ms)} before${this.against(by)}`;
  }

  // Who is at the other end of connections, with what it moved in a span; the heaviest first.
  // Those gone meanwhile are among them.
  peers(by = 'now') {
    return this.#once(`peers ${by}`, () => {
      const peers = new Map();
      const of = (row) => {
        let p = peers.get(row.peer);
        if (!p)
          peers.set(row.peer, p = {
            key: row.peer, first: row, name: row.name, rows: 0, streams: 0, latency: 0, agent: row.agent, process: row.process,
            opened: 0, rateIn: 0, rateOut: 0, movedIn: 0, movedOut: 0, unlisted: 0, all: [],
          });
        return p;
      };
      for (const r of this.open) {
        const p = of(r);
        p.all.push(r);
        p.rows++;
        p.streams += r.streams;
        p.rateIn += r.rateIn;
        p.rateOut += r.rateOut;
        p.unlisted += r.unlisted;
        p.agent ||= r.agent;
        if (r.latency && (!p.latency || r.latency < p.latency))
          p.latency = r.latency;
        if (r.opened && (!p.opened || r.opened < p.opened))
          p.opened = r.opened;
        if (r.rateIn + r.rateOut > p.first.rateIn + p.first.rateOut)
          p.first = r;
      }
      if (by !== 'now')
        eachMoved(this.store, this.span(by).from, this.index, (row, movedIn, movedOut) => {
          const p = of(row);
          p.movedIn += movedIn;
          p.movedOut += movedOut;
        });
      this.compare(by, 'peer', (r) => r.peer, peers, of);
      for (const p of peers.values())
        p.gone = p.rows === 0;
      return [...peers.values()].sort(heaviest(by));
    });
  }

  // How many peers have an open connection.
  get peerCount() {
    return this.snapshot.peers;
  }

  // Bucket and status of each peer in the routing table.
  get dhtPeers() {
    return this.#once('dhtPeers', () => new Map(this.state.subsystems.dht.buckets.flatMap((b) =>
      b.peers.map((p) => [p.peer_id, { cpl: b.cpl, status: p.status, age: p.age_in_bucket }]))));
  }

  // Peer IDs with an open connection.
  get connected() {
    return this.#once('connected', () => new Set(this.open.map((r) => r.c.peer_id)));
  }

  // The topics in whose mesh a peer is, by its ID.
  get topicsOf() {
    return this.#once('topicsOf', () => {
      const topics = new Map();
      for (const t of this.state.topics)
        for (const p of t.mesh_peer_ids)
          topics.has(p) ? topics.get(p).push(t.name) : topics.set(p, [t.name]);
      return topics;
    });
  }

  get streams() {
    return this.#once('streams', () => this.open.flatMap((r) => r.c.streams.streams.map((s, i) => {
      const gone = s.status === 'CLOSED', { traffic_in, traffic_out } = s.traffic;
      return {
        s, row: r, key: `${r.key} ${s.id || i}`, protocol: s.protocol || 'not negotiated yet', name: r.name,
        opener: openerOf(s), status: s.status, opened: s.timeline.open_ts, latency: s.latency_ns, gone,
        rateIn: gone ? 0 : traffic_in.inst_bw, rateOut: gone ? 0 : traffic_out.inst_bw,
        in: traffic_in.cum_bytes, out: traffic_out.cum_bytes,
      };
    })));
  }

  // Bytes in and out of a protocol at a snapshot, since the first one for from = -1.
  #protocolMoved(name, from, { protocols: now } = this.snapshot) {
    const at = 2 * this.store.protocolNames.indexOf(name);
    const then = from < 0 ? [] : this.store.snapshots[from].protocols;
    return at < 0 ? { movedIn: 0, movedOut: 0 }
      : { movedIn: Math.max(0, now[at] - (then[at] ?? 0)), movedOut: Math.max(0, now[at + 1] - (then[at + 1] ?? 0)) };
  }

  // The protocols of open streams, or those of which the node tells, with what they moved in
  // a span; the heaviest first.
  protocols(by = 'now') {
    return this.#once(`protocols ${by}`, () => {
      const list = this.state.protocols.length
        ? this.state.protocols.map((p) => ({ key: p.protocol, streams: p.streams, ...trafficOf(p.traffic) }))
        : group(this.streams, (s) => s.protocol, { streams: 0, rateIn: 0, rateOut: 0 }, (p, s) => {
          p.rateIn += s.rateIn;
          p.rateOut += s.rateOut;
          p.streams += !s.gone;
        });
      const { from } = this.span(by), second = this.second(by);
      for (const p of list) {
        if (by !== 'now')
          Object.assign(p, this.#protocolMoved(p.key, from));
        if (second.held) {
          const { movedIn, movedOut } = this.#protocolMoved(p.key, second.from, this.store.snapshots[second.to]);
          p.was = (movedIn + movedOut) * second.scale;
        }
      }
      return list.sort(heaviest(by));
    });
  }

  // What each open connection, and each that closed lately, moved in a span, by its key: { movedIn, movedOut, was }.
  connections(by) {
    return this.#once(`connections ${by}`, () => {
      const list = new Map();
      const of = ({ key }) => list.get(key) ?? list.set(key, { movedIn: 0, movedOut: 0 }).get(key);
      eachMoved(this.store, this.span(by).from, this.index, (row, movedIn, movedOut) => {
        const c = of(row);
        c.movedIn += movedIn;
        c.movedOut += movedOut;
      });
      this.compare(by, 'connection', (r) => r.key, list, of);
      return list;
    });
  }

  // Tells each of groups, a Map by what keyOf tells of a row, what it moved in the time with which
  // the span is compared, if most of that is held: was, bytes, as if it were as long. kind: of the groups. of: called with
  // a row, makes a group that is there no more.
  compare(by, kind, keyOf, groups, of) {
    const { held, from, to, scale } = this.second(by);
    if (!held)
      return;
    for (const g of groups.values())
      g.was = 0;
    for (const { row, moved } of movedBefore(this.store, from, to, kind, keyOf).values())
      of(row).was = moved * scale;
  }

  // The time with which a span is compared, in words; empty when it is with none.
  against(by) {
    const { held, from, to } = this.second(by), { snapshots } = this.store, time = (i) => clock(snapshots[i].ts);
    return held ? `, against ${time(from)} to ${time(to)}` : '';
  }

  // The time with which a span is compared: { from, to: indices, start, end: ms on the store's
  // time line, held: whether most of it is held, scale: how many times as long the span is }.
  second(by) {
    if (by === 'now' || by === 'total')
      return { held: false };
    const { snapshots } = this.store, { from, ms } = this.span(by), earlier = this.compared || ms, { at } = snapshots[from];
    const [start, end] = Array.isArray(earlier) ? earlier : [at - earlier, this.snapshot.at - earlier];
    const first = this.store.indexAt(start), to = this.store.indexAt(end);
    const length = snapshots[to].at - snapshots[first].at;
    return { from: first, to, start, end, scale: ms / length, held: first < to && length > (end - start) / 2 };
  }

  // The State at the end of the time with which a span is compared, without connections; undefined
  // when none is, or not the whole of it was remembered.
  then(by) {
    const { held, to } = this.second(by), snapshot = this.store.snapshots[to];
    return held && !snapshot.partial ? this.store.outline(snapshot) : undefined;
  }

  // How many connections opened and closed in a span, or from one snapshot to another.
  churn(by, from = this.span(by).from, to = this.index) {
    const { snapshots } = this.store;
    let opened = 0, closed = 0;
    for (let i = from + 1; i <= to; i++) {
      opened += snapshots[i].opened;
      closed += snapshots[i].closed;
    }
    return { opened, closed };
  }

  // How many connections closed in a span, by the reason that was told; most first.
  reasons(by) {
    const departed = [];
    for (let i = this.span(by).from + 1; i <= this.index; i++)
      departed.push(...this.store.snapshots[i].departed.slice(0, 1000));
    return tally(departed.filter((t) => t.row.c.close_reason), (t) => t.row.c.close_reason);
  }

  // How many open connections there are of each kind, most first.
  tally(of) {
    return tally(this.open, of);
  }

  // What was known when this snapshot was taken, the newest last.
  get events() {
    return this.#once('events', () => {
      const next = this.store.snapshots[this.index + 1];
      const all = this.store.events;
      return next ? all.filter((e) => e.at <= this.snapshot.at) : [...all];
    });
  }
}
