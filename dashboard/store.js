// What was received, as it was received: encoded messages in order. Over a cap in bytes the
// past thins, then ends. States are decoded when asked for.

import { DecodeError, codec, decode, encode } from './decode.js';
import { baseOf, merging } from './merge.js';
import { rowOf } from './row.js';

export const CAP = 32 * 2 ** 20;     // bytes; half an hour of a node with 70 connections
const DECODED_CAP = 4 * 2 ** 20;     // bytes, encoded, of the states kept decoded
const EVENTS_CAP = 1 / 4;            // of the cap
const TRACKS_MAX = 5000;             // closed connections that are remembered
const PROTOCOLS_MAX = 500;           // by name; those that come later are one
const OTHER = 'other protocols';
const SLICE = 8;                     // ms of reading at a time
const STEP = 64;                     // connections between looks at the clock

// How far apart snapshots are left, in ms, by how much of the cap is newer than they.
const THIN = [[0.5, 0], [0.75, 10_000], [Infinity, 60_000]];

// All but the connections, which are read one by one.
const envelope = codec(undefined, 'Subsystems.connections');

const sum = (list, f) => list.reduce((n, x) => n + f(x), 0);

function equal(a, from, b, start, end) {
  for (let i = start; i < end; i++, from++) {
    if (a[from] !== b[i])
      return false;
  }
  return true;
}

// Pauses only when a slice of time has passed.
function* paced(work) {
  for (let until = performance.now() + SLICE; ;) {
    const { done, value } = work.next();
    if (done)
      return value;
    if (performance.now() > until) {
      yield;
      until = performance.now() + SLICE;
    }
  }
}

// Runs to its end at once what can be run in slices.
function finish(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done)
      return value;
  }
}

// The same, with a pause after each slice.
async function inSlices(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done)
      return value;
    await new Promise((resolve) => { setTimeout(resolve); });
  }
}

// A connection from when it was first seen to when it was seen last.
class Track {
  constructor(row) {
    this.row = row;
    this.in = row.in;
    this.out = row.out;
    this.first = [row.in, row.out];
    this.streams = undefined;   // Map: bytes in and out by id of the stream
    this.seen = 0;              // number of the snapshot
    this.closed = row.closed;
  }
}

export class Store {
  // { bytes, at, order, ts, sequence, rateIn, rateOut, connections, peers, streams, dht,
  //   runtime, rare: whether it was asked for later than usual,
  //   partial: whether only those connections are in it that moved most,
  //   tracks, moved: of each connection, and its bytes in and out so far, in turn,
  //   opened, closed: how many since the snapshot before, but for those that the node does not list; departed: Tracks of those closed,
  //   protocols: bytes in and out so far by protocol, in the order of protocolNames }
  snapshots = [];
  events = [];      // { bytes, at, order, ts, name, content }
  bytes = 0;        // of both
  first = 0;        // at of the first snapshot ever; 0: none
  protocolNames = [];
  pinned = [];      // snapshots that are looked at and must stay
  restored = false; // what the browser kept was put in
  #eventBytes = 0;
  #cap;
  #order = 0;
  #runtime;         // the newest message that was a runtime alone: { bytes, value }
  #types = new Map();
  #decoded = new Map();
  #outline;                // [snapshot, State] of the one asked for last
  #last = { bytes: undefined, spans: [], connections: [] };   // read last
  #tracks = new Map();     // of the last snapshot, by key
  #departed = [];          // snapshots whose departed are kept, the oldest first
  #departedCount = 0;
  #protocols = new Map();  // name: index
  #moved = [];             // bytes in and out by protocol, so far

  constructor(cap = CAP) {
    this.#cap = cap;
  }

  // The sequence of the snapshot that was taken last, to which a difference may be: 0, none.
  get have() {
    const last = this.snapshots.at(-1);
    return last && !last.partial && last.bytes === this.#last.bytes ? last.sequence : 0;
  }

