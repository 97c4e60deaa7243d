#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/difference.h"
#include "endpoint/past.h"
#include "endpoint/remember.h"
#include "source/wire.h"

/* A node, a clock that the test sets, and what a reader gets of what was remembered. */

enum { MOST = 1000, EVERY = 10000, LIMIT = 4 << 20, TEXT = 64, FILE_MAX = 10 << 20 };

static const int64_t HOUR = PAST_HOUR_MS, DAY = PAST_DAY_MS, MINUTE = PAST_MINUTE_MS;

struct peer {
	Introspection__Connection connection;
	Introspection__EndpointPair endpoints;
	Introspection__Connection__Timeline timeline;
	Introspection__Traffic traffic;
	Introspection__DataGauge in, out;
	Introspection__StreamList streams;
	Introspection__Stream stream, *list[1];
	char id[TEXT], peer_id[TEXT], to[TEXT];
};

static struct peer peers[MOST];
static Introspection__Connection *connections[MOST];
static Introspection__Subsystems subsystems;
static Introspection__State state;
static Introspection__Resource resources[10], *resource_list[10];
static Introspection__ProtocolTraffic protocols[20], *protocol_list[20];
static Introspection__Topic topic, *topic_list[1];
static Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
static Introspection__EventType type = INTROSPECTION__EVENT_TYPE__INIT, *types[1] = {&type};
static struct snapshot_store store;
static struct difference *forms;
static struct past past;
static int64_t now;
static uint64_t seed;

static unsigned draw(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
	return (unsigned)(seed >> 33) % below;
}

static void begin_peer(struct peer *p, unsigned i)
{
	Introspection__Connection *c = &p->connection;

	introspection__connection__init(c);
	introspection__endpoint_pair__init(&p->endpoints);
	introspection__connection__timeline__init(&p->timeline);
	introspection__traffic__init(&p->traffic);
	introspection__data_gauge__init(&p->in);
	introspection__data_gauge__init(&p->out);
	introspection__stream_list__init(&p->streams);
	introspection__stream__init(&p->stream);
	snprintf(p->id, TEXT, "%016x", i);
	snprintf(p->peer_id, TEXT, "12D3KooW%044u", i);
	snprintf(p->to, TEXT, "/ip4/203.0.113.%u/tcp/%u", i % 256, 40000 + i);
	c->id.data = (uint8_t *)p->id;
	c->id.len = strlen(p->id);
	c->peer_id = p->peer_id;
	c->endpoints = &p->endpoints;
	p->endpoints.src_multiaddr = (char *)"/ip4/198.51.100.123/tcp/4001";
	p->endpoints.dst_multiaddr = p->to;
	c->timeline = &p->timeline;
	p->timeline.open_ts = p->timeline.upgraded_ts = UINT64_C(1700000000000) + i;
	c->traffic = &p->traffic;
	p->traffic.traffic_in = &p->in;
	p->traffic.traffic_out = &p->out;
	c->role = (Introspection__Role)(i % 2);
	c->agent_version = (char *)"kubo/0.30.0/desktop";
	c->streams = &p->streams;
	p->streams.streams = p->list;
	p->streams.n_streams = 1;
	p->list[0] = &p->stream;
	p->stream.protocol = (char *)"/ipfs/kad/1.0.0";
	connections[i] = c;
}

static int begin(void **unused)
{
	(void)unused;
	introspection__subsystems__init(&subsystems);
	introspection__state__init(&state);
	introspection__topic__init(&topic);
	state.subsystems = &subsystems;
	subsystems.connections = connections;
	for (unsigned i = 0; i < MOST; i++)
		begin_peer(&peers[i], i);
	for (unsigned i = 0; i < 10; i++) {
		introspection__resource__init(resource_list[i] = &resources[i]);
		resources[i].scope = (char *)"system";
		resources[i].name = (char *)"conns-inbound";
		resources[i].used = 1000 + i;
	}
	for (unsigned i = 0; i < 20; i++) {
		introspection__protocol_traffic__init(protocol_list[i] = &protocols[i]);
		protocols[i].protocol = (char *)"/ipfs/bitswap/1.2.0";
		protocols[i].streams = i;
	}
	state.resources = resource_list;
	state.protocols = protocol_list;
	state.topics = topic_list;
	topic_list[0] = &topic;
	state.n_resources = state.n_topics = 0;
	topic.name = (char *)"/not/remembered";
	runtime.implementation = (char *)"go-libp2p";
	runtime.version = (char *)"0.36.0";
	runtime.peer_id = peers[0].peer_id;
	runtime.event_types = types;
	runtime.n_event_types = 1;
	type.name = (char *)"ConnectionOpened";
	seed = 7;
	now = 5000;
	assert_int_equal(snapshot_open(&store, LIMIT), 0);
	assert_non_null(forms = difference_open(LIMIT));
	return 0;
}

