#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "view.h"

enum {
	LABEL_CELLS = 13,
	ROWS_FOR_TOTALS = 12,
	ROWS_FOR_GAPS = 18, /* rows of a screen that has room for more than the tables */
	ROWS_FOR_PANE = 36, /* rows of a screen that has room for the streams of the selected connection */
	COLS_FOR_CHART = 60,
	COLS_FOR_HELP = 80, /* with less, what a key does stands below the key */
	PANE_MIN = 9,  /* lines of the streams beside a table; with fewer, they take all the room */
	LISTED = 8,    /* protocols, topics or addresses on their line */
	INTERVALS = 5, /* intervals of the daemon without a snapshot, after which its silence is told */
	SECOND = 1000, /* ms */
};

/* The text to use for a sign: utf8 if the terminal has glyphs for it, else ascii. */
static const char *pick(const struct screen *s, const char *utf8, const char *ascii)
{
	return s->glyphs ? utf8 : ascii;
}

static void label(struct screen *s, unsigned style, const char *text)
{
	screen_line(s, style);
	screen_text(s, DIM, LABEL_CELLS, LEFT, text);
}

/* Separates two facts on a line. */
static void dot(struct screen *s)
{
	screen_text(s, DIM, 0, LEFT, pick(s, " \u00b7 ", ", "));
}

/* Writes a text on as many lines as it takes, broken at its spaces. */
static void paragraph(struct screen *s, unsigned style, int indent, const char *text)
{
	const int width = s->cols > indent + 1 ? s->cols - indent : 1;
	char line[SCREEN_COLS_MAX + 1];

	while (*text) {
		int len = (int)strlen(text), space = width;

		while (len > width && space > 0 && text[space] != ' ')
			space--;
		len = len <= width ? len : space > 0 ? space : width;
		snprintf(line, sizeof line, "%.*s", len, text);
		screen_line(s, style);
		screen_text(s, PLAIN, indent, LEFT, "");
		screen_text(s, PLAIN, 0, LEFT, line);
		text += len;
		text += strspn(text, " ");
	}
}

bool view_ticks(const struct view *v, const struct view_status *status)
{
	return status->link->state != LINK_OPEN ||
	       (v->state && !v->paused && status->now - status->received >= VIEW_STALE_MS);
}

/* How the data comes, in the upper right corner. Returns its style. */
static unsigned connection_text(const struct view *v, const struct view_status *status,
				const struct screen *s, char *out, size_t size)
{
	const struct link *l = status->link;
	int64_t age = v->state ? status->now - status->received : 0;
	char text[FORMAT_MAX];
	const char *off = pick(s, "\u25cb", "-"), *on = pick(s, "\u25cf", "*");

	if (l->state == LINK_WAITING)
		snprintf(out, size, "%s %s in %" PRId64 " s", off,
			 v->state ? "reconnecting" : "looking again",
			 (l->deadline - status->now + SECOND - 1) / SECOND);
	else if (l->state == LINK_LOOKUP)
		snprintf(out, size, "%s looking up %s", off, l->address.host);
	else if (l->state != LINK_OPEN)
		snprintf(out, size, "%s connecting to %s", off, link_name(l));
	else if (v->paused)
		snprintf(out, size, "%s %s paused", on, link_name(l));
	else if (age >= VIEW_STALE_MS)
		snprintf(out, size, "%s %s %s ago", on, link_name(l),
			 format_age(text, (uint64_t)age));
	else
		snprintf(out, size, "%s %s", on, link_name(l));
	return l->state == LINK_OPEN && !v->paused && age < VIEW_STALE_MS ? ACCENT : WARNING;
}

