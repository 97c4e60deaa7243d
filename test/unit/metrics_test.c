/* What a snapshot adds up to, and how it is told to Prometheus. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "endpoint/metrics.h"
#include "source/wire.h"

enum {
	CONNECTIONS = 40,
	STREAMS = 5,
	PEERS = 30,
	PROTOCOLS = 8,
	RESOURCES = 6,
	MESSAGE_MAX = 1 << 20,
};

static struct totals totals;
static struct metrics metrics;
static uint32_t seed;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

/* For messages that come in pieces: of a 0 in the last, which is not encoded, protobuf-c
 * would not see that it must not replace what an earlier one had. */
static uint32_t some(uint32_t below)
{
	return 1 + any(below - 1);
}

static ProtobufCBinaryData bytes(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* A state with a random number of everything, and places for it. */
struct sample {
	Introspection__State state;
	Introspection__Subsystems subsystems;
	Introspection__Connection connections[CONNECTIONS], *connection_list[CONNECTIONS];
	Introspection__Connection relay;
	Introspection__StreamList lists[CONNECTIONS];
	Introspection__Stream streams[CONNECTIONS][STREAMS], *stream_lists[CONNECTIONS][STREAMS];
	ProtobufCBinaryData ids[STREAMS];
	Introspection__DHT dht;
	Introspection__DHT__Bucket bucket, *buckets[2];
	Introspection__DHT__PeerInDHT peers[PEERS], *peer_list[PEERS];
	Introspection__DHT__QueryGauge in, out;
	Introspection__Traffic traffic;
	Introspection__DataGauge gauges[2];
	Introspection__ProtocolTraffic protocols[PROTOCOLS], *protocol_list[PROTOCOLS];
	Introspection__Traffic protocol_traffic[PROTOCOLS];
	Introspection__DataGauge protocol_gauges[PROTOCOLS][2];
	Introspection__Resource resources[RESOURCES], *resource_list[RESOURCES];
};

static char *const protocol_names[] = {"/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/kad/1.0.0", ""};
static char *const transport_names[] = {"ip4+tcp", "ip6+udp+quic-v1", ""};

static void fill_traffic(Introspection__Traffic *traffic, Introspection__DataGauge gauges[2])
{
	introspection__traffic__init(traffic);
	introspection__data_gauge__init(&gauges[0]);
	introspection__data_gauge__init(&gauges[1]);
	gauges[0].cum_bytes = some(UINT32_MAX) * (uint64_t)UINT32_MAX;
	gauges[0].cum_packets = some(1000);
	gauges[0].inst_bw = some(1000);
	gauges[1].cum_bytes = some(1000);
	gauges[1].cum_packets = some(UINT32_MAX);
	traffic->traffic_in = any(8) > 0 ? &gauges[0] : NULL;
	traffic->traffic_out = any(8) > 0 ? &gauges[1] : NULL;
}

static void fill_connection(struct sample *s, size_t i)
{
	Introspection__Connection *c = s->connection_list[i] = &s->connections[i];
	Introspection__StreamList *list = &s->lists[i];

	introspection__connection__init(c);
	introspection__stream_list__init(list);
	c->status = (Introspection__Status)any(7);
	c->role = (Introspection__Role)any(4);
	c->transport_id = bytes(transport_names[any(3)]);
	if (any(8) == 0) {
		c->relayed_over_case = INTROSPECTION__CONNECTION__RELAYED_OVER_CONN;
		c->conn = &s->relay;
	}
	c->streams = any(4) > 0 ? list : NULL;
	list->streams = s->stream_lists[i];
	list->n_streams = any(STREAMS + 1);
	for (size_t k = 0; k < list->n_streams; k++) {
		Introspection__Stream *stream = s->stream_lists[i][k] = &s->streams[i][k];

		introspection__stream__init(stream);
		stream->id = bytes("1");
		stream->protocol = protocol_names[any(4)];
		stream->status = (Introspection__Status)any(6);
	}
	if (list->n_streams == 0) {
		list->stream_ids = s->ids;
		list->n_stream_ids = any(STREAMS);
	}
}

static void fill_dht(struct sample *s)
{
	introspection__dht__init(&s->dht);
	introspection__dht__bucket__init(&s->bucket);
	introspection__dht__query_gauge__init(&s->in);
	introspection__dht__query_gauge__init(&s->out);
	s->dht.buckets = s->buckets;
	s->dht.n_buckets = 2;
	s->buckets[0] = s->buckets[1] = &s->bucket;
	s->bucket.peers = s->peer_list;
	s->bucket.n_peers = any(PEERS);
	for (size_t i = 0; i < s->bucket.n_peers; i++) {
		s->peer_list[i] = &s->peers[i];
		introspection__dht__peer_in_dht__init(&s->peers[i]);
		s->peers[i].status = (Introspection__DHT__PeerInDHT__Status)any(6);
	}
	s->in.success = some(100);
	s->in.error = some(100);
	s->in.timeout = some(100);
	s->out.success = some(100);
	s->out.error = some(100);
	s->out.timeout = some(100);
	s->dht.incoming_queries = &s->in;
	s->dht.outgoing_queries = any(4) > 0 ? &s->out : NULL;
}

static void fill(struct sample *s)
{
	memset(s, 0, sizeof *s);
	introspection__state__init(&s->state);
	introspection__subsystems__init(&s->subsystems);
	introspection__connection__init(&s->relay);
	s->relay.transport_id = bytes("not counted");
	for (size_t i = 0; i < STREAMS; i++)
		s->ids[i] = bytes("\x12\x01?");
	s->state.subsystems = &s->subsystems;
	s->subsystems.connections = s->connection_list;
	s->subsystems.n_connections = any(CONNECTIONS);
	for (size_t i = 0; i < s->subsystems.n_connections; i++)
		fill_connection(s, i);
	fill_dht(s);
	s->subsystems.dht = any(4) > 0 ? &s->dht : NULL;
	fill_traffic(&s->traffic, s->gauges);
	s->state.traffic = &s->traffic;
	s->state.protocols = s->protocol_list;
	s->state.n_protocols = any(PROTOCOLS);
	for (size_t i = 0; i < s->state.n_protocols; i++) {
		Introspection__ProtocolTraffic *p = s->protocol_list[i] = &s->protocols[i];

		introspection__protocol_traffic__init(p);
		fill_traffic(&s->protocol_traffic[i], s->protocol_gauges[i]);
		p->protocol = protocol_names[any(4)];
		p->traffic = &s->protocol_traffic[i];
		p->streams = any(9);
	}
	s->state.resources = s->resource_list;
	s->state.n_resources = any(RESOURCES);
	for (size_t i = 0; i < s->state.n_resources; i++) {
		Introspection__Resource *r = s->resource_list[i] = &s->resources[i];

		introspection__resource__init(r);
		r->scope = any(2) ? "system" : "process";
		r->name = any(2) ? "memory" : "open-files";
		r->used = any(1000);
		r->limit = any(2);
	}
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static size_t number_of(const struct totals_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->text[i], *name ? name : "unknown") == 0)
			return i;
	fail_msg("not counted: %s", name);
	return 0;
}

