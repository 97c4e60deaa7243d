// A protobuf reader and writer that follows the tables of schema.js.
//
// Names are those of the .proto. Numbers above 2^53 lose their lowest bits.
// `bytes` become strings with one character per byte, so that ids can be
// compared and used as keys. Enum values are their names, unknown ones numbers.
// A field that was not sent reads as its default, a message as one full of
// defaults; Object.hasOwn tells the two apart.

import * as whole from './schema.js';

const DEPTH_MAX = 50;
const VARINT = 0, FIXED64 = 1, LENGTH = 2, GROUP = 3, GROUP_END = 4, FIXED32 = 5;

// What is wrong with the bytes, and at which of them.
export class DecodeError extends Error {
  constructor(what, offset) {
    super(`${what} at byte ${offset}`);
    this.offset = offset;
  }
}

const NONE = Object.freeze([]);   // what a repeated field without values reads as
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
let buf, pos;   // of the message being read; nothing here yields

function varint() {
  let byte = buf[pos++];
  if (byte < 128)
    return byte;
  let value = byte & 127;
  for (let i = 1, scale = 128; i < 10; i++, scale *= 128) {
    byte = buf[pos++];
    if (byte === undefined)
      break;
    value += (byte & 127) * scale;
    if (byte < 128)
      return value;
  }
  throw new DecodeError('bad number', pos);
}

function length(end) {
  const len = varint();
  if (len > end - pos)
    throw new DecodeError('a length runs past the end', pos);
  return pos + len;
}

// Strings come again in every snapshot: those of the last ones are kept, by hash.
const KNOWN = new Array(2 ** 16).fill('');
const KNOWN_LENGTH_MAX = 128;

function isNext(s, start, end) {
  if (s.length !== end - start)
    return false;
  for (let i = start; i < end; i++) {
    if (s.charCodeAt(i - start) !== buf[i])
      return false;
  }
  return true;
}

function string(end, binary) {
  const start = pos;
  pos = end;
  let hash = 0, all = 0;
  for (let i = start; i < end; i++) {
    hash = Math.imul(hash, 31) + buf[i];
    all |= buf[i];
  }
  if (all > 127 && !binary)
    return utf8.decode(buf.subarray(start, end));
  const slot = (hash ^ hash >>> 16) & KNOWN.length - 1;
  if (isNext(KNOWN[slot], start, end))
    return KNOWN[slot];
  let s = '';
  for (let i = start; i < end; i += 8192)
    s += String.fromCharCode.apply(null, buf.subarray(i, Math.min(end, i + 8192)));
  if (s.length <= KNOWN_LENGTH_MAX)
    KNOWN[slot] = s;
  return s;
}

function skip(wire, number, end, depth) {
  if (wire === VARINT)
    varint();
  else if (wire === FIXED64)
    pos += 8;
  else if (wire === LENGTH)
    pos = length(end);
  else if (wire === FIXED32)
    pos += 4;
  else if (wire === GROUP && depth < DEPTH_MAX)
    for (;;) {
      const tag = varint();
      if ((tag & 7) === GROUP_END && Math.floor(tag / 8) === number)
        return;
      skip(tag & 7, Math.floor(tag / 8), end, depth + 1);
    }
  else
    throw new DecodeError(`bad field ${number}`, pos);
}

function scalar(field) {
  const value = varint();
  if (field.kind === 'uint32')
    return value % 2 ** 32;
  if (field.kind === 'bool')
    return value !== 0;
  return field.names?.[value] ?? value;
}

// A repeated number may come as one field with all of them.
function packed(field, target, end) {
  const values = [];
  while (pos < end)
    values.push(scalar(field));
  target[field.name] = target[field.name].concat(values);
}

function readMessage(type, target, end, depth) {
  if (depth > DEPTH_MAX)
    throw new DecodeError('nested too deep', pos);
  if (!type.count)
    pos = end;
  while (pos < end) {
    const tag = varint(), wire = tag & 7, number = Math.floor(tag / 8);
    const field = type.fields[number];
    if (!number)
      throw new DecodeError('field number 0', pos);
    if (field?.repeated && field.wire === VARINT && wire === LENGTH) {
      packed(field, target, length(end));
      continue;
    }
    if (!field || field.wire !== wire) {
      skip(wire, number, end, depth);
      continue;
    }
    let value;
    if (wire === VARINT) {
      value = scalar(field);
    } else {
      const stop = length(end);
      if (field.raw) {
        if (target[field.name] === NONE)
          target[field.name] = [];
        target[field.name].push(pos, stop);
        pos = stop;
        continue;
      }
      if (field.message) {
        const before = field.repeated ? field.message.defaults : target[field.name];
        value = before !== field.message.defaults ? before : Object.create(field.message.defaults);
        readMessage(field.message, value, stop, depth + 1);
      } else {
        value = string(stop, field.kind === 'bytes');
      }
    }
    if (field.repeated) {
      if (target[field.name] === NONE)
        target[field.name] = [value];
      else
        target[field.name].push(value);
    } else {
      if (field.others.length) {
        for (const other of field.others)
          delete target[other];
      }
      target[field.name] = value;
    }
  }
  if (pos > end)
    throw new DecodeError('a field runs past the end', end);
}

