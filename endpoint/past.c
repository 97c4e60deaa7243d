#include "endpoint/past.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "source/complete.h"
#include "source/recording.h"
#include "source/wire.h"

enum {
	FILE_VERSION = 1,
	HEAD_MAX = WIRE_RUNTIME_MAX + 256,
	MISSING_MAX = 1024,   /* bytes that complete_state adds to a State of the past, unless it is odd */
	ALIGNMENT = 8,

	/* fields of the schema */
	STATE_SUBSYSTEMS = 1,
	STATE_RUNTIME = 100,
	STATE_ADDRESSES = 102,
	STATE_TOPICS = 104,
	RUNTIME_EVENT_TYPES = 7,
	SUBSYSTEMS_CONNECTIONS = 1,
	SUBSYSTEMS_DHT = 2,
	CONNECTION_TRAFFIC = 8,
	GAUGE_BYTES = 1,
	GAUGE_RATE = 3,
};

/* Of a Connection: id, peer, status, endpoints, timeline, role, traffic, agent. */
static const uint32_t kept_fields =
	1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 20;

/* An item of a past. Behind it stand its bytes, then padding, so that the next item is aligned. */
struct item {
	int64_t time;
	uint64_t number;
	uint32_t len;       /* bytes of the message with what stands before it in a recording */
	bool is_event;
};

/* A connection of a snapshot, and what it moved. */
struct mover {
	uint64_t rate, bytes;
	struct wire_reader connection;
};

int past_open(struct past *p, size_t size, int64_t keep)
{
	*p = (struct past){.bytes = malloc(size), .size = size, .keep = keep, .next = 1,
	                   .head = malloc(HEAD_MAX)};
	if (p->bytes && p->head)
		return 0;
	past_close(p);
	return -1;
}

void past_close(struct past *p)
{
	free(p->bytes);
	free(p->head);
	*p = (struct past){0};
}

static struct item item_at(const struct past *p, size_t at)
{
	struct item item;

	memcpy(&item, p->bytes + at, sizeof item);
	return item;
}

