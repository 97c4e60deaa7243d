// The keyboard, and the sheet that tells its keys.

import { h, render } from './dom.js';

const VIEWS = {
  o: 'overview', p: 'peers', c: 'connections', s: 'streams', d: 'dht', t: 'topics', e: 'events', w: 'swarm', f: 'fleet',
};
const G_MAX = 1500;   // ms between g and the letter of a view

const KEYS = [
  ['/', 'search'], ['g, then a letter', Object.entries(VIEWS).map(([k, v]) => `${k} ${v}`).join(', ')],
  ['[ and ]', 'one snapshot back, one on'], ['space', 'play, pause'], ['l', 'follow the newest'],
  ['arrows, Enter, Esc', 'in tables: to a row, open it, close it'], ['arrows on the time line', 'back and on; with Shift: select a range; Tab: to the ends of ranges'],
  ['Alt and drag on the time line', 'a second range, to compare with'],
  ['?', 'this sheet'],
];

const isTyping = (el) => el.matches('input, select, textarea');

// The sheet as a <dialog>.
export function sheet() {
  let dialog = document.querySelector('dialog');
  if (!dialog) {
    dialog = document.body.appendChild(document.createElement('dialog'));
    dialog.setAttribute('aria-label', 'Keys');
    render(dialog, [
      h('h2', null, 'Keys'),
      h('dl', { class: 'keys' }, KEYS.map(([key, what]) => h('div', { key }, h('dt', null, h('kbd', null, key)), h('dd', null, what)))),
      h('button', { type: 'button', onclick: () => dialog.close() }, 'Close'),
    ]);
  }
  return dialog;
}

// go: called with a view; step: with -1 or 1; live and play: with nothing.
export function keyboard({ go, step, live, play }) {
  let g = 0;
  addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || isTyping(e.target) || document.querySelector('dialog[open]'))
      return;
    const view = e.timeStamp - g < G_MAX && VIEWS[e.key];
    const act = view ? () => go(view) : {
      '/': () => document.querySelector('.search')?.select(),
      '?': () => sheet().showModal(),
      '[': () => step(-1), ']': () => step(1), l: live,
      ' ': e.target === document.body || e.target.id === 'main' ? play : undefined,
    }[e.key];
    g = e.key === 'g' ? e.timeStamp : 0;
    if (!act)
      return;
    e.preventDefault();
    act();
  });
}
