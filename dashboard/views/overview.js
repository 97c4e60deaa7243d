import { h } from '../dom.js';
import { bars, overTime, sparkline } from '../charts.js';
import { bytes, clock, count, latency, moment, most as mostOf, plural, rate, words } from '../format.js';
import { isAge } from '../health.js';
import { group, heaviest, tally } from '../model.js';
import { against, bar, card, churn, facts, few, filtered, id, kindOf, name, shares, signed, spans, top, topFew, why } from '../parts.js';
import { agentName, colourOf } from '../row.js';
import { get, href, PICK, set, span } from '../route.js';
import { matcher } from './filters.js';

const TOP = 7;
const LISTED = 40;      // addresses, resources
const STATUSES = 8;
const SPARK = 120_000;  // ms

const tile = (label, view, values, value, note, spark) => h('a', { class: 'tile', key: label, href: href(view, values) },
  h('h2', null, label), h('p', { class: 'big' }, value), h('p', { class: 'note' }, note || '\u00a0'),
  spark || h('div', { class: 'spark' }));

// How many there are of each order of magnitude (of 2), from 1/8 ms to 2 s.
function spread(latencies) {
  const counts = new Array(14).fill(0);
  for (const ns of latencies)
    counts[Math.max(0, Math.min(13, Math.floor(Math.log2(ns / 125_000))))]++;
  return counts;
}

function tiles(m) {
  const from = m.store.indexAt(m.range?.[0] ?? m.snapshot.at - SPARK), points = overTime(m.store.snapshots, from, m.index, 100);
  const most = mostOf(points, (p) => p ? Math.max(p.s.rateIn, p.s.rateOut) : 0);
  const t = m.totals, spark = (f, show, kind = 'plain', scale) => sparkline(points, f, kind, scale, show);
  const trips = m.open.map((r) => r.latency).filter(Boolean).sort((a, b) => a - b);
  const calling = m.open.filter((r) => r.opener === 'us').length;
  return h('div', { class: 'tiles' },
    tile('Traffic in', 'peers', { sort: '-in' }, rate(t.rateIn), `${bytes(t.in)} in total`, spark((s) => s.rateIn, rate, 'in', most)),
    tile('Traffic out', 'peers', { sort: '-out' }, rate(t.rateOut), `${bytes(t.out)} in total`, spark((s) => s.rateOut, rate, 'out', most)),
    tile('Connections', 'connections', {}, count(m.snapshot.connections), m.snapshot.partial ? '' : `${count(calling)} opened by us`,
      spark((s) => s.connections, count)),
    m.snapshot.streams
      ? tile('Streams', 'streams', {}, count(m.snapshot.streams), plural(m.protocols().length, 'protocol'),
        spark((s) => s.streams, count))
      : tile('Peers', 'peers', {}, count(m.peerCount), m.runtime.source === 'kernel' ? 'by their addresses' : '',
        spark((s) => s.peers, count)),
    tile('Round trip', 'peers', { sort: '-latency' }, trips.length ? latency(trips[trips.length >> 1]) : '–',
      trips.length ? `median; 90 % < ${latency(trips[Math.floor(trips.length * 0.9)])}` : 'not measured',
      trips.length > 1 && bars(spread(trips))));
}

// The strip: what is well and what is not, each with what it rests on one click away.
function strip(list) {
  const chosen = list.find(([n]) => n === get('health'));
  return h('section', { class: 'health', key: 'health', 'aria-label': 'Health' },
    h('div', { class: 'pills' }, list.map(([n, { level, text }]) => h('button', {
      key: n, type: 'button', class: `pill ${level}`, 'aria-expanded': chosen?.[0] === n ? 'true' : 'false',
      onclick: () => set({ health: chosen?.[0] === n ? '' : n }),
    }, h('span', { class: `sign ${level}`, 'aria-hidden': 'true' }), h('span', { class: 'faint' }, `${n} `), h('strong', null, text)))),
    chosen && h('div', { class: 'evidence' }, chosen[1].evidence.length
      ? h('dl', null, chosen[1].evidence.map(([n, what]) => h('div', { key: what }, h('dt', null, n), h('dd', null, what))))
      : why(chosen[1].none)));
}

const REACH = { PUBLIC: 'good', PRIVATE: 'warn' };

