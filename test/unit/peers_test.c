#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/peers.h"

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* NULL: of a Unix socket. */
static union address at(const char *text)
{
	union address a = {.any.sa_family = AF_UNIX};

	if (text && inet_pton(AF_INET, text, &a.v4.sin_addr) == 1)
		a.any.sa_family = AF_INET;
	else if (text && inet_pton(AF_INET6, text, &a.v6.sin6_addr) == 1)
		a.any.sa_family = AF_INET6;
	return a;
}

static void enter(struct peers *p, struct place *place, const char *address, int64_t now)
{
	const union address a = at(address);

	peers_enter(p, place, &a.any, now);
}

static unsigned count(const struct peers *p, const char *address)
{
	const union address a = at(address);

	return peers_count(p, &a.any);
}

static struct place *victim(const struct peers *p, const char *address, int64_t now)
{
	const union address a = at(address);

	return peers_victim(p, &a.any, now);
}

/* Of three connections at most, the third is let in, the fourth is not. */
static void limits_each_address(void **state)
{
	static const struct {
		size_t most;
		bool loopback;
		const char *address;
		bool full;
	} rows[] = {
		{3, false, "192.0.2.1", true},   {3, true, "192.0.2.1", true},  {4, true, "192.0.2.1", false},
		{0, true, "192.0.2.1", false},   {3, false, "127.0.0.1", false}, {3, true, "127.0.0.1", true},
		{3, false, "::1", false},        {3, true, "::1", true},        {3, false, "2001:db8::1", true},
		{3, false, "::ffff:127.0.0.2", false}, {3, true, "::ffff:127.0.0.2", true},
	};
	const struct sockaddr unix_socket = {.sa_family = AF_UNIX};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const union address a = at(rows[i].address);
		struct place places[3] = {0}, others[3] = {0};
		struct peers p;

		assert_int_equal(peers_open(&p, 6), 0);
		p.most = rows[i].most;
		p.loopback = rows[i].loopback;
		for (int n = 0; n < 3; n++) {
			assert_false(peers_is_full(&p, &a.any));
			peers_enter(&p, &places[n], &a.any, 0);
			peers_enter(&p, &others[n], &unix_socket, 0);
		}
		assert_int_equal(peers_is_full(&p, &a.any), rows[i].full);
		assert_false(peers_is_full(&p, &unix_socket));
		peers_close(&p);
	}
}

static void counts_by_owner(void **state)
{
	static const char *const from[] = {"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1",
	                                   "2001:db8::ffff:1", "2001:db8:0:1::1", "::1", NULL};
	enum { N = sizeof from / sizeof *from };
	static const unsigned expected[N] = {2, 2, 1, 2, 2, 1, 1, 1};
	struct place places[N];
	struct peers p;

	(void)state;
	assert_int_equal(peers_open(&p, N), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++)
			enter(&p, &places[i], from[i], 1);
		for (int i = 0; i < N; i++)
			assert_int_equal(count(&p, from[i]), expected[i]);
		peers_set_client(&p, &places[0], true);
		assert_int_equal(count(&p, from[0]), 2);
		for (int i = 0; i < N; i++)
			peers_leave(&p, &places[(i * 3 + round) % N]);
		for (int i = 0; i < N; i++)
			assert_int_equal(count(&p, from[i]), 0);
		assert_null(victim(&p, from[0], 2));
	}
	peers_close(&p);
}

static void who_makes_room(void **state)
{
	struct place places[6];
	struct peers p;

	(void)state;
	assert_int_equal(peers_open(&p, 6), 0);
	assert_null(victim(&p, "192.0.2.9", 1));
	enter(&p, &places[0], "192.0.2.1", 1);
	enter(&p, &places[1], "192.0.2.2", 2);
	assert_null(victim(&p, "192.0.2.9", 1));
	assert_ptr_equal(victim(&p, "192.0.2.9", 2), &places[0]);
	places[0].spoke = true;
	assert_ptr_equal(victim(&p, "192.0.2.9", 3), &places[1]);
	places[1].spoke = true;
	assert_ptr_equal(victim(&p, "192.0.2.9", 3), &places[0]);
	enter(&p, &places[2], "192.0.2.2", 3);
	assert_ptr_equal(victim(&p, "192.0.2.9", 4), &places[2]);
	peers_set_client(&p, &places[2], true);
	assert_ptr_equal(victim(&p, "192.0.2.9", 4), &places[0]);
	/* A client that is none any more stands behind the others. */
	peers_set_client(&p, &places[0], true);
	peers_set_client(&p, &places[0], false);
	assert_ptr_equal(victim(&p, "192.0.2.9", 4), &places[1]);
	peers_set_client(&p, &places[2], false);
	enter(&p, &places[3], "192.0.2.3", 4);
	assert_ptr_equal(victim(&p, "192.0.2.9", 5), &places[2]);
	for (int i = 0; i < 4; i++)
		peers_leave(&p, &places[i]);
	assert_null(victim(&p, "192.0.2.9", 5));
	peers_close(&p);
}

