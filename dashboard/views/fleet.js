// Several daemons by their totals, each a click from its page.

import { h } from '../dom.js';
import { overTime, sparkline } from '../charts.js';
import { brief } from '../connection.js';
import { explain, FAILURES } from '../failure.js';
import { FLEET_MAX, isKnown, listed, parseFleet, store, stored, unwatch, watch } from '../fleet.js';
import { ago, bytes, count, plural, rate } from '../format.js';
import { reachability, room } from '../health.js';
import { card, dot, few } from '../parts.js';
import { get, href, set } from '../route.js';
import { column, number, Table } from '../table.js';
import { matcher } from './filters.js';

const EXPLAINED = 8;   // daemons of which it is told why they are not here

let problems = [];     // what was wrong with what was typed
let lines;             // what is typed

const own = undefined;   // a value by the column's id, shown as it is
const sign = ({ level, text }) => [h('span', { class: `sign ${level}`, 'aria-hidden': 'true' }), ' ', text];

const table = new Table({
  label: 'Daemons', sort: ['name', 1], empty: 'No daemon fits the search.',
  onopen: (r) => { location.hash = r.href; },
  columns: [
    column('name', 'Node', 130, own, { grow: 1, cell: (r) => h('a', { href: r.href, title: r.url }, r.name) }),
    column('software', 'Software', 110, own, { grow: 1 }),
    column('address', 'Daemon', 150, own, { grow: 1 }),
    column('state', 'State', 130, own, { cell: (r) => [dot(r.gone ? r.trouble ? 'ERROR' : 'OPENING' : 'ACTIVE'), ' ', r.state] }),
    number('in', 'In', 92, own, rate, { bar: 'in' }), number('out', 'Out', 92, own, rate, { bar: 'out' }),
    number('past', 'In + out', 110, (r) => r.in + r.out, own, {
      cell: ({ past }) => past.length > 1 && sparkline(overTime(past, 0, past.length - 1, 100), (s) => s.rate, 'plain'),
    }),
    number('total', 'Total', 80, own, bytes),
    number('connections', 'Connections', 92, own, count), number('peers', 'Peers', 66, own, count), number('streams', 'Streams', 66, own, count),
    number('dht', 'DHT peers', 76, own, count),
    column('reach', 'Reachability', 170, (r) => r.reach.text, { grow: 1, cell: (r) => sign(r.reach) }),
    column('room', 'Room', 120, (r) => r.room.text, { grow: 1, cell: (r) => sign(r.room) }),
    number('last', 'Last heard', 96, own, own, { cell: (r) => r.last < Infinity ? ago(r.last) : 'never' }),
  ],
});

function stateOf({ state, failure }) {
  if (state === 'open')
    return 'connected';
  if (!failure)
    return 'connecting';
  return failure.status === 401 ? 'needs a token' : { refused: 'refuses this page', mixed: 'needs TLS' }[failure.kind] ?? 'away';
}

const NOTHING = { level: '', text: '' };

function rowOf({ url, connection, said, past }) {
  const gone = connection.state !== 'open' || !said, { traffic, runtime, counts } = said ?? {};
  const health = said && { state: said, runtime, open: [], snapshot: counts };
  const { cum_bytes: totalIn = 0, inst_bw: rateIn = 0 } = traffic?.traffic_in ?? {};
  const { cum_bytes: totalOut = 0, inst_bw: rateOut = 0 } = traffic?.traffic_out ?? {};
  return {
    key: url, url, connection, past, gone, trouble: Boolean(connection.failure), address: brief(url),
    name: runtime?.hostname || brief(url), software: [runtime?.implementation, runtime?.version].filter(Boolean).join(' '),
    href: href('overview', { at: url, t: '', from: '', by: '', vs: '' }), state: stateOf(connection),
    // What was measured last is no rate of now.
    in: gone ? 0 : rateIn, out: gone ? 0 : rateOut, total: totalIn + totalOut,
    connections: counts?.connections ?? 0, peers: counts?.peers ?? 0, streams: counts?.streams ?? 0, dht: counts?.dht_peers ?? 0,
    reach: said ? reachability(health) : NOTHING, room: counts ? room(health) : NOTHING,
    last: connection.lastAt ? Date.now() - connection.lastAt : Infinity,
  };
}

