#include "wire.h"

#include <string.h>

enum {
	TAG_MAX = 5,   /* bytes of a tag or a length: most decoders read no more than 32 bits of one */
};

/* Fields of State in the schema. */
enum state_field {
	INSTANT_TS = 3,
	RUNTIME = 100,
	SEQUENCE = 101,
	BASE = 106,
	COUNTS = 109,
};

static const char wrong_type[] = "wire type is not that of the field";

/* Notes what is wrong and where. Always false. */
static bool fail(struct wire_reader *r, const uint8_t *at, const char *what)
{
	r->at = at;
	r->what = what;
	return false;
}

int wire_varint(const uint8_t *in, size_t len, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < WIRE_VARINT_MAX; i++) {
		if (i == len)
			return 0;
		if (i == WIRE_VARINT_MAX - 1 && in[i] > 1)
			return -1;
		*value |= (uint64_t)(in[i] & 0x7f) << 7 * i;
		if (in[i] < 0x80)
			return (int)i + 1;
	}
	return -1;
}

static bool read_long_varint(struct wire_reader *r, int max, uint64_t *value)
{
	if (r->end - r->at > 1 && r->at[1] < 0x80) {
		*value = (r->at[0] & 0x7fu) | (unsigned)r->at[1] << 7;
		r->at += 2;
		return true;
	}
	int n = wire_varint(r->at, (size_t)(r->end - r->at), value);

	if (n == 0)
		return fail(r, r->at, "varint is cut off");
	if (n < 0 || n > max)
		return fail(r, r->at, "varint is too long");
	r->at += n;
	return true;
}

/* Reads a varint of at most max bytes. Most varints have a single byte, which is read here; longer ones
 * are left to a function of their own, so that this one can be inlined. */
static inline bool read_varint(struct wire_reader *r, int max, uint64_t *value)
{
	if (r->at == r->end || *r->at >= 0x80)
		return read_long_varint(r, max, value);
	*value = *r->at++;
	return true;
}

/* Reads a value of this wire type; *value as in struct wire_field. */
static bool read_value(struct wire_reader *r, unsigned type, uint64_t *value)
{
	const uint8_t *start = r->at;

	if (type == WIRE_VARINT)
		return read_varint(r, WIRE_VARINT_MAX, value);
	if (type != WIRE_LEN)
		*value = type == WIRE_I64 ? 8 : 4;
	else if (!read_varint(r, TAG_MAX, value))
		return false;
	if (*value > (uint64_t)(r->end - r->at))
		return fail(r, start, "value runs past the end of its message");
	r->at += *value;
	return true;
}

static bool next_of_any_length(struct wire_reader *r, struct wire_field *f)
{
	f->start = r->at;
	if (!read_varint(r, TAG_MAX, &f->value))
		return false;
	const uint64_t tag = f->value;
	if (tag >> 3 == 0 || tag > UINT32_MAX)
		return fail(r, f->start, "field number is out of range");
	f->number = (uint32_t)(tag >> 3);
	f->type = tag & 7;
	if (!(1u << f->type & (1u << WIRE_VARINT | 1u << WIRE_I64 | 1u << WIRE_LEN | 1u << WIRE_I32)))
		return fail(r, f->start, "wire type is a group or unknown");
	return read_value(r, f->type, &f->value);
}

/* In most fields the tag is one byte, and so is the number or the length behind it: those are read
 * without the loops and the checks that longer ones need. */
bool wire_next(struct wire_reader *r, struct wire_field *f)
{
	const uint8_t *at = r->at;

	if (r->end - at < 2 || at[0] < 1 << 3 || (at[0] | at[1]) >= 0x80)
		return next_of_any_length(r, f);
	f->start = at;
	f->number = at[0] >> 3;
	f->type = at[0] & 7;
	f->value = at[1];
	at += 2;
	if (f->type == WIRE_LEN && (ptrdiff_t)f->value <= r->end - at)
		at += f->value;
	else if (f->type != WIRE_VARINT)
		return next_of_any_length(r, f);
	r->at = at;
	return true;
}

struct wire_reader wire_inside(const struct wire_reader *r, const struct wire_field *f)
{
	return (struct wire_reader){.at = r->at - f->value, .end = r->at};
}

void wire_copy(struct wire_writer *w, const uint8_t *bytes, size_t len)
{
	w->over = w->over || len > (size_t)(w->end - w->at);
	if (w->over)
		return;
	memcpy(w->at, bytes, len);
	w->at += len;
}

void wire_copy_field(struct wire_writer *w, const struct wire_reader *r, const struct wire_field *f)
{
	wire_copy(w, f->start, (size_t)(r->at - f->start));
}

void wire_copy_length(struct wire_writer *w, uint32_t field, size_t len)
{
	uint8_t prefix[2 * WIRE_VARINT_MAX];
	const size_t n = wire_put_varint(prefix, field << 3 | WIRE_LEN);

	wire_copy(w, prefix, n + wire_put_varint(prefix + n, len));
}

/* The room that is left for tag and length is that of the longest. wire_end moves the bytes of the inner
 * message down to where its real tag and length end. */
uint8_t *wire_begin(struct wire_writer *w)
{
	w->over = w->over || w->end - w->at < WIRE_PREFIX_MAX;
	w->at += w->over ? 0 : WIRE_PREFIX_MAX;
	return w->at;
}

void wire_end(struct wire_writer *w, uint8_t *body, uint32_t field)
{
	const size_t len = (size_t)(w->at - body);

	if (w->over)
		return;
	w->at = body - WIRE_PREFIX_MAX;
	wire_copy_length(w, field, len);
	memmove(w->at, body, len);
	w->at += len;
}

static unsigned wire_type_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_LEN;
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_I64;
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_I32;
	default:
		return WIRE_VARINT;
	}
}

