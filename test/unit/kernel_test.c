/* The kernel source against the kernel: real connections on loopback, compared
 * with what their own sockets say. Only answers that the kernel does not give on
 * request (errors, damage, counters about to wrap, a table's worth of sockets)
 * are made up, at recv(). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "messages.h"
#include "source/kernel.h"
#include "source/source.h"
#include "source/tcpdiag.h"

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else   /* no compiler for mipsel has it */
#define ASAN_POISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

typedef Introspection__State State;
typedef Introspection__Connection Connection;

enum {
	ACTIVE = INTROSPECTION__STATUS__ACTIVE,
	CLOSED = INTROSPECTION__STATUS__CLOSED,
	OPENING = INTROSPECTION__STATUS__OPENING,
	CLOSING = INTROSPECTION__STATUS__CLOSING,
	INITIATOR = INTROSPECTION__ROLE__INITIATOR,
	RESPONDER = INTROSPECTION__ROLE__RESPONDER,
};

/* The system calls of the source that are counted, and answered otherwise while
 * answer is set. Bytes behind an answer must not be read. */
static ssize_t (*answer)(char *buffer, size_t size);
static bool kernel_is_asked;   /* answer stands only for the first of the kernel's */
static struct nlmsghdr asked;
static unsigned recv_calls, readlinkat_calls;
static int64_t cpu_ns;         /* what readlinkat() is said to have cost */
static int64_t cpu_step;       /* ... and telling it */
static bool cpu_is_made_up;    /* ... and is told as the time of this process */

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
	ASAN_UNPOISON_MEMORY_REGION(buffer, size);
	recv_calls++;
	if (answer && !(flags & MSG_TRUNC)) {
		errno = EAGAIN;   /* nothing is left of what was made up */
		return -1;
	}
	ssize_t len = answer ? answer(buffer, size)
	                     : recvfrom(fd, buffer, size, flags, NULL, NULL);

	if (kernel_is_asked)
		answer = NULL;
	if (len >= 0 && (size_t)len < size)
		ASAN_POISON_MEMORY_REGION((char *)buffer + len, size - (size_t)len);
	return len;
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	memcpy(&asked, bytes, sizeof asked);
	return answer && !kernel_is_asked ? (ssize_t)len : sendto(fd, bytes, len, flags, NULL, 0);
}

ssize_t readlinkat(int dir, const char *path, char *out, size_t size)
{
	readlinkat_calls++;
	cpu_ns += 10000;
	return syscall(SYS_readlinkat, dir, path, out, size);
}

/* Somebody sets the clock: seconds from what it should be. */
static int64_t clock_shift;

#ifndef SYS_clock_gettime64
#define SYS_clock_gettime64 SYS_clock_gettime
#endif

int clock_gettime(clockid_t clock, struct timespec *t)
{
	if (clock == CLOCK_PROCESS_CPUTIME_ID && cpu_is_made_up) {
		cpu_ns += cpu_step;
		*t = (struct timespec){cpu_ns / 1000000000, cpu_ns % 1000000000};
		return 0;
	}
	if (syscall(SYS_clock_gettime64, clock, t) != 0)
		return -1;
	if (clock == CLOCK_REALTIME)
		t->tv_sec += clock_shift;
	return 0;
}

/* Without the flows of UDP, which have tests of their own. */
static struct source *open_tcp(const char *process, const struct sockaddr_storage *own,
                               size_t own_count)
{
	struct source *s = kernel_open(process, own, own_count, false);

	if (s && ((struct kernel *)s)->udp)
		kernel_udp->close((struct kernel *)s);
	return s;
}

static struct source *open_source(const char *process)
{
	log_begin();
	struct source *s = open_tcp(process, NULL, 0);
	log_end();
	assert_non_null(s);
	return s;
}

/* ms: the loop's clock. NULL: it failed. */
static State *try_take(struct source *s, int64_t ms)
{
	struct snapshot_input in = {0};

	log_begin();
	int result = s->take(s, ms, &in);
	log_end();
	if (result < 0)
		return NULL;
	assert_int_equal(result, 1);
	assert_non_null(in.state);
	assert_in_range(introspection__state__get_packed_size(in.state), 1, in.most);
	return in.state;
}

static State *take(struct source *s, int64_t ms)
{
	State *state = try_take(s, ms);

	assert_non_null(state);
	return state;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie;
	socklen_t len = sizeof cookie;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len), 0);
	return cookie;
}

static Connection *find_cookie(const State *state, uint64_t cookie)
{
	Connection *found = NULL;

	for (size_t i = 0; i < state->subsystems->n_connections; i++) {
		Connection *c = state->subsystems->connections[i];

		assert_int_equal(c->id.len, sizeof cookie);
		if (memcmp(c->id.data, &cookie, sizeof cookie) == 0) {
			assert_null(found);
			found = c;
		}
	}
	return found;
}

/* The connection of a socket; NULL when it is not listed. */
static Connection *find(const State *state, int fd)
{
	return find_cookie(state, cookie_of(fd));
}

static struct sockaddr_storage name_of(int fd)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof name;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	return name;
}

/* In network byte order. */
static in_port_t port_of(int fd)
{
	struct sockaddr_storage name = name_of(fd);

	return ((struct sockaddr_in *)&name)->sin_port;
}

static socklen_t size_of(const struct sockaddr_storage *name)
{
	if (name->ss_family == AF_INET)
		return sizeof(struct sockaddr_in);
	return sizeof(struct sockaddr_in6);
}

static int listen_at(const char *address, int backlog)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(is_v4 || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1);
	if (is_v4)
		assert_int_equal(bind(fd, (struct sockaddr *)&v4, sizeof v4), 0);
	else
		assert_int_equal(bind(fd, (struct sockaddr *)&v6, sizeof v6), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

struct pair {
	int listener, client, server;
};

static struct pair connect_at(const char *address)
{
	struct pair p = {.listener = listen_at(address, 16)};
	struct sockaddr_storage name = name_of(p.listener);

	p.client = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(p.client, (struct sockaddr *)&name, size_of(&name)), 0);
	p.server = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.server >= 0);
	return p;
}

/* Ends a connection with a reset, so that nothing is left of it. */
static void reset(struct pair *p)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(p->client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(p->client);
	close(p->server);
	close(p->listener);
}

static void move(int from, int to, size_t bytes)
{
	static char data[4096];

	for (size_t sent = 0; sent < bytes;) {
		size_t part = bytes - sent < sizeof data ? bytes - sent : sizeof data;

		assert_int_equal(write(from, data, part), part);
		for (size_t got = 0; got < part;) {
			ssize_t n = read(to, data, part - got);
			assert_true(n > 0);
			got += (size_t)n;
		}
		sent += part;
	}
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info;
}

/* The connection must say what its socket says. The kernel may still be sending
 * acknowledgements: what stood before and after is then compared again. */
static Connection *take_exact(struct source *s, int fd)
{
	for (;;) {
		struct tcp_info before = info_of(fd);
		Connection *c = find(take(s, 1000), fd);
		struct tcp_info after = info_of(fd);

		if (before.tcpi_segs_in != after.tcpi_segs_in ||
		    before.tcpi_segs_out != after.tcpi_segs_out ||
		    before.tcpi_rtt != after.tcpi_rtt)
			continue;
		assert_non_null(c);
		assert_int_equal(c->traffic->traffic_in->cum_packets, after.tcpi_segs_in);
		assert_int_equal(c->traffic->traffic_out->cum_packets, after.tcpi_segs_out);
		assert_int_equal(c->latency_ns, (uint64_t)after.tcpi_rtt * 1000);
		assert_int_equal(c->retransmitted_bytes, after.tcpi_bytes_retrans);
		return c;
	}
}

static void assert_bytes(const Connection *c, uint64_t in, uint64_t out)
{
	assert_int_equal(c->traffic->traffic_in->cum_bytes, in);
	assert_int_equal(c->traffic->traffic_out->cum_bytes, out);
}

static void assert_multiaddr(const char *multiaddr, const char *address, int fd)
{
	char expected[64];

	snprintf(expected, sizeof expected, "%s/tcp/%u", address, ntohs(port_of(fd)));
	assert_string_equal(multiaddr, expected);
}

/* Whether a connection names a process, by number. */
static bool is_of(const Connection *c, pid_t pid)
{
	char number[32];

	snprintf(number, sizeof number, "pid=%d", pid);
	return c->n_user_provided_tags == 2 && strcmp(c->user_provided_tags[1], number) == 0;
}

/* Other processes may have much that is looked at first. */
static Connection *take_named(struct source *s, int64_t ms, int fd)
{
	for (int i = 0; i < 10000; i++) {
		Connection *c = find(take(s, ms), fd);

		if (c && c->n_user_provided_tags > 0)
			return c;
	}
	fail_msg("no process was found");
	return NULL;
}

/* A socket has the name of whoever has it open: here of a child that inherited it, once the parent has
 * closed it. */
