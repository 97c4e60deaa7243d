#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot.h"
#include "source/wire.h"

/* A buffer that cannot be had must come back as NULL here as well. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* A state whose message grows byte by byte with the length of filler. */
struct sample {
	Introspection__State state;
	Introspection__Connection connection;
	Introspection__Connection *connections[1];
	Introspection__Connection__Timeline timeline;
	Introspection__DataGauge gauge;
	Introspection__Traffic traffic;
	Introspection__StreamList streams;
	Introspection__DHT dht;
	Introspection__DHT__Params params;
	Introspection__DHT__Bucket bucket;
	Introspection__DHT__Bucket *buckets[1];
	Introspection__Subsystems subsystems;
	Introspection__OwnAddress address;
	Introspection__OwnAddress *addresses[1];
	Introspection__Runtime runtime;
	char filler[4096];
	uint8_t bytes[8192];
};

static void sample_init(struct sample *s, size_t filler)
{
	introspection__state__init(&s->state);
	introspection__connection__init(&s->connection);
	introspection__subsystems__init(&s->subsystems);
	introspection__connection__timeline__init(&s->timeline);
	introspection__data_gauge__init(&s->gauge);
	introspection__traffic__init(&s->traffic);
	introspection__stream_list__init(&s->streams);
	introspection__dht__init(&s->dht);
	introspection__dht__params__init(&s->params);
	introspection__dht__bucket__init(&s->bucket);
	introspection__own_address__init(&s->address);
	introspection__runtime__init(&s->runtime);
	memset(s->filler, 'x', filler);
	s->filler[filler] = '\0';
	s->connection.peer_id = s->filler;
	s->connection.latency_ns = 12345;
	s->connection.timeline = &s->timeline;
	s->connection.traffic = &s->traffic;
	s->connection.streams = &s->streams;
	s->traffic.traffic_in = s->traffic.traffic_out = &s->gauge;
	s->dht.params = &s->params;
	s->dht.buckets = s->buckets;
	s->dht.n_buckets = 1;
	s->buckets[0] = &s->bucket;
	s->subsystems.dht = &s->dht;
	s->connections[0] = &s->connection;
	s->subsystems.connections = s->connections;
	s->subsystems.n_connections = 1;
	s->address.multiaddr = (char *)"/ip4/127.0.0.1/tcp/4001";
	s->addresses[0] = &s->address;
	s->state.subsystems = &s->subsystems;
	s->state.addresses = s->addresses;
	s->state.n_addresses = 1;
	s->state.instant_ts = 1700000000000;
	s->runtime.implementation = (char *)"test";
	s->runtime.interval_ms = 1000;
}

/* The two forms that a source may hand over. */
static struct snapshot_input as_struct(struct sample *s)
{
	return (struct snapshot_input){.state = &s->state};
}

static struct snapshot_input as_bytes(struct sample *s)
{
	s->state.runtime = NULL;
	s->state.sequence = 0;
	assert_in_range(introspection__state__get_packed_size(&s->state), 1, sizeof s->bytes);
	return (struct snapshot_input){.bytes = s->bytes,
	                               .len = introspection__state__pack(&s->state, s->bytes)};
}

/* Returns the bytes of the message when it was taken, as snapshot_take. */
static size_t take(struct snapshot_store *store, size_t filler, int64_t now)
{
	struct sample s;
	struct snapshot_input input;

	sample_init(&s, filler);
	input = as_struct(&s);
	return snapshot_take(store, &input, &s.runtime, now);
}

static void open_store(struct snapshot_store *store, size_t max)
{
	assert_int_equal(snapshot_open(store, max), 0);
}

static Introspection__ServerMessage *decode(const struct snapshot *snapshot)
{
	Introspection__ServerMessage *message =
		introspection__server_message__unpack(NULL, snapshot->len, snapshot->message);

	assert_non_null(message);
	return message;
}

static void begins_empty(void **state)
{
	struct snapshot_store store;

	(void)state;
	open_store(&store, 4096);
	assert_null(store.latest);
	assert_int_equal(store.sequence, 0);
	assert_null(snapshot_in_the_way(&store));
	snapshot_close(&store);
	assert_null(store.latest);
	snapshot_close(&store);
}

static void numbers_from_one(void **state)
{
	struct snapshot_store store;

	(void)state;
	open_store(&store, 4096);
	for (uint64_t n = 1; n <= 3 * SNAPSHOT_BUFFERS; n++) {
		size_t len = take(&store, (size_t)n, (int64_t)n * 1000);

		assert_non_null(store.latest);
		assert_int_equal(store.latest->sequence, n);
		assert_int_equal(store.sequence, n);
		assert_int_equal(store.latest->taken, n * 1000);
		assert_int_equal(store.latest->len, len);
		assert_int_equal(store.latest->pins, 0);
		Introspection__ServerMessage *message = decode(store.latest);
		assert_int_equal(message->state->sequence, n);
		assert_int_equal(strlen(message->state->subsystems->connections[0]->peer_id), n);
		introspection__server_message__free_unpacked(message, NULL);
	}
	snapshot_close(&store);
}

