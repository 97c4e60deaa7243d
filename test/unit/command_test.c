#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "endpoint/command.h"
#include "messages.h"
#include "source/wire.h"

enum {
	HISTORY = 65536,
	NOW = 1000000,
	LONG = 1 << 20,   /* bytes of the longest message that goes out here */
};

/* One client at a server that does what the daemon does, on a clock of the test's own. */
struct world {
	struct commands all;
	struct command c;
	struct ws_decoder ws;
	size_t raw_at, raw_len;   /* bytes that came and were not decoded */
	uint8_t raw[COMMAND_MESSAGE_MAX + 64];
	Introspection__Runtime runtime;
	int64_t now;
	uint64_t last;      /* sequence number of the last state sent */
	uint64_t states;    /* taken */
	struct command_frame frame;
	Introspection__ServerMessage *got;
};

static void evict(void *arg, uint64_t first)
{
	struct world *w = arg;

	command_forget(&w->c, &w->all, first);
}

static struct world *world_open(size_t history)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	assert_int_equal(commands_open(&w->all, history), 0);
	w->all.interval = 10;
	w->all.evict = evict;
	w->all.evict_arg = w;
	w->ws.max_message = COMMAND_MESSAGE_MAX;
	w->now = NOW;
	introspection__runtime__init(&w->runtime);
	return w;
}

static void world_close(struct world *w)
{
	if (w->got)
		introspection__server_message__free_unpacked(w->got, NULL);
	commands_close(&w->all);
	free(w);
}

static uint32_t word(const uint8_t *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof n);
	return le32toh(n);
}

/* FNV-1a as its authors write it down. */
static uint32_t fnv(const uint8_t *bytes, size_t len)
{
	uint64_t sum = 2166136261;

	while (len-- > 0)
		sum = (sum ^ *bytes++) * 16777619 & UINT32_MAX;
	return (uint32_t)sum;
}

/* Takes a frame apart, whose body (if it goes on elsewhere) is given: w->got is
 * what it says. */
static Introspection__ServerMessage *receive(struct world *w, const uint8_t *body, size_t body_len)
{
	static uint8_t bytes[LONG];
	const uint8_t *at = bytes;
	size_t len = w->frame.len + body_len, announced;

	assert_true(len <= sizeof bytes);
	memcpy(bytes, w->frame.at, w->frame.len);
	if (body)
		memcpy(bytes + w->frame.len, body, body_len);
	assert_int_equal(at[0], 0x82);
	announced = at[1];
	at += 2;
	if (announced == 126) {
		announced = (size_t)at[0] << 8 | at[1];
		assert_true(announced >= 126);
		at += 2;
	} else if (announced == 127) {
		announced = (size_t)at[4] << 24 | (size_t)at[5] << 16 | (size_t)at[6] << 8 | at[7];
		assert_true(announced >= 65536);
		at += 8;
	}
	assert_true(announced == len - (size_t)(at - bytes));
	assert_int_equal(word(at), 1);
	assert_int_equal(word(at + 8), announced - 12);
	at += 12;
	assert_int_equal(word(at - 8), fnv(at, announced - 12));
	if (w->got)
		introspection__server_message__free_unpacked(w->got, NULL);
	w->got = introspection__server_message__unpack(NULL, announced - 12, at);
	assert_non_null(w->got);
	assert_int_equal(w->got->version->version, 1);
	return w->got;
}

/* Appends a masked frame; first: its first byte. */
static size_t put_frame(uint8_t *out, uint8_t first, const uint8_t *payload, size_t len)
{
	static const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
	size_t n = ws_header(out, WS_BINARY, len, key);

	out[0] = first;
	if (len > 0)
		memcpy(out + n, payload, len);
	ws_mask(out + n, len, key, 0);
	return n + len;
}

/* Lets the client's bytes in as recv() would. All of them must fit. */
static void put(struct world *w, const uint8_t *bytes, size_t len)
{
	memmove(w->raw, w->raw + w->raw_at, w->raw_len);
	w->raw_at = 0;
	assert_in_range(len, 1, sizeof w->raw - w->raw_len);
	memcpy(w->raw + w->raw_len, bytes, len);
	w->raw_len += len;
}

/* Goes on with what came, as the loop does: until there is an answer (what command_answer
 * says), a control frame (0) or an error of the frames (below 0). */
static int read_on(struct world *w)
{
	while (w->raw_len > 0) {
		int used = ws_decode(&w->ws, w->raw + w->raw_at, w->raw_len);

		if (used < 0)
			return used;
		w->raw_at += (size_t)used;
		w->raw_len -= (size_t)used;
		if (w->ws.event == WS_GOT_PING || w->ws.event == WS_GOT_CLOSE)
			return 0;
		if (w->ws.event != WS_DATA && w->ws.event != WS_MESSAGE)
			continue;
		command_input(&w->c, w->ws.data, w->ws.data_len, w->ws.event == WS_MESSAGE);
		int got = w->c.complete ? command_answer(&w->c, &w->all, &w->runtime, w->now, &w->frame)
		                        : 0;
		assert_false(w->c.complete);
		if (got != 0)
			return got;
	}
	return 0;
}

