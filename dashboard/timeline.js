// The foot of the page: what was stored, in time, and a handle to go back.

import { h, render } from './dom.js';
import { line, mirrored } from './charts.js';
import { ago, clock, count, duration, moment, most as mostOf, rate } from './format.js';

const HEIGHT = 56;            // px; style.css says the same
const SPAN_MIN = 60_000;      // ms shown at least, so that the beginning does not race
const GAP_MIN = 10_000;       // ms without a snapshot that break the lines
const BUCKET = 1.5;           // px that share one point

// Snapshots to go by key.
const STEPS = {
  ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity,
};

export class Timeline {
  el = document.createElement('footer');
  #width = 0;
  #args;
  #seek;
  #dragging = false;
  #observer = new ResizeObserver(([{ contentRect }]) => {
    this.#width = contentRect.width;
    this.#draw();
  });

  // seek: called with the index of a snapshot, or null to follow the newest.
  constructor(seek) {
    this.#seek = seek;
    this.el.className = 'timeline';
  }

  // index: of the snapshot shown. following: whether that is the newest one,
  // whichever it is. live: whether more will come. now: ms, at the right end.
  update(args) {
    this.#args = args;
    this.#draw();
  }

  #range() {
    const { store: { snapshots } } = this.#args;
    const end = snapshots.at(-1).at;
    return [Math.min(snapshots[0].at, end - SPAN_MIN), end];
  }

  #points([start, end]) {
    const { snapshots } = this.#args.store;
    const mean = (snapshots.at(-1).at - snapshots[0].at) / Math.max(1, snapshots.length - 1);
    const gap = Math.max(GAP_MIN, 5 * mean);
    const points = [];
    let bucket, before;
    for (const s of snapshots) {
      if (before && s.at - before.at > gap)
        points.push(bucket = undefined);
      before = s;
      const x = (s.at - start) / (end - start) * this.#width;
      if (bucket && x - bucket.x < BUCKET) {
        for (const k of ['rateIn', 'rateOut', 'connections'])
          bucket[k] = Math.max(bucket[k], s[k]);
      } else {
        points.push(bucket = { x, rateIn: s.rateIn, rateOut: s.rateOut, connections: s.connections });
      }
    }
    return points;
  }

  #pointer(e) {
    if (e.type === 'pointerdown') {
      this.#dragging = true;
      e.currentTarget.setPointerCapture(e.pointerId);
      e.currentTarget.querySelector('[role=slider]').focus({ preventScroll: true });
    } else if (e.type !== 'pointermove') {
      this.#dragging = false;
    }
    if (!this.#dragging)
      return;
    const { left, width } = e.currentTarget.getBoundingClientRect();
    const [start, end] = this.#range(), { store, live } = this.#args;
    const at = start + (e.clientX - left) / width * (end - start);
    const index = store.indexAt(at);
    this.#seek(live && at >= end ? null : index);
  }

  #key(e) {
    const { store: { snapshots: { length } }, index, live } = this.#args;
    if (!(e.key in STEPS) || e.ctrlKey || e.metaKey || e.altKey)
      return;
    e.preventDefault();
    const to = Math.max(0, Math.min(length - 1, index + STEPS[e.key]));
    // Keys may come faster than frames.
    this.#args.index = to;
    this.#seek(live && to === length - 1 ? null : to);
  }

  #draw() {
    const { store, index, following, live, playing, play, name, now } = this.#args;
    const { snapshots } = store;
    const s = snapshots[index];
    if (!s) {
      render(this.el, [h('p', { class: 'faint' }, 'The time line begins with the first snapshot.')]);
      return;
    }
    const range = this.#range(), [start, end] = range;
    const points = this.#points(range);
    const most = mostOf(points, (p) => p ? Math.max(1, p.rateIn, p.rateOut) : 1);
    const crowd = mostOf(points, (p) => p?.connections || 1);
    const level = (n) => HEIGHT - 2 - n / crowd * (HEIGHT - 6);
    const x = (s.at - start) / (end - start) * 100;
    const away = live ? ago(now - s.at) : `${duration(s.at - snapshots[0].at)} in`;
    const day = moment(s.ts, live ? undefined : snapshots.at(-1).ts);
    render(this.el, [
      h('div', { class: 'reading' },
        h('span', { class: 'when' },
          h('strong', null, day), h('span', { class: 'faint' }, following && live ? 'newest' : away)),
        h('span', { class: 'values' },
          h('span', { class: 'key in' }, 'In ', h('b', null, rate(s.rateIn))),
          h('span', { class: 'key out' }, 'Out ', h('b', null, rate(s.rateOut))),
          h('span', { class: 'key crowd' }, 'Connections ', h('b', null, count(s.connections)))),
        h('button', {
          type: 'button', class: 'quiet', onclick: play, disabled: index >= snapshots.length - 1 && !playing,
        }, playing ? 'Pause' : 'Play'),
        h('button', {
          type: 'button', class: `live${following ? ' on' : ''}`, 'aria-pressed': following ? 'true' : 'false',
          onclick: () => this.#seek(null),
        }, live ? 'Live' : 'End')),
      h('div', {
        class: 'plot', ref: (el) => this.#observer.observe(el),
        onpointerdown: (e) => this.#pointer(e), onpointermove: (e) => this.#pointer(e),
        onpointerup: (e) => this.#pointer(e), onpointercancel: (e) => this.#pointer(e),
      },
      h('svg', { viewBox: `0 0 ${this.#width || 1} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        mirrored(points, this.#width, HEIGHT, most),
        h('path', { class: 'line crowd', d: line(points.map((p) => p && [p.x, level(p.connections)])) })),
      h('span', { class: 'scale' }, rate(most)), h('span', { class: 'scale low' }, rate(most)),
      h('div', {
        class: 'handle', role: 'slider', tabindex: 0, style: { left: `${x}%` }, onkeydown: (e) => this.#key(e),
        'aria-label': `Moment of ${name}`, 'aria-valuemin': 0, 'aria-valuemax': snapshots.length - 1,
        'aria-valuenow': index, 'aria-valuetext': `${day}, ${away}`,
      })),
      h('div', { class: 'ends' },
        h('span', null, clock(snapshots[0].ts - (snapshots[0].at - start))),
        h('span', null, `${duration(end - snapshots[0].at)} held`),
        h('span', null, clock(snapshots.at(-1).ts))),
    ]);
  }
}
