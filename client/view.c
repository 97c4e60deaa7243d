#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

void view_init(struct view *v)
{
	*v = (struct view){0};
	table_of_connections(&v->connections);
	table_of_streams(&v->streams);
	table_of_groups(&v->groups);
}

static const struct row *selected_row(const struct table *t)
{
	return t->selected < t->count ? &t->rows[t->selected] : NULL;
}

const struct row *view_selected(const struct view *v)
{
	return selected_row(&v->connections);
}

struct table *view_table(struct view *v)
{
	return v->opened ? &v->streams : v->grouping != BY_NOTHING ? &v->groups : &v->connections;
}

/* Does the connection belong to the group that the user opened, if there is one? */
static bool is_of_group(const struct view *v, const struct row *row)
{
	struct row sum = *row;
	char text[CELL_MAX];

	if (v->opened_by == BY_NOTHING)
		return true;
	row_begin_sum(&sum, v->opened_by == BY_PROCESS);
	return strcmp(row_text(text, &sum, GROUP), v->opened_group) == 0;
}

/* Does anything of the connection that is text contain the filter? */
static bool passes(const struct row *row, const char *filter)
{
	static const enum cell cells[] = {PEER,    ADDRESS, LOCAL,     AGENT,
	                                  PROCESS, TAGS,    TRANSPORT, STATUS};
	const Introspection__Connection *c = row->connection;
	char text[CELL_MAX];

	if (*filter == '\0')
		return true;
	for (size_t i = 0; i < COUNT(cells); i++)
		if (strcasestr(row_text(text, row, cells[i]), filter))
			return true;
	for (size_t i = 0; c->streams && i < c->streams->n_streams; i++)
		if (strcasestr(c->streams->streams[i]->protocol, filter))
			return true;
	for (size_t i = 0; i < c->n_user_provided_tags; i++)
		if (strcasestr(c->user_provided_tags[i], filter))
			return true;
	return false;
}

static void fill_streams(struct view *v, const Introspection__State *state,
			 const ProtobufCBinaryData *selected)
{
	const struct row *row = view_selected(v);
	const Introspection__StreamList *list = row ? row->connection->streams : NULL;
	struct table *t = &v->streams;
	size_t n = list ? list->n_streams : 0;

	if (!table_reserve(t, n))
		n = 0;
	t->count = n;
	if (row)
		averages_add_streams(&v->stream_averages, row->connection, state->instant_ts);
	for (size_t i = 0; i < n; i++) {
		t->rows[i] = row_of_stream(list->streams[i], state->instant_ts);
		if (t->average > 0)
			averages_rate(&v->stream_averages, &t->rows[i].id, t->average, t->rows[i].rate);
	}
	table_replaced(t, selected);
}

static int compare_names(const void *a, const void *b)
{
	return row_compare_names(a, b);
}

/* Adds the connections in their table up. */
static void fill_groups(struct view *v, const ProtobufCBinaryData *selected)
{
	struct table *t = &v->groups;
	size_t n = v->connections.count, sums = 0;

	if (v->grouping == BY_NOTHING || !table_reserve(t, n))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		t->rows[i] = v->connections.rows[i];
		row_begin_sum(&t->rows[i], v->grouping == BY_PROCESS);
	}
	if (n > 1)
		qsort(t->rows, n, sizeof *t->rows, compare_names);
	for (size_t i = 0; i < n; i++) {
		if (sums > 0 && row_compare_names(&t->rows[sums - 1], &t->rows[i]) == 0)
			row_add(&t->rows[sums - 1], &t->rows[i]);
		else
			t->rows[sums++] = t->rows[i];
	}
	t->count = sums;
	table_replaced(t, selected);
}

