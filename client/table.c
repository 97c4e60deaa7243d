#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	NONE = -1,
	LUXURY = 9,    /* columns of this rank and above are shown when so many cells */
	COMFORT = 20,  /* remain for the texts to grow */
};

bool table_reserve(struct table *t, size_t rows)
{
	if (rows <= t->room)
		return true;
	const void **bigger = realloc(t->rows, rows * sizeof *bigger);

	if (!bigger)
		return false;
	t->rows = bigger;
	t->room = rows;
	return true;
}

void table_free(struct table *t)
{
	free(t->rows);
	t->rows = NULL;
	t->count = t->room = 0;
}

static const char *cell(const struct table *t, const struct column *c, char out[TABLE_CELL_MAX],
                        const void *row)
{
	if (c->text)
		return c->text(out, row);
	uint64_t n = c->number(row, &t->context);

	if (c->format)
		return c->format(out, n);
	snprintf(out, TABLE_CELL_MAX, "%" PRIu64, n);
	return out;
}

/* Looks at the rows for the columns to show. */
static void measure(struct table *t)
{
	char text[TABLE_CELL_MAX];

	for (size_t i = 0; i < t->column_count; i++) {
		const struct column *c = &t->columns[i];

		for (size_t j = 0; j < t->count && t->need[i] < c->most; j++) {
			const void *row = t->rows[j];
			size_t len = c->number ? c->number(row, &t->context) > 0 ? c->most : 0
			                       : strlen(c->text(text, row));

			if (len > t->need[i])
				t->need[i] = (unsigned char)(len < c->most ? len : c->most);
		}
		if (t->need[i] > 0)
			t->seen |= 1U << i;
	}
}

static int compare(const struct table *t, const void *a, const void *b)
{
	const struct column *c = &t->columns[t->sort];
	char text[2][TABLE_CELL_MAX];

	if (c->text)
		return strcmp(c->text(text[0], a), c->text(text[1], b));
	uint64_t x = c->number(a, &t->context), y = c->number(b, &t->context);

	return (x < y) - (x > y);   /* the largest first */
}

static int compare_ids(const ProtobufCBinaryData *x, const ProtobufCBinaryData *y)
{
	size_t len = x->len < y->len ? x->len : y->len;
	int order = len > 0 ? memcmp(x->data, y->data, len) : 0;

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Rows that compare equal are ordered by id, so that they keep their places. */
static int compare_rows(const void *a, const void *b, void *table)
{
	const struct table *t = table;
	const void *x = *(const void *const *)a, *y = *(const void *const *)b;
	int order = compare(t, x, y);

	if (order != 0)
		return t->reverse ? -order : order;
	return compare_ids(t->id(x), t->id(y));
}

/* The selected row stays selected. */
static void sort_rows(struct table *t)
{
	const void *selected = t->selected < t->count ? t->rows[t->selected] : NULL;

	if (t->count > 1)
		qsort_r(t->rows, t->count, sizeof *t->rows, compare_rows, t);
	for (size_t i = 0; i < t->count; i++)
		if (t->rows[i] == selected)
			t->selected = i;
}

void table_replaced(struct table *t, const ProtobufCBinaryData *selected)
{
	size_t place = t->selected;

	t->selected = t->count;
	for (size_t i = 0; i < t->count && selected && selected->len > 0; i++)
		if (compare_ids(t->id(t->rows[i]), selected) == 0)
			t->selected = i;
	bool found = t->selected < t->count;

	measure(t);
	sort_rows(t);
	if (!found)
		t->selected = place < t->count ? place : t->count > 0 ? t->count - 1 : 0;
}

static void move(struct table *t, ptrdiff_t by)
{
	if (by < 0 && t->selected < (size_t)-by)
		t->selected = 0;
	else
		t->selected += (size_t)by;
	if (t->selected >= t->count)
		t->selected = t->count > 0 ? t->count - 1 : 0;
}

/* Sorts by the next column that is shown. */
static void sort_beside(struct table *t, size_t step)
{
	for (size_t i = 0; i < t->column_count; i++) {
		t->sort = (t->sort + step) % t->column_count;
		if (t->seen >> t->sort & 1)
			break;
	}
	sort_rows(t);
}

static bool sort_key(struct table *t, int key)
{
	for (size_t i = 0; i < t->column_count; i++) {
		if (t->columns[i].key != key)
			continue;
		t->reverse = t->sort == i && !t->reverse;
		t->sort = i;
		sort_rows(t);
		return true;
	}
	return false;
}

bool table_key(struct table *t, int key)
{
	ptrdiff_t page = t->page > 1 ? (ptrdiff_t)t->page - 1 : 1;

	switch (key) {
	case KEY_UP:
	case 'k':
		move(t, -1);
		break;
	case KEY_DOWN:
	case 'j':
		move(t, 1);
		break;
	case KEY_PAGE_UP:
		move(t, -page);
		break;
	case KEY_PAGE_DOWN:
		move(t, page);
		break;
	case KEY_HOME:
	case 'g':
		t->selected = 0;
		break;
	case KEY_END:
	case 'G':
		move(t, (ptrdiff_t)t->count);
		break;
	case '<':
		sort_beside(t, t->column_count - 1);
		break;
	case '>':
		sort_beside(t, 1);
		break;
	case 'r':
		t->reverse = !t->reverse;
		sort_rows(t);
		break;
	default:
		return sort_key(t, key);
	}
	return true;
}

/* Chooses columns and their widths for this many cells; 0: not shown. */
static void lay_out(const struct table *t, int cells, int width[TABLE_COLUMNS_MAX])
{
	int used = 0;

	for (size_t i = 0; i < t->column_count; i++) {
		width[i] = t->seen >> i & 1 ? t->columns[i].width : 0;
		used += width[i] > 0 ? width[i] + 1 : 0;
	}
	for (;;) {
		int last = NONE, shown = 0;

		for (size_t i = 0; i < t->column_count; i++) {
			if (width[i] == 0)
				continue;
			shown++;
			if (last == NONE || t->columns[i].rank > t->columns[last].rank)
				last = (int)i;
		}
		if (shown <= 1 || used + (t->columns[last].rank >= LUXURY ? COMFORT : 0) <= cells)
			break;
		used -= width[last] + 1;
		width[last] = 0;
	}
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < t->column_count && used < cells; i++) {
			if (width[i] == 0 || width[i] >= t->need[i])
				continue;
			width[i]++;
			used++;
			more = true;
		}
	}
}

