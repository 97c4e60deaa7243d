// The foot of the page: what was stored, in time; a handle to go back, and a range to select.

import { h, render } from './dom.js';
import { isGap, line, mark, mirrored, timed, timeUnder } from './charts.js';
import { ago, clock, count, duration, moment, most as mostOf, rate } from './format.js';

const HEIGHT = 56;            // px; style.css says the same
const SPAN_MIN = 60_000;      // ms shown at least, so that the beginning does not race
const ZOOM_MIN = 5000;        // ms
const BUCKET = 1.5;           // px that share one point
const TICK_MIN = 90;          // px between ticks
const HELD = 110;              // px of the words at the right end
const DRAG_MIN = 4;           // px that make a click a drag
const SPEEDS = [1, 10];
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800];   // s

// Snapshots to go by key.
const STEPS = {
  ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity,
};

export class Timeline {
  el = document.createElement('footer');
  #width = 0;
  #args;
  #seek;
  #play;
  #compare;
  #zoom;           // [start, end] in ms, when only a part is shown
  #drag;           // { kind: scrub, select, compare or end, x, at, moved } while the pointer is down
  #grabbed;        // of the end of a range at which the pointer came down: called with ms
  #focus;          // whether the start of a range is to be focused once it is drawn
  #anchor;         // ms, the end that stays when keys select a range
  #hover;          // ms under the mouse
  #observer = new ResizeObserver(([{ contentRect }]) => {
    this.#width = contentRect.width;
    this.#draw();
  });

  // seek: called with the index of a snapshot, or null to follow the newest, and with the
  // ms at which a range begins that ends there. play: called with how fast, 0 to stop. compare:
  // called with the ms at which a second range begins and ends.
  constructor({ seek, play, compare }) {
    this.#compare = compare;
    this.#seek = seek;
    this.#play = play;
    this.el.className = 'timeline';
    addEventListener('pointermove', (e) => {
      if (e.pointerType === 'mouse' && !this.el.contains(e.target))
        this.#point(timeUnder(e));
    });
  }

  // index: of the snapshot shown. following: whether that is the newest one,
  // whichever it is. live: whether more will come. now: ms, at the right end. range: [from,
  // to] in ms, when one is selected; second: { start, end } of what it is compared with; picking:
  // whether that is to be selected next. playing, speed: whether and how fast.
  update(args) {
    this.#args = args;
    this.#draw();
  }

  #range() {
    const { store: { snapshots } } = this.#args;
    const end = snapshots.at(-1).at, start = Math.min(snapshots[0].at, end - SPAN_MIN);
    if (this.#zoom && this.#zoom[1] - this.#zoom[0] < end - start)
      return this.#zoom;
    this.#zoom = undefined;
    return [start, end];
  }

  #points([start, end]) {
    const { store } = this.#args, { snapshots } = store, points = [];
    const last = Math.min(snapshots.length, store.indexAt(end) + 2);
    let bucket;
    for (let i = store.indexAt(start); i < last; i++) {
      const s = snapshots[i], x = (s.at - start) / (end - start) * this.#width;
      if (isGap(snapshots, i))
        points.push(bucket = undefined);
      if (bucket && x - bucket.x < BUCKET) {
        for (const k of ['rateIn', 'rateOut', 'connections'])
          bucket[k] = Math.max(bucket[k], s[k]);
        bucket.closed += s.closed;
      } else {
        points.push(bucket = { x, rateIn: s.rateIn, rateOut: s.rateOut, connections: s.connections, closed: s.closed });
      }
    }
    return points;
  }

  #gaps([start, end]) {
    const { store: { snapshots } } = this.#args, gaps = [], x = (at) => Math.max(0, (at - start) / (end - start) * this.#width);
    for (let i = 1; i < snapshots.length; i++) {
      if (isGap(snapshots, i) && snapshots[i].at > start && snapshots[i - 1].at < end)
        gaps.push(h('rect', {
          key: `gap ${i}`, class: 'gap', x: x(snapshots[i - 1].at), width: x(snapshots[i].at) - x(snapshots[i - 1].at), y: 0, height: HEIGHT,
        }));
    }
    return gaps;
  }

  // Marks at round times of the clock.
  #ticks([start, end]) {
    const last = this.#args.store.snapshots.at(-1), shift = last.ts - last.at;
    const step = 1000 * (TICKS.find((s) => s * 1000 / (end - start) * this.#width >= TICK_MIN) ?? TICKS.at(-1));
    const zone = new Date(end + shift).getTimezoneOffset() * 60_000, ticks = [];
    for (let at = Math.ceil((start + shift - zone) / step) * step + zone - shift; at < end; at += step) {
      const x = (at - start) / (end - start) * 100;
      if (x > 3 && x < 100 - HELD / this.#width * 100)
        ticks.push(h('span', { key: at, class: 'tick', style: { left: `${x.toFixed(2)}%` } }, clock(at + shift).slice(0, step < 60_000 ? 8 : 5)));
    }
    return ticks;
  }

  #at(e) {
    const { left, width } = this.el.querySelector('.plot').getBoundingClientRect(), [start, end] = this.#range();
    return start + Math.max(0, Math.min(1, (e.clientX - left) / width)) * (end - start);
  }

  #goTo(at, from) {
    const { store, live } = this.#args;
    this.#seek(live && from === undefined && at >= store.snapshots.at(-1).at ? null : store.indexAt(at), from);
  }

  #down(e) {
    if (e.button)
      return;
    const kind = this.#grabbed ? 'end' : e.altKey || this.#args.picking ? 'compare' : e.target.closest('.handle') || e.pointerType === 'touch' ? 'scrub' : 'select';
    this.#drag = { kind, x: e.clientX, at: this.#at(e), moved: false };
    e.currentTarget.setPointerCapture(e.pointerId);
    (this.#grabbed ? e.target : e.currentTarget.querySelector('.handle')).focus({ preventScroll: true });
    if (kind === 'scrub')
      this.#goTo(this.#drag.at);
  }

  #move(e) {
    const at = this.#at(e), drag = this.#drag;
    this.#hover = e.pointerType === 'mouse' ? at : undefined;
    if (!drag)
      return this.#draw();
    drag.moved ||= Math.abs(e.clientX - drag.x) >= DRAG_MIN;
    if (drag.kind === 'scrub')
      this.#goTo(at);
    else if (drag.kind === 'end')
      this.#grabbed(at);
    else if (drag.moved && drag.kind === 'compare')
      this.#compare(Math.min(at, drag.at), Math.max(at, drag.at));
    else if (drag.moved)
      this.#goTo(Math.max(at, drag.at), Math.min(at, drag.at));
    return undefined;
  }

  #up() {
    if (this.#drag && this.#drag.kind === 'select' && !this.#drag.moved)
      this.#goTo(this.#drag.at);
    this.#drag = this.#grabbed = undefined;
  }

  // at: ms under the mouse, in whatever chart.
  #point(at) {
    if (at === this.#hover)
      return;
    this.#hover = at;
    this.#draw();
  }

  #wheel(e) {
    const { store: { snapshots } } = this.#args, [start, end] = this.#range(), at = this.#at(e);
    if (!e.deltaY || e.ctrlKey)
      return;
    e.preventDefault();
    const factor = e.deltaY < 0 ? 0.8 : 1.25, span = Math.max(ZOOM_MIN, (end - start) * factor);
    const from = Math.max(Math.min(snapshots[0].at, snapshots.at(-1).at - SPAN_MIN), at - (at - start) / (end - start) * span);
    this.#zoom = [from, Math.min(snapshots.at(-1).at, from + span)];
    this.#draw();
  }

  // Calls go with the index to which a key leads from a time. Keys may come faster than frames, so
  // what is called changes the arguments, too.
  #key(e, at, go) {
    const { store } = this.#args;
    if (!(e.key in STEPS) || e.ctrlKey || e.metaKey || e.altKey)
      return;
    e.preventDefault();
    go(Math.max(0, Math.min(store.snapshots.length - 1, store.indexAt(at) + STEPS[e.key])));
  }

  #step(e) {
    const args = this.#args, { store: { snapshots }, index, live, range } = args, { at } = snapshots[index];
    if (e.shiftKey) {
      const [anchor, moving] = !range ? [at, at] : this.#anchor === range[1] ? [range[1], range[0]] : range;
      this.#anchor = anchor;
      return this.#key(e, moving, (to) => this.#select(Math.min(anchor, snapshots[to].at), Math.max(anchor, snapshots[to].at)));
    }
    return this.#key(e, at, (to) => {
      args.index = to;
      this.#seek(live && to === snapshots.length - 1 ? null : to);
    });
  }

  #select(from, to) {
    const args = this.#args;
    args.index = args.store.indexAt(to);
    args.range = from < to ? [from, to] : undefined;
    this.#seek(args.index, args.range?.[0]);
  }

  // A range that ends at the moment shown, to be changed from there.
  #begin() {
    const { store, index } = this.#args, { snapshots } = store, { at } = snapshots[index], [start, end] = this.#range();
    this.#select(snapshots[Math.max(0, Math.min(index - 1, store.indexAt(at - (end - start) / 8)))].at, at);
    this.#focus = true;
  }

  // The ends of the ranges, besides the moment: [its name, ms, called with the ms to which it goes].
  #ends() {
    const args = this.#args, { range, second } = args;
    return [
      range && ['Start of the range', () => args.range[0], (at) => {
        args.range = [Math.min(at, args.range[1]), args.range[1]];
        this.#seek(args.following ? null : args.index, args.range[0]);
      }],
      ...['start', 'end'].map((side) => second && [`${side} of the range compared with`, () => args.second[side], (at) => {
        const { start, end } = args.second;
        args.second = side === 'start' ? { start: Math.min(at, end), end } : { start, end: Math.max(at, start) };
        this.#compare(args.second.start, args.second.end);
      }]),
    ].filter(Boolean);
  }

  // What moves along the line, in words, too. span: ms of its range.
  #slider(name, at, percent, span, props) {
    const { store } = this.#args, { snapshots } = store, index = store.indexAt(at), s = snapshots[index];
    return h('div', {
      key: name, role: 'slider', tabindex: 0, style: { left: `${Math.max(0, Math.min(100, percent(at)))}%` },
      'aria-label': name, 'aria-valuemin': 0, 'aria-valuemax': snapshots.length - 1, 'aria-valuenow': index,
      'aria-valuetext': `${moment(s.ts + at - s.at, snapshots.at(-1).ts)}${span ? `, range of ${duration(span)}` : ''}`, ...props,
    });
  }

  // A time of day: the last one of it that is held.
  #typed(e) {
    const [hours, minutes, seconds = 0] = e.target.value.split(':').map(Number), { store: { snapshots } } = this.#args;
    const last = snapshots.at(-1), at = new Date(last.ts);
    if (Number.isNaN(hours))
      return;
    at.setHours(hours, minutes, seconds, 999);
    const ts = at > last.ts ? at - 86_400_000 : Number(at);
    this.#goTo(ts - last.ts + last.at);
  }

  #buttons() {
    const { store: { snapshots }, index, following, live, playing, speed, range } = this.#args;
    const atEnd = index >= snapshots.length - 1 && !playing;
    return h('span', { class: 'buttons' },
      h('button', {
        type: 'button', class: 'quiet', disabled: !range && !index, onclick: () => range ? this.#seek(following ? null : index) : this.#begin(),
      }, range ? `Clear range of ${duration(range[1] - range[0])}` : 'Range'),
      this.#zoom && h('button', { type: 'button', class: 'quiet', onclick: () => { this.#zoom = undefined; this.#draw(); } }, 'All'),
      h('input', { type: 'time', class: 'time', step: 1, 'aria-label': 'Go to a time', title: 'Go to a time', onchange: (e) => this.#typed(e) }),
      SPEEDS.map((n) => h('button', {
        key: n, type: 'button', class: 'quiet', disabled: atEnd, 'aria-label': playing && speed === n ? 'Pause' : `Play ${n} times as fast`,
        onclick: () => this.#play(playing && speed === n ? 0 : n),
      }, playing && speed === n ? 'Pause' : n === 1 ? 'Play' : `×${n}`)),
      h('button', {
        type: 'button', class: `live${following ? ' on' : ''}`, 'aria-pressed': following ? 'true' : 'false',
        onclick: () => this.#seek(null),
      }, live ? 'Live' : 'End'));
  }

  #reading(s) {
    const { store: { snapshots }, following, live, now } = this.#args, first = snapshots[0];
    const away = live ? ago(now - s.at) : `${duration(s.at - first.at)} in`;
    const day = moment(s.ts, live ? undefined : snapshots.at(-1).ts);
    const hovered = this.#hover !== undefined;
    return h('div', { class: `reading${hovered ? ' hovered' : ''}` },
      h('span', { class: 'when' }, h('strong', null, day),
        h('span', { class: 'faint' }, following && live && !hovered ? 'newest' : away)),
      h('span', { class: 'values' },
        h('span', { class: 'key in' }, 'In ', h('b', null, rate(s.rateIn))),
        h('span', { class: 'key out' }, 'Out ', h('b', null, rate(s.rateOut))),
        h('span', { class: 'key crowd' }, 'Connections ', h('b', null, count(s.connections))),
        hovered && (s.opened > 0 || s.closed > 0) && h('span', { class: 'faint' }, `+${count(s.opened)} −${count(s.closed)}`)),
      this.#buttons());
  }

  #plot(range, s) {
    const [start, end] = range, { store: { snapshots }, name, range: selected, second } = this.#args;
    const points = this.#points(range);
    const most = mostOf(points, (p) => p ? Math.max(p.rateIn, p.rateOut) : 0), crowd = mostOf(points, (p) => p?.connections || 1);
    const level = (n) => HEIGHT - 2 - n / crowd * (HEIGHT - 6), percent = (at) => (at - start) / (end - start) * 100;
    const burst = mostOf(points, (p) => p?.closed ?? 0);
    return h('div', {
      class: 'plot', ref: (el) => {
        this.#observer.observe(el);
        el.addEventListener('wheel', (e) => this.#wheel(e), { passive: false });
      },
      onpointerdown: (e) => this.#down(e), onpointermove: (e) => this.#move(e), onpointerleave: () => this.#point(undefined),
      onpointerup: () => this.#up(), onpointercancel: () => { this.#drag = this.#grabbed = undefined; },
    },
    timed(start, end, h('svg', { viewBox: `0 0 ${this.#width || 1} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      this.#gaps(range),
      mirrored(points, this.#width, HEIGHT, most),
      h('path', { class: 'line crowd', d: line(points.map((p) => p && [p.x, level(p.connections)])) }),
      h('path', { class: 'closings', d: points.map((p) => p?.closed > Math.max(2, burst / 4) ? `M${p.x.toFixed(1)} ${HEIGHT}v-5` : '').join('') }))),
    most > 0 && ['scale', 'scale low'].map((c) => h('span', { key: c, class: c }, rate(most))),
    [selected, second && [second.start, second.end]].map((part, i) => part && h('span', { class: `selected${i ? ' second' : ''}`, style: {
      left: `${Math.max(0, percent(part[0]))}%`, width: `${Math.max(0, Math.min(100, percent(part[1])) - Math.max(0, percent(part[0])))}%`,
    } })),
    this.#slider(`Moment of ${name}`, s.at, percent, selected && selected[1] - selected[0], { class: 'handle', onkeydown: (e) => this.#step(e) }),
    this.#ends().map(([end, at, go], i) => this.#slider(end, at(), percent, i || !selected ? second.end - second.start : selected[1] - selected[0], {
      class: 'handle end', onpointerdown: (e) => { this.#grabbed = e.button ? undefined : go; },
      onkeydown: (e) => this.#key(e, at(), (to) => go(snapshots[to].at)),
    })));
  }

  #draw() {
    const { store, index } = this.#args, { snapshots } = store, s = snapshots[index];
    if (!s) {
      render(this.el, [h('p', { class: 'faint' }, 'The time line begins with the first snapshot.')]);
      return;
    }
    const range = this.#range();
    render(this.el, [
      this.#reading(this.#hover === undefined ? s : snapshots[store.indexAt(this.#hover)]),
      this.#plot(range, s),
      h('div', { class: 'ends' }, this.#ticks(range),
        h('span', { class: 'kept' }, `${duration(snapshots.at(-1).at - snapshots[0].at)} held`)),
    ]);
    mark(this.#hover && snapshots[store.indexAt(this.#hover)].at);
    if (this.#focus && this.#args.range) {
      this.#focus = false;
      this.el.querySelector('.end').focus({ preventScroll: true });
    }
  }
}
