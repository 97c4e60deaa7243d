#include "decode.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int decode_compare_ids(const void *a, const void *b)
{
	const ProtobufCBinaryData *x = a, *y = b;
	const size_t len = x->len < y->len ? x->len : y->len;
	const int order = len > 0 ? memcmp(x->data, y->data, len) : 0;

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static bool is_same(const Introspection__State *state, Introspection__State__Part part)
{
	for (size_t i = 0; i < state->n_same; i++)
		if (state->same[i] == part)
			return true;
	return false;
}

/* Puts the connections of base that the difference tells of, by itself or as gone, before the
 * others. Returns how many they are, or SIZE_MAX: out of memory. */
static size_t sort_out(const Introspection__State *state, Introspection__Subsystems *base)
{
	const Introspection__Subsystems *s = state->subsystems;
	const size_t told = s->n_connections + state->n_gone_ids;
	ProtobufCBinaryData *ids = malloc((told + 1) * sizeof *ids);
	size_t n = 0;

	if (!ids)
		return SIZE_MAX;
	for (size_t i = 0; i < s->n_connections; i++)
		ids[i] = s->connections[i]->id;
	for (size_t i = 0; i < state->n_gone_ids; i++)
		ids[s->n_connections + i] = state->gone_ids[i];
	qsort(ids, told, sizeof *ids, decode_compare_ids);
	for (size_t i = 0; i < base->n_connections; i++) {
		Introspection__Connection *c = base->connections[i];

		if (!bsearch(&c->id, ids, told, sizeof *ids, decode_compare_ids))
			continue;
		base->connections[i] = base->connections[n];
		base->connections[n++] = c;
	}
	free(ids);
	return n;
}

/* Lets the state have the connections of base that it tells nothing of. False: out of memory. */
static bool merge_connections(Introspection__State *state, Introspection__Subsystems *base)
{
	Introspection__Subsystems *s = state->subsystems;
	const size_t told = sort_out(state, base);

	if (told == SIZE_MAX)
		return false;
	const size_t moved = base->n_connections - told;
	Introspection__Connection **all =
		realloc(s->connections, (s->n_connections + moved + 1) * sizeof *all);
	if (!all)
		return false;
	if (moved > 0)
		memcpy(all + s->n_connections, base->connections + told, moved * sizeof *all);
	s->connections = all;
	s->n_connections += moved;
	base->n_connections = told;
	return true;
}

/* Moves a list of base to the state, which has none. */
#define MOVE(state, base, part, list)                         \
	do {                                                  \
		if (is_same(state, part)) {                   \
			(state)->list = (base)->list;         \
			(state)->n_##list = (base)->n_##list; \
			(base)->list = NULL;                  \
			(base)->n_##list = 0;                 \
		}                                             \
	} while (0)

const char *decode_merge(Introspection__State *state, Introspection__State *base, size_t max)
{
	if (state->base_sequence == 0)
		return NULL;
	if (!base || base->sequence != state->base_sequence || !base->subsystems)
		return "sent the difference to a snapshot that is not here";
	if (!state->subsystems)
		return "sent a difference that holds no subsystems";
	if ((is_same(state, INTROSPECTION__STATE__PART__ADDRESSES) && state->n_addresses > 0) ||
	    (is_same(state, INTROSPECTION__STATE__PART__PROTOCOLS) && state->n_protocols > 0) ||
	    (is_same(state, INTROSPECTION__STATE__PART__TOPICS) && state->n_topics > 0) ||
	    (is_same(state, INTROSPECTION__STATE__PART__RESOURCES) && state->n_resources > 0) ||
	    (is_same(state, INTROSPECTION__STATE__PART__DHT) && state->subsystems->dht))
		return "sent a difference with a part that it calls the same";
	if (introspection__state__get_packed_size(base) > max)
		return "sent differences that add up to a snapshot over the limit";
	if (!merge_connections(state, base->subsystems))
		return "sent a snapshot that takes too much memory to decode";
	MOVE(state, base, INTROSPECTION__STATE__PART__ADDRESSES, addresses);
	MOVE(state, base, INTROSPECTION__STATE__PART__PROTOCOLS, protocols);
	MOVE(state, base, INTROSPECTION__STATE__PART__TOPICS, topics);
	MOVE(state, base, INTROSPECTION__STATE__PART__RESOURCES, resources);
	if (is_same(state, INTROSPECTION__STATE__PART__DHT)) {
		state->subsystems->dht = base->subsystems->dht;
		base->subsystems->dht = NULL;
	}
	for (size_t i = 0; i < state->n_gone_ids; i++)
		free(state->gone_ids[i].data);
	state->n_gone_ids = state->n_same = 0;
	state->base_sequence = 0;
	return NULL;
}

static bool is_open(Introspection__Status status)
{
	return status != INTROSPECTION__STATUS__CLOSED && status != INTROSPECTION__STATUS__ERROR;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Counts connections that are not closed, and frees them all. */
static void count_connections(Introspection__Subsystems *s, Introspection__Counts *counts,
                              char **peers)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_connections; i++) {
		const Introspection__Connection *c = s->connections[i];

		if (c->status == INTROSPECTION__STATUS__CLOSED)
			continue;
		counts->connections++;
		counts->inbound += c->role == INTROSPECTION__ROLE__RESPONDER;
		for (size_t k = 0; c->streams && k < c->streams->n_streams; k++)
			counts->streams += is_open(c->streams->streams[k]->status);
		if (*c->peer_id)
			peers[n++] = c->peer_id;
	}
	qsort(peers, n, sizeof *peers, compare_texts);
	for (size_t i = 0; i < n; i++)
		counts->peers += i == 0 || strcmp(peers[i], peers[i - 1]) != 0;
	for (size_t i = 0; i < s->n_connections; i++)
		introspection__connection__free_unpacked(s->connections[i], NULL);
	s->n_connections = 0;
}

bool decode_totals(Introspection__State *state)
{
	Introspection__Subsystems *s = state->subsystems;
	Introspection__DHT *dht = s ? s->dht : NULL;

	if (state->counts)
		return true;
	char **peers = malloc((s ? s->n_connections + 1 : 1) * sizeof *peers);
	Introspection__Counts *counts = malloc(sizeof *counts);
	if (!peers || !counts) {
		free(peers);
		free(counts);
		return false;
	}
	introspection__counts__init(counts);
	if (s)
		count_connections(s, counts, peers);
	free(peers);
	for (size_t i = 0; dht && i < dht->n_buckets; i++) {
		counts->dht_peers += (uint32_t)dht->buckets[i]->n_peers;
		protobuf_c_message_free_unpacked(&dht->buckets[i]->base, NULL);
	}
	if (dht)
		dht->n_buckets = 0;
	state->counts = counts;
	return true;
}