static void whole_message(void **state)
{
	struct snapshot_store store;

	(void)state;
	open_store(&store, 4096);
	take(&store, 5, 0);
	Introspection__ServerMessage *message = decode(store.latest);
	assert_int_equal(message->version->version, 1);
	assert_int_equal(message->payload_case, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE);
	assert_string_equal(message->state->runtime->implementation, "test");
	assert_int_equal(message->state->runtime->interval_ms, 1000);
	assert_int_equal(message->state->instant_ts, 1700000000000);
	assert_string_equal(message->state->addresses[0]->multiaddr, "/ip4/127.0.0.1/tcp/4001");
	introspection__server_message__free_unpacked(message, NULL);
	snapshot_close(&store);
}

/* Whether a source hands over a struct or bytes makes no difference to readers. */
static void struct_or_bytes(void **state)
{
	static uint8_t packed[2][8192];
	struct snapshot_store store[2];

	(void)state;
	for (size_t filler = 0; filler < 400; filler++) {
		struct sample s;
		size_t len[2];

		sample_init(&s, filler);
		for (int i = 0; i < 2; i++) {
			struct snapshot_input input = i == 0 ? as_struct(&s) : as_bytes(&s);

			open_store(&store[i], 8192);
			size_t taken = snapshot_take(&store[i], &input, &s.runtime, 0);
			assert_int_equal(taken, store[i].latest->len);
			Introspection__ServerMessage *message = decode(store[i].latest);
			assert_int_equal(message->state->sequence, 1);
			len[i] = introspection__server_message__pack(message, packed[i]);
			introspection__server_message__free_unpacked(message, NULL);
			snapshot_close(&store[i]);
		}
		assert_int_equal(len[0], len[1]);
		assert_memory_equal(packed[0], packed[1], len[0]);
	}
}

static void empty_bytes(void **state)
{
	const struct snapshot_input nothing = {.bytes = (const uint8_t *)"", .len = 0};
	Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
	struct snapshot_store store;

	(void)state;
	open_store(&store, 1024);
	snapshot_take(&store, &nothing, &runtime, 0);
	Introspection__ServerMessage *message = decode(store.latest);
	assert_int_equal(message->state->sequence, 1);
	assert_non_null(message->state->runtime);
	assert_null(message->state->subsystems);
	introspection__server_message__free_unpacked(message, NULL);
	snapshot_close(&store);
}

/* The limit is exact for both forms of input, told how long it is or not, and a state over it leaves no trace
 * but its size. */
static void over_the_limit(void **state)
{
	(void)state;
	for (int form = 0; form < 3; form++) {
		for (size_t filler = 0; filler < 300; filler++) {
			struct snapshot_store store;
			struct sample s;

			open_store(&store, 4096);
			sample_init(&s, filler);
			struct snapshot_input input = form == 1 ? as_bytes(&s) : as_struct(&s);
			if (form == 2)
				input.most = introspection__state__get_packed_size(&s.state);
			size_t len = snapshot_take(&store, &input, &s.runtime, 0);
			snapshot_close(&store);

			open_store(&store, len);
			assert_int_equal(snapshot_take(&store, &input, &s.runtime, 0), len);
			assert_int_equal(store.latest->len, len);
			snapshot_close(&store);

			open_store(&store, len - 1);
			assert_int_equal(snapshot_take(&store, &input, &s.runtime, 0), len);
			assert_null(store.latest);
			assert_int_equal(store.sequence, 0);
			snapshot_close(&store);
		}
	}
}

static void previous_stays(void **state)
{
	struct snapshot_store store;

	(void)state;
	open_store(&store, 1024);
	take(&store, 10, 7);
	struct snapshot *before = store.latest;
	size_t len = before->len;
	uint8_t *copy = malloc(len);
	assert_non_null(copy);
	memcpy(copy, before->message, len);

	assert_true(take(&store, 2000, 8) > 2000);
	assert_ptr_equal(store.latest, before);
	assert_int_equal(before->taken, 7);
	assert_int_equal(before->len, len);
	assert_memory_equal(before->message, copy, len);
	take(&store, 11, 9);
	assert_int_equal(store.latest->sequence, 2);
	free(copy);
	snapshot_close(&store);
}