static void subtract_streams(const Introspection__StreamList *list)
{
	totals.streams[list->n_stream_ids > 0 ? number_of(&totals.protocols, "") : 0] -=
		list->n_stream_ids;
	for (size_t i = 0; i < list->n_streams; i++)
		if (list->streams[i]->status != INTROSPECTION__STATUS__CLOSED &&
		    list->streams[i]->status != INTROSPECTION__STATUS__ERROR)
			totals.streams[number_of(&totals.protocols, list->streams[i]->protocol)]--;
}

static void subtract_dht(const Introspection__DHT *dht)
{
	const Introspection__DHT__QueryGauge *gauges[] = {dht->incoming_queries,
	                                                  dht->outgoing_queries};

	for (size_t i = 0; i < dht->n_buckets; i++)
		for (size_t k = 0; k < dht->buckets[i]->n_peers; k++)
			totals.dht_peers[least(dht->buckets[i]->peers[k]->status, 4)]--;
	for (size_t i = 0; i < 2; i++) {
		totals.dht_queries[i][0] -= gauges[i] ? gauges[i]->success : 0;
		totals.dht_queries[i][1] -= gauges[i] ? gauges[i]->error : 0;
		totals.dht_queries[i][2] -= gauges[i] ? gauges[i]->timeout : 0;
	}
}