/* Who is watched, and through whom. */
static void draw_identity(const struct view *v, const struct view_status *status, struct screen *s)
{
	const Introspection__Runtime *r = v->state ? v->state->runtime : NULL;
	char right[LINK_WHY_MAX];
	unsigned style = connection_text(v, status, s, right, sizeof right);
	int width = screen_width(s, right);

	screen_line(s, PLAIN);
	screen_reserve(s, width + 2);
	if (!r) {
		screen_text(s, BOLD, 0, LEFT, "introspect");
	} else if (*r->peer_id) {
		screen_text(s, BOLD, s->cols < 120 ? 20 : 0, MIDDLE, r->peer_id);
		screen_printf(s, PLAIN, "  %s %s", r->implementation, r->version);
	} else {
		/* As the kernel source says of a process that has ended. */
		bool gone = strstr(r->implementation, "(not running)") != NULL;

		screen_text(s, BOLD | (gone ? ALARM : PLAIN), 0, LEFT, r->implementation);
		screen_printf(s, PLAIN, " %s", r->version);
	}
	if (r && *r->platform)
		screen_printf(s, DIM, "  %s", r->platform);
	screen_align_right(s, width);
	screen_text(s, style, 0, LEFT, right);
}

static void draw_source(const struct view *v, const struct view_status *status, struct screen *s)
{
	const Introspection__Runtime *r = v->state->runtime;
	char right[128], bytes[FORMAT_MAX], skipped[48] = "";

	if (status->skipped > 0)
		snprintf(skipped, sizeof skipped, "%s%" PRIu64 " skipped",
			 pick(s, " \u00b7 ", ", "), status->skipped);
	snprintf(right, sizeof right, "#%" PRIu64 "%s%s%s", v->state->sequence, skipped,
		 pick(s, " \u00b7 ", ", "), format_bytes(bytes, status->bytes));
	screen_line(s, PLAIN);
	screen_reserve(s, screen_width(s, right) + 2);
	if (r) {
		const char *const facts[] = {r->hostname, r->source};

		for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
			screen_text(s, DIM, 0, LEFT, facts[i]);
			if (*facts[i])
				screen_text(s, DIM, 2, LEFT, "");
		}
		if (r->interval_ms > 0)
			screen_printf(s, DIM, "every %g s", r->interval_ms / 1000.0);
	}
	screen_align_right(s, screen_width(s, right));
	screen_text(s, DIM, 0, LEFT, right);
}

/* The rates of the last snapshots as bars, the highest of them being a full one. */
static void draw_history(const uint64_t history[VIEW_HISTORY], struct screen *s)
{
	static const char *const bars[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
					   "\u2585", "\u2586", "\u2587", "\u2588"};
	char text[VIEW_HISTORY * 3 + 1] = "";
	uint64_t most = 1;
	int room = s->cols - LABEL_CELLS - 26, cells = room < VIEW_HISTORY ? room : VIEW_HISTORY;
	size_t used = 0;

	if (!s->glyphs || s->cols < COLS_FOR_CHART)
		return;
	for (int i = VIEW_HISTORY - cells; i < VIEW_HISTORY; i++)
		if (history[i] > most)
			most = history[i];
	for (int i = VIEW_HISTORY - cells; i < VIEW_HISTORY; i++) {
		/* Anything at all is at least the lowest bar. */
		int bar = (int)((double)history[i] * 7 / (double)most + (history[i] > 0));

		used += (size_t)snprintf(text + used, sizeof text - used, "%s", bars[bar]);
	}
	screen_text(s, ACCENT, 0, LEFT, text);
}

static void draw_traffic(const struct view *v, struct screen *s, unsigned stale, bool out)
{
	char rate[FORMAT_MAX], bytes[FORMAT_MAX];

	label(s, stale, out ? "Out" : "In");
	screen_printf(s, BOLD, "%9s/s", format_bytes(rate, v->totals.rate[out]));
	screen_printf(s, PLAIN, "  %9s   ", format_bytes(bytes, v->totals.bytes[out]));
	draw_history(v->history[out], s);
}

