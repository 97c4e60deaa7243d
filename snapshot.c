#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

enum {
	VERSION = 1,
	PREFIX_MAX = 16,        /* Version, and tag and length of the State */
	STATE_TAG = 2 << 3 | 2, /* ServerMessage.state, length-delimited */
};

int snapshot_open(struct snapshot_store *store, size_t max)
{
	*store = (struct snapshot_store){.max = max};
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++) {
		uint8_t *buffer = malloc(SNAPSHOT_HEADROOM + max);

		if (!buffer) {
			snapshot_close(store);
			return -1;
		}
		store->all[i].message = buffer + SNAPSHOT_HEADROOM;
	}
	return 0;
}

void snapshot_close(struct snapshot_store *store)
{
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		if (store->all[i].message)
			free(store->all[i].message - SNAPSHOT_HEADROOM);
	*store = (struct snapshot_store){0};
}

static struct snapshot *find_room(struct snapshot_store *store)
{
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		if (store->all[i].pins == 0 && &store->all[i] != store->latest)
			return &store->all[i];
	return NULL;
}

struct snapshot *snapshot_in_the_way(struct snapshot_store *store)
{
	struct snapshot *oldest = NULL;

	if (find_room(store))
		return NULL;
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		if (&store->all[i] != store->latest &&
		    (!oldest || store->all[i].sequence < oldest->sequence))
			oldest = &store->all[i];
	return oldest;
}

/* Everything of the ServerMessage that stands before the bytes of the State. */
static size_t write_prefix(uint8_t out[PREFIX_MAX], size_t state_len)
{
	Introspection__Version version = INTROSPECTION__VERSION__INIT;
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;

	version.version = VERSION;
	message.version = &version;
	size_t n = introspection__server_message__pack(&message, out);
	out[n++] = STATE_TAG;
	for (; state_len >= 0x80; state_len >>= 7)
		out[n++] = (uint8_t)(state_len | 0x80);
	out[n++] = (uint8_t)state_len;
	return n;
}

size_t snapshot_take(struct snapshot_store *store, const struct snapshot_input *input,
                     Introspection__Runtime *runtime, int64_t now)
{
	/* Fields may come in any order and in pieces, so what the daemon adds to
	 * an encoded State is a second State packed right behind it. */
	Introspection__State added = INTROSPECTION__STATE__INIT;
	Introspection__State *state = input->state ? input->state : &added;
	size_t given = input->state ? 0 : input->len;
	struct snapshot *snapshot = find_room(store);
	uint8_t prefix[PREFIX_MAX];

	state->runtime = runtime;
	state->sequence = store->sequence + 1;
	size_t state_len = given + introspection__state__get_packed_size(state);
	size_t n = write_prefix(prefix, state_len);
	if (n + state_len > store->max)
		return n + state_len;

	memcpy(snapshot->message, prefix, n);
	if (given > 0)
		memcpy(snapshot->message + n, input->bytes, given);
	introspection__state__pack(state, snapshot->message + n + given);
	snapshot->len = n + state_len;
	snapshot->sequence = ++store->sequence;
	snapshot->taken = now;
	store->latest = snapshot;
	return snapshot->len;
}
