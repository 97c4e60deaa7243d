// A table of any length: only the rows in sight are in the DOM.

import { h, render } from './dom.js';
import { dash } from './parts.js';
import { get, set } from './route.js';

const ROW = 34;      // px; style.css says the same
const EXTRA = 5;     // rows kept above and below those in sight

// Columns, as Table takes them: of text, of numbers, and one that is left out when no row has any.
export const column = (id, title, min, value = (r) => r[id], more = {}) => ({ id, title, min, value, ...more });
export const number = (id, title, min, value = (r) => r[id], show = String, more = {}) =>
  column(id, title, min, value, { number: true, cell: (r) => dash(value(r), show), ...more });
export const ifAny = (c) => ({ ...c, hidden: (rows) => !rows.some(c.value) });

const text = new Intl.Collator('en', { numeric: true });
const compare = (a, b) => typeof a === 'string' ? text.compare(a, b) : a - b;

function stored(label, hidden) {
  try {
    if (hidden)
      localStorage.setItem(`columns ${label}`, JSON.stringify([...hidden]));
    return new Set(JSON.parse(localStorage.getItem(`columns ${label}`) ?? '[]'));
  } catch {
    return hidden ?? new Set();
  }
}

export class Table {
  #given = [];         // rows as they came
  #rows = [];          // in the order in which they stand
  #place = new Map();  // key of a row: its place in them
  #shown = [];         // columns
  #most = {};          // of a column with bars, by its id
  #selected;
  #active;             // key of the row at which the keyboard stands
  #held = false;       // the mouse is over a row: rows keep their places
  #filter;
  #hidden;             // ids of columns that the user does not want
  #options;

