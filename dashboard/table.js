// A table of any length: only the rows in sight are in the DOM.

import { h, render } from './dom.js';

const ROW = 34;      // px; style.css says the same
const EXTRA = 5;     // rows kept above and below those in sight

const text = new Intl.Collator('en', { numeric: true });
const compare = (a, b) => typeof a === 'string' ? text.compare(a, b) : a - b;

export class Table {
  #rows = [];
  #shown = [];       // columns
  #selected;
  #active;           // key of the row at which the keyboard stands
  #options;

  // columns: { id, title, min (px), grow (share of what is left), number, value
  // (row => what to sort by), cell (row => children; the value when missing),
  // hidden (rows => boolean) }. sort: [column id, 1 or -1]. onopen: called with
  // a row. Rows have a `key`, and are faded when they are `gone`.
  constructor({ label, columns, sort, onopen, empty }) {
    this.#options = { label, columns, sort, onopen, empty };
    this.el = document.createElement('div');
    this.el.className = 'table';
    this.el.addEventListener('scroll', () => this.#draw(), { passive: true });
    this.el.addEventListener('keydown', (e) => this.#key(e));
    new ResizeObserver(() => this.#draw()).observe(this.el);
  }

  update(rows, selected) {
    const { columns, sort: [id, direction] } = this.#options;
    const value = columns.find((c) => c.id === id).value;
    this.#rows = [...rows].sort((a, b) => direction * compare(value(a), value(b)) || (a.key < b.key ? -1 : 1));
    this.#shown = columns.filter((c) => !c.hidden?.(rows));
    this.#selected = selected;
    this.#draw();
    return this.el;
  }

  #sortBy(column) {
    const [id, direction] = this.#options.sort;
    this.#options.sort = [column.id, column.id === id ? -direction : column.number ? -1 : 1];
    this.el.scrollTop = 0;
    this.update(this.#rows, this.#selected);
  }

  #key(e) {
    if (!e.target.matches('[role=row]') || e.ctrlKey || e.metaKey || e.altKey)
      return;
    const page = Math.max(1, Math.floor(this.el.clientHeight / ROW) - 2);
    const at = this.#rows.findIndex((r) => r.key === this.#active);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
    if (e.key in steps)
      this.#focus(Math.max(0, Math.min(this.#rows.length - 1, at + steps[e.key])));
    else if (at >= 0 && (e.key === 'Enter' || e.key === ' '))
      this.#options.onopen?.(this.#rows[at]);
    else
      return;
    e.preventDefault();
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

  #header() {
    const [sorted, direction] = this.#options.sort;
    return h('div', { class: 'thead', role: 'row', 'aria-rowindex': 1 }, this.#shown.map((c) => h('div', {
      key: c.id, role: 'columnheader', class: c.number ? 'number' : '',
      'aria-sort': c.id !== sorted ? 'none' : direction > 0 ? 'ascending' : 'descending',
    }, h('button', { type: 'button', onclick: () => this.#sortBy(c) }, c.title))));
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
    }, this.#shown.map((c) => h('div', { key: c.id, role: 'gridcell', class: c.number ? 'number' : '' },
      c.cell ? c.cell(row) : c.value(row))));
  }

  #draw() {
    const rows = this.#rows;
    const first = Math.max(0, Math.floor(this.el.scrollTop / ROW) - EXTRA);
    const last = Math.min(rows.length, Math.ceil((this.el.scrollTop + this.el.clientHeight) / ROW) + EXTRA);
    if (!rows.some((r) => r.key === this.#active))
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
