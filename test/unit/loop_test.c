/* The loop of introspectd.c, which is part of this file so that its functions can be called, and how
 * often it looks through the deadlines of all slots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pollset.h"

static size_t looked_through;

static int64_t counted_deadline(struct pollset *p)
{
	looked_through += p->earliest == p->slots;
	return pollset_deadline(p);
}

#define pollset_deadline counted_deadline
#define main daemon_main
#include "introspectd.c"
#undef main

enum { CLIENTS = 60, HOUR = 3600 * 1000 };

static struct server srv;
static int ends[CLIENTS];   /* of the clients */

static int begin(void **state)
{
	char *argv[] = {(char *)"introspectd", NULL};

	(void)state;
	assert_int_equal(options_read(&srv.d.options, 1, argv), -1);
	assert_int_equal(make_table(&srv), 0);
	srv.tcp = &stream_plain;
	return 0;
}

static int end(void **state)
{
	(void)state;
	release(&srv);
	for (size_t i = 0; i < CLIENTS; i++)
		close(ends[i]);
	return 0;
}

/* Each connects 10 ms after the one before, so that no two have one deadline. */
static void connect_clients(void)
{
	const struct sockaddr_in6 peer = {.sin6_family = AF_UNIX};
	int pair[2];

	for (size_t i = 0; i < CLIENTS; i++, srv.d.now += 10) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		ends[i] = pair[1];
		slot_open(&srv, pair[0], &peer);
	}
	assert_int_equal(srv.d.counters.clients[SLOT_HEAD], CLIENTS);
}

/* As a turn does: it waits until the earliest deadline, then serves. */
static void serve_at(int64_t now)
{
	looked_through = 0;
	pollset_deadline(&srv.set);
	assert_int_equal(pollset_poll(&srv.set, 0), 0);
	srv.d.now = now;
	serve_clients(&srv);
}

static void the_deadlines_of_many_are_looked_through_once(void **state)
{
	(void)state;
	srv.d.now = HOUR;
	connect_clients();
	serve_at(HOUR + HANDSHAKE_MS - 1);
	assert_int_equal(srv.d.counters.clients[SLOT_HEAD], CLIENTS);
	assert_in_range(looked_through, 0, 1);

	/* Only one has one that has passed: it is dropped. */
	serve_at(HOUR + HANDSHAKE_MS);
	assert_int_equal(srv.d.counters.clients[SLOT_HEAD], CLIENTS - 1);
	assert_in_range(looked_through, 0, 1);

	/* The daemon was held up: all have. */
	serve_at(2 * HOUR);
	assert_int_equal(srv.d.counters.clients[SLOT_HEAD], 0);
	assert_int_equal(srv.d.counters.clients[SLOT_FREE], srv.slot_count);
	assert_in_range(looked_through, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_deadlines_of_many_are_looked_through_once, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