static void draw_connections(const struct view *v, struct screen *s, unsigned stale)
{
	const struct view_totals *t = &v->totals;
	size_t all = 0;

	label(s, stale, "Connections");
	for (int i = 0; i < 5; i++)
		all += t->status[i];
	screen_printf(s, BOLD, "%zu", all);
	screen_printf(s, PLAIN, "  %zu in, %zu out", t->inbound, all - t->inbound - t->unknown);
	if (t->unknown > 0)
		screen_printf(s, PLAIN, ", %zu unknown", t->unknown);
	if (t->streams > 0) {
		dot(s);
		screen_printf(s, PLAIN, "%" PRIu64 " streams", t->streams);
	}
	for (int i = 4; i > 0; i--) {
		if (t->status[i] == 0)
			continue;
		dot(s);
		screen_printf(s, i == INTROSPECTION__STATUS__ERROR ? ALARM : PLAIN, "%zu %s",
			      t->status[i], status_text((Introspection__Status)i));
	}
	if (t->limited > 0) {
		dot(s);
		screen_printf(s, PLAIN, "%zu limited", t->limited);
	}
}

static uint64_t protocol_rate(const Introspection__ProtocolTraffic *p)
{
	return traffic_gauge(p->traffic, false)->inst_bw + traffic_gauge(p->traffic, true)->inst_bw;
}

/* The protocol that moves most besides those already shown; NULL: there is none. */
static const Introspection__ProtocolTraffic *
busiest(const Introspection__State *state, const Introspection__ProtocolTraffic *const *shown,
	size_t count)
{
	const Introspection__ProtocolTraffic *most = NULL;

	for (size_t i = 0; i < state->n_protocols; i++) {
		const Introspection__ProtocolTraffic *p = state->protocols[i];
		size_t j = 0;

		while (j < count && shown[j] != p)
			j++;
		if (j == count && (!most || protocol_rate(p) > protocol_rate(most)))
			most = p;
	}
	return most;
}

static void draw_protocols(const Introspection__State *state, struct screen *s, unsigned stale)
{
	const Introspection__ProtocolTraffic *shown[LISTED], *p;
	char text[FORMAT_MAX];

	label(s, stale, "Protocols");
	for (size_t n = 0; n < LISTED && (p = busiest(state, shown, n)) != NULL; n++) {
		shown[n] = p;
		if (n > 0)
			dot(s);
		screen_text(s, PLAIN, 0, LEFT, p->protocol);
		if (protocol_rate(p) > 0)
			screen_printf(s, PLAIN, " %s/s", format_bytes(text, protocol_rate(p)));
	}
}

static void draw_queries(struct screen *s, const char *what,
			 const Introspection__DHT__QueryGauge *q)
{
	if (!q)
		return;
	dot(s);
	screen_printf(s, PLAIN, "%s %" PRIu64 " ok", what, q->success);
	if (q->error > 0)
		screen_printf(s, PLAIN, " %" PRIu64 " failed", q->error);
	if (q->timeout > 0)
		screen_printf(s, PLAIN, " %" PRIu64 " timed out", q->timeout);
}

static void draw_dht(const Introspection__State *state, struct screen *s, unsigned stale)
{
	const Introspection__DHT *dht = state->subsystems->dht;
	size_t peers = 0, active = 0;

	for (size_t i = 0; i < dht->n_buckets; i++) {
		const Introspection__DHT__Bucket *b = dht->buckets[i];

		peers += b->n_peers;
		for (size_t j = 0; j < b->n_peers; j++)
			active +=
			    b->peers[j]->status == INTROSPECTION__DHT__PEER_IN_DHT__STATUS__ACTIVE;
	}
	label(s, stale, "DHT");
	if (!dht->enabled)
		screen_text(s, DIM, 0, LEFT, "off  ");
	screen_printf(s, PLAIN, "peers %zu", state->counts ? state->counts->dht_peers : peers);
	if (active < peers)
		screen_printf(s, PLAIN, ", %zu active", active);
	if (!state->counts) {
		dot(s);
		screen_printf(s, PLAIN, "buckets %zu", dht->n_buckets);
	}
	draw_queries(s, "queries in", dht->incoming_queries);
	draw_queries(s, "out", dht->outgoing_queries);
}

