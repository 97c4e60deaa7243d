// The node in the middle, its peers around it. A place has a meaning: the farther out, the
// longer the round trip; the sector is the transport. Within it, a peer's place follows from
// its name, so that it stays where it was while others come and go.

import { h } from '../dom.js';
import { count, duration, latency, of, plural, short } from '../format.js';
import { churn, comparing, inOut, movedOf, showChange, showMoved, topFew, why } from '../parts.js';
import { colourOf } from '../row.js';
import { href, span } from '../route.js';
import { matcher } from './filters.js';

const MOST = 500;       // peers drawn
const KINDS = 8;        // of transports with a sector
const LABEL = 120;      // px of a name
const FRESH = 5000;     // ms for which a peer that came pulses
const NARROW = 480;     // px

// Rings: up to so many ms, and how far out, as part of the radius. The last is for peers
// whose round trip was not measured.
const RINGS = [[5, 0.3], [20, 0.44], [50, 0.57], [150, 0.7], [500, 0.82], [Infinity, 0.92], [undefined, 1]];
const FLOOR = 0.18;     // what the node itself takes
const SLACK = 1.25;     // how far beyond its ring a round trip must be to change it

const sectors = new Map();   // transport: { slots, taken: Map of peer to slot, holder }
const rings = new Map();     // peer: index into RINGS
let picked;                  // peer
let by, seconds;             // the span of which is told what moved, and how long it is, for bytes per second
let size = { width: 0, height: 0 };
let ask;

function hash(s) {
  let n = 0x811c9dc5;
  for (let i = 0; i < s.length; i++)
    n = Math.imul(n ^ s.charCodeAt(i), 0x01000193);
  return (n ^ n >>> 15) >>> 0;
}

function ringOf(p) {
  const ms = p.latency / 1e6, now = rings.get(p.key), unmeasured = RINGS.length - 1;
  const fit = ms ? RINGS.findIndex(([limit]) => ms < limit) : unmeasured;
  const stays = now !== undefined && now < unmeasured && ms && ms < RINGS[now][0] * SLACK && (!now || ms > RINGS[now - 1][0] / SLACK);
  if (!stays)
    rings.set(p.key, fit);
  return rings.get(p.key);
}

// Keeps who is here where it is, lets go of who is not, and finds slots for the new ones.
function settle(sector, keys) {
  const here = new Set(keys);
  for (const [key, at] of sector.taken) {
    if (!here.has(key)) {
      sector.taken.delete(key);
      sector.holder[at] = undefined;
    }
  }
  if (keys.length > sector.slots || keys.length * 6 < sector.slots) {
    sector.slots = 2 ** Math.ceil(Math.log2(keys.length * 1.4 + 1));
    sector.taken = new Map();
    sector.holder = [];
  }
  for (const key of keys.filter((k) => !sector.taken.has(k)).sort()) {
    let at = hash(key) % sector.slots;
    while (sector.holder[at] !== undefined)
      at = (at + 1) % sector.slots;
    sector.holder[at] = key;
    sector.taken.set(key, at);
  }
}

// { transport: { from, width } } in parts of a turn, wider where there are more, but not so
// that each one that comes moves all.
function layOut(kinds) {
  for (const key of sectors.keys())
    if (!kinds.has(key))
      sectors.delete(key);
  const weights = [...kinds].sort(([a], [b]) => a < b ? -1 : 1).map(([key, peers]) => [key, 1 + Math.floor(Math.log2(peers.length))]);
  const all = weights.reduce((n, [, w]) => n + w, 0);
  let from = 0;
  for (const [key, weight] of weights) {
    if (!sectors.has(key))
      sectors.set(key, { slots: 0, taken: new Map(), holder: [] });
    settle(sectors.get(key), kinds.get(key).map((p) => p.key));
    Object.assign(sectors.get(key), { from, width: weight / all });
    from += weight / all;
  }
}

// Where a peer is, from -1 to 1.
function place(p, kind) {
  const { from, width, slots, taken } = sectors.get(kind), slot = taken.get(p.key), ring = ringOf(p);
  const inner = ring ? RINGS[ring - 1][1] : FLOOR, outer = RINGS[ring][1];
  const r = inner + (outer - inner) * (0.25 + 0.5 * (hash(`${p.key} `) % 8) / 8);
  const angle = (from + width * (0.04 + 0.92 * (slot + 0.5) / slots)) * 2 * Math.PI - Math.PI / 2;
  return [r * Math.cos(angle), r * Math.sin(angle)];
}

