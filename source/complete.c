#include "complete.h"

#include <stdbool.h>
#include <string.h>

#include "wire.h"

/* What a field holds: a message that may be missing, one that contains such messages or times, or a
 * time. */
enum kind {
	STATE,
	SUBSYSTEMS,
	DHT,
	CONNECTION,
	STREAMS,
	STREAM,
	TRAFFIC,
	TIMELINE,
	ANY,         /* a message in which nothing is put or changed */
	TIME,        /* no message: a number, ms since the epoch */
};

enum { PARTS_MAX = 4 };

/* A field of a message that is not just copied. */
struct part {
	uint8_t field;    /* its number in the schema; 0: the message has no more of them */
	uint8_t kind;     /* enum kind */
	bool needed;      /* an empty message is put in where the field is missing */
};

static const struct part parts[ANY][PARTS_MAX] = {
	[STATE] = {{1, SUBSYSTEMS, true}, {3, TIME, false}, {4, TIME, false}},
	[SUBSYSTEMS] = {{1, CONNECTION, false}, {2, DHT, true}},
	[DHT] = {{3, TIME, false}, {4, ANY, true}, {5, ANY, true}},
	[CONNECTION] = {{6, TIMELINE, true}, {8, TRAFFIC, true}, {11, STREAMS, true}},
	[STREAMS] = {{2, STREAM, false}},
	[STREAM] = {{4, TRAFFIC, true}, {6, TIMELINE, true}},
	[TRAFFIC] = {{1, ANY, true}, {2, ANY, true}},
	[TIMELINE] = {{1, TIME, false}, {2, TIME, false}, {3, TIME, false}},
};

struct output {
	uint8_t *bytes;
	size_t len;       /* bytes of the result so far, those included that had no room */
	size_t max;       /* bytes that there is room for */
	uint64_t shift;   /* ms that are added to times */
	bool subsystems;  /* a Subsystems was written. An encoded State may have its one Subsystems in
	                     several pieces, and only the first gets what is missing */
};

static void put(struct output *o, const void *bytes, size_t n)
{
	o->len += n;
	if (n > 0 && o->len <= o->max)
		memcpy(o->bytes + o->len - n, bytes, n);
}

static void put_varint(struct output *o, uint64_t value)
{
	uint8_t bytes[WIRE_VARINT_MAX];

	put(o, bytes, wire_put_varint(bytes, value));
}

static void put_message(struct output *o, enum kind kind, const uint8_t *at, const uint8_t *end);

/* Writes the value of the field f, whose tag the caller has written. end: where the value ends in the
 * State that is copied. */
static void put_part(struct output *o, enum kind kind, const struct wire_field *f,
                     const uint8_t *end)
{
	if (kind == TIME)
		put_varint(o, f->value > 0 ? f->value + o->shift : 0);
	else
		put_message(o, kind, end - f->value, end);
}

/* Writes the fields of a message that stands from at to end, and empty messages for those it lacks. */
static void put_fields(struct output *o, enum kind kind, const uint8_t *at, const uint8_t *end)
{
	struct wire_reader r = {.at = at, .end = end};
	struct wire_field f;
	unsigned found = 0;
	const uint8_t *kept = at;   /* from here to r.at nothing is changed, and nothing written yet */

	while (r.at < r.end && wire_next(&r, &f)) {
		const struct part *p = parts[kind];

		while (p->field > 0 && p->field != f.number)
			p++;
		found |= 1u << (p - parts[kind]);
		if (p->field == 0 || p->kind == ANY ||
		    (o->shift == 0 && (p->kind == TIME || p->kind == TIMELINE)))
			continue;
		put(o, kept, (size_t)(f.start - kept));
		put_varint(o, (uint64_t)p->field << 3 | f.type);
		put_part(o, p->kind, &f, r.at);
		kept = r.at;
	}
	put(o, kept, (size_t)(end - kept));
	const bool further = kind == SUBSYSTEMS && o->subsystems;
	o->subsystems |= kind == SUBSYSTEMS;
	for (const struct part *p = parts[kind]; p->field > 0; p++) {
		if (!p->needed || further || found & 1u << (p - parts[kind]))
			continue;
		put_varint(o, (uint64_t)p->field << 3 | WIRE_LEN);
		put_message(o, p->kind, end, end);
	}
}

/* Writes the length and the bytes of a message that stands from at to end. Its new length is known only
 * once it is written: at first the length gets as much room as the old one took, and the message is
 * moved if the new one takes more. */
static void put_message(struct output *o, enum kind kind, const uint8_t *at, const uint8_t *end)
{
	uint8_t prefix[WIRE_VARINT_MAX];
	const size_t room = wire_put_varint(prefix, (uint64_t)(end - at));
	const size_t begin = o->len;

	o->len += room;
	if (kind != ANY)
		put_fields(o, kind, at, end);
	else
		put(o, at, (size_t)(end - at));
	const size_t len = o->len - begin - room;
	const size_t n = wire_put_varint(prefix, len);
	o->len += n - room;
	if (o->len > o->max)
		return;
	if (n != room)
		memmove(o->bytes + begin + n, o->bytes + begin + room, len);
	memcpy(o->bytes + begin, prefix, n);
}

size_t complete_state(uint8_t *out, size_t max, const uint8_t *in, size_t len, uint64_t shift)
{
	struct output o = {.bytes = out, .max = max, .shift = shift};

	put_fields(&o, STATE, in, in + len);
	return o.len;
}

/* The length of the prefix depends on that of the State, so the State is written first, behind room for
 * the longest prefix. */
const uint8_t *complete_message(uint8_t *out, size_t max, const uint8_t *message, size_t *len)
{
	struct wire_reader r = {.at = message, .end = message + *len}, state = {0};
	uint8_t prefix[WIRE_PREFIX_MAX];
	struct wire_field f;

	if (max < sizeof prefix)
		return message;
	while (r.at < r.end && wire_next(&r, &f))
		if (f.number == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE)
			state = wire_inside(&r, &f);
	const size_t most = max - sizeof prefix;
	const size_t n = complete_state(out + sizeof prefix, most, state.at,
	                                (size_t)(state.end - state.at), 0);
	if (n > most)
		return message;
	const size_t before = wire_put_prefix(prefix, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, n);
	*len = before + n;
	return memcpy(out + sizeof prefix - before, prefix, before);
}