static size_t pack_command(uint8_t *out, int command, int source, uint64_t id,
                           Introspection__Configuration *config)
{
	Introspection__ClientCommand c = INTROSPECTION__CLIENT_COMMAND__INIT;

	c.command = (Introspection__ClientCommand__Command)command;
	c.source = (Introspection__ClientCommand__Source)source;
	c.id = id;
	c.config = config;
	return introspection__client_command__pack(&c, out);
}

enum {
	STATE = INTROSPECTION__CLIENT_COMMAND__SOURCE__STATE,
	RUNTIME = INTROSPECTION__CLIENT_COMMAND__SOURCE__RUNTIME,
	EVENTS = INTROSPECTION__CLIENT_COMMAND__SOURCE__EVENTS,
};
#define COMMAND(name) INTROSPECTION__CLIENT_COMMAND__COMMAND__##name

/* Sends a command and returns what read_on says. */
static int say(struct world *w, int command, int source, Introspection__Configuration *config)
{
	uint8_t message[256], frame[300];
	size_t len = pack_command(message, command, source, 77, config);

	put(w, frame, put_frame(frame, 0x82, message, len));
	return read_on(w);
}

#define SAY(w, command, ...) say(w, COMMAND(command), __VA_ARGS__)

static const Introspection__CommandResponse *response(struct world *w)
{
	const Introspection__ServerMessage *m = receive(w, NULL, 0);

	assert_int_equal(m->payload_case, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RESPONSE);
	assert_true(m->response->id == 77);
	return m->response;
}

static void assert_ok(struct world *w, int got)
{
	assert_int_equal(got, 1);
	const Introspection__CommandResponse *r = response(w);
	assert_int_equal(r->result, INTROSPECTION__COMMAND_RESPONSE__RESULT__OK);
	assert_string_equal(r->error, "");
}

static void assert_refused(struct world *w, int got, const char *text)
{
	assert_int_equal(got, 1);
	const Introspection__CommandResponse *r = response(w);
	assert_int_equal(r->result, INTROSPECTION__COMMAND_RESPONSE__RESULT__ERR);
	assert_string_equal(r->error, text);
	assert_null(r->effective_config);
}

/* As the daemon does after a command: whatever is pushed from the history now. Returns
 * 's', 'e' or 'n' for a state, an event or a notice, and 0 when nothing is due. */
static char pushed(struct world *w)
{
	if (!command_push(&w->c, &w->all, w->last, &w->frame))
		return 0;
	const Introspection__ServerMessage *m = receive(w, w->frame.body, w->frame.body_len);
	switch (m->payload_case) {
	case INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE:
		assert_true(m->state->sequence == w->frame.sequence);
		assert_true(w->frame.sequence > w->last);
		w->last = w->frame.sequence;
		return 's';
	case INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT:
		return 'e';
	case INTROSPECTION__SERVER_MESSAGE__PAYLOAD_NOTICE:
		return 'n';
	default:
		fail();
		return 0;
	}
}

static void assert_pushed(struct world *w, const char *expected)
{
	char kinds[64] = "";

	for (size_t i = 0; i + 1 < sizeof kinds && (kinds[i] = pushed(w)) != 0; i++)
		;
	assert_string_equal(kinds, expected);
}

/* A state that was taken while somebody had states held back. */
static void hold_state(struct world *w, size_t len)
{
	static uint8_t packed[LONG];
	static char padding[LONG];
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__Version version = INTROSPECTION__VERSION__INIT;
	Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
	Introspection__State state = INTROSPECTION__STATE__INIT;

	memset(padding, 'x', len);
	padding[len] = '\0';
	runtime.peer_id = padding;
	version.version = 1;
	message.version = &version;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
	message.state = &state;
	state.sequence = ++w->states;
	state.runtime = &runtime;
	len = introspection__server_message__pack(&message, packed);
	commands_state(&w->all, packed, len, wire_checksum(packed, len), w->states, w->now);
}

typedef Introspection__EventType__EventProperty Property;

static size_t pack_typed_event(uint8_t *out, char *type, size_t properties, char *content)
{
	Property property = INTROSPECTION__EVENT_TYPE__EVENT_PROPERTY__INIT;
	Property *list[EVENT_TYPE_MAX];
	Introspection__EventType t = INTROSPECTION__EVENT_TYPE__INIT;
	Introspection__Event e = INTROSPECTION__EVENT__INIT;

	property.name = "peer";
	for (size_t i = 0; i < properties; i++)
		list[i] = &property;
	t.name = type;
	t.n_property_types = properties;
	t.property_types = list;
	e.type = type ? &t : NULL;
	e.ts = 42;
	e.content = content;
	return introspection__event__pack(&e, out);
}

static const char *event(struct world *w, char *type, size_t properties, char *content)
{
	static uint8_t packed[LONG];
	size_t len = pack_typed_event(packed, type, properties, content);
	uint8_t *exact = exact_copy(packed, len);
	const char *error = commands_event(&w->all, exact, len, &w->runtime, true, w->now);

	free(exact);
	return error;
}

static void assert_event(struct world *w, const char *type, size_t properties)
{
	assert_int_equal(pushed(w), 'e');
	assert_string_equal(w->got->event->type->name, type);
	assert_int_equal(w->got->event->type->n_property_types, properties);
	assert_true(w->got->event->ts == 42);
}

