// Builds DOM from descriptions and patches what is there to match the next one.
// Text only ever becomes text nodes and attribute values.

import { shown } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const DRAWN = Symbol();   // on an element: the description it was made from

// A description of an element. props: attributes, `on…` handlers, `key` (tells
// siblings apart when they move), `style` (an object of CSS properties), `ref`
// (called with the element once made). Children: descriptions, text, DOM nodes,
// lists of those; null and false are left out.
export const h = (tag, props, ...children) => ({ tag, props: props ?? {}, children });

// Attributes that people read, or have read to them.
const READ = new Set(['title', 'aria-label', 'aria-valuetext']);

const flat = (children) => children.flat(Infinity).filter((c) => c != null && c !== false && c !== '');

function setProp(el, name, value, old) {
  if (name === 'key' || name === 'ref')
    return;
  if (name.startsWith('on'))
    el[name] = value ?? null;
  else if (name === 'style')
    for (const key of Object.keys({ ...old, ...value })) {
      if (old?.[key] !== value?.[key])
        el.style.setProperty(key, value?.[key] ?? '');
    }
  else if (name === 'value' || name === 'checked')
    el[name] = value ?? '';
  else if (value == null || value === false)
    el.removeAttribute(name);
  else
    el.setAttribute(name, value === true ? '' : READ.has(name) ? shown(value) : value);
}

function make(parent, want) {
  if (want instanceof Node)
    return want;
  if (typeof want !== 'object')
    return document.createTextNode(shown(String(want)));
  const space = want.tag === 'svg' || parent.namespaceURI === SVG ? SVG : 'http://www.w3.org/1999/xhtml';
  const el = document.createElementNS(space, want.tag);
  patch(el, want);
  want.props.ref?.(el);
  return el;
}

function patch(el, want) {
  const old = el[DRAWN]?.props ?? {};
  el[DRAWN] = want;
  for (const name of Object.keys(old)) {
    if (!(name in want.props))
      setProp(el, name, undefined, old[name]);
  }
  render(el, want.children);
  for (const [name, value] of Object.entries(want.props)) {
    if (value !== old[name] || name === 'value' && el.value !== value)
      setProp(el, name, value, old[name]);
  }
}

const fits = (node, want) => want instanceof Node ? node === want
  : typeof want !== 'object' ? node.nodeType === Node.TEXT_NODE
  : node[DRAWN]?.tag === want.tag && node[DRAWN].props.key === want.props.key;

// Makes the children of an element those described.
export function render(parent, children) {
  const wanted = flat(children);
  const keyed = new Map();
  for (const node of parent.childNodes) {
    const key = node[DRAWN]?.props.key;
    if (key !== undefined)
      keyed.set(key, node);
  }
  let here = parent.firstChild;
  for (const want of wanted) {
    let node = here;
    if (!node || !fits(node, want)) {
      const kept = want.props && keyed.get(want.props.key);
      node = kept && fits(kept, want) ? kept : make(parent, want);
      parent.insertBefore(node, here);
    } else {
      here = here.nextSibling;
    }
    if (typeof want !== 'object') {
      const text = shown(String(want));
      if (node.nodeValue !== text)
        node.nodeValue = text;
    } else if (!(want instanceof Node) && node[DRAWN] !== want) {
      patch(node, want);
    }
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}