static void subtract_traffic(uint64_t moved[2], uint64_t packets[2],
                             const Introspection__Traffic *traffic)
{
	const Introspection__DataGauge *in = traffic->traffic_in, *out = traffic->traffic_out;

	moved[0] -= in ? in->cum_bytes : 0;
	moved[1] -= out ? out->cum_bytes : 0;
	if (!packets)
		return;
	packets[0] -= in ? in->cum_packets : 0;
	packets[1] -= out ? out->cum_packets : 0;
}

static void totals_of(const uint8_t *message, size_t len)
{
	totals_begin(&totals, message, len);
	while (!totals_count(&totals, 1 + any(100)))
		;
}

/* One that is not enabled and has no peers may stand for what is not known. */
static bool is_known(const Introspection__DHT *dht)
{
	for (size_t i = 0; dht && i < dht->n_buckets; i++)
		if (dht->buckets[i]->n_peers > 0)
			return true;
	return dht && dht->enabled;
}

/* Takes from the totals all that protobuf-c finds in the message: nothing is left. */
static void check_totals(const uint8_t *message, size_t len)
{
	static const struct totals nothing;
	Introspection__ServerMessage *m = introspection__server_message__unpack(NULL, len, message);

	assert_non_null(m);
	const Introspection__State *state = m->state;
	const Introspection__Subsystems *all = state->subsystems;
	totals_of(message, len);
	for (size_t i = 0; i < all->n_connections; i++) {
		const Introspection__Connection *c = all->connections[i];
		char name[100];

		snprintf(name, sizeof name, "%.*s", (int)c->transport_id.len,
		         (const char *)c->transport_id.data);
		totals.connections[number_of(&totals.transports, name)][least(c->status, 5)]
		                  [least(c->role, 2)]--;
		if (c->streams)
			subtract_streams(c->streams);
	}
	assert_int_equal(totals.has_dht, is_known(all->dht));
	if (all->dht)
		subtract_dht(all->dht);
	if (state->traffic)
		subtract_traffic(totals.bytes, totals.packets, state->traffic);
	for (size_t i = 0; i < state->n_protocols; i++) {
		size_t p = number_of(&totals.protocols, state->protocols[i]->protocol);

		assert_true(totals.has_traffic[p]);
		totals.streams_told[p] -= state->protocols[i]->streams;
		subtract_traffic(totals.protocol_bytes[p], NULL, state->protocols[i]->traffic);
	}
	for (size_t i = state->n_resources; i-- > 0;) {   /* the last of its name counts */
		const Introspection__Resource *r = state->resources[i];
		bool found = false;

		for (size_t k = 0; k < totals.resource_count; k++) {
			struct totals_resource *t = &totals.resources[k];

			if (strcmp(t->scope, r->scope) != 0 || strcmp(t->name, r->name) != 0)
				continue;
			found = true;
			assert_true((t->used == r->used && t->limit == r->limit) || t->used == UINT64_MAX);
			t->used = UINT64_MAX;
		}
		assert_true(found);
	}
	assert_memory_equal(totals.connections, nothing.connections, sizeof nothing.connections);
	assert_memory_equal(totals.streams, nothing.streams, sizeof nothing.streams);
	assert_memory_equal(totals.streams_told, nothing.streams_told, sizeof nothing.streams_told);
	assert_memory_equal(totals.protocol_bytes, nothing.protocol_bytes,
	                    sizeof nothing.protocol_bytes);
	assert_memory_equal(totals.bytes, nothing.bytes, sizeof nothing.bytes);
	assert_memory_equal(totals.packets, nothing.packets, sizeof nothing.packets);
	assert_memory_equal(totals.dht_peers, nothing.dht_peers, sizeof nothing.dht_peers);
	assert_memory_equal(totals.dht_queries, nothing.dht_queries, sizeof nothing.dht_queries);
	introspection__server_message__free_unpacked(m, NULL);
}

/* Encodes the states behind one another as one state. */
static size_t encode(uint8_t *out, Introspection__State *const *states, size_t count)
{
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += introspection__state__get_packed_size(states[i]);
	size_t n = wire_put_prefix(out, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, len);
	assert_in_range(n + len, 1, MESSAGE_MAX);
	for (size_t i = 0; i < count; i++)
		n += introspection__state__pack(states[i], out + n);
	return n;
}

