#ifndef MESSAGES_H
#define MESSAGES_H

/* What the tests of the sources share: messages as nodes send them, and the text of what was logged. To be
 * included after cmocka.h and what that needs. */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "introspection.pb-c.h"

enum { MESSAGE_MAX = 4096 };

/* Packs a ServerMessage and returns its bytes. */
static inline size_t pack(uint8_t *out, Introspection__ServerMessage *message)
{
	size_t len = introspection__server_message__get_packed_size(message);

	assert_in_range(len, 1, MESSAGE_MAX);
	return introspection__server_message__pack(message, out);
}

/* Packs a ServerMessage with a State in which each kind of field is set, and returns its bytes. peer: by which the
 * tests tell one State from another. */
static inline size_t pack_state(uint8_t *out, uint64_t instant_ts, char *peer)
{
	Introspection__Version version = INTROSPECTION__VERSION__INIT;
	Introspection__DataGauge gauge = INTROSPECTION__DATA_GAUGE__INIT;
	Introspection__Traffic traffic = INTROSPECTION__TRAFFIC__INIT;
	Introspection__Stream stream = INTROSPECTION__STREAM__INIT;
	Introspection__Stream *streams[] = {&stream};
	Introspection__StreamList list = INTROSPECTION__STREAM_LIST__INIT;
	Introspection__Connection relay, connection;
	Introspection__Connection *connections[] = {&connection};
	Introspection__DHT dht = INTROSPECTION__DHT__INIT;
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__OwnAddress address = INTROSPECTION__OWN_ADDRESS__INIT;
	Introspection__OwnAddress *addresses[] = {&address};
	Introspection__State state = INTROSPECTION__STATE__INIT;
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	uint8_t id[] = {0, 0xff, 0x80};
	char *tags[] = {"\xc3\xa4", ""};

	introspection__connection__init(&relay);
	introspection__connection__init(&connection);
	version.version = 1;
	gauge.cum_bytes = UINT64_MAX;
	traffic.traffic_in = &gauge;
	stream.id.data = id;
	stream.id.len = sizeof id;
	stream.protocol = "/ipfs/id/1.0.0";
	stream.status = (Introspection__Status)-1;
	stream.traffic = &traffic;
	list.n_streams = 1;
	list.streams = streams;
	relay.peer_id = "relay";
	connection.peer_id = peer;
	connection.streams = &list;
	connection.relayed_over_case = INTROSPECTION__CONNECTION__RELAYED_OVER_CONN;
	connection.conn = &relay;
	connection.n_user_provided_tags = 2;
	connection.user_provided_tags = tags;
	dht.enabled = 1;
	subsystems.n_connections = 1;
	subsystems.connections = connections;
	subsystems.dht = &dht;
	address.multiaddr = "/ip4/127.0.0.1/tcp/4001";
	state.subsystems = &subsystems;
	state.traffic = &traffic;
	state.instant_ts = instant_ts;
	state.n_addresses = 1;
	state.addresses = addresses;
	message.version = &version;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
	message.state = &state;
	return pack(out, &message);
}

static inline size_t pack_runtime(uint8_t *out, char *peer)
{
	Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;

	runtime.peer_id = peer;
	runtime.source = "of the sender";
	runtime.hostname = "of the sender";
	runtime.interval_ms = 1;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME;
	message.runtime = &runtime;
	return pack(out, &message);
}

static inline size_t pack_event(uint8_t *out, char *content)
{
	Introspection__Event event = INTROSPECTION__EVENT__INIT;
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;

	event.content = content;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT;
	message.event = &event;
	return pack(out, &message);
}

/* The peer of the connection in a State that pack_state has packed; "": it is another State. */
static inline const char *peer_of(const uint8_t *state, size_t len)
{
	static char peer[64];
	Introspection__State *s = introspection__state__unpack(NULL, len, state);

	assert_non_null(s);
	peer[0] = '\0';
	if (s->subsystems && s->subsystems->n_connections == 1)
		strncat(peer, s->subsystems->connections[0]->peer_id, sizeof peer - 1);
	introspection__state__free_unpacked(s, NULL);
	return peer;
}

/* Copies bytes to memory of exactly their size, where the sanitizer notices a read beyond them. The caller frees
 * it. */
static inline uint8_t *exact_copy(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

static char logged[65536];   /* what was logged since log_clear() */
static int log_fd = -1, log_stderr = -1;

/* From here on stderr is collected, until log_end; what cmocka writes comes outside of the two. */
static inline void log_begin(void)
{
	if (log_fd < 0)
		log_fd = memfd_create("log", MFD_CLOEXEC);
	log_stderr = dup(STDERR_FILENO);
	dup2(log_fd, STDERR_FILENO);
}

static inline void log_end(void)
{
	dup2(log_stderr, STDERR_FILENO);
	close(log_stderr);
	ssize_t n = pread(log_fd, logged, sizeof logged - 1, 0);
	logged[n > 0 ? n : 0] = '\0';
}

static inline void log_clear(void)
{
	if (log_fd >= 0 && (ftruncate(log_fd, 0) != 0 || lseek(log_fd, 0, SEEK_SET) != 0))
		abort();
	logged[0] = '\0';
}

/* Appends the content of an event to a text, or refuses the content "bad", as a source's event does. */
static inline const char *append_event(char *text, const uint8_t *event, size_t len)
{
	Introspection__Event *e = introspection__event__unpack(NULL, len, event);

	assert_non_null(e);
	const bool refused = strcmp(e->content, "bad") == 0;
	if (!refused)
		strcat(text, e->content);
	introspection__event__free_unpacked(e, NULL);
	return refused ? "content is bad" : NULL;
}

#endif
