#include "endpoint/command.h"

#include <endian.h>
#include <limits.h>
#include <string.h>

#include "endpoint/json.h"
#include "base/log.h"
#include "source/wire.h"

enum {
	FRAME_VERSION = 1,
	FRAME_WORDS = 12,   /* bytes: version, checksum and length */
	EVENT_TYPE_TAG = 1 << 3 | 2,   /* Event.type, length-delimited */
	ARENA_MAX = 64 << 10,
};

_Static_assert(COMMAND_FRAME_MAX >= WS_HEADER_MAX - 4 + FRAME_WORDS, "a frame header must fit");

/* The memory in which protobuf-c unpacks one message at a time. It is fixed, and emptied as a
 * whole, so that nothing a peer sends makes the daemon allocate. */
struct arena {
	size_t used;
	_Alignas(16) uint8_t bytes[ARENA_MAX];
};

static void *arena_alloc(void *arg, size_t size)
{
	struct arena *a = arg;
	size_t start = a->used;

	size = (size + 15) & ~(size_t)15;
	if (size > sizeof a->bytes - start)
		return NULL;
	a->used += size;
	return a->bytes + start;
}

static void arena_free(void *arg, void *pointer)
{
	(void)arg;
	(void)pointer;
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *type, const uint8_t *in,
                                size_t len)
{
	static struct arena arena;
	ProtobufCAllocator allocator = {arena_alloc, arena_free, &arena};
	struct wire_error error;

	arena.used = 0;
	return wire_check(type, in, len, &error)
	               ? protobuf_c_message_unpack(type, &allocator, len, in)
	               : NULL;
}

int commands_open(struct commands *all, size_t history_bytes)
{
	return history_open(&all->history, history_bytes);
}

void commands_close(struct commands *all)
{
	history_close(&all->history);
}

/* Adds an item to the history, after the owner was told what must go for it. False: the item is
 * longer than the whole history. */
static bool keep(struct commands *all, const struct history_item *item, const uint8_t *bytes,
                 size_t len)
{
	const uint64_t first = all->history.first;

	if (history_make_room(&all->history, len) != 0)
		return false;
	if (all->history.first > first)
		all->evict(all->evict_arg, all->history.first);
	history_add(&all->history, item, bytes, len);
	return true;
}

/* Adds an item that stands for one that was dropped, so that clients who wanted that one are sent
 * a notice. */
static void keep_lost(struct commands *all, enum history_kind kind, int64_t now)
{
	const struct history_item item = {.kind = (uint8_t)kind, .lost = true, .time = now};

	keep(all, &item, (const uint8_t *)"", 1);
}

/* The type with its properties if the node told them in the Runtime and not with the event. */
static const Introspection__EventType *describe(const Introspection__EventType *type,
                                                const Introspection__Runtime *runtime)
{
	if (type->n_property_types == 0)
		for (size_t i = 0; i < runtime->n_event_types; i++)
			if (strcmp(runtime->event_types[i]->name, type->name) == 0)
				return runtime->event_types[i];
	return type;
}

/* Finds an entry for a new type: of the types that were not named in this visit, the one whose
 * newest event is oldest. Items of the history name types by their entries, so all items up to
 * that event are dropped from the history first. NULL: all types are of this visit. */
static struct event_type *replace_type(struct commands *all)
{
	struct event_type *oldest = NULL;

	for (struct event_type *t = all->types; t < all->types + EVENT_TYPES_MAX; t++)
		if (t->visit != all->visit && (!oldest || t->last < oldest->last))
			oldest = t;
	if (!oldest)
		return NULL;
	if (oldest->last >= all->history.first) {
		all->history.first = oldest->last + 1;
		all->evict(all->evict_arg, all->history.first);
	}
	all->types_replaced++;
	return oldest;
}

/* The entry of the type, with its properties if the node told them. NULL: its name or properties
 * are too long, or there is no entry left. */
static struct event_type *learn_type(struct commands *all, const Introspection__EventType *type)
{
	struct event_type *known = all->types;