static void handed_over(void **unused)
{
	struct pair p = connect_at("127.0.0.1");
	const uint64_t cookie = cookie_of(p.client);
	struct source *s = open_source(NULL);
	const Connection *c;
	int64_t ms = 0;
	int ends[2];

	(void)unused;
	assert_true(is_of(take_named(s, ms, p.client), getpid()));
	assert_int_equal(pipe(ends), 0);
	const pid_t child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &ms, 1) != 0);   /* until the parent closes it */
	}
	close(ends[0]);
	assert_true(is_of(find(take(s, ms += 1000), p.client), getpid()));
	close(p.client);
	do {
		c = find_cookie(take(s, ms += 1000), cookie);
		assert_non_null(c);
	} while (!is_of(c, child) && ms < 10000000);
	assert_true(is_of(c, child));
	close(ends[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	p.client = dup(p.server);
	s->close(s);
	reset(&p);
}

static void connections(void **unused)
{
	static const struct {
		const char *listen, *multiaddr, *transport;
	} rows[] = {
		{"127.0.0.1", "/ip4/127.0.0.1", "ip4+tcp"},
		{"::1", "/ip6/::1", "ip6+tcp"},
		{"::ffff:127.0.0.1", "/ip4/127.0.0.1", "ip4+tcp"},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t begin = (uint64_t)time(NULL) * 1000;
		struct pair p = connect_at(rows[i].listen);
		struct source *s = open_source(NULL);
		char name[64];

		move(p.client, p.server, 1000003);
		move(p.server, p.client, 77777);
		snprintf(name, sizeof name, "process=%s", program_invocation_short_name);
		for (int side = 0; side < 2; side++) {
			int here = side ? p.server : p.client, there = side ? p.client : p.server;
			take_named(s, 1000, here);
			Connection *c = take_exact(s, here);

			assert_bytes(c, side ? 1000003 : 77777, side ? 77777 : 1000003);
			assert_int_equal(c->status, ACTIVE);
			assert_int_equal(c->role, side ? RESPONDER : INITIATOR);
			assert_multiaddr(c->endpoints->src_multiaddr, rows[i].multiaddr, here);
			assert_multiaddr(c->endpoints->dst_multiaddr, rows[i].multiaddr, there);
			assert_int_equal(c->transport_id.len, 7);
			assert_memory_equal(c->transport_id.data, rows[i].transport, 7);
			assert_in_range(c->timeline->open_ts, begin, begin + 60000);
			assert_int_equal(c->timeline->close_ts, 0);
			assert_string_equal(c->user_provided_tags[0], name);
			assert_true(is_of(c, getpid()));
		}
		assert_null(find(take(s, 2000), p.listener));
		s->close(s);
		reset(&p);
	}
}

static void closing(void **unused)
{
	struct pair p = connect_at("127.0.0.1");
	struct source *s = open_source(NULL);
	uint64_t client = cookie_of(p.client), server = cookie_of(p.server);

	(void)unused;
	move(p.client, p.server, 1234);
	assert_int_equal(find(take(s, 0), p.client)->status, ACTIVE);
	assert_int_equal(shutdown(p.client, SHUT_WR), 0);
	assert_int_equal(read(p.server, &(char){0}, 1), 0);
	assert_int_equal(take_exact(s, p.client)->status, CLOSING);
	Connection *c = take_exact(s, p.server);
	assert_int_equal(c->status, CLOSING);
	assert_bytes(c, 1234, 0);
	move(p.server, p.client, 99);
	assert_bytes(take_exact(s, p.server), 1234, 99);
	assert_bytes(take_exact(s, p.client), 99, 1234);
	uint64_t opened = find(take(s, 3000), p.client)->timeline->open_ts;
	reset(&p);

	State *state = take(s, 4000);
	for (int side = 0; side < 2; side++) {
		c = find_cookie(state, side ? server : client);
		assert_non_null(c);
		assert_int_equal(c->status, CLOSED);
		assert_bytes(c, side ? 1234 : 99, side ? 99 : 1234);
		assert_int_equal(c->timeline->close_ts, state->instant_ts);
		assert_true(c->timeline->open_ts == opened && opened <= c->timeline->close_ts);
		assert_int_equal(c->traffic->traffic_in->inst_bw, 0);
	}
	state = take(s, 5000);
	assert_null(find_cookie(state, client));
	assert_null(find_cookie(state, server));
	s->close(s);
}

/* One that cannot complete, for the listener's queue is full; and one that the
 * listener completes only with its first data. */
static void opening(void **unused)
{
	struct source *s = open_source(NULL);
	int listener = listen_at("127.0.0.1", 0);
	struct sockaddr_storage name = name_of(listener);
	char dst[64];
	int fd[2];

	(void)unused;
	for (int i = 0; i < 2; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(fd[i], (struct sockaddr *)&name, size_of(&name));
	}
	Connection *c = find(take(s, 0), fd[1]);
	assert_int_equal(c->status, OPENING);
	assert_int_equal(c->role, INITIATOR);
	assert_bytes(c, 0, 0);
	close(listener);
	for (int i = 0; i < 2; i++)
		close(fd[i]);

	struct pair p = {.listener = listen_at("127.0.0.1", 4)};
	name = name_of(p.listener);
	setsockopt(p.listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){30}, sizeof(int));
	p.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(p.client, (struct sockaddr *)&name, size_of(&name)), 0);
	snprintf(dst, sizeof dst, "/ip4/127.0.0.1/tcp/%u", ntohs(port_of(p.client)));
	State *state = take(s, 1000);
	size_t found = 0;
	uint64_t cookie = 0;
	for (size_t i = 0; i < state->subsystems->n_connections; i++) {
		c = state->subsystems->connections[i];
		if (strcmp(c->endpoints->dst_multiaddr, dst) != 0)
			continue;
		found++;
		memcpy(&cookie, c->id.data, sizeof cookie);
		assert_int_equal(c->status, OPENING);
		assert_int_equal(c->role, RESPONDER);
		assert_int_equal(c->n_user_provided_tags, 0);
	}
	assert_int_equal(found, 1);
	assert_int_equal(write(p.client, "x", 1), 1);
	p.server = accept(p.listener, NULL, NULL);
	c = take_named(s, 2000, p.server);
	assert_int_equal(cookie_of(p.server), cookie);
	assert_int_equal(c->status, ACTIVE);
	assert_int_equal(c->role, RESPONDER);
	assert_true(is_of(c, getpid()));
	s->close(s);
	reset(&p);
}

/* Some nodes dial from the port that they listen on. */
static void dialed_from_listening_port(void **unused)
{
	struct source *s = open_source(NULL);
	int full = listen_at("127.0.0.1", 0), own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage to = name_of(full);
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd[2], accepted[2];

	(void)unused;
	setsockopt(own, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
	assert_int_equal(bind(own, (struct sockaddr *)&from, sizeof from), 0);
	from.sin_port = port_of(own);
	assert_int_equal(listen(own, 4), 0);
	for (int i = 0; i < 2; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (i == 1) {
			setsockopt(fd[i], SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
			assert_int_equal(bind(fd[i], (struct sockaddr *)&from, sizeof from), 0);
		}
		connect(fd[i], (struct sockaddr *)&to, size_of(&to));
	}
	assert_int_equal(find(take(s, 0), fd[1])->status, OPENING);
	for (int i = 0; i < 2; i++)
		accepted[i] = accept(full, NULL, NULL);
	Connection *c = find(take(s, 1000), fd[1]);
	assert_int_equal(c->status, ACTIVE);
	assert_int_equal(c->role, INITIATOR);
	for (int i = 0; i < 2; i++) {
		close(fd[i]);
		close(accepted[i]);
	}
	close(own);
	close(full);
	s->close(s);
}

/* A connection between two ports on which nodes listen, as those of libp2p dial. */
static struct pair dial_from_listening_port(int *own, const char *address)
{
	struct pair p = {.listener = listen_at(address, 4)};
	struct sockaddr_storage to = name_of(p.listener), from;

	*own = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p.client = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	from = to;
	((struct sockaddr_in *)&from)->sin_port = 0;
	for (int i = 0; i < 2; i++) {
		int fd = i ? p.client : *own;

		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
		assert_int_equal(bind(fd, (struct sockaddr *)&from, size_of(&from)), 0);
		from = name_of(fd);
	}
	assert_int_equal(listen(*own, 4), 0);
	assert_int_equal(connect(p.client, (struct sockaddr *)&to, size_of(&to)), 0);
	p.server = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.server >= 0);
	return p;
}

/* The kernel tells who dialled as soon as nothing is under way. */
static void settle(const struct pair *p)
{
	while (info_of(p->client).tcpi_unacked + info_of(p->server).tcpi_unacked > 0)
		usleep(1000);
}

static void who_dialled(void **unused)
{
	static const size_t moved[] = {0, 1, 100000};

	(void)unused;
	for (size_t i = 0; i < 12; i++) {
		int own;
		struct pair p = dial_from_listening_port(&own, i % 2 ? "::1" : "127.0.0.1");
		size_t bytes = moved[i % 3];

		move(p.client, p.server, bytes);
		move(p.server, p.client, bytes);
		settle(&p);
		if (i >= 6) {   /* neither listens any more, and one end is half closed */
			close(own);
			close(p.listener);
			p.listener = own = -1;
			assert_int_equal(shutdown(p.client, SHUT_WR), 0);
			assert_int_equal(read(p.server, &(char){0}, 1), 0);
		}
		struct source *s = open_source(NULL);
		State *state = take(s, 0);
		if (i < 6)
			assert_int_equal(find(state, p.client)->role, INITIATOR);
		assert_int_equal(find(state, p.server)->role, RESPONDER);
		move(p.server, p.client, 7);
		state = take(s, 1000);
		assert_int_equal(find(state, p.client)->role, INITIATOR);
		assert_int_equal(find(state, p.server)->role, RESPONDER);
		s->close(s);
		close(own);
		reset(&p);
	}
}

/* Known before its first byte, it stays known whatever is under way then. */
static void who_dialled_stays(void **unused)
{
	int own;
	struct pair p = dial_from_listening_port(&own, "127.0.0.1");
	struct source *s = open_source(NULL);

	(void)unused;
	for (int i = 0; i < 50; i++) {
		State *state = take(s, i * 1000);
		assert_int_equal(find(state, p.client)->role, INITIATOR);
		assert_int_equal(find(state, p.server)->role, RESPONDER);
		move(p.client, p.server, 50000);
		move(p.server, p.client, (size_t)i);
	}
	s->close(s);
	close(own);
	reset(&p);
}

/* A port on which something listens, or has listened, in the other family. */
static void dialed_from_other_port(void **unused)
{
	struct source *s = open_source(NULL);
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int server = listen_at("127.0.0.1", 4), other = listen_at("::1", 4);
	struct sockaddr_storage to = name_of(server);
	struct pair p = {.listener = server};

	(void)unused;
	take(s, 0);
	from.sin_port = port_of(other);
	p.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p.client, (struct sockaddr *)&from, sizeof from), 0);
	assert_int_equal(connect(p.client, (struct sockaddr *)&to, size_of(&to)), 0);
	p.server = accept(server, NULL, NULL);
	State *state = take(s, 1000);
	assert_int_equal(find(state, p.client)->role, INITIATOR);
	assert_int_equal(find(state, p.server)->role, RESPONDER);
	reset(&p);
	close(other);
	s->close(s);
}

