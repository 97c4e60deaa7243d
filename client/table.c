#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

enum {
	NONE = -1,
	LUXURY = 9,   /* columns of this rank and above are shown only if, with them, */
	COMFORT = 20, /* this many cells remain for the texts to grow */
};

/* clang-format off */
/* title, key, cell, rank, width, most, fit, format */
static const struct column connection_columns[] = {
	{"PEER",      'p', PEER,       1, 12, 52, MIDDLE, NULL},
	{"ADDRESS",   'd', ADDRESS,    0, 18, 60, MIDDLE, NULL},
	{"LOCAL",     'L', LOCAL,     10, 18, 60, MIDDLE, NULL},
	{"AGENT",     'n', AGENT,      7, 10, 28, LEFT,   NULL},
	{"PROCESS",   'P', PROCESS,    8, 12, 24, MIDDLE, NULL},
	{"TAGS",      'm', TAGS,       8, 12, 40, LEFT,   NULL},
	{"TRANSPORT", 't', TRANSPORT, 12,  9, 16, LEFT,   NULL},
	{"STATUS",    'x', STATUS,    11,  7,  7, LEFT,   NULL},
	{"DIR",       'c', DIRECTION,  6,  3,  3, LEFT,   NULL},
	{"STRM",      's', STREAMS,    5,  4,  4, RIGHT,  NULL},
	{"IN/S",      'i', RATE_IN,    2,  5,  5, RIGHT,  format_brief},
	{"OUT/S",     'o', RATE_OUT,   2,  5,  5, RIGHT,  format_brief},
	{"IN",        'I', BYTES_IN,   9,  5,  5, RIGHT,  format_brief},
	{"OUT",       'O', BYTES_OUT,  9,  5,  5, RIGHT,  format_brief},
	{"RTT",       'l', LATENCY,    4,  5,  5, RIGHT,  format_latency},
	{"AGE",       'a', AGE,        3,  4,  4, RIGHT,  format_age},
};

static const struct column stream_columns[] = {
	{"PROTOCOL",  'p', PROTOCOL,   0, 20, 60, LEFT,   NULL},
	{"STATUS",    'x', STATUS,     6,  7,  7, LEFT,   NULL},
	{"DIR",       'c', DIRECTION,  3,  3,  3, LEFT,   NULL},
	{"IN/S",      'i', RATE_IN,    1,  5,  5, RIGHT,  format_brief},
	{"OUT/S",     'o', RATE_OUT,   1,  5,  5, RIGHT,  format_brief},
	{"IN",        'I', BYTES_IN,   5,  5,  5, RIGHT,  format_brief},
	{"OUT",       'O', BYTES_OUT,  5,  5,  5, RIGHT,  format_brief},
	{"RTT",       'l', LATENCY,    4,  5,  5, RIGHT,  format_latency},
	{"AGE",       'a', AGE,        2,  4,  4, RIGHT,  format_age},
};

static const struct column group_columns[] = {
	{"",          'p', GROUP,      0, 12, 60, MIDDLE, NULL},
	{"CONN",      'n', MEMBERS,    2,  4,  5, RIGHT,  NULL},
	{"STRM",      's', STREAMS,    5,  4,  5, RIGHT,  NULL},
	{"IN/S",      'i', RATE_IN,    1,  5,  5, RIGHT,  format_brief},
	{"OUT/S",     'o', RATE_OUT,   1,  5,  5, RIGHT,  format_brief},
	{"IN",        'I', BYTES_IN,   3,  5,  5, RIGHT,  format_brief},
	{"OUT",       'O', BYTES_OUT,  3,  5,  5, RIGHT,  format_brief},
	{"RTT",       'l', LATENCY,    6,  5,  5, RIGHT,  format_latency},
	{"AGE",       'a', AGE,        4,  4,  4, RIGHT,  format_age},
};
/* clang-format on */

static struct table make_table(const struct column *columns, size_t count)
{
	struct table t = {.columns = columns, .column_count = count};

	while (columns[t.sort].cell != RATE_IN)
		t.sort++;
	return t;
}

void table_of_connections(struct table *t)
{
	*t = make_table(connection_columns, sizeof connection_columns / sizeof *connection_columns);
}

void table_of_streams(struct table *t)
{
	*t = make_table(stream_columns, sizeof stream_columns / sizeof *stream_columns);
}

void table_of_groups(struct table *t)
{
	*t = make_table(group_columns, sizeof group_columns / sizeof *group_columns);
	t->group = "";
}

const char *table_title(const struct table *t, size_t column, char out[FORMAT_MAX])
{
	const struct column *c = &t->columns[column];

	if (c->cell == GROUP)
		return t->group;
	if (t->average == 0 || (c->cell != RATE_IN && c->cell != RATE_OUT))
		return c->title;
	snprintf(out, FORMAT_MAX, "%s%u", c->cell == RATE_IN ? "IN" : "OUT", t->average);
	return out;
}

