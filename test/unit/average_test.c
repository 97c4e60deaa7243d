/* Rates over longer times, from States with times and bytes of which the answer is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/average.h"

static const int64_t BEGIN = 1700000000000;

/* A State of connections with the ids 'a', 'b', ... and these bytes in; ms: since BEGIN. */
static void add(struct averages *a, int64_t ms, size_t n, const uint64_t *bytes)
{
	Introspection__State state = INTROSPECTION__STATE__INIT;
	Introspection__Subsystems all = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__Connection c[4], *list[4];
	Introspection__Traffic t[4];
	Introspection__DataGauge in[4];
	static uint8_t ids[] = "abcd";

	for (size_t i = 0; i < n; i++) {
		introspection__connection__init(&c[i]);
		introspection__traffic__init(&t[i]);
		introspection__data_gauge__init(&in[i]);
		in[i].cum_bytes = bytes[i];
		t[i].traffic_in = &in[i];
		c[i].traffic = &t[i];
		c[i].id = (ProtobufCBinaryData){1, &ids[i]};
		list[i] = &c[i];
	}
	all.n_connections = n;
	all.connections = list;
	state.subsystems = &all;
	state.instant_ts = (uint64_t)(BEGIN + ms);
	averages_add(a, &state);
}

static uint64_t rate(const struct averages *a, char id, unsigned seconds)
{
	uint64_t rates[2] = {0};
	uint8_t byte = (uint8_t)id;
	const ProtobufCBinaryData bytes = {1, &byte};

	assert_true(averages_rate(a, &bytes, seconds, rates));
	assert_int_equal(rates[1], 0);
	return rates[0];
}

static void bursts_fade_with_the_window(void **state)
{
	struct averages a = {0};

	(void)state;
	for (int64_t s = 0; s <= 100; s++)
		add(&a, s * 1000, 2, (const uint64_t[]){(uint64_t)s * 1000, s < 100 ? 7 : 40007});
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rate(&a, 'a', (const unsigned[]){2, 10, 40}[i]), 1000);
	assert_int_equal(rate(&a, 'b', 2), 20000);
	assert_int_equal(rate(&a, 'b', 10), 4000);
	assert_int_equal(rate(&a, 'b', 40), 1000);
	averages_free(&a);
}

static void any_interval_between_states(void **state)
{
	static const int64_t steps[] = {100, 700, 1999, 3000, 15000};

	(void)state;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		struct averages a = {0};

		for (int64_t ms = 0; ms <= 90000; ms += steps[i])
			add(&a, ms, 1, (const uint64_t[]){(uint64_t)ms});
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(rate(&a, 'a', (const unsigned[]){2, 10, 40}[k]), 1000);
		averages_free(&a);
	}
}

static void what_is_new_has_a_short_past(void **state)
{
	struct averages a = {0};
	uint64_t rates[2];
	uint8_t id = 'b';
	const ProtobufCBinaryData b = {1, &id};

	(void)state;
	add(&a, 0, 1, (const uint64_t[]){500});
	id = 'a';
	assert_false(averages_rate(&a, &b, 40, rates)); /* one moment is no time */
	id = 'b';
	assert_false(averages_rate(&a, &b, 40, rates)); /* not there */
	add(&a, 10000, 2, (const uint64_t[]){500, 100000});
	add(&a, 14000, 2, (const uint64_t[]){500, 104000});
	assert_int_equal(rate(&a, 'b', 40), 1000);
	add(&a, 16000, 2, (const uint64_t[]){500, 10}); /* another connection with this id */
	add(&a, 18000, 2, (const uint64_t[]){500, 30});
	assert_int_equal(rate(&a, 'b', 40), 10);
	add(&a, 1000, 1, (const uint64_t[]){9}); /* a recording begins again */
	add(&a, 3000, 1, (const uint64_t[]){2009});
	assert_int_equal(rate(&a, 'a', 40), 1000);
	averages_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bursts_fade_with_the_window),
	    cmocka_unit_test(any_interval_between_states),
	    cmocka_unit_test(what_is_new_has_a_short_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