static void rates_and_times(void **unused)
{
	struct pair p = connect_at("127.0.0.1"), later;
	struct source *s = open_source(NULL);

	(void)unused;
	move(p.client, p.server, 5000);
	State *state = take(s, 10000);
	uint64_t first = state->instant_ts;
	assert_int_equal(state->start_ts, first);
	assert_int_equal(find(state, p.server)->traffic->traffic_in->inst_bw, 0);
	assert_int_equal(state->traffic->traffic_in->inst_bw, 0);

	move(p.client, p.server, 50000);
	later = connect_at("127.0.0.1");
	move(later.client, later.server, 700);
	state = take(s, 12500);
	assert_int_equal(state->start_ts, first);
	assert_true(state->instant_ts >= first);
	assert_int_equal(find(state, p.server)->traffic->traffic_in->inst_bw, 20000);
	assert_int_equal(find(state, p.client)->traffic->traffic_out->inst_bw, 20000);
	assert_int_equal(find(state, p.client)->traffic->traffic_in->inst_bw, 0);
	assert_int_equal(find(state, later.server)->traffic->traffic_in->inst_bw, 280);

	uint64_t second = state->instant_ts;
	state = take(s, 13500);
	assert_int_equal(state->start_ts, second);
	assert_int_equal(find(state, p.server)->traffic->traffic_in->inst_bw, 0);
	s->close(s);
	reset(&p);
	reset(&later);
}

/* A machine that starts in 1970 reaches its time server; later its clock is set back.
 * Every time that is told is right as of the clock that is right now. */
static void clock_is_set(void **unused)
{
	enum { HOUR = 3600 };
	const int64_t now = time(NULL);
	const int64_t shifts[] = {10 - now, 0, -HOUR, -HOUR, HOUR};
	struct pair p = connect_at("127.0.0.1"), gone = connect_at("127.0.0.1");
	uint64_t before = 0, cookie = cookie_of(gone.client);

	(void)unused;
	clock_shift = shifts[0];
	struct source *s = open_source(NULL);
	for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
		clock_shift = shifts[i];
		uint64_t from = (uint64_t)(now + shifts[i]) * 1000, to = from + 60000;
		if (i == 3)
			reset(&gone);
		State *state = take(s, (int64_t)i * 1000);
		assert_in_range(state->instant_ts, from, to);
		assert_in_range(state->start_ts, from, state->instant_ts);
		Connection *c = find(state, p.client);
		assert_in_range(c->timeline->open_ts, from, state->start_ts);
		if (i > 0 && shifts[i] == shifts[i - 1])
			assert_int_equal(c->timeline->open_ts, before);
		before = c->timeline->open_ts;
		c = find_cookie(state, cookie);
		if (i == 3) {
			assert_int_equal(c->status, CLOSED);
			assert_int_equal(c->timeline->open_ts, before);
			assert_int_equal(c->timeline->close_ts, state->instant_ts);
		}
	}
	clock_shift = 0;
	s->close(s);
	reset(&p);
}

/* What has not changed is written the same. */
static void times_stay(void **unused)
{
	struct pair p = connect_at("127.0.0.1");
	struct source *s = open_source(NULL);
	uint64_t opened = find(take(s, 0), p.client)->timeline->open_ts;

	(void)unused;
	for (int i = 1; i < 1000; i++) {
		uint64_t instant = take(s, i * 1000)->instant_ts;
		State *state = take(s, i * 1000 + 500);

		assert_int_equal(state->start_ts, instant);
		assert_int_equal(find(state, p.client)->timeline->open_ts, opened);
	}
	s->close(s);
	reset(&p);
}

/* Connections come, move bytes and go; the totals of this process are exact to
 * the byte at every snapshot, and only ever rise. */
static void totals(void **unused)
{
	enum { ROUNDS = 40, AT_ONCE = 7 };
	struct pair pairs[AT_ONCE];
	uint64_t moved = 0, packets = 0;
	char pid[16];

	(void)unused;
	snprintf(pid, sizeof pid, "%d", getpid());
	struct source *s = open_source(pid);
	for (int i = 0; i < ROUNDS; i++) {
		struct pair *p = &pairs[i % AT_ONCE];

		if (i >= AT_ONCE)
			reset(p);
		*p = connect_at(i % 2 ? "127.0.0.1" : "::1");
		for (int k = 0; k < AT_ONCE && k <= i; k++) {
			move(pairs[k].client, pairs[k].server, (size_t)(i * 100 + k));
			moved += (uint64_t)(i * 100 + k);
		}
		State *state = take(s, i * 1000);
		assert_int_equal(state->traffic->traffic_in->cum_bytes, moved);
		assert_int_equal(state->traffic->traffic_out->cum_bytes, moved);
		assert_true(state->traffic->traffic_in->cum_packets > packets);
		packets = state->traffic->traffic_in->cum_packets;
		size_t listed = i < AT_ONCE ? 2 * (size_t)i + 2 : 2 * AT_ONCE + 2;
		assert_int_equal(state->subsystems->n_connections, listed);
		uint64_t in = 0;
		for (size_t k = 0; k < state->subsystems->n_connections; k++)
			in += state->subsystems->connections[k]->traffic->traffic_in->inst_bw;
		assert_int_equal(state->traffic->traffic_in->inst_bw, in);
	}
	for (int k = 0; k < AT_ONCE; k++)
		reset(&pairs[k]);
	for (int i = 0; i < 3; i++) {
		State *state = take(s, (ROUNDS + i) * 1000);
		assert_int_equal(state->traffic->traffic_in->cum_bytes, moved);
		assert_int_equal(state->traffic->traffic_in->inst_bw, 0);
		assert_int_equal(state->subsystems->n_connections, i == 0 ? 2 * AT_ONCE : 0);
	}
	s->close(s);
}

/* The connections of the daemon's own listeners are left out, both ends, and
 * none else. */
static void own_connections(void **unused)
{
	static const struct {
		const char *listen, *own;
		bool left_out;
	} rows[] = {
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "0.0.0.0", true},
		{"::1", "::1", true},
		{"::1", "::", true},
		{"127.0.0.1", "::", false},
		{"::1", "0.0.0.0", false},
		{"127.0.0.2", "127.0.0.1", false},
		{"::ffff:127.0.0.1", "127.0.0.1", true},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct pair p = connect_at(rows[i].listen), other = connect_at(rows[i].listen);
		struct sockaddr_storage own[2] = {{.ss_family = AF_UNIX}};
		struct sockaddr_in *v4 = (struct sockaddr_in *)&own[1];
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&own[1];

		v4->sin_port = port_of(p.listener);
		if (inet_pton(AF_INET, rows[i].own, &v4->sin_addr) == 1) {
			v4->sin_family = AF_INET;
		} else {
			v6->sin6_family = AF_INET6;
			assert_int_equal(inet_pton(AF_INET6, rows[i].own, &v6->sin6_addr), 1);
		}
		struct source *s = open_tcp(NULL, own, 2);
		assert_non_null(s);
		State *state = take(s, 0);
		assert_int_equal(find(state, p.client) == NULL, rows[i].left_out);
		assert_int_equal(find(state, p.server) == NULL, rows[i].left_out);
		assert_non_null(find(state, other.client));
		assert_non_null(find(state, other.server));
		s->close(s);
		reset(&p);
		reset(&other);
	}
}

/* A process of its own with one connection to itself, over which it has sent
 * as many bytes as was asked for. */
struct node {
	pid_t pid;
	int pipe;   /* it ends when this is closed */
};

static void be_node(const char *name, size_t bytes, int ready, int end)
{
	prctl(PR_SET_NAME, name);
	for (int fd = 3; fd < 1024; fd++)
		if (fd != ready && fd != end)
			close(fd);
	struct pair p = connect_at("127.0.0.1");
	move(p.client, p.server, bytes);
	if (write(ready, "r", 1) == 1)
		(void)!read(end, &(char){0}, 1);
	reset(&p);
	_exit(0);
}

/* pid: the number it must have, 0 for any. False: that may not be chosen here. */
static bool start_node(struct node *n, const char *name, size_t bytes, pid_t pid)
{
	int ready[2], end[2];
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&pid,
		.set_tid_size = pid != 0,
	};

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	n->pid = pid ? (pid_t)syscall(SYS_clone3, &args, sizeof args) : fork();
	if (n->pid == 0)
		be_node(name, bytes, ready[1], end[0]);
	close(ready[1]);
	close(end[0]);
	n->pipe = end[1];
	bool started = n->pid > 0 && read(ready[0], &(char){0}, 1) == 1;
	close(ready[0]);
	if (!started)
		close(end[1]);
	return started;
}

/* It has ended, but its parent has not taken notice. */
static void end_node(const struct node *n)
{
	siginfo_t info;

	close(n->pipe);
	assert_int_equal(waitid(P_PID, (id_t)n->pid, &info, WEXITED | WNOWAIT), 0);
}