static void fill(struct view *v, const Introspection__State *state)
{
	const Introspection__Subsystems *all = state->subsystems;
	struct table *t = &v->connections;
	const struct row *connection = view_selected(v), *stream = selected_row(&v->streams);
	/* A user in the first row sees which connection is first now, unless streams are open. */
	bool follow = connection && (t->selected > 0 || v->opened);
	const struct row *group = v->groups.selected > 0 ? selected_row(&v->groups) : NULL;
	/* The rows are about to be overwritten, but the id itself stands in the State. */
	const ProtobufCBinaryData id = follow ? connection->id : (ProtobufCBinaryData){0};
	const ProtobufCBinaryData stream_id = stream ? stream->id : (ProtobufCBinaryData){0};
	const ProtobufCBinaryData group_id = group ? group->id : (ProtobufCBinaryData){0};
	size_t n = all ? all->n_connections : 0;

	if (!table_reserve(t, n))
		n = 0;
	t->count = 0;
	for (size_t i = 0; i < n; i++) {
		struct row *row = &t->rows[t->count];

		*row = row_of_connection(all->connections[i], state->instant_ts);
		if (t->average > 0)
			averages_rate(&v->averages, &row->id, t->average, row->rate);
		t->count += is_of_group(v, row) && passes(row, v->filter);
	}
	table_replaced(t, &id);
	fill_streams(v, state, &stream_id);
	fill_groups(v, &group_id);
	v->state = state;
}

static void count(struct view *v, const Introspection__State *state)
{
	const Introspection__Subsystems *all = state->subsystems;
	struct view_totals *t = &v->totals;

	*t = (struct view_totals){0};
	for (size_t i = 0; all && i < all->n_connections; i++) {
		const Introspection__Connection *c = all->connections[i];
		struct row row = row_of_connection(c, 0);

		t->status[(unsigned)c->status < COUNT(t->status) ? c->status : 0]++;
		t->unknown += is_role_unknown(&row);
		t->inbound += !is_role_unknown(&row) && c->role == INTROSPECTION__ROLE__RESPONDER;
		t->limited += c->limited != 0;
		t->streams += row_number(&row, STREAMS);
		for (int out = 0; out < 2; out++) {
			t->rate[out] += traffic_gauge(c->traffic, out)->inst_bw;
			t->bytes[out] += traffic_gauge(c->traffic, out)->cum_bytes;
		}
	}
	if (state->counts) {   /* there are no connections in it, or not all */
		t->status[INTROSPECTION__STATUS__ACTIVE] = state->counts->connections;
		t->inbound = state->counts->inbound;
		t->streams = state->counts->streams;
	}
	for (int out = 0; out < 2; out++) {
		if (state->traffic) {
			t->rate[out] = traffic_gauge(state->traffic, out)->inst_bw;
			t->bytes[out] = traffic_gauge(state->traffic, out)->cum_bytes;
		}
		memmove(v->history[out], v->history[out] + 1,
			sizeof v->history[out] - sizeof v->history[out][0]);
		v->history[out][VIEW_HISTORY - 1] = t->rate[out];
	}
}

void view_update(struct view *v, const Introspection__State *state)
{
	averages_add(&v->averages, state);
	count(v, state);
	fill(v, state);
}

void view_free(struct view *v)
{
	table_free(&v->connections);
	table_free(&v->streams);
	table_free(&v->groups);
	averages_free(&v->averages);
	averages_free(&v->stream_averages);
}

/* Removes the last character, which in UTF-8 may have several bytes. */
static void backspace(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && ((unsigned char)text[--len] & 0xc0) == 0x80)
		continue;
	text[len] = '\0';
}

static void filter_key(struct view *v, int key)
{
	size_t len = strlen(v->filter);

	if (key == KEY_BACKSPACE || key == '\b')
		backspace(v->filter);
	else if (key == KEY_ESCAPE)
		v->filter[0] = '\0';
	else if (key >= ' ' && key <= 255 && len + 1 < sizeof v->filter)
		memcpy(v->filter + len, (char[]){(char)key, '\0'}, 2);
	if (key == KEY_ESCAPE || key == '\r' || key == '\n')
		v->filtering = false;
	if (v->state)
		fill(v, v->state);
}

