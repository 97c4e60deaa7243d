// Makes a whole snapshot again of a difference and the snapshot to which it is one, both as
// encoded ServerMessages, so that whatever keeps snapshots knows whole ones only.

import { DecodeError, decode, delimited, eachField } from './decode.js';

// Numbers in the schema.
const VERSION = 1, STATE = 2, SUBSYSTEMS = 1, CONNECTION = 1, CONNECTION_ID = 1, DHT = 2;
const BASE = 106, GONE = 107, SAME = 108, COUNTS = 109;
const PARTS = { 102: 'ADDRESSES', 103: 'PROTOCOLS', 104: 'TOPICS', 105: 'RESOURCES' };
const DROPPED = new Set([BASE, GONE, SAME, COUNTS]);

const latin = (bytes, from, to) => {
  let s = '';
  for (let i = from; i < to; i++)
    s += String.fromCharCode(bytes[i]);
  return s;
};

// The fields of a message as parts of its bytes: connections by id (tag and all), the DHT,
// the version, and the fields of the State with their numbers.
function split(bytes) {
  const parts = { version: [], connections: new Map(), dht: [], fields: [] };
  const subsystems = (from, to) => eachField(bytes, from, to, (number, tag, start, end) => {
    if (number !== CONNECTION)
      return parts.dht.push(bytes.subarray(tag, end));
    let id = '';
    eachField(bytes, start, end, (n, _, idFrom, idTo) => {
      if (n === CONNECTION_ID)
        id = latin(bytes, idFrom, idTo);
    });
    return parts.connections.set(id, bytes.subarray(tag, end));
  });
  eachField(bytes, 0, bytes.length, (number, tag, from, to) => {
    if (number === VERSION)
      parts.version.push(bytes.subarray(tag, to));
    else if (number === STATE)
      eachField(bytes, from, to, (n, at, start, end) => n === SUBSYSTEMS ? subsystems(start, end)
        : parts.fields.push([n, bytes.subarray(at, end)]));
  });
  return parts;
}

// The sequence of the snapshot to which a message is the difference; 0: it is whole.
export function baseOf(bytes) {
  let base = 0;
  eachField(bytes, 0, bytes.length, (number, _, from, to) => {
    if (number !== STATE)
      return;
    eachField(bytes, from, to, (n, tag, start, end) => {
      if (n === BASE)
        base = decode('State', bytes, tag, end).base;
    });
  });
  return base;
}

function concat(parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// base: the whole snapshot with the sequence that baseOf(difference) names. Throws
// DecodeError when a connection is said to be gone that the base has not.
export function merge(base, difference) {
  const old = split(base), fresh = split(difference);
  const { gone_ids, same } = decode('ServerMessage', difference).state;
  for (const id of gone_ids) {
    if (!old.connections.delete(id))
      throw new DecodeError('a connection goes that was not there', 0);
  }
  for (const [id, bytes] of fresh.connections)
    old.connections.set(id, bytes);
  const kept = old.fields.filter(([n]) => same.includes(PARTS[n]));
  const dht = same.includes('DHT') ? old.dht : fresh.dht;
  return concat([
    ...fresh.version,
    ...delimited(STATE, [
      ...delimited(SUBSYSTEMS, [...old.connections.values(), ...dht]),
      ...[...kept, ...fresh.fields.filter(([n]) => !DROPPED.has(n))].map(([, bytes]) => bytes),
    ]),
  ]);
}
