// The node in the middle, its peers around it. A peer's place follows from its
// name, so that it stays where it was while others come and go.

import { h } from '../dom.js';
import { count, latency, of, plural, rate, short } from '../format.js';
import { colourOf, hash } from '../model.js';
import { inOut, topFew, total, why } from '../parts.js';

const MOST = 500;   // peers drawn
const KINDS = 8;    // of transports named
const LABEL = 120;  // px of a name

// How many peers fit, the gap between places as part of the radius, the radius
// of a peer in px, how many are named, how wide lines are.
const TIERS = [
  { fits: 12, rings: [[0.74, 24]], size: 9, names: 12, scale: 1.1 },
  { fits: 28, gap: 0.26, size: 7.5, names: 28, scale: 1 },
  { fits: 56, gap: 0.2, size: 6.5, names: 16, scale: 0.9 },
  { fits: 110, gap: 0.14, size: 5, names: 10, scale: 0.7 },
  { fits: 230, gap: 0.096, size: 4.2, names: 8, scale: 0.55 },
  { fits: MOST, gap: 0.066, size: 3.2, names: 6, scale: 0.35 },
];
for (const tier of TIERS) {
  tier.rings ??= Array.from({ length: Math.floor(0.62 / tier.gap) + 1 }, (_, i) => 0.96 - i * tier.gap)
    .map((r) => [r, Math.floor(2 * Math.PI * r / tier.gap)]);
  tier.places = tier.rings.flatMap(([r, n], ring) => Array.from({ length: n }, (_, i) => {
    const angle = (i + ring % 2 / 2) / n * 2 * Math.PI;
    return [r * Math.cos(angle), r * Math.sin(angle)];
  }));
}

let tier = 0;
let taken = new Map();      // peer: index of its place
let holder = [];            // index: peer
let picked;                 // peer
let size = { width: 0, height: 0 };
let ask;

function place(key) {
  const places = TIERS[tier].places.length, wish = hash(key) % places;
  for (let i = 0; i < places; i++) {
    const at = (wish + (i % 2 ? (i + 1) / 2 : places - i / 2)) % places;
    if (holder[at] === undefined) {
      holder[at] = key;
      taken.set(key, at);
      return;
    }
  }
}

// Keeps who is here where he is, lets go of who is not, and finds a place for
// the new ones.
function settle(keys) {
  const here = new Set(keys);
  const wanted = TIERS.findIndex((t) => keys.length <= t.fits);
  if (wanted > tier || keys.length < TIERS[tier - 1]?.fits * 0.6) {
    tier = wanted;
    taken = new Map();
    holder = [];
  }
  for (const [key, at] of taken) {
    if (!here.has(key)) {
      taken.delete(key);
      holder[at] = undefined;
    }
  }
  for (const key of keys.filter((k) => !taken.has(k)).sort())
    place(key);
}

// Those drawn: who has a place keeps it, the rest by what they moved so far.
function drawn(peers) {
  if (peers.length <= MOST)
    return peers;
  return [...peers].sort((a, b) => taken.has(b.key) - taken.has(a.key) || b.in + b.out - a.in - a.out).slice(0, MOST);
}

// Logarithmic and absolute, so that one peer's burst does not thin the others.
const width = (p) => (0.75 + Math.min(6, 0.7 * Math.log2(1 + (p.rateIn + p.rateOut) / 4096))) * TIERS[tier].scale;

const observer = new ResizeObserver(([{ contentRect }]) => {
  size = { width: contentRect.width, height: contentRect.height };
  ask?.();
});

const look = (p) => `#/connections?q=${encodeURIComponent(p.first.c.peer_id || p.key)}`;

function walk(e) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
  if (!step)
    return;
  e.preventDefault();
  const all = [...e.currentTarget.querySelectorAll('.peer')];
  const at = all.indexOf(document.activeElement);
  all[(at + step + all.length) % all.length]?.focus();
}

// Where names go: to the picked peer, then to the first ones as far as no name
// covers another.
function labels(peers, most, at, w) {
  const placed = [];
  if (w < 4 * LABEL)
    most = 0;
  for (const p of peers.filter((q) => q.key === picked).concat(peers.slice(0, most))) {
    const [x, y] = at(p.key), left = w < 4 * LABEL ? x > w / 2 : x < w / 2 - 4;
    const from = left ? x - LABEL : x;
    if (!placed.some((o) => Math.abs(o.y - y) < 15 && Math.abs(o.from - from) < LABEL))
      placed.push({ p, x, y, left, from });
  }
  return placed;
}