static void draw_topics(const Introspection__State *state, struct screen *s, unsigned stale)
{
	label(s, stale, "Topics");
	for (size_t i = 0; i < state->n_topics && i < LISTED; i++) {
		const Introspection__Topic *t = state->topics[i];

		if (i > 0)
			dot(s);
		screen_text(s, PLAIN, 0, LEFT, t->name);
		screen_printf(s, DIM, " %" PRIu32 " peers, %zu in mesh", t->subscribers,
			      t->n_mesh_peer_ids);
	}
}

static void draw_resources(const Introspection__State *state, struct screen *s, unsigned stale)
{
	char text[FORMAT_MAX];

	label(s, stale, "Resources");
	for (size_t i = 0; i < state->n_resources; i++) {
		const Introspection__Resource *r = state->resources[i];
		bool bytes = strstr(r->name, "memory") != NULL;
		double share = r->limit > 0 ? (double)r->used / (double)r->limit : 0;

		if (i > 0)
			dot(s);
		screen_printf(s, PLAIN, "%s ", r->name);
		/* The bridge tells as a resource how old an answer is that it asks for seldom: this is shown as
		 * a time, not as a part of a limit. */
		if (strcmp(r->scope, "age-seconds") == 0) {
			screen_printf(s, DIM, "%s old", format_age(text, 1000 * r->used));
			continue;
		}
		if (!bytes)
			snprintf(text, sizeof text, "%" PRIu64, r->used);
		screen_text(s,
			    share > 0.95  ? ALARM
			    : share > 0.8 ? WARNING
					  : PLAIN,
			    0, LEFT, bytes ? format_bytes(text, r->used) : text);
		if (r->limit > 0 && bytes)
			screen_printf(s, DIM, " of %s", format_bytes(text, r->limit));
		else if (r->limit > 0)
			screen_printf(s, DIM, " of %" PRIu64, r->limit);
	}
}

static void draw_addresses(const Introspection__State *state, struct screen *s, unsigned stale)
{
	static const char *const reach[] = {"", " public", " private"};

	label(s, stale, "Addresses");
	for (size_t i = 0; i < state->n_addresses && i < LISTED; i++) {
		const Introspection__OwnAddress *a = state->addresses[i];

		if (i > 0)
			dot(s);
		screen_text(s, PLAIN, 0, LEFT, a->multiaddr);
		if ((unsigned)a->reachability < sizeof reach / sizeof *reach)
			screen_text(s, DIM, 0, LEFT, reach[a->reachability]);
	}
}

/* What else the node says of itself, on as many lines as can be had. */
static void draw_summary(const Introspection__State *state, struct screen *s, unsigned stale,
			 int lines)
{
	const Introspection__DHT *dht = state->subsystems ? state->subsystems->dht : NULL;

	if (state->n_protocols > 0 && lines-- > 0)
		draw_protocols(state, s, stale);
	/* A DHT that is not enabled and empty is one that the source does not know. */
	bool has_dht = dht && (dht->enabled || dht->n_buckets > 1 ||
			       (dht->n_buckets == 1 && dht->buckets[0]->n_peers > 0));
	if (has_dht && lines-- > 0)
		draw_dht(state, s, stale);
	if (state->n_resources > 0 && lines-- > 0)
		draw_resources(state, s, stale);
	if (state->n_topics > 0 && lines-- > 0)
		draw_topics(state, s, stale);
	if (state->n_addresses > 0 && lines-- > 0)
		draw_addresses(state, s, stale);
}

/* Why there is nothing to see yet. */
static void draw_waiting(const struct view_status *status, struct screen *s)
{
	char why[LINK_WHY_MAX], *next = why, *one;

	screen_line(s, PLAIN);
	if (status->link->state == LINK_OPEN) {
		paragraph(s, PLAIN, 0, "Connected; the node has not said anything yet.");
		return;
	}
	if (status->link->why[0] == '\0')
		return;
	paragraph(s, PLAIN, 0, "No connection:");
	memcpy(why, status->link->why, sizeof why);
	while ((one = next) != NULL) {
		next = strstr(one, "; ");
		if (next)
			*next = '\0', next += 2;
		paragraph(s, WARNING, 2, one);
	}
	screen_line(s, PLAIN);
	paragraph(s, DIM, 0, "Start introspectd if none runs, or name another place: introspect HOST[:PORT]");
}

