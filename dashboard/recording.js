// Recording files: a version, then (checksum, length, ServerMessage) each.
// The same three numbers head the frames of the command protocol.

import { decode, delimited, eachField, encode } from './decode.js';

const VERSION = 1;
const TEXT_VERSION = 0x30303031;   // "1000": how the observer toolkit's UI writes its version
const DAY = 24 * 3600 * 1000;

// FNV-1a, 32 bits.
export function fnv1a(bytes) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++)
    hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash >>> 0;
}

// The messages (Uint8Arrays into `bytes`), and in words what was wrong with the
// rest and at which offset.
export function readRecording(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages = [], problems = [];
  const word = (at) => at + 4 <= bytes.length && view.getUint32(at, true);
  if (word(0) !== VERSION && word(0) !== TEXT_VERSION)
    return { messages, problems: ['This is not a recording of version 1: it begins differently.'] };
  for (let at = word(0) === TEXT_VERSION && word(4) === VERSION ? 8 : 4; at < bytes.length;) {
    const left = bytes.length - at - 8;
    const size = left >= 0 ? view.getUint32(at + 4, true) : 0;
    if (left < 0 || size > left) {
      problems.push(`Cut off at offset ${at}: ` + (left < 0 ? 'no room for a header.'
        : `a message of ${size} bytes is announced, ${left} are there.`));
      break;
    }
    const message = bytes.subarray(at + 8, at + 8 + size);
    if (fnv1a(message) === view.getUint32(at, true))
      messages.push(message);
    else
      problems.push(`Wrong checksum at offset ${at}: message of ${size} bytes skipped.`);
    at += 8 + size;
  }
  return { messages, problems };
}

// The observer toolkit's UI ends when no configuration follows the runtime, and drops what
// is older than the retention period: a day is its own default.
function configured(messages) {
  const [first, second] = messages.slice(0, 2).map((m) => decode('ServerMessage', m));
  if (!first || !Object.hasOwn(first, 'runtime') || (second && Object.hasOwn(second, 'response')))
    return messages;
  const effective_config = {
    retention_period_ms: DAY,
    state_snapshot_interval_ms: first.runtime.interval_ms,
  };
  const response = encode('ServerMessage', { version: { version: 1 }, response: { effective_config } });
  return [messages[0], response, ...messages.slice(1)];
}

// What that UI takes for granted in a State, by number of the field: '' stands for a message
// that need only be there. A State's second Subsystems need not say again what the first did.
const GRANTED = {
  message: {}, state: { 1: 'subsystems' }, subsystems: { 2: 'dht' }, more: {}, dht: { 4: '', 5: '' }, '': {},
  connection: { 6: '', 8: 'traffic', 11: 'streams' }, streams: {}, stream: { 4: 'traffic', 6: '' }, traffic: { 1: '', 2: '' },
};
const WITHIN = { message: { 2: 'state' }, subsystems: { 1: 'connection' }, more: { 1: 'connection' }, streams: { 2: 'stream' } };

// The parts of an encoded message with what it lacks; undefined: it lacks nothing.
function lacking(kind, bytes, start, end) {
  const seen = new Set(), parts = [];
  let kept = start;
  if (kind)
    eachField(bytes, start, end, (number, tag, from, to) => {
      const inner = GRANTED[kind][number] ?? WITHIN[kind]?.[number];
      const value = inner && lacking(inner === 'subsystems' && seen.has(number) ? 'more' : inner, bytes, from, to);
      if (value) {
        parts.push(bytes.subarray(kept, tag), ...delimited(number, value));
        kept = to;
      }
      seen.add(number);
    });
  const missing = Object.entries(GRANTED[kind]).filter(([number]) => !seen.has(Number(number)));
  if (!parts.length && !missing.length)
    return undefined;
  return [...parts, bytes.subarray(kept, end),
    ...missing.flatMap(([number, inner]) => delimited(Number(number), lacking(inner, bytes, end, end) ?? []))];
}

function complete(message) {
  const parts = lacking('message', message, 0, message.length);
  if (!parts)
    return message;
  const whole = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

// A Blob of the messages in the order given, with a configuration behind the runtime.
export function writeRecording(messages) {
  const parts = [littleEndian([VERSION])];
  for (const message of configured(messages).map(complete))
    parts.push(littleEndian([fnv1a(message), message.length]), message);
  return new Blob(parts, { type: 'application/octet-stream' });
}

function littleEndian(words) {
  const view = new DataView(new ArrayBuffer(words.length * 4));
  words.forEach((word, i) => view.setUint32(i * 4, word, true));
  return view;
}