static void bury_node(const struct node *n)
{
	assert_int_equal(waitpid(n->pid, NULL, 0), n->pid);
}

static void assert_shows(const struct source *s, const char *name, pid_t pid)
{
	char expected[64];

	snprintf(expected, sizeof expected, "%s (pid %d)", name, pid);
	assert_string_equal(s->runtime.implementation, expected);
}

static void assert_watched(const struct source *s, pid_t pid)
{
	assert_shows(s, program_invocation_short_name, pid);
}

static void process_by_name(void **unused)
{
	struct node first, second, third;
	char name[16], gone[64];
	State *state;

	(void)unused;
	snprintf(name, sizeof name, "kt%d", getpid());
	snprintf(gone, sizeof gone, "%s (not running)", name);
	log_clear();
	struct source *s = open_source(name);
	assert_non_null(strstr(logged, "waiting process="));
	assert_string_equal(s->runtime.implementation, gone);
	state = take(s, 0);
	assert_int_equal(state->subsystems->n_connections, 0);
	assert_int_equal(state->n_resources, 0);

	assert_true(start_node(&first, name, 1000, 0));
	state = take(s, 1000);
	assert_watched(s, first.pid);
	assert_int_equal(state->subsystems->n_connections, 2);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 1000);
	assert_int_equal(state->n_resources, 2);

	assert_true(start_node(&second, name, 20, 0));
	assert_true(start_node(&third, name, 3, 0));
	for (int i = 0; i < 4; i++)
		assert_int_equal(take(s, 2000 + i)->traffic->traffic_in->cum_bytes, 1000);

	log_clear();
	end_node(&first);
	state = take(s, 3000);
	assert_non_null(strstr(logged, "gone process="));
	assert_non_null(strstr(logged, "others=1\n"));
	assert_watched(s, second.pid);
	assert_int_equal(state->subsystems->n_connections, 4);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 1020);
	bury_node(&first);
	end_node(&second);
	bury_node(&second);
	end_node(&third);
	bury_node(&third);

	state = take(s, 4000);
	assert_string_equal(s->runtime.implementation, gone);
	assert_int_equal(state->subsystems->n_connections, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(state->subsystems->connections[i]->status, CLOSED);
	state = take(s, 5000);
	assert_int_equal(state->subsystems->n_connections, 0);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 1020);

	assert_true(start_node(&first, name, 500, 0));
	state = take(s, 6000);
	assert_watched(s, first.pid);
	assert_int_equal(state->subsystems->n_connections, 2);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 1520);
	end_node(&first);
	bury_node(&first);
	s->close(s);
}

/* A search that is not done in one snapshot goes on in the next. */
static void process_by_name_in_parts(void **unused)
{
	enum { PROCESSES = 12 };
	struct node nodes[PROCESSES];
	char name[16];
	int takes = 0;

	(void)unused;
	snprintf(name, sizeof name, "kp%d", getpid());
	struct source *s = open_source(name);
	for (int i = 0; i < PROCESSES; i++)
		assert_true(start_node(&nodes[i], name, 10, 0));
	cpu_is_made_up = true;
	cpu_step = 10000000;   /* two processes in a snapshot */
	log_clear();
	do {
		take(s, ++takes * 1000);
		assert_true(takes < 100000);
	} while (strstr(s->runtime.implementation, "not running"));
	cpu_is_made_up = false;
	assert_in_range(takes, PROCESSES / 2, 100000);
	assert_watched(s, nodes[0].pid);
	assert_non_null(strstr(logged, "others=11\n"));
	for (int i = 0; i < PROCESSES; i++) {
		end_node(&nodes[i]);
		bury_node(&nodes[i]);
	}
	cpu_is_made_up = true;
	take(s, 1000000);   /* a search is under way when it is closed */
	cpu_is_made_up = false;
	cpu_step = 0;
	s->close(s);
}

static void process_by_number(void **unused)
{
	struct node n, again;
	char pid[16], gone[64];

	(void)unused;
	assert_true(start_node(&n, "by number", 1000, 0));
	snprintf(pid, sizeof pid, "%d", n.pid);
	snprintf(gone, sizeof gone, "process %d (not running)", n.pid);
	struct source *s = open_source(pid);
	State *state = take(s, 0);
	assert_watched(s, n.pid);
	assert_int_equal(state->subsystems->n_connections, 2);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 1000);
	assert_int_equal(state->traffic->traffic_out->cum_bytes, 1000);
	end_node(&n);
	log_begin();
	assert_null(open_tcp(pid, NULL, 0));
	log_end();
	bury_node(&n);
	/* Another process takes over the number at once. */
	bool reused = start_node(&again, "another", 1000, n.pid);
	if (reused)
		assert_int_equal(again.pid, n.pid);
	for (int i = 1; i < 4; i++) {
		state = take(s, i * 1000);
		assert_string_equal(s->runtime.implementation, gone);
		assert_int_equal(state->subsystems->n_connections, i == 1 ? 2 : 0);
		assert_int_equal(state->traffic->traffic_in->cum_bytes, 1000);
		assert_int_equal(state->n_resources, 0);
	}
	if (reused) {
		end_node(&again);
		bury_node(&again);
	}
	s->close(s);
	if (!reused)
		skip();
}

static void process_that_is_none(void **unused)
{
	static const char *const names[] = {"", "0", "4194305", "99999999999999999999999999"};

	(void)unused;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char expected[128];

		log_clear();
		log_begin();
		assert_null(open_tcp(names[i], NULL, 0));
		log_end();
		snprintf(expected, sizeof expected,
		         "error pid=\"%s\" reason=\"there is no such process\"\n", names[i]);
		assert_string_equal(logged, expected);
	}
}

/* Runs f(pid of this process) in a child and asserts that it returned true. */
static void assert_in_child(bool (*f)(const char *pid))
{
	char pid[16];
	int status;

	snprintf(pid, sizeof pid, "%d", getpid());
	pid_t child = fork();
	if (child == 0)
		_exit(f(pid) ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* This program again, under another name: it waits for its end. */
static int be_held(const char *comm)
{
	prctl(PR_SET_NAME, comm);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(STDOUT_FILENO, "r", 1) == 1)
		pause();
	return 1;
}

static pid_t hold(const char *argument, const char *second, const char *comm)
{
	const char *arguments[] = {argument, second, comm, "--hold", NULL};
	int ready[2];

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ready[1], STDOUT_FILENO);
		execv("/proc/self/exe", (char **)(uintptr_t)arguments);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &(char){0}, 1), 1);
	close(ready[0]);
	return pid;
}

static void let_go(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What is shown is the program's name, as long as anything tells it, and UTF-8. */
static void process_names(void **unused)
{
	static const struct {
		const char *argument, *second, *comm, *expected;
	} rows[] = {
		{"/tmp/My App/kubo", "", "kubo", "kubo"},
		{"Z:\\home\\user\\Games\\steam.exe", "", "steam.exe", "steam.exe"},
		{"./tmux: server", "", "tmux: server", "tmux: server"},
		{"nginx: master process /usr/sbin/nginx", "-g", "nginx", "nginx"},
		{"sshd: root@pts/0", "", "sshd", "sshd"},
		{"/usr/sbin/sshd[1]", "", "sshd[1]", "sshd[1]"},
		{"/usr/bin/node", "", "MainThread", "node"},
		{"/opt/My App/node", "", "MainThread", "MainThread"},
		{"/usr/bin/python3", "/opt/x/script", "script", "script"},
		{"/usr/sbin/introspectd-of-long-name", "", "introspectd-of-", "introspectd-of-long-name"},
		{"introspectd-of-long: idle", "", "introspectd-of-", "introspectd-of-long"},
		{"", "", "bare", "bare"},
		{"/opt/käse", "", "käse", "käse"},
		{"/opt/éééééééééé", "", "éééééééé", "éééééééééé"},
		{"/opt/caf\xe9", "", "caf\xe9", "caf?"},
		{"/opt/a\033[1mb", "", "a\033[1mb", "a?[1mb"},
		{"éééééééééééééééééééé", "", "x", "ééééééééééééééé"},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		pid_t child = hold(rows[i].argument, rows[i].second, rows[i].comm);
		char pid[16];

		snprintf(pid, sizeof pid, "%d", child);
		struct source *s = open_source(pid);
		assert_shows(s, rows[i].expected, child);
		s->close(s);
		let_go(child);
	}
}

/* By the name that is shown, by the command's and by the program's. */
static void process_by_any_name(void **unused)
{
	static const char *const names[] = {"held-by-a-name-of-more", "held-by-a-name-", "held-by-"};

	(void)unused;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		pid_t child = i < 2 ? hold("/a b/held-by-a-name-of-more: x", "", "held-by-a-name-")
		                    : hold("/a:b/held-by-", "", "MainThread");
		struct source *s = open_source(names[i]);
		assert_shows(s, i < 2 ? names[0] : "MainThread", child);
		s->close(s);
		let_go(child);
	}
}

static void *stay(void *ready)
{
	struct pair p = connect_at("127.0.0.1");

	move(p.client, p.server, 555);
	if (write(*(int *)ready, "r", 1) == 1)
		pause();
	return NULL;
}

