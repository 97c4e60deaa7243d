#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/pollset.h"

enum { FIXED = 3, SLOTS = 120 };

static struct pollset set;
static int peers[SLOTS];   /* the other ends; -1: none */
static short wanted[SLOTS];

static void want(size_t slot, short events)
{
	pollset_want(&set, slot, wanted[slot] = events);
}

static void add(size_t slot)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	peers[slot] = pair[1];
	pollset_add(&set, slot, pair[0]);
	want(slot, POLLIN);
}

static void take_away(size_t slot)
{
	close(set.slot[slot].fd);
	close(peers[slot]);
	peers[slot] = -1;
	pollset_remove(&set, slot);
}

static int open_set(void **state)
{
	(void)state;
	memset(peers, -1, sizeof peers);
	assert_int_equal(pollset_open(&set, FIXED, SLOTS), 0);
	assert_true(set.group >= 0);
	return 0;
}

static int close_set(void **state)
{
	(void)state;
	for (size_t i = 0; i < SLOTS; i++)
		if (peers[i] >= 0)
			take_away(i);
	assert_int_equal(set.used, 0);
	assert_int_equal(set.polled, FIXED);
	pollset_close(&set);
	return 0;
}

/* Looks once; found[slot] is what was found. */
static void look(short found[SLOTS])
{
	ssize_t slot;

	memset(found, 0, SLOTS * sizeof *found);
	assert_true(pollset_poll(&set, 0) >= 0);
	while ((slot = pollset_next(&set)) >= 0) {
		assert_true(pollset_revents(&set, (size_t)slot) != 0);
		assert_int_equal(found[slot], 0);
		found[slot] = pollset_take(&set, (size_t)slot);
		assert_int_equal(pollset_revents(&set, (size_t)slot), 0);
	}
}

static void fill(size_t slots)
{
	for (size_t i = 0; i < slots; i++)
		add(i);
}

static void say(size_t slot)
{
	assert_int_equal(write(peers[slot], "x", 1), 1);
}

static void hear(size_t slot)
{
	char byte;

	assert_int_equal(read(set.slot[slot].fd, &byte, 1), 1);
}

/* Exactly this one has something. */
static void expect_only(size_t slot, short events)
{
	short found[SLOTS];

	look(found);
	for (size_t i = 0; i < SLOTS; i++)
		assert_int_equal(found[i], i == slot ? events : 0);
}

static void expect_nothing(void)
{
	expect_only(SLOTS, 0);
}

/* Every nth has something to read. */
static void expect_every(size_t n)
{
	short found[SLOTS];

	look(found);
	for (size_t i = 0; i < SLOTS; i++)
		assert_int_equal(found[i], i % n == 0 ? POLLIN : 0);
}

static void few_stand_in_the_table(void **state)
{
	(void)state;
	fill(POLLSET_FEW);
	expect_nothing();
	assert_int_equal(set.polled, FIXED + POLLSET_FEW);
	assert_int_equal(set.fds[0].fd, -1);
	say(7);
	expect_only(7, POLLIN);
}

static void many_are_one_entry_of_it(void **state)
{
	(void)state;
	fill(POLLSET_FEW + 1);
	assert_int_equal(set.polled, FIXED);
	assert_int_equal(set.fds[0].fd, set.group);
	for (size_t i = POLLSET_FEW + 1; i < SLOTS; i++)
		add(i);
	assert_int_equal(set.polled, FIXED);
	expect_nothing();
	for (size_t i = 0; i < SLOTS; i++) {
		say(i);
		expect_only(i, POLLIN);
		hear(i);
	}
	expect_nothing();
	for (size_t i = 0; i < SLOTS; i++)
		say(i);
	expect_every(1);
}

static void input_ends_a_wait(void **state)
{
	(void)state;
	fill(SLOTS);
	say(50);
	assert_int_equal(pollset_poll(&set, 10000), 1);
	assert_int_equal(pollset_next(&set), 50);
	assert_int_equal(pollset_next(&set), -1);
}