/* The sums by peer, by process, and the connections again. */
static void next_grouping(struct view *v)
{
	v->grouping = v->grouping == BY_PROCESS ? BY_NOTHING : v->grouping + 1;
	v->groups.group = v->grouping == BY_PEER ? "PEER" : "PROCESS";
	v->groups.selected = 0;
	v->opened = false;
	if (v->state)
		fill(v, v->state);
}

/* Rates as they are, and over longer times. */
static void next_average(struct view *v)
{
	static const unsigned seconds[] = {0, 2, 10, AVERAGE_LONGEST};
	size_t i = 0;

	while (seconds[i] != v->connections.average)
		i++;
	v->connections.average = v->groups.average = v->streams.average = seconds[(i + 1) % COUNT(seconds)];
	if (v->state)
		fill(v, v->state);
}

/* Opens what is selected: the streams of a connection, the connections of a group. */
static void open_selected(struct view *v)
{
	const struct row *group = selected_row(&v->groups);

	if (v->grouping == BY_NOTHING) {
		v->opened = !v->opened;
	} else if (group) {
		row_text(v->opened_group, group, GROUP);
		v->opened_by = v->grouping;
		v->grouping = BY_NOTHING;
		fill(v, v->state);
	}
}

/* Leaves the groups, or the streams, or shows all connections again. */
static void leave(struct view *v)
{
	if (v->grouping != BY_NOTHING) {
		v->grouping = BY_NOTHING;
	} else if (v->opened) {
		v->opened = false;
	} else {
		v->opened_by = BY_NOTHING;
		filter_key(v, KEY_ESCAPE);
	}
}

/* Scrolls the help, or the list of columns. False: the key does not scroll. */
static bool scroll_key(struct view *v, int key)
{
	const size_t most = v->help_lines > v->help_page ? v->help_lines - v->help_page : 0;
	const size_t page = v->help_page > 1 ? v->help_page - 1 : 1;
	const bool down = key == KEY_DOWN || key == 'j' || key == KEY_PAGE_DOWN;
	const size_t by = key == KEY_PAGE_DOWN || key == KEY_PAGE_UP ? page : 1;

	if (key == KEY_HOME || key == KEY_END)
		v->help_top = key == KEY_HOME ? 0 : most;
	else if (down)
		v->help_top += by;
	else if (key == KEY_UP || key == 'k' || key == KEY_PAGE_UP)
		v->help_top -= by < v->help_top ? by : v->help_top;
	else
		return false;
	if (v->help_top > most)
		v->help_top = most;
	return true;
}

bool view_key(struct view *v, int key)
{
	const struct row *row = view_selected(v);
	const void *before = row ? row->connection : NULL;

	if (v->filtering) {
		filter_key(v, key);
		return true;
	}
	if ((v->help || v->choosing) && scroll_key(v, key))
		return true;
	if (v->help) {
		v->help = false;
		return key != 'q';
	}
	if (v->choosing) {
		v->choosing = key != 'f' && key != KEY_ESCAPE && key != '\r' && key != '\n';
		table_choose(view_table(v), key);
		return key != 'q';
	}
	switch (key) {
	case 'q':
		return false;
	case '?':
	case 'h':
		v->help = true;
		v->help_top = 0;
		break;
	case 'f':
		v->choosing = true;
		v->help_top = 0;
		break;
	case 'g':
		next_grouping(v);
		break;
	case 'w':
		next_average(v);
		break;
	case '/':
		v->filtering = true;
		break;
	case ' ':
		v->paused = !v->paused;
		break;
	case '\r':
	case '\n':
	case '\t':
		open_selected(v);
		break;
	case KEY_ESCAPE:
	case KEY_LEFT:
		leave(v);
		break;
	default:
		table_key(view_table(v), key);
	}
	row = view_selected(v);
	if (row && row->connection != before)
		fill_streams(v, v->state, NULL);
	return true;
}
