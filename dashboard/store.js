// What was received, as it was received: encoded messages in order, the oldest
// dropped once they exceed a cap in bytes. States are decoded when asked for.

import { codec, decode, encode } from './decode.js';

export const CAP = 32 * 2 ** 20;   // bytes; half an hour of a node with 70 connections
const DECODED_CAP = 4 * 2 ** 20;   // bytes, encoded, of the states kept decoded

// What the charts of all snapshots need, so that adding one stays cheap.
const outline = codec({
  ServerMessage: ['state', 'runtime', 'event'],
  State: ['subsystems', 'traffic', 'instant_ts', 'sequence', 'runtime'],
  Subsystems: ['connections', 'dht'],
  Traffic: ['traffic_in', 'traffic_out'],
  DataGauge: ['inst_bw'],
  Connection: ['status', 'streams'],
  StreamList: ['streams', 'stream_ids'],
  DHT: ['buckets'],
  'DHT.Bucket': ['peers'],
  Runtime: ['implementation', 'version', 'platform', 'peer_id', 'event_types', 'source', 'hostname', 'interval_ms'],
  EventType: ['name', 'property_types'],
  'EventType.EventProperty': ['name', 'type', 'has_multiple'],
  Event: ['type', 'ts', 'content'],
});

// Just enough to find one connection again in every snapshot.
const track = codec({
  ServerMessage: ['state'],
  State: ['subsystems'],
  Subsystems: ['connections'],
  Connection: ['id', 'traffic', 'latency_ns'],
  Traffic: ['traffic_in', 'traffic_out'],
  DataGauge: ['inst_bw'],
});

const sum = (list, f) => list.reduce((n, x) => n + f(x), 0);

export class Store {
  snapshots = [];   // { bytes, at, order, ts, sequence, rateIn, rateOut, connections, streams, dht, runtime }
  events = [];      // { bytes, at, order, ts, name, content }
  bytes = 0;        // of both
  dropped = 0;      // snapshots that went over the cap
  #cap;
  #order = 0;
  #runtime;         // the newest message that was a runtime alone: { bytes, value }
  #types = new Map();
  #decoded = new Map();

  constructor(cap = CAP) {
    this.#cap = cap;
  }

  // Takes an encoded ServerMessage. at: ms, when it came; without, the times
  // in the messages themselves make the time line. Returns the snapshot, the
  // event, or undefined for a message of another kind, and for the newest snapshot come
  // again, as it does to a new socket. Throws DecodeError.
  add(bytes, at) {
    const message = outline.decode('ServerMessage', bytes);
    const item = { bytes, order: this.#order++ };
    if (Object.hasOwn(message, 'runtime')) {
      this.#runtime = { bytes, value: message.runtime };
      return undefined;
    }
    if (Object.hasOwn(message, 'event'))
      this.#addEvent(item, message.event, at);
    else if (Object.hasOwn(message, 'state') && !this.#isHeld(message.state))
      this.#addState(item, message.state, at);
    else
      return undefined;
    this.bytes += bytes.length;
    this.#evict();
    return item;
  }

  #isHeld({ sequence, instant_ts }) {
    const last = this.snapshots.at(-1);
    return sequence > 0 && sequence === last?.sequence && instant_ts === last.ts;
  }

  #addState(item, state, at) {
    const { connections, dht } = state.subsystems;
    const open = connections.filter((c) => c.status !== 'CLOSED');
    const last = this.snapshots.at(-1);
    Object.assign(item, {
      at: Math.max(at ?? state.instant_ts, last?.at ?? 0),
      ts: state.instant_ts,
      sequence: state.sequence,
      rateIn: state.traffic.traffic_in.inst_bw,
      rateOut: state.traffic.traffic_out.inst_bw,
      connections: open.length,
      streams: sum(open, (c) => c.streams.streams.length || c.streams.stream_ids.length),
      dht: sum(dht.buckets, (b) => b.peers.length),
      runtime: Object.hasOwn(state, 'runtime') ? state.runtime : this.#runtime?.value ?? state.runtime,
    });
    this.snapshots.push(item);
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
  }

  #evict() {
    while (this.bytes > this.#cap && this.snapshots.length + this.events.length > 1) {
      const [s, e] = [this.snapshots[0], this.events[0]];
      const oldest = !e || s?.order < e.order ? this.snapshots.shift() : this.events.shift();
      this.bytes -= oldest.bytes.length;
      if (oldest === s) {
        this.#decoded.delete(s);
        this.dropped++;
      }
    }
  }

  // The State of a snapshot, whole.
  state(snapshot) {
    let state = this.#decoded.get(snapshot);
    if (!state) {
      state = decode('ServerMessage', snapshot.bytes).state;
      let kept = sum([...this.#decoded.keys()], (s) => s.bytes.length);
      for (const old of this.#decoded.keys()) {
        if (kept + snapshot.bytes.length <= DECODED_CAP || this.#decoded.size < 2)
          break;
        this.#decoded.delete(old);
        kept -= old.bytes.length;
      }
      this.#decoded.set(snapshot, state);
    }
    return state;
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

  // What one connection did in a snapshot; undefined when it was not there.
  track(snapshot, id) {
    const state = track.decode('ServerMessage', snapshot.bytes).state;
    return state.subsystems.connections.find((c) => c.id === id);
  }

  // The messages of a recording, in order; the runtime comes first.
  messages() {
    const items = [...this.snapshots, ...this.events].sort((a, b) => a.order - b.order);
    const runtime = this.#runtime?.bytes ??
      encode('ServerMessage', { version: { version: 1 }, runtime: this.snapshots[0]?.runtime ?? {} });
    return [runtime, ...items.map((item) => item.bytes)];
  }
}