static int end(void **unused)
{
	(void)unused;
	difference_close(forms);
	snapshot_close(&store);
	past_close(&past);
	return 0;
}

static void start(size_t size, int64_t keep)
{
	assert_int_equal(past_open(&past, size, keep), 0);
	past_runtime(&past, &runtime, EVERY);
}

/* A snapshot of that many connections, each with another rate. */
static void take(unsigned count)
{
	const struct snapshot_input input = {.state = &state};

	subsystems.n_connections = count;
	state.instant_ts = UINT64_C(1700000000000) + (uint64_t)now;
	for (unsigned i = 0; i < count; i++) {
		peers[i].in.inst_bw = draw(1 << 20);
		peers[i].out.inst_bw = draw(1 << 20);
		peers[i].in.cum_bytes += draw(1 << 30);
		peers[i].in.cum_packets += draw(1 << 20);
		peers[i].out.cum_bytes += draw(1 << 30);
		peers[i].out.cum_packets += draw(1 << 20);
	}
	assert_in_range(snapshot_take(&store, &input, &runtime, now), 1, LIMIT);
}

static void remember(void)
{
	past_state(&past, now, difference_form(forms, store.latest, 0), store.latest);
}

static void see_event(size_t len)
{
	Introspection__Event event = INTROSPECTION__EVENT__INIT;
	static uint8_t packed[32 << 10];
	static char content[16 << 10];

	memset(content, 'x', len);
	content[len] = '\0';
	event.type = &type;
	event.ts = (uint64_t)now;
	event.content = content;
	past_event(&past, now, packed, introspection__event__pack(&event, packed));
}

/* A recording that was read, and its messages one by one. */
static uint8_t file[FILE_MAX];
static size_t file_len, file_at;

static size_t read_past(struct past_reader r)
{
	long n;

	for (file_len = 0; (n = past_read(&past, &r, file + file_len, 1 + draw(20000))) > 0;)
		file_len += (size_t)n;
	assert_int_equal(n, 0);
	file_at = 4;
	assert_memory_equal(file, "\1\0\0\0", 4);
	return file_len;
}

/* NULL: that was the last. Every message is whole, and as its checksum says. */
static Introspection__ServerMessage *next_message(void)
{
	uint32_t header[2];
	uint8_t *message = file + file_at + sizeof header;

	if (file_at == file_len)
		return NULL;
	assert_true(file_at + sizeof header < file_len);
	memcpy(header, file + file_at, sizeof header);
	assert_true(le32toh(header[1]) <= file_len - file_at - sizeof header);
	assert_int_equal(le32toh(header[0]), wire_checksum(message, le32toh(header[1])));
	file_at += sizeof header + le32toh(header[1]);
	Introspection__ServerMessage *m =
		introspection__server_message__unpack(NULL, le32toh(header[1]), message);
	assert_non_null(m);
	assert_int_equal(m->version->version, 1);
	return m;
}

static void release(Introspection__ServerMessage *m)
{
	introspection__server_message__free_unpacked(m, NULL);
}

static void check_head(void)
{
	Introspection__ServerMessage *m = next_message();

	assert_int_equal(m->payload_case, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME);
	assert_string_equal(m->runtime->implementation, "go-libp2p");
	assert_int_equal(m->runtime->n_event_types, 1);
	release(m);
	m = next_message();
	assert_int_equal(m->payload_case, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RESPONSE);
	assert_int_equal(m->response->effective_config->retention_period_ms, past.keep);
	assert_int_equal(m->response->effective_config->state_snapshot_interval_ms, EVERY);
	release(m);
}

struct found {
	size_t states, events;
	uint64_t sequence;      /* of the first state */
	int64_t first, last;    /* when states were taken */
};

/* Goes through what was read. States are in order, and as far apart as their age says. */
static struct found look_through(void)
{
	struct found f = {0};
	Introspection__ServerMessage *m;
	uint64_t before = 0;