static struct world *greeted(size_t history)
{
	struct world *w = world_open(history);

	assert_ok(w, SAY(w, HELLO, STATE, NULL));
	return w;
}

static void hello_comes_first(void **state)
{
	struct world *w = world_open(HISTORY);

	(void)state;
	for (int command = 1; command < 9; command++)
		for (int source = 0; source < 4; source++)
			assert_refused(w, say(w, command, source, NULL), "HELLO must come first");
	assert_false(w->c.push_states || w->c.push_events || w->c.paused || w->c.requests);
	assert_ok(w, SAY(w, HELLO, STATE, NULL));
	assert_true(w->got->response->effective_config->state_snapshot_interval_ms == 1000);
	assert_true(w->got->response->effective_config->retention_period_ms == 120000);
	assert_refused(w, SAY(w, HELLO, STATE, NULL), "HELLO was said before");
	world_close(w);
}

static void refusals(void **state)
{
	static const struct {
		int command, source;
		const char *text;
	} rows[] = {
		{COMMAND(REQUEST), EVENTS,
		 "events cannot be requested, only pushed"},
		{COMMAND(REQUEST), 3, "unknown source"},
		{COMMAND(PUSH_ENABLE), RUNTIME, "a Runtime is not pushed"},
		{COMMAND(PUSH_DISABLE), RUNTIME, "a Runtime is not pushed"},
		{COMMAND(PUSH_ENABLE), 3, "unknown source"},
		{COMMAND(PUSH_DISABLE), -1, "unknown source"},
		{COMMAND(UPDATE_CONFIG), STATE,
		 "UPDATE_CONFIG needs a Configuration"},
		{6, STATE, "unknown command"},
		{8, STATE, "unknown command"},
		{-1, STATE, "unknown command"},
		{INT_MAX, STATE, "unknown command"},
	};
	struct world *w = greeted(HISTORY);

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_refused(w, say(w, rows[i].command, rows[i].source, NULL), rows[i].text);
	assert_pushed(w, "");
	world_close(w);
}

static void configurations(void **state)
{
	static const struct {
		int64_t daemon;   /* ms */
		uint64_t interval, retention, effective_interval, effective_retention;
	} rows[] = {
		{10, 0, 0, 1000, 120000},
		{10, 2000, 120000, 2000, 120000},
		{10, 1, 1, 500, 1},
		{10, 499, 120001, 500, 120000},
		{10, 500, 119999, 500, 119999},
		{499, 500, 0, 500, 120000},
		{501, 500, 0, 501, 120000},
		{3600000, 0, 0, 3600000, 120000},
		{3600000, 3600001, 0, 3600001, 120000},
		{10, UINT64_MAX, UINT64_MAX, INT32_MAX, 120000},
		{10, (uint64_t)INT64_MAX + 1, 0, INT32_MAX, 120000},
	};

	(void)state;
	for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
		struct world *w = world_open(HISTORY);
		Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;
		size_t row = i / 2;

		w->all.interval = rows[row].daemon;
		config.state_snapshot_interval_ms = rows[row].interval;
		config.retention_period_ms = rows[row].retention;
		assert_ok(w, SAY(w, HELLO, STATE, i % 2 ? NULL : &config));
		if (i % 2)
			assert_ok(w, SAY(w, UPDATE_CONFIG, STATE, &config));
		const Introspection__Configuration *effective = w->got->response->effective_config;
		assert_true(effective->state_snapshot_interval_ms == rows[row].effective_interval);
		assert_true(effective->retention_period_ms == rows[row].effective_retention);
		world_close(w);
	}
}

static void update_changes_what_it_names(void **state)
{
	struct world *w = greeted(HISTORY);
	Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;

	(void)state;
	config.state_snapshot_interval_ms = 700;
	assert_ok(w, SAY(w, UPDATE_CONFIG, STATE, &config));
	assert_true(w->c.interval == 700 && w->c.retention == 120000);
	config.state_snapshot_interval_ms = 0;
	config.retention_period_ms = 5;
	assert_ok(w, SAY(w, UPDATE_CONFIG, STATE, &config));
	assert_true(w->c.interval == 700 && w->c.retention == 5);
	config.retention_period_ms = 0;
	assert_ok(w, SAY(w, UPDATE_CONFIG, STATE, &config));
	assert_true(w->c.interval == 700 && w->c.retention == 5);
	world_close(w);
}

/* Three commands and two pings: whatever the pieces in which they come, each is
 * answered once and in its place. */
static size_t put_burst(uint8_t *out)
{
	uint8_t message[64];
	size_t n = 0, len;
	Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;

	config.state_snapshot_interval_ms = 700;
	len = pack_command(message, COMMAND(HELLO), STATE, 77, &config);
	n += put_frame(out + n, 0x02, message, 1);
	n += put_frame(out + n, 0x00, message + 1, 0);
	n += put_frame(out + n, 0x89, (const uint8_t *)"one", 3);
	n += put_frame(out + n, 0x80, message + 1, len - 1);
	n += put_frame(out + n, 0x8a, (const uint8_t *)"pong", 4);
	len = pack_command(message, COMMAND(REQUEST), STATE, 77, NULL);
	n += put_frame(out + n, 0x82, message, len);
	len = pack_command(message, COMMAND(PUSH_PAUSE), STATE, 77, NULL);
	n += put_frame(out + n, 0x82, message, len);
	n += put_frame(out + n, 0x89, (const uint8_t *)"two", 3);
	return n;
}