function picture(m, peers) {
  const { width: w, height: hgt } = size;
  const { places, size: radius, names } = TIERS[tier];
  const [rx, ry] = [w / 2 - (w < 4 * LABEL ? 8 : 100), hgt / 2 - 20];
  const at = (key) => {
    const [x, y] = places[taken.get(key)];
    return [w / 2 + x * rx, hgt / 2 + y * ry];
  };
  const order = [...peers].sort((a, b) => taken.get(a.key) - taken.get(b.key));
  const focus = order.find((p) => p.key === picked) ?? order[0];
  const choose = (p) => () => {
    if (picked !== p.key) {
      picked = p.key;
      ask();
    }
  };
  const kind = (p) => `${colourOf(p.first.transport)}${p.key === picked ? ' picked' : ''}`;
  return h('svg', {
    width: w, height: hgt, role: 'group', onkeydown: walk,
    'aria-label': `${plural(peers.length, 'peer')} around the node; arrow keys walk through them`,
  },
    order.map((p) => {
      const [x, y] = at(p.key);
      return h('line', {
        key: p.key, class: `tie ${kind(p)}`, x1: w / 2, y1: hgt / 2, x2: x, y2: y, 'stroke-width': width(p).toFixed(2),
      });
    }),
    h('circle', { key: ' node', class: 'self', cx: w / 2, cy: hgt / 2, r: 17 }),
    h('circle', { key: ' core', class: 'core', cx: w / 2, cy: hgt / 2, r: 6 }),
    order.map((p) => {
      const [x, y] = at(p.key);
      return h('a', {
        key: `${p.key} peer`, class: `peer ${kind(p)}`, href: look(p), tabindex: p === focus ? 0 : -1,
        'aria-label': `${p.first.c.peer_id || p.key}, in ${rate(p.rateIn)}, out ${rate(p.rateOut)}`,
        onmouseenter: choose(p), onfocus: choose(p),
      },
      h('circle', { class: 'touch', cx: x, cy: y, r: Math.max(radius + 3, 8) }),
      h('circle', { class: 'mark', cx: x, cy: y, r: radius }));
    }),
    labels(peers, names, at, w).map(({ p, x, y, left }) => h('text', {
      key: `${p.key} name`, class: p.key === picked ? 'picked' : '', x: x + (left ? -1 : 1) * (radius + 5), y: y + 4,
      'text-anchor': left ? 'end' : 'start',
    }, short(p.first.c.peer_id || p.key))));
}

export default {
  title: 'Swarm',
  badge: (m) => m.peers.length,
  fills: true,
  render(m, { update }) {
    ask = update;
    const peers = drawn(m.peers);
    settle(peers.map((p) => p.key));
    const chosen = peers.find((p) => p.key === picked);
    const transports = topFew(m.tally((r) => r.transport), KINDS);
    return h('div', { class: 'swarm' },
      h('div', { class: 'sky', ref: (el) => observer.observe(el) },
        peers.length
          ? size.width > 0 && picture(m, peers)
          : h('div', { class: 'empty' }, h('h2', null, 'Nobody here'), why('No peer was connected at this moment.'))),
      h('div', { class: 'caption' },
        h('ul', { class: 'legend row' },
          transports.map((t) => h('li', { key: t.key },
            h('span', { class: `swatch ${t.colour ?? colourOf(t.key)}` }),
            h('span', { class: 'clip' }, t.label ?? t.key),
            h('span', { class: 'faint' }, count(t.n)))),
          h('li', { class: 'faint', key: ' width' }, 'the wider the line, the more per second',
            peers.length < m.peers.length && `; ${of(peers, m.peers, 'peer')} peers, those that moved most`)),
        h('p', { class: 'about' }, chosen ? [
          h('strong', null, short(chosen.first.c.peer_id || chosen.key)), ' ',
          chosen.first.agent || chosen.first.process, ' ',
          plural(chosen.rows, 'connection'), ' ', inOut(chosen), ' ',
          h('span', { class: 'faint' }, `${total(chosen)} so far`), ' ',
          chosen.first.latency ? latency(chosen.first.latency) : '',
        ] : h('span', { class: 'faint' }, 'Point at a peer to read about it; click to see its connections.'))));
  },
};