// Those that are shown become what is kept, and the page's address tells them.
function keep(urls) {
  store(urls);
  set({ daemons: urls.map(brief).join(' ') });
}

function adding(urls) {
  const submit = (e) => {
    e.preventDefault();
    const typed = parseFleet(e.target.elements.daemons.value), all = parseFleet([...urls, ...typed.urls].join(' '));
    problems = [...typed.wrong, ...all.wrong];
    lines = '';
    keep(all.urls);
  };
  return h('form', { class: 'address fleet', onsubmit: submit },
    h('textarea', {
      name: 'daemons', rows: 1, placeholder: 'host:port or URL, one or several', spellcheck: 'false',
      'aria-label': 'Daemons to add: host, host:port, ws:// or wss:// URLs', value: lines ?? '', oninput: (e) => { lines = e.target.value; },
    }),
    h('button', { type: 'submit' }, 'Add'),
    problems.length > 0 && h('p', { class: 'wrong', role: 'alert' }, problems.slice(0, 3).join(' ')));
}

// A link is not to make this page open sockets that the user knows nothing of.
const question = (unknown, known) => h('div', { class: 'problem ask', key: 'ask', role: 'alert' },
  h('p', null, `This link names ${plural(unknown.length, 'daemon')} that you did not add: `, h('strong', { class: 'id' }, unknown.map(brief).join(', '))),
  h('button', { type: 'button', onclick: () => keep([...new Set([...stored(), ...known, ...unknown])]) }, 'Add to the list'),
  h('button', { type: 'button', class: 'quiet', onclick: () => set({ daemons: known.map(brief).join(' ') }) }, 'Leave out'));

// Why those that are not here are not, and what to do about it.
function troubles(rows, urls) {
  const lost = rows.filter((r) => r.trouble);
  return lost.length > 0 && h('div', { class: 'cards below-table' }, few(lost, EXPLAINED, (r) => card(r.address,
    h('button', { type: 'button', class: 'quiet', onclick: () => keep(urls.filter((u) => u !== r.url)) }, 'Take off the list'),
    h('p', null, h('strong', null, FAILURES[r.connection.failure.kind]), r.last < Infinity ? `, last heard ${ago(r.last)}` : ''),
    h('div', { class: 'why' }, explain(r.connection)))));
}

function sums(rows) {
  const here = rows.filter((r) => !r.gone), sum = (f) => here.reduce((n, r) => n + r[f], 0);
  return `${here.length} of ${plural(rows.length, 'daemon')} connected: in ${rate(sum('in'))}, out ${rate(sum('out'))}, ` +
    plural(sum('connections'), 'connection');
}

export default {
  title: 'Fleet',
  fills: true,
  alone: true,   // needs no snapshot
  badge: () => stored().length,
  leave: unwatch,
  render(m, { update, own }) {
    const urls = listed(own), known = urls.filter((u) => u === own || isKnown(u)), fit = matcher();
    const rows = watch(known, update).map(rowOf);
    const list = rows.filter((r) => fit(`${r.name} ${r.url} ${r.state} ${r.reach.text}`));
    return h('div', { class: 'column stacked' },
      known.length < urls.length && question(urls.filter((u) => !known.includes(u)), known),
      h('div', { class: 'tools' }, adding(urls), table.chooser(), h('span', { class: 'aside' }, sums(rows))),
      table.update(list, { filter: get('q') }),
      troubles(rows, known),
      urls.length < 2 && h('p', { class: 'why' }, 'Add other daemons to see them side by side. Each must let in this page: ',
        h('code', null, `introspectd --allow-origin ${location.origin}`)),
      urls.length >= FLEET_MAX && h('p', { class: 'why' }, `At most ${FLEET_MAX} daemons are watched.`));
  },
};
