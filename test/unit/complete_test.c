#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "messages.h"
#include "source/complete.h"
#include "source/wire.h"

static uint8_t packed[1 << 20], out[2 << 20];

/* Completes a State and decodes the result, which must be the same when completed again. */
static Introspection__State *completed(const uint8_t *in, size_t len, uint64_t shift)
{
	static uint8_t again[sizeof out];
	struct wire_error error;
	size_t n = complete_state(out, sizeof out, in, len, shift);

	assert_in_range(n, 1, sizeof out);
	assert_true(wire_check(&introspection__state__descriptor, out, n, &error));
	assert_int_equal(complete_state(again, sizeof again, out, n, 0), n);
	assert_memory_equal(again, out, n);
	Introspection__State *state = introspection__state__unpack(NULL, n, out);
	assert_non_null(state);
	return state;
}

static Introspection__State *completed_state(const Introspection__State *state, uint64_t shift)
{
	assert_in_range(introspection__state__get_packed_size(state), 0, sizeof packed);
	return completed(packed, introspection__state__pack(state, packed), shift);
}

static void release(Introspection__State *state)
{
	introspection__state__free_unpacked(state, NULL);
}

static void assert_traffic(const Introspection__Traffic *traffic)
{
	assert_non_null(traffic);
	assert_non_null(traffic->traffic_in);
	assert_non_null(traffic->traffic_out);
}

/* All that the UI takes for granted. */
static void assert_complete(const Introspection__State *state)
{
	assert_non_null(state->subsystems);
	assert_non_null(state->subsystems->dht);
	assert_non_null(state->subsystems->dht->params);
	assert_true(state->subsystems->dht->n_buckets > 0);
	for (size_t i = 0; i < state->subsystems->n_connections; i++) {
		const Introspection__Connection *c = state->subsystems->connections[i];

		assert_non_null(c->timeline);
		assert_traffic(c->traffic);
		assert_non_null(c->streams);
		for (size_t k = 0; k < c->streams->n_streams; k++) {
			assert_non_null(c->streams->streams[k]->timeline);
			assert_traffic(c->streams->streams[k]->traffic);
		}
	}
}

static void nothing_at_all(void **state)
{
	Introspection__State *s = completed((const uint8_t *)"", 0, 0);

	(void)state;
	assert_complete(s);
	assert_int_equal(s->subsystems->n_connections, 0);
	assert_int_equal(s->subsystems->dht->n_buckets, 1);
	assert_int_equal(s->subsystems->dht->enabled, 0);
	assert_null(s->traffic);
	release(s);
}

/* Lengths around those at which the length of a length changes. */
static void what_is_missing_is_put_in(void **state)
{
	static char filler[20000];

	(void)state;
	for (size_t n = 0; n < sizeof filler; n += n > 300 && (n < 16000 || n > 16500) ? 97 : 1) {
		Introspection__Connection bare, listed, *connections[3];
		Introspection__Stream stream = INTROSPECTION__STREAM__INIT, *streams[] = {&stream};
		Introspection__StreamList list = INTROSPECTION__STREAM_LIST__INIT;
		Introspection__DataGauge gauge = INTROSPECTION__DATA_GAUGE__INIT;
		Introspection__Traffic half = INTROSPECTION__TRAFFIC__INIT;
		Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
		Introspection__State in = INTROSPECTION__STATE__INIT;

		introspection__connection__init(&bare);
		introspection__connection__init(&listed);
		memset(filler, 'x', n);
		filler[n] = '\0';
		bare.peer_id = stream.protocol = filler;
		gauge.cum_bytes = 77;
		half.traffic_out = &gauge;
		stream.traffic = &half;
		listed.streams = &list;
		list.streams = streams;
		list.n_streams = 1;
		connections[0] = connections[2] = &bare;
		connections[1] = &listed;
		subsystems.connections = connections;
		subsystems.n_connections = 3;
		in.subsystems = &subsystems;
		in.instant_ts = 1700000000000;
		Introspection__State *s = completed_state(&in, 0);
		assert_complete(s);
		assert_int_equal(s->subsystems->n_connections, 3);
		assert_string_equal(s->subsystems->connections[0]->peer_id, filler);
		assert_string_equal(s->subsystems->connections[2]->peer_id, filler);
		const Introspection__Stream *t = s->subsystems->connections[1]->streams->streams[0];
		assert_string_equal(t->protocol, filler);
		assert_int_equal(t->traffic->traffic_out->cum_bytes, 77);
		assert_int_equal(t->traffic->traffic_in->cum_bytes, 0);
		assert_int_equal(s->instant_ts, 1700000000000);
		release(s);
	}
}