static const char *const help_keys[][2] = {
    {"up down, j k", "select a connection"},
    {"PgUp PgDn Home End", "by the page, first, last"},
    {"Enter", "its streams, and back"},
    {"g", "sums by peer, by process, and back"},
    {"w", "rates over 2, 10, 40 s, and as they are"},
    {"f", "choose columns"},
    {"< >", "sort by the column to the left, right"},
    {"r", "reverse the order"},
    {"/", "show only what contains a text"},
    {"Space", "hold still: the daemon is asked for nothing meanwhile"},
    {"Esc", "close what was opened, show all connections"},
    {"q", "quit"},
    {"DIR ?", "nobody knows who dialled"},
    {"unlisted", "the kernel has it, the node does not list it"},
    {"*", "counted by the kernel, headers of TLS and Noise included"},
};

/* The letters that sort. */
static void draw_sorts(const struct table *t, struct screen *s)
{
	char text[FORMAT_MAX];
	int room = 0;

	screen_line(s, PLAIN);
	for (size_t i = 0; i < t->column_count; i++) {
		const char *title = table_title(t, i, text);
		int width = (int)strlen(title) + 4;

		if (!(t->seen >> i & 1))
			continue;
		if (room < width) {
			label(s, PLAIN, room == 0 ? "Sort by" : "");
			room = s->cols - LABEL_CELLS;
		}
		room -= width;
		screen_printf(s, BOLD, "%c", t->columns[i].key);
		screen_printf(s, DIM, " %s  ", title);
	}
}

/* Ends the lines that began with screen_scroll_begin(): those from help_top on stay, as many as the
 * footer leaves. */
static void end_scrolled(struct view *v, struct screen *s, int lines)
{
	v->help_page = (size_t)lines;
	v->help_lines = (size_t)screen_scroll_end(s, (int)v->help_top, lines);
}

static int lines_above_footer(const struct screen *s)
{
	return screen_left(s) > 1 ? screen_left(s) - 1 : 0;
}

static void draw_help(struct view *v, struct screen *s)
{
	const int lines = lines_above_footer(s);

	screen_scroll_begin(s);
	for (size_t i = 0; i < sizeof help_keys / sizeof *help_keys; i++) {
		if (s->cols < COLS_FOR_HELP) {
			paragraph(s, BOLD, 0, help_keys[i][0]);
			paragraph(s, PLAIN, 2, help_keys[i][1]);
			continue;
		}
		screen_line(s, PLAIN);
		screen_text(s, BOLD, 22, LEFT, help_keys[i][0]);
		screen_text(s, PLAIN, 0, LEFT, help_keys[i][1]);
	}
	draw_sorts(view_table(v), s);
	end_scrolled(v, s, lines);
}

/* The columns, and which of them are shown. */
static void draw_columns(struct view *v, struct screen *s)
{
	const struct table *t = view_table(v);
	const int lines = lines_above_footer(s);
	char text[FORMAT_MAX];

	screen_scroll_begin(s);
	paragraph(s, DIM, 0, "The letter of a column hides it, or shows it if there is room:");
	for (size_t i = 0; i < t->column_count; i++) {
		screen_line(s, PLAIN);
		screen_printf(s, PLAIN, "[%c] ",
			      (t->shown | t->wanted) & ~t->hidden & 1U << i ? 'x' : ' ');
		screen_printf(s, BOLD, "%c", t->columns[i].key);
		screen_printf(s, PLAIN, " %s%s", table_title(t, i, text),
			      t->sort == i            ? "  sorted by it, so it stays"
			      : t->wanted >> i & 1    ? "  chosen"
			      : t->hidden >> i & 1    ? "  hidden"
			      : !(t->seen >> i & 1)   ? "  nothing is known"
			      : !(t->shown >> i & 1) ? "  no room"
						      : "");
	}
	end_scrolled(v, s, lines);
}

