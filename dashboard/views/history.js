// What one connection or peer moved over the time that is held.

import { h } from '../dom.js';
import { isGap, mirrored, timed } from '../charts.js';
import { duration, most as mostOf, rate } from '../format.js';

const WIDTH = 320, HEIGHT = 72;

// Bytes per second between snapshots, of the connections whose row is meant; undefined where
// none of them was there, or nothing is known.
function points({ snapshots }, isMeant) {
  const list = [], start = snapshots[0].at, span = Math.max(1, snapshots.at(-1).at - start);
  let before = new Map();
  snapshots.forEach((s, i) => {
    const now = new Map(), seconds = (s.at - (snapshots[i - 1]?.at ?? s.at)) / 1000;
    let rateIn = 0, rateOut = 0;
    s.tracks.forEach((track, at) => {
      if (!isMeant(track.row))
        return;
      const [bytesIn, bytesOut] = [s.moved[2 * at], s.moved[2 * at + 1]], was = before.get(track);
      now.set(track, [bytesIn, bytesOut]);
      if (was && seconds) {
        rateIn += Math.max(0, bytesIn - was[0]) / seconds;
        rateOut += Math.max(0, bytesOut - was[1]) / seconds;
      }
    });
    const known = now.size && before.size && seconds && !isGap(snapshots, i);
    list.push(known ? { x: (s.at - start) / span * WIDTH, rateIn, rateOut } : undefined);
    before = now;
  });
  return list;
}

export function history(m, isMeant) {
  const { snapshots } = m.store, list = points(m.store, isMeant);
  const most = mostOf(list, (p) => p ? Math.max(p.rateIn, p.rateOut) : 0);
  const start = snapshots[0].at, now = (m.snapshot.at - start) / Math.max(1, snapshots.at(-1).at - start) * WIDTH;
  return h('figure', { class: 'history' },
    timed(start, snapshots.at(-1).at, h('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img',
      'aria-label': `Rates over time, at most ${rate(most)}`,
    },
    mirrored(list, WIDTH, HEIGHT, most), h('path', { class: 'now', d: `M${now} 0V${HEIGHT}` }))),
    h('figcaption', null,
      h('span', null, `rates in the ${duration(snapshots.at(-1).at - start)} that are held`),
      h('span', null, `peak ${rate(most)}`)));
}
