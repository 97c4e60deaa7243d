/* A client of the command protocol while states and events come. The input is a list of
 * steps; all that the client is sent must be frames with one whole message each. */

#include <endian.h>
#include <stdio.h>

#include "endpoint/command.h"
#include "fuzz.h"
#include "source/wire.h"

enum {
	HISTORY = 32 << 10,
	FRAME = 12,
	SENT_MAX = COMMAND_FRAME_MAX + HISTORY,
	TYPES = 512,   /* of events: more than a Runtime may have, and than are kept */
};

struct client {
	struct commands all;
	struct command command;
	struct ws_decoder decoder;
	Introspection__Runtime runtime;
	uint64_t sequence;   /* of the newest state */
	uint64_t last;       /* of the last one that the client was sent */
	int64_t now;
};

static void evict(void *arg, uint64_t first)
{
	struct client *c = arg;

	command_forget(&c->command, &c->all, first);
}

static uint32_t word(const uint8_t *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof n);
	return le32toh(n);
}

static void check_sent(const struct command_frame *frame)
{
	struct ws_decoder reader = {.max_message = SENT_MAX, .client = true};
	struct wire_error error;
	size_t len = frame->len + frame->body_len;

	CHECK(len <= SENT_MAX);
	uint8_t *bytes = malloc(len);
	CHECK(bytes);
	memcpy(bytes, frame->at, frame->len);
	if (frame->body_len > 0)
		memcpy(bytes + frame->len, frame->body, frame->body_len);
	CHECK(ws_decode(&reader, bytes, len) == (int)len && reader.event == WS_MESSAGE);
	const uint8_t *message = reader.data + FRAME;
	len = reader.data_len - FRAME;
	CHECK(word(reader.data) == 1 && word(reader.data + 8) == len &&
	      word(reader.data + 4) == wire_checksum(message, len) &&
	      wire_check(&introspection__server_message__descriptor, message, len, &error));
	free(bytes);
}

/* Decodes the input's next bytes, after a frame header or without one, and carries out what
 * they say. False: the connection is to be closed. */
static bool receive(struct client *c, struct input *in, bool framed)
{
	const uint8_t no_mask[4] = {0};
	uint8_t bytes[WS_HEADER_MAX + 255];
	size_t want = take_byte(in), n = 0;
	struct command_frame frame = {0};

	if (framed)
		n = ws_header(bytes, WS_BINARY, want < in->left ? want : in->left, no_mask);
	n += take_bytes(in, bytes + n, want);
	for (size_t used = 0; used < n;) {
		int got = ws_decode(&c->decoder, bytes + used, n - used);

		if (got < 0 || c->decoder.event == WS_GOT_CLOSE)
			return false;
		used += (size_t)got;
		if (c->decoder.event != WS_DATA && c->decoder.event != WS_MESSAGE)
			continue;
		command_input(&c->command, c->decoder.data, c->decoder.data_len,
		              c->decoder.event == WS_MESSAGE);
		if (!c->command.complete)
			continue;
		got = command_answer(&c->command, &c->all, &c->runtime, c->now, &frame);
		if (got < 0)
			return false;
		if (got > 0)
			check_sent(&frame);
	}
	return true;
}

static void add_event(struct client *c, struct input *in)
{
	uint8_t bytes[255];
	size_t n = take_bytes(in, bytes, take_byte(in));
	struct wire_error error;

	if (wire_check(&introspection__event__descriptor, bytes, n, &error))
		commands_event(&c->all, bytes, n, &c->runtime, c->command.push_events, c->now);
}

/* The types that a Runtime names, and an event of one of them. */
static Introspection__EventType types[TYPES], *type_list[TYPES];

static void make_types(void)
{
	static char names[TYPES][16];

	for (int i = 0; i < TYPES; i++) {
		introspection__event_type__init(&types[i]);
		snprintf(names[i], sizeof names[i], "t%d", i);
		types[i].name = names[i];
		type_list[i] = &types[i];
	}
}

static void add_typed_event(struct client *c, size_t type)
{
	Introspection__Event event = INTROSPECTION__EVENT__INIT;
	static char content[] = "{}";
	uint8_t bytes[64];

	event.type = type_list[type];
	event.content = content;
	CHECK(introspection__event__get_packed_size(&event) <= sizeof bytes);
	const size_t n = introspection__event__pack(&event, bytes);
	commands_event(&c->all, bytes, n, &c->runtime, c->command.push_events, c->now);
	CHECK(c->all.type_count <= EVENT_TYPES_MAX);
}

/* Holds back a state of len bytes, an even number: an unknown field, again and again. */
static void add_state(struct client *c, size_t len)
{
	static uint8_t message[WIRE_PREFIX_MAX + (255 << 6)];
	size_t n = wire_put_prefix(message, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, len);

	for (size_t i = 0; i < len; i++)
		message[n + i] = i % 2 ? 1 : 9 << 3;
	n += len;
	commands_state(&c->all, message, n, wire_checksum(message, n), ++c->sequence, c->now);
}

static void push(struct client *c)
{
	struct command_frame frame;

	while (command_push(&c->command, &c->all, c->last, &frame)) {
		check_sent(&frame);
		c->last = frame.sequence > 0 ? frame.sequence : c->last;
	}
}

/* Now and then it is another node's. */
static void change_runtime(struct client *c, char version[256], struct input *in, size_t many)
{
	memset(version, 0, 256);
	memset(version, 'v', take_byte(in));
	c->runtime.n_event_types = many * (TYPES / 32);
	c->all.visit += many % 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char version[256];
	struct input in = {data, size};
	struct client *c = calloc(1, sizeof *c);
	bool open = true;

	CHECK(c && commands_open(&c->all, HISTORY) == 0);
	c->all.interval = 100;
	c->all.evict = evict;
	c->all.evict_arg = c;
	c->decoder.max_message = COMMAND_MESSAGE_MAX;
	introspection__runtime__init(&c->runtime);
	c->runtime.version = version;
	c->runtime.event_types = type_list;
	make_types();
	while (in.left > 0 && open) {
		uint8_t step = take_byte(&in);

		if (step % 8 < 2)
			open = receive(c, &in, step % 8);
		else if (step % 8 == 2 && step >= 128)
			add_typed_event(c, (size_t)(step >> 3 & 1) << 8 | take_byte(&in));
		else if (step % 8 == 2)
			add_event(c, &in);
		else if (step % 8 == 3)
			add_state(c, (size_t)take_byte(&in) << 6);
		else if (step % 8 == 4)
			push(c);
		else if (step % 8 == 5)
			change_runtime(c, version, &in, (size_t)(step >> 3));
		else
			c->now += (int64_t)take_byte(&in) << (step % 8 == 6 ? 4 : 12);
	}
	commands_close(&c->all);
	free(c);
	return 0;
}