	while (known < all->types + all->type_count && strcmp(known->name, type->name) != 0)
		known++;
	if (strlen(type->name) >= sizeof known->name ||
	    introspection__event_type__get_packed_size(type) > EVENT_TYPE_MAX)
		return NULL;
	if (known == all->types + all->type_count) {
		if (all->type_count < EVENT_TYPES_MAX)
			all->type_count++;
		else if (!(known = replace_type(all)))
			return NULL;
		*known = (struct event_type){0};
		strcpy(known->name, type->name);
	}
	known->visit = all->visit;
	if (type->n_property_types > 0)
		known->len = introspection__event_type__pack(type, known->encoded);
	return known;
}

/* Learns the type of an event and, if wanted, puts the rest of the event in the history. Returns
 * NULL, or in words which limit the event is over. */
static const char *keep_event(struct commands *all, const Introspection__EventType *type,
                              const Introspection__Event *rest, bool wanted, int64_t now)
{
	uint8_t packed[EVENT_MAX];
	struct event_type *known = learn_type(all, type);
	size_t len = introspection__event__get_packed_size(rest);

	_Static_assert(EVENT_TYPES_MAX == 64 && EVENT_TYPE_MAX == 1024 && EVENT_MAX == 8192,
	               "what the words below say");
	if (!known)
		return "over 64 event types, or one over 1024 bytes";
	if (len > sizeof packed)
		return "event over 8192 bytes";
	introspection__event__pack(rest, packed);
	const struct history_item item = {
		.kind = HISTORY_EVENT, .event_type = (int8_t)(known - all->types), .time = now};
	if (wanted && keep(all, &item, packed, len))
		known->last = all->history.next - 1;
	return NULL;
}

const char *commands_event(struct commands *all, const uint8_t *event, size_t len,
                           const Introspection__Runtime *runtime, bool wanted, int64_t now)
{
	const char *dropped = "event over 8192 bytes";

	if (len <= EVENT_MAX + EVENT_TYPE_MAX) {
		Introspection__Event *e =
			(Introspection__Event *)unpack(&introspection__event__descriptor, event, len);

		if (!e || !e->type)
			return e ? "event has no type" : "event has too many fields";
		if (!json_is_valid(e->content, strlen(e->content)))
			return "content of the event is not JSON";
		const Introspection__EventType *type = describe(e->type, runtime);
		e->type = NULL;
		dropped = keep_event(all, type, e, wanted, now);
	}
	if (!dropped)
		return NULL;
	if (wanted)
		keep_lost(all, HISTORY_EVENT, now);
	log_limited(&all->drops, now, "event_dropped reason=\"%s\"", dropped);
	return NULL;
}

void commands_state(struct commands *all, const uint8_t *message, size_t len, uint32_t checksum,
                    uint64_t sequence, int64_t now)
{
	const struct history_item item = {
		.kind = HISTORY_STATE, .checksum = checksum, .sequence = sequence, .time = now};

	if (!keep(all, &item, message, len))
		keep_lost(all, HISTORY_STATE, now);
}

static void put_word(uint8_t *out, uint32_t n)
{
	n = htole32(n);
	memcpy(out, &n, sizeof n);
}

/* Writes the WebSocket header and the three words so that they end at out + COMMAND_FRAME_MAX,
 * where the message begins. */
static struct command_frame frame_of(struct command *c, size_t len, uint32_t checksum)
{
	uint8_t header[WS_HEADER_MAX];
	uint8_t *words = c->out + COMMAND_FRAME_MAX - FRAME_WORDS;
	size_t n = ws_header(header, WS_BINARY, FRAME_WORDS + len, NULL);

	put_word(words, FRAME_VERSION);
	put_word(words + 4, checksum);
	put_word(words + 8, (uint32_t)len);
	memcpy(words - n, header, n);
	return (struct command_frame){.at = words - n, .len = n + FRAME_WORDS};
}

struct command_frame command_state(struct command *c, size_t len, uint32_t checksum)
{
	return frame_of(c, len, checksum);
}

/* The frame of a message of this length that stands at c->out + COMMAND_FRAME_MAX. */
static struct command_frame small_frame(struct command *c, size_t len)
{
	struct command_frame frame =
		frame_of(c, len, wire_checksum(c->out + COMMAND_FRAME_MAX, len));

	frame.len += len;
	return frame;
}

