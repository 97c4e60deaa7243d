/* Connection tracking as the kernel tells it: real datagrams in a network namespace of its own, with
 * a rule that tracks them. Made up are failures, and entries that take long to come about. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "source/conntrack.h"

enum { HEADERS = 20 + 8, SECOND = 1000000000 };
static const int64_t NOW = INT64_C(1000) * SECOND;

static int failing;      /* errno of one call of recv(), read() or lseek(); 0: none fails */
static int failing_in;   /* so many of these calls later */

static bool fails(void)
{
	if (failing == 0 || failing_in-- > 0)
		return false;
	errno = failing;
	failing = 0;
	return true;
}

#define WRAP(type, name, declared, passed) \
	type name declared \
	{ \
		static type(*real) declared; \
\
		*(void **)&real = dlsym(RTLD_NEXT, #name); \
		return fails() ? -1 : real passed; \
	}

WRAP(ssize_t, recv, (int fd, void *out, size_t len, int flags), (fd, out, len, flags))
WRAP(ssize_t, read, (int fd, void *out, size_t len), (fd, out, len))
WRAP(off64_t, lseek64, (int fd, off64_t at, int whence), (fd, at, whence))

static struct conntrack c;
static int left, right;

static int bound(void)
{
	const struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return a;
}

static void send_to(int from, int to, size_t bytes)
{
	const struct sockaddr_in a = name_of(to);
	char datagram[2000] = "";

	assert_int_equal(sendto(from, datagram, bytes, 0, (const struct sockaddr *)&a, sizeof a), bytes);
}

static void set(const char *value, const char *path)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(value, f) > 0 && fclose(f) == 0);
}

#define ACCOUNTING "/proc/sys/net/netfilter/nf_conntrack_acct"

static int begin(void **state)
{
	(void)state;
	failing = 0;
	set("1", ACCOUNTING);
	assert_null(conntrack_open(&c, true));
	left = bound();
	right = bound();
	return 0;
}

static int end(void **state)
{
	(void)state;
	conntrack_close(&c);
	close(left);
	close(right);
	return 0;
}

struct told {
	uint16_t port;            /* local, of those that are wanted; 0: all */
	int count;
	struct flow_key key;      /* of the last one */
	struct flow_value value;
};

static void on_flow(void *arg, const struct flow_key *key, const struct flow_value *value, size_t n)
{
	struct told *t = arg;

	assert_int_equal(n, 1);
	if (t->port != 0 && key->local_port != t->port)
		return;
	t->count++;
	t->key = *key;
	t->value = *value;
}

static struct told at(int fd)
{
	struct told t = {.port = ntohs(name_of(fd).sin_port)};

	assert_null(conntrack_read(&c, NOW, on_flow, &t));
	return t;
}

/* What is told of a table with this text. */
static struct told of_text(const char *text)
{
	const int file = memfd_create("conntrack", MFD_CLOEXEC), real = c.file;
	struct told t = {0};

	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	c.file = file;
	assert_null(conntrack_read(&c, NOW, on_flow, &t));
	c.file = real;
	close(file);
	return t;
}

static void both_ends_of_what_is_sent(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		send_to(left, right, 1000);
	send_to(right, left, 10);
	const struct told l = at(left), r = at(right);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.key.remote_port, r.key.local_port);
	assert_int_equal(l.value.packets[1], 5);
	assert_int_equal(l.value.bytes[1], 5 * (1000 + HEADERS));
	assert_int_equal(l.value.packets[0], 1);
	assert_int_equal(l.value.bytes[0], 10 + HEADERS);
	assert_int_equal(r.value.packets[0], 5);
	assert_int_equal(r.value.bytes[1], 10 + HEADERS);
	assert_true(l.value.initial[1] > 0 && l.value.initial[0] == 0);   /* dialled */
	assert_true(r.value.initial[0] > 0 && r.value.initial[1] == 0);
	assert_memory_equal(&l.value.local, &r.key.remote, sizeof l.value.local);
	/* A question and its answer are no connection. */
	c.all = false;
	assert_int_equal(at(left).count, 0);
}

#define ENTRY(left, src, dst, more) \
	"ipv4     2 udp      17 " left " src=" src " dst=" dst " sport=5 dport=4001 packets=3 bytes=300 " \
	"src=" dst " dst=" src " sport=4001 dport=5 packets=2 bytes=200 " more "mark=0 zone=0 use=2\n"