  // Takes an encoded ServerMessage, a difference to the snapshot taken last included. at: ms, when it came; without, the times
  // in the messages themselves make the time line. Returns the snapshot, the
  // event, or undefined for a message of another kind, and for the newest snapshot come
  // again, as it does to a new socket. Throws DecodeError.
  add(bytes, at, rare = false) {
    return finish(this.#adding(bytes, at, rare));
  }

  // The same without keeping the page from anything else. One at a time.
  addInSlices(bytes, at, rare = false) {
    return inSlices(this.#adding(bytes, at, rare));
  }

  *#adding(received, at, rare) {
    const base = baseOf(received);
    if (base && base !== this.have)
      throw new DecodeError('a difference to a snapshot that is not here', 0);
    const { bytes: held, spans, connections } = this.#last;
    const bytes = base ? yield* paced(merging(held, spans, connections.map((c) => c.id), received)) : received;
    const message = envelope.decode('ServerMessage', bytes);
    const item = { bytes, order: this.#order++ };
    if (Object.hasOwn(message, 'runtime')) {
      this.#runtime = { bytes, value: message.runtime };
      return undefined;
    }
    if (Object.hasOwn(message, 'event'))
      this.#addEvent(item, message.event, at);
    else if (Object.hasOwn(message, 'state') && !this.#isHeld(message.state))
      yield* this.#addState(Object.assign(item, { rare }), message.state, at);
    else
      return undefined;
    this.bytes += bytes.length;
    this.#evict();
    return item;
  }

  #isHeld({ sequence, instant_ts }) {
    const last = this.snapshots.at(-1);
    return sequence > 0 && sequence === last?.sequence && instant_ts === last.ts && !last.partial;
  }

  *#addState(item, state, at) {
    const runtime = Object.hasOwn(state, 'runtime') ? state.runtime : this.#runtime?.value ?? state.runtime;
    yield* this.#readConnections(item.bytes, state);
    const { connections, dht } = state.subsystems;
    const last = this.snapshots.at(-1), n = connections.length;
    Object.assign(item, {
      runtime, opened: 0, closed: 0, departed: [], tracks: new Array(n), moved: new Float64Array(2 * n),
    });
    // Where the node itself counts, closed streams included, that is what counts.
    const peers = new Set(), told = state.protocols.length;
    let streams = 0, open = 0, until = performance.now() + SLICE;
    for (let i = 0; i < n; i++) {
      const row = rowOf(connections[i], runtime.peer_id);
      this.#follow(item, row, i, !told);
      if (!row.closed) {
        open++;
        streams += row.streams;
        peers.add(row.peer);
      }
      if (i % STEP === 0 && performance.now() > until) {
        yield;
        until = performance.now() + SLICE;
      }
    }
    // What a part does not name may still be there.
    const { counts } = state, partial = Object.hasOwn(state, 'counts');
    if (!partial)
      this.#depart(item);
    if (partial || !last || last.partial)
      item.opened = 0;
    this.#countProtocols(state.protocols);
    Object.assign(item, {
      at: Math.max(at ?? state.instant_ts, last?.at ?? 0),
      ts: state.instant_ts,
      sequence: state.sequence,
      rateIn: state.traffic.traffic_in.inst_bw,
      rateOut: state.traffic.traffic_out.inst_bw,
      partial,
      connections: partial ? counts.connections : open,
      streams: partial ? counts.streams : streams,
      peers: partial ? counts.peers : peers.size,
      dht: partial ? counts.dht_peers : sum(dht.buckets, (b) => b.peers.length),
      protocols: Float64Array.from(this.#moved),
    });
    this.first ||= item.at;
    this.snapshots.push(item);
    this.#keepDecoded(item, state);
  }

  // Puts the connections into a State of which `envelope` left only their places. Those that
  // have the bytes which they had in the State read last are the same objects.
  *#readConnections(bytes, state) {
    const spans = state.subsystems.connections, before = this.#last;
    const connections = new Array(spans.length / 2);
    let index, until = performance.now() + SLICE;
    for (let i = 0, j = 0; i < connections.length; i++, j++) {
      const start = spans[2 * i], end = spans[2 * i + 1], from = before.spans[2 * j];
      if (end - start === before.spans[2 * j + 1] - from && equal(before.bytes, from, bytes, start, end)) {
        connections[i] = before.connections[j];
      } else {
        const c = connections[i] = decode('Connection', bytes, start, end);
        if (before.connections[j]?.id !== c.id) {
          index ??= new Map(before.connections.map((old, at) => [old.id, at]));
          j = index.get(c.id) ?? j;
        }
      }
      if (i % STEP === 0 && performance.now() > until) {
        yield;
        until = performance.now() + SLICE;
      }
    }
    if (Object.hasOwn(state, 'subsystems'))
      state.subsystems.connections = connections;
    this.#last = { bytes, spans, connections };
  }

  #follow(item, row, i, byStreams) {
    let track = this.#tracks.get(row.key);
    if (!track || track.closed && !row.closed) {
      track = new Track(row);
      this.#tracks.set(row.key, track);
      if (!row.closed && !row.unlisted)
        item.opened++;
      if (byStreams)
        this.#countStreams(track, row);
    } else if (track.row !== row) {
      if (byStreams)
        this.#countStreams(track, row);
      if (row.closed && !track.closed) {
        item.closed += !row.unlisted;
        item.departed.push(track);
      }
      Object.assign(track, { row, in: row.in, out: row.out, closed: row.closed });
    }
    track.seen = item.order;
    item.tracks[i] = track;
    item.moved[2 * i] = row.in;
    item.moved[2 * i + 1] = row.out;
  }

