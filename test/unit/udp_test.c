/* Flows of UDP as connections of the kernel source: real datagrams over loopback, in a network
 * namespace of its own. Made up is only what time brings, and a kernel that lets nobody read. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "messages.h"
#include "source/kernel.h"

typedef Introspection__State State;
typedef Introspection__Connection Connection;

enum {
	CLOSED = INTROSPECTION__STATUS__CLOSED,
	INITIATOR = INTROSPECTION__ROLE__INITIATOR,
	RESPONDER = INTROSPECTION__ROLE__RESPONDER,
	HEADERS = 20 + 8,
	LENGTH = 1200,      /* bytes of every datagram */
	WIRE = LENGTH + HEADERS,
};

static int64_t later;      /* seconds by which it is later than the clocks say */
static bool locked;        /* no map can be read */

int clock_gettime(clockid_t clock, struct timespec *t)
{
	int (*real)(clockid_t, struct timespec *);

	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (real(clock, t) != 0)
		return -1;
	t->tv_sec += clock == CLOCK_PROCESS_CPUTIME_ID ? 0 : later;
	return 0;
}

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
	if (locked && number == SYS_bpf && a[0] == BPF_MAP_LOOKUP_BATCH) {
		errno = EPERM;
		return -1;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static struct source *source;
static int64_t now;             /* ms, the loop's clock */
static int node, peer;          /* sockets */
static const char INITIAL[] = "\xc0\x00\x00\x00\x01", SHORT[] = "\x41";

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

/* address: of the socket, in the order of this machine. */
static int bound(uint32_t address, uint16_t port)
{
	struct sockaddr_in a = loopback(port);
	const int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	a.sin_addr.s_addr = htonl(address);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void send_to(int from, uint16_t port, const char *head, size_t len)
{
	const struct sockaddr_in to = loopback(port);
	char datagram[LENGTH] = "";

	memcpy(datagram, head, len);
	assert_int_equal(sendto(from, datagram, LENGTH, 0, (const struct sockaddr *)&to, sizeof to), LENGTH);
}

#define SEND(from, to, head) send_to(from, port_of(to), head, sizeof head - 1)

static State *take(void)
{
	struct snapshot_input in = {0};

	log_begin();
	const int result = source->take(source, now += 1000, &in);
	log_end();
	assert_int_equal(result, 1);
	assert_in_range(introspection__state__get_packed_size(in.state), 1, in.most);
	return in.state;
}

/* The connection from this port to that one; NULL: it is not listed. */
static Connection *between(const State *state, uint16_t local, uint16_t remote)
{
	char src[80], dst[80];
	Connection *found = NULL;

	snprintf(src, sizeof src, "/udp/%u", local);
	snprintf(dst, sizeof dst, "/udp/%u", remote);
	for (size_t i = 0; i < state->subsystems->n_connections; i++) {
		Connection *c = state->subsystems->connections[i];
		const char *s = strstr(c->endpoints->src_multiaddr, src), *d = strstr(c->endpoints->dst_multiaddr, dst);

		if (s && d && !strchr("0123456789", s[strlen(src)] ? s[strlen(src)] : 'x') &&
		    !strchr("0123456789", d[strlen(dst)] ? d[strlen(dst)] : 'x')) {
			assert_null(found);
			found = c;
		}
	}
	return found;
}

static Connection *of_node(const State *state)
{
	return between(state, port_of(node), port_of(peer));
}

static uint64_t id_of(const Connection *c)
{
	uint64_t id;

	assert_int_equal(c->id.len, sizeof id);
	memcpy(&id, c->id.data, sizeof id);
	return id;
}

static uint64_t all_out(const State *state)
{
	return state->traffic->traffic_out->cum_bytes;
}

static int begin_with(bool udp)
{
	later = 0;
	locked = false;
	log_begin();
	source = kernel_open(NULL, NULL, 0, udp);
	log_end();
	assert_non_null(source);
	assert_non_null(((struct kernel *)source)->udp);
	assert_string_equal(source->runtime.implementation, udp ? "Linux TCP, UDP by eBPF" : "Linux TCP, QUIC by eBPF");
	node = bound(INADDR_LOOPBACK, 0);
	peer = bound(INADDR_LOOPBACK, 0);
	take();   /* from now on it is counted */
	return 0;
}

static int begin(void **state)
{
	(void)state;
	return begin_with(false);
}

static int begin_all(void **state)
{
	(void)state;
	return begin_with(true);
}

static int end(void **state)
{
	(void)state;
	source->close(source);
	close(node);
	close(peer);
	return 0;
}

static void silence_closes_and_another_begins(void **state)
{
	(void)state;
	SEND(node, peer, INITIAL);
	SEND(peer, node, INITIAL);
	SEND(node, peer, SHORT);
	const Connection *c = of_node(take());
	assert_non_null(c);
	const uint64_t id = id_of(c);
	assert_int_equal(c->role, INITIATOR);
	assert_int_equal(c->traffic->traffic_out->cum_bytes, 2 * WIRE);
	const uint64_t last = c->timeline->open_ts;

	later = 61;
	State *s = take();
	c = of_node(s);
	assert_int_equal(c->status, CLOSED);
	assert_in_range(c->timeline->close_ts, last, last + 30000);
	assert_int_equal(all_out(s), 3 * WIRE);
	for (int i = 0; i < 3; i++) {
		s = take();
		assert_null(of_node(s));
		assert_int_equal(all_out(s), 3 * WIRE);
	}
	/* The same two ends, dialled by the other: what was before is no part of it. */
	later = 0;
	SEND(peer, node, SHORT);
	SEND(node, peer, SHORT);
	s = take();
	c = of_node(s);
	assert_non_null(c);
	assert_true(id_of(c) != id);
	assert_int_equal(c->status, INTROSPECTION__STATUS__ACTIVE);
	assert_int_equal(c->traffic->traffic_in->cum_bytes + c->traffic->traffic_out->cum_bytes, 2 * WIRE);
	assert_string_equal(c->user_provided_tags[c->n_user_provided_tags - 1], "role=unknown");
	assert_int_equal(all_out(s), 5 * WIRE);
}

/* As when a node is started again, at its port, with the same peers. */
static void another_socket_at_the_port_is_another_connection(void **state)
{
	const uint16_t port = port_of(node);
	uint64_t id = 0;

	(void)state;
	SEND(node, peer, INITIAL);
	SEND(peer, node, INITIAL);
	for (int i = 0; i < 3; i++) {
		State *s = take();
		const Connection *c = of_node(s);

		assert_true(id_of(c) != id);
		assert_int_equal(c->traffic->traffic_out->cum_bytes, WIRE);
		assert_int_equal(all_out(s), (uint64_t)(2 + i) * WIRE);
		id = id_of(c);
		close(node);
		s = take();
		assert_int_equal(between(s, port, port_of(peer))->status, CLOSED);
		assert_int_equal(all_out(s), (uint64_t)(2 + i) * WIRE);
		assert_null(between(take(), port, port_of(peer)));
		node = bound(INADDR_LOOPBACK, port);
		SEND(node, peer, INITIAL);
	}
	/* without a snapshot in between */
	take();
	close(node);
	node = bound(INADDR_LOOPBACK, port);
	SEND(node, peer, INITIAL);
	assert_int_equal(of_node(take())->status, CLOSED);
	assert_true(id_of(of_node(take())) != id);
	assert_int_equal(all_out(take()), 6 * WIRE);
}

static void it_becomes_quic_and_stays_it(void **state)
{
	(void)state;
	SEND(node, peer, SHORT);
	Connection *c = of_node(take());
	const uint64_t id = id_of(c);
	assert_memory_equal(c->transport_id.data, "ip4+udp", c->transport_id.len);
	SEND(peer, node, INITIAL);
	SEND(node, peer, INITIAL);
	c = of_node(take());
	assert_int_equal(c->transport_id.len, strlen("ip4+udp+quic-v1"));
	assert_non_null(strstr(c->endpoints->src_multiaddr, "/quic-v1"));
	assert_int_equal(c->role, RESPONDER);
	SEND(node, peer, "no QUIC");
	c = of_node(take());
	assert_int_equal(c->transport_id.len, strlen("ip4+udp+quic-v1"));
	assert_int_equal(id_of(c), id);
	assert_int_equal(c->traffic->traffic_out->cum_packets, 3);
}

static void what_nobody_answers_is_no_connection(void **state)
{
	(void)state;
	SEND(peer, node, INITIAL);
	State *s = take();
	assert_null(of_node(s));
	assert_non_null(between(s, port_of(peer), port_of(node)));
	SEND(node, peer, INITIAL);
	assert_non_null(of_node(take()));
}

/* A peer that goes on from another port, as behind a NAT that forgot it, is a connection of which
 * nobody knows who dialled; the one it left falls silent. */
static void migration_to_another_port(void **state)
{
	const int moved = bound(INADDR_LOOPBACK, 0);

	(void)state;
	SEND(peer, node, INITIAL);
	SEND(node, peer, INITIAL);
	take();
	for (int i = 0; i < 3; i++) {
		SEND(moved, node, SHORT);
		SEND(node, moved, SHORT);
	}
	State *s = take();
	const Connection *old = of_node(s), *c = between(s, port_of(node), port_of(moved));
	assert_non_null(c);
	assert_int_equal(c->traffic->traffic_in->cum_packets, 3);
	assert_string_equal(c->user_provided_tags[c->n_user_provided_tags - 1], "role=unknown");
	assert_int_equal(old->role, RESPONDER);
	assert_int_equal(old->traffic->traffic_in->cum_packets, 1);
	close(moved);
}

/* Sends n Initials from node to 10.9.0.2 by this interface. */
static void send_by(const char *interface, int n)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4001)};
	char command[100], datagram[LENGTH] = "";

	snprintf(command, sizeof command, "ip route replace 10.9.0.2 dev %s src 10.9.0.1", interface);
	assert_int_equal(system(command), 0);
	inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
	memcpy(datagram, INITIAL, sizeof INITIAL);
	for (int i = 0; i < n; i++)
		assert_int_equal(sendto(node, datagram, LENGTH, 0, (const struct sockaddr *)&to, sizeof to), LENGTH);
}