// Calls f with each field of an encoded message from start up to end: its number, where its
// tag begins, and where its value begins and ends. Throws DecodeError.
export function eachField(bytes, start, end, f) {
  [buf, pos] = [bytes, start];
  while (pos < end) {
    const tag = pos, head = varint(), wire = head & 7, number = Math.floor(head / 8);
    let from = pos;
    if (wire === LENGTH) {
      const stop = length(end);
      from = pos;
      pos = stop;
    } else {
      skip(wire, number, end, 0);
    }
    const after = pos;
    f(number, tag, from, after);
    [buf, pos] = [bytes, after];
  }
  buf = undefined;
  if (pos > end)
    throw new DecodeError('a field runs past the end', end);
}

// The bytes of a length-delimited field, whose value is made of parts (Uint8Arrays).
export function delimited(number, parts) {
  const head = [];
  writeVarint(head, number * 8 + LENGTH);
  writeVarint(head, parts.reduce((n, p) => n + p.length, 0));
  return [Uint8Array.from(head), ...parts];
}

function writeVarint(out, value) {
  for (; value > 127; value = Math.floor(value / 128))
    out.push(value % 128 | 128);
  out.push(value);
}

function writeMessage(type, value) {
  const out = [];
  for (const [number, field] of Object.entries(type.fields)) {
    const here = Object.hasOwn(value, field.name) && value[field.name];
    for (const item of field.repeated ? here || [] : here ? [here] : []) {
      writeVarint(out, number * 8 + field.wire);
      if (field.wire === VARINT) {
        writeVarint(out, Number(field.numbers?.[item] ?? item));
      } else {
        const bytes = field.message ? writeMessage(field.message, item)
          : field.kind === 'string' ? new TextEncoder().encode(item)
          : Array.from(item, (c) => c.charCodeAt(0));
        writeVarint(out, bytes.length);
        for (const byte of bytes)
          out.push(byte);
      }
    }
  }
  return out;
}

const DEFAULTS = { uint32: 0, uint64: 0, bool: false, string: '', bytes: '' };

// A codec for all of the schema, or for the part that `only` names ({ message:
// [field, ...] }; messages that it leaves out are read as empty): what it does
// not name is skipped as an unknown field. raw: 'Message.field' of a repeated message that
// is not read but reads as the places where each begins and ends in the bytes, in turn.
export function codec(only, raw) {
  const types = {};
  for (const [name, fields] of Object.entries(whole.messages)) {
    const kept = Object.entries(fields).filter(([, f]) => !only || only[name]?.includes(f[0]));
    types[name] = { name, fields: {}, count: kept.length, defaults: {}, source: kept };
  }
  for (const type of Object.values(types)) {
    for (const [number, [name, kind, repeated, oneof]] of type.source) {
      const names = whole.enums[kind], message = types[kind];
      type.fields[number] = {
        name, kind, repeated, names, message, raw: raw === `${type.name}.${name}`,
        numbers: names && Object.fromEntries(Object.entries(names).map(([n, s]) => [s, n])),
        wire: message || kind === 'string' || kind === 'bytes' ? LENGTH : VARINT,
        others: type.source.filter(([, f]) => oneof && f[3] === oneof && f[0] !== name)
          .map(([, f]) => f[0]),
      };
      type.defaults[name] = repeated ? NONE : message?.defaults ?? names?.[0] ?? DEFAULTS[kind];
    }
  }
  return {
    // Of all of the bytes (a Uint8Array), or of those from start up to end. Throws
    // DecodeError and nothing else, whatever they are.
    decode(name, bytes, start = 0, end = bytes.length) {
      const value = Object.create(types[name].defaults);
      buf = bytes;
      pos = start;
      try {
        readMessage(types[name], value, end, 0);
      } finally {
        buf = undefined;
      }
      return value;
    },
    // The bytes of a message given as an object of the shape that decode returns.
    encode: (name, value) => Uint8Array.from(writeMessage(types[name], value)),
  };
}

export const { decode, encode } = codec();
