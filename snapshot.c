#include "snapshot.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "source/wire.h"

int snapshot_open(struct snapshot_store *store, size_t max)
{
	*store = (struct snapshot_store){.max = max};
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++) {
		uint8_t *buffer = malloc(SNAPSHOT_HEADROOM + max);

		if (!buffer) {
			snapshot_close(store);
			return -1;
		}
		store->all[i].buffer = buffer;
		store->all[i].message = buffer + SNAPSHOT_HEADROOM;
	}
	return 0;
}

void snapshot_close(struct snapshot_store *store)
{
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		free(store->all[i].buffer);
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

size_t snapshot_take(struct snapshot_store *store, const struct snapshot_input *input,
                     Introspection__Runtime *runtime, int64_t now)
{
	/* Fields may come in any order and in pieces, so what the daemon adds to
	 * an encoded State is a second State packed right behind it. */
	Introspection__State added = INTROSPECTION__STATE__INIT;
	Introspection__State *state = input->state ? input->state : &added;
	size_t given = input->state ? 0 : input->len;
	struct snapshot *snapshot = find_room(store);
	uint8_t prefix[WIRE_PREFIX_MAX];

	assert(snapshot);
	state->runtime = runtime;
	state->sequence = store->sequence + 1;
	size_t state_len = given + introspection__state__get_packed_size(state);
	size_t n = wire_put_prefix(prefix, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, state_len);
	if (n + state_len > store->max)
		return n + state_len;

	memcpy(snapshot->message, prefix, n);
	if (given > 0)
		memcpy(snapshot->message + n, input->bytes, given);
	introspection__state__pack(state, snapshot->message + n + given);
	snapshot->len = n + state_len;
	snapshot->sequence = ++store->sequence;
	snapshot->taken = now;
	snapshot->checksum = 0;
	store->latest = snapshot;
	return snapshot->len;
}

uint32_t snapshot_checksum(struct snapshot *snapshot)
{
	if (snapshot->checksum == 0)
		snapshot->checksum = wire_checksum(snapshot->message, snapshot->len);
	return snapshot->checksum;
}
