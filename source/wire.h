#ifndef WIRE_H
#define WIRE_H

/* Messages of the schema that a node, a recording or a peer encoded: checked, and taken apart within
 * the buffer in which they stand. No I/O, no allocation; pointers in results point into that
 * buffer. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/put.h"

enum {
	WIRE_DEPTH_MAX = 32,       /* messages nested in one another, with the outermost */
	WIRE_RUNTIME_MAX = 65536,  /* bytes of an encoded Runtime */
	WIRE_EVENT_TYPES_MAX = 256,   /* EventTypes in a Runtime */
};

/* The wire types of protobuf that messages may have; the two of groups are refused. */
enum wire_type {
	WIRE_VARINT = 0,
	WIRE_I64 = 1,
	WIRE_LEN = 2,
	WIRE_I32 = 5,
};

/* Goes through the fields of one message. A message within it is read by a reader of its own
 * (wire_inside). */
struct wire_reader {
	const uint8_t *at;    /* the next tag; after a failure, the byte that is wrong */
	const uint8_t *end;
	const char *what;     /* after a failure: what is wrong, a static text */
};

/* A field that wire_next has read. */
struct wire_field {
	const uint8_t *start;  /* its tag */
	uint32_t number;       /* 1 to 2^29 - 1 */
	unsigned type;         /* enum wire_type */
	uint64_t value;        /* WIRE_VARINT: the number. Other types: how many bytes the value has,
	                          which end at the reader's at */
};

/* What is wrong with a message. */
struct wire_error {
	const char *what;   /* a static text */
	size_t offset;      /* of the wrong byte in the message */
};

/* Reads a varint of protobuf. Returns > 0: how many bytes it has; 0: in ends before the varint does;
 * -1: its number does not fit 64 bits, or it has more than WIRE_VARINT_MAX bytes. *value is the number
 * only after a result > 0. */
int wire_varint(const uint8_t *in, size_t len, uint64_t *value);

/* Reads the next field into *f. The caller has seen that the message has not ended (at < end). False:
 * the field is malformed, and the reader says where and why. */
bool wire_next(struct wire_reader *r, struct wire_field *f);

/* A buffer, from at to end, in which a message is put together from pieces of others. A piece that
 * does not fit sets over, and nothing is written from then on. */
struct wire_writer {
	uint8_t *at, *end;
	bool over;
};

/* Writes len bytes as they are. */
void wire_copy(struct wire_writer *w, const uint8_t *bytes, size_t len);

/* Writes the field that r has just read as *f, with its tag. */
void wire_copy_field(struct wire_writer *w, const struct wire_reader *r, const struct wire_field *f);

/* Writes tag and length of the field with this number, whose len bytes the caller writes next. */
void wire_copy_length(struct wire_writer *w, uint32_t field, size_t len);

/* Begins a message within the message. Its tag and length depend on how long it becomes: wire_begin
 * leaves room for them and returns where the bytes of the inner message begin; wire_end, given that
 * place as body, writes them as those of the field with this number and closes the gap. Where the
 * buffer lacks that room, an inner message that is shorter than the room is refused, too. */
uint8_t *wire_begin(struct wire_writer *w);
void wire_end(struct wire_writer *w, uint8_t *body, uint32_t field);

/* Returns a reader of the message that r has just read as the field *f, of type WIRE_LEN. */
struct wire_reader wire_inside(const struct wire_reader *r, const struct wire_field *f);

/* Are the len bytes a message of this type that every decoder of protobuf takes? All of it must be
 * well-formed, without groups, each value of its field's wire type, strings UTF-8, and messages nested
 * no deeper than WIRE_DEPTH_MAX. Unknown fields and unknown values of enums are allowed. False: *error
 * is filled in. */
bool wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *in, size_t len,
                struct wire_error *error);

/* The payload of an encoded ServerMessage. */
struct wire_payload {
	Introspection__ServerMessage__PayloadCase kind;   /* NOT_SET: the message has none */
	uint8_t *bytes;                                   /* within the message */
	size_t len;
};

/* Finds the payload of a ServerMessage of len bytes, without looking at what is inside of it. False:
 * the message's own fields are malformed, or it has more than one payload; *error is filled in. */
bool wire_payload(uint8_t *message, size_t len, struct wire_payload *out,
                  struct wire_error *error);

/* Removes, in place, the fields that only the daemon may set from a State of len bytes that wire_check
 * accepted: runtime, sequence, and those that make a State a difference or totals (base to counts).
 * Returns how many bytes are left. *instant_ts: the State's field instant_ts, ms since the epoch; 0:
 * the State has none. */
size_t wire_strip_state(uint8_t *state, size_t len, uint64_t *instant_ts);

/* Gives *shown the fields of next, except those that the daemon owns (source, hostname, interval_ms).
 * The texts of *shown belonged to *kept, NULL at first, which is freed; now they belong to next, which
 * becomes *kept. The caller frees *kept at its own end. */
void wire_show_runtime(Introspection__Runtime *shown, Introspection__Runtime **kept,
                       Introspection__Runtime *next);

/* Returns a hash of 64 bits of len bytes, never 0. seed: a random number, where peers choose the
 * bytes, so that they cannot choose collisions; bytes in several pieces are hashed by giving the hash
 * of one piece as the seed of the next. */
uint64_t wire_hash(uint64_t seed, const void *in, size_t len);

/* Returns FNV-1a of 32 bits over len bytes: the checksum of recordings and of the command protocol. */
uint32_t wire_checksum(const uint8_t *in, size_t len);

#endif
