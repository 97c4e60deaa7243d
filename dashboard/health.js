// What an operator looks for first: is the node reachable, full, losing connections, silent.

import { count, duration, most as mostOf, plural } from './format.js';

const CHURN = 1;             // of the connections that are open, closed in 10 minutes: worth a word
const FULL = [0.75, 0.9];    // of a limit: worth a word, red
const SILENT = 30_000;       // ms since the node's own clock said something new

// Addresses that are not of the internet: private, shared (RFC 6598), link-local, loopback.
const LOCAL = [
  /^\/ip4\/(10|127|192\.168|169\.254|172\.(1[6-9]|2\d|3[01])|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./,
  /^\/ip6\/(::1\b|f[cd]|fe[89ab])/,
];
const isLocal = (multiaddr) => LOCAL.some((pattern) => pattern.test(multiaddr));

const TRANSPORTS = [
  [/webrtc/, 'WebRTC'], [/webtransport/, 'WebTransport'], [/quic/, 'QUIC'], [/\/wss?\b/, 'WebSocket'], [/\/tcp\//, 'TCP'],
  [/^/, 'another transport'],
];
const transportOf = ({ multiaddr }) => TRANSPORTS.find(([sign]) => sign.test(multiaddr))[1];
const over = (addresses) => [...new Set(addresses.map(transportOf))].join(', ');

// Whether others can reach the node: a verdict in words, and what it rests on.
export function reachability(m) {
  const { addresses } = m.state, direct = addresses.filter((a) => !a.multiaddr.includes('p2p-circuit'));
  const open = direct.filter((a) => a.reachability === 'PUBLIC'), relays = addresses.length - direct.length;
  const closed = direct.filter((a) => a.reachability === 'PRIVATE' && !isLocal(a.multiaddr));
  const inbound = m.open.filter((r) => r.opener === 'the peer' && !r.unlisted);
  const opened = inbound.filter((r) => r.transport !== 'relay' && !isLocal(r.remote)).length;
  const evidence = [
    [plural(open.length, 'address', 'addresses'), 'confirmed to be reachable'],
    [plural(closed.length, 'address', 'addresses'), 'of the internet found not to be reachable'],
    [plural(relays, 'address', 'addresses'), 'through a relay'],
    [plural(opened, 'connection'), 'from the internet, opened by peers directly'],
  ];
  if (open.length)
    return { level: 'good', text: `reachable over ${over(open)}`, evidence };
  if (opened)
    return { level: 'good', text: `reachable: ${plural(opened, 'peer')} opened a connection`, evidence };
  if (relays)
    return { level: 'warn', text: 'reachable through relays only', evidence };
  if (closed.length)
    return { level: 'bad', text: 'not reachable from the internet', evidence };
  return { level: '', text: m.runtime.source === 'kernel' ? 'not known to the kernel' : 'not known', evidence };
}

const isConnections = (r) => /^conn/.test(r.name);
// How old something is that is asked for rarely: no limit, though it is told like one.
export const isAge = (r) => r.scope === 'age-seconds';
// Between these a connection manager keeps the number of connections; it may be over both.
const isWater = (r) => /^(high|low)-?water$/i.test(r.name);

export function room(m) {
  const told = m.state.resources.filter((r) => r.limit && !isAge(r)), limited = told.filter((r) => !isWater(r));
  const high = told.find((r) => isWater(r) && /^high/i.test(r.name))?.limit ?? Infinity, over = m.snapshot.connections > high;
  const fullest = limited.reduce((worst, r) => !worst || r.used / r.limit > worst.used / worst.limit ? r : worst, undefined);
  const conns = limited.find((r) => isConnections(r) && r.scope === 'system') ?? limited.find(isConnections);
  const part = fullest ? fullest.used / fullest.limit : 0;
  const text = `${count(m.snapshot.connections)}${high < Infinity ? `, ${over ? 'over ' : ''}high water ${count(high)}` : conns ? ` of ${count(conns.limit)}` : ''}`;
  const evidence = told.sort((a, b) => b.used / b.limit - a.used / a.limit).slice(0, 8)
    .map((r) => [`${Math.round(r.used / r.limit * 100)} %`, `${r.scope} ${r.name}`]);
  const level = part >= FULL[1] ? 'bad' : part >= FULL[0] || over ? 'warn' : m.snapshot.connections ? 'good' : 'warn';
  return { level, text: part >= FULL[0] ? `${text}; ${fullest.name} is nearly full` : text, evidence, none: 'No limit is told.' };
}

function churn(m) {
  const { opened, closed } = m.churn('10m'), { ms } = m.span('10m');
  const rate = closed / Math.max(1, m.open.length);
  return {
    level: rate > CHURN * Math.max(0.1, ms / 600_000) && closed > 10 ? 'warn' : '',
    text: `+${count(opened)} −${count(closed)} in ${duration(Math.max(1000, ms))}`,
    evidence: m.reasons('10m').slice(0, 8).map((r) => [count(r.n), `closed: ${r.key}`]),
    none: 'The source tells no reasons why connections closed.',
  };
}

function trouble(m) {
  const failed = m.rows.filter((r) => r.status === 'ERROR').length;
  const { success, error, timeout } = m.state.subsystems.dht.outgoing_queries, all = success + error + timeout;
  const part = all ? (error + timeout) / all : 0;
  return {
    level: failed > 10 || part > 0.5 ? 'bad' : failed || part > 0.25 ? 'warn' : 'good',
    text: failed ? `${plural(failed, 'connection')} failed` : part > 0.25 ? `${Math.round(part * 100)} % of DHT queries failed` : 'none',
    evidence: [
      [count(failed), 'connections in error'], [count(error), 'DHT queries that failed'],
      [count(timeout), 'DHT queries that had no answer in time'],
    ],
  };
}

function source(m, silence) {
  const s = m.store.snapshots.at(-1), { snapshots } = m.store;
  const since = snapshots.findLast((x) => x.ts !== s.ts)?.at ?? snapshots[0].at;
  const silent = silence === undefined ? 0 : Math.max(silence, s.at - since);
  return {
    level: silent > SILENT ? 'bad' : 'good', text: silent > SILENT ? `silent for ${duration(silent)}` : 'speaks',
    evidence: [[m.runtime.source || 'not told', 'source'], [`${count(m.state.snapshot_duration_ms)} ms`, 'to take the snapshot']],
  };
}

// [name, { level: good, warn, bad or none, text, evidence: [number, what] pairs, none }].
// silence: ms for which the page waits for a snapshot; undefined when none is to come.
export const health = (m, silence) => [
  ['Reachability', reachability(m)],
  ['Connections', room(m)],
  ['Churn', churn(m)],
  ['Failures', trouble(m)],
  ['Source', source(m, silence)],
];

const LEVELS = ['', 'good', 'warn', 'bad'];
export const worst = (list) => LEVELS[mostOf(list, ([, { level }]) => LEVELS.indexOf(level))];