/* The sorted column is marked in the cell behind its title. */
static void draw_titles(const struct table *t, struct screen *s, const int *width)
{
	static const char *const mark[] = {"\u25be", "\u25b4"}, *const ascii[] = {"v", "^"};
	bool up = (t->columns[t->sort].text != NULL) != t->reverse;

	for (size_t i = 0; i < t->column_count; i++) {
		bool sorted = i == t->sort;

		if (width[i] == 0)
			continue;
		screen_text(s, sorted ? BOLD | ACCENT : DIM, width[i], t->columns[i].fit,
		            t->columns[i].title);
		screen_text(s, BOLD | ACCENT, 1, LEFT, sorted ? s->utf8 ? mark[up] : ascii[up] : "");
	}
}

static void draw_row(const struct table *t, struct screen *s, const int *width, const void *row)
{
	char text[TABLE_CELL_MAX];

	for (size_t i = 0; i < t->column_count; i++) {
		const struct column *c = &t->columns[i];
		bool zero = c->number && c->number(row, &t->context) == 0;

		if (width[i] == 0)
			continue;
		screen_text(s, zero ? DIM : PLAIN, width[i], c->fit,
		            zero ? s->utf8 ? "\u00b7" : "-" : cell(t, c, text, row));
		screen_text(s, PLAIN, 1, LEFT, "");
	}
}

void table_draw(struct table *t, struct screen *s, int lines, unsigned style, unsigned mark)
{
	int width[TABLE_COLUMNS_MAX];

	if (lines < 1)
		return;
	t->page = (size_t)lines - 1;
	if (t->selected < t->top)
		t->top = t->selected;
	if (t->selected >= t->top + t->page)
		t->top = t->selected - t->page + (t->page > 0);
	if (t->top + t->page > t->count)
		t->top = t->count > t->page ? t->count - t->page : 0;
	lay_out(t, s->cols, width);
	screen_line(s, style);
	draw_titles(t, s, width);
	for (size_t i = 0; i < t->page; i++) {
		const void *row = t->top + i < t->count ? t->rows[t->top + i] : NULL;
		bool here = row && t->top + i == t->selected;

		screen_line(s, style | (row ? t->row_style(row) : PLAIN) | (here ? mark : PLAIN));
		if (row)
			draw_row(t, s, width, row);
	}
}
