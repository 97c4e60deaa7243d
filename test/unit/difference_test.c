#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/difference.h"
#include "source/wire.h"

/* A node that changes at random, clients that merge what they get, and a comparison of what
 * they have with the whole snapshot, in every field. */

enum { MOST = 60, LIMIT = 1 << 20, TEXT = 16 };

struct node {
	Introspection__State state;
	Introspection__Subsystems subsystems;
	Introspection__Connection connections[MOST], *list[MOST];
	Introspection__StreamList streams[MOST];
	Introspection__Stream stream[MOST], *stream_list[MOST];
	char ids[MOST][TEXT], peers[MOST][TEXT];
	Introspection__DHT dht;
	Introspection__DHT__Bucket bucket, *buckets[1];
	Introspection__DHT__PeerInDHT in_bucket, *in_buckets[1];
	Introspection__OwnAddress address, *addresses[1];
	Introspection__ProtocolTraffic protocol, *protocols[1];
	Introspection__Topic topic, *topics[1];
	Introspection__Resource resource, *resources[1];
};

static struct node n;
static Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
static struct snapshot_store store;
static struct difference *d;
static uint64_t seed;

static unsigned draw(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
	return (unsigned)(seed >> 33) % below;
}

static void set_id(Introspection__Connection *c, char *text, unsigned number)
{
	snprintf(text, TEXT, "id-%u", number);
	c->id.data = (uint8_t *)text;
	c->id.len = strlen(text);
}

static void change_connection(unsigned i)
{
	Introspection__Connection *c = &n.connections[i];

	introspection__connection__init(c);
	set_id(c, n.ids[i], draw(3 * MOST) * MOST + i);
	snprintf(n.peers[i], TEXT, "peer-%u", draw(9));
	c->peer_id = n.peers[i];
	c->latency_ns = draw(1000);
	c->role = (Introspection__Role)draw(2);
	c->status = (Introspection__Status)draw(3);
	introspection__stream_list__init(&n.streams[i]);
	introspection__stream__init(&n.stream[i]);
	n.stream[i].status = (Introspection__Status)draw(2);
	n.stream_list[i] = &n.stream[i];
	n.streams[i].streams = &n.stream_list[i];
	n.streams[i].n_streams = draw(2);
	c->streams = &n.streams[i];
}

static void begin_node(void)
{
	introspection__state__init(&n.state);
	introspection__subsystems__init(&n.subsystems);
	introspection__dht__init(&n.dht);
	introspection__dht__bucket__init(&n.bucket);
	introspection__dht__peer_in_dht__init(&n.in_bucket);
	introspection__own_address__init(&n.address);
	introspection__protocol_traffic__init(&n.protocol);
	introspection__topic__init(&n.topic);
	introspection__resource__init(&n.resource);
	n.state.subsystems = &n.subsystems;
	n.subsystems.connections = n.list;
	n.buckets[0] = &n.bucket;
	n.dht.buckets = n.buckets;
	n.dht.n_buckets = 1;
	n.in_buckets[0] = &n.in_bucket;
	n.bucket.peers = n.in_buckets;
	n.bucket.n_peers = 1;
	n.state.addresses = n.addresses;
	n.addresses[0] = &n.address;
	n.state.protocols = n.protocols;
	n.protocols[0] = &n.protocol;
	n.state.topics = n.topics;
	n.topics[0] = &n.topic;
	n.state.resources = n.resources;
	n.resources[0] = &n.resource;
	n.resource.name = n.topic.name = n.address.multiaddr = n.protocol.protocol = (char *)"name";
	n.subsystems.n_connections = MOST / 2;
	for (unsigned i = 0; i < MOST; i++) {
		n.list[i] = &n.connections[i];
		change_connection(i);
	}
}

/* Some connections change, some go and come, parts come and go. */
static void change(void)
{
	for (unsigned k = draw(4); k > 0; k--)
		n.connections[draw(MOST)].latency_ns = draw(1000);
	if (draw(3) == 0)
		change_connection(draw(MOST));
	if (draw(3) == 0)
		n.subsystems.n_connections = draw(MOST);
	if (draw(3) == 0) {
		const unsigned a = draw(MOST), b = draw(MOST);
		Introspection__Connection *c = n.list[a];

		n.list[a] = n.list[b];
		n.list[b] = c;
	}
	if (draw(4) == 0)
		n.subsystems.dht = draw(2) ? &n.dht : NULL;
	n.dht.start_ts = draw(8) / 6;
	n.address.reachability = (Introspection__OwnAddress__Reachability)(draw(8) / 6);
	n.topic.subscribers = draw(8) / 6;
	n.resource.used = draw(8) / 6;
	n.protocol.streams = draw(8) / 6;
	n.state.n_addresses = draw(8) > 0;
	n.state.n_topics = draw(8) > 0;
	n.state.n_resources = draw(8) > 0;
	n.state.n_protocols = draw(8) > 0;
	n.state.instant_ts++;
}