static struct command_frame item_frame(struct command *c, const struct commands *all,
                                       uint64_t number)
{
	const struct history_item *item = history_item(&all->history, number);
	struct command_frame frame = frame_of(c, item->len, item->checksum);

	frame.body = all->history.ring + item->offset;
	frame.body_len = item->len;
	frame.number = number;
	frame.sequence = item->sequence;
	return frame;
}

static struct command_frame pack_message(struct command *c, Introspection__ServerMessage message)
{
	Introspection__Version version = INTROSPECTION__VERSION__INIT;

	version.version = FRAME_VERSION;
	message.version = &version;
	return small_frame(c, introspection__server_message__pack(&message, c->out + COMMAND_FRAME_MAX));
}

/* A CommandResponse: ERR with the text of error or, if that is NULL, OK. configured: with the
 * configuration that is in force. */
static struct command_frame respond(struct command *c, uint64_t id, char *error, bool configured)
{
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__CommandResponse response = INTROSPECTION__COMMAND_RESPONSE__INIT;
	Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;

	config.retention_period_ms = c->retention;
	config.state_snapshot_interval_ms = c->interval;
	response.id = id;
	if (error) {
		response.result = INTROSPECTION__COMMAND_RESPONSE__RESULT__ERR;
		response.error = error;
	} else if (configured) {
		response.effective_config = &config;
	}
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RESPONSE;
	message.response = &response;
	return pack_message(c, message);
}

static void configure(struct command *c, const Introspection__Configuration *wanted,
                      const struct commands *all)
{
	const uint64_t least = all->interval > COMMAND_INTERVAL_MIN ? (uint64_t)all->interval
	                                                            : COMMAND_INTERVAL_MIN;

	if (wanted && wanted->retention_period_ms > 0)
		c->retention = wanted->retention_period_ms;
	if (wanted && wanted->state_snapshot_interval_ms > 0)
		c->interval = wanted->state_snapshot_interval_ms;
	if (c->retention > COMMAND_RETENTION)
		c->retention = COMMAND_RETENTION;
	if (c->interval < least)
		c->interval = least;
	if (c->interval > COMMAND_INTERVAL_MAX)
		c->interval = COMMAND_INTERVAL_MAX;
}

/* Answers with the Runtime, of which the history holds the bytes, since a Runtime may be longer
 * than c->out. It is added to the history only if it has changed or is no longer in it. Returns
 * NULL, or the text of an ERR. */
static char *request_runtime(struct command *c, struct commands *all,
                             const Introspection__Runtime *runtime, int64_t now,
                             struct command_frame *frame)
{
	static uint8_t packed[WIRE_RUNTIME_MAX + 1024];
	uint8_t *at = packed;

	if (all->runtime_changes && all->runtime_packed == *all->runtime_changes && all->runtime > 0 &&
	    all->runtime >= all->history.first) {
		*frame = item_frame(c, all, all->runtime);
		return NULL;
	}
	size_t len = introspection__runtime__get_packed_size(runtime);

	if (len > WIRE_RUNTIME_MAX)
		return "the Runtime is too long";
	at += wire_put_prefix(at, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME, len);
	at += introspection__runtime__pack(runtime, at);
	len = (size_t)(at - packed);

	const struct history_item *kept = history_item(&all->history, all->runtime);
	if (all->runtime < all->history.first || kept->len != len ||
	    memcmp(all->history.ring + kept->offset, packed, len) != 0) {
		const struct history_item item = {
			.kind = HISTORY_RUNTIME, .checksum = wire_checksum(packed, len), .time = now};

		all->runtime = all->history.next;
		if (!keep(all, &item, packed, len))
			return "the Runtime is longer than --history";
	}
	all->runtime_packed = all->runtime_changes ? *all->runtime_changes : 0;
	*frame = item_frame(c, all, all->runtime);
	return NULL;
}

static void enable(struct command *c, const struct commands *all,
                   Introspection__ClientCommand__Source source, int64_t now)
{
	bool *push = source == INTROSPECTION__CLIENT_COMMAND__SOURCE__STATE ? &c->push_states
	                                                                    : &c->push_events;

	if (*push)
		return;
	if (!c->push_states && !c->push_events) {
		c->cursor = all->history.next;
		c->discarded = c->told = false;
	}
	*push = true;
	if (source == INTROSPECTION__CLIENT_COMMAND__SOURCE__STATE) {
		c->states_from = all->history.next;
		c->pushed_at = c->state_at = now - (int64_t)c->interval;   /* due at once */
	} else {
		c->events_from = all->history.next;
	}
}