/* A flow goes on by another interface, back again, and by a third one. */
static void another_interface(void **state)
{
	static const struct {
		const char *interface;
		int packets;
	} rows[] = {{"u0", 10}, {"u1", 3}, {"u1", 3}, {"u0", 2}, {"u0", 20}, {"u0", 1}, {"u1", 1}, {"u1", 30}, {"u2", 5}, {"u2", 2}};
	uint64_t sum = 0;

	(void)state;
	assert_int_equal(system("ip addr add 10.9.0.1/32 dev lo; for i in u0 u1 u2; do "
	                        "ip link add $i type veth peer name $i-end && ip link set $i up && ip link set $i-end up && "
	                        "ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev $i || exit 1; done"), 0);
	close(node);
	node = bound(INADDR_ANY, 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		send_by(rows[i].interface, rows[i].packets);
		sum += (uint64_t)rows[i].packets;
		const Connection *c = between(take(), port_of(node), 4001);
		assert_non_null(c);
		assert_int_equal(c->traffic->traffic_out->cum_packets, sum);
		assert_int_equal(c->traffic->traffic_out->cum_bytes, sum * WIRE);
		for (int idle = 0; idle < 3; idle++)
			assert_int_equal(between(take(), port_of(node), 4001)->traffic->traffic_out->cum_packets, sum);
	}
}