static struct snapshot *take(void)
{
	const struct snapshot_input input = {.state = &n.state};

	assert_in_range(snapshot_take(&store, &input, &runtime, 0), 1, LIMIT);
	struct snapshot *latest = store.latest;
	difference_note(d, latest);
	return latest;
}

static Introspection__ServerMessage *decode(const struct snapshot *s)
{
	struct wire_error error;

	if (!wire_check(&introspection__server_message__descriptor, s->message, s->len, &error))
		fail_msg("%s at %zu of %zu", error.what, error.offset, s->len);
	Introspection__ServerMessage *m =
		introspection__server_message__unpack(NULL, s->len, s->message);
	assert_non_null(m);
	assert_int_equal(m->version->version, 1);
	return m;
}

static int by_id(const void *a, const void *b)
{
	const Introspection__Connection *const *x = a, *const *y = b;
	const size_t len = (*x)->id.len < (*y)->id.len ? (*x)->id.len : (*y)->id.len;
	const int order = memcmp((*x)->id.data, (*y)->id.data, len);

	return order ? order : (int)((*x)->id.len - (*y)->id.len);
}

/* Whether all that are said to be gone were there. */
static void check_gone(const Introspection__State *base, const Introspection__State *s)
{
	for (size_t i = 0; i < s->n_gone_ids; i++) {
		bool there = false;

		for (size_t j = 0; j < base->subsystems->n_connections; j++) {
			const ProtobufCBinaryData *id = &base->subsystems->connections[j]->id;
			there |= id->len == s->gone_ids[i].len && memcmp(id->data, s->gone_ids[i].data, id->len) == 0;
		}
		assert_true(there);
	}
}

static bool has_id(const Introspection__State *s, const ProtobufCBinaryData *id)
{
	for (size_t i = 0; i < s->n_gone_ids; i++)
		if (s->gone_ids[i].len == id->len && memcmp(s->gone_ids[i].data, id->data, id->len) == 0)
			return true;
	for (size_t i = 0; i < s->subsystems->n_connections; i++) {
		const ProtobufCBinaryData *other = &s->subsystems->connections[i]->id;
		if (other->len == id->len && memcmp(other->data, id->data, id->len) == 0)
			return true;
	}
	return false;
}

static bool is_same(const Introspection__State *s, Introspection__State__Part part)
{
	for (size_t i = 0; i < s->n_same; i++)
		if (s->same[i] == part)
			return true;
	return false;
}

/* What a client has: the bytes of a whole State, its connections in the order of their ids. */
struct client {
	uint64_t sequence;
	size_t len;
	uint8_t state[LIMIT / 16];
};

static void keep(struct client *c, Introspection__State *s)
{
	if (s->subsystems->n_connections > 0)
		qsort(s->subsystems->connections, s->subsystems->n_connections, sizeof(void *), by_id);
	c->sequence = s->sequence;
	c->len = introspection__state__pack(s, c->state);
	assert_in_range(c->len, 1, sizeof c->state);
}

/* Puts a difference into what the client has, as the contract says. */
static void merge(struct client *c, Introspection__State *s)
{
	Introspection__State *base = introspection__state__unpack(NULL, c->len, c->state);
	Introspection__State merged = *s;
	Introspection__Subsystems subsystems = *s->subsystems;
	Introspection__Connection *list[2 * MOST];
	size_t count = 0;

	assert_true(s->base_sequence == c->sequence);
	check_gone(base, s);
	for (size_t i = 0; i < base->subsystems->n_connections; i++)
		if (!has_id(s, &base->subsystems->connections[i]->id))
			list[count++] = base->subsystems->connections[i];
	for (size_t i = 0; i < s->subsystems->n_connections; i++)
		list[count++] = s->subsystems->connections[i];
	subsystems.connections = list;
	subsystems.n_connections = count;
	merged.subsystems = &subsystems;
	if (is_same(s, INTROSPECTION__STATE__PART__DHT))
		subsystems.dht = base->subsystems->dht;
	if (is_same(s, INTROSPECTION__STATE__PART__ADDRESSES))
		merged.addresses = base->addresses, merged.n_addresses = base->n_addresses;
	if (is_same(s, INTROSPECTION__STATE__PART__PROTOCOLS))
		merged.protocols = base->protocols, merged.n_protocols = base->n_protocols;
	if (is_same(s, INTROSPECTION__STATE__PART__TOPICS))
		merged.topics = base->topics, merged.n_topics = base->n_topics;
	if (is_same(s, INTROSPECTION__STATE__PART__RESOURCES))
		merged.resources = base->resources, merged.n_resources = base->n_resources;
	merged.base_sequence = 0;
	merged.n_gone_ids = merged.n_same = 0;
	keep(c, &merged);
	introspection__state__free_unpacked(base, NULL);
}