/* An address with many gains no place of one with fewer, also when all of its own came now. */
static void nobody_gains_by_numbers(void **state)
{
	struct place places[4];
	struct peers p;

	(void)state;
	assert_int_equal(peers_open(&p, 4), 0);
	enter(&p, &places[0], "192.0.2.1", 1);
	for (int i = 1; i < 4; i++)
		enter(&p, &places[i], "192.0.2.2", 5);
	assert_null(victim(&p, "192.0.2.2", 5));
	assert_ptr_equal(victim(&p, "192.0.2.2", 6), &places[1]);
	assert_ptr_equal(victim(&p, "192.0.2.1", 5), &places[1]);
	assert_ptr_equal(victim(&p, "192.0.2.9", 5), &places[1]);
	peers_set_client(&p, &places[1], true);
	/* It would have as many as the one that it displaces. */
	assert_ptr_equal(victim(&p, "192.0.2.1", 5), &places[0]);
	assert_ptr_equal(victim(&p, "192.0.2.1", 6), &places[2]);
	peers_set_client(&p, &places[2], true);
	assert_null(victim(&p, "192.0.2.2", 5));
	assert_ptr_equal(victim(&p, "192.0.2.9", 5), &places[0]);
	peers_close(&p);
}

static void no_more_are_looked_at(void **state)
{
	static struct place places[PEERS_LOOKED_AT + 2];
	struct peers p;

	(void)state;
	assert_int_equal(peers_open(&p, PEERS_LOOKED_AT + 2), 0);
	for (int i = 0; i < PEERS_LOOKED_AT; i++) {
		enter(&p, &places[i], "192.0.2.1", 1);
		peers_set_client(&p, &places[i], true);
		peers_set_client(&p, &places[i], false);
		places[i].came = i == 0 ? 1 : 5;
	}
	enter(&p, &places[PEERS_LOOKED_AT], "192.0.2.1", 1);
	assert_ptr_equal(victim(&p, "192.0.2.1", 5), &places[0]);
	peers_leave(&p, &places[0]);
	assert_ptr_equal(victim(&p, "192.0.2.1", 5), &places[PEERS_LOOKED_AT]);
	enter(&p, &places[0], "192.0.2.1", 5);
	peers_set_client(&p, &places[PEERS_LOOKED_AT], true);
	peers_set_client(&p, &places[PEERS_LOOKED_AT], false);
	assert_null(victim(&p, "192.0.2.1", 5));
	peers_close(&p);
}

/* Against the plainest table there is. */
static void as_counted_one_by_one(void **state)
{
	enum { N = 64, ADDRESSES = 40 };
	static struct place places[N];
	static int from[N];
	struct peers p;

	(void)state;
	srand(1);
	assert_int_equal(peers_open(&p, N), 0);
	memset(from, -1, sizeof from);
	for (int step = 0; step < 20000; step++) {
		const int i = rand() % N, a = rand() % ADDRESSES;
		union address address = at("10.0.0.0");
		unsigned expected = 0;

		if (from[i] >= 0 && rand() % 2) {
			peers_set_client(&p, &places[i], rand() % 2);
		} else if (from[i] >= 0) {
			peers_leave(&p, &places[i]);
			from[i] = -1;
		} else {
			address.v4.sin_addr.s_addr = htonl(0x0a000000U + (uint32_t)a);
			peers_enter(&p, &places[i], &address.any, step);
			from[i] = a;
		}
		address.v4.sin_addr.s_addr = htonl(0x0a000000U + (uint32_t)a);
		for (int k = 0; k < N; k++)
			expected += from[k] == a;
		assert_int_equal(peers_count(&p, &address.any), expected);
	}
	peers_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_by_owner),
		cmocka_unit_test(limits_each_address),
		cmocka_unit_test(who_makes_room),
		cmocka_unit_test(nobody_gains_by_numbers),
		cmocka_unit_test(no_more_are_looked_at),
		cmocka_unit_test(as_counted_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