/* Another fact on the line, if it is known. */
static void fact(struct screen *s, const char *text)
{
	if (*text == '\0')
		return;
	dot(s);
	screen_text(s, PLAIN, 0, LEFT, text);
}

/* What is known of the selected connection besides its row. */
static void draw_facts(const struct row *row, struct screen *s, unsigned stale)
{
	const Introspection__Connection *c = row->connection;
	char text[CELL_MAX], bytes[FORMAT_MAX];

	label(s, stale, "Peer");
	screen_text(s, BOLD, 0, LEFT, *c->peer_id ? c->peer_id : "unknown");
	screen_printf(s, PLAIN, "  %s", c->agent_version);
	label(s, stale, "Address");
	if (c->endpoints)
		screen_printf(s, PLAIN, "%s  local %s", c->endpoints->dst_multiaddr,
			      c->endpoints->src_multiaddr);
	label(s, stale, "Connection");
	screen_text(s, PLAIN, 0, LEFT, status_text(c->status));
	fact(s, is_role_unknown(row) ? "who dialled is not known" : "");
	fact(s, c->unlisted ? "the node does not list it" : "");
	fact(s, c->kernel_traffic ? "bytes counted by the kernel" : "");
	fact(s, row_text(text, row, TRANSPORT));
	fact(s, c->attribs ? c->attribs->encryption : "");
	fact(s, c->attribs ? c->attribs->multiplexer : "");
	fact(s, c->limited ? "limited relay" : "");
	if (c->retransmitted_bytes > 0) {
		fact(s, format_bytes(bytes, c->retransmitted_bytes));
		screen_text(s, PLAIN, 0, LEFT, " retransmitted");
	}
	fact(s, row_text(text, row, PROCESS));
	fact(s, row_text(text, row, TAGS));
}

/* The streams of the selected connection on so many lines. */
static void draw_pane(struct view *v, struct screen *s, unsigned stale, int lines)
{
	const struct row *row = view_selected(v);
	int end = screen_left(s) - lines;

	screen_line(s, stale);
	for (int i = 0; i < s->cols; i++)
		screen_text(s, DIM, 0, LEFT, pick(s, "\u2500", "-"));
	if (!row)
		return;
	draw_facts(row, s, stale);
	screen_line(s, stale);
	if (v->streams.count > 0) {
		table_draw(&v->streams, s, screen_left(s) - end, stale,
			   v->opened ? REVERSE : PLAIN);
		return;
	}
	screen_line(s, stale);
	screen_text(s, DIM, 0, LEFT,
		    row_number(row, STREAMS) > 0 ? "Of its streams only the number is known."
		    : v->totals.streams > 0      ? "It has no streams."
					    : "Streams are known when a node feeds the daemon.");
	while (screen_left(s) > end)
		screen_line(s, stale);
}

static void draw_tables(struct view *v, struct screen *s, unsigned stale)
{
	int lines = screen_left(s) - 1;

	if (v->grouping != BY_NOTHING && v->groups.count > 0) {
		table_draw(&v->groups, s, lines, stale, REVERSE);
		return;
	}
	int pane = v->opened ? lines / 2 : s->rows >= ROWS_FOR_PANE ? lines / 3 : 0;

	if (v->opened && pane < PANE_MIN)
		pane = lines;
	if (v->connections.count > 0) {
		table_draw(&v->connections, s, lines - pane, stale, v->opened ? BOLD : REVERSE);
	} else {
		screen_line(s, stale);
		screen_text(s, DIM, 0, LEFT,
			    v->filter[0]                   ? "No connection contains that."
			    : v->opened_by != BY_NOTHING   ? "The group has no connection any more."
			    : v->state && v->state->counts ? "Totals alone were asked for."
							   : "No connections.");
		pane = 0;
	}
	if (pane > 0)
		draw_pane(v, s, stale, pane);
}

/* For how many ms the daemon, which is there, has not had a snapshot although it was asked and
 * its interval has passed several times. 0: all is well. */