static void resume(struct command *c, const struct commands *all, int64_t now)
{
	if (!c->paused)
		return;
	c->paused = false;
	c->told = false;
	c->held_until = all->history.next;
	c->keep_from = now - (int64_t)c->retention;
}

/* Carries out a command. Returns NULL, or the text of an ERR. */
static char *carry_out(struct command *c, struct commands *all,
                       const Introspection__ClientCommand *command, int64_t now)
{
	switch (command->command) {
	case INTROSPECTION__CLIENT_COMMAND__COMMAND__HELLO:
		if (c->hello)
			return "HELLO was said before";
		c->hello = true;
		c->interval = COMMAND_INTERVAL;
		c->retention = COMMAND_RETENTION;
		configure(c, command->config, all);
		return NULL;
	case INTROSPECTION__CLIENT_COMMAND__COMMAND__UPDATE_CONFIG:
		if (!command->config)
			return "UPDATE_CONFIG needs a Configuration";
		configure(c, command->config, all);
		return NULL;
	case INTROSPECTION__CLIENT_COMMAND__COMMAND__PUSH_ENABLE:
	case INTROSPECTION__CLIENT_COMMAND__COMMAND__PUSH_DISABLE:
		if (command->source == INTROSPECTION__CLIENT_COMMAND__SOURCE__RUNTIME)
			return "a Runtime is not pushed";
		if (command->source != INTROSPECTION__CLIENT_COMMAND__SOURCE__STATE &&
		    command->source != INTROSPECTION__CLIENT_COMMAND__SOURCE__EVENTS)
			return "unknown source";
		if (command->command == INTROSPECTION__CLIENT_COMMAND__COMMAND__PUSH_ENABLE)
			enable(c, all, command->source, now);
		else if (command->source == INTROSPECTION__CLIENT_COMMAND__SOURCE__STATE)
			c->push_states = false;
		else
			c->push_events = false;
		return NULL;
	case INTROSPECTION__CLIENT_COMMAND__COMMAND__PUSH_PAUSE:
		c->paused = true;
		return NULL;
	case INTROSPECTION__CLIENT_COMMAND__COMMAND__PUSH_RESUME:
		resume(c, all, now);
		return NULL;
	default:
		return "unknown command";
	}
}

void command_input(struct command *c, const uint8_t *data, size_t len, bool end)
{
	memcpy(c->in + c->message_len, data, len);
	c->message_len += len;
	c->complete = end;
}

int command_answer(struct command *c, struct commands *all, const Introspection__Runtime *runtime,
                   int64_t now, struct command_frame *frame)
{
	const Introspection__ClientCommand *command = (const Introspection__ClientCommand *)unpack(
		&introspection__client_command__descriptor, c->in, c->message_len);
	char *error = NULL;

	c->message_len = 0;
	c->complete = false;
	if (!command)
		return -WS_INVALID_DATA;
	const bool hello = command->command == INTROSPECTION__CLIENT_COMMAND__COMMAND__HELLO;
	const bool configured =
		hello || command->command == INTROSPECTION__CLIENT_COMMAND__COMMAND__UPDATE_CONFIG;
	if (!c->hello && !hello) {
		error = "HELLO must come first";
	} else if (command->command != INTROSPECTION__CLIENT_COMMAND__COMMAND__REQUEST) {
		error = carry_out(c, all, command, now);
	} else if (command->source == INTROSPECTION__CLIENT_COMMAND__SOURCE__STATE) {
		c->requests += c->requests < UINT_MAX;
		return 0;
	} else if (command->source == INTROSPECTION__CLIENT_COMMAND__SOURCE__RUNTIME) {
		error = request_runtime(c, all, runtime, now, frame);
		if (!error)
			return 1;
	} else if (command->source == INTROSPECTION__CLIENT_COMMAND__SOURCE__EVENTS) {
		error = "events cannot be requested, only pushed";
	} else {
		error = "unknown source";
	}
	*frame = respond(c, command->id, error, configured);
	return 1;
}