void table_choose(struct table *t, int key)
{
	for (size_t i = 0; i < t->column_count; i++) {
		const unsigned bit = 1U << i;

		if (t->columns[i].key != key)
			continue;
		const bool hide = !(t->hidden & bit) && ((t->shown | t->wanted) & bit);

		t->hidden = hide ? t->hidden | bit : t->hidden & ~bit;
		t->wanted = hide ? t->wanted & ~bit : t->wanted | bit;
	}
}

bool table_reserve(struct table *t, size_t rows)
{
	if (rows <= t->room)
		return true;
	struct row *bigger = realloc(t->rows, rows * sizeof *bigger);

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

static bool is_number(const struct column *c)
{
	return c->cell >= FIRST_NUMBER;
}

static bool is_traffic(const struct column *c)
{
	return c->cell >= RATE_IN && c->cell <= BYTES_OUT;
}

/* Did the kernel count the traffic of this row, of which the node counts less? */
static bool is_of_kernel(const struct row *row)
{
	return row->connection && row->connection->kernel_traffic;
}

/* Looks at the rows for the columns to show. */
static void measure(struct table *t)
{
	char text[CELL_MAX];

	for (size_t j = 0; j < t->count && !t->marked; j++)
		t->marked = is_of_kernel(&t->rows[j]);
	for (size_t i = 0; i < t->column_count; i++) {
		const struct column *c = &t->columns[i];

		for (size_t j = 0; j < t->count && t->need[i] < c->most; j++) {
			const struct row *row = &t->rows[j];
			size_t len = !is_number(c) ? strlen(row_text(text, row, c->cell))
				     : row_number(row, c->cell) > 0 ? c->most
								    : 0;

			if (len > t->need[i])
				t->need[i] = (unsigned char)(len < c->most ? len : c->most);
		}
		t->seen |= (unsigned)(t->need[i] > 0) << i;
	}
}

static int compare(const struct column *c, const struct row *a, const struct row *b)
{
	char text[2][CELL_MAX];

	if (!is_number(c))
		return strcmp(row_text(text[0], a, c->cell), row_text(text[1], b, c->cell));
	uint64_t x = row_number(a, c->cell), y = row_number(b, c->cell);

	return (x < y) - (x > y); /* the largest first */
}

/* Rows that compare equal are ordered by id, so that they keep their places. */
static int compare_rows(const void *a, const void *b, void *table)
{
	const struct table *t = table;
	const struct row *x = a, *y = b;
	int order = compare(&t->columns[t->sort], x, y);

	if (order != 0)
		return t->reverse ? -order : order;
	return decode_compare_ids(&x->id, &y->id);
}

/* The selected row stays selected. */
static void sort_rows(struct table *t)
{
	const struct row selected = t->selected < t->count ? t->rows[t->selected] : (struct row){0};

	if (t->count > 1)
		qsort_r(t->rows, t->count, sizeof *t->rows, compare_rows, t);
	for (size_t i = 0; i < t->count; i++)
		if (t->rows[i].connection == selected.connection &&
		    t->rows[i].stream == selected.stream && t->rows[i].name == selected.name &&
		    t->rows[i].detail == selected.detail)
			t->selected = i;
}

void table_replaced(struct table *t, const ProtobufCBinaryData *selected)
{
	size_t place = t->selected;

	t->selected = t->count;
	for (size_t i = 0; i < t->count && selected && selected->len > 0; i++)
		if (decode_compare_ids(&t->rows[i].id, selected) == 0)
			t->selected = i;
	bool found = t->selected < t->count;

	measure(t);
	sort_rows(t);
	if (!found)
		t->selected = place < t->count ? place : t->count > 0 ? t->count - 1 : 0;
}

/* Sorts after a key. A user who has selected the first row wants to see which row is first now. */
static void sort_again(struct table *t)
{
	bool first = t->selected == 0;

	sort_rows(t);
	if (first)
		t->selected = 0;
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

/* Sorts by the next column on the screen. */
static void sort_beside(struct table *t, size_t step)
{
	for (size_t i = 0; i < t->column_count; i++) {
		t->sort = (t->sort + step) % t->column_count;
		if (t->shown >> t->sort & 1)
			break;
	}
	t->reverse = false;
	sort_again(t);
}

static bool sort_key(struct table *t, int key)
{
	for (size_t i = 0; i < t->column_count; i++) {
		if (t->columns[i].key != key)
			continue;
		t->reverse = t->sort == i && !t->reverse;
		t->sort = i;
		sort_again(t);
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
		sort_again(t);
		break;
	default:
		return sort_key(t, key);
	}
	return true;
}

/* The cells of a column where there is no room for more; the mark of the order takes one. */
static int least_width(const struct table *t, size_t i)
{
	char text[FORMAT_MAX];
	int title = (int)strlen(table_title(t, i, text)) + 1;
	int width = t->columns[i].width + (t->marked && is_traffic(&t->columns[i]));

	if (i == t->sort)
		return title > width ? title : width;
	return (t->seen | t->wanted) & ~t->hidden & 1U << i ? width : 0;
}

/* The higher, the sooner the column is left out. Columns that the user chose stay longer than all others but the
 * one that names the row. */
static int rank(const struct table *t, size_t i)
{
	return t->wanted >> i & 1 && t->columns[i].rank > 0 ? 1 : t->columns[i].rank;
}

/* The column that is left out first, but never the sorted one; NONE: there is no other. */
static int dispensable(const struct table *t, const int width[TABLE_COLUMNS_MAX])
{
	int last = NONE;

	for (size_t i = 0; i < t->column_count; i++)
		if (width[i] > 0 && i != t->sort &&
		    (last == NONE || rank(t, i) >= rank(t, (size_t)last)))
			last = (int)i;
	return last;
}

/* Chooses columns and their widths for this many cells; 0: not shown. */
static void lay_out(const struct table *t, int cells, int width[TABLE_COLUMNS_MAX])
{
	int used = 0, last;

	for (size_t i = 0; i < t->column_count; i++) {
		width[i] = least_width(t, i);
		used += width[i] > 0 ? width[i] + 1 : 0;
	}
	while ((last = dispensable(t, width)) != NONE) {
		const int dear = rank(t, (size_t)last);
		/* The column that names the row is left out last; before that it is made narrower. */
		int narrow = dear == 0 && cells < used ? width[last] - (used - cells) : 0;

		if (used + (dear >= LUXURY ? COMFORT : 0) <= cells)
			break;
		used -= width[last] + 1;
		width[last] = narrow > 0 ? narrow : 0;
		if (narrow > 0)
			break;
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

/* The sorted column is marked behind its title. */
static void draw_titles(const struct table *t, struct screen *s, const int *width)
{
	static const char *const mark[] = {"\u25be", "\u25b4"}, *const ascii[] = {"v", "^"};
	bool up = is_number(&t->columns[t->sort]) == t->reverse;
	char title[32], text[FORMAT_MAX];

	for (size_t i = 0; i < t->column_count; i++) {
		bool sorted = i == t->sort;

		if (width[i] == 0)
			continue;
		snprintf(title, sizeof title, "%s%s", table_title(t, i, text),
			 !sorted ? "" : s->glyphs ? mark[up] : ascii[up]);
		screen_text(s, sorted ? BOLD | ACCENT : DIM, width[i],
			    t->columns[i].fit == RIGHT ? RIGHT : LEFT, title);
		screen_text(s, PLAIN, 1, LEFT, "");
	}
}

/* Where the addresses of a column have no room, they are those of sockets: a port is not cut. */
static void draw_text(struct screen *s, const struct row *row, const struct column *c, int width,
		      int need)
{
	char text[CELL_MAX], brief[CELL_MAX];
	const char *shown = row_text(text, row, c->cell);

	if ((c->cell == ADDRESS || c->cell == LOCAL) && width < need)
		shown = brief_address(brief, shown);
	screen_text(s, c->cell == PEER && row->connection->unlisted ? WARNING : PLAIN, width, c->fit,
		    shown);
}

static void draw_row(const struct table *t, struct screen *s, const int *width,
		     const struct row *row)
{
	char text[CELL_MAX];

	for (size_t i = 0; i < t->column_count; i++) {
		const struct column *c = &t->columns[i];
		uint64_t number = row_number(row, c->cell);
		const int place = t->marked && is_traffic(c); /* for the mark of kernel's bytes */

		if (width[i] == 0)
			continue;
		if (!is_number(c))
			draw_text(s, row, c, width[i], t->need[i]);
		else if (number == 0)
			screen_text(s, DIM, width[i] - place, c->fit, s->glyphs ? "\u00b7" : "-");
		else if (c->format)
			screen_text(s, PLAIN, width[i] - place, c->fit, c->format(text, number));
		else
			screen_printf(s, PLAIN, "%*" PRIu64, width[i], number);
		screen_text(s, DIM, place + 1, LEFT,
			    place && number > 0 && is_of_kernel(row) ? "*" : "");
	}
}

static unsigned row_style(const struct row *row)
{
	return row->status == INTROSPECTION__STATUS__ERROR    ? ALARM
	       : row->status == INTROSPECTION__STATUS__CLOSED ? DIM
							      : PLAIN;
}

void table_draw(struct table *t, struct screen *s, int lines, unsigned style, unsigned mark)
{
	int width[TABLE_COLUMNS_MAX] = {0};

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
	t->shown = 0;
	for (size_t i = 0; i < t->column_count; i++)
		t->shown |= (unsigned)(width[i] > 0) << i;
	screen_line(s, style);
	draw_titles(t, s, width);
	for (size_t i = 0; i < t->page; i++) {
		size_t at = t->top + i;

		if (at >= t->count) {
			screen_line(s, style);
			continue;
		}
		screen_line(s,
			    style | row_style(&t->rows[at]) | (at == t->selected ? mark : PLAIN));
		draw_row(t, s, width, &t->rows[at]);
	}
}
