#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "source/flow.h"

/* What the kernel counts of datagrams over loopback. Without the right to load the program,
 * all of it is skipped. */

enum { IP4 = 20 + 8, IP6 = 40 + 8 };   /* bytes of headers */

static bool impatient;   /* programs that are loaded take 1 or 2 s for a silence */

long syscall(long number, ...)
{
	long (*real)(long, ...);
	va_list list;
	long a[6];

	*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (impatient && number == SYS_bpf && a[0] == BPF_PROG_LOAD) {
		const union bpf_attr *attr = (const void *)(uintptr_t)a[1];
		struct bpf_insn *program = (void *)(uintptr_t)attr->insns;

		for (uint32_t i = 0; i < attr->insn_cnt; i++)
			if (program[i].code == (BPF_JMP | BPF_JSLT | BPF_K) && program[i].imm == FLOW_SILENCE)
				program[i].imm = 1;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static struct flow flow;
static int left, right;                /* connected to each other */
static uint16_t left_port, right_port;

static int open_pair(int family)
{
	struct sockaddr_storage a = {.ss_family = (sa_family_t)family}, b = a;
	socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	if (family == AF_INET)
		((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&a)->sin6_addr = in6addr_loopback;
	b = a;
	left = socket(family, SOCK_DGRAM, 0);
	right = socket(family, SOCK_DGRAM, 0);
	assert_int_equal(bind(left, (struct sockaddr *)&a, len), 0);
	assert_int_equal(bind(right, (struct sockaddr *)&b, len), 0);
	getsockname(left, (struct sockaddr *)&a, &len);
	getsockname(right, (struct sockaddr *)&b, &len);
	assert_int_equal(connect(left, (struct sockaddr *)&b, len), 0);
	assert_int_equal(connect(right, (struct sockaddr *)&a, len), 0);
	left_port = ntohs(((struct sockaddr_in *)&a)->sin_port);
	right_port = ntohs(((struct sockaddr_in *)&b)->sin_port);
	return 0;
}

static int begin4(void **state)
{
	(void)state;
	return open_pair(AF_INET);
}

static int begin6(void **state)
{
	(void)state;
	return open_pair(AF_INET6);
}

static int end(void **state)
{
	(void)state;
	close(left);
	close(right);
	return 0;
}

struct wanted {
	uint16_t port;
	int found;
	struct flow_key key;
	struct flow_value value;
};

static void on_flows(void *arg, const struct flow_key *keys, const struct flow_value *values, size_t n)
{
	struct wanted *w = arg;

	for (size_t i = 0; i < n; i++) {
		if (keys[i].local_port != w->port)
			continue;
		w->found++;
		w->key = keys[i];
		w->value = values[i];
	}
}

/* The flow at this local port; all zero: there is none. */
static struct wanted at(uint16_t port)
{
	struct wanted w = {.port = port};

	assert_int_equal(flow_read(&flow, on_flows, &w), 0);
	assert_in_range(w.found, 0, 1);
	return w;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void exchange(int headers)
{
	char payload[1000] = {0};

	for (int i = 0; i < 100; i++)
		assert_int_equal(send(left, payload, sizeof payload, 0), sizeof payload);
	for (int i = 0; i < 7; i++)
		assert_int_equal(send(right, payload, (size_t)i, 0), i);
	struct wanted l = at(left_port), r = at(right_port);
	assert_int_equal(l.key.remote_port, right_port);
	assert_int_equal(r.key.remote_port, left_port);
	for (int way = 0; way < 2; way++) {
		assert_int_equal(l.value.packets[way], way ? 100 : 7);
		assert_int_equal(r.value.packets[way], way ? 7 : 100);
		assert_int_equal(l.value.bytes[way], way ? 100 * (1000 + headers) : 21 + 7 * headers);
		assert_int_equal(r.value.bytes[way], way ? 21 + 7 * headers : 100 * (1000 + headers));
	}
	assert_true(l.value.first <= l.value.last && l.value.last <= now_ns());
	assert_true(now_ns() - l.value.first < UINT64_C(60000000000));
	assert_memory_equal(&l.value.local, &r.key.remote, sizeof l.value.local);
}

static void both_ways_over_ip4(void **state)
{
	(void)state;
	exchange(IP4);
	const struct wanted l = at(left_port);
	assert_true(IN6_IS_ADDR_V4MAPPED(&l.key.remote));
}

static void both_ways_over_ip6(void **state)
{
	(void)state;
	exchange(IP6);
	const struct wanted l = at(left_port);
	assert_true(IN6_IS_ADDR_LOOPBACK(&l.key.remote));
}

static void what_quic_looks_like(void **state)
{
	static const struct {
		const char *bytes;
		uint64_t seen;
	} rows[] = {
		{"\xc0\x00\x00\x00\x01....", FLOW_QUIC_V1 | FLOW_INITIAL},
		{"\xcf\x00\x00\x00\x01....", FLOW_QUIC_V1 | FLOW_INITIAL},
		{"\xd0\x00\x00\x00\x01....", FLOW_QUIC_V1},
		{"\xe0\x00\x00\x00\x01....", FLOW_QUIC_V1},
		{"\xc0\x6b\x33\x43\xcf....", FLOW_QUIC_V2},
		{"\xd0\x6b\x33\x43\xcf....", FLOW_QUIC_V2 | FLOW_INITIAL},
		{"\xc0\x00\x00\x00\x00....", FLOW_OTHER},
		{"\xc0\xff\x00\x00\x1d....", FLOW_OTHER},
		{"\x80\x00\x00\x00\x01....", FLOW_QUIC_V1 | FLOW_INITIAL},   /* RFC 9287 */
		{"\x80\x00\x00\x00\x02....", FLOW_OTHER},
		{"\x40\x00\x00\x00\x01....", FLOW_SHORT},
		{"\x7f\x00\x00\x00\x01....", FLOW_SHORT},
		{"\x16\xfe\xfd\x00\x00....", FLOW_OTHER},
	};
	uint64_t all = 0;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(send(left, rows[i].bytes, 9, 0), 9);
		all |= rows[i].seen;
		assert_int_equal(at(right_port).value.seen, all);
		if (i + 1 == sizeof rows / sizeof *rows)
			break;
		end(state);
		begin4(state);
		all = 0;
	}
	/* too short for a version, and with nothing at all */
	end(state);
	begin4(state);
	assert_int_equal(send(left, rows[0].bytes, 4, 0), 4);
	assert_int_equal(send(left, "", 0, 0), 0);
	assert_int_equal(at(left_port).value.seen, FLOW_OTHER);
	assert_int_equal(at(left_port).value.packets[1], 2);
}

static void when_the_initials_passed(void **state)
{
	static const char initial[] = "\xc0\x00\x00\x00\x01....";

	(void)state;
	const uint64_t before = now_ns();
	send(left, "\x40.........", 9, 0);
	assert_int_equal(at(left_port).value.initial[1], 0);
	send(left, initial, 9, 0);
	send(right, initial, 9, 0);
	const struct wanted l = at(left_port), r = at(right_port);
	assert_true(before < l.value.initial[1] && l.value.initial[1] < l.value.initial[0]);
	assert_true(l.value.initial[1] < r.value.initial[0] && r.value.initial[1] < l.value.initial[0]);
	send(left, initial, 9, 0);
	assert_true(at(left_port).value.initial[1] == l.value.initial[1]);
}

/* One system call, one packet of the kernel, ten of the wire: nine of 1200 bytes and a rest. */
static void segments_are_packets(void **state)
{
	const int size = 1200;
	static char payload[9 * 1200 + 100];

	(void)state;
	assert_int_equal(setsockopt(left, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	assert_int_equal(send(left, payload, sizeof payload, 0), sizeof payload);
	const struct wanted l = at(left_port);
	assert_int_equal(l.value.packets[1], 10);
	assert_int_equal(l.value.bytes[1], sizeof payload + 10 * IP4);
	assert_int_equal(at(right_port).value.packets[0], 10);
	assert_int_equal(at(right_port).value.bytes[0], sizeof payload + 10 * IP4);
}

/* Counts go on, what tells one connection from another begins anew. */
static void after_a_silence(void **state)
{
	static const char initial[] = "\xc0\x00\x00\x00\x01....";

	(void)state;
	flow_close(&flow);
	impatient = true;
	assert_null(flow_open(&flow));
	impatient = false;
	assert_int_equal(flow_count(&flow, true), 0);
	send(left, initial, 9, 0);
	send(right, initial, 9, 0);
	const struct wanted before = at(left_port);
	assert_true(before.value.initial[0] > 0 && before.value.initial[1] > 0);
	usleep(2200000);
	send(left, "\x40.........", 9, 0);
	const struct wanted after = at(left_port);
	assert_true(after.value.first > before.value.last + 1000000000 && after.value.first == after.value.last);
	assert_true(after.value.initial[0] == 0 && after.value.initial[1] == 0);
	assert_int_equal(after.value.packets[1], 2);
	send(right, initial, 9, 0);
	assert_true(at(left_port).value.initial[0] > after.value.first);
	assert_int_equal(at(left_port).value.initial[1], 0);
}

static void nothing_is_counted_while_it_is_off(void **state)
{
	(void)state;
	assert_int_equal(flow_count(&flow, false), 0);
	send(left, "x", 1, 0);
	assert_int_equal(at(left_port).found, 0);
	assert_int_equal(flow_count(&flow, true), 0);
	send(left, "x", 1, 0);
	assert_int_equal(at(left_port).value.packets[1], 1);
}

/* More flows than there is room for: the kernel forgets some, and how many is known. Both ends
 * of each datagram are a flow. */
static void too_many(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct wanted none = {0};

	end(state);
	left = right = socket(AF_INET, SOCK_DGRAM, 0);
	for (unsigned i = 0; i < FLOWS_MAX; i++) {
		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (i >> 10));
		to.sin_port = htons((uint16_t)(1024 + (i & 1023)));
		sendto(left, "x", 1, 0, (struct sockaddr *)&to, sizeof to);
	}
	right = -1;
	assert_int_equal(flow_read(&flow, on_flows, &none), 0);
	assert_in_range(flow.lost, 1, 2 * FLOWS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ways_over_ip4, begin4, end),
		cmocka_unit_test_setup_teardown(both_ways_over_ip6, begin6, end),
		cmocka_unit_test_setup_teardown(what_quic_looks_like, begin4, end),
		cmocka_unit_test_setup_teardown(when_the_initials_passed, begin4, end),
		cmocka_unit_test_setup_teardown(segments_are_packets, begin4, end),
		cmocka_unit_test_setup_teardown(nothing_is_counted_while_it_is_off, begin4, end),
		cmocka_unit_test_setup_teardown(after_a_silence, begin4, end),
		cmocka_unit_test_setup_teardown(too_many, begin4, end),
	};
	const char *wrong = flow_open(&flow);

	if (wrong) {
		printf("skipped: %s: %s\n", wrong, strerror(errno));
		return errno == EPERM ? 0 : 1;
	}
	if (flow_count(&flow, true) != 0)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	flow_close(&flow);
	return failed;
}