static size_t size_of(const struct item *item)
{
	return (sizeof *item + item->len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* How far apart States of this age are at least, in ms. */
static int64_t step(int64_t age)
{
	return age < PAST_HOUR_MS ? 0 : age < PAST_DAY_MS ? PAST_MINUTE_MS : PAST_TEN_MINUTES_MS;
}

/* Drops items that are too old, States that are closer together than their age allows, the oldest Events
 * while Events have more than events_max bytes, and the oldest items of those over most bytes in all. */
static void thin(struct past *p, int64_t now, size_t most, size_t events_max)
{
	size_t over = p->used > most ? p->used - most : 0, to = 0, len;
	int64_t last = INT64_MIN / 2;   /* when the State before was seen */

	for (size_t at = 0; at < p->used; at += len) {
		const struct item item = item_at(p, at);
		const int64_t age = now - item.time;

		len = size_of(&item);
		const bool goes = age > p->keep || at < over ||
		                  (item.is_event && p->event_bytes > events_max);
		if (goes || (!item.is_event && item.time - last < step(age))) {
			p->event_bytes -= item.is_event ? len : 0;
			if (goes)
				p->gone[item.is_event] = item.number;
			continue;
		}
		if (!item.is_event)
			last = item.time;
		memmove(p->bytes + to, p->bytes + at, len);
		to += len;
	}
	p->moves += to < p->used;
	p->used = to;
}

/* Makes room for len bytes more. Dropping moves all items that stay, so when room is needed an eighth of the
 * bytes is freed at a time. */
static void make_room(struct past *p, int64_t now, size_t len)
{
	const size_t share = p->size / PAST_EVENTS_SHARE;

	if (now - p->thinned < PAST_MINUTE_MS && p->used + len <= p->size && p->event_bytes <= share)
		return;
	p->thinned = now;
	thin(p, now, p->size, p->event_bytes > share ? share / 2 : share);
	if (p->used + len > p->size)
		thin(p, now, p->size / 8 * 7 - len, share);
}

/* Writes what stands before a message in a recording. Returns the bytes of both. */
static size_t put_header(uint8_t *out, size_t len)
{
	const uint32_t header[] = {htole32(wire_checksum(out + RECORDING_HEADER, len)),
	                           htole32((uint32_t)len)};

	memcpy(out, header, sizeof header);
	return sizeof header + len;
}

static void add(struct past *p, int64_t now, Introspection__ServerMessage__PayloadCase kind,
                const uint8_t *payload, size_t len)
{
	struct item item = {.time = now, .number = p->next,
	                    .is_event = kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT};
	const size_t most = sizeof item + RECORDING_HEADER + WIRE_PREFIX_MAX + len + ALIGNMENT;

	if (len > PAST_POINT_MAX || most > p->size / 2)
		return;
	make_room(p, now, most);
	uint8_t *at = p->bytes + p->used, *message = at + sizeof item + RECORDING_HEADER;
	const size_t n = wire_put_prefix(message, kind, len);
	memcpy(message + n, payload, len);
	item.len = (uint32_t)put_header(at + sizeof item, n + len);
	memcpy(at, &item, sizeof item);
	p->used += size_of(&item);
	p->event_bytes += item.is_event ? size_of(&item) : 0;
	p->newest[item.is_event] = p->next++;
}

void past_event(struct past *p, int64_t now, const uint8_t *event, size_t len)
{
	add(p, now, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT, event, len);
}

static size_t put_message(uint8_t *out, const Introspection__ServerMessage *message)
{
	return put_header(out, introspection__server_message__pack(message, out + RECORDING_HEADER));
}

void past_runtime(struct past *p, const Introspection__Runtime *runtime, int64_t every)
{
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__Version version = INTROSPECTION__VERSION__INIT;
	Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;
	Introspection__CommandResponse response = INTROSPECTION__COMMAND_RESPONSE__INIT;
	const uint32_t file_version = htole32(FILE_VERSION);
	Introspection__Runtime shown = *runtime;

	if (introspection__runtime__get_packed_size(&shown) > WIRE_RUNTIME_MAX)
		shown.n_event_types = 0;
	memcpy(p->head, &file_version, sizeof file_version);
	p->head_len = sizeof file_version;
	version.version = FILE_VERSION;
	message.version = &version;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME;
	message.runtime = &shown;
	p->head_len += put_message(p->head + p->head_len, &message);
	config.retention_period_ms = (uint64_t)p->keep;
	config.state_snapshot_interval_ms = (uint64_t)every;
	response.effective_config = &config;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RESPONSE;
	message.response = &response;
	p->head_len += put_message(p->head + p->head_len, &message);
	p->heads++;
}

/* The message in the first field with this number; empty: there is none. */
static struct wire_reader inside(struct wire_reader r, uint32_t number)
{
	struct wire_field f;

	while (r.at < r.end && wire_next(&r, &f))
		if (f.number == number)
			return wire_inside(&r, &f);
	return (struct wire_reader){0};
}

static struct wire_reader state_of(const struct snapshot *s)
{
	const struct wire_reader r = {.at = s->message, .end = s->message + s->len};

	return inside(r, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE);
}

static struct mover measure(struct wire_reader connection)
{
	struct wire_reader traffic = inside(connection, CONNECTION_TRAFFIC);
	struct mover m = {.connection = connection};
	struct wire_field f;

	while (traffic.at < traffic.end && wire_next(&traffic, &f)) {
		struct wire_reader gauge = wire_inside(&traffic, &f);

		while (gauge.at < gauge.end && wire_next(&gauge, &f)) {
			m.rate += f.number == GAUGE_RATE ? f.value : 0;
			m.bytes += f.number == GAUGE_BYTES ? f.value : 0;
		}
	}
	return m;
}

static bool moved_more(const struct mover *a, const struct mover *b)
{
	return a->rate != b->rate ? a->rate > b->rate : a->bytes > b->bytes;
}

/* Finds the connections with the highest rates and, of those with equal rates, with the most bytes. Returns how
 * many it has found, at most PAST_CONNECTIONS. */
static size_t find_movers(struct mover top[PAST_CONNECTIONS + 1], struct wire_reader in)
{
	struct wire_field f;
	size_t n = 0;

	while (in.at < in.end && wire_next(&in, &f)) {
		if (f.number != SUBSYSTEMS_CONNECTIONS)
			continue;
		const struct mover m = measure(wire_inside(&in, &f));
		size_t i = n;
		for (; i > 0 && moved_more(&m, &top[i - 1]); i--)
			top[i] = top[i - 1];
		top[i] = m;
		n += n < PAST_CONNECTIONS;
	}
	return n;
}

/* Writes the kept_fields of a connection. A connection that does not fit is left out. */
static void write_connection(struct wire_writer *w, struct wire_reader in)
{
	const struct wire_writer before = *w;
	uint8_t *body = wire_begin(w);
	struct wire_field f;

	while (in.at < in.end && wire_next(&in, &f))
		if (f.number < 32 && kept_fields >> f.number & 1)
			wire_copy_field(w, &in, &f);
	wire_end(w, body, SUBSYSTEMS_CONNECTIONS);
	if (w->over)
		*w = before;
}

/* Copies a field, if there is room for it. */
static void copy(struct wire_writer *w, const struct wire_reader *in, const struct wire_field *f)
{
	if (in->at - f->start <= w->end - w->at)
		wire_copy_field(w, in, f);
}

/* Connections get half of the room at most, the DHT all that they leave. */
static void write_subsystems(struct wire_writer *w, struct wire_reader in, struct wire_reader whole)
{
	struct mover top[PAST_CONNECTIONS + 1];
	const size_t n = find_movers(top, whole);
	uint8_t *body = wire_begin(w), *end = w->end;
	struct wire_field f;

	w->end -= PAST_POINT_MAX / 2;
	for (size_t i = 0; i < n; i++)
		write_connection(w, top[i].connection);
	w->end = end;
	while (in.at < in.end && wire_next(&in, &f))
		if (f.number == SUBSYSTEMS_DHT)
			copy(w, &in, &f);
	wire_end(w, body, STATE_SUBSYSTEMS);
}

/* Writes the Runtime of a State without its types of Events, which stand at the head of the recording. */
static void write_runtime(struct wire_writer *w, struct wire_reader in)
{
	const struct wire_writer before = *w;
	uint8_t *body = wire_begin(w);
	struct wire_field f;

	while (in.at < in.end && wire_next(&in, &f))
		if (f.number != RUNTIME_EVENT_TYPES)
			copy(w, &in, &f);
	wire_end(w, body, STATE_RUNTIME);
	if (w->over)
		*w = before;
}

void past_state(struct past *p, int64_t now, const struct snapshot *totals,
                const struct snapshot *latest)
{
	static uint8_t point[PAST_POINT_MAX - MISSING_MAX], completed[PAST_POINT_MAX];
	struct wire_writer w = {.at = point, .end = point + sizeof point};
	const struct wire_reader whole = state_of(latest);
	struct wire_reader in = totals ? state_of(totals) : whole;
	struct wire_field f;

	write_subsystems(&w, inside(in, STATE_SUBSYSTEMS), inside(whole, STATE_SUBSYSTEMS));
	while (in.at < in.end && wire_next(&in, &f)) {
		if (f.number == STATE_RUNTIME)
			write_runtime(&w, wire_inside(&in, &f));
		else if (f.number != STATE_SUBSYSTEMS && f.number != STATE_ADDRESSES &&
		         f.number != STATE_TOPICS)
			copy(&w, &in, &f);
	}
	const size_t n = (size_t)(w.at - point);
	const size_t len = complete_state(completed, sizeof completed, point, n, 0);
	const bool fits = len <= sizeof completed;
	add(p, now, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, fits ? completed : point,
	    fits ? len : n);
}

/* Sets r->at to where the reader's next item stands, and *item to that. False: the reader has read all. */
static bool find_item(const struct past *p, struct past_reader *r, struct item *item)
{
	if (r->moves != p->moves)
		r->at = 0;
	r->moves = p->moves;
	for (; r->at < p->used; r->at += size_of(item)) {
		*item = item_at(p, r->at);
		if (item->number >= r->until)
			break;
		if (item->number >= r->number && item->time >= r->since)
			return true;
	}
	return false;
}

struct past_reader past_reader(const struct past *p, int64_t since)
{
	struct past_reader r = {.since = since, .until = p->next, .moves = p->moves};
	struct item first;

	/* A reader that has nothing to read keeps zeros here, by which has_gap finds no gap for it. */
	if (find_item(p, &r, &first)) {
		memcpy(r.newest, p->newest, sizeof r.newest);
		memcpy(r.gone, p->gone, sizeof r.gone);
	}
	return r;
}

/* Was an item dropped since the reader began that it had not read yet? Of each kind the oldest items are
 * dropped first, so gone tells. Before the reader has read an item, those that are dropped may be older
 * than its since, so there is a gap only if nothing is left for it. */
static bool has_gap(const struct past *p, const struct past_reader *r, bool found)
{
	for (int kind = 0; kind < 2 && (r->number > 1 || !found); kind++) {
		const uint64_t gone = p->gone[kind] < r->newest[kind] ? p->gone[kind] : r->newest[kind];

		if (gone > r->gone[kind] && gone >= r->number)
			return true;
	}
	return false;
}

/* Copies the next bytes of the head, at most room, and returns how many; or PAST_LOST. */
static long read_head(const struct past *p, struct past_reader *r, uint8_t *out, size_t room)
{
	const size_t left = p->head_len - r->done, n = left < room ? left : room;

	if (r->done > 0 && r->heads != p->heads)
		return PAST_LOST;
	r->heads = p->heads;
	memcpy(out, p->head + r->done, n);
	r->done += n;
	if (r->done == p->head_len) {
		r->number = 1;
		r->done = 0;
	}
	return (long)n;
}

long past_read(const struct past *p, struct past_reader *r, uint8_t *out, size_t room)
{
	size_t used = 0;
	struct item item;

	if (r->number == 0)
		return p->head_len > 0 ? read_head(p, r, out, room) : 0;
	while (used < room) {
		const bool found = find_item(p, r, &item);

		if ((r->done > 0 && (!found || item.number != r->number)) || has_gap(p, r, found))
			return PAST_LOST;
		if (!found)
			break;
		const size_t left = item.len - r->done, n = left < room - used ? left : room - used;
		memcpy(out + used, p->bytes + r->at + sizeof item + r->done, n);
		used += n;
		r->done = n < left ? r->done + n : 0;
		r->number = item.number + (n == left);
		r->at += n == left ? size_of(&item) : 0;
	}
	return (long)used;
}