static struct command_frame notice(struct command *c)
{
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__ServerNotice dropped = INTROSPECTION__SERVER_NOTICE__INIT;

	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_NOTICE;
	message.notice = &dropped;
	c->discarded = false;
	c->told = true;
	return pack_message(c, message);
}

/* Encodes an Event from its type and, from the history, its other fields. The type's properties
 * are sent to each client once. */
static struct command_frame event_frame(struct command *c, const struct commands *all,
                                        const struct history_item *item)
{
	const struct event_type *type = &all->types[item->event_type];
	const uint64_t bit = (uint64_t)1 << item->event_type;
	Introspection__EventType name = INTROSPECTION__EVENT_TYPE__INIT;
	uint8_t packed[EVENT_TYPE_MAX], tag[WIRE_VARINT_MAX + 1] = {EVENT_TYPE_TAG};
	const uint8_t *encoded = type->encoded;
	size_t len = type->len;

	if (c->types_replaced != all->types_replaced)
		c->known_types = 0;
	c->types_replaced = all->types_replaced;
	if (c->known_types & bit || len == 0) {
		name.name = (char *)(uintptr_t)type->name;
		len = introspection__event_type__pack(&name, packed);
		encoded = packed;
	} else {
		c->known_types |= bit;
	}
	size_t tag_len = 1 + wire_put_varint(tag + 1, len);
	uint8_t *at = c->out + COMMAND_FRAME_MAX;
	at += wire_put_prefix(at, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT,
	                      tag_len + len + item->len);
	memcpy(at, tag, tag_len);
	memcpy(at + tag_len, encoded, len);
	memcpy(at + tag_len + len, all->history.ring + item->offset, item->len);
	return small_frame(c, (size_t)(at + tag_len + len + item->len - c->out) - COMMAND_FRAME_MAX);
}

/* Is this item of the history one to be pushed to the client? */
static bool wants(const struct command *c, const struct history_item *item, uint64_t number)
{
	if (item->kind == HISTORY_EVENT)
		return c->push_events && number >= c->events_from;
	return item->kind == HISTORY_STATE && c->push_states && number >= c->states_from &&
	       (c->paused || number < c->held_until) &&
	       item->time >= c->state_at + (int64_t)c->interval;
}

/* Is an item that the client wants lost to it: dropped, older than its retention, or a state that
 * is not newer than last, as in command_push? */
static bool lost(const struct command *c, const struct history_item *item, uint64_t number,
                 uint64_t last)
{
	/* A client may REQUEST a state while it is paused: older ones are of no use to it then. */
	return item->lost || (number < c->held_until && item->time < c->keep_from) ||
	       (item->kind == HISTORY_STATE && item->sequence < last);
}

void command_forget(struct command *c, const struct commands *all, uint64_t first)
{
	if (!c->push_states && !c->push_events)
		return;
	for (; c->cursor < first; c->cursor++) {
		const struct history_item *item = history_item(&all->history, c->cursor);

		if (!wants(c, item, c->cursor))
			continue;
		c->discarded |= !c->told;
		if (item->kind == HISTORY_STATE)
			c->state_at = item->time;
	}
}

bool command_push(struct command *c, const struct commands *all, uint64_t last,
                  struct command_frame *frame)
{
	const struct history *h = &all->history;

	if (c->paused || (!c->push_states && !c->push_events))
		return false;
	for (; c->cursor < h->next; c->cursor++) {
		const struct history_item *item = history_item(h, c->cursor);
		const bool state = item->kind == HISTORY_STATE;

		if (!wants(c, item, c->cursor))
			continue;
		const bool gone = lost(c, item, c->cursor, last);
		if (c->discarded && !gone)
			break;
		if (state)
			c->state_at = item->time;
		c->discarded |= gone && !c->told;
		if (gone || (state && item->sequence == last))
			continue;
		*frame = state ? item_frame(c, all, c->cursor) : event_frame(c, all, item);
		c->told = false;
		c->cursor++;
		return true;
	}
	if (!c->discarded)
		return false;
	*frame = notice(c);
	return true;
}

bool command_pushes(const struct command *c)
{
	return c->push_states && !c->paused;
}

int64_t command_due(const struct command *c, bool events)
{
	return c->push_states || (c->push_events && events) ? c->pushed_at + (int64_t)c->interval
	                                                    : INT64_MAX;
}