/* What is pinned keeps its bytes whatever is taken; what is not is used again. */
static void pins(void **state)
{
	struct snapshot_store store;
	struct snapshot *held[SNAPSHOT_BUFFERS];
	size_t count = 0;

	(void)state;
	open_store(&store, 4096);
	while (!snapshot_in_the_way(&store)) {
		take(&store, 100 + count, 0);
		held[count] = store.latest;
		held[count++]->pins++;
		assert_in_range(count, 1, SNAPSHOT_BUFFERS);
	}
	assert_int_equal(count, SNAPSHOT_BUFFERS);
	for (size_t i = 0; i < count; i++) {
		Introspection__ServerMessage *message = decode(held[i]);

		assert_int_equal(message->state->sequence, i + 1);
		assert_int_equal(strlen(message->state->subsystems->connections[0]->peer_id),
		                 100 + i);
		introspection__server_message__free_unpacked(message, NULL);
	}
	assert_ptr_equal(snapshot_in_the_way(&store), held[0]);
	held[3]->pins--;
	assert_null(snapshot_in_the_way(&store));
	take(&store, 1, 0);
	assert_ptr_equal(store.latest, held[3]);
	assert_int_equal(store.latest->sequence, count + 1);
	store.latest->pins++;
	assert_ptr_equal(snapshot_in_the_way(&store), held[0]);
	held[0]->pins--;
	take(&store, 1, 0);
	store.latest->pins++;
	assert_ptr_equal(snapshot_in_the_way(&store), held[1]);
	/* Who takes most of late stays, however old. */
	for (size_t i = 1; i < count; i++)
		held[i]->pace = 100 - i;
	held[4]->pace = held[5]->pace = 7;
	store.latest->pace = 0;
	assert_ptr_equal(snapshot_in_the_way(&store), held[4]);
	for (size_t i = 0; i < count; i++)
		held[i]->pins = 0;
	snapshot_close(&store);
}

/* New clients may still want the latest: it does not make room, though nobody is
 * being sent it. */
static void latest_is_kept(void **state)
{
	struct snapshot_store store;

	(void)state;
	open_store(&store, 4096);
	for (int i = 0; i < SNAPSHOT_BUFFERS - 1; i++) {
		take(&store, 1, 0);
		store.latest->pins++;
	}
	take(&store, 2, 0);
	struct snapshot *latest = store.latest;
	assert_int_equal(latest->pins, 0);
	assert_non_null(snapshot_in_the_way(&store));
	assert_ptr_not_equal(snapshot_in_the_way(&store), latest);
	assert_int_equal(snapshot_in_the_way(&store)->sequence, 1);
	snapshot_in_the_way(&store)->pins--;
	take(&store, 3, 0);
	assert_ptr_not_equal(store.latest, latest);
	assert_int_equal(latest->sequence, SNAPSHOT_BUFFERS);
	snapshot_close(&store);
}

static void headroom(void **state)
{
	struct snapshot_store store;

	(void)state;
	open_store(&store, 1024);
	take(&store, 1, 0);
	memset(store.latest->message - SNAPSHOT_HEADROOM, 0xff, SNAPSHOT_HEADROOM);
	introspection__server_message__free_unpacked(decode(store.latest), NULL);
	snapshot_close(&store);
}

/* What a node said goes to clients as it is. */
static void bytes_stay(void **state)
{
	static const uint8_t said[] = {0x0a, 0x02, 0x0a, 0x00, 0xf8, 0x3f, 0x07};
	const struct snapshot_input input = {.bytes = said, .len = sizeof said};
	struct snapshot_store store;
	struct sample s;

	(void)state;
	sample_init(&s, 0);
	open_store(&store, 4096);
	size_t len = snapshot_take(&store, &input, &s.runtime, 0);
	assert_non_null(memmem(store.latest->message, len, said, sizeof said));
	snapshot_close(&store);
}

static void out_of_memory(void **state)
{
	struct snapshot_store store;

	(void)state;
	/* Where the sanitizer says that it failed to allocate. */
	const int said = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);
	assert_int_equal(dup2(nowhere, STDERR_FILENO), STDERR_FILENO);
	errno = 0;
	const int opened = snapshot_open(&store, SIZE_MAX / 4), why = errno;
	dup2(said, STDERR_FILENO);
	close(said);
	close(nowhere);
	assert_int_equal(opened, -1);
	assert_int_equal(why, ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_empty),
		cmocka_unit_test(numbers_from_one),
		cmocka_unit_test(whole_message),
		cmocka_unit_test(struct_or_bytes),
		cmocka_unit_test(empty_bytes),
		cmocka_unit_test(over_the_limit),
		cmocka_unit_test(previous_stays),
		cmocka_unit_test(pins),
		cmocka_unit_test(latest_is_kept),
		cmocka_unit_test(headroom),
		cmocka_unit_test(bytes_stay),
		cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
