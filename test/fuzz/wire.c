/* Encoded messages: what is accepted can be unpacked, and what is cut out of it, or put into it
 * for the observer toolkit, is well-formed too. The first byte chooses the type. */

#include "fuzz.h"
#include "source/complete.h"
#include "source/wire.h"

static void check_unpacks(const ProtobufCMessageDescriptor *type, const uint8_t *in, size_t len)
{
	struct wire_error error;

	CHECK(wire_check(type, in, len, &error));
	ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, len, in);
	CHECK(message);
	uint8_t *packed = malloc(protobuf_c_message_get_packed_size(message) + 1);
	CHECK(packed);
	size_t n = protobuf_c_message_pack(message, packed);
	CHECK(wire_check(type, packed, n, &error));
	free(packed);
	protobuf_c_message_free_unpacked(message, NULL);
}

/* A State that lacks nothing any more is left as it is; one that does not fit is told so. */
static void check_completes(const uint8_t *in, size_t len)
{
	const size_t n = complete_state(NULL, 0, in, len, 0);
	uint8_t *out = malloc(n + 1), *again = malloc(n + 1);

	CHECK(out && again);
	CHECK(complete_state(out, n, in, len, 0) == n);
	check_unpacks(&introspection__state__descriptor, out, n);
	CHECK(complete_state(again, n, out, n, 0) == n);
	CHECK(memcmp(again, out, n) == 0);
	free(out);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const ProtobufCMessageDescriptor *const types[] = {
		&introspection__server_message__descriptor, &introspection__client_command__descriptor,
		&introspection__event__descriptor, &introspection__runtime__descriptor,
		&introspection__state__descriptor,
	};
	struct input in = {data, size};
	const ProtobufCMessageDescriptor *type = types[take_byte(&in) % 5];
	uint8_t *bytes = copy_of(in.at, in.left);
	struct wire_error error = {.offset = SIZE_MAX};
	struct wire_payload payload;
	uint64_t instant;

	if (!wire_check(type, bytes, in.left, &error)) {
		CHECK(error.what && error.offset <= in.left);
		wire_payload(bytes, in.left, &payload, &error);
	} else {
		check_unpacks(type, bytes, in.left);
		if (type == types[0] && wire_payload(bytes, in.left, &payload, &error) &&
		    payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE)
			check_unpacks(types[4], payload.bytes,
			              wire_strip_state(payload.bytes, payload.len, &instant));
		else if (type == types[4]) {
			check_completes(bytes, in.left);
			check_unpacks(type, bytes, wire_strip_state(bytes, in.left, &instant));
		}
	}
	free(bytes);
	return 0;
}
