// Lines and areas as SVG. Coordinates are the box of the chart, which CSS
// stretches; colours come from the style sheet.

import { h } from './dom.js';
import { most as mostOf } from './format.js';

const n1 = (n) => n.toFixed(1);
const GAP_MIN = 5000;   // ms without a snapshot that may be a gap

// Whether nothing is known of the time before a snapshot: it came much later than its
// neighbours tell, and not because it was asked for late.
export function isGap(snapshots, i) {
  const s = snapshots[i], before = snapshots[i - 1], after = snapshots[i + 1];
  if (!before || s.rare)
    return false;
  const usual = Math.max(s.runtime.interval_ms, i > 1 ? before.at - snapshots[i - 2].at : 0, after ? after.at - s.at : 0);
  return s.at - before.at > Math.max(GAP_MIN, 3 * usual);
}

// The path through points [x, y]; undefined breaks the line. A point alone is a dot.
export function line(points) {
  let d = '', pen = 'M';
  points.forEach((p, i) => {
    d += p ? `${pen}${n1(p[0])} ${n1(p[1])}${pen === 'M' && !points[i + 1] ? 'h0' : ''}` : '';
    pen = p ? 'L' : 'M';
  });
  return d;
}

// The same, filled down (or up) to y = base.
function area(points, base) {
  let d = '', run = [];
  const close = () => {
    if (run.length)
      d += `${line(run)}L${n1(run.at(-1)[0])} ${n1(base)}L${n1(run[0][0])} ${n1(base)}Z`;
    run = [];
  };
  for (const p of points)
    p ? run.push(p) : close();
  close();
  return d;
}

const WIDTH = 100, HEIGHT = 30;
const BOX = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' };

// Snapshots of a span of time that ends with the one at `index`, as { s, x: 0 to width };
// undefined where there is a gap.
export function overTime(snapshots, from, index, width) {
  const end = snapshots[index].at, start = Math.min(snapshots[from].at, end - 1), points = [];
  for (let i = from; i <= index; i++) {
    if (i > from && isGap(snapshots, i))
      points.push(undefined);
    points.push({ s: snapshots[i], x: (snapshots[i].at - start) / (end - start) * width });
  }
  return points;
}

// A chart of the time from one ms to another of the store's line: the mouse over it reads the same
// moment in all of them.
export const timed = (from, to, svg, props) => h('div', { ...props, class: `timed ${props?.class ?? ''}`, 'data-span': `${from} ${to}` }, svg);

const spanOf = (el) => el.dataset.span.split(' ').map(Number);

// The ms at which a pointer is in such a chart; undefined: in none.
export function timeUnder(e) {
  const el = e.target.closest?.('.timed');
  if (!el)
    return undefined;
  const { left, width } = el.getBoundingClientRect(), [from, to] = spanOf(el);
  return from + (e.clientX - left) / width * (to - from);
}

// Marks a moment in all of them, with the value that those have then which tell it; undefined: none.
export function mark(at) {
  for (const el of document.querySelectorAll('.timed')) {
    const [from, to] = spanOf(el), inside = at >= from && at <= to;
    el.style.setProperty('--x', inside ? `${(at - from) / (to - from) * 100}%` : '-9px');
    el.dataset.value = inside && el.onread?.(at) || '';
  }
}

// points: of overTime for a width of 100. f: snapshot => value of at least 0. most: of the
// scale, to share it. show: value => text, for the one at the mouse.
export function sparkline(points, f, kind, most = mostOf(points, (p) => p ? f(p.s) : 0), show) {
  const drawn = points.map((p) => p && [p.x, HEIGHT - 1.5 - (most ? f(p.s) / most : 0) * (HEIGHT - 3)]);
  return timed(points[0].s.at, points.at(-1).s.at, h('svg', { class: kind, ...BOX },
    h('path', { class: 'fill', d: area(drawn, HEIGHT) }),
    h('path', { class: 'line', d: line(drawn) })), { class: 'spark', onread: show && ((at) => show(f(points.findLast((p) => p && p.s.at <= at).s))) });
}

// values: counts, at least one of them above 0.
export function bars(values) {
  const step = WIDTH / values.length, most = mostOf(values);
  return h('svg', { class: 'spark bars', ...BOX }, values.map((v, i) => {
    const height = v / most * (HEIGHT - 2);
    return h('rect', { x: n1(i * step + 0.5), y: n1(HEIGHT - height), width: n1(step - 1), height: n1(height) });
  }));
}

// In above the middle, out below, on one scale. points: { x, rateIn, rateOut },
// undefined where the line breaks.
export function mirrored(points, width, height, most) {
  const middle = height / 2, scale = most ? (middle - 2) / most : 0;
  const up = points.map((p) => p && [p.x, middle - p.rateIn * scale]);
  const down = points.map((p) => p && [p.x, middle + p.rateOut * scale]);
  return [
    h('path', { class: 'fill in', d: area(up, middle) }), h('path', { class: 'line in', d: line(up) }),
    h('path', { class: 'fill out', d: area(down, middle) }), h('path', { class: 'line out', d: line(down) }),
    h('path', { class: 'middle', d: `M0 ${middle}H${width}` }),
  ];
}