	check_head();
	for (; (m = next_message()) != NULL; release(m)) {
		if (m->payload_case == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT) {
			f.events++;
			continue;
		}
		assert_int_equal(m->payload_case, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE);
		const int64_t time = (int64_t)(m->state->instant_ts - UINT64_C(1700000000000));
		const int64_t age = past.thinned - time;
		if (f.states > 0 && age >= HOUR)
			assert_true(time - f.last >= (age < DAY ? MINUTE : 10 * MINUTE));
		if (f.states > 0 && age < HOUR)
			assert_in_range(time - f.last, 1, MINUTE + EVERY);
		assert_true(m->state->sequence > before);
		before = m->state->sequence;
		f.sequence = f.states++ == 0 ? before : f.sequence;
		f.first = f.states == 1 ? time : f.first;
		f.last = time;
	}
	return f;
}

/* 24 hours of a node with 1,000 connections, each moving something, fit the default. */
static void test_day(void **unused)
{
	(void)unused;
	start(8 << 20, DAY);
	state.n_resources = 10;
	state.n_protocols = 20;
	for (int i = 0; i < 26 * HOUR / EVERY; i++, now += EVERY) {
		if (i % 360 == 0)
			take(MOST);
		else
			store.latest->sequence = ++store.sequence;
		remember();
	}
	print_message("24 hours: %zu bytes, %zu a point\n", past.used,
	              past.used / (size_t)(360 + 23 * 60));
	assert_true(past.used <= 8 << 20);
	read_past(past_reader(&past, now - DAY));
	assert_int_equal(le32toh(*(uint32_t *)(void *)file), 1);
	check_head();
	Introspection__ServerMessage *m = next_message();
	assert_int_equal(m->state->counts->connections, MOST);
	assert_int_equal(m->state->subsystems->n_connections, PAST_CONNECTIONS);
	assert_int_equal(m->state->n_resources, 10);
	assert_int_equal(m->state->n_protocols, 20);
	release(m);
	size_t states = 1;
	for (; (m = next_message()) != NULL; release(m))
		states++;
	/* One in 10 s for an hour and one in a minute for 23: as many, but for what a thinning
	 * that comes once a minute leaves. */
	assert_in_range(states, 360 + 23 * 60 - 8, 360 + 23 * 60 + 8);
}

/* Beyond a day, one in ten minutes; nothing that is older than it is to be. */
static void test_days(void **unused)
{
	(void)unused;
	start(2 << 20, 3 * DAY);
	for (int i = 0; i < 4 * DAY / EVERY; i++, now += EVERY) {
		take(1);
		remember();
	}
	read_past(past_reader(&past, INT64_MIN));
	const struct found f = look_through();
	assert_in_range(f.first, now - 3 * DAY - 2 * MINUTE, now - 3 * DAY + 11 * MINUTE);
	assert_int_equal(f.last, now - EVERY);
	assert_in_range(f.states, 360 + 23 * 60 + 2 * 144 - 8, 360 + 23 * 60 + 2 * 144 + 8);
}

/* With too few bytes the oldest goes first, and what is there has no gap. */
static void test_full(void **unused)
{
	(void)unused;
	start(128 << 10, DAY);
	for (int i = 0; i < 300; i++, now += EVERY) {
		take(30);
		remember();
		assert_true(past.used <= past.size);
	}
	read_past(past_reader(&past, INT64_MIN));
	const struct found f = look_through();
	assert_int_equal(f.last, now - EVERY);
	assert_int_equal(f.states, store.sequence - f.sequence + 1);
	assert_in_range(past.used, past.size / 4 * 3, past.size);
}

/* A flood of events drives no State out. */
static void test_events(void **unused)
{
	(void)unused;
	start(256 << 10, DAY);
	for (int i = 0; i < 20; i++, now += EVERY) {
		take(5);
		remember();
		for (int k = 0; k < 500; k++)
			see_event(draw(300));
		assert_true(past.event_bytes <= past.size / PAST_EVENTS_SHARE + 512);
	}
	see_event(15 << 10);
	see_event((16 << 10) - 8);
	read_past(past_reader(&past, INT64_MIN));
	const struct found f = look_through();
	assert_int_equal(f.states, 20);
	assert_in_range(f.events, 20, 2000);
}

/* The connections of a point are those with the highest rates, without their streams; topics
 * and the types of events are not in it. */