/* Of many sockets at one port, each connected one has its own flow, and the others share. */
static void many_sockets_at_one_port(void **state)
{
	enum { MANY = 500 };
	static const char datagram[20] = "\xc0\x00\x00\x00\x01";
	static int connected[MANY];
	const int shared = bound(INADDR_ANY, 0);
	const uint16_t port = port_of(shared);
	int more[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		const struct sockaddr_in to = loopback((uint16_t)(2000 + i));

		more[i] = bound(INADDR_ANY, port);
		connected[i] = bound(INADDR_LOOPBACK, port);
		assert_int_equal(connect(connected[i], (const struct sockaddr *)&to, sizeof to), 0);
		assert_int_equal(send(connected[i], datagram, sizeof datagram, 0), sizeof datagram);
	}
	send_to(shared, 1999, INITIAL, 5);
	take();
	State *s = take();
	for (int i = -1; i < MANY; i++) {
		const Connection *c = between(s, port, (uint16_t)(2000 + i));
		const struct kernel *k = (const struct kernel *)source;
		uint64_t cookie;
		socklen_t len = sizeof cookie;

		assert_non_null(c);
		const struct connection *entry = (const void *)((const char *)c - offsetof(struct connection, message));
		if (i >= 0) {
			getsockopt(connected[i], SOL_SOCKET, SO_COOKIE, &cookie, &len);
			assert_true(entry->of == cookie);
			assert_int_equal(entry->seen, k->dump);
		}
	}
	for (int i = 0; i < MANY; i++) {
		close(more[i]);
		close(connected[i]);
	}
	close(shared);
}