/* What a process holds is seen while one of its threads runs, its first or not. */
static void main_thread_exited(void **unused)
{
	int ready[2];
	char name[16], pid[16];

	(void)unused;
	snprintf(name, sizeof name, "lt%d", getpid());
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		pthread_t other;

		prctl(PR_SET_NAME, name);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pthread_create(&other, NULL, stay, &ready[1]) == 0)
			syscall(SYS_exit, 0);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &(char){0}, 1), 1);
	close(ready[0]);
	snprintf(pid, sizeof pid, "%d", child);
	const char *const watched[] = {pid, name, NULL};
	for (size_t i = 0; i < 3; i++) {
		struct source *s = open_source(watched[i]);
		State *state = take(s, 0);
		size_t found = 0;

		for (size_t k = 0; k < state->subsystems->n_connections; k++) {
			Connection *c = state->subsystems->connections[k];

			found += is_of(c, child) &&
			         c->traffic->traffic_in->cum_bytes +
			                         c->traffic->traffic_out->cum_bytes ==
			                 555;
		}
		assert_int_equal(found, 2);
		if (watched[i]) {
			assert_int_equal(state->subsystems->n_connections, 2);
			assert_int_equal(state->n_resources, 2);
			assert_true(state->resources[0]->used >= 3 && state->resources[1]->used > 0);
			assert_watched(s, child);
		}
		s->close(s);
	}
	let_go(child);
}

/* In a /proc that is mounted with these options over what there was. */
static bool mount_proc(const char *type, const char *options)
{
	return unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("proc", "/proc", type, 0, options) == 0;
}

static bool says(const char *process, const char *expected)
{
	log_clear();
	log_begin();
	struct source *s = open_tcp(process, NULL, 0);
	log_end();
	if (s)
		s->close(s);
	return strstr(logged, expected);
}

static bool sees_hidden_processes(const char *pid)
{
	return mount_proc("proc", "hidepid=2") && !says("no-such-name", "hidepid") &&
	       setgid(65534) == 0 && setuid(65534) == 0 && says(pid, "hidepid") &&
	       says("1", "ProtectProc") && says("no-such-name", "hidepid") &&
	       says("4194305", "no such process") && !says(NULL, "/proc");
}

static bool sees_no_proc(const char *pid)
{
	return mount_proc("tmpfs", NULL) && says(pid, "not mounted") &&
	       says("no-such-name", "not mounted") && says("4194305", "no such process") &&
	       says(NULL, "not mounted");
}

static void hidden_processes(void **unused)
{
	(void)unused;
	if (geteuid() != 0)
		skip();
	assert_in_child(sees_hidden_processes);
	assert_in_child(sees_no_proc);
}

static bool sees_why_unreadable(const char *pid)
{
	struct snapshot_input in;

	/* A process of root: the one that runs the tests, or else the first. */
	if (geteuid() != 0)
		pid = "1";
	else if (setgid(65534) != 0 || setuid(65534) != 0)
		return false;
	log_clear();
	log_begin();
	struct source *s = open_tcp(pid, NULL, 0);
	for (int i = 0; s && i < 3; i++)
		if (s->take(s, i * 1000, &in) != 1 || in.state->subsystems->n_connections != 0)
			return false;
	log_end();
	if (s)
		s->close(s);
	const char *said = strstr(logged, "may not be read");
	return said && !strstr(said + 1, "may not be read");
}

static void unreadable_process(void **unused)
{
	struct pair p = connect_at("127.0.0.1");

	(void)unused;
	assert_in_child(sees_why_unreadable);
	reset(&p);
}

static bool sees_other_namespace(const char *pid)
{
	log_clear();
	log_begin();
	struct source *s = open_tcp(pid, NULL, 0);
	log_end();
	if (!s || strstr(logged, "nsenter") || unshare(CLONE_NEWNET) != 0)
		return false;
	s->close(s);
	log_begin();
	s = open_tcp(pid, NULL, 0);
	log_end();
	if (s)
		s->close(s);
	return strstr(logged, "nsenter --target");
}

static void other_namespace(void **unused)
{
	(void)unused;
	if (geteuid() != 0)
		skip();
	assert_in_child(sees_other_namespace);
}

static void resources(void **unused)
{
	static const char *const names[] = {"open-files", "memory"};
	struct rlimit files;
	char pid[16];
	int extra[10];

	(void)unused;
	snprintf(pid, sizeof pid, "%d", getpid());
	for (int watched = 0; watched < 2; watched++) {
		struct source *s = open_source(watched ? pid : NULL);
		State *state = take(s, 0);

		assert_int_equal(state->n_resources, 2);
		for (size_t i = 0; i < 2; i++) {
			Introspection__Resource *r = state->resources[i];

			assert_string_equal(r->scope, watched ? "process" : "system");
			assert_string_equal(r->name, names[i]);
			assert_true(r->used > 0 && (r->limit == 0 || r->used <= r->limit));
		}
		if (watched) {
			uint64_t used = state->resources[0]->used;

			assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
			assert_int_equal(state->resources[0]->limit, files.rlim_cur);
			for (int i = 0; i < 10; i++)
				extra[i] = dup(0);
			assert_int_equal(take(s, 1000)->resources[0]->used, used + 10);
			for (int i = 0; i < 10; i++)
				close(extra[i]);
		}
		s->close(s);
	}
}

/* How the socket of a descriptor goes on under another, here or elsewhere. */
static pid_t move_on(int how, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = {0};
	struct msghdr m = {
		.msg_iov = &(struct iovec){(char[1]){0}, 1},
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control,
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int ends[2];

	if (how == 0)
		return dup(fd) >= 0 ? 0 : -1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (how == 2) {
			close(fd);
			(void)!recvmsg(ends[1], &m, 0);
		}
		if (write(ends[1], "r", 1) == 1)
			pause();
		_exit(1);
	}
	if (how == 2)
		assert_int_equal(sendmsg(ends[0], &m, 0), 1);
	assert_int_equal(recvfrom(ends[0], &(char){0}, 1, 0, NULL, NULL), 1);
	close(ends[0]);
	close(ends[1]);
	return child;
}

/* Closes the other descriptor of a socket. */
static void close_from_dup(uint64_t cookie)
{
	uint64_t c;

	for (int fd = 3; fd < 100; fd++) {
		socklen_t len = sizeof c;

		if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &c, &len) == 0 && c == cookie)
			close(fd);
	}
}

/* A socket is moved by dup, fork or a message, and another gets its number. */
static void moved_descriptor(void **unused)
{
	(void)unused;
	for (int how = 0; how < 3; how++) {
		char pid[16];

		snprintf(pid, sizeof pid, "%d", getpid());
		for (int watched = 0; watched < 2; watched++) {
			struct pair p = connect_at("127.0.0.1"), q;
			struct sockaddr_storage to = name_of(p.listener);
			struct source *s = open_source(watched ? pid : NULL);
			uint64_t moved = cookie_of(p.client);
			int number = p.client;

			take_named(s, 1000, p.client);
			pid_t child = move_on(how, p.client);
			close(p.client);
			q.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			assert_int_equal(q.client, number);
			assert_int_equal(connect(q.client, (struct sockaddr *)&to, size_of(&to)), 0);
			q.server = accept(p.listener, NULL, NULL);
			assert_true(is_of(take_named(s, 1000, q.client), getpid()));
			assert_non_null(find_cookie(take(s, 1000), moved));
			s->close(s);
			if (child > 0)
				let_go(child);
			else
				close_from_dup(moved);
			q.listener = p.listener;
			reset(&q);
			close(p.server);
		}
	}
}

enum { FILES = 3000 };

static bool is_alone;   /* the sockets of this network are those of this test */

static bool raise_files(void)
{
	struct rlimit files = {FILES + 100, FILES + 100};

	return setrlimit(RLIMIT_NOFILE, &files) == 0;
}

/* A process with many open files; whenever told to, it connects to itself. */
static pid_t open_many(int *told)
{
	int ready[2], orders[2];

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(orders), 0);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bool good = raise_files();
		for (int i = 0; i < FILES && good; i++)
			good = open("/dev/null", O_RDONLY) >= 0;
		for (; good; good = read(orders[0], &(char){0}, 1) == 1 && connect_at("127.0.0.1").server)
			good = write(ready[1], "r", 1) == 1;
		_exit(1);
	}
	close(ready[1]);
	close(orders[0]);
	assert_int_equal(read(ready[0], &(char){0}, 1), 1);
	told[0] = ready[0];
	told[1] = orders[1];
	return child;
}

/* A process with many files costs each snapshot little: what they are is remembered,
 * and looked at again, for a socket that is nowhere, a part at a time. */
static void many_files(void **unused)
{
	enum { AT_MOST = 500000 / 10000 + 64 };
	int told[2];
	struct pair p, q;
	char pid[16];

	(void)unused;
	if (!is_alone)
		skip();
	pid_t child = open_many(told);
	p = connect_at("127.0.0.1");
	snprintf(pid, sizeof pid, "%d", child);
	struct source *s = open_source(pid);
	cpu_is_made_up = true;
	readlinkat_calls = 0;
	assert_int_equal(take(s, 1000)->subsystems->n_connections, 0);
	assert_in_range(readlinkat_calls, 2 * FILES, 2 * FILES + 200);

	assert_int_equal(write(told[1], "c", 1), 1);
	assert_int_equal(read(told[0], &(char){0}, 1), 1);
	readlinkat_calls = 0;
	State *state = take(s, 1000);
	assert_int_equal(state->subsystems->n_connections, 2);
	assert_in_range(readlinkat_calls, 2, 50);

	q = connect_at("127.0.0.1");
	unsigned calls = 1, all = 0, takes = 0;
	for (; calls > 0; takes++) {
		readlinkat_calls = 0;
		assert_int_equal(take(s, 1000)->subsystems->n_connections, 2);
		calls = readlinkat_calls;
		assert_true(calls <= AT_MOST);
		all += calls;
	}
	assert_true(all >= FILES && takes > FILES / AT_MOST);
	cpu_is_made_up = false;
	s->close(s);
	close(told[0]);
	close(told[1]);
	let_go(child);
	reset(&p);
	reset(&q);
}