static int64_t silence(const struct view *v, const struct view_status *status)
{
	const Introspection__Runtime *r = v->state ? v->state->runtime : NULL;
	const int64_t usual = r ? INTERVALS * (int64_t)r->interval_ms : 0;
	const int64_t since = status->now - status->asked;

	if (!v->state || status->link->state != LINK_OPEN || v->paused || status->asked == INT64_MAX ||
	    since < (usual > VIEW_STALE_MS ? usual : VIEW_STALE_MS))
		return 0;
	return status->now - status->received;
}

static const char *footer_keys(const struct view *v)
{
	if (v->help || v->choosing)
		return "Esc back   q quit";
	if (v->opened)
		return "Enter back   ? help   q quit   < > sort   r reverse";
	if (v->grouping != BY_NOTHING)
		return "Enter its connections   Esc back   ? help   g next   < > sort";
	return "Enter streams   ? help   q quit   / filter   g groups   < > sort";
}

/* Which connections are shown when some are hidden. */
static void draw_choice(const struct view *v, struct screen *s)
{
	screen_text(s, ACCENT, 0, LEFT, "only ");
	if (v->opened_by != BY_NOTHING)
		screen_printf(s, ACCENT, "those of %s%s", v->opened_group, v->filter[0] ? ", and " : "");
	if (v->filter[0])
		screen_printf(s, ACCENT, "what contains %s", v->filter);
	screen_text(s, DIM, 0, LEFT, "   Esc shows all");
}

/* What went wrong, or which connections are hidden, or what keys do. */
static void draw_footer(struct view *v, const struct view_status *status, struct screen *s)
{
	const struct table *t = view_table(v);
	const bool scrolls = v->help || v->choosing;
	char right[64] = "", text[FORMAT_MAX];

	if (scrolls && v->help_lines > v->help_page)
		snprintf(right, sizeof right, "%zu-%zu/%zu", v->help_top + 1,
			 v->help_top + v->help_page, v->help_lines);
	else if (t->count > 0 && !scrolls)
		snprintf(right, sizeof right, "%zu/%zu", t->selected + 1, t->count);
	int width = screen_width(s, right);

	screen_line(s, PLAIN);
	screen_reserve(s, width + 2);
	if (v->filtering) {
		screen_printf(s, BOLD, "/%s", v->filter);
		screen_text(s, REVERSE, 1, LEFT, " ");
	} else if (v->state && status->link->state == LINK_WAITING) {
		screen_text(s, WARNING, 0, LEFT, status->link->why);
	} else if (silence(v, status) > 0) {
		screen_printf(s, WARNING, "No word from the node for %s: is it gone?",
			      format_age(text, (uint64_t)silence(v, status)));
	} else if (!scrolls && (v->opened_by != BY_NOTHING || v->filter[0] != '\0')) {
		draw_choice(v, s);
	} else {
		screen_text(s, DIM, 0, LEFT, footer_keys(v));
	}
	screen_align_right(s, width);
	screen_text(s, DIM, 0, LEFT, right);
}

int view_draw(struct view *v, struct screen *s, const struct view_status *status)
{
	const bool roomy = s->rows >= ROWS_FOR_GAPS, covered = v->help || v->choosing;
	/* Everything is dim when the last snapshot is old. */
	const unsigned stale = view_ticks(v, status) ? DIM : PLAIN;

	screen_begin(s);
	draw_identity(v, status, s);
	if (v->state) {
		draw_source(v, status, s);
		if (roomy)
			screen_line(s, stale);
		if (s->rows >= ROWS_FOR_TOTALS && !covered) {
			draw_traffic(v, s, stale, false);
			draw_traffic(v, s, stale, true);
			draw_connections(v, s, stale);
		}
		draw_summary(v->state, s, stale, roomy && !covered ? (s->rows - 12) / 4 : 0);
	}
	if (roomy && !covered)
		screen_line(s, stale);
	if (v->help)
		draw_help(v, s);
	else if (v->choosing)
		draw_columns(v, s);
	else if (v->state)
		draw_tables(v, s, stale);
	else
		draw_waiting(status, s);
	while (screen_left(s) > 1)
		screen_line(s, PLAIN);
	draw_footer(v, status, s);
	return screen_end(s);
}