static void any_state(void **state)
{
	static struct sample samples[2];
	static uint8_t message[MESSAGE_MAX];
	Introspection__State *const states[] = {&samples[0].state, &samples[1].state};

	(void)state;
	for (seed = 0; seed < 200; seed++) {
		uint32_t round = seed;

		fill(&samples[0]);
		fill(&samples[1]);
		for (size_t pieces = 1; pieces <= 2; pieces++) {
			size_t len = encode(message, states, pieces);

			check_totals(guarded(message, len), len);
		}
		seed = round;
	}
}

/* Whatever the bytes, nothing behind them is read. */
static void damaged(void **state)
{
	static struct sample sample;
	static uint8_t message[MESSAGE_MAX];
	Introspection__State *const states[] = {&sample.state};

	(void)state;
	seed = 7;
	do
		fill(&sample);
	while (!sample.subsystems.dht || sample.subsystems.n_connections < CONNECTIONS / 2);
	size_t len = encode(message, states, 1);
	for (size_t n = 0; n < len; n++)
		totals_of(guarded(message, n), n);
	for (size_t i = 0; i < 20000; i++) {
		size_t at = any((uint32_t)len);
		uint8_t before = message[at];

		message[at] = (uint8_t)any(256);
		totals_of(guarded(message, len), len);
		message[at] = before;
	}
	check_totals(message, len);
}