/* What is new is not behind the many files of an older process. */
static void newest_first(void **unused)
{
	int told[2];
	struct node n;

	(void)unused;
	if (!is_alone)
		skip();
	struct source *s = open_source(NULL);
	take(s, 0);
	pid_t child = open_many(told);
	assert_true(start_node(&n, "newest", 10, 0));
	cpu_is_made_up = true;
	readlinkat_calls = 0;
	for (bool found = false; !found;) {
		State *state = take(s, 0);

		for (size_t i = 0; i < state->subsystems->n_connections; i++)
			found = found || is_of(state->subsystems->connections[i], n.pid);
	}
	assert_in_range(readlinkat_calls, 2, FILES / 2);
	cpu_is_made_up = false;
	s->close(s);
	close(told[0]);
	close(told[1]);
	let_go(child);
	end_node(&n);
	bury_node(&n);
}

/* The number of a file that was seen to be no socket is given to one. */
static void reused_number(void **unused)
{
	struct pair p = connect_at("127.0.0.1"), q;
	struct source *s = open_source(NULL);
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)unused;
	q = connect_at("127.0.0.1");
	take_named(s, 1000, q.client);
	struct sockaddr_storage to = name_of(p.listener);
	close(file);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(fd, file);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, size_of(&to)), 0);
	assert_true(is_of(take_named(s, 1000, fd), getpid()));
	close(fd);
	s->close(s);
	reset(&p);
	reset(&q);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* How many connections of a state are among n sorted cookies, and complete. */
static size_t count_active(const State *state, const uint64_t *cookies, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < state->subsystems->n_connections; i++) {
		const Connection *c = state->subsystems->connections[i];

		count += bsearch(c->id.data, cookies, n, sizeof *cookies, by_value) != NULL &&
		         (int)c->status == ACTIVE && is_of(c, getpid());
	}
	return count;
}

static ssize_t no_buffer(char *buffer, size_t size)
{
	(void)buffer, (void)size;
	errno = ENOBUFS;
	return -1;
}

/* As many as the limit of open files allows, up to 10,000 connections: every one
 * is there, and only the first snapshot looks at their descriptors. */
static void many(void **unused)
{
	enum { MANY = 10000 };
	struct rlimit files;
	static uint64_t cookies[2 * MANY];
	static int fds[2 * MANY];
	int listener = listen_at("127.0.0.1", 128);
	struct sockaddr_storage name = name_of(listener);
	struct linger linger = {.l_onoff = 1};
	char pid[16];

	(void)unused;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	rlim_t before = files.rlim_cur;
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	size_t n = files.rlim_max > 2 * MANY + 64 ? MANY : (size_t)files.rlim_max / 2 - 32;
	for (size_t i = 0; i < 2 * n; i += 2) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&name, size_of(&name)), 0);
		fds[i + 1] = accept(listener, NULL, NULL);
		setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		cookies[i] = cookie_of(fds[i]);
		cookies[i + 1] = cookie_of(fds[i + 1]);
	}
	qsort(cookies, 2 * n, sizeof *cookies, by_value);

	snprintf(pid, sizeof pid, "%d", getpid());
	for (int watched = 0; watched < 2; watched++) {
		struct source *s = open_source(watched ? pid : NULL);

		for (int round = 0; round < 3; round++) {
			recv_calls = readlinkat_calls = 0;
			State *state = take(s, round * 1000);
			assert_int_equal(count_active(state, cookies, 2 * n), 2 * n);
			assert_true(recv_calls < 2 * n / 20);
			/* Others may open sockets, and all processes be looked at for them. */
			if (watched)
				assert_int_equal(readlinkat_calls >= 100, round == 0);
		}
		/* A long answer of which nothing is read. */
		answer = no_buffer;
		kernel_is_asked = true;
		assert_null(try_take(s, 4000));
		kernel_is_asked = false;
		assert_int_equal(count_active(take(s, 5000), cookies, 2 * n), 2 * n);
		s->close(s);
	}
	for (size_t i = 0; i < 2 * n; i++)
		close(fds[i]);
	close(listener);
	files.rlim_cur = before;
	setrlimit(RLIMIT_NOFILE, &files);
}

/* Answers of a kernel. Each is one datagram; done() follows. */

static ssize_t put_done(char *buffer, int error)
{
	struct nlmsghdr m = {
		.nlmsg_len = NLMSG_LENGTH(sizeof error),
		.nlmsg_type = NLMSG_DONE,
		.nlmsg_flags = NLM_F_MULTI,
		.nlmsg_seq = asked.nlmsg_seq,
	};

	memcpy(buffer, &m, sizeof m);
	memcpy(buffer + sizeof m, &error, sizeof error);
	return (ssize_t)m.nlmsg_len;
}

static ssize_t nothing(char *buffer, size_t size)
{
	(void)size;
	return put_done(buffer, 0);
}

/* A socket with info_len bytes of its tcp_info, -1 for none at all. */
static ssize_t put_socket(char *buffer, uint64_t cookie, uint8_t state, const void *info,
                          int info_len)
{
	size_t attribute = info_len < 0 ? 0 : RTA_LENGTH((size_t)info_len);
	struct {
		struct nlmsghdr header;
		struct inet_diag_msg body;
	} m = {
		.header.nlmsg_len = (uint32_t)(sizeof m + RTA_ALIGN(attribute)),
		.header.nlmsg_type = TCPDIAG_GETSOCK,
		.header.nlmsg_flags = NLM_F_MULTI,
		.header.nlmsg_seq = asked.nlmsg_seq,
		.body.idiag_family = AF_INET,
		.body.idiag_state = state,
		.body.id.idiag_cookie = {(uint32_t)cookie, (uint32_t)(cookie >> 32)},
	};
	struct rtattr a = {.rta_len = (unsigned short)attribute, .rta_type = INET_DIAG_INFO};

	memset(buffer, 0, m.header.nlmsg_len);
	memcpy(buffer, &m, sizeof m);
	if (info_len >= 0) {
		memcpy(buffer + sizeof m, &a, sizeof a);
		memcpy(buffer + sizeof m + RTA_LENGTH(0), info, (size_t)info_len);
	}
	return (ssize_t)m.header.nlmsg_len;
}

/* What the one socket of the answers of one_socket() is like. */
static struct {
	int told;   /* times, in this dump */
	uint8_t state;
	int info_len;
	struct {
		struct tcp_info info;
		char of_newer_kernels[256];
	} info;
} one;

static ssize_t one_socket(char *buffer, size_t size)
{
	(void)size;
	return !one.told++
	               ? put_socket(buffer, 1, one.state, &one.info, one.info_len)
	               : put_done(buffer, 0);
}

/* Its last attribute is another, and not padded. */
static ssize_t odd_socket(char *buffer, size_t size)
{
	struct rtattr a = {.rta_len = RTA_LENGTH(1), .rta_type = INET_DIAG_SHUTDOWN};
	ssize_t len = one_socket(buffer, size);
	struct nlmsghdr *m = (void *)buffer;

	if (m->nlmsg_type == TCPDIAG_GETSOCK) {
		memcpy(buffer + len, &a, sizeof a);
		m->nlmsg_len += a.rta_len;
		len += (ssize_t)NLMSG_ALIGN(a.rta_len);
	}
	return len;
}

static Connection *take_one(struct source *s, int64_t ms)
{
	one.told = 0;
	answer = one.info_len < 0 ? odd_socket : one_socket;
	State *state = take(s, ms);
	answer = NULL;
	assert_int_equal(state->subsystems->n_connections, 1);
	return state->subsystems->connections[0];
}

static void states_and_counters(void **unused)
{
	static const struct {
		uint8_t state;
		int expected;
		bool fin;   /* received: the kernel counts it as a byte */
	} rows[] = {
		{1, ACTIVE, false},  {2, OPENING, false}, {3, OPENING, false}, {4, CLOSING, false},
		{5, CLOSING, false}, {8, CLOSING, true},  {9, CLOSING, true},  {11, CLOSING, true},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		answer = nothing;
		struct source *s = open_source(NULL);
		memset(&one, 0, sizeof one);
		one.state = rows[i].state;
		one.info_len = sizeof one.info;
		one.info.info.tcpi_bytes_received = 101;
		one.info.info.tcpi_bytes_sent = 1000;
		one.info.info.tcpi_bytes_retrans = 300;
		one.info.info.tcpi_segs_in = UINT32_MAX - 9;
		one.info.info.tcpi_segs_out = 5;
		one.info.info.tcpi_rtt = UINT32_MAX;
		Connection *c = take_one(s, 0);
		assert_int_equal(c->status, rows[i].expected);
		assert_bytes(c, rows[i].fin ? 100 : 101, 700);
		assert_int_equal(c->retransmitted_bytes, 300);
		assert_int_equal(c->latency_ns, UINT32_MAX * UINT64_C(1000));
		assert_int_equal(c->traffic->traffic_in->cum_packets, UINT32_MAX - 9);

		/* Packets wrap; bytes out seem to step back. */
		one.info.info.tcpi_segs_in = 20;
		one.info.info.tcpi_bytes_retrans = 301;
		c = take_one(s, 1000);
		assert_bytes(c, rows[i].fin ? 100 : 101, 700);
		assert_int_equal(c->traffic->traffic_in->cum_packets, UINT32_MAX + UINT64_C(21));
		assert_int_equal(c->traffic->traffic_out->cum_packets, 5);
		assert_int_equal(c->traffic->traffic_out->inst_bw, 0);

		/* Nothing at all, as for the remainder of a connection. */
		one.info_len = -1;
		c = take_one(s, 2000);
		assert_bytes(c, rows[i].fin ? 100 : 101, 700);

		/* An older kernel's tcp_info ends somewhere. */
		one.info.info.tcpi_bytes_received = 5000;
		one.info_len = offsetof(struct tcp_info, tcpi_bytes_received);
		c = take_one(s, 3000);
		assert_int_equal(c->traffic->traffic_in->cum_bytes, rows[i].fin ? 100 : 101);
		s->close(s);
	}
}