/* An entry outlives its flow: how long it will be kept tells when the last datagram passed. */
static void when_the_last_one_passed(void **state)
{
	(void)state;
	c.timeout[false] = 30;
	c.timeout[true] = 120;
	assert_int_equal(of_text(ENTRY("120", "127.0.0.1", "9.9.9.9", "[ASSURED] ")).value.last, NOW);
	assert_int_equal(of_text(ENTRY("50", "127.0.0.1", "9.9.9.9", "[ASSURED] ")).value.last, NOW - INT64_C(70) * SECOND);
	assert_int_equal(of_text(ENTRY("20", "127.0.0.1", "9.9.9.9", "")).value.last, NOW - INT64_C(10) * SECOND);
	assert_int_equal(of_text(ENTRY("999", "127.0.0.1", "9.9.9.9", "")).value.last, NOW);   /* set for it alone */
	assert_int_equal(of_text(ENTRY("20", "127.0.0.1", "9.9.9.9", "delta-time=600 ")).value.initial[1], NOW - INT64_C(600) * SECOND);
	assert_int_equal(of_text(ENTRY("20", "127.0.0.1", "9.9.9.9", "")).value.initial[1], NOW);
	/* older than the machine's uptime: its clock was set meanwhile */
	assert_int_equal(of_text(ENTRY("20", "127.0.0.1", "9.9.9.9", "delta-time=1800000000 ")).value.first, NOW);
	assert_int_equal(of_text(ENTRY("20", "127.0.0.1", "9.9.9.9", "delta-time=18446744073709551615 ")).value.first, NOW);
}

static void what_is_no_flow_of_this_machine(void **state)
{
	static const char *const none[] = {
		"", "\n", "x\n", "ipv4 2 udp 17\n",
		ENTRY("20", "8.8.8.8", "9.9.9.9", ""),                                   /* forwarded */
		ENTRY("20", "127.0.0.1", "9.9.9", ""), ENTRY("20", "127.0.0.1", "9.9.9.9", "src=1.1.1.1 "),
		"ipv4 2 tcp 6 20 src=127.0.0.1 dst=9.9.9.9 sport=5 dport=6 packets=1 bytes=40 "
		"src=9.9.9.9 dst=127.0.0.1 sport=6 dport=5 packets=1 bytes=40 mark=0\n",
		"ipv4 2 udp 17 20 src=127.0.0.1 dst=9.9.9.9 sport=5 dport=6 [UNREPLIED] "   /* not accounted */
		"src=9.9.9.9 dst=127.0.0.1 sport=6 dport=5 mark=0\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		assert_int_equal(of_text(none[i]).count, 0);
	const struct told t = of_text(ENTRY("20", "10.78.0.1", "9.9.9.9", ""));   /* of an interface */
	assert_int_equal(t.count, 1);
	assert_int_equal(t.value.bytes[1], 300);
	assert_int_equal(of_text(ENTRY("20", "127.0.0.1", "127.0.0.1", "")).count, 2);
}

static void a_table_of_any_size(void **state)
{
	static const char entry[] = ENTRY("20", "127.0.0.1", "9.9.9.9", "");
	enum { MANY = CONNTRACK_BYTES_MAX / (sizeof entry - 1) + 100 };
	char *text = malloc(MANY * (sizeof entry - 1) + 1);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < MANY; i++)
		memcpy(text + i * (sizeof entry - 1), entry, sizeof entry);
	const int count = of_text(text).count;
	assert_in_range(count, MANY - 200, MANY - 1);
	assert_true(c.cut);
	text[1000 * (sizeof entry - 1)] = '\0';
	assert_int_equal(of_text(text).count, 1000);
	assert_false(c.cut);
	free(text);
}

static void failures_are_told_and_pass(void **state)
{
	static const int errors[] = {EIO, ENOBUFS, ENOMEM};
	int calls = 0;

	(void)state;
	send_to(left, right, 100);
	for (bool failed = true; failed; calls++) {
		failing = errors[calls % 3];
		failing_in = calls;
		struct told t = {0};
		const char *wrong = conntrack_read(&c, NOW, on_flow, &t);
		failed = wrong != NULL;
		assert_true(!failed || strcmp(wrong, strerror(errors[calls % 3])) == 0);
		failing = 0;
		assert_int_equal(at(left).count, 1);
	}
	assert_in_range(calls, 5, 20);   /* addresses, the beginning, the text and its end */
}

static void without_accounting(void **state)
{
	(void)state;
	conntrack_close(&c);
	set("0", ACCOUNTING);
	assert_string_equal(conntrack_open(&c, true), "net.netfilter.nf_conntrack_acct is 0");
	assert_int_equal(c.file, -1);
	assert_int_equal(c.addresses.fd, -1);
	send_to(left, right, 100);   /* which nobody counts */
	set("1", ACCOUNTING);
	assert_null(conntrack_open(&c, true));
	assert_int_equal(at(left).count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ends_of_what_is_sent, begin, end),
		cmocka_unit_test_setup_teardown(when_the_last_one_passed, begin, end),
		cmocka_unit_test_setup_teardown(what_is_no_flow_of_this_machine, begin, end),
		cmocka_unit_test_setup_teardown(a_table_of_any_size, begin, end),
		cmocka_unit_test_setup_teardown(failures_are_told_and_pass, begin, end),
		cmocka_unit_test_setup_teardown(without_accounting, begin, end),
	};

	if (unshare(CLONE_NEWNET) != 0 || access("/proc/net/nf_conntrack", R_OK) != 0 ||
	    system("ip link set lo up && ip addr add 10.78.0.1/24 dev lo && nft 'add table inet t; "
	           "add chain inet t o { type filter hook output priority 0; }; add rule inet t o ct state new'") != 0) {
		printf("skipped: %s\n", "no network namespace with connection tracking");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