static void test_movers(void **unused)
{
	(void)unused;
	start(1 << 20, DAY);
	state.n_topics = 1;
	for (unsigned count = 0; count < 60; count += 7, now += EVERY) {
		take(count);
		remember();
	}
	read_past(past_reader(&past, now - EVERY));
	check_head();
	Introspection__ServerMessage *m = next_message();
	const Introspection__State *s = m->state;
	uint64_t least = UINT64_MAX;
	size_t more = 0;
	assert_int_equal(s->subsystems->n_connections, PAST_CONNECTIONS);
	assert_int_equal(s->counts->connections, 56);
	assert_int_equal(s->counts->streams, 56);
	assert_int_equal(s->n_topics, 0);
	assert_int_equal(s->runtime->n_event_types, 0);
	assert_string_equal(s->runtime->peer_id, runtime.peer_id);
	for (size_t i = 0; i < PAST_CONNECTIONS; i++) {
		const Introspection__Connection *c = s->subsystems->connections[i];
		const uint64_t rate = c->traffic->traffic_in->inst_bw + c->traffic->traffic_out->inst_bw;

		assert_true(rate <= least);
		least = rate;
		assert_int_equal(c->streams->n_streams, 0);
		assert_int_equal(strncmp(c->endpoints->dst_multiaddr, "/ip4/203.0.113.", 15), 0);
	}
	for (unsigned i = 0; i < 56; i++)
		more += peers[i].in.inst_bw + peers[i].out.inst_bw >= least;
	assert_int_equal(more, PAST_CONNECTIONS);
	release(m);
	assert_null(next_message());
}

/* Names without end: what does not fit is left out, the rest is a State. */
static void test_long(void **unused)
{
	static char agent[9000];

	(void)unused;
	start(1 << 20, DAY);
	memset(agent, 'a', sizeof agent - 1);
	state.n_protocols = 20;
	for (unsigned i = 0; i < 20; i++) {
		peers[i].connection.agent_version = agent;
		protocols[i].protocol = i % 2 ? agent : (char *)"/short";
	}
	take(20);
	remember();
	read_past(past_reader(&past, INT64_MIN));
	check_head();
	Introspection__ServerMessage *m = next_message();
	assert_int_equal(m->state->sequence, 1);
	assert_int_equal(m->state->counts->connections, 20);
	assert_in_range(m->state->n_protocols, 10, 11);
	assert_int_equal(m->state->subsystems->n_connections, 0);
	release(m);
}

/* While readers go through it, slow and fast ones, items come, move and go: what a reader gets
 * is in order, whole, without gaps, and nothing twice; else it is told. */
static void test_readers(void **unused)
{
	(void)unused;
	size_t lost = 0, whole = 0;

	start(128 << 10, 30 * MINUTE);
	for (int run = 0; run < 200; run++) {
		struct past_reader r = past_reader(&past, INT64_MIN);
		const size_t room = 1 + draw(8000), pace = draw(6);
		long n;

		for (file_len = 0; (n = past_read(&past, &r, file + file_len, room)) > 0;) {
			file_len += (size_t)n;
			for (size_t k = 0; k < pace; k++, now += EVERY) {
				take(1 + draw(20));
				remember();
				see_event(draw(200));
			}
			if (draw(200) == 0)
				past_runtime(&past, &runtime, EVERY);
		}
		lost += n == PAST_LOST;
		if (n == PAST_LOST)
			continue;
		whole++;
		file_at = 4;
		uint64_t sequence = 0;
		size_t events = 0;
		bool begun = false;   /* events: those of the oldest States may have gone before the reader came */
		Introspection__ServerMessage *m;
		check_head();
		for (; (m = next_message()) != NULL; release(m)) {
			if (m->payload_case != INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE) {
				events++;
				continue;
			}
			begun |= events > 0;
			if (sequence > 0) {
				assert_int_equal(m->state->sequence, sequence + 1);
				assert_int_equal(events, begun);
			}
			sequence = m->state->sequence;
			events = 0;
		}
	}
	print_message("readers: %zu got all, %zu were too slow\n", whole, lost);
	assert_true(whole > 20);
	assert_true(lost > 5);
}

/* The reader gets all up to the end of the item of that number. */
static struct past_reader stands_behind(uint64_t number)
{
	static uint8_t out[64 << 10];
	struct past_reader r = past_reader(&past, INT64_MIN);

	for (size_t n = 0; r.number <= number; n++) {
		assert_true(n < sizeof out);
		assert_int_equal(past_read(&past, &r, out, 1), 1);
	}
	assert_int_equal(r.done, 0);
	return r;
}

static void seconds(unsigned count)
{
	for (; count > 0; count--, now += 1000) {
		take(1);
		remember();
		see_event(1000);
	}
}