/* A listener, and a socket of its port. */
static ssize_t listening_socket(char *buffer, size_t size)
{
	ssize_t len = one.told ? 0 : put_socket(buffer, 2, TCPDIAG_LISTEN, NULL, -1);

	return len + one_socket(buffer + len, size);
}

/* What the kernel's numbers tell of who dialled; the listener stands for what they
 * do not tell. One number after the other is of one connection. */
static void sides(void **unused)
{
	enum { NONE = -1, OLD_KERNEL = offsetof(struct tcp_info, tcpi_bytes_retrans) };
	static const struct {
		uint8_t state;
		bool listener;
		int len;   /* of tcp_info; 0: all of it, NONE: not told */
		uint64_t acked, sent, again;
		uint32_t unacked;
		int expected;
		bool goes_on;   /* the connection of the row before */
	} rows[] = {
		{1, false, 0, 1, 0, 0, 0, INITIATOR, false},
		{1, true, 0, 1, 0, 0, 0, INITIATOR, false},
		{1, false, 0, 0, 0, 0, 0, RESPONDER, false},
		{1, false, 0, 0, 500, 0, 2, RESPONDER, false},
		{1, true, 0, 901, 1000, 100, 0, INITIATOR, false},
		{8, false, 0, 900, 1000, 100, 0, RESPONDER, false},
		{8, true, 0, 901, 1000, 100, 0, INITIATOR, false},
		/* under way: unknown for now */
		{1, true, 0, 501, 1000, 0, 1, RESPONDER, false},
		{1, true, 0, 1001, 1000, 0, 0, INITIATOR, true},
		{1, true, 0, 1001, 1001, 0, 0, INITIATOR, true},
		{1, false, 0, 501, 1000, 0, 1, INITIATOR, false},
		{1, false, 0, 1000, 1000, 0, 0, RESPONDER, true},
		/* a FIN that was acknowledged is counted as well */
		{5, false, 0, 1, 0, 0, 0, INITIATOR, false},
		{5, true, 0, 1, 0, 0, 0, RESPONDER, false},
		/* numbers that do not fit, such as of retransmissions that were not sent */
		{1, true, 0, 1000, 1000, 400, 0, RESPONDER, false},
		{1, false, 0, 1000, 1000, 400, 0, INITIATOR, false},
		/* old kernels, and what was seen to dial */
		{1, true, OLD_KERNEL, 1, 0, 0, 0, RESPONDER, false},
		{1, false, OLD_KERNEL, 0, 0, 0, 0, INITIATOR, false},
		{2, true, OLD_KERNEL, 0, 0, 0, 1, INITIATOR, false},
		{1, true, OLD_KERNEL, 1, 0, 0, 0, INITIATOR, true},
		{3, true, NONE, 0, 0, 0, 0, RESPONDER, false},
	};
	struct source *s = NULL;

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (!rows[i].goes_on) {
			if (s)
				s->close(s);
			answer = nothing;
			s = open_source(NULL);
		}
		memset(&one, 0, sizeof one);
		one.state = rows[i].state;
		one.info_len = rows[i].len ? rows[i].len : (int)sizeof one.info;
		one.info.info.tcpi_bytes_acked = rows[i].acked;
		one.info.info.tcpi_bytes_sent = rows[i].sent;
		one.info.info.tcpi_bytes_retrans = rows[i].again;
		one.info.info.tcpi_unacked = rows[i].unacked;
		answer = rows[i].listener ? listening_socket : one_socket;
		State *state = take(s, (int64_t)i * 1000);
		answer = NULL;
		assert_int_equal(state->subsystems->n_connections, 1);
		assert_int_equal(state->subsystems->connections[0]->role, rows[i].expected);
	}
	s->close(s);
}

static ssize_t no_answer(char *buffer, size_t size)
{
	(void)buffer, (void)size;
	errno = EAGAIN;
	return -1;
}

static ssize_t one_socket_and_no_more(char *buffer, size_t size)
{
	return one.told ? no_buffer(buffer, size) : one_socket(buffer, size);
}

/* What a dump told before it failed counts, once. */
static void rate_of_the_forgotten(void **unused)
{
	(void)unused;
	memset(&one, 0, sizeof one);
	one.state = 1;
	one.info_len = sizeof one.info;
	answer = nothing;
	struct source *s = open_source(NULL);
	assert_int_equal(take_one(s, 0)->status, ACTIVE);
	one.told = 0;
	one.info.info.tcpi_bytes_received = 8000;
	answer = one_socket_and_no_more;
	assert_null(try_take(s, 1000));
	answer = nothing;
	for (int i = 0; i < 3; i++) {
		State *state = take(s, 2000 + i * 1000);

		assert_int_equal(state->traffic->traffic_in->cum_bytes, 8000);
		assert_int_equal(state->traffic->traffic_in->inst_bw, i == 0 ? 4000 : 0);
		assert_int_equal(state->subsystems->n_connections, i == 0);
	}
	answer = NULL;
	s->close(s);
}

static ssize_t empty(char *buffer, size_t size)
{
	(void)buffer, (void)size;
	return 0;
}

static ssize_t too_long(char *buffer, size_t size)
{
	put_socket(buffer, 1, 1, NULL, -1);
	return (ssize_t)size + 1;
}

static ssize_t error_done(char *buffer, size_t size)
{
	(void)size;
	return put_done(buffer, -ENOMEM);
}

static ssize_t error_refused(char *buffer, size_t size)
{
	ssize_t len = nothing(buffer, size);
	int error = -EPERM;

	((struct nlmsghdr *)(void *)buffer)->nlmsg_type = NLMSG_ERROR;
	memcpy(buffer + NLMSG_HDRLEN, &error, sizeof error);
	return len;
}

static ssize_t error_no_diag(char *buffer, size_t size)
{
	(void)size;
	return put_done(buffer, -EOPNOTSUPP);
}

static ssize_t error_no_module(char *buffer, size_t size)
{
	(void)size;
	return put_done(buffer, -ENOENT);
}

static ssize_t error_smallest(char *buffer, size_t size)
{
	(void)size;
	return put_done(buffer, INT_MIN);
}

static ssize_t error_without_number(char *buffer, size_t size)
{
	nothing(buffer, size);
	((struct nlmsghdr *)(void *)buffer)->nlmsg_type = NLMSG_ERROR;
	((struct nlmsghdr *)(void *)buffer)->nlmsg_len = NLMSG_HDRLEN;
	return NLMSG_HDRLEN;
}

static ssize_t interrupted(char *buffer, size_t size)
{
	ssize_t len = nothing(buffer, size);

	((struct nlmsghdr *)(void *)buffer)->nlmsg_flags |= NLM_F_DUMP_INTR;
	return len;
}

static ssize_t of_another_request(char *buffer, size_t size)
{
	ssize_t len = nothing(buffer, size);

	((struct nlmsghdr *)(void *)buffer)->nlmsg_seq--;
	return len;
}

static ssize_t of_another_type(char *buffer, size_t size)
{
	ssize_t len = put_socket(buffer, 1, 1, NULL, -1);

	(void)size;
	((struct nlmsghdr *)(void *)buffer)->nlmsg_type = NLMSG_OVERRUN;
	return len;
}

static uint32_t cut;   /* bytes of the message that is cut short */

static ssize_t cut_datagram(char *buffer, size_t size)
{
	(void)size;
	put_socket(buffer, 1, 1, &one.info, 8);
	return (ssize_t)cut;
}

static ssize_t cut_message(char *buffer, size_t size)
{
	ssize_t len = put_socket(buffer, 1, 1, &one.info, 8);

	(void)size;
	((struct nlmsghdr *)(void *)buffer)->nlmsg_len = cut;
	return (ssize_t)cut > len ? len : (ssize_t)cut;
}

static void failed_dumps(void **unused)
{
	static const struct {
		ssize_t (*answer)(char *buffer, size_t size);
		const char *reason;   /* NULL: that of error */
		uint32_t cut;
		int error;
	} rows[] = {
		{no_buffer, NULL, 0, ENOBUFS},
		{no_answer, NULL, 0, EAGAIN},
		{empty, "malformed answer", 0, 0},
		{too_long, "answer too long", 0, 0},
		{error_done, NULL, 0, ENOMEM},
		{error_refused, NULL, 0, EPERM},
		{error_no_diag, "this kernel cannot list its sockets, it has no tcp_diag or udp_diag", 0, 0},
		{error_no_module, "this kernel cannot list its sockets, it has no tcp_diag or udp_diag", 0, 0},
		{error_smallest, NULL, 0, INT_MIN},
		{error_without_number, "malformed answer", 0, 0},
		{interrupted, "interrupted by a change", 0, 0},
		{of_another_request, "malformed answer", 0, 0},
		{of_another_type, "malformed answer", 0, 0},
		{cut_datagram, "malformed answer", 1, 0},
		{cut_datagram, "malformed answer", 15, 0},
		{cut_datagram, "malformed answer", 16, 0},
		{cut_datagram, "malformed answer", 87, 0},
		{cut_datagram, "malformed answer", 99, 0},
		{cut_message, "malformed answer", 0, 0},
		{cut_message, "malformed answer", 15, 0},
		{cut_message, "malformed answer", 16, 0},
		{cut_message, "malformed answer", 87, 0},
		{cut_message, "malformed answer", 89, 0},
		{cut_message, "malformed answer", 101, 0},
		{cut_message, "malformed answer", UINT32_MAX, 0},
	};
	struct pair p = connect_at("127.0.0.1");
	struct source *s = open_source(NULL);
	uint64_t opened = find(take(s, 0), p.server)->timeline->open_ts;

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cut = rows[i].cut;
		log_clear();
		answer = rows[i].answer;
		/* Whose answer then waits, and must not be met by the next request. */
		kernel_is_asked = i % 2 == 0;
		assert_null(try_take(s, (int64_t)i * 2000 + 1000));
		kernel_is_asked = false;
		answer = NULL;
		assert_non_null(strstr(logged, rows[i].reason ? rows[i].reason : strerror(rows[i].error)));
		assert_ptr_equal(strchr(logged, '\n'), logged + strlen(logged) - 1);

		move(p.client, p.server, 10);
		Connection *c = find(take(s, (int64_t)i * 2000 + 2000), p.server);
		assert_int_equal(c->status, ACTIVE);
		assert_int_equal(c->timeline->open_ts, opened);
		assert_bytes(c, 10 * (i + 1), 0);
	}
	s->close(s);
	answer = no_buffer;
	log_begin();
	assert_null(open_tcp(NULL, NULL, 0));
	log_end();
	answer = NULL;
	reset(&p);
}

