// Numbers, times and names as people read them.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

const digits = (n) => n.toFixed(n < 9.995 ? 2 : n < 99.95 ? 1 : 0);

export function bytes(n) {
  let unit = 0;
  for (; n >= 999.5 && unit < UNITS.length - 1; unit++)
    n /= 1024;
  return `${unit ? digits(n) : Math.round(n)} ${UNITS[unit]}`;
}

export const rate = (n) => `${bytes(n)}/s`;

const grouped = new Intl.NumberFormat('en');
export const count = (n) => grouped.format(n);

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// How many of all are left: “7 peers”, or “3 of 7” when some are not.
export const of = (some, all, one) =>
  some.length === all.length ? plural(all.length, one) : `${count(some.length)} of ${count(all.length)}`;

// The largest of f of a list, of any length; at least 0.
export const most = (list, f = (x) => x) => list.reduce((n, x) => Math.max(n, f(x)), 0);

// Text as it may stand on the page, whoever made it: not endless, and without characters
// that are not seen but change how others look, such as those that turn the direction.
const TEXT_MAX = 2000;
const UNSEEN = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
export const shown = (text) => (text.length > TEXT_MAX
  ? `${text.slice(0, TEXT_MAX)}… (${count(text.length - TEXT_MAX)} more characters)` : text).replace(UNSEEN, '\ufffd');

// A round-trip time from nanoseconds.
export function latency(ns) {
  const ms = ns / 1e6;
  return ms >= 1000 ? `${digits(ms / 1000)} s` : `${digits(ms)} ms`;
}

// A span of time from milliseconds, in its two largest units.
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n, unit, rest, small) => `${n} ${unit}${rest ? ` ${rest} ${small}` : ''}`;
  if (s < 60)
    return `${s} s`;
  if (s < 3600)
    return s < 600 ? two(Math.floor(s / 60), 'min', s % 60, 's') : `${Math.floor(s / 60)} min`;
  if (s < 86400)
    return two(Math.floor(s / 3600), 'h', Math.floor(s % 3600 / 60), 'min');
  return two(Math.floor(s / 86400), 'd', Math.floor(s % 86400 / 3600), 'h');
}

export const ago = (ms) => ms < 1000 ? 'just now' : `${duration(ms)} ago`;

const time = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const date = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

const valid = (ts) => ts > 0 && ts < 8.64e15;

// The time of day of a moment in ms since the epoch; a dash when there is none.
export const clock = (ts) => valid(ts) ? time.format(ts) : '–';

// With the date, unless that is the one of `today`.
export const moment = (ts, today = Date.now()) =>
  valid(ts) && date.format(ts) !== date.format(today) ? `${date.format(ts)}, ${clock(ts)}` : clock(ts);

// A peer ID, or anything as long, with its middle left out. The kind of key
// makes the beginning of peer IDs the same, so more of the end is kept.
export function short(id) {
  if (id.length <= 24)
    return id;
  const all = /[\ud800-\udfff]/.test(id) ? [...id] : undefined;
  if (all)
    return all.length <= 24 ? id : `${all.slice(0, 5).join('')}…${all.slice(-8).join('')}`;
  return `${id.slice(0, 5)}…${id.slice(-8)}`;
}

export const hex = (binary) => Array.from(binary, (c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('');

// Bytes that may be text: as such, or as 0x… when they are not.
export const label = (binary) => /^[\x20-\x7e]+$/.test(binary) ? binary : binary && `0x${hex(binary)}`;

// host:port of a multiaddr that begins with them; anything else as it is.
export function hostPort(multiaddr) {
  const [, kind, host, , port] = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)(?:\/(tcp|udp)\/(\d+))?/.exec(multiaddr) ?? [];
  if (!host)
    return multiaddr;
  return `${kind === 'ip6' ? `[${host}]` : host}${port ? `:${port}` : ''}`;
}

export const words = (name) => typeof name === 'string' ? name.toLowerCase() : `unknown (${name})`;