// Logarithmic and absolute, so that one peer's burst does not thin the others.
const width = (p, scale) => {
  const [bytesIn, bytesOut] = movedOf(p, by);
  return (0.75 + Math.min(6, 0.7 * Math.log2(1 + (bytesIn + bytesOut) / seconds / 4096))) * scale;
};

const observer = new ResizeObserver(([{ contentRect }]) => {
  size = { width: contentRect.width, height: contentRect.height };
  ask?.();
});

function walk(e) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
  if (!step)
    return;
  e.preventDefault();
  const all = [...e.currentTarget.querySelectorAll('.peer')];
  const at = all.indexOf(document.activeElement);
  all[(at + step + all.length) % all.length]?.focus();
}

// Names go to the picked peer, then to the first ones as far as no name covers another, or a peer where
// there are few.
function labels(drawn, most) {
  const placed = [], w = size.width;
  for (const d of drawn.filter(({ p }) => p.key === picked).concat(w < NARROW ? [] : drawn.slice(0, most))) {
    const left = w < NARROW ? d.x > w / 2 : d.x < w / 2 - 4, from = left ? d.x - LABEL : d.x;
    const free = d.p.key === picked || drawn.length > 100 || !drawn.some((o) => o !== d && Math.abs(o.y - d.y) < 12 && o.x > from && o.x < from + LABEL);
    if (free && !placed.some((o) => Math.abs(o.y - d.y) < 15 && Math.abs(o.from - from) < LABEL))
      placed.push({ ...d, left, from });
  }
  return placed;
}

// Circles of equal round trip, with what they stand for, as far as there is room for it.
const circles = (cx, cy, rx, ry) => RINGS.slice(0, -2).map(([limit, r], i) => [
  h('ellipse', { key: `ring ${r}`, class: 'ring', cx, cy, rx: rx * r, ry: ry * r }),
  (ry > 110 || i % 2 === 0) && h('text', { key: `ring ${r} name`, class: 'ring-name', x: cx, y: cy - ry * r - 3, 'text-anchor': 'middle' }, `${limit} ms`),
]);

function peer({ p, x, y, kind }, radius, first, ts) {
  const choose = () => {
    if (picked !== p.key) {
      picked = p.key;
      ask();
    }
  };
  const fresh = p.opened && ts - p.opened < (by === 'now' ? FRESH : seconds * 1000);
  return h('a', {
    key: `${p.key} peer`, class: `peer ${kind}${fresh ? ' fresh' : ''}`, href: href('peers', { peer: p.key }), tabindex: first ? 0 : -1,
    'aria-label': `${p.key}, ${['in', 'out'].map((way, i) => `${way} ${showMoved(by)(movedOf(p, by)[i])}`).join(', ')}`, onmouseenter: choose, onfocus: choose,
  },
  h('circle', { class: 'touch', cx: x, cy: y, r: Math.max(radius + 3, 8) }),
  h('circle', { class: 'mark', cx: x, cy: y, r: radius }));
}

function picture(m, peers, gone) {
  const { width: w, height: hgt } = size, cx = w / 2, cy = hgt / 2;
  const [rx, ry] = [w / 2 - (w < NARROW ? 8 : 100), hgt / 2 - 22], fit = matcher();
  const radius = Math.max(3.2, Math.min(9, 34 / Math.sqrt(peers.length + 1))), scale = Math.min(1.1, 6 / Math.sqrt(peers.length + 4));
  const at = (p, sector) => {
    const [x, y] = place(p, sector);
    const state = `${p.key === picked ? ' picked' : ''}${fit(`${p.key} ${p.agent}`) ? '' : ' dim'}`;
    return { p, x: cx + x * rx, y: cy + y * ry, kind: colourOf(p.first.transport) + state };
  };
  const drawn = peers.map((p) => at(p, p.sector));
  const focus = drawn.find(({ p }) => p.key === picked) ?? drawn[0];
  return h('svg', {
    width: w, height: hgt, role: 'group', onkeydown: walk,
    'aria-label': `${plural(peers.length, 'peer')} around the node; arrow keys walk through them`,
  },
  circles(cx, cy, rx, ry),
  drawn.map(({ p, x, y, kind }) => h('line', {
    key: p.key, class: `tie ${kind}`, x1: cx, y1: cy, x2: x.toFixed(1), y2: y.toFixed(1), 'stroke-width': width(p, scale).toFixed(1),
  })),
  h('circle', { key: ' node', class: 'self', cx, cy, r: 17 }),
  h('circle', { key: ' core', class: 'core', cx, cy, r: 6 }),
  gone.map((p) => {
    const { x, y, kind } = at(p, p.sector);
    return h('circle', { key: `${p.key} gone`, class: `leaving ${kind}`, cx: x, cy: y, r: radius });
  }),
  drawn.map((d) => peer(d, radius, d === focus, m.ts)),
  labels(drawn, peers.length > 100 ? 12 : 40).map(({ p, x, y, left }) => h('text', {
    key: `${p.key} name`, class: p.key === picked ? 'picked' : '', x: x + (left ? -1 : 1) * (radius + 5), y: y + 4,
    'text-anchor': left ? 'end' : 'start',
  }, short(p.first.c.peer_id || p.key))));
}