/* Gives the client the latest snapshot as a server would. True: as a difference. */
static bool serve(struct client *c, bool wish, const struct snapshot *latest)
{
	const struct snapshot *form =
		wish && c->sequence > 0 ? difference_form(d, latest, c->sequence) : NULL;
	Introspection__ServerMessage *m = decode(form ? form : latest);
	const bool is_difference = m->state->base_sequence > 0;

	assert_true(is_difference == (form != NULL));
	assert_true(m->state->sequence == latest->sequence);
	if (form)
		assert_in_range(form->len, 1, latest->len - 1);
	if (is_difference)
		merge(c, m->state);
	else
		keep(c, m->state);
	introspection__server_message__free_unpacked(m, NULL);
	return is_difference;
}

static int begin(void **state)
{
	(void)state;
	d = difference_open(LIMIT);
	assert_non_null(d);
	assert_int_equal(snapshot_open(&store, LIMIT), 0);
	begin_node();
	return 0;
}

static int end(void **state)
{
	(void)state;
	difference_close(d);
	snapshot_close(&store);
	return 0;
}

static void what_clients_merge_is_the_whole(void **state)
{
	static struct client clients[3], whole;
	unsigned differences = 0;

	for (unsigned run = 1; run < 60; run++) {
		seed = run;
		end(state);
		begin(state);
		memset(clients, 0, sizeof clients);
		for (int turn = 0; turn < 60; turn++) {
			change();
			const struct snapshot *latest = take();
			serve(&whole, false, latest);
			for (int i = 0; i < 3; i++) {
				if (draw(3) == 0)   /* a slow one: it is given this snapshot not at all */
					continue;
				const bool wish = draw(6) > 0;
				differences += serve(&clients[i], wish, latest);
				if (draw(6) > 0)
					difference_wanted(d, latest, clients[i].sequence);
				assert_int_equal(clients[i].len, whole.len);
				assert_memory_equal(clients[i].state, whole.state, whole.len);
			}
		}
	}
	assert_in_range(differences, 2000, UINT32_MAX);   /* of at most 10,620 */
}

static void who_is_due_the_same_gets_the_same_bytes(void **state)
{
	(void)state;
	difference_wanted(d, take(), 1);
	const struct snapshot *latest = take();
	const struct snapshot *one = difference_form(d, latest, 1);
	assert_non_null(one);
	assert_ptr_equal(one, difference_form(d, latest, 1));
	assert_ptr_not_equal(one, difference_form(d, latest, 0));
}

static void bases_that_are_not_known(void **state)
{
	(void)state;
	const struct snapshot *latest = take();
	assert_null(difference_form(d, latest, 1));        /* nobody wanted any */
	difference_wanted(d, latest, 1);
	assert_null(difference_form(d, latest, 1));        /* it is the latest */
	assert_null(difference_form(d, latest, 7));        /* of the future */
	latest = take();
	assert_non_null(difference_form(d, latest, 1));
	for (int i = 0; i < DIFFERENCE_BASES; i++) {
		difference_wanted(d, latest, latest->sequence);
		latest = take();
	}
	assert_null(difference_form(d, latest, 1));        /* too old */
	assert_non_null(difference_form(d, latest, 2));
	for (int i = 0; i <= DIFFERENCE_BASES; i++)
		latest = take();
	assert_null(difference_form(d, latest, latest->sequence - 1));   /* nobody wants any */
}

static void snapshots_without_differences(void **state)
{
	char longest[DIFFERENCE_ID_MAX + 2] = "";
	Introspection__Connection *c = n.list[3];

	(void)state;
	const ProtobufCBinaryData id = c->id;
	memset(longest, 'x', DIFFERENCE_ID_MAX + 1);
	const ProtobufCBinaryData bad[] = {
		n.list[2]->id,                                   /* of another */
		{.data = id.data, .len = 0},                     /* none */
		{.data = (uint8_t *)longest, .len = DIFFERENCE_ID_MAX + 1},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const struct snapshot *latest = take();
		difference_wanted(d, latest, latest->sequence);
		latest = take();
		assert_non_null(difference_form(d, latest, latest->sequence - 1));
		difference_wanted(d, latest, latest->sequence);
		c->id = bad[i];
		latest = take();
		assert_null(difference_form(d, latest, latest->sequence - 1));
		c->id = id;
		difference_wanted(d, latest, latest->sequence);
	}
	c->id = (ProtobufCBinaryData){.data = (uint8_t *)longest, .len = DIFFERENCE_ID_MAX};
	const struct snapshot *latest = take();
	difference_wanted(d, latest, latest->sequence);
	latest = take();
	assert_non_null(difference_form(d, latest, latest->sequence - 1));
}