static bool check_message(struct wire_reader *r, const ProtobufCMessageDescriptor *type,
                          int depth);

/* Checks the value of a field that the schema has; r is a reader of that value alone. depth: how deep the
 * message with this field is nested, from 1. */
static bool check_value(struct wire_reader *r, const struct wire_field *f,
                        const ProtobufCFieldDescriptor *known, int depth)
{
	unsigned type = wire_type_of(known->type);
	uint64_t ignored;

	if (f->type != type) {
		if (f->type != WIRE_LEN || known->label != PROTOBUF_C_LABEL_REPEATED)
			return fail(r, f->start, wrong_type);
		while (r->at < r->end)   /* a packed repeated field: one value behind the other */
			if (!read_value(r, type, &ignored))
				return false;
	} else if (known->type == PROTOBUF_C_TYPE_STRING) {
		r->at = wire_not_utf8(r->at, r->end);
		if (r->at < r->end)
			return fail(r, r->at, "string is not UTF-8");
	} else if (known->type == PROTOBUF_C_TYPE_MESSAGE) {
		if (depth == WIRE_DEPTH_MAX)
			return fail(r, f->start, "messages are nested too deep");
		return check_message(r, known->descriptor, depth + 1);
	}
	return true;
}

/* The field with this number; NULL: the schema has none. In most messages the fields are 1, 2, 3 and so
 * on, so the number itself is tried as an index before the library searches. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                  uint32_t number)
{
	if (number <= type->n_fields && type->fields[number - 1].id == number)
		return &type->fields[number - 1];
	return protobuf_c_message_descriptor_get_field(type, number);
}

static bool check_message(struct wire_reader *r, const ProtobufCMessageDescriptor *type,
                          int depth)
{
	struct wire_field f;

	while (r->at < r->end) {
		if (!wire_next(r, &f))
			return false;
		const ProtobufCFieldDescriptor *known = find_field(type, f.number);
		if (!known)
			continue;
		struct wire_reader inner = {
			.at = f.type == WIRE_VARINT ? r->at : r->at - f.value,
			.end = r->at,
		};
		if (!check_value(&inner, &f, known, depth))
			return fail(r, inner.at, inner.what);
	}
	return true;
}

bool wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *in, size_t len,
                struct wire_error *error)
{
	struct wire_reader r = {.at = in, .end = in + len};

	if (check_message(&r, type, 1))
		return true;
	*error = (struct wire_error){.what = r.what, .offset = (size_t)(r.at - in)};
	return false;
}

bool wire_payload(uint8_t *message, size_t len, struct wire_payload *out, struct wire_error *error)
{
	struct wire_reader r = {.at = message, .end = message + len};
	struct wire_field f;

	*out = (struct wire_payload){0};
	while (r.at < r.end && wire_next(&r, &f)) {
		if (f.number < INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE ||
		    f.number > INTROSPECTION__SERVER_MESSAGE__PAYLOAD_NOTICE)
			continue;
		if (f.type != WIRE_LEN || out->kind) {
			fail(&r, f.start, f.type != WIRE_LEN ? wrong_type : "more than one payload");
			break;
		}
		out->kind = (Introspection__ServerMessage__PayloadCase)f.number;
		out->bytes = message + (r.at - message) - f.value;
		out->len = (size_t)f.value;
	}
	if (r.what)
		*error = (struct wire_error){.what = r.what, .offset = (size_t)(r.at - message)};
	return !r.what;
}

size_t wire_strip_state(uint8_t *state, size_t len, uint64_t *instant_ts)
{
	struct wire_reader r = {.at = state, .end = state + len};
	struct wire_field f;
	size_t kept = 0;

	*instant_ts = 0;
	while (r.at < r.end && wire_next(&r, &f)) {
		size_t n = (size_t)(r.at - f.start);

		if (f.number == INSTANT_TS)
			*instant_ts = f.value;
		if (f.number == RUNTIME || f.number == SEQUENCE ||
		    (f.number >= BASE && f.number <= COUNTS))
			continue;
		memmove(state + kept, f.start, n);
		kept += n;
	}
	return kept;
}

void wire_show_runtime(Introspection__Runtime *shown, Introspection__Runtime **kept,
                       Introspection__Runtime *next)
{
	Introspection__Runtime before = *shown;

	*shown = *next;
	shown->source = before.source;
	shown->hostname = before.hostname;
	shown->interval_ms = before.interval_ms;
	introspection__runtime__free_unpacked(*kept, NULL);
	*kept = next;
}

static uint64_t mixed(uint64_t hash)
{
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

/* A difference hashes every byte of a snapshot, so this must be fast: two independent chains, of eight
 * bytes at a time each, which a processor computes side by side. */
uint64_t wire_hash(uint64_t seed, const void *in, size_t len)
{
	const uint8_t *at = in;
	uint64_t hash = seed ^ len * UINT64_C(0xff51afd7ed558ccd), other = ~hash, words[2] = {0};

	for (size_t left = len; left > sizeof words; at += sizeof words, left -= sizeof words) {
		memcpy(words, at, sizeof words);
		hash = mixed(hash ^ words[0]);
		other = mixed(other ^ words[1]);
	}
	if (len >= sizeof words)   /* the last words may overlap those that were hashed before */
		memcpy(words, (const uint8_t *)in + len - sizeof words, sizeof words);
	else if (len > 0)
		memcpy(words, in, len);
	hash = mixed(mixed(hash ^ words[0]) + mixed(other ^ words[1]));
	return hash | (hash == 0);
}

uint32_t wire_checksum(const uint8_t *in, size_t len)
{
	uint32_t sum = 0x811c9dc5;   /* FNV's offset basis; the factor below is FNV's prime */

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ in[i]) * 0x01000193;
	return sum;
}