  // Those of the snapshot before that are not in this one.
  #depart(item) {
    if (this.#tracks.size > item.tracks.length || item.opened) {
      for (const [key, track] of this.#tracks) {
        if (track.seen === item.order)
          continue;
        this.#tracks.delete(key);
        if (!track.closed) {
          item.closed += !track.row.unlisted;
          item.departed.push(track);
          track.closed = true;
        }
      }
    }
    if (!item.departed.length)
      return;
    this.#departed.push(item);
    this.#departedCount += item.departed.length;
    while (this.#departedCount > TRACKS_MAX && this.#departed.length > 1) {
      const oldest = this.#departed.shift();
      this.#departedCount -= oldest.departed.length;
      oldest.departed = [];
    }
  }

  #protocol(name) {
    let at = this.#protocols.get(name);
    if (at === undefined && this.#protocols.size >= PROTOCOLS_MAX)
      [name, at] = [OTHER, this.#protocols.get(OTHER)];
    if (at === undefined) {
      this.#protocols.set(name, at = this.#protocols.size);
      this.protocolNames.push(name);
      this.#moved.push(0, 0);
    }
    return at;
  }

  // What the streams of one connection moved since they were seen last.
  #countStreams(track, { c }) {
    const before = track.streams, now = c.streams.streams.length ? new Map() : undefined;
    for (const { id, protocol, traffic: { traffic_in, traffic_out } } of c.streams.streams) {
      const [wasIn, wasOut] = before?.get(id) ?? [0, 0], at = 2 * this.#protocol(protocol || 'not negotiated yet');
      this.#moved[at] += Math.max(0, traffic_in.cum_bytes - wasIn);
      this.#moved[at + 1] += Math.max(0, traffic_out.cum_bytes - wasOut);
      now.set(id, [traffic_in.cum_bytes, traffic_out.cum_bytes]);
    }
    track.streams = now;
  }

  #countProtocols(protocols) {
    for (const { protocol, traffic: { traffic_in, traffic_out } } of protocols) {
      const at = 2 * this.#protocol(protocol);
      this.#moved[at] = traffic_in.cum_bytes;
      this.#moved[at + 1] = traffic_out.cum_bytes;
    }
  }

  #addEvent(item, event, at) {
    if (event.type.property_types.length)
      this.#types.set(event.type.name, event.type);
    Object.assign(item, {
      at: Math.max(at ?? event.ts, 0),
      ts: event.ts,
      name: event.type.name,
      content: event.content,
    });
    this.events.push(item);
    this.#eventBytes += item.bytes.length;
  }

  #evict() {
    while (this.bytes > this.#cap && this.snapshots.length + this.events.length > 1) {
      const { length } = this.events;
      if (length && (this.#eventBytes > this.#cap * EVENTS_CAP && length > 1 || this.snapshots.length < 2)) {
        const { bytes } = this.events.shift();
        this.bytes -= bytes.length;
        this.#eventBytes -= bytes.length;
      } else if (!this.#drop(this.#spare())) {
        break;
      }
    }
  }

  // The index of the snapshot that will be missed least: one that is closer to its neighbours
  // than its age deserves, else the oldest; the first and the newest stay as long as can be.
  #spare() {
    const { snapshots } = this;
    let newer = this.bytes - this.#eventBytes;
    for (let i = 1; i < snapshots.length - 1; i++) {
      newer -= snapshots[i - 1].bytes.length;
      const apart = THIN.find(([part]) => newer <= part * this.#cap)[1];
      if (!apart)
        break;
      if (snapshots[i + 1].at - snapshots[i - 1].at <= apart && !this.pinned.includes(snapshots[i]))
        return i;
    }
    return snapshots.findIndex((s, i) => i < snapshots.length - 1 && !this.pinned.includes(s));
  }

  // What happened before a snapshot that goes is told by the next one.
  #drop(i) {
    if (i < 0)
      return false;
    const [gone] = this.snapshots.splice(i, 1), next = this.snapshots[i];
    this.bytes -= gone.bytes.length;
    this.#decoded.delete(gone);
    if (i > 0) {
      next.opened += gone.opened;
      next.closed += gone.closed;
      next.departed = [...gone.departed, ...next.departed];
      const at = this.#departed.indexOf(gone);
      if (at >= 0 && !this.#departed.includes(next))
        this.#departed.splice(at, 1, next);
      else if (at >= 0)
        this.#departed.splice(at, 1);
    } else if (this.#departed[0] === gone) {
      this.#departed.shift();
      this.#departedCount -= gone.departed.length;
    }
    return true;
  }

  #keepDecoded(snapshot, state) {
    let kept = sum([...this.#decoded.keys()], (s) => s.bytes.length);
    for (const old of this.#decoded.keys()) {
      if (kept + snapshot.bytes.length <= DECODED_CAP || this.#decoded.size < 2)
        break;
      this.#decoded.delete(old);
      kept -= old.bytes.length;
    }
    this.#decoded.set(snapshot, state);
  }

  // The State of a snapshot, whole.
  state(snapshot) {
    let state = this.#decoded.get(snapshot);
    if (!state)
      this.#keepDecoded(snapshot, state = decode('ServerMessage', snapshot.bytes).state);
    return state;
  }

  // The same without its connections, which are most of the work.
  outline(snapshot) {
    if (this.#outline?.[0] !== snapshot)
      this.#outline = [snapshot, envelope.decode('ServerMessage', snapshot.bytes).state];
    return this.#outline[1];
  }

  // The shape of a kind of event, from the event itself or from the runtime.
  eventType(name, runtime) {
    return this.#types.get(name) ?? runtime?.event_types.find((t) => t.name === name);
  }

  // The index of the snapshot that came last at or before a time; 0 at least.
  indexAt(at) {
    let low = 0, high = this.snapshots.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.snapshots[middle].at <= at)
        low = middle + 1;
      else
        high = middle;
    }
    return Math.max(0, low - 1);
  }

  // The messages of a recording, in order; the runtime comes first.
  messages() {
    const items = [...this.snapshots, ...this.events].sort((a, b) => a.order - b.order);
    const runtime = this.#runtime?.bytes ??
      encode('ServerMessage', { version: { version: 1 }, runtime: this.snapshots[0]?.runtime ?? {} });
    return [runtime, ...items.map((item) => item.bytes)];
  }
}
