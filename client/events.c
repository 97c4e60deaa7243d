#include "client/events.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "source/wire.h"

enum {
	FRAME_VERSION = 1,
	FRAME_HEAD = 12,   /* bytes before a message: version, checksum, length */
};

static void ask(struct link *l, uint64_t id, Introspection__ClientCommand__Command what)
{
	Introspection__Version version = INTROSPECTION__VERSION__INIT;
	Introspection__ClientCommand command = INTROSPECTION__CLIENT_COMMAND__INIT;
	uint8_t packed[WS_CONTROL_MAX];

	version.version = FRAME_VERSION;
	command.version = &version;
	command.id = id;
	command.command = what;
	command.source = INTROSPECTION__CLIENT_COMMAND__SOURCE__EVENTS;
	link_command(l, packed, introspection__client_command__pack(&command, packed));
}

void events_ask(struct link *l)
{
	ask(l, 1, INTROSPECTION__CLIENT_COMMAND__COMMAND__HELLO);
	ask(l, 2, INTROSPECTION__CLIENT_COMMAND__COMMAND__PUSH_ENABLE);
}

Introspection__ServerMessage *events_decode(const uint8_t *frame, size_t len,
					    char why[DECODE_WHY_MAX])
{
	uint32_t words[FRAME_HEAD / sizeof(uint32_t)];

	if (len < sizeof words) {
		snprintf(why, DECODE_WHY_MAX, "sent a frame that is cut off");
		return NULL;
	}
	memcpy(words, frame, sizeof words);
	frame += sizeof words;
	len -= sizeof words;
	if (le32toh(words[0]) != FRAME_VERSION || le32toh(words[2]) != len ||
	    le32toh(words[1]) != wire_checksum(frame, len)) {
		snprintf(why, DECODE_WHY_MAX, "sent a frame with a wrong version, checksum or length");
		return NULL;
	}
	return decode(frame, len, why);
}