static void names(void **state)
{
	char long_one[TOTALS_NAME_MAX + 1];
	memset(long_one, 'x', sizeof long_one);
	const struct {
		const char *name;
		size_t len;
		const char *expected;
		bool whole;
	} rows[] = {
		{"/ping/1.0.0", 11, "/ping/1.0.0", true},
		{"", 0, "unknown", true},
		{"a\"b\\c\nd", 7, "a\"b\\c\nd", true},
		{"\0a\r\t\x1b\x7f", 6, "?a????", true},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", true},
		{"\xff" "a\xc3", 3, "?a?", true},
		{"\xed\xa0\x80", 3, "???", true},
		{"\xc0\x80", 2, "??", true},
		{long_one, TOTALS_NAME_MAX - 1, NULL, true},
		{long_one, TOTALS_NAME_MAX, NULL, false},
		{long_one, TOTALS_NAME_MAX + 1, NULL, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char out[TOTALS_NAME_MAX];

		assert_int_equal(totals_name(out, guarded(rows[i].name, rows[i].len), rows[i].len),
		                 rows[i].whole);
		if (rows[i].expected)
			assert_string_equal(out, rows[i].expected);
		else
			assert_int_equal(strlen(out), TOTALS_NAME_MAX - 1);
	}
}

/* A state in which every table is more than full, with names as long as they may be
 * and of what grows when it is escaped; and the reverse if it is plain. */
static size_t encode_much(uint8_t *out, bool plain)
{
	enum { MANY = 300 };
	static Introspection__Connection connections[MANY * 18], *connection_list[MANY * 18];
	static Introspection__ProtocolTraffic protocols[MANY], *protocol_list[MANY];
	static Introspection__Resource resources[MANY], *resource_list[MANY];
	static char text[MANY][TOTALS_NAME_MAX];
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__State state = INTROSPECTION__STATE__INIT;
	Introspection__State *states[] = {&state};
	Introspection__DataGauge gauge = INTROSPECTION__DATA_GAUGE__INIT;
	Introspection__Traffic traffic = INTROSPECTION__TRAFFIC__INIT;

	gauge.cum_bytes = gauge.cum_packets = UINT64_MAX;
	traffic.traffic_in = traffic.traffic_out = &gauge;
	for (size_t i = 0; i < MANY; i++) {
		memset(text[i], plain ? 'x' : i % 2 ? '"' : '\n', TOTALS_NAME_MAX - 1);
		text[i][0] = (char)('a' + i % 26);
		text[i][1] = (char)('a' + i / 26);
		protocol_list[i] = &protocols[i];
		introspection__protocol_traffic__init(&protocols[i]);
		protocols[i].protocol = text[i];
		protocols[i].streams = UINT32_MAX;
		protocols[i].traffic = &traffic;
		resource_list[i] = &resources[i];
		introspection__resource__init(&resources[i]);
		resources[i].scope = resources[i].name = text[i];
		resources[i].used = resources[i].limit = UINT64_MAX;
	}
	for (size_t i = 0; i < MANY * 18; i++) {
		connection_list[i] = &connections[i];
		introspection__connection__init(&connections[i]);
		connections[i].transport_id = bytes(text[i / 18]);
		connections[i].status = (Introspection__Status)(i / 3 % 6);
		connections[i].role = (Introspection__Role)(i % 3);
	}
	subsystems.connections = connection_list;
	subsystems.n_connections = MANY * 18;
	state.subsystems = &subsystems;
	state.protocols = protocol_list;
	state.n_protocols = MANY;
	state.resources = resource_list;
	state.n_resources = MANY;
	return encode(out, states, 1);
}

static void bounds(void **state)
{
	static uint8_t message[MESSAGE_MAX];

	(void)state;
	size_t len = encode_much(message, true);
	totals_of(message, len);
	assert_int_equal(totals.transports.count, TOTALS_TRANSPORTS);
	assert_int_equal(totals.protocols.count, TOTALS_PROTOCOLS);
	assert_int_equal(totals.resource_count, TOTALS_RESOURCES);
	for (size_t i = 0; i < 18; i++) {
		assert_int_equal(totals.connections[1][i / 3][i % 3], 1);
		assert_int_equal(totals.connections[0][i / 3][i % 3], 300 - (TOTALS_TRANSPORTS - 1));
	}
	assert_int_equal(totals.streams_told[0],
	                 (uint64_t)UINT32_MAX * (300 - (TOTALS_PROTOCOLS - 1)));
}

static const char *const state_names[COUNTERS_STATES] = {
	"free", "head", "open", "answer", "leaving", "linger", "gone",
};

/* The text, terminated, of a snapshot of these bytes. NULL: there is none. */
static const char *told(uint8_t *message, size_t len)
{
	static Introspection__Runtime runtime;
	static char text[METRICS_MAX + 1];
	static uint64_t sequence;
	struct snapshot snapshot = {
		.sequence = ++sequence, .taken = 1234, .message = message, .len = len,
	};
	void *slow;
	size_t n;

	introspection__runtime__init(&runtime);
	runtime.implementation = "a \"node\"\\\n";
	memcpy(metrics.counters.names, state_names, sizeof state_names);
	metrics.runtime = &runtime;
	while (message && !metrics_count(&metrics, &snapshot, &runtime))
		;
	const unsigned char *out = metrics_write(&metrics, &runtime, &slow, &n);
	assert_null(slow);
	memcpy(text, out, n);
	text[n] = '\0';
	assert_int_equal(strlen(text), n);
	metrics_release(&metrics, &runtime);
	return text;
}

static void assert_line(const char *text, const char *line)
{
	char whole[512];

	snprintf(whole, sizeof whole, "\n%s\n", line);
	if (!strstr(text, whole))
		fail_msg("no line %s in %s", line, text);
}

static void everything_fits(void **state)
{
	static uint8_t message[MESSAGE_MAX];

	(void)state;
	memset(&metrics, 0, sizeof metrics);
	memset(&metrics.counters, 0xff, sizeof metrics.counters);
	metrics.max_clients = UINT64_MAX;
	metrics.started = metrics.cpu = metrics.epoch = INT64_MIN;
	const char *text = told(message, encode_much(message, false));
	const char *last = strstr(text, "# HELP libp2p_resource_limit");
	size_t lines = 0;

	assert_non_null(last);
	for (; (last = strchr(last, '\n')); last++)
		lines++;
	assert_int_equal(lines, 2 + TOTALS_RESOURCES);
	assert_in_range(strlen(text), METRICS_MAX / 2, METRICS_MAX - 2048);
	assert_true(text[strlen(text) - 1] == '\n');
}

static void figures(void **state)
{
	static struct sample sample;
	static uint8_t message[MESSAGE_MAX];
	Introspection__State *const states[] = {&sample.state};
	char line[200];

	(void)state;
	memset(&metrics, 0, sizeof metrics);
	metrics.started = 1700000000123;
	metrics.cpu = 4500;
	metrics.epoch = 1700000001500;
	metrics.counters.clients[2] = 3;
	metrics.counters.waiting = 2;
	metrics.max_clients = 64;
	metrics.counters.sent = 11;
	metrics.counters.skipped = 12;
	metrics.counters.sent_bytes = UINT64_MAX;
	metrics.counters.failed = 13;
	metrics.counters.dropped = 14;
	metrics.counters.refused[HTTP_FOREIGN_HOST] = 15;
	counters_closed(&metrics.counters, WS_TOO_BIG);
	counters_closed(&metrics.counters, WS_TOO_BIG);
	counters_closed(&metrics.counters, WS_GOING_AWAY);
	counters_built(&metrics.counters, 0);
	counters_built(&metrics.counters, 100000);
	counters_built(&metrics.counters, 100001);
	counters_built(&metrics.counters, 5000000000);
	fill(&sample);
	size_t len = encode(message, states, 1);
	const char *text = told(message, len);
	assert_line(text, "process_start_time_seconds 1700000000.123");
	assert_line(text, "process_cpu_seconds_total 4.500");
	assert_line(text, "introspectd_snapshot_timestamp_seconds 1700000002.734");
	assert_line(text, "introspectd_clients{state=\"open\"} 3");
	assert_line(text, "introspectd_clients{state=\"gone\"} 0");
	assert_line(text, "introspectd_clients_waiting 2");
	assert_line(text, "introspectd_clients_max 64");
	assert_line(text, "introspectd_snapshots_taken_total 4");
	assert_line(text, "introspectd_snapshots_sent_total 11");
	assert_line(text, "introspectd_snapshots_skipped_total 12");
	assert_line(text, "introspectd_sent_bytes_total 18446744073709551615");
	assert_line(text, "introspectd_snapshots_failed_total 13");
	assert_line(text, "introspectd_clients_dropped_total 14");
	assert_line(text, "introspectd_refusals_total{status=\"403\","
	            "reason=\"this Host is not allowed\"} 15");
	assert_line(text, "introspectd_protocol_errors_total{code=\"1009\"} 2");
	assert_line(text, "introspectd_protocol_errors_total{code=\"1002\"} 0");
	assert_line(text, "introspectd_snapshot_build_seconds_bucket{le=\"0.0001\"} 2");
	assert_line(text, "introspectd_snapshot_build_seconds_bucket{le=\"0.00025\"} 3");
	assert_line(text, "introspectd_snapshot_build_seconds_bucket{le=\"1\"} 3");
	assert_line(text, "introspectd_snapshot_build_seconds_bucket{le=\"+Inf\"} 4");
	assert_line(text, "introspectd_snapshot_build_seconds_sum 5.000200001");
	assert_line(text, "introspectd_snapshot_build_seconds_count 4");
	assert_non_null(strstr(text, "implementation=\"a \\\"node\\\"\\\\\\n\",version=\"\""));
	snprintf(line, sizeof line, "introspectd_snapshot_bytes %zu", len);
	assert_line(text, line);
}

/* What is not there is not told, and what is 0 is. */
static void absent(void **state)
{
	static uint8_t message[MESSAGE_MAX];
	const struct feed_state feed = {.connected = true, .connections = 3, .errors = 2};
	Introspection__State nothing = INTROSPECTION__STATE__INIT;
	Introspection__State *const states[] = {&nothing};

	(void)state;
	memset(&metrics, 0, sizeof metrics);
	const char *text = told(NULL, 0);
	assert_null(strstr(text, "introspectd_snapshot_timestamp_seconds"));
	assert_null(strstr(text, "introspectd_feed"));
	assert_null(strstr(text, "libp2p_connections"));
	metrics.feed = &feed;
	text = told(message, encode(message, states, 1));
	assert_line(text, "introspectd_feed_connected 1");
	assert_line(text, "introspectd_feed_connections_total 3");
	assert_line(text, "introspectd_feed_errors_total 2");
	assert_line(text, "libp2p_connections{status=\"active\",role=\"initiator\","
	            "transport=\"other\"} 0");
	assert_line(text, "libp2p_streams{protocol=\"other\"} 0");
	assert_line(text, "libp2p_traffic_bytes_total{direction=\"in\"} 0");
	assert_null(strstr(text, "libp2p_dht"));
	assert_null(strstr(text, "libp2p_resource"));
	assert_null(strstr(text, "libp2p_protocol_bytes_total"));
}

/* A snapshot is counted once, for one reader at a time, in parts. */
static void counting(void **state)
{
	static uint8_t much[MESSAGE_MAX], little[64];
	Introspection__State empty = INTROSPECTION__STATE__INIT;
	Introspection__State *const states[] = {&empty};
	struct snapshot first = {.sequence = 1, .message = much, .len = encode_much(much, true)};
	struct snapshot second = {.sequence = 2, .message = little, .len = encode(little, states, 1)};
	int a, b, parts = 0;

	(void)state;
	memset(&metrics, 0, sizeof metrics);
	assert_false(metrics_count(&metrics, &first, &a));
	while (!metrics_count(&metrics, &first, &a)) {
		assert_false(metrics_count(&metrics, &first, &b));
		assert_false(metrics_count(&metrics, &second, &b));
		parts++;
	}
	assert_true(parts > 0);
	assert_int_equal(metrics.totals.transports.count, TOTALS_TRANSPORTS);
	metrics.totals.bytes[0] = 77;
	assert_true(metrics_count(&metrics, &first, &b));
	assert_int_equal(metrics.totals.bytes[0], 77);
	assert_true(metrics_count(&metrics, &second, &b));
	assert_int_equal(metrics.totals.bytes[0], 0);
	assert_int_equal(metrics.counted_bytes, second.len);
	assert_true(metrics_count(&metrics, &first, &a));   /* a newer one will do */
	assert_int_equal(metrics.counted, 2);
}

/* Whoever leaves while it is counted for him leaves it to be begun again. */
static void abandoned(void **state)
{
	static uint8_t much[MESSAGE_MAX];
	struct snapshot snapshot = {.sequence = 1, .message = much, .len = encode_much(much, true)};
	int a, b;

	(void)state;
	memset(&metrics, 0, sizeof metrics);
	assert_false(metrics_count(&metrics, &snapshot, &a));
	metrics_release(&metrics, &b);
	assert_false(metrics_count(&metrics, &snapshot, &b));
	assert_ptr_equal(metrics.counter, &a);
	metrics_release(&metrics, &a);
	assert_null(metrics.counter);
	while (!metrics_count(&metrics, &snapshot, &b))
		assert_ptr_equal(metrics.counter, &b);
	for (size_t i = 0; i < 18; i++)
		assert_int_equal(metrics.totals.connections[1][i / 3][i % 3], 1);
}

static void readers(void **state)
{
	const unsigned char *texts[METRICS_TEXTS];
	int reader[METRICS_TEXTS + 1];
	void *slow;
	size_t n;

	(void)state;
	memset(&metrics, 0, sizeof metrics);
	told(NULL, 0);
	for (size_t i = 0; i < METRICS_TEXTS; i++) {
		texts[i] = metrics_write(&metrics, &reader[i], &slow, &n);
		assert_null(slow);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(texts[i], texts[k]);
	}
	for (size_t i = 0; i < METRICS_TEXTS; i++) {   /* nobody has to go for who has read his */
		metrics_release(&metrics, &reader[1]);
		assert_ptr_equal(metrics_write(&metrics, &reader[1], &slow, &n), texts[1]);
		assert_null(slow);
	}
	assert_ptr_equal(metrics_write(&metrics, &reader[METRICS_TEXTS], &slow, &n), texts[0]);
	assert_ptr_equal(slow, &reader[0]);
	metrics_release(&metrics, &reader[1]);
	assert_ptr_equal(metrics_write(&metrics, &reader[1], &slow, &n), texts[1]);
	assert_null(slow);
	assert_ptr_equal(metrics_write(&metrics, &reader[0], &slow, &n), texts[2]);
	assert_ptr_equal(slow, &reader[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_state),
		cmocka_unit_test(damaged),
		cmocka_unit_test(names),
		cmocka_unit_test(bounds),
		cmocka_unit_test(everything_fits),
		cmocka_unit_test(figures),
		cmocka_unit_test(absent),
		cmocka_unit_test(counting),
		cmocka_unit_test(abandoned),
		cmocka_unit_test(readers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