function node(m) {
  const { runtime: r, state } = m;
  return card('Node', r.source && `source: ${r.source}`,
    facts([
      ['Peer ID', r.peer_id && id(r.peer_id)],
      ['Implementation', r.implementation],
      ['Version', r.version],
      ['Platform', r.platform],
      ['Host', r.hostname],
      ['Snapshots', r.interval_ms && `at least ${latency(r.interval_ms * 1e6)} apart`],
      ['Taken', `${moment(m.ts)}${state.snapshot_duration_ms ? `, over ${count(state.snapshot_duration_ms)} ms` : ''}`],
    ]),
    h('h3', null, 'Addresses'),
    state.addresses.length
      ? h('ul', { class: 'addresses' }, few(state.addresses, LISTED, (a, i) => h('li', { key: i },
        id(a.multiaddr, { shown: a.multiaddr }),
        h('span', { class: `badge ${REACH[a.reachability] ?? ''}` }, words(a.reachability)))))
      : why(r.source === 'kernel'
        ? 'The kernel lists connections, not the addresses a node announces.' : 'The node has told none.'));
}

const STATUS = ['ACTIVE', 'OPENING', 'CLOSING', 'ERROR', 'CLOSED'];
const KNOWN = new Set(STATUS.map((s) => s.toLowerCase()));

function split(m) {
  const counts = new Map(STATUS.map((key) => [key, 0]));
  for (const { status } of m.rows)
    counts.set(status, (counts.get(status) ?? 0) + 1);
  // All of them always, so that nothing moves when the first one closes.
  const statuses = [...counts].map(([key, n]) => ({
    key, n, label: words(key), colour: KNOWN.has(kindOf(key)) ? `s-${kindOf(key)}` : 'c-other', href: href('connections', { status: words(key) }),
  }));
  const unlisted = m.open.filter((r) => r.unlisted).length;
  return card('Connections', filtered('connections', {}, 'all'),
    m.rows.length ? [
      h('h3', null, 'Status'), shares(topFew(statuses, STATUSES)),
      h('h3', null, 'Opened by'),
      shares([['us', 'in-tone'], ['the peer', 'plain-tone'], ['not known', 'c-other']].map(([key, colour]) =>
        ({ key, colour, n: m.open.filter((r) => r.opener === key).length, href: href('connections', { role: key }) })).filter((x, i) => i < 2 || x.n)),
      h('h3', null, 'Transport'),
      shares(topFew(m.tally((r) => r.transport).map((t) =>
        ({ ...t, colour: colourOf(t.key), href: href('connections', { transport: t.key }) })), TOP)),
      unlisted > 0 && h('p', { class: 'note' }, filtered('connections', { listed: 'known to the kernel alone' },
        `${plural(unlisted, 'connection')} of this process that the node does not list`)),
    ] : why('No connection is open.'));
}

const timeOf = (m, at) => clock(at - m.snapshot.at + m.ts);

// What differs in a span, the one selected or the last 10 minutes, from another time, as far as
// that is held. Where that is longer or shorter, what moved in it is scaled.
function changes(m) {
  const by = get('from') ? 'range' : '10m', { snapshots } = m.store, { to, held, ...second } = m.second(by);
  const all = m.peers(by), moved = (p) => p.movedIn + p.movedOut, grew = (p) => moved(p) - (p.was ?? 0);
  const list = [...all].sort((a, b) => grew(b) - grew(a)), grown = list.slice(0, 5).filter((p) => grew(p) > 0);
  const fell = list.slice(-3).reverse().filter((p) => grew(p) < 0), sum = (f) => bytes(all.reduce((n, p) => n + f(p), 0));
  const counts = [...held ? [snapshots[to]] : [], snapshots[m.span(by).from], m.snapshot].map((s) => count(s.connections));
  const item = (p) => h('li', { key: p.key, class: p.gone ? 'gone' : '' },
    h('span', { class: 'grow name' }, peerLink(p)), h('span', { class: 'num' }, held ? signed(grew(p)) : bytes(grew(p))));
  return card('What changed', m.spanText(by), against(),
    h('ul', { class: 'changes' },
      h('li', null, churn(m, by)),
      held && h('li', null, `${sum(moved)} moved`, h('span', { class: 'faint' }, ` against ${sum((p) => p.was)}`)),
      h('li', { class: 'faint' }, `connections: ${counts.join(', then ')}`)),
    grown.length > 0 && [h('h3', null, held ? 'What grew' : 'What moved most'), h('ul', { class: 'top' }, grown.map(item))],
    fell.length > 0 && [h('h3', null, 'What fell'), h('ul', { class: 'top' }, fell.map(item))],
    get('vs') === PICK ? h('p', { class: 'note' }, 'Drag over the time line below, or move the ends: the range to compare with.')
      : get('vs') && !held ? h('p', { class: 'note' }, `The time from ${timeOf(m, second.start)} to ${timeOf(m, second.end)} is not held.`)
      : !get('from') && h('p', { class: 'note faint' }, 'Drag over the time line below to see what changed in a part of it.'));
}

