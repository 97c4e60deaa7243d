#include "decode.h"

#include <stdio.h>
#include <stdlib.h>

#include "source/wire.h"

static void *allocate(void *left, size_t size)
{
	if (size > *(size_t *)left)
		return NULL;
	*(size_t *)left -= size;
	return malloc(size);
}

static void release(void *left, void *p)
{
	(void)left;
	free(p);
}

Introspection__ServerMessage *decode(const uint8_t *bytes, size_t len, char why[DECODE_WHY_MAX])
{
	size_t left = DECODE_BASE + len * DECODE_FACTOR;
	ProtobufCAllocator bounded = {.alloc = allocate, .free = release, .allocator_data = &left};
	struct wire_error error;

	if (!wire_check(&introspection__server_message__descriptor, bytes, len, &error)) {
		snprintf(why, DECODE_WHY_MAX, "sent a damaged message: at byte %zu: %s",
			 error.offset, error.what);
		return NULL;
	}
	Introspection__ServerMessage *message =
	    introspection__server_message__unpack(&bounded, len, bytes);
	if (!message)
		snprintf(why, DECODE_WHY_MAX,
			 "sent a snapshot that takes too much memory to decode");
	return message;
}

void decode_free(Introspection__ServerMessage *message)
{
	introspection__server_message__free_unpacked(message, NULL);
}