/* What is complete is copied byte for byte, unknown fields included. */
static void what_is_there_stays(void **state)
{
	static const uint8_t whole[] = {
		0xf8, 0x3f, 0x07,                          /* an unknown field, 1023 */
		0x0a, 0x2f,                                /* subsystems */
		0x0a, 0x21,                                /* a connection */
		0x12, 0x01, 'p', 0x32, 0x00,               /* peer ID, timeline */
		0x42, 0x06, 0x0a, 0x02, 0x08, 0x05, 0x12, 0x00,   /* traffic */
		0x5a, 0x0f, 0x0a, 0x01, 0x07, 0x12, 0x0a,  /* streams: an id, and one with */
		0x32, 0x00, 0x22, 0x06, 0x0a, 0x00, 0x12, 0x02, 0x08, 0x09,
		0xc2, 0x3e, 0x00,                          /* unknown in it, 1000 */
		0x12, 0x0a, 0x22, 0x00, 0x2a, 0x02, 0x08, 0x03, 0x2a, 0x02, 0x08, 0x04,
		0x18, 0x2a,
	};

	(void)state;
	assert_int_equal(complete_state(out, sizeof out, whole, sizeof whole, 0), sizeof whole);
	assert_memory_equal(out, whole, sizeof whole);
	Introspection__State *s = completed(whole, sizeof whole, 0);
	assert_complete(s);
	release(s);
}

/* As the joined view adds the kernel's connections behind the node's. */
static void a_second_part_lacks_nothing(void **state)
{
	Introspection__DHT__Params params = INTROSPECTION__DHT__PARAMS__INIT;
	Introspection__DHT__Bucket bucket = INTROSPECTION__DHT__BUCKET__INIT, *buckets[] = {&bucket};
	Introspection__DHT dht = INTROSPECTION__DHT__INIT;
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__Connection connection, *connections[] = {&connection};
	Introspection__State s = INTROSPECTION__STATE__INIT;

	(void)state;
	introspection__connection__init(&connection);
	params.k = 20;
	bucket.cpl = 3;
	dht.params = &params;
	dht.buckets = buckets;
	dht.n_buckets = 1;
	dht.enabled = true;
	subsystems.dht = &dht;
	s.subsystems = &subsystems;
	size_t len = introspection__state__pack(&s, packed);
	subsystems.dht = NULL;
	subsystems.connections = connections;
	subsystems.n_connections = 1;
	len += introspection__state__pack(&s, packed + len);
	Introspection__State *c = completed(packed, len, 0);
	assert_complete(c);
	assert_int_equal(c->subsystems->n_connections, 1);
	assert_int_equal(c->subsystems->dht->n_buckets, 1);
	assert_int_equal(c->subsystems->dht->buckets[0]->cpl, 3);
	assert_int_equal(c->subsystems->dht->params->k, 20);
	assert_true(c->subsystems->dht->enabled);
	release(c);
}