const isBytes = /memory|bytes|rss/;

// Those with a limit first, ages last.
function resources(m) {
  const rank = (r) => isAge(r) ? 2 : r.limit ? 0 : 1;
  const list = [...m.state.resources].sort((a, b) => rank(a) - rank(b));
  return card('Resources', null, list.length
    ? h('ul', { class: 'resources' }, few(list, LISTED, (r) => {
      const show = isBytes.test(r.name) ? bytes : count;
      const part = r.limit ? r.used / r.limit : 0;
      return h('li', { key: `${r.scope} ${r.name}` },
        h('span', { class: 'grow' }, h('span', { class: 'faint' }, `${r.scope} `), r.name),
        h('span', { class: 'num' }, show(r.used), h('span', { class: 'faint' }, r.limit && !isAge(r) ? ` of ${show(r.limit)}` : '')),
        isAge(r) ? h('span', { class: 'faint' }, 's old') : r.limit
          ? bar(r.used, r.limit, part >= 0.9 ? 'bad' : part >= 0.75 ? 'warn' : '')
          : h('span', { class: 'faint' }, 'no limit'));
    }))
    : why(m.runtime.source === 'kernel'
      ? 'Memory and open files are shown when one process is watched: introspectd --pid NAME.'
      : 'The node has told none.'));
}

const peerLink = (p) => filtered('peers', { peer: p.key }, name(p.key, p.first.c.peer_id ? p.name : p.key));

const SUMS = ['rateIn', 'rateOut', 'movedIn', 'movedOut'];

const processes = (m, by) => group(m.peers(by).filter((p) => p.process), (p) => p.process,
  { n: 0, ...Object.fromEntries(SUMS.map((k) => [k, 0])) }, (sum, p) => {
    sum.n += p.rows;
    for (const k of SUMS)
      sum[k] += p[k];
  }).sort(heaviest(by));

// Each of those shown has a colour of its own, and keeps it while it is shown.
const agentColours = new Map();
function coloured(agents) {
  const shown = new Set(agents.map((a) => a.key));
  for (const key of agentColours.keys())
    if (!shown.has(key))
      agentColours.delete(key);
  const used = new Set(agentColours.values());
  for (const { key } of agents) {
    if (agentColours.has(key) || key === ' other')
      continue;
    let n = 0;
    while (used.has(n))
      n++;
    used.add(n);
    agentColours.set(key, n);
  }
  return agents.map((a) => a.colour ? a : { ...a, colour: `c${agentColours.get(a.key)}`, href: href('peers', { agent: a.key }) });
}

export default {
  title: 'Overview',
  render(m, { healthList }) {
    const kernel = m.runtime.source === 'kernel', by = span();
    const agents = tally(m.open.filter((r) => r.agent), (r) => agentName(r.agent));
    const used = kernel ? processes(m, by) : [], fit = matcher();
    const peers = m.peers(by).filter((p) => fit(`${p.key} ${p.agent} ${p.process}`));
    return [strip(healthList), tiles(m),
      h('div', { class: 'tools' }, h('h2', null, 'What moves'), spans(), h('span', { class: 'aside' }, m.spanText(by))),
      h('div', { class: 'cards' },
        top('Top peers', peers, {
          limit: TOP, by, label: peerLink, aside: filtered('peers', {}, 'all'),
          none: get('q') ? 'No peer fits the search.' : 'No peer is connected.',
        }),
        used.length
          ? top('Top processes', used, {
            limit: TOP, by, aside: filtered('peers', { group: 'process' }, 'all'),
            label: (x) => [filtered('connections', { process: x.key }, x.key), h('span', { class: 'faint' }, ` ×${count(x.n)}`)],
          })
          : top('Top protocols', m.protocols(by).filter((p) => fit(p.key)), {
            limit: TOP, by, aside: filtered('streams', {}, 'all'),
            label: (x) => filtered('streams', { protocol: x.key }, x.key),
            none: kernel ? 'The kernel sees no protocols inside connections. Let the node tell: introspectd --feed PATH.'
              : 'No stream is open.',
          }),
        split(m),
        changes(m),
        resources(m),
        h('div', { class: 'pile' },
          agents.length > 0 && card('Agents', filtered('peers', { group: 'version' }, plural(agents.length, 'kind')),
            shares(coloured(topFew(agents, TOP)))),
          node(m))),
    ];
  },
};