/* Between two items nothing stands half read: who falls behind there is told, too, of States and of
 * events that went for their age or for want of room, but of nothing that was not to come to it. */
static void test_gap(void **unused)
{
	uint8_t byte;
	const struct { uint64_t read; unsigned more; int64_t later; long got; } rows[] = {
		{2, 1, 0, 1},                        /* nothing went */
		{2, 0, MINUTE + 500, 1} ,            /* what it has */
		{2, 0, MINUTE + 3500, PAST_LOST},    /* the States after that, for their age */
		{2, 80, 0, PAST_LOST},               /* its events, since others are so many */
		{20, 80, 0, 0},                      /* it had got all */
		{0, 80, 0, 1},                       /* it had got nothing, and gets what is left */
		{0, 0, 3 * MINUTE, PAST_LOST},       /* ... of which there is nothing */
	};

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		start(256 << 10, MINUTE);
		seconds(10);
		struct past_reader r = stands_behind(rows[i].read);
		seconds(rows[i].more);
		if (rows[i].later > 0) {
			now += rows[i].later - 10000;
			seconds(1);
		}
		const long got = past_read(&past, &r, &byte, 1);
		if (got != rows[i].got)
			fail_msg("row %zu: %ld, not %ld", i, got, rows[i].got);
		past_close(&past);
	}
}

/* A wall clock that is set back changes no order, and no age. */
static void test_clock_set_back(void **unused)
{
	(void)unused;
	start(1 << 20, DAY);
	for (int i = 0; i < 10; i++, now += EVERY) {
		take(1);
		state.instant_ts = i < 5 ? 9000 : 100;
		const struct snapshot_input input = {.state = &state};
		snapshot_take(&store, &input, &runtime, now);
		remember();
	}
	read_past(past_reader(&past, now - 3 * EVERY));
	check_head();
	for (uint64_t sequence = 16; sequence <= 20; sequence += 2) {
		Introspection__ServerMessage *m = next_message();

		assert_int_equal(m->state->sequence, sequence);
		assert_int_equal(m->state->instant_ts, 100);
		release(m);
	}
	assert_null(next_message());
}

static const char *dropped;

static void drop(struct daemon *d, struct connection *c, const char *reason)
{
	(void)d;
	(void)c;
	dropped = reason;
}

static int64_t no_clock(clockid_t clock)
{
	(void)clock;
	return 0;
}

/* Its reader took all that was written to it, and what is left of its own was let go of: there is
 * no message of no bytes to end the answer with. */
static void test_http_1_0_too_slow(void **unused)
{
	static uint8_t event[1000];
	static struct source source;
	struct daemon d = {.source = &source, .drop = drop, .clock_ms = no_clock,
	                   .options.remember = PAST_MINUTE_MS, .options.remember_bytes = 128 << 10};
	const struct ws_request request = {.http_1_0 = true};
	const struct http_answer answer = {.status = 200};
	struct connection c = {.memory = calloc(1, remember_endpoint.size)};
	struct message m = {0};

	(void)unused;
	introspection__runtime__init(&source.runtime);
	assert_int_equal(remember_endpoint.start(&d), 0);
	remember_endpoint.event(&d, event, sizeof event);
	remember_endpoint.open(&d, &c, &request, &answer);
	for (int i = 0; i < 2; i++) {   /* heads of the answer and of the recording */
		assert_int_equal(remember_endpoint.next(&d, &c, &m), 1);
		assert_true(m.head_len > 0 && !m.last);
	}
	d.now += 2 * PAST_MINUTE_MS;
	remember_endpoint.event(&d, event, sizeof event);
	dropped = NULL;
	assert_int_equal(remember_endpoint.next(&d, &c, &m), 0);
	assert_string_equal(dropped, "too slow for what is remembered");
	remember_endpoint.stop();
	free(c.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_day, begin, end),
		cmocka_unit_test_setup_teardown(test_days, begin, end),
		cmocka_unit_test_setup_teardown(test_full, begin, end),
		cmocka_unit_test_setup_teardown(test_events, begin, end),
		cmocka_unit_test_setup_teardown(test_movers, begin, end),
		cmocka_unit_test_setup_teardown(test_long, begin, end),
		cmocka_unit_test_setup_teardown(test_readers, begin, end),
		cmocka_unit_test_setup_teardown(test_gap, begin, end),
		cmocka_unit_test_setup_teardown(test_clock_set_back, begin, end),
		cmocka_unit_test(test_http_1_0_too_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