static void replay_burst(size_t first, size_t then)
{
	uint8_t bytes[256];
	size_t len = put_burst(bytes);
	struct world *w = world_open(HISTORY);
	char seen[16] = "";
	size_t n = 0;

	for (size_t at = 0, piece = first; at < len; at += piece, piece = then) {
		piece = piece > len - at ? len - at : piece;
		put(w, bytes + at, piece);
		while (w->raw_len > 0) {
			int got = read_on(w);

			assert_in_range(got, 0, 1);
			if (got == 1) {
				seen[n++] = 'r';
				assert_ok(w, got);
			} else if (w->ws.event == WS_GOT_PING) {
				seen[n++] = (char)w->ws.control[0];
			}
		}
	}
	assert_string_equal(seen, "orrt");
	assert_true(w->c.hello && w->c.paused && w->c.interval == 700);
	assert_int_equal(w->c.requests, 1);
	world_close(w);
}

static void pieces(void **state)
{
	uint8_t bytes[256];
	size_t len = put_burst(bytes);

	(void)state;
	replay_burst(1, 1);
	for (size_t cut = 1; cut <= len; cut++)
		replay_burst(cut, len);
}

/* The longest message, in one frame and byte by byte, leaves room for more. */
static void longest_message(void **state)
{
	static uint8_t message[COMMAND_MESSAGE_MAX + 1], frames[8 * sizeof message];
	struct world *w = greeted(HISTORY);
	size_t head = pack_command(message, COMMAND(PUSH_PAUSE), STATE, 77, NULL);
	size_t len = 0, padding = COMMAND_MESSAGE_MAX - head - 4;

	(void)state;
	const uint8_t unknown[] = {0xa2, 0x06, (uint8_t)(padding | 0x80), (uint8_t)(padding >> 7)};
	memcpy(message + head, unknown, sizeof unknown);
	put(w, frames, put_frame(frames, 0x82, message, COMMAND_MESSAGE_MAX));
	assert_ok(w, read_on(w));
	for (size_t i = 0; i < COMMAND_MESSAGE_MAX; i++) {
		bool first = i == 0, last = i == COMMAND_MESSAGE_MAX - 1;

		len += put_frame(frames + len, (uint8_t)(first * 0x02 | last * 0x80), message + i, 1);
	}
	int got = 0;
	for (size_t at = 0, room; at < len; at += room) {
		assert_int_equal(got, 0);
		room = sizeof w->raw - w->raw_len;
		assert_true(room > 0);
		room = room > len - at ? len - at : room;
		put(w, frames + at, room);
		got = read_on(w);
	}
	assert_ok(w, got);
	len = put_frame(frames, 0x82, message, COMMAND_MESSAGE_MAX + 1);
	put(w, frames, 100);
	assert_int_equal(read_on(w), -WS_TOO_BIG);
	world_close(w);
}

static void not_commands(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t len;
	} rows[] = {
		{{0x08}, 1}, {{0xff}, 1}, {{0x0a, 5}, 2}, {{0x2a}, 1}, {{0x0f}, 1}, {{0}, 1}, {{0, 1}, 2},
		{{0x13}, 1}, {{0x14}, 1}, {{0x12, 0}, 2}, {{0x0d, 0, 0, 0, 0}, 5}, {{0x2a, 2, 8, 0x80}, 4},
		{{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}, 11},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world *w = greeted(HISTORY);
		uint8_t frame[32];

		put(w, frame, put_frame(frame, 0x82, rows[i].bytes, rows[i].len));
		assert_int_equal(read_on(w), -WS_INVALID_DATA);
		world_close(w);
	}
}

static void framing_errors_and_close(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t len;
		int got;
	} rows[] = {
		{{0x82, 0x00}, 2, -WS_PROTOCOL_ERROR},   /* not masked */
		{{0xc2, 0x80}, 2, -WS_PROTOCOL_ERROR},
		{{0x80, 0x80, 1, 2, 3, 4}, 6, -WS_PROTOCOL_ERROR},
		{{0x81, 0x81, 0, 0, 0, 0, 0xff}, 7, -WS_INVALID_DATA},
	};
	struct world *w;
	uint8_t frame[32];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		w = greeted(HISTORY);
		put(w, rows[i].bytes, rows[i].len);
		assert_int_equal(read_on(w), rows[i].got);
		world_close(w);
	}
	w = greeted(HISTORY);
	put(w, frame, put_frame(frame, 0x88, (const uint8_t *)"\x03\xe8", 2));
	assert_int_equal(read_on(w), 0);
	assert_int_equal(w->ws.event, WS_GOT_CLOSE);
	assert_int_equal(w->ws.close_code, 1000);
	world_close(w);
}