  // columns: { id, title, min (px), grow (share of what is left), number, value
  // (row => what to sort by), cell (row => children; the value when missing), bar (whether
  // the value is drawn, too), hidden (rows => boolean) }. The first one stays in sight.
  // sort: [column id, 1 or -1]. onopen: called with a row. Rows have a `key`; those that are
  // `gone` are faded, and come last. empty: what to say when there are none.
  constructor({ label, columns, sort, onopen, empty }) {
    this.#options = { label, columns, sort, onopen, empty };
    this.#hidden = stored(label);
    this.el = document.createElement('div');
    this.el.className = 'table';
    this.el.addEventListener('scroll', () => this.#draw(), { passive: true });
    this.el.addEventListener('keydown', (e) => this.#key(e));
    this.el.addEventListener('pointermove', (e) => this.#hold(e.pointerType === 'mouse' && e.target.closest('.tr')));
    this.el.addEventListener('pointerleave', () => this.#hold(false));
    new ResizeObserver(() => this.#draw()).observe(this.el);
  }

  get #sort() {
    const asked = get('sort'), id = asked.replace(/^-/, '');
    return this.#options.columns.some((c) => c.id === id) ? [id, asked === id ? 1 : -1] : this.#options.sort;
  }

  // filter: what chose the rows, so that another choice begins at the top.
  update(rows, { selected, filter = '', sort } = {}) {
    this.#given = rows;
    if (sort)
      this.#options.sort = sort;
    if (filter !== this.#filter)
      this.el.scrollTop = 0;
    this.#held &&= filter === this.#filter;
    this.#filter = filter;
    this.#shown = this.#options.columns.filter((c, i) => !i || !this.#hidden.has(c.id) && !c.hidden?.(rows));
    for (const c of this.#shown) {
      if (c.bar)
        this.#most[c.id] = rows.reduce((n, r) => Math.max(n, c.value(r)), 0);
    }
    this.#rows = this.#held ? this.#inPlace(rows) : this.#sorted(rows);
    this.#place = new Map(this.#rows.map((r, i) => [r.key, i]));
    this.#selected = selected;
    this.#draw();
    return this.el;
  }

  // Those that were here keep their order to begin with, which is nearly right.
  #sorted(rows) {
    const [id, direction] = this.#sort;
    const { value } = this.#options.columns.find((c) => c.id === id);
    const old = [], fresh = [];
    for (const r of rows) {
      const at = this.#place.get(r.key);
      if (at === undefined || old[at])
        fresh.push(r);
      else
        old[at] = r;
    }
    return old.filter(Boolean).concat(fresh).sort((a, b) =>
      a.gone - b.gone || direction * compare(value(a), value(b)) || (a.key < b.key ? -1 : 1));
  }

  // No row moves: what came is at the end, what went stays, faded.
  #inPlace(rows) {
    const here = new Map(rows.map((r) => [r.key, r]));
    const kept = this.#rows.map((r) => here.get(r.key) ?? { ...r, gone: true });
    return kept.concat(rows.filter((r) => !this.#place.has(r.key)));
  }

  #hold(held) {
    if (Boolean(held) === this.#held)
      return;
    this.#held = Boolean(held);
    if (!this.#held)
      this.update(this.#given, { selected: this.#selected, filter: this.#filter });
    this.el.classList.toggle('held', this.#held);
  }

  #sortBy(column) {
    const [id, direction] = this.#sort;
    const next = column.id === id ? -direction : column.number ? -1 : 1;
    this.el.scrollTop = 0;
    set({ sort: `${next < 0 ? '-' : ''}${column.id}` });
  }

  #key(e) {
    if (!e.target.matches('[role=row]') || e.ctrlKey || e.metaKey || e.altKey)
      return;
    const page = Math.max(1, Math.floor(this.el.clientHeight / ROW) - 2);
    const at = this.#place.get(this.#active) ?? -1;
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
    if (e.key in steps)
      this.#focus(Math.max(0, Math.min(this.#rows.length - 1, at + steps[e.key])));
    else if (at >= 0 && (e.key === 'Enter' || e.key === ' '))
      this.#options.onopen?.(this.#rows[at]);
    else
      return;
    e.preventDefault();
    e.stopPropagation();
  }

  #focus(index) {
    this.#active = this.#rows[index]?.key;
    const top = index * ROW, room = this.el.clientHeight - 2 * ROW;
    if (top < this.el.scrollTop)
      this.el.scrollTop = top;
    else if (top > this.el.scrollTop + room)
      this.el.scrollTop = top - room;
    this.#draw();
    this.el.querySelector(`[aria-rowindex="${index + 2}"]`)?.focus({ preventScroll: true });
  }

  // A menu of the columns.
  chooser() {
    const { label, columns } = this.#options;
    const toggle = (c) => () => {
      this.#hidden.delete(c.id) || this.#hidden.add(c.id);
      stored(label, this.#hidden);
      set({});
    };
    return h('details', { class: 'menu', key: 'columns' }, h('summary', null, 'Columns'),
      h('div', { class: 'choices' }, columns.slice(1).map((c) => h('label', { key: c.id },
        h('input', { type: 'checkbox', checked: !this.#hidden.has(c.id), onchange: toggle(c) }), c.title))));
  }

  #header() {
    const [sorted, direction] = this.#sort;
    return h('div', { class: 'thead', role: 'row', 'aria-rowindex': 1 }, this.#shown.map((c) => h('div', {
      key: c.id, role: 'columnheader', class: c.number ? 'number' : '',
      'aria-sort': c.id !== sorted ? 'none' : direction > 0 ? 'ascending' : 'descending',
    }, h('button', { type: 'button', title: c.hint, onclick: () => this.#sortBy(c) }, c.title))));
  }

  #cell(c, row) {
    const part = c.bar && this.#most[c.id] ? c.value(row) / this.#most[c.id] * 100 : 0;
    return h('div', {
      key: c.id, role: 'gridcell', class: `${c.number ? 'number' : ''}${c.bar ? ` barred ${c.bar}` : ''}`,
      style: c.bar ? { '--part': `${part.toFixed(0)}%` } : null,
    }, c.cell ? c.cell(row) : c.value(row));
  }

  #row(row, index, slot) {
    const { onopen } = this.#options;
    return h('div', {
      key: slot, role: 'row', 'aria-rowindex': index + 2,
      class: `tr${row.gone ? ' gone' : ''}${row.key === this.#selected ? ' selected' : ''}`,
      'aria-selected': row.key === this.#selected ? 'true' : 'false',
      tabindex: row.key === this.#active ? 0 : -1,
      style: { transform: `translateY(${index * ROW}px)` },
      onclick: () => { this.#active = row.key; onopen?.(row); },
      onfocus: () => { this.#active = row.key; },
    }, this.#shown.map((c) => this.#cell(c, row)));
  }

  #draw() {
    const rows = this.#rows;
    const first = Math.max(0, Math.floor(this.el.scrollTop / ROW) - EXTRA);
    const last = Math.min(rows.length, Math.ceil((this.el.scrollTop + this.el.clientHeight) / ROW) + EXTRA);
    if (!this.#place.has(this.#active))
      this.#active = rows[0]?.key;
    // Row elements are used again for other rows, without being moved in the DOM:
    // that is what scrolling costs. aria-rowindex tells their order.
    const slots = Math.ceil(this.el.clientHeight / ROW) + 2 * EXTRA + 1;
    const visible = rows.slice(first, last).map((r, i) => this.#row(r, first + i, (first + i) % slots));
    // The tab key must find the table even when its row is out of sight.
    if (visible.length && !visible.some((r) => r.props.tabindex === 0))
      visible[0].props.tabindex = 0;
    visible.sort((a, b) => a.props.key - b.props.key);
    const onRow = this.el.contains(document.activeElement) && document.activeElement.matches('[role=row]');
    const width = this.#shown.reduce((sum, c) => sum + c.min + 16, 32);
    const tracks = this.#shown.map((c) => c.grow ? `minmax(${c.min}px, ${c.grow}fr)` : `${c.min}px`).join(' ');
    render(this.el, [h('div', {
      class: 'grid', role: 'grid', 'aria-label': this.#options.label, 'aria-rowcount': rows.length + 1,
      style: { 'min-width': `${width}px`, '--tracks': tracks },
    }, this.#header(), h('div', {
      class: 'tbody', role: 'rowgroup', style: { height: `${rows.length * ROW}px` },
    }, visible)), !rows.length && h('p', { class: 'why' }, this.#options.empty)]);
    if (onRow)
      this.el.querySelector('[role=row][tabindex="0"]')?.focus({ preventScroll: true });
  }
}
