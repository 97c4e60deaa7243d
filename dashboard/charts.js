// Lines and areas as SVG. Coordinates are the box of the chart, which CSS
// stretches; colours come from the style sheet.

import { h } from './dom.js';
import { most as mostOf } from './format.js';

const n1 = (n) => n.toFixed(1);

// The path through points [x, y]; undefined breaks the line.
export function line(points) {
  let d = '', pen = 'M';
  for (const p of points) {
    d += p ? `${pen}${n1(p[0])} ${n1(p[1])}` : '';
    pen = p ? 'L' : 'M';
  }
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

// values: the oldest first, at least 0. most: of the scale, to share it.
export function sparkline(values, kind, most = mostOf(values)) {
  const step = WIDTH / Math.max(1, values.length - 1);
  const points = values.map((v, i) => [i * step, HEIGHT - 1.5 - (most ? v / most : 0) * (HEIGHT - 3)]);
  return h('svg', { class: `spark ${kind}`, ...BOX },
    h('path', { class: 'fill', d: area(points, HEIGHT) }),
    h('path', { class: 'line', d: line(points) }));
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