/* Unknown fields are kept by the decoder of protobuf-c, and cost memory. */
static void many_fields(void **state)
{
	static uint8_t message[COMMAND_MESSAGE_MAX], frame[sizeof message + 16];

	(void)state;
	for (size_t fields = 1; fields <= sizeof message / 2; fields = fields * 2 - fields / 3) {
		for (size_t i = 0; i < fields; i++)
			memcpy(message + 2 * i, (uint8_t[]){0x78, 1}, 2);
		struct world *w = world_open(HISTORY);
		put(w, frame, put_frame(frame, 0x82, message, 2 * fields));
		int got = read_on(w);
		if (fields < 100)
			assert_int_equal(got, 1);
		else
			assert_true(got == 1 || got == -WS_INVALID_DATA);
		if (fields == sizeof message / 2)
			assert_int_equal(got, -WS_INVALID_DATA);
		world_close(w);
	}
}

/* Whatever bytes come, whole or damaged commands: an answer or a close code. */
static void random_bytes(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	static uint8_t message[COMMAND_MESSAGE_MAX], frame[sizeof message + 16];

	(void)state;
	print_message("SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < 20000; i++) {
		struct world *w = i % 2 ? greeted(HISTORY) : world_open(HISTORY);
		Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;
		size_t len = pack_command(message, rand() % 9, rand() % 4, (uint64_t)rand(),
		                          rand() % 2 ? &config : NULL);

		if (rand() % 10 == 0)
			len = (size_t)rand() % sizeof message;
		for (size_t n = (size_t)rand() % (len > 64 ? len : 4); n > 0 && len > 0; n--)
			message[(size_t)rand() % len] = (uint8_t)rand();
		put(w, frame, put_frame(frame, 0x82, message, len));
		int got = read_on(w);
		assert_true(got == 1 || got == 0 || got == -WS_INVALID_DATA);
		if (got == 1)
			receive(w, w->frame.body, w->frame.body_len);
		world_close(w);
	}
}

static void requests_are_counted(void **state)
{
	struct world *w = greeted(HISTORY);

	(void)state;
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(SAY(w, REQUEST, STATE, NULL), 0);
		assert_int_equal(w->c.requests, i);
	}
	w->c.requests = UINT_MAX;
	assert_int_equal(SAY(w, REQUEST, STATE, NULL), 0);
	assert_true(w->c.requests == UINT_MAX);
	world_close(w);
}

static void runtime_by_way_of_the_history(void **state)
{
	static char peer[WIRE_RUNTIME_MAX];
	struct world *w = greeted(HISTORY * 4);

	(void)state;
	w->runtime.peer_id = "me";
	for (int i = 0; i < 2; i++) {
		assert_int_equal(SAY(w, REQUEST, RUNTIME, NULL), 1);
		assert_string_equal(receive(w, w->frame.body, w->frame.body_len)->runtime->peer_id, "me");
		assert_true(w->frame.number == 1 && w->all.history.next == 2);
	}
	w->runtime.peer_id = "us";
	assert_int_equal(SAY(w, REQUEST, RUNTIME, NULL), 1);
	assert_string_equal(receive(w, w->frame.body, w->frame.body_len)->runtime->peer_id, "us");
	assert_true(w->frame.number == 2);
	for (int i = 0; i < 10; i++)
		hold_state(w, 50000);
	assert_int_equal(SAY(w, REQUEST, RUNTIME, NULL), 1);
	assert_string_equal(receive(w, w->frame.body, w->frame.body_len)->runtime->peer_id, "us");
	assert_true(w->frame.number == 13);

	memset(peer, 'x', sizeof peer - 1);
	w->runtime.peer_id = peer;
	assert_refused(w, SAY(w, REQUEST, RUNTIME, NULL), "the Runtime is too long");
	peer[sizeof peer - 5] = '\0';
	assert_int_equal(SAY(w, REQUEST, RUNTIME, NULL), 1);
	assert_string_equal(receive(w, w->frame.body, w->frame.body_len)->runtime->peer_id, peer);
	world_close(w);

	w = greeted(100);
	w->runtime.peer_id = peer;
	for (int i = 0; i < 2; i++)
		assert_refused(w, SAY(w, REQUEST, RUNTIME, NULL), "the Runtime is longer than --history");
	world_close(w);
}

/* All of the header is written right before the message, whatever the length. */
static void state_headers(void **state)
{
	static const size_t lengths[] = {0, 1, 113, 114, 65523, 65524, 900000};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		struct command c = {0};
		size_t len = lengths[i];
		struct command_frame frame = command_state(&c, len, 0x01020304);
		size_t header = 12 + len < 126 ? 2 : 12 + len < 65536 ? 4 : 10;

		assert_true(frame.at + frame.len == c.out + COMMAND_FRAME_MAX);
		assert_int_equal(frame.len, header + 12);
		assert_true(frame.at >= c.out);
		assert_int_equal(frame.at[0], 0x82);
		assert_int_equal(word(frame.at + header), 1);
		assert_int_equal(word(frame.at + header + 4), 0x01020304);
		assert_int_equal(word(frame.at + header + 8), len);
	}
}

