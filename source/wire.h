#ifndef WIRE_H
#define WIRE_H

/* Messages of the schema that somebody else encoded: checked, and taken apart
 * where they stand. Nothing here allocates. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/put.h"

enum {
	WIRE_DEPTH_MAX = 32,       /* messages within one another, the outermost counted */
	WIRE_RUNTIME_MAX = 65536,  /* bytes of an encoded Runtime */
	WIRE_EVENT_TYPES_MAX = 256,   /* in a Runtime */
};

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_I64 = 1,
	WIRE_LEN = 2,
	WIRE_I32 = 5,
};

/* Goes through one message; inner messages get readers of their own. */
struct wire_reader {
	const uint8_t *at;    /* after a failure: what is wrong */
	const uint8_t *end;
	const char *what;     /* set by a failure */
};

struct wire_field {
	const uint8_t *start;  /* its tag */
	uint32_t number;
	unsigned type;         /* enum wire_type */
	uint64_t value;        /* WIRE_VARINT: the number; else bytes, which end at reader.at */
};

/* What is wrong with a message. */
struct wire_error {
	const char *what;   /* a constant string */
	size_t offset;      /* of the byte in the message */
};

/* Reads an unsigned varint. Returns > 0: its bytes; 0: incomplete; -1: it does
 * not fit 64 bits or has more than WIRE_VARINT_MAX bytes. */
int wire_varint(const uint8_t *in, size_t len, uint64_t *value);

/* Reads the next field; there must be one (at < end). False: it is malformed. */
bool wire_next(struct wire_reader *r, struct wire_field *f);

/* Where a message is put together from pieces of others. Once something does not fit, over is
 * set and nothing more is written. */
struct wire_writer {
	uint8_t *at, *end;
	bool over;
};

void wire_copy(struct wire_writer *w, const uint8_t *bytes, size_t len);

/* Copies a field that a reader has just read. */
void wire_copy_field(struct wire_writer *w, const struct wire_reader *r, const struct wire_field *f);

/* Writes the tag and the length of a field whose bytes follow. */
void wire_copy_length(struct wire_writer *w, uint32_t field, size_t len);

/* Begins an embedded message and returns where its bytes begin, which wire_end needs to put
 * tag and length before them. */
uint8_t *wire_begin(struct wire_writer *w);
void wire_end(struct wire_writer *w, uint8_t *body, uint32_t field);

/* A reader of the embedded message that was read as a field. */
struct wire_reader wire_inside(const struct wire_reader *r, const struct wire_field *f);

/* True when the bytes are a message of this type that every decoder takes: all
 * of it well-formed, no groups, no value of a wire type other than its field's,
 * strings of UTF-8, and not nested deeper than WIRE_DEPTH_MAX. Unknown fields
 * and enum values are allowed. Otherwise *error is filled. */
bool wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *in, size_t len,
                struct wire_error *error);

/* The payload of an encoded ServerMessage. */
struct wire_payload {
	Introspection__ServerMessage__PayloadCase kind;   /* may be NOT_SET */
	uint8_t *bytes;                                   /* within the message */
	size_t len;
};

/* Finds the payload; reads no deeper. False, and *error is filled, when the
 * outer fields are malformed or there is more than one payload. */
bool wire_payload(uint8_t *message, size_t len, struct wire_payload *out,
                  struct wire_error *error);

/* Removes what only the daemon says (runtime, sequence, and what makes a State a difference
 * or totals) from a State that wire_check accepted. In place; returns the bytes that are left.
 * *instant_ts: its field 3, 0 when there is none. */
size_t wire_strip_state(uint8_t *state, size_t len, uint64_t *instant_ts);

/* Lets *shown point to what next has, but for the fields that the daemon owns
 * (source, hostname, interval_ms). Frees *kept, to which *shown pointed so far
 * (NULL at first), and keeps next, to be freed by the caller in the end. */
void wire_show_runtime(Introspection__Runtime *shown, Introspection__Runtime **kept,
                       Introspection__Runtime *next);

/* A hash of 64 bits, never 0. seed: drawn at random where peers choose what is hashed; of bytes
 * in pieces, the hash of the piece before. */
uint64_t wire_hash(uint64_t seed, const void *in, size_t len);

/* FNV-1a with 32 bits: the checksum of recordings and of the command protocol. */
uint32_t wire_checksum(const uint8_t *in, size_t len);

#endif