static void a_kernel_that_lets_nobody_read(void **state)
{
	(void)state;
	SEND(node, peer, INITIAL);
	assert_non_null(of_node(take()));
	locked = true;
	State *s = take();
	assert_non_null(strstr(logged, "QUIC cannot be seen any more"));
	assert_null(((struct kernel *)source)->udp);
	assert_string_equal(source->runtime.implementation, "Linux TCP");
	assert_int_equal(of_node(s)->status, CLOSED);
	assert_null(of_node(take()));
	assert_int_equal(all_out(take()), WIRE);
}

/* False: there is no such setting of connection tracking. */
static bool set(const char *name, const char *value)
{
	char path[80];

	snprintf(path, sizeof path, "/proc/sys/net/netfilter/nf_conntrack_%s", name);
	FILE *f = fopen(path, "we");
	const bool written = f && fputs(value, f) >= 0;
	return f && fclose(f) == 0 && written;
}

static void conntrack_where_nobody_may_read(void **state)
{
	set("timestamp", "1");   /* not every kernel has it */
	if (!set("acct", "1") || !set("udp_timeout", "600") || !set("udp_timeout_stream", "600") ||
	    system("nft 'add table inet t; add chain inet t o { type filter hook output priority 0; }; "
	           "add rule inet t o ct state new'") != 0)
		skip();
	end(state);
	locked = true;
	log_begin();
	source = kernel_open(NULL, NULL, 0, true);
	log_end();
	locked = true;
	node = bound(INADDR_LOOPBACK, 0);
	peer = bound(INADDR_LOOPBACK, 0);
	SEND(peer, node, INITIAL);
	SEND(node, peer, INITIAL);
	const Connection *c = of_node(take());
	assert_non_null(strstr(logged, "told from other UDP, which conntrack counts"));
	assert_string_equal(source->runtime.implementation, "Linux TCP, UDP by conntrack");
	assert_non_null(c);
	assert_int_equal(c->role, RESPONDER);
	assert_int_equal(c->n_user_provided_tags > 0 ? strncmp(c->user_provided_tags[0], "process=", 8) : 0, 0);
	SEND(node, peer, SHORT);
	c = of_node(take());
	assert_int_equal(c->traffic->traffic_out->cum_bytes, 2 * WIRE);
	assert_int_equal(c->traffic->traffic_in->cum_packets, 1);
	assert_int_equal(c->transport_id.len, strlen("ip4+udp"));

	/* Silent for 480 s of the 600 for which the kernel keeps the entry, and goes on: another
	 * connection, whose beginning the kernel does not tell, but who began. */
	const uint64_t id = id_of(c);
	assert_true(set("udp_timeout", "120") && set("udp_timeout_stream", "120"));
	SEND(node, peer, SHORT);
	later = 600;
	assert_int_equal(of_node(take())->status, CLOSED);
	assert_null(of_node(take()));
	assert_true(set("udp_timeout", "600") && set("udp_timeout_stream", "600"));
	later = 0;
	SEND(node, peer, SHORT);
	c = of_node(take());
	assert_non_null(c);
	assert_true(id_of(c) != id);
	assert_int_equal(c->role, RESPONDER);
	for (size_t i = 0; i < c->n_user_provided_tags; i++)
		assert_int_not_equal(c->user_provided_tags[i][0], '\0');
}

/* The protocol of the one packet socket of this namespace. */
static unsigned tapped(void)
{
	FILE *f = fopen("/proc/self/net/packet", "re");
	unsigned protocol = 0;
	char line[200];

	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		sscanf(line, "%*s %*s %*s %x", &protocol);
	fclose(f);
	return protocol;
}