static void when_a_snapshot_is_wanted(void **state)
{
	struct world *w = greeted(HISTORY);

	(void)state;
	assert_true(command_due(&w->c, true) == INT64_MAX);
	assert_ok(w, SAY(w, PUSH_ENABLE, EVENTS, NULL));
	assert_true(command_due(&w->c, false) == INT64_MAX);
	assert_true(command_due(&w->c, true) <= w->now);
	assert_false(command_pushes(&w->c));
	for (int64_t uptime = 0; uptime < 2; uptime++) {   /* the clock begins with the machine */
		w->now = uptime;
		assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));
		assert_true(command_due(&w->c, false) <= w->now);
		assert_true(command_pushes(&w->c));
		assert_ok(w, SAY(w, PUSH_DISABLE, STATE, NULL));
		assert_true(command_due(&w->c, false) == INT64_MAX);
	}
	w->now = NOW;
	assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));
	w->c.pushed_at = w->now;
	assert_true(command_due(&w->c, false) == NOW + 1000);
	assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));   /* changes nothing */
	assert_true(command_due(&w->c, false) == NOW + 1000);
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	assert_true(command_due(&w->c, false) == NOW + 1000);
	assert_false(command_pushes(&w->c));
	world_close(w);
}

static struct world *pushing(bool states, bool events)
{
	struct world *w = greeted(HISTORY);

	if (states)
		assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));
	if (events)
		assert_ok(w, SAY(w, PUSH_ENABLE, EVENTS, NULL));
	return w;
}

static void event_types(void **state)
{
	Property property = INTROSPECTION__EVENT_TYPE__EVENT_PROPERTY__INIT;
	Property *properties[] = {&property, &property, &property};
	Introspection__EventType declared = INTROSPECTION__EVENT_TYPE__INIT;
	Introspection__EventType *types[] = {&declared};
	struct world *w = pushing(false, true);

	(void)state;
	assert_null(event(w, "A", 2, "{}"));
	assert_event(w, "A", 2);
	assert_null(event(w, "A", 2, "{}"));
	assert_event(w, "A", 0);
	assert_null(event(w, "A", 0, "{}"));
	assert_event(w, "A", 0);
	assert_null(event(w, "B", 0, "{}"));   /* nobody knows them: told when somebody does */
	assert_event(w, "B", 0);
	assert_null(event(w, "B", 1, "{}"));
	assert_event(w, "B", 1);
	assert_null(event(w, "B", 0, "{}"));
	assert_event(w, "B", 0);
	declared.name = "C";
	declared.n_property_types = 3;
	declared.property_types = properties;
	property.name = "peer";
	w->runtime.n_event_types = 1;
	w->runtime.event_types = types;
	assert_null(event(w, "C", 0, "{}"));
	assert_event(w, "C", 3);
	assert_null(event(w, "C", 0, "{}"));
	assert_event(w, "C", 0);
	w->c.known_types = 0;   /* as another client */
	assert_null(event(w, "A", 0, "{}"));
	assert_event(w, "A", 2);
	world_close(w);
}

static void refused_events(void **state)
{
	struct world *w = pushing(false, true);
	uint8_t fields[EVENT_MAX];

	(void)state;
	assert_string_equal(event(w, NULL, 0, "{}"), "event has no type");
	assert_string_equal(event(w, "A", 0, ""), "content of the event is not JSON");
	assert_string_equal(event(w, "A", 0, "{"), "content of the event is not JSON");
	for (size_t i = 0; i < sizeof fields; i += 2)
		memcpy(fields + i, (uint8_t[]){0x78, 1}, 2);
	assert_string_equal(commands_event(&w->all, fields, sizeof fields, &w->runtime, true, w->now),
	                    "event has too many fields");
	assert_pushed(w, "");
	world_close(w);
}

static void event_limits(void **state)
{
	static char content[2 * EVENT_MAX];
	struct world *w = pushing(false, true);

	(void)state;
	/* ts takes 2 bytes, the content's tag and length 3 */
	memset(content, ' ', sizeof content - 1);
	content[0] = '1';
	content[EVENT_MAX - 5] = '\0';
	assert_null(event(w, "A", 1, content));
	assert_event(w, "A", 1);
	assert_string_equal(w->got->event->content, content);
	log_clear();
	log_begin();
	content[EVENT_MAX - 5] = ' ';
	content[EVENT_MAX - 4] = '\0';
	assert_null(event(w, "A", 1, content));
	log_end();
	assert_string_equal(logged, "event_dropped reason=\"event over 8192 bytes\"\n");
	assert_pushed(w, "n");

	content[EVENT_MAX - 4] = ' ';
	log_clear();
	log_begin();
	for (int i = 1; i < LOG_BURST; i++)
		assert_null(event(w, "A", 1, content));
	log_clear();
	for (int i = 0; i < 3; i++)
		assert_null(event(w, "A", 1, content));   /* not logged */
	log_end();
	assert_string_equal(logged, "");
	assert_pushed(w, "");                     /* nor told again, as nothing came between */
	assert_null(event(w, "A", 1, "{}"));
	w->now += LOG_PERIOD_MS;
	log_clear();
	log_begin();
	assert_null(event(w, "A", 1, content));
	log_end();
	assert_string_equal(logged, "event_dropped reason=\"event over 8192 bytes\" suppressed=3\n");
	assert_null(event(w, "A", 1, "{}"));
	assert_pushed(w, "ene");
	world_close(w);
}

