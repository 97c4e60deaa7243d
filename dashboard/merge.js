// Makes a whole snapshot again of a difference and the snapshot to which it is one, both as
// encoded ServerMessages, so that whatever keeps snapshots knows whole ones only.

import { codec, DecodeError, delimited, eachField } from './decode.js';

// Numbers in the schema.
const VERSION = 1, STATE = 2, SUBSYSTEMS = 1, CONNECTION = 1, CONNECTION_ID = 1, DHT = 2;
const BASE = 106, GONE = 107, SAME = 108, COUNTS = 109;
const PARTS = { 102: 'ADDRESSES', 103: 'PROTOCOLS', 104: 'TOPICS', 105: 'RESOURCES' };
const DROPPED = new Set([SUBSYSTEMS, BASE, GONE, SAME, COUNTS]);
const STEP = 256;   // connections at a time

// What makes a message a difference, and where its connections are.
const outline = codec({
  ServerMessage: ['state'], State: ['subsystems', 'base', 'gone_ids', 'same'], Subsystems: ['connections'],
}, 'Subsystems.connections');

// The id of the connection whose encoding is from start up to end, one character per byte.
function idOf(bytes, start, end) {
  let id = '';
  const take = (from, to) => {
    id = '';
    for (let i = from; i < to; i++)
      id += String.fromCharCode(bytes[i]);
  };
  // Most often it comes first, and is short.
  if (bytes[start] === CONNECTION_ID * 8 + 2 && bytes[start + 1] < 128 && start + 2 + bytes[start + 1] <= end)
    take(start + 2, start + 2 + bytes[start + 1]);
  else
    eachField(bytes, start, end, (number, _, from, to) => number === CONNECTION_ID && take(from, to));
  return id;
}

// The fields of a message but connections, as parts of its bytes: [number, bytes] of the
// State, the version, and the DHT.
function fieldsOf(bytes) {
  const all = { version: [], dht: [], state: [] };
  const inState = (number, tag, from, to) => {
    all.state.push([number, bytes.subarray(tag, to)]);
    if (number === SUBSYSTEMS)
      eachField(bytes, from, to, (n, at, _, end) => n === DHT && all.dht.push(bytes.subarray(at, end)));
  };
  eachField(bytes, 0, bytes.length, (number, tag, from, to) => {
    if (number === VERSION)
      all.version.push(bytes.subarray(tag, to));
    else if (number === STATE)
      eachField(bytes, from, to, inState);
  });
  return all;
}

// The sequence of the snapshot to which a message is the difference; 0: it is whole.
export const baseOf = (bytes) => outline.decode('ServerMessage', bytes).state.base;

// Generates nothing but pauses, and returns the whole message. base: the bytes of the whole
// snapshot that baseOf(difference) names; spans: where its connections begin and end in
// them, in turn; ids: theirs. Throws DecodeError when a connection is said to be gone that
// the base has not.
export const merging = function* (base, spans, ids, difference) {
  const { gone_ids: gone, same, subsystems } = outline.decode('ServerMessage', difference).state;
  const fresh = new Map(), left = new Set(gone), parts = [];
  for (let i = 0; i < subsystems.connections.length; i += 2) {
    const [start, end] = [subsystems.connections[i], subsystems.connections[i + 1]];
    fresh.set(idOf(difference, start, end), difference.subarray(start, end));
    if (i % STEP === 0)
      yield;
  }
  for (let i = 0; i < ids.length; i++) {
    if (!left.delete(ids[i])) {
      parts.push(...delimited(CONNECTION, [fresh.get(ids[i]) ?? base.subarray(spans[2 * i], spans[2 * i + 1])]));
      fresh.delete(ids[i]);
    }
    if (i % STEP === 0)
      yield;
  }
  if (left.size)
    throw new DecodeError('a connection goes that was not there', 0);
  for (const bytes of fresh.values())
    parts.push(...delimited(CONNECTION, [bytes]));
  yield;
  const [was, is] = [fieldsOf(base), fieldsOf(difference)];
  const state = [...was.state.filter(([n]) => same.includes(PARTS[n])), ...is.state.filter(([n]) => !DROPPED.has(n))].map(([, bytes]) => bytes);
  parts.push(...same.includes('DHT') ? was.dht : is.dht);
  const head = [...is.version, ...delimited(STATE, [...delimited(SUBSYSTEMS, parts), ...state])];
  const whole = new Uint8Array(head.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (let i = 0; i < head.length; i++) {
    whole.set(head[i], at);
    at += head[i].length;
    if (i % (8 * STEP) === 0)
      yield;
  }
  return whole;
};
