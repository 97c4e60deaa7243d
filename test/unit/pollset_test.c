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

enum { FIXED = 3, SLOTS = 120, IN_VAIN = 20 };

static struct pollset set;
static int peers[SLOTS];   /* the other ends; -1: none */
static short wanted[SLOTS];

static void add(size_t slot)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	/* Descriptors of slots have to be low. */
	peers[slot] = fcntl(pair[1], F_DUPFD_CLOEXEC, (int)set.bound);
	assert_true(peers[slot] >= 0);
	close(pair[1]);
	assert_true(pollset_add(&set, slot, pair[0]));
	pollset_want(&set, slot, wanted[slot] = POLLIN);
}

static int socket_of(size_t slot)
{
	return set.fds[set.slot[slot].place].fd;
}

static void take_away(size_t slot)
{
	close(socket_of(slot));
	close(peers[slot]);
	peers[slot] = -1;
	pollset_remove(&set, slot);
}

static int open_set(void **state)
{
	(void)state;
	memset(peers, -1, sizeof peers);
	assert_int_equal(pollset_open(&set, FIXED, SLOTS), 0);
	assert_true(set.signals);
	assert_true(pollset_poll(&set, 0) >= 0);   /* what the test before has left */
	return 0;
}

static int close_set(void **state)
{
	(void)state;
	for (size_t i = 0; i < SLOTS; i++)
		if (peers[i] >= 0)
			take_away(i);
	assert_int_equal(set.used, FIXED);
	pollset_close(&set);
	return 0;
}

/* Looks once; found[slot] is what was found, in addition to what is in there. */
static void look(short found[SLOTS])
{
	ssize_t slot;

	assert_true(pollset_poll(&set, 0) >= 0);
	while ((slot = pollset_next(&set)) >= 0) {
		assert_true(pollset_revents(&set, (size_t)slot) != 0);
		found[slot] |= pollset_take(&set, (size_t)slot);
		assert_int_equal(pollset_revents(&set, (size_t)slot), 0);
	}
}

/* As often as lets those go that have nothing to say. */
static void rest(void)
{
	short found[SLOTS] = {0};

	for (int i = 0; i < IN_VAIN; i++)
		look(found);
	for (size_t i = 0; i < SLOTS; i++)
		assert_int_equal(found[i], 0);
}

static void fill(size_t slots)
{
	for (size_t i = 0; i < slots; i++)
		add(i);
	rest();
}

static void say(size_t slot)
{
	assert_int_equal(write(peers[slot], "x", 1), 1);
}

static void hear(size_t slot)
{
	char byte;

	assert_int_equal(read(socket_of(slot), &byte, 1), 1);
}

/* Exactly this one has something, within two looks. */
static void expect_only(size_t slot, short events)
{
	short found[SLOTS] = {0};

	look(found);
	look(found);
	for (size_t i = 0; i < SLOTS; i++)
		assert_int_equal(found[i] & events, i == slot ? events : 0);
}

/* Every nth has something, within two looks. */
static void expect_every(size_t n)
{
	short found[SLOTS] = {0};

	look(found);
	look(found);
	for (size_t i = 0; i < SLOTS; i++)
		assert_int_equal(found[i], i % n == 0 ? POLLIN : 0);
}

static void few_are_all_looked_at(void **state)
{
	(void)state;
	fill(64);
	assert_int_equal(set.polled, set.used);
	say(7);
	expect_only(7, POLLIN);
}

static void many_are_left_to_their_signals(void **state)
{
	(void)state;
	fill(SLOTS);
	assert_int_equal(set.polled, FIXED);
	for (size_t i = 0; i < SLOTS; i++) {
		say(i);
		expect_only(i, POLLIN);
		hear(i);
	}
	rest();
	assert_int_equal(set.polled, FIXED);
}

static void a_signal_ends_a_wait(void **state)
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
	peers[5] = open("/dev/null", O_RDWR);
	take_away(5);
}

static void what_was_not_read_is_found_again(void **state)
{
	(void)state;
	fill(SLOTS);
	for (int i = 0; i < 3 * IN_VAIN; i++)
		say(8);
	for (int i = 0; i < 3 * IN_VAIN; i++) {
		expect_only(8, POLLIN);
		hear(8);
	}
	rest();
}

static void who_wants_to_write_is_looked_at(void **state)
{
	(void)state;
	fill(SLOTS);
	pollset_want(&set, 9, POLLIN | POLLOUT);
	expect_only(9, POLLOUT);
	pollset_want(&set, 9, 0);
	say(9);
	rest();
	pollset_want(&set, 9, POLLIN);
	expect_only(9, POLLIN);
}

static void lost_signals_cost_a_look_at_all(void **state)
{
	struct rlimit before, few;

	(void)state;
	fill(SLOTS);
	assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &before), 0);
	few = (struct rlimit){2, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &few), 0);
	for (size_t i = 0; i < SLOTS; i += 2)
		say(i);
	expect_every(2);
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &before), 0);
	assert_false(set.lost);
}

