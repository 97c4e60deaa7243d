#include "client/json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/base64.h>

enum { PIECE = 768 }; /* bytes for base64 at once; a multiple of 3 needs no padding */

/* A protobuf name in lowerCamelCase, as protoc makes it. */
static void write_name(FILE *out, const char *name)
{
	fputc('"', out);
	for (; *name; name++) {
		bool up = *name == '_';

		if (up && *++name == '\0')
			break;
		fputc(up && *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name, out);
	}
	fputs("\":", out);
}

/* The character at s, if a terminal would not show but obey it: controls (C0, DEL and C1), line
 * separators, and those that turn the direction of what stands around them. 0: it is none. */
static unsigned unprintable(const unsigned char *s, size_t *len)
{
	unsigned c = *s;

	*len = 1;
	if (c < ' ' || c == 0x7f)
		return c;
	if ((c == 0xc2 || c == 0xd8) && s[1]) {
		c = (c & 0x1f) << 6 | (s[1] & 0x3f);
		*len = 2;
		return (c >= 0x80 && c < 0xa0) || c == 0x61c ? c : 0;
	}
	if (c == 0xe2 && (s[1] == 0x80 || s[1] == 0x81) && s[2]) {
		c = 0x2000U | (s[1] & 0x3fU) << 6 | (s[2] & 0x3fU);
		*len = 3;
		return c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
		                       (c >= 0x2066 && c <= 0x2069)
		               ? c
		               : 0;
	}
	return 0;
}

static void write_string(FILE *out, const char *string)
{
	const unsigned char *s = (const unsigned char *)string;
	size_t plain = 0, len;

	fputc('"', out);
	while (s[plain]) {
		const unsigned c = unprintable(s + plain, &len);

		if (c == 0 && s[plain] != '"' && s[plain] != '\\') {
			plain++;
			continue;
		}
		fwrite(s, 1, plain, out);
		s += plain;
		if (c == 0)
			fprintf(out, "\\%c", *s);
		else
			fprintf(out, "\\u%04x", c);
		s += len;
		plain = 0;
	}
	fwrite(s, 1, plain, out);
	fputc('"', out);
}

static void write_bytes(FILE *out, const ProtobufCBinaryData *bytes)
{
	unsigned char text[4 * PIECE / 3 + 1];
	size_t written;

	fputc('"', out);
	for (size_t at = 0; at < bytes->len; at += PIECE) {
		size_t n = bytes->len - at < PIECE ? bytes->len - at : PIECE;

		mbedtls_base64_encode(text, sizeof text, &written, bytes->data + at, n);
		fwrite(text, 1, written, out);
	}
	fputc('"', out);
}

static void write_enum(FILE *out, const ProtobufCEnumDescriptor *type, int value)
{
	const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(type, value);

	if (known)
		fprintf(out, "\"%s\"", known->name);
	else
		fprintf(out, "%d", value);
}

/* Writes the value at p. The schema has no floating point numbers. */
static void write_value(FILE *out, const ProtobufCFieldDescriptor *field, const void *p)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		fprintf(out, "%" PRId32, *(const int32_t *)p);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		fprintf(out, "%" PRIu32, *(const uint32_t *)p);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		fprintf(out, "\"%" PRId64 "\"", *(const int64_t *)p);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		fprintf(out, "\"%" PRIu64 "\"", *(const uint64_t *)p);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		fputs(*(const protobuf_c_boolean *)p ? "true" : "false", out);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		write_enum(out, field->descriptor, *(const int *)p);
		break;
	case PROTOBUF_C_TYPE_STRING:
		write_string(out, *(char *const *)p);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		write_bytes(out, p);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		json_write(out, *(ProtobufCMessage *const *)p);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		abort();
	}
}

/* Bytes that one value takes in an array. */
static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(uint64_t);
	default:
		return sizeof(uint32_t);
	}
}

/* Is there a value, other than the default of a field that tracks no presence? */
static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)message;
	const void *p = base + field->offset;
	static const ProtobufCBinaryData zero;

	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(const void *)(base + field->quantifier_offset) ==
		       field->id;
	if (field->type == PROTOBUF_C_TYPE_STRING)
		return *(char *const *)p && **(char *const *)p;
	if (field->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)p)->len > 0;
	return memcmp(p, &zero, value_size(field->type)) != 0;
}

void json_write(FILE *out, const ProtobufCMessage *message)
{
	const char *base = (const char *)message;
	const char *between = "";

	fputc('{', out);
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		const void *p = base + field->offset;

		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
			const char *values = *(char *const *)p;

			if (n == 0)
				continue;
			fputs(between, out);
			write_name(out, field->name);
			for (size_t j = 0; j < n; j++) {
				fputc(j == 0 ? '[' : ',', out);
				write_value(out, field, values + j * value_size(field->type));
			}
			fputc(']', out);
		} else {
			if (!is_set(message, field))
				continue;
			fputs(between, out);
			write_name(out, field->name);
			write_value(out, field, p);
		}
		between = ",";
	}
	fputc('}', out);
}
