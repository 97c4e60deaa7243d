#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/decode.h"

/* What a client makes of differences. */

enum { LIMIT = 100000, MOST = 8 };

struct built {
	Introspection__Version version;
	Introspection__ServerMessage message;
	Introspection__State state;
	Introspection__Subsystems subsystems;
	Introspection__DHT dht;
	Introspection__Connection connections[MOST], *list[MOST];
	Introspection__Resource resource, *resources[1];
	ProtobufCBinaryData gone[MOST];
	Introspection__State__Part same[8];
};

static struct built b;
static Introspection__ServerMessage *base;

static void build(uint64_t sequence, uint64_t base_sequence)
{
	introspection__version__init(&b.version);
	introspection__server_message__init(&b.message);
	introspection__state__init(&b.state);
	introspection__subsystems__init(&b.subsystems);
	introspection__dht__init(&b.dht);
	introspection__resource__init(&b.resource);
	b.resources[0] = &b.resource;
	b.message.version = &b.version;
	b.message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
	b.message.state = &b.state;
	b.state.sequence = sequence;
	b.state.base_sequence = base_sequence;
	b.state.subsystems = &b.subsystems;
	b.state.gone_ids = b.gone;
	b.state.same = b.same;
	b.state.resources = b.resources;
	b.subsystems.connections = b.list;
}

static void add(const char *id, uint64_t latency)
{
	const size_t i = b.subsystems.n_connections++;

	b.list[i] = &b.connections[i];
	introspection__connection__init(b.list[i]);
	b.list[i]->id = (ProtobufCBinaryData){.data = (uint8_t *)id, .len = strlen(id)};
	b.list[i]->latency_ns = latency;
}

static void gone(const char *id)
{
	b.gone[b.state.n_gone_ids++] = (ProtobufCBinaryData){.data = (uint8_t *)id, .len = strlen(id)};
}

static Introspection__ServerMessage *decoded(void)
{
	uint8_t bytes[4096];
	char why[DECODE_WHY_MAX];

	Introspection__ServerMessage *m =
		decode(bytes, introspection__server_message__pack(&b.message, bytes), why);
	assert_non_null(m);
	return m;
}

static const Introspection__Connection *find(const Introspection__State *s, const char *id)
{
	const Introspection__Connection *found = NULL;

	for (size_t i = 0; i < s->subsystems->n_connections; i++) {
		const Introspection__Connection *c = s->subsystems->connections[i];

		if (c->id.len == strlen(id) && memcmp(c->id.data, id, c->id.len) == 0) {
			assert_null(found);
			found = c;
		}
	}
	return found;
}

static int begin(void **state)
{
	(void)state;
	build(7, 0);
	add("same", 1);
	add("changes", 2);
	add("goes", 3);
	b.state.n_resources = 1;
	b.resource.used = 9;
	b.subsystems.dht = &b.dht;
	b.dht.start_ts = 8;
	base = decoded();
	return 0;
}

static int end(void **state)
{
	(void)state;
	decode_free(base);
	return 0;
}

static void merged(void **state)
{
	(void)state;
	build(9, 7);
	add("changes", 20);
	add("comes", 40);
	gone("goes");
	gone("never was");
	b.same[b.state.n_same++] = INTROSPECTION__STATE__PART__DHT;
	b.same[b.state.n_same++] = INTROSPECTION__STATE__PART__RESOURCES;
	Introspection__ServerMessage *m = decoded();
	assert_null(decode_merge(m->state, base->state, LIMIT));
	decode_free(base);
	base = m;
	assert_int_equal(m->state->sequence, 9);
	assert_int_equal(m->state->base_sequence, 0);
	assert_int_equal(m->state->subsystems->n_connections, 3);
	assert_int_equal(find(m->state, "same")->latency_ns, 1);
	assert_int_equal(find(m->state, "changes")->latency_ns, 20);
	assert_int_equal(find(m->state, "comes")->latency_ns, 40);
	assert_int_equal(m->state->resources[0]->used, 9);
	assert_int_equal(m->state->subsystems->dht->start_ts, 8);
}

/* Parts that are neither told nor the same are no more. */
static void parts_go(void **state)
{
	(void)state;
	build(8, 7);
	Introspection__ServerMessage *m = decoded();
	assert_null(decode_merge(m->state, base->state, LIMIT));
	assert_int_equal(m->state->subsystems->n_connections, 3);
	assert_int_equal(m->state->n_resources, 0);
	assert_null(m->state->subsystems->dht);
	decode_free(m);
}

static void whole_ones_stay(void **state)
{
	(void)state;
	build(8, 0);
	add("other", 1);
	Introspection__ServerMessage *m = decoded();
	assert_null(decode_merge(m->state, base->state, LIMIT));
	assert_null(decode_merge(m->state, NULL, LIMIT));
	assert_int_equal(m->state->subsystems->n_connections, 1);
	decode_free(m);
}

static void refused(void **state)
{
	(void)state;
	for (int row = 0; row < 5; row++) {
		size_t max = LIMIT;

		build(9, row == 0 ? 6 : 7);
		add("same", 4);
		b.same[b.state.n_same++] = INTROSPECTION__STATE__PART__RESOURCES;
		b.state.n_resources = row == 2;
		if (row == 3)
			b.state.subsystems = NULL;
		if (row == 4)
			max = 10;
		Introspection__ServerMessage *m = decoded();
		assert_non_null(decode_merge(m->state, row == 1 ? NULL : base->state, max));
		decode_free(m);
		assert_int_equal(base->state->subsystems->n_connections, 3);
		assert_int_equal(find(base->state, "same")->latency_ns, 1);
		assert_int_equal(base->state->n_resources, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(merged, begin, end),
		cmocka_unit_test_setup_teardown(parts_go, begin, end),
		cmocka_unit_test_setup_teardown(whole_ones_stay, begin, end),
		cmocka_unit_test_setup_teardown(refused, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
