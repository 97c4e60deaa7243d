#include "view.h"

#include <string.h>

#include "columns.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

void view_init(struct view *v)
{
	*v = (struct view){0};
	columns_of_connections(&v->connections);
	columns_of_streams(&v->streams);
}

const Introspection__Connection *view_selected(const struct view *v)
{
	const struct table *t = &v->connections;

	return t->selected < t->count ? t->rows[t->selected] : NULL;
}

static bool has(const char *text, const char *part)
{
	return text && strcasestr(text, part);
}

/* Does anything of the connection that is text contain the filter? */
static bool passes(const Introspection__Connection *c, const char *filter)
{
	char text[TABLE_CELL_MAX];

	if (*filter == '\0' || has(c->peer_id, filter) || has(c->agent_version, filter) ||
	    has(column_transport(text, c), filter) || has(column_status(c->status), filter))
		return true;
	if (c->endpoints &&
	    (has(c->endpoints->dst_multiaddr, filter) || has(c->endpoints->src_multiaddr, filter)))
		return true;
	for (size_t i = 0; i < c->n_user_provided_tags; i++)
		if (has(c->user_provided_tags[i], filter))
			return true;
	for (size_t i = 0; c->streams && i < c->streams->n_streams; i++)
		if (has(c->streams->streams[i]->protocol, filter))
			return true;
	return false;
}

static void fill_streams(struct view *v, const ProtobufCBinaryData *selected)
{
	const Introspection__Connection *c = view_selected(v);
	struct table *t = &v->streams;
	size_t n = c && c->streams ? c->streams->n_streams : 0;

	t->count = table_reserve(t, n) ? n : t->room;
	for (size_t i = 0; i < t->count; i++)
		t->rows[i] = c->streams->streams[i];
	t->context = v->connections.context;
	table_replaced(t, selected);
}

static void fill(struct view *v, const Introspection__State *state)
{
	const Introspection__Subsystems *all = state->subsystems;
	struct table *t = &v->connections;
	/* Who is in the first row sees what is first, unless its streams are open. */
	const Introspection__Connection *before =
		t->selected > 0 || v->opened ? view_selected(v) : NULL;
	const Introspection__Stream *stream =
		v->streams.selected < v->streams.count ? v->streams.rows[v->streams.selected] : NULL;
	size_t n = all ? all->n_connections : 0;

	if (!table_reserve(t, n))
		n = t->room;
	t->count = 0;
	for (size_t i = 0; i < n; i++)
		if (passes(all->connections[i], v->filter))
			t->rows[t->count++] = all->connections[i];
	t->context.now = state->instant_ts;
	table_replaced(t, before ? &before->id : NULL);
	fill_streams(v, stream ? &stream->id : NULL);
	v->state = state;
}

static void count(struct view *v, const Introspection__State *state)
{
	const Introspection__Subsystems *all = state->subsystems;
	struct view_totals *t = &v->totals;

	*t = (struct view_totals){0};
	for (size_t i = 0; all && i < all->n_connections; i++) {
		const Introspection__Connection *c = all->connections[i];

		t->status[(unsigned)c->status < COUNT(t->status) ? c->status : 0]++;
		t->inbound += c->role == INTROSPECTION__ROLE__RESPONDER;
		t->limited += c->limited != 0;
		t->streams += column_streams(c, NULL);
		for (int out = 0; out < 2; out++) {
			t->rate[out] += column_gauge(c->traffic, out)->inst_bw;
			t->bytes[out] += column_gauge(c->traffic, out)->cum_bytes;
		}
	}
	for (int out = 0; out < 2; out++) {
		if (state->traffic) {
			t->rate[out] = column_gauge(state->traffic, out)->inst_bw;
			t->bytes[out] = column_gauge(state->traffic, out)->cum_bytes;
		}
		memmove(v->history[out], v->history[out] + 1,
		        sizeof v->history[out] - sizeof v->history[out][0]);
		v->history[out][VIEW_HISTORY - 1] = t->rate[out];
	}
}

void view_update(struct view *v, const Introspection__State *state)
{
	count(v, state);
	fill(v, state);
}

void view_free(struct view *v)
{
	table_free(&v->connections);
	table_free(&v->streams);
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

/* Leaves what is innermost: help, streams, filter. */
static void leave(struct view *v)
{
	if (v->help)
		v->help = false;
	else if (v->opened)
		v->opened = false;
	else
		filter_key(v, KEY_ESCAPE);
}

bool view_key(struct view *v, int key)
{
	const Introspection__Connection *before = view_selected(v);

	if (v->filtering) {
		filter_key(v, key);
		return true;
	}
	switch (key) {
	case 'q':
		return false;
	case '?':
	case 'h':
		v->help = !v->help;
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
		v->opened = !v->opened;
		break;
	case KEY_ESCAPE:
	case KEY_LEFT:
		leave(v);
		break;
	default:
		table_key(v->opened ? &v->streams : &v->connections, key);
	}
	if (view_selected(v) != before)
		fill_streams(v, NULL);
	return true;
}