/* Once for each Runtime: 50 clients that ask for a large one again and again must not cost
 * others anything. */
static void runtime_is_packed_once(void **state)
{
	struct world *w = greeted(HISTORY);
	uint64_t changes = 1;

	(void)state;
	w->all.runtime_changes = &changes;
	for (int i = 0; i < 3; i++) {
		static const char *const peers[] = {"me", "us", "us"};

		w->runtime.peer_id = (char *)(uintptr_t)peers[i];
		changes += i == 2;   /* what changed is not looked at before the count tells so */
		assert_int_equal(SAY(w, REQUEST, RUNTIME, NULL), 1);
		assert_string_equal(receive(w, w->frame.body, w->frame.body_len)->runtime->peer_id,
		                    i == 2 ? "us" : "me");
		assert_true(w->frame.number == (i == 2 ? 2 : 1));
	}
	world_close(w);
}

static void event_type_limits(void **state)
{
	static const char text[] = "event_dropped reason=\"over 64 event types, or one over 1024 bytes\"\n";
	struct world *w = pushing(false, true);
	char name[65];

	(void)state;
	memset(name, 'n', 64);
	name[64] = '\0';
	log_clear();
	log_begin();
	assert_null(event(w, name, 1, "1"));
	log_end();
	assert_string_equal(logged, text);
	assert_pushed(w, "n");
	name[63] = '\0';
	/* 8 bytes for each property, 65 for the name */
	size_t most = (EVENT_TYPE_MAX - 65) / 8;
	w->now += 1000;
	log_clear();
	log_begin();
	assert_null(event(w, name, most + 1, "1"));
	log_end();
	assert_string_equal(logged, text);
	assert_pushed(w, "");
	assert_null(event(w, name, most, "1"));
	assert_event(w, name, most);
	for (int i = 1; i < EVENT_TYPES_MAX; i++) {
		snprintf(name, sizeof name, "type %d", i);
		assert_null(event(w, name, 1, "1"));
		assert_event(w, name, 1);
	}
	w->now += 1000;
	log_clear();
	log_begin();
	assert_null(event(w, "one more", 1, "1"));
	log_end();
	assert_string_equal(logged, text);
	assert_pushed(w, "n");
	assert_null(event(w, name, 1, "1"));
	assert_event(w, name, 0);

	/* The next node has as many of its own, and what they look like is sent again. An event
	 * of a type that has to go is forgotten with it: the client is told. */
	w->all.visit++;
	assert_null(event(w, name, 1, "1"));
	assert_event(w, name, 0);
	for (int i = 1; i < EVENT_TYPES_MAX; i++) {
		snprintf(name, sizeof name, "another %d", i);
		assert_null(event(w, name, 1, "1"));
		assert_event(w, name, 1);
	}
	w->now += 1000;
	log_clear();
	log_begin();
	assert_null(event(w, "yet one more", 1, "1"));
	log_end();
	assert_string_equal(logged, text);
	assert_pushed(w, "n");
	assert_null(event(w, name, 0, "1"));
	assert_event(w, name, 0);
	assert_null(event(w, name, 0, "1"));
	w->all.visit++;
	for (int i = 1; i < EVENT_TYPES_MAX; i++) {
		snprintf(name, sizeof name, "third %d", i);
		assert_null(event(w, name, 1, "1"));
	}
	assert_null(event(w, "third", 1, "1"));   /* takes the place of the last event's type */
	assert_true(w->all.history.next - w->all.history.first <= EVENT_TYPES_MAX);
	assert_int_equal(pushed(w), 'n');
	assert_event(w, "third 1", 1);
	world_close(w);
}

static void nobody_wants_them(void **state)
{
	uint8_t packed[256];
	struct world *w = greeted(HISTORY);
	size_t len = pack_typed_event(packed, "A", 2, "{}");

	(void)state;
	assert_null(commands_event(&w->all, packed, len, &w->runtime, false, w->now));
	assert_true(w->all.history.next == 1);
	assert_ok(w, SAY(w, PUSH_ENABLE, EVENTS, NULL));
	assert_null(event(w, "A", 0, "{}"));   /* but what it looks like was learned */
	assert_event(w, "A", 2);
	world_close(w);
}

static void what_was_held_back(void **state)
{
	struct world *w = pushing(true, true);

	(void)state;
	w->c.pushed_at = w->c.state_at = w->now;   /* a state was just pushed */
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	w->now += 999;
	hold_state(w, 10);                         /* for somebody else, whose interval is over */
	event(w, "A", 0, "{}");
	w->now += 1;
	hold_state(w, 10);
	w->now += 600;
	hold_state(w, 10);
	event(w, "A", 0, "{}");
	w->now += 400;
	hold_state(w, 10);
	assert_pushed(w, "");
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	hold_state(w, 10);   /* for somebody else again */
	assert_int_equal(pushed(w), 'e');
	assert_int_equal(pushed(w), 's');
	assert_true(w->last == 2);
	assert_int_equal(pushed(w), 'e');
	assert_int_equal(pushed(w), 's');
	assert_true(w->last == 4);
	w->now += 1000;
	hold_state(w, 10);
	assert_pushed(w, "");
	event(w, "A", 0, "{}");
	assert_pushed(w, "e");
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "");
	world_close(w);
}