static void an_end_is_told(void **state)
{
	(void)state;
	fill(SLOTS);
	assert_int_equal(shutdown(peers[3], SHUT_WR), 0);
	expect_only(3, POLLIN);
	take_away(3);
	close(peers[5]);
	expect_only(5, POLLIN | POLLHUP);
	want(5, 0);
	expect_only(5, POLLHUP);
	peers[5] = open("/dev/null", O_RDWR);
	take_away(5);
	expect_nothing();
}

static void what_was_not_read_is_found_again(void **state)
{
	(void)state;
	fill(SLOTS);
	for (int i = 0; i < 20; i++)
		say(8);
	for (int i = 0; i < 20; i++) {
		expect_only(8, POLLIN);
		hear(8);
	}
	expect_nothing();
}

static void who_wants_to_write_stands_in_the_table(void **state)
{
	(void)state;
	fill(SLOTS);
	want(9, POLLIN | POLLOUT);
	assert_int_equal(set.polled, FIXED + 1);
	expect_only(9, POLLOUT);
	want(9, 0);
	say(9);
	expect_nothing();
	want(9, POLLIN);
	assert_int_equal(set.polled, FIXED);
	expect_only(9, POLLIN);
}

static void few_and_many_and_few_again(void **state)
{
	(void)state;
	fill(SLOTS);
	for (size_t i = 10; i < SLOTS; i++)
		take_away(i);
	for (size_t i = 0; i < 10; i += 2) {
		want(i, POLLOUT);
		want(i, POLLIN);
	}
	assert_int_equal(set.polled, FIXED + 5);
	for (size_t i = 0; i < 10; i++) {
		say(i);
		expect_only(i, POLLIN);
		hear(i);
	}
	for (size_t i = 10; i <= POLLSET_FEW; i++)
		add(i);
	assert_int_equal(set.polled, FIXED);
}

/* A slot is closed and opened again between pollset_poll() and pollset_next(). */
static void what_was_found_for_a_socket_is_not_for_the_next(void **state)
{
	(void)state;
	fill(SLOTS);
	for (size_t i = 0; i < SLOTS; i += 2)
		say(i);
	assert_int_equal(pollset_poll(&set, 0), 1);
	const ssize_t first = pollset_next(&set);
	assert_int_equal(first % 2, 0);
	for (size_t i = 0; i < SLOTS; i++) {
		take_away(i);
		assert_int_equal(pollset_revents(&set, i), 0);
		if (i > 0)
			add(i);
	}
	assert_int_equal(pollset_next(&set), -1);
	expect_nothing();
}

static void without_an_epoll_set_all_stand_in_the_table(void **state)
{
	(void)state;
	fill(SLOTS);
	say(6);
	/* Whatever it is, epoll_wait() does not take it. */
	assert_true(dup2(peers[0], set.group) >= 0);
	assert_int_equal(write(set.slot[0].fd, "x", 1), 1);
	assert_true(pollset_poll(&set, 0) >= 0);
	assert_int_equal(set.polled, FIXED + SLOTS);
	assert_int_equal(set.group, -1);
	expect_only(6, POLLIN);
	take_away(1);
	add(1);
	assert_int_equal(set.polled, FIXED + SLOTS);
	expect_only(6, POLLIN);
}

static void who_is_not_served_is_found_again(void **state)
{
	(void)state;
	fill(SLOTS);
	say(4);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(pollset_poll(&set, 0), 1);
		assert_int_equal(pollset_next(&set), 4);
		assert_int_equal(pollset_revents(&set, 4), POLLIN);
	}
	hear(4);
	assert_int_equal(pollset_poll(&set, 0), 0);
	assert_int_equal(pollset_revents(&set, 4), 0);
	assert_int_equal(pollset_next(&set), -1);
}