/* Since when what was open before is counted, in ms since 1970; 0: it does not say. */
static int64_t counted_since(const Connection *c)
{
	struct tm utc = {0};

	for (size_t i = 0; i < c->n_user_provided_tags; i++) {
		const char *end = strptime(c->user_provided_tags[i], "counted_since=%Y-%m-%dT%H:%M:%SZ", &utc);

		if (end && *end == '\0')
			return (int64_t)timegm(&utc) * 1000;
	}
	return 0;
}

static void what_was_open_before_says_since_when_it_is_counted(void **state)
{
	const int early = bound(INADDR_LOOPBACK, 0);
	struct timespec begun;
	int64_t deadline = INT64_MAX;

	(void)state;
	clock_gettime(CLOCK_REALTIME, &begun);
	const int64_t ms = (int64_t)begun.tv_sec * 1000;
	SEND(early, node, INITIAL);
	SEND(node, early, INITIAL);
	for (int i = 0; i < 2; i++) {
		SEND(peer, node, SHORT);
		SEND(node, peer, SHORT);
	}
	State *s = take();
	const int64_t first = counted_since(of_node(s));
	assert_in_range(first, ms - 10000, ms + 1000);
	assert_int_equal(counted_since(between(s, port_of(node), port_of(early))), 0);

	/* Nobody watches for a while: then there is a gap in what was whole. */
	source->poll(source, NULL, &deadline);
	source->serve(source, NULL, 0, deadline);
	later = 30;
	s = take();
	const int64_t again = counted_since(of_node(s));
	assert_in_range(again, first + 29000, first + 40000);
	assert_int_equal(counted_since(between(s, port_of(node), port_of(early))), again);
	close(early);
}

static void it_counts_only_while_somebody_asks(void **state)
{
	int64_t deadline = INT64_MAX;

	(void)state;
	assert_int_equal(tapped(), 3);
	source->poll(source, NULL, &deadline);
	assert_true(deadline > now && deadline < INT64_MAX);
	source->serve(source, NULL, 0, deadline - 1);
	assert_int_equal(tapped(), 3);
	source->serve(source, NULL, 0, deadline);
	assert_int_equal(tapped(), 0x88b5);
	deadline = INT64_MAX;
	source->poll(source, NULL, &deadline);
	assert_true(deadline == INT64_MAX);
	SEND(node, peer, INITIAL);
	assert_null(of_node(take()));
	assert_int_equal(tapped(), 3);
}

/* What goes on while nobody asks is the same connection afterwards. */
static void it_was_not_silent_when_it_was_not_counted(void **state)
{
	(void)state;
	SEND(node, peer, INITIAL);
	const uint64_t id = id_of(of_node(take()));
	source->serve(source, NULL, 0, now += 180000);
	later = 600;
	const Connection *c = of_node(take());
	assert_int_equal(c->status, INTROSPECTION__STATUS__ACTIVE);
	assert_int_equal(id_of(c), id);
	later += 61;
	assert_int_equal(of_node(take())->status, CLOSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(silence_closes_and_another_begins, begin, end),
		cmocka_unit_test_setup_teardown(another_socket_at_the_port_is_another_connection, begin, end),
		cmocka_unit_test_setup_teardown(it_becomes_quic_and_stays_it, begin_all, end),
		cmocka_unit_test_setup_teardown(what_nobody_answers_is_no_connection, begin, end),
		cmocka_unit_test_setup_teardown(migration_to_another_port, begin, end),
		cmocka_unit_test_setup_teardown(many_sockets_at_one_port, begin, end),
		cmocka_unit_test_setup_teardown(another_interface, begin, end),
		cmocka_unit_test_setup_teardown(a_kernel_that_lets_nobody_read, begin, end),
		cmocka_unit_test_setup_teardown(conntrack_where_nobody_may_read, begin, end),
		cmocka_unit_test_setup_teardown(it_counts_only_while_somebody_asks, begin, end),
		cmocka_unit_test_setup_teardown(what_was_open_before_says_since_when_it_is_counted, begin, end),
		cmocka_unit_test_setup_teardown(it_was_not_silent_when_it_was_not_counted, begin, end),
	};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (unshare(CLONE_NEWNET) != 0) {
		printf("skipped: a network namespace: %s\n", strerror(errno));
		return errno == EPERM ? 0 : 1;
	}
	const int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (ioctl(fd, SIOCSIFFLAGS, &lo) != 0)
		return 1;
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