/* Decoders take the last id of a connection, wherever it stands: so do we, if it is new, changes
 * or goes, and if another one has its first id. */
static void the_last_id_of_a_connection_counts(void **state)
{
	static const struct {
		const char *bytes;   /* a Subsystems */
		size_t len;
	} more[] = {
		{"\x0a\x0b\x0a\x09\x0a\x01" "a\x12\x01p\x0a\x01" "b", 13},
		{"\x0a\x0b\x0a\x09\x0a\x01" "a\x12\x01q\x0a\x01" "b", 13},
		{"\x0a\x16\x0a\x09\x0a\x01" "a\x12\x01q\x0a\x01" "b\x0a\x09\x12\x01p\x0a\x01" "b\x0a\x01" "a", 24},
		{"\x0a\x0b\x0a\x09\x12\x01r\x0a\x01" "b\x0a\x01" "a", 13},
		{"", 0},
	};
	static uint8_t bytes[LIMIT];
	static struct client client, whole;

	(void)state;
	for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
		const size_t len = introspection__state__pack(&n.state, bytes);
		const struct snapshot_input input = {.bytes = bytes, .len = len + more[i].len};

		memcpy(bytes + len, more[i].bytes, more[i].len);
		assert_in_range(snapshot_take(&store, &input, &runtime, 0), 1, LIMIT);
		difference_note(d, store.latest);
		serve(&whole, false, store.latest);
		assert_int_equal(serve(&client, true, store.latest), i > 0);
		difference_wanted(d, store.latest, client.sequence);
		assert_int_equal(client.len, whole.len);
		assert_memory_equal(client.state, whole.state, whole.len);
	}
}

static void buffers_that_clients_hold_are_left_alone(void **state)
{
	struct snapshot *held[DIFFERENCE_FORMS];

	(void)state;
	difference_wanted(d, take(), 1);
	for (int i = 0; i < DIFFERENCE_FORMS; i++) {
		const struct snapshot *latest = take();
		held[i] = difference_form(d, latest, latest->sequence - 1);
		assert_non_null(held[i]);
		held[i]->pins++;
		difference_wanted(d, latest, latest->sequence);
	}
	const struct snapshot *latest = take();
	assert_null(difference_form(d, latest, latest->sequence - 1));
	held[2]->pins--;
	assert_ptr_equal(difference_form(d, latest, latest->sequence - 1), held[2]);
}

static void totals(void **state)
{
	uint32_t connections = 0, streams = 0, inbound = 0;
	bool peers[9] = {0};

	(void)state;
	n.subsystems.n_connections = MOST;
	n.subsystems.dht = &n.dht;
	n.state.n_resources = 1;
	for (int i = 0; i < MOST; i++) {
		const Introspection__Connection *c = n.list[i];

		if (c->status == INTROSPECTION__STATUS__CLOSED)
			continue;
		connections++;
		inbound += c->role == INTROSPECTION__ROLE__RESPONDER;
		streams += c->streams->n_streams == 1 &&
		           c->streams->streams[0]->status == INTROSPECTION__STATUS__ACTIVE;
		peers[c->peer_id[5] - '0'] = true;
	}
	const struct snapshot *form = difference_form(d, take(), 0);
	assert_non_null(form);
	Introspection__ServerMessage *m = decode(form);
	const Introspection__Counts *counts = m->state->counts;
	assert_int_equal(m->state->base_sequence, 0);
	assert_int_equal(m->state->sequence, 1);
	assert_int_equal(m->state->subsystems->n_connections, 0);
	assert_int_equal(m->state->subsystems->dht->n_buckets, 0);
	assert_int_equal(m->state->n_resources, 1);
	assert_int_equal(counts->connections, connections);
	assert_int_equal(counts->streams, streams);
	assert_int_equal(counts->inbound, inbound);
	assert_int_equal(counts->dht_peers, 1);
	uint32_t distinct = 0;
	for (int i = 0; i < 9; i++)
		distinct += peers[i];
	assert_int_equal(counts->peers, distinct);
	introspection__server_message__free_unpacked(m, NULL);
}