static void after_an_error_nothing_is_found(void **state)
{
	struct rlimit before, few;

	(void)state;
	fill(SLOTS);
	say(30);
	want(31, POLLOUT);
	assert_int_equal(pollset_poll(&set, 0), 2);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){FIXED, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(pollset_poll(&set, 0), 2);   /* one by one */
	assert_int_equal(pollset_revents(&set, 30), POLLIN);
	few.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(pollset_poll(&set, 0), -1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(pollset_revents(&set, 30), 0);
	assert_int_equal(pollset_revents(&set, 31), 0);
	assert_int_equal(pollset_next(&set), -1);
	assert_int_equal(set.fds[0].revents, 0);
	want(31, POLLIN);
	expect_only(30, POLLIN);
}

/* What poll() would find, if it looked at everything. */
static void look_at_all(short found[SLOTS])
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct pollfd one = {.fd = peers[i] < 0 ? -1 : set.slot[i].fd, .events = wanted[i]};

		assert_true(poll(&one, 1, 0) >= 0);
		found[i] = one.revents;
	}
}

static void change_something(size_t slot)
{
	char bytes[16];

	if (peers[slot] < 0) {
		add(slot);
		return;
	}
	switch (rand() % 32) {
	case 0:
		take_away(slot);
		break;
	case 1:
		shutdown(peers[slot], SHUT_WR);
		break;
	case 2:
		want(slot, POLLIN | POLLOUT);
		break;
	case 3:
	case 4:
	case 5:
		want(slot, POLLIN);
		break;
	case 6:
		want(slot, 0);
		break;
	case 7:
	case 8:
	case 9:
		send(peers[slot], "xyz", 3, MSG_NOSIGNAL);
		break;
	default:
		/* As in the loop: read after it was found, or asked for. */
		pollset_take(&set, slot);
		recv(set.slot[slot].fd, bytes, sizeof bytes, 0);
	}
}

static void it_is_always_what_poll_would_find(void **state)
{
	short all[SLOTS], found[SLOTS];

	(void)state;
	srand(1);
	for (size_t i = 0; i < SLOTS; i++)
		add(i);
	for (int round = 0; round < 20000; round++) {
		/* Now and then there are few. */
		const size_t among = round / 1000 % 2 ? SLOTS : POLLSET_FEW;

		for (size_t i = among; i < SLOTS; i++)
			if (peers[i] >= 0 && rand() % 8 == 0)
				take_away(i);
		for (int n = rand() % 4; n > 0; n--)
			change_something((size_t)rand() % among);
		look_at_all(all);
		look(found);
		for (size_t i = 0; i < SLOTS; i++)
			if (all[i] != found[i])
				fail_msg("round %d, slot %zu: %#x, not %#x", round, i, found[i], all[i]);
	}
}

static void the_earliest_deadline_is_that_of_all_of_them(void **state)
{
	int64_t deadlines[SLOTS];

	(void)state;
	srand(2);
	assert_true(pollset_deadline(&set) == INT64_MAX);
	for (int round = 0; round < 20000; round++) {
		const size_t slot = (size_t)rand() % SLOTS;
		int64_t least = INT64_MAX;

		if (peers[slot] < 0) {
			add(slot);
			assert_false(pollset_is_past(&set, slot, INT64_MAX - 1));
		} else if (rand() % 16 == 0) {
			take_away(slot);
		} else {
			pollset_until(&set, slot, rand() % 8 == 0 ? INT64_MAX : rand() % 1000);
		}
		for (size_t i = 0; i < SLOTS; i++) {
			deadlines[i] = peers[i] < 0 ? INT64_MAX : set.deadlines[i];
			least = deadlines[i] < least ? deadlines[i] : least;
		}
		if (rand() % 2 == 0)
			assert_true(pollset_deadline(&set) == least);
		assert_int_equal(pollset_is_past(&set, slot, 500), deadlines[slot] <= 500);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_set, close_set)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(few_stand_in_the_table),
		TEST(many_are_one_entry_of_it),
		TEST(input_ends_a_wait),
		TEST(an_end_is_told),
		TEST(what_was_not_read_is_found_again),
		TEST(who_wants_to_write_stands_in_the_table),
		TEST(few_and_many_and_few_again),
		TEST(what_was_found_for_a_socket_is_not_for_the_next),
		TEST(without_an_epoll_set_all_stand_in_the_table),
		TEST(who_is_not_served_is_found_again),
		TEST(after_an_error_nothing_is_found),
		TEST(it_is_always_what_poll_would_find),
		TEST(the_earliest_deadline_is_that_of_all_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