static void times_are_shifted(void **state)
{
	const uint64_t shift = UINT64_C(3) << 40;   /* makes all of them longer */
	Introspection__Connection__Timeline timeline = INTROSPECTION__CONNECTION__TIMELINE__INIT;
	Introspection__Stream__Timeline opened = INTROSPECTION__STREAM__TIMELINE__INIT;
	Introspection__Connection c, *connections[] = {&c};
	Introspection__Stream stream = INTROSPECTION__STREAM__INIT, *streams[] = {&stream};
	Introspection__StreamList list = INTROSPECTION__STREAM_LIST__INIT;
	Introspection__DHT dht = INTROSPECTION__DHT__INIT;
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__State in = INTROSPECTION__STATE__INIT;

	(void)state;
	introspection__connection__init(&c);
	timeline.open_ts = 1;
	timeline.upgraded_ts = 2;   /* close_ts stays 0: it is open */
	opened.open_ts = 3;
	opened.close_ts = 4;
	stream.timeline = &opened;
	list.streams = streams;
	list.n_streams = 1;
	c.timeline = &timeline;
	c.streams = &list;
	c.latency_ns = 5;
	dht.start_ts = 6;
	subsystems.connections = connections;
	subsystems.n_connections = 1;
	subsystems.dht = &dht;
	in.subsystems = &subsystems;
	in.instant_ts = 7;
	in.start_ts = 8;
	in.snapshot_duration_ms = 9;
	Introspection__State *s = completed_state(&in, shift);
	const Introspection__Connection *got = s->subsystems->connections[0];
	assert_int_equal(got->timeline->open_ts, shift + 1);
	assert_int_equal(got->timeline->upgraded_ts, shift + 2);
	assert_int_equal(got->timeline->close_ts, 0);
	assert_int_equal(got->streams->streams[0]->timeline->open_ts, shift + 3);
	assert_int_equal(got->streams->streams[0]->timeline->close_ts, shift + 4);
	assert_int_equal(got->latency_ns, 5);
	assert_int_equal(s->subsystems->dht->start_ts, shift + 6);
	assert_int_equal(s->instant_ts, shift + 7);
	assert_int_equal(s->start_ts, shift + 8);
	assert_int_equal(s->snapshot_duration_ms, 9);
	release(s);
}

/* With less room, and none, the size is the same, and nothing is written behind the room. */
static void too_long(void **state)
{
	static uint8_t short_of[4096];
	uint8_t in[3 + 296];

	(void)state;
	in[0] = 0x0a;   /* as many empty connections as fit */
	in[1] = 0xa8;
	in[2] = 0x02;
	for (size_t i = 3; i < sizeof in; i += 2)
		memcpy(in + i, "\x0a\x00", 2);
	size_t len = complete_state(out, sizeof out, in, sizeof in, 0);
	assert_in_range(len, 1500, 4000);
	for (size_t max = 0; max < len; max++) {
		memset(short_of, 0xee, sizeof short_of);
		assert_int_equal(complete_state(short_of, max, in, sizeof in, 0), len);
		for (size_t i = max; i < len; i++)
			assert_int_equal(short_of[i], 0xee);
	}
	assert_int_equal(complete_state(short_of, len, in, sizeof in, 0), len);
	assert_memory_equal(short_of, out, len);
}

/* The message of a snapshot: complete, or as it is where there is no room. */
static void messages(void **state)
{
	static uint8_t room[4096];
	const Introspection__Version version = {PROTOBUF_C_MESSAGE_INIT(&introspection__version__descriptor), 1};
	Introspection__ServerMessage m = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__Connection connections[100], *list[100];
	Introspection__State s = INTROSPECTION__STATE__INIT;

	(void)state;
	for (size_t n = 0; n < 100; n++) {
		introspection__connection__init(list[n] = &connections[n]);
		subsystems.n_connections = n;
		subsystems.connections = list;
		s.subsystems = &subsystems;
		s.sequence = 9;
		m.version = (Introspection__Version *)(uintptr_t)&version;
		m.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
		m.state = &s;
		const size_t len = introspection__server_message__pack(&m, packed);
		size_t all = len;
		const uint8_t *at = complete_message(room, sizeof room, packed, &all);
		assert_ptr_not_equal(at, packed);
		Introspection__ServerMessage *got = introspection__server_message__unpack(NULL, all, at);
		assert_non_null(got);
		assert_int_equal(got->version->version, 1);
		assert_int_equal(got->state->sequence, 9);
		assert_int_equal(got->state->subsystems->n_connections, n);
		assert_complete(got->state);
		introspection__server_message__free_unpacked(got, NULL);
		for (size_t max = 0; max < all; max++) {
			size_t same = len;
			uint8_t *exact = malloc(max > 0 ? max : 1);
			assert_ptr_equal(complete_message(exact, max, packed, &same), packed);
			assert_int_equal(same, len);
			free(exact);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_at_all),
		cmocka_unit_test(what_is_missing_is_put_in),
		cmocka_unit_test(what_is_there_stays),
		cmocka_unit_test(a_second_part_lacks_nothing),
		cmocka_unit_test(times_are_shifted),
		cmocka_unit_test(too_long),
		cmocka_unit_test(messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
