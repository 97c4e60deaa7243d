import { h } from '../dom.js';
import { count, bytes, duration, latency, most as mostOf, of, plural, rate, words } from '../format.js';
import { bar, card, dash, dot, filtered, compared, movedOf, name, nothing, showChange, showMoved, why } from '../parts.js';
import { get, set, span } from '../route.js';
import { column, ifAny, number, Table } from '../table.js';
import { matcher } from './filters.js';

const PROTOCOLS = 60;   // drawn

let moment;

const table = new Table({
  label: 'Streams', sort: ['in', -1],
  empty: 'No stream fits, or the source tells traffic by protocol and names no single stream.',
  onopen: (s) => set({ protocol: get('protocol') === s.protocol ? '' : s.protocol }),
  columns: [
    column('protocol', 'Protocol', 190, undefined, {
      grow: 1.5, cell: (s) => [dot(s.status, s.gone), ' ', h('span', { title: s.protocol }, s.protocol)],
    }),
    column('peer', 'Peer', 150, (s) => s.name, { grow: 1, cell: (s) => name(s.row.c.peer_id || s.row.remote, s.name) }),
    number('rateIn', 'In', 86, undefined, rate, { bar: 'in' }),
    number('rateOut', 'Out', 86, undefined, rate, { bar: 'out' }),
    number('in', 'Total in', 76, undefined, bytes),
    number('out', 'Total out', 76, undefined, bytes),
    ifAny(number('latency', 'Latency', 76, undefined, latency)),
    number('age', 'Age', 86, (s) => -s.opened, null, {
      cell: (s) => dash(s.opened, () => duration((s.s.timeline.close_ts || moment.ts) - s.opened)),
    }),
    column('status', 'Status', 72, (s) => words(s.status)),
    column('role', 'Opened by', 76, (s) => s.opener),
  ],
});

const HEADS = ['Protocol', 'Streams', 'In', 'Out', '', 'In + out', 'Change'];

function protocols(m, fit) {
  const by = span(), list = m.protocols(by).filter((p) => fit(p.key)), drawn = list.slice(0, PROTOCOLS);
  const most = mostOf(drawn, (p) => Math.max(...movedOf(p, by))), show = showMoved(by), chosen = get('protocol'), { held } = m.second(by);
  return card('Bandwidth by protocol',
    `${m.state.protocols.length ? 'closed streams included' : 'of the streams seen'}; ${m.spanText(by)}`,
    h('div', { class: 'tools' }, compared()),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Bandwidth by protocol' },
      h('table', { class: 'sheet' },
        h('thead', null, h('tr', null, HEADS.slice(0, held ? 7 : 6).map((t, i) =>
          t ? h('th', { key: t, scope: 'col', class: i ? 'number' : '' }, t) : h('td', { key: t })))),
        h('tbody', null, drawn.map((p) => {
          const [bytesIn, bytesOut] = movedOf(p, by);
          return h('tr', { key: p.key },
            h('th', { scope: 'row' }, h('button', {
              type: 'button', class: 'link', 'aria-pressed': p.key === chosen ? 'true' : 'false', title: p.key,
              onclick: () => set({ protocol: p.key === chosen ? '' : p.key }),
            }, p.key)),
            h('td', { class: 'number' }, count(p.streams)),
            h('td', { class: 'number' }, dash(bytesIn, show)), h('td', { class: 'number' }, dash(bytesOut, show)),
            h('td', { class: 'wide' }, h('span', { class: 'stack' }, bar(bytesIn, most, 'in'), bar(bytesOut, most, 'out'))),
            h('td', { class: 'number' }, dash(bytesIn + bytesOut, show)),
            held && h('td', { class: 'number' }, showChange(p)));
        })))),
    drawn.length < list.length && why(`And ${count(list.length - drawn.length)} more that moved less.`));
}

export default {
  title: 'Streams',
  badge: (m) => m.snapshot.streams,
  fills: true,
  render(m) {
    moment = m;
    if (!m.protocols().length)
      return nothing('No streams here', m,
        'The kernel sees TCP connections and their bytes, but not the streams and protocols inside.',
        m.snapshot.streams
          ? `The source counts ${plural(m.snapshot.streams, 'stream')} but tells neither protocol nor traffic of them.`
          : 'The node had no stream open at this moment.');
    const chosen = get('protocol'), fit = matcher();
    const list = m.streams.filter((s) => (!chosen || s.protocol === chosen) && fit(`${s.protocol} ${s.row.peer} ${s.row.agent}`));
    return h('div', { class: 'column stacked' }, protocols(m, fit),
      h('div', { class: 'tools' }, h('h2', null, chosen ? `Streams of ${chosen}` : 'Streams'),
        chosen && h('button', { type: 'button', class: 'quiet', onclick: () => set({ protocol: '' }) }, 'Show all'),
        chosen && filtered('peers', { q: chosen }, 'peers that speak it'),
        table.chooser(), h('span', { class: 'aside' }, of(list, m.streams, 'stream'))),
      table.update(list, { filter: `${chosen}\0${get('q')}` }));
  },
};