/* Nothing from before it was enabled comes, whatever happens to the interval. */
static void enabled_during_a_pause(void **state)
{
	struct world *w = pushing(false, true);
	Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;

	(void)state;
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	hold_state(w, 10);
	event(w, "A", 0, "{}");
	w->now += 100;
	assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));
	config.state_snapshot_interval_ms = 500;
	assert_ok(w, SAY(w, UPDATE_CONFIG, STATE, &config));
	w->now += 10;
	hold_state(w, 10);
	assert_ok(w, SAY(w, PUSH_DISABLE, EVENTS, NULL));
	assert_ok(w, SAY(w, PUSH_ENABLE, EVENTS, NULL));
	event(w, "A", 0, "{}");
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "se");
	assert_true(w->last == 2);
	world_close(w);
}

static void retention(void **state)
{
	struct world *w = pushing(true, true);

	(void)state;
	w->c.retention = 1500;
	w->c.pushed_at = w->c.state_at = w->now;
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	for (int i = 1; i <= 4; i++) {
		w->now += 1000;
		event(w, "A", 0, "{}");
		hold_state(w, 10);
	}
	w->now += 500;   /* the third is 1500 ms old now, which is not too old */
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "neses");
	assert_true(w->last == 4);

	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	event(w, "A", 0, "{}");
	w->now += 1501;
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "n");   /* nothing else is left */
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	event(w, "A", 0, "{}");
	w->now += 1501;
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "n");   /* another pause, another loss */
	world_close(w);
}

static void more_than_the_ring(void **state)
{
	struct world *w = pushing(true, true);

	(void)state;
	w->c.pushed_at = w->c.state_at = w->now;
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	for (int i = 0; i < 10; i++) {
		w->now += 1000;
		hold_state(w, 20000);
	}
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "nsss");
	assert_true(w->last == 10);
	/* Nothing of this is lost to a client that wants only events. */
	assert_ok(w, SAY(w, PUSH_DISABLE, STATE, NULL));
	for (int i = 0; i < 10; i++)
		hold_state(w, 20000);
	event(w, "A", 0, "{}");
	assert_pushed(w, "e");
	/* One larger than the ring takes nothing else with it. */
	assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	event(w, "A", 0, "{}");
	w->now += 1000;
	hold_state(w, HISTORY + 1);
	w->now += 1000;
	hold_state(w, 10);
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "ens");
	world_close(w);
}

static void disabling(void **state)
{
	struct world *w = pushing(true, true);

	(void)state;
	for (int both = 0; both < 2; both++) {
		w->c.state_at = w->now;
		assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
		w->now += 1000;
		event(w, "A", 0, "{}");
		hold_state(w, 10);
		if (both)
			for (int i = 0; i < 10; i++)
				hold_state(w, 20000);   /* something is lost */
		assert_ok(w, SAY(w, PUSH_DISABLE, STATE, NULL));
		if (both)
			assert_ok(w, SAY(w, PUSH_DISABLE, EVENTS, NULL));
		assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
		assert_pushed(w, both ? "" : "e");
		assert_ok(w, SAY(w, PUSH_ENABLE, EVENTS, NULL));
		assert_ok(w, SAY(w, PUSH_ENABLE, STATE, NULL));
		assert_pushed(w, "");
		event(w, "A", 0, "{}");
		assert_pushed(w, "e");
	}
	world_close(w);
}

/* A state that was requested during the pause makes those before it useless. */
static void overtaken(void **state)
{
	struct world *w = pushing(true, true);

	(void)state;
	w->c.state_at = w->now;
	assert_ok(w, SAY(w, PUSH_PAUSE, STATE, NULL));
	for (int i = 0; i < 4; i++) {
		w->now += 1000;
		hold_state(w, 10);
		event(w, "A", 0, "{}");
		if (i == 2)
			w->last = w->states;
	}
	assert_ok(w, SAY(w, PUSH_RESUME, STATE, NULL));
	assert_pushed(w, "neneese");   /* each gap is told */
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_comes_first),
		cmocka_unit_test(refusals),
		cmocka_unit_test(configurations),
		cmocka_unit_test(update_changes_what_it_names),
		cmocka_unit_test(pieces),
		cmocka_unit_test(longest_message),
		cmocka_unit_test(not_commands),
		cmocka_unit_test(framing_errors_and_close),
		cmocka_unit_test(many_fields),
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(requests_are_counted),
		cmocka_unit_test(runtime_by_way_of_the_history),
		cmocka_unit_test(state_headers),
		cmocka_unit_test(when_a_snapshot_is_wanted),
		cmocka_unit_test(event_types),
		cmocka_unit_test(refused_events),
		cmocka_unit_test(event_limits),
		cmocka_unit_test(runtime_is_packed_once),
		cmocka_unit_test(event_type_limits),
		cmocka_unit_test(nobody_wants_them),
		cmocka_unit_test(what_was_held_back),
		cmocka_unit_test(enabled_during_a_pause),
		cmocka_unit_test(retention),
		cmocka_unit_test(more_than_the_ring),
		cmocka_unit_test(disabling),
		cmocka_unit_test(overtaken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
