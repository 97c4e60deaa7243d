#include "events.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STRING INTROSPECTION__EVENT_TYPE__EVENT_PROPERTY__PROPERTY_TYPE__STRING
#define NUMBER INTROSPECTION__EVENT_TYPE__EVENT_PROPERTY__PROPERTY_TYPE__NUMBER
#define PROPERTY(name, type)                                                                       \
	&(Introspection__EventType__EventProperty)                                                 \
	{                                                                                          \
		PROTOBUF_C_MESSAGE_INIT(&introspection__event_type__event_property__descriptor),   \
			(char *)(name), (type), 0                                                  \
	}

/* A ConnectionClosed has all of these properties, a ConnectionOpened all but the last two. Addresses are
 * of type STRING, since the observer toolkit's UI crashes at a property of type MULTIADDR. */
static Introspection__EventType__EventProperty *properties[] = {
	PROPERTY("connection", STRING), PROPERTY("local", STRING), PROPERTY("remote", STRING),
	PROPERTY("role", STRING),       PROPERTY("bytesIn", NUMBER),  PROPERTY("bytesOut", NUMBER),
};

enum { CLOSED_ONLY = 2, PROPERTIES = sizeof properties / sizeof *properties };

static Introspection__EventType opened = {
	PROTOBUF_C_MESSAGE_INIT(&introspection__event_type__descriptor), (char *)"ConnectionOpened",
	PROPERTIES - CLOSED_ONLY, properties};

static Introspection__EventType closed = {
	PROTOBUF_C_MESSAGE_INIT(&introspection__event_type__descriptor), (char *)"ConnectionClosed",
	PROPERTIES, properties};

static Introspection__EventType *types[] = {&opened, &closed};

static void tell(const struct source *s, const Introspection__Connection *c, uint64_t ts, int64_t now)
{
	Introspection__Event event = INTROSPECTION__EVENT__INIT;
	bool is_closed = c->status == INTROSPECTION__STATUS__CLOSED;
	char content[512];
	uint8_t packed[1024];
	int n = 0;

	if (!s->event)
		return;
	n += snprintf(content, sizeof content, "{\"connection\":\"");
	for (size_t i = 0; i < c->id.len && i < 8; i++)
		n += snprintf(content + n, sizeof content - (size_t)n, "%02x", c->id.data[i]);
	n += snprintf(content + n, sizeof content - (size_t)n,
	              "\",\"local\":\"%s\",\"remote\":\"%s\",\"role\":\"%s\"",
	              c->endpoints->src_multiaddr, c->endpoints->dst_multiaddr,
	              c->role == INTROSPECTION__ROLE__INITIATOR ? "INITIATOR" : "RESPONDER");
	if (is_closed)
		n += snprintf(content + n, sizeof content - (size_t)n,
		              ",\"bytesIn\":%" PRIu64 ",\"bytesOut\":%" PRIu64,
		              c->traffic->traffic_in->cum_bytes, c->traffic->traffic_out->cum_bytes);
	strcpy(content + n, "}");
	event.type = is_closed ? &closed : &opened;
	event.ts = ts;
	event.content = content;
	s->event(s->event_arg, packed, introspection__event__pack(&event, packed), now);
}

static const struct kernel_events both = {
	.types = types, .type_count = sizeof types / sizeof *types, .connection = tell};
const struct kernel_events *const kernel_events = &both;