// Those drawn: who is in the picture stays in it, the rest by what they move.
let inPicture = new Set();
function choose(all) {
  const peers = all.length <= MOST ? all
    : [...all].sort((a, b) => inPicture.has(b.key) - inPicture.has(a.key)).slice(0, MOST);
  inPicture = new Set(peers.map((p) => p.key));
  return peers;
}

function about(m, chosen) {
  if (!chosen)
    return h('span', { class: 'faint' }, 'Point at a peer to read about it; click to open it.');
  return [
    h('strong', null, short(chosen.first.c.peer_id || chosen.key)), ' ', chosen.agent || chosen.process, ' ',
    plural(chosen.rows, 'connection'), ' ', inOut(chosen, by), ' ', chosen.was !== undefined && [showChange(chosen), ' '], chosen.latency ? latency(chosen.latency) : '',
    chosen.opened ? h('span', { class: 'faint' }, ` known for ${duration(m.ts - chosen.opened)}`) : '',
  ];
}

export default {
  title: 'Swarm',
  badge: (m) => m.peerCount,
  fills: true,
  render(m, { update }) {
    ask = update;
    by = span() === 'total' ? 'now' : span();
    seconds = by === 'now' ? 1 : Math.max(1, m.span(by).ms / 1000);
    const all = m.peers(by).filter((p) => !p.gone), peers = choose(all), transports = topFew(m.tally((r) => r.transport), KINDS);
    const named = new Set(transports.map((t) => t.key)), kinds = new Map();
    const here = new Set(all.map((p) => p.key));
    const gone = m.closed.slice(0, 40).map((r) => ({ key: r.peer, first: r, latency: r.latency, agent: r.agent }))
      .filter((p) => !here.has(p.key) && here.add(p.key));
    for (const p of [...peers, ...gone]) {
      p.sector = named.has(p.first.transport) ? p.first.transport : ' other';
      kinds.has(p.sector) ? kinds.get(p.sector).push(p) : kinds.set(p.sector, [p]);
    }
    layOut(kinds);
    for (const key of rings.keys())
      if (!here.has(key))
        rings.delete(key);
    return h('div', { class: 'swarm' },
      comparing(m, churn(m, by)),
      h('div', { class: 'sky', ref: (el) => observer.observe(el) },
        peers.length
          ? size.width > 0 && picture(m, peers, gone)
          : h('div', { class: 'empty' }, h('h2', null, 'Nobody here'), why('No peer was connected at this moment.'))),
      h('div', { class: 'caption' },
        h('ul', { class: 'legend row' },
          transports.map((t) => h('li', { key: t.key }, h('a', {
            class: 'entry', href: href('connections', t.label ? {} : { transport: t.key }),
          },
            h('span', { class: `swatch ${t.colour ?? colourOf(t.key)}` }),
            h('span', { class: 'clip' }, t.label ?? t.key), ' ',
            h('span', { class: 'faint' }, count(t.n))))),
          h('li', { class: 'faint', key: ' width' }, 'the farther out, the longer the round trip; the wider the line, the more per second',
            peers.length < all.length && `; ${of(peers, all, 'peer')} peers, those that moved most when they came`)),
        h('p', { class: 'about' }, about(m, peers.find((p) => p.key === picked)))));
  },
};
