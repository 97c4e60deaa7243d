#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "endpoint/history.h"

/* What item n holds: its bytes are told from those of its neighbours. */
static void fill(uint8_t *out, uint64_t number, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(number * 31 + i * 7 + len);
}

static void add(struct history *h, size_t len)
{
	const struct history_item item = {.kind = HISTORY_STATE, .sequence = h->next, .time = 5};
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	fill(bytes, h->next, len);
	assert_int_equal(history_make_room(h, len), 0);
	history_add(h, &item, bytes, len);
	free(bytes);
}

static void assert_intact(const struct history *h)
{
	static uint8_t expected[1 << 20];

	assert_true(h->next - h->first <= HISTORY_ITEMS);
	for (uint64_t n = h->first; n < h->next; n++) {
		const struct history_item *item = history_item(h, n);

		assert_true(item->sequence == n);
		assert_true(item->time == 5);
		assert_true(item->offset + item->len <= h->size);
		fill(expected, n, item->len);
		assert_memory_equal(h->ring + item->offset, expected, item->len);
	}
}

static void begins_with_one(void **state)
{
	struct history h;

	(void)state;
	assert_int_equal(history_open(&h, 100), 0);
	assert_true(h.first == 1 && h.next == 1);
	add(&h, 10);
	assert_true(h.first == 1 && h.next == 2);
	assert_int_equal(history_item(&h, 1)->len, 10);
	assert_intact(&h);
	history_close(&h);
	history_close(&h);
}

static void longer_than_the_ring(void **state)
{
	struct history h;

	(void)state;
	assert_int_equal(history_open(&h, 100), 0);
	add(&h, 60);
	add(&h, 30);
	assert_int_equal(history_make_room(&h, 101), -1);
	assert_int_equal(history_make_room(&h, SIZE_MAX), -1);
	assert_true(h.first == 1 && h.next == 3);
	assert_intact(&h);
	add(&h, 100);
	assert_true(h.first == 3 && h.next == 4);
	assert_intact(&h);
	add(&h, 1);
	assert_true(h.first == 4);
	assert_intact(&h);
	history_close(&h);
}

/* Lengths that are added in turn to a ring of 100 bytes, and the number of the
 * oldest item that is left after each. */
static void oldest_go_first(void **state)
{
	static const struct {
		size_t len;
		uint64_t first;
	} rows[] = {
		{40, 1}, {40, 1}, {20, 1},   /* full to the last byte */
		{1, 2},                      /* over the first of 1 */
		{39, 2}, {1, 3},             /* up to 2, over 2 */
		{70, 7},                     /* does not fit behind 6: the rest of the ring is skipped */
		{30, 7},                     /* fits exactly behind 7 */
		{30, 8}, {30, 8}, {10, 8},
		{20, 9},
		{5, 9}, {5, 9}, {1, 10},
		{90, 14}, {11, 17},
	};
	struct history h;

	(void)state;
	assert_int_equal(history_open(&h, 100), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		add(&h, rows[i].len);
		if (h.first != rows[i].first)
			fail_msg("row %zu: first is %llu", i, (unsigned long long)h.first);
		assert_intact(&h);
	}
	history_close(&h);
}

static void number_of_items_is_bounded(void **state)
{
	struct history h;

	(void)state;
	assert_int_equal(history_open(&h, 1 << 20), 0);
	for (int i = 0; i < HISTORY_ITEMS; i++)
		add(&h, 1);
	assert_true(h.first == 1);
	for (int i = 0; i < 3; i++)
		add(&h, 1);
	assert_true(h.first == 4 && h.next == HISTORY_ITEMS + 4);
	assert_intact(&h);
	history_close(&h);
}

/* Whatever is added: what is kept is intact, and no more is let go than must be. */
static void random_lengths(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	(void)state;
	print_message("SEED=%u\n", seed);
	srand(seed);
	for (int round = 0; round < 200; round++) {
		size_t size = 1 + (size_t)rand() % 3000, longest = 1 + (size_t)rand() % size;
		struct history h;

		assert_int_equal(history_open(&h, size), 0);
		for (int i = 0; i < 300; i++) {
			size_t kept = 0;
			uint64_t before = h.first;

			add(&h, 1 + (size_t)rand() % longest);
			for (uint64_t n = h.first; n < h.next; n++)
				kept += history_item(&h, n)->len;
			if (h.first > before)
				assert_true(kept + 2 * longest > size);
			assert_true(kept <= size);
			assert_intact(&h);
		}
		history_close(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_with_one),
		cmocka_unit_test(longer_than_the_ring),
		cmocka_unit_test(oldest_go_first),
		cmocka_unit_test(number_of_items_is_bounded),
		cmocka_unit_test(random_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
