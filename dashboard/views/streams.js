import { h } from '../dom.js';
import { bytes, count, duration, latency, most as mostOf, plural, rate, words } from '../format.js';
import { bar, card, dash, dot, id, nothing, why } from '../parts.js';
import { Table } from '../table.js';

const PROTOCOLS = 60;   // drawn

let moment, chosen = '';   // protocol

const table = new Table({
  label: 'Streams', sort: ['in', -1],
  empty: 'The source tells traffic by protocol, but names no single stream.',
  columns: [
    {
      id: 'protocol', title: 'Protocol', min: 190, grow: 1.5, value: (s) => s.protocol,
      cell: (s) => [dot(s.status, s.gone), ' ', h('span', { title: s.protocol }, s.protocol)],
    },
    {
      id: 'peer', title: 'Peer', min: 150, grow: 1, value: (s) => s.name,
      cell: (s) => id(s.row.c.peer_id || s.row.remote, { shown: s.name, row: true }),
    },
    { id: 'rateIn', title: 'In', min: 82, number: true, value: (s) => s.rateIn, cell: (s) => dash(s.rateIn, rate) },
    { id: 'rateOut', title: 'Out', min: 82, number: true, value: (s) => s.rateOut, cell: (s) => dash(s.rateOut, rate) },
    { id: 'in', title: 'Total in', min: 76, number: true, value: (s) => s.in, cell: (s) => bytes(s.in) },
    { id: 'out', title: 'Total out', min: 76, number: true, value: (s) => s.out, cell: (s) => bytes(s.out) },
    {
      id: 'latency', title: 'Latency', min: 76, number: true, value: (s) => s.latency,
      cell: (s) => dash(s.latency, latency), hidden: (all) => !all.some((s) => s.latency),
    },
    {
      id: 'age', title: 'Age', min: 86, number: true, value: (s) => -s.opened,
      cell: (s) => dash(s.opened, () => duration((s.s.timeline.close_ts || moment.ts) - s.opened)),
    },
    { id: 'status', title: 'Status', min: 72, value: (s) => words(s.status) },
    { id: 'role', title: 'Role', min: 76, value: (s) => words(s.role) },
  ],
});

function protocols(m, update) {
  const most = mostOf(m.protocols, (p) => p.rateIn + p.rateOut);
  const drawn = m.protocols.slice(0, PROTOCOLS);
  return card('Bandwidth by protocol', m.state.protocols.length ? 'closed streams included' : 'sum of the streams below',
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Bandwidth by protocol' },
      h('table', { class: 'sheet' },
        h('thead', null, h('tr', null, ['Protocol', 'Streams', 'In', 'Out', '', 'Total in', 'Total out'].map((t, i) =>
          t ? h('th', { key: t, scope: 'col', class: i ? 'number' : '' }, t) : h('td', { key: t })))),
        h('tbody', null, drawn.map((p) => h('tr', { key: p.key },
          h('th', { scope: 'row' }, h('button', {
            type: 'button', class: 'link', 'aria-pressed': p.key === chosen ? 'true' : 'false', title: p.key,
            onclick: () => { chosen = p.key === chosen ? '' : p.key; update(); },
          }, p.key)),
          h('td', { class: 'number' }, p.streams),
          h('td', { class: 'number' }, dash(p.rateIn, rate)), h('td', { class: 'number' }, dash(p.rateOut, rate)),
          h('td', { class: 'wide' }, h('span', { class: 'stack' }, bar(p.rateIn, most, 'in'), bar(p.rateOut, most, 'out'))),
          h('td', { class: 'number' }, bytes(p.in)), h('td', { class: 'number' }, bytes(p.out))))))),
    drawn.length < m.protocols.length && why(`And ${count(m.protocols.length - drawn.length)} more that moved less.`));
}

export default {
  title: 'Streams',
  badge: (m) => m.snapshot.streams,
  fills: true,
  render(m, { update }) {
    moment = m;
    if (!m.protocols.length)
      return nothing('No streams here', m,
        'The kernel sees TCP connections and their bytes, but not the streams and protocols inside.',
        m.snapshot.streams
          ? `The source counts ${plural(m.snapshot.streams, 'stream')} but tells neither protocol nor traffic of them.`
          : 'The node had no stream open at this moment.');
    if (!m.protocols.some((p) => p.key === chosen))
      chosen = '';
    const list = chosen ? m.streams.filter((s) => s.protocol === chosen) : m.streams;
    return h('div', { class: 'column stacked' }, protocols(m, update),
      h('div', { class: 'tools' }, h('h2', null, chosen ? `Streams of ${chosen}` : 'Streams'),
        chosen && h('button', { type: 'button', class: 'quiet', onclick: () => { chosen = ''; update(); } }, 'Show all'),
        h('span', { class: 'aside' }, plural(list.length, 'stream'))),
      table.update(list));
  },
};