static void what_a_ready_wishes(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		uint64_t have;
		bool totals;
	} rows[] = {
		{"", 0, 0, false},
		{"r", 1, 0, false},                                     /* a varint cut off */
		{"\x08\x07", 2, 7, false},
		{"\x10\x01", 2, 0, true},
		{"\x08\x07\x10\x01", 4, 7, true},
		{"\x10\x00\x08\x07", 4, 7, false},
		{"\x10\x02", 2, 0, false},                              /* a detail to come */
		{"\x08\x07\x1a\x03xyz", 7, 7, false},                  /* a field to come */
		{"\x08\x07\x08\x09", 4, 9, false},                     /* the last one counts */
		{"\x08\x07\x0a\x01x", 5, 0, false},                    /* of another wire type */
		{"\x08\x07\x08", 3, 0, false},                         /* cut off */
		{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, UINT64_MAX, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct wish w = difference_wish((const uint8_t *)rows[i].bytes, rows[i].len);

		if (w.have != rows[i].have || w.totals != rows[i].totals)
			fail_msg("row %zu: have %llu, totals %d", i, (unsigned long long)w.have, w.totals);
	}
}

/* A node of 10,000 connections, each with 100 bytes, of which 2 % move something between two
 * snapshots: the difference takes at most 5 % of the whole's bytes. */
static void what_two_in_a_hundred_take(void **state)
{
	enum { MANY = 10000 };
	static Introspection__Connection many[MANY], *list[MANY];
	static Introspection__Traffic traffic[MANY];
	static Introspection__DataGauge gauges[MANY];
	static char texts[MANY][TEXT], agent[] = "kubo/0.30.0/desktop";
	const struct snapshot_input input = {.state = &n.state};
	static struct snapshot_store large;

	(void)state;
	assert_int_equal(snapshot_open(&large, 8 << 20), 0);
	difference_close(d);
	assert_non_null(d = difference_open(8 << 20));
	n.subsystems.connections = list;
	n.subsystems.n_connections = MANY;
	for (unsigned i = 0; i < MANY; i++) {
		introspection__connection__init(list[i] = &many[i]);
		introspection__traffic__init(&traffic[i]);
		introspection__data_gauge__init(&gauges[i]);
		set_id(&many[i], texts[i], i);
		many[i].peer_id = (char *)"12D3KooWAYNoYCVRyAvvkWpJXNWFFa8Y5yXsxjYwLSBQGTZZFAKE";
		many[i].agent_version = agent;
		many[i].traffic = &traffic[i];
		traffic[i].traffic_in = traffic[i].traffic_out = &gauges[i];
		gauges[i].cum_bytes = draw(1 << 30);
	}
	for (int turn = 0; turn < 5; turn++) {
		for (unsigned i = 0; i < (turn < 4 ? MANY / 50 : MANY); i++)
			gauges[(i * (turn < 4 ? 50 : 1) + (unsigned)turn) % MANY].cum_bytes++;
		assert_in_range(snapshot_take(&large, &input, &runtime, 0), MANY * 100, 8 << 20);
		difference_note(d, large.latest);
		const struct snapshot *form = difference_form(d, large.latest, large.sequence - 1);
		difference_wanted(d, large.latest, large.sequence);
		if (turn == 0)
			continue;
		if (turn == 4) {   /* all of them differ: it is not worth it */
			assert_null(form);
			break;
		}
		assert_non_null(form);
		print_message("2 %% of 10,000: %zu of %zu bytes\n", form->len, large.latest->len);
		assert_in_range(form->len, 1, large.latest->len / 20);
		Introspection__ServerMessage *m = decode(form);
		assert_int_equal(m->state->subsystems->n_connections, 200);
		introspection__server_message__free_unpacked(m, NULL);
	}
	snapshot_close(&large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_clients_merge_is_the_whole, begin, end),
		cmocka_unit_test_setup_teardown(who_is_due_the_same_gets_the_same_bytes, begin, end),
		cmocka_unit_test_setup_teardown(bases_that_are_not_known, begin, end),
		cmocka_unit_test_setup_teardown(snapshots_without_differences, begin, end),
		cmocka_unit_test_setup_teardown(the_last_id_of_a_connection_counts, begin, end),
		cmocka_unit_test_setup_teardown(buffers_that_clients_hold_are_left_alone, begin, end),
		cmocka_unit_test_setup_teardown(totals, begin, end),
		cmocka_unit_test_setup_teardown(what_two_in_a_hundred_take, begin, end),
		cmocka_unit_test(what_a_ready_wishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