/* A connection that a dump has missed comes back as what it was. */
static void missed(void **unused)
{
	struct pair p = connect_at("127.0.0.1");
	char pid[16];

	(void)unused;
	snprintf(pid, sizeof pid, "%d", getpid());
	struct source *s = open_source(pid);
	move(p.client, p.server, 4321);
	uint64_t opened = find(take(s, 0), p.server)->timeline->open_ts;
	answer = nothing;
	State *state = take(s, 1000);
	answer = NULL;
	assert_int_equal(find(state, p.server)->status, CLOSED);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 4321);
	state = take(s, 2000);
	Connection *c = find(state, p.server);
	assert_int_equal(c->status, ACTIVE);
	assert_int_equal(c->timeline->open_ts, opened);
	assert_int_equal(c->timeline->close_ts, 0);
	assert_int_equal(c->traffic->traffic_in->inst_bw, 0);
	assert_int_equal(state->traffic->traffic_in->cum_bytes, 4321);
	s->close(s);
	reset(&p);
}

static size_t flood_size, flood_sent;

static ssize_t flood(char *buffer, size_t size)
{
	size_t len = 0;

	if (flood_sent == flood_size)
		return put_done(buffer, 0);
	for (; flood_sent < flood_size && len + 128 < size; flood_sent++)
		len += (size_t)put_socket(buffer + len, flood_sent << 20 | 1, 1, NULL, -1);
	return (ssize_t)len;
}

/* More sockets than the table holds: those beyond are left out, which is said
 * once, and there is room again once the others have gone. */
static void table_full(void **unused)
{
	enum { BOUND = 65536, MORE = 1000 };
	const char *said = "error source=kernel reason=\"more than 65536 connections\" "
	                   "left_out=1000\n";
	static const size_t sizes[] = {BOUND, BOUND + MORE, BOUND + MORE, 0, 0, BOUND + MORE};

	(void)unused;
	answer = nothing;
	struct source *s = open_source(NULL);
	answer = flood;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		flood_size = sizes[i];
		flood_sent = 0;
		log_clear();
		State *state = take(s, (int64_t)i * 1000);
		assert_int_equal(state->subsystems->n_connections, i == 4 ? 0 : BOUND);
		assert_string_equal(logged, i == 1 || i == 5 ? said : "");
	}
	answer = NULL;
	s->close(s);
}

static void set_largest(Introspection__DataGauge *gauge)
{
	gauge->cum_bytes = gauge->cum_packets = gauge->inst_bw = UINT64_MAX;
}

/* What the source says of a State's length holds whatever its numbers are. */
static void length_at_most(void **unused)
{
	static char *tags[] = {(char *)""};
	struct snapshot_input in = {0};

	(void)unused;
	answer = nothing;
	struct source *s = open_source(NULL);
	answer = flood;
	flood_size = 10000;
	flood_sent = 0;
	assert_int_equal(s->take(s, 0, &in), 1);
	answer = NULL;
	assert_int_equal(in.state->subsystems->n_connections, flood_size);
	for (size_t i = 0; i < flood_size; i++) {
		Connection *c = in.state->subsystems->connections[i];

		c->status = (Introspection__Status)CLOSING;
		c->role = (Introspection__Role)RESPONDER;
		c->timeline->open_ts = c->timeline->upgraded_ts = c->timeline->close_ts = UINT64_MAX;
		c->latency_ns = c->retransmitted_bytes = UINT64_MAX;
		set_largest(c->traffic->traffic_in);
		set_largest(c->traffic->traffic_out);
		c->user_provided_tags = tags;
		c->n_user_provided_tags = 1;
	}
	assert_in_range(introspection__state__get_packed_size(in.state), 1, in.most);
	s->close(s);
}

static unsigned allocations;

/* AddressSanitizer calls it for every allocation. */
void __sanitizer_malloc_hook(const volatile void *allocated, size_t size);
void __sanitizer_malloc_hook(const volatile void *allocated, size_t size)
{
	(void)allocated, (void)size;
	allocations++;
}

/* Once the connections are known, taking and encoding them allocates nothing. */
static void allocates_nothing(void **unused)
{
	struct snapshot_store store;
	struct snapshot_input in;

	(void)unused;
	assert_int_equal(snapshot_open(&store, 1 << 20), 0);
	if (allocations == 0)
		skip();   /* built without AddressSanitizer */
	answer = nothing;
	struct source *s = open_source(NULL);
	answer = flood;
	flood_size = 1000;
	for (int i = 0; i < 3; i++) {
		flood_sent = 0;
		allocations = 0;
		assert_int_equal(s->take(s, i * 1000, &in), 1);
		assert_in_range(snapshot_take(&store, &in, &s->runtime, 0), 1, store.max);
		assert_int_equal(in.state->subsystems->n_connections, flood_size);
		assert_int_equal(allocations, 0);
	}
	answer = NULL;
	s->close(s);
	snapshot_close(&store);
}

static uint64_t seed = 1;

static uint64_t drawn(void)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return seed >> 33;
}

/* Some sockets or the end, and one time in eight bytes of it changed, or cut. */
static ssize_t damaged(char *buffer, size_t size)
{
	ssize_t len = 0;

	(void)size;
	for (uint64_t n = drawn() % 8; n > 0; n--)
		len += put_socket(buffer + len, drawn() % 50, (uint8_t)(drawn() % 16), &one.info,
		                  (int)(drawn() % 300));
	if (len == 0)
		len = put_done(buffer, 0);
	if (drawn() % 8 > 0)
		return len;
	for (uint64_t n = drawn() % 8; n > 0; n--)
		buffer[drawn() % (uint64_t)len] = (char)drawn();
	return drawn() % 4 > 0 ? len : (ssize_t)(drawn() % (uint64_t)(len + 1));
}

static void damaged_answers(void **unused)
{
	struct pair p = connect_at("127.0.0.1");
	struct source *s = open_source(NULL);
	static uint8_t packed[1 << 20];
	int taken = 0, failed = 0;

	(void)unused;
	for (int i = 0; i < 5000; i++) {
		answer = damaged;
		State *state = try_take(s, i * 1000);
		answer = NULL;
		taken += state != NULL;
		failed += state == NULL;
		if (state && introspection__state__get_packed_size(state) <= sizeof packed)
			introspection__state__pack(state, packed);
	}
	assert_true(taken > 1000 && failed > 1000);
	take(s, 0);
	assert_int_equal(find(take(s, 0), p.server)->status, ACTIVE);
	s->close(s);
	reset(&p);
}

static size_t open_files;

static size_t count_files(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 100; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Where nobody else's sockets are to be searched, if that is allowed. */
static void enter_own_network(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (unshare(CLONE_NEWNET) != 0)
		return;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	is_alone = ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	assert_true(is_alone);
	close(fd);
}

static int begin(void **unused)
{
	(void)unused;
	enter_own_network();
	/* The descriptor of the log stays. */
	log_begin();
	log_end();
	open_files = count_files();
	return 0;
}

static void no_file_left_open(void **unused)
{
	(void)unused;
	assert_int_equal(count_files(), open_files);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[argc - 1], "--hold") == 0)
		return be_held(argv[argc - 2]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections),
		cmocka_unit_test(handed_over),
		cmocka_unit_test(closing),
		cmocka_unit_test(opening),
		cmocka_unit_test(dialed_from_listening_port),
		cmocka_unit_test(dialed_from_other_port),
		cmocka_unit_test(who_dialled),
		cmocka_unit_test(who_dialled_stays),
		cmocka_unit_test(rates_and_times),
		cmocka_unit_test(clock_is_set),
		cmocka_unit_test(times_stay),
		cmocka_unit_test(totals),
		cmocka_unit_test(own_connections),
		cmocka_unit_test(process_by_name),
		cmocka_unit_test(process_by_name_in_parts),
		cmocka_unit_test(process_by_number),
		cmocka_unit_test(process_that_is_none),
		cmocka_unit_test(process_names),
		cmocka_unit_test(process_by_any_name),
		cmocka_unit_test(main_thread_exited),
		cmocka_unit_test(hidden_processes),
		cmocka_unit_test(unreadable_process),
		cmocka_unit_test(other_namespace),
		cmocka_unit_test(resources),
		cmocka_unit_test(moved_descriptor),
		cmocka_unit_test(reused_number),
		cmocka_unit_test(many_files),
		cmocka_unit_test(newest_first),
		cmocka_unit_test(many),
		cmocka_unit_test(states_and_counters),
		cmocka_unit_test(sides),
		cmocka_unit_test(rate_of_the_forgotten),
		cmocka_unit_test(failed_dumps),
		cmocka_unit_test(missed),
		cmocka_unit_test(table_full),
		cmocka_unit_test(length_at_most),
		cmocka_unit_test(allocates_nothing),
		cmocka_unit_test(damaged_answers),
		cmocka_unit_test(no_file_left_open),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