static void a_late_signal_harms_nobody(void **state)
{
	(void)state;
	fill(SLOTS);
	say(20);
	take_away(20);
	rest();
	/* Another slot has its place, something else its descriptor. */
	add(20);
	rest();
	say(20);
	take_away(21);
	take_away(20);
	int other = open("/dev/null", O_RDWR);
	add(21);
	short found[SLOTS] = {0};
	look(found);
	close(other);
	add(20);
	rest();
	/* Another slot has its descriptor. */
	say(20);
	const int fd = socket_of(20);
	take_away(20);
	take_away(SLOTS - 1);
	add(SLOTS - 1);
	assert_int_equal(socket_of(SLOTS - 1), fd);
	look(found);
	rest();
}

static void without_a_descriptor_for_signals_all_are_looked_at(void **state)
{
	(void)state;
	fill(SLOTS);
	int folder = open("/", O_RDONLY | O_DIRECTORY);
	assert_true(dup2(folder, set.fds[0].fd) >= 0);
	close(folder);
	for (size_t i = 0; i < SLOTS; i += 3)
		say(i);
	expect_every(3);
	assert_int_equal(set.polled, set.used);
}

static void who_is_not_served_yet_is_found_again(void **state)
{
	(void)state;
	fill(SLOTS);
	for (size_t vain = 0; vain < IN_VAIN; vain++) {
		short found[SLOTS] = {0};

		say(4);
		expect_only(4, POLLIN);
		hear(4);
		for (size_t i = 0; i < vain; i++)
			look(found);
		say(4);
		for (int i = 0; i < 2 * IN_VAIN; i++) {
			assert_true(pollset_poll(&set, 0) >= 0);
			ssize_t slot = pollset_next(&set);

			assert_int_equal(slot, i == 0 && slot < 0 ? -1 : 4);
		}
		hear(4);
		look(found);
		rest();
	}
}

static void after_an_error_nothing_is_found(void **state)
{
	struct rlimit before, few;

	(void)state;
	fill(64);
	say(30);
	assert_int_equal(pollset_poll(&set, 0), 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){10, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(pollset_poll(&set, 0), -1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(pollset_revents(&set, 30), 0);
	expect_only(30, POLLIN);
}

static void descriptors_have_a_bound(void **state)
{
	(void)state;
	assert_false(pollset_add(&set, 0, (int)set.bound));
	assert_int_equal(set.used, FIXED);
}

static void many_may_be_open_already(void **state)
{
	int others[2 * POLLSET_OTHER_FDS];

	for (size_t i = 0; i < 2 * POLLSET_OTHER_FDS; i++)
		others[i] = open("/dev/null", O_RDWR);
	assert_int_equal(close_set(state), 0);
	assert_int_equal(open_set(state), 0);
	fill(SLOTS);
	say(SLOTS - 1);
	expect_only(SLOTS - 1, POLLIN);
	for (size_t i = 0; i < 2 * POLLSET_OTHER_FDS; i++)
		close(others[i]);
}

/* What poll() would find, if it looked at everything. */
static void look_at_all(short found[SLOTS])
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct pollfd one = {.fd = peers[i] < 0 ? -1 : socket_of(i), .events = wanted[i]};

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
		pollset_want(&set, slot, wanted[slot] = POLLIN | POLLOUT);
		break;
	case 3:
	case 4:
	case 5:
		pollset_want(&set, slot, wanted[slot] = POLLIN);
		break;
	case 6:
		pollset_want(&set, slot, wanted[slot] = 0);
		break;
	case 7:
	case 8:
	case 9:
		send(peers[slot], "xyz", 3, MSG_NOSIGNAL);
		break;
	default:
		/* As in the loop: read after it was found, or asked for. */
		pollset_take(&set, slot);
		recv(socket_of(slot), bytes, sizeof bytes, 0);
	}
}

static void whatever_happens_nothing_is_missed(void **state)
{
	short all[SLOTS];

	(void)state;
	srand(1);
	for (size_t i = 0; i < SLOTS; i++)
		add(i);
	for (int round = 0; round < 20000; round++) {
		short found[SLOTS] = {0};

		for (int n = rand() % 4; n > 0; n--)
			change_something((size_t)rand() % SLOTS);
		look(found);
		look_at_all(all);
		look(found);
		for (size_t i = 0; i < SLOTS; i++)
			if (all[i] & ~found[i])
				fail_msg("round %d, slot %zu: %#x of %#x", round, i, found[i], all[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_set, close_set)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(few_are_all_looked_at),
		TEST(many_are_left_to_their_signals),
		TEST(a_signal_ends_a_wait),
		TEST(an_end_is_told),
		TEST(what_was_not_read_is_found_again),
		TEST(who_wants_to_write_is_looked_at),
		TEST(lost_signals_cost_a_look_at_all),
		TEST(a_late_signal_harms_nobody),
		TEST(without_a_descriptor_for_signals_all_are_looked_at),
		TEST(who_is_not_served_yet_is_found_again),
		TEST(after_an_error_nothing_is_found),
		TEST(descriptors_have_a_bound),
		TEST(many_may_be_open_already),
		TEST(whatever_happens_nothing_is_missed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
