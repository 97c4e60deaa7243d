#include "snapshot.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "source/put.h"

/* Bytes before the State, and around the runtime and the sequence number: two tags of two
 * bytes, a length and a number. */
enum { ADDED_MAX = WIRE_PREFIX_MAX + 4 + 2 * WIRE_VARINT_MAX };

/* Where a State begins in its buffer. Its prefix has the length of the encoded State, so it is written last, and
 * ends here. */
enum { STATE_AT = SNAPSHOT_HEADROOM + WIRE_PREFIX_MAX };

int snapshot_open(struct snapshot_store *store, size_t max)
{
	*store = (struct snapshot_store){.max = max};
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++) {
		store->all[i].buffer = malloc(STATE_AT + max);
		if (!store->all[i].buffer) {
			snapshot_close(store);
			return -1;
		}
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
	struct snapshot *slowest = NULL;

	if (find_room(store))
		return NULL;
	for (struct snapshot *s = store->all; s < store->all + SNAPSHOT_BUFFERS; s++)
		if (s != store->latest &&
		    (!slowest || s->pace < slowest->pace ||
		     (s->pace == slowest->pace && s->sequence < slowest->sequence)))
			slowest = s;
	return slowest;
}

/* Does the State fit, by what the source says it takes at most? To measure it takes as long as to encode it,
 * and is needed only if this is false. */
static bool surely_fits(const struct snapshot_store *store, const struct snapshot_input *input,
                        const Introspection__Runtime *runtime)
{
	return input->state && input->most > 0 &&
	       input->most + introspection__runtime__get_packed_size(runtime) + ADDED_MAX <= store->max;
}

size_t snapshot_take(struct snapshot_store *store, const struct snapshot_input *input,
                     Introspection__Runtime *runtime, int64_t now)
{
	/* Decoders take two encoded States in a row for one with the fields of both. So what the daemon
	 * adds to an encoded State is a second State packed right behind it. */
	Introspection__State added = INTROSPECTION__STATE__INIT;
	Introspection__State *state = input->state ? input->state : &added;
	size_t len = input->state ? 0 : input->len;
	struct snapshot *snapshot = find_room(store);
	uint8_t prefix[WIRE_PREFIX_MAX];

	assert(snapshot);
	uint8_t *begin = snapshot->buffer + STATE_AT;
	state->runtime = runtime;
	state->sequence = store->sequence + 1;
	if (!surely_fits(store, input, runtime)) {
		size_t all = len + introspection__state__get_packed_size(state);

		all += wire_put_prefix(prefix, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, all);
		if (all > store->max)
			return all;
	}
	if (!input->state)
		memcpy(begin, input->bytes, len);
	len += introspection__state__pack(state, begin + len);
	size_t n = wire_put_prefix(prefix, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, len);
	snapshot->message = begin - n;
	memcpy(snapshot->message, prefix, n);
	snapshot->len = n + len;
	assert(snapshot->len <= store->max);
	snapshot->sequence = ++store->sequence;
	snapshot->taken = now;
	store->latest = snapshot;
	return snapshot->len;
}
