/* Floods one port of this machine with connections that all misbehave alike. The program knows no
 * protocol: each connection sends one file (-s), then another (-r) again and again. A connection that
 * ends is replaced by a new one. The program ends with its standard input, or after -n connections. */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, TICK_MS = 5, RETRY_MS = 100 };

struct bytes {
	uint8_t *at;
	size_t len;
};

struct connection {
	int fd;            /* -1: not connected */
	bool connected;
	char end;          /* what it does once it has sent the file -s, one letter of -e */
	size_t start;      /* bytes of the file -s that it sends */
	uint64_t sent;
	int64_t due;       /* ms, monotonic: when it may send, or connect, again */
};

static struct {
	struct sockaddr_in peer;
	struct bytes start, repeat;
	size_t chunk;      /* bytes sent at once */
	int64_t pace;      /* ms between two chunks of a connection */
	uint64_t total;    /* connections in all; 0: any number */
	uint64_t rate;     /* connections per second; 0: no limit */
	bool cut;          /* each connection sends only the beginning of the file -s, of another length */
	bool deaf;         /* connections read nothing */
	const char *ends;  /* a letter for each connection, in turn, says what the connection does once
	                      it has sent the file -s: k, send the file -r; c, close; r, reset; h, send
	                      no more; a, b: close or reset, but not before an answer has come */
	int epoll;
	int64_t began, now;
	uint64_t opened, answered, failed, sent, received, alive;
} flood = {.ends = "k", .chunk = SIZE_MAX};

static int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct bytes read_file(const char *path)
{
	struct bytes b = {malloc(1 << 20), 0};
	FILE *f = fopen(path, "rb");

	if (!f || !b.at)
		fail(path);
	b.len = fread(b.at, 1, 1 << 20, f);
	fclose(f);
	return b;
}

/* Is there something that the connection has to send? */
static bool sends(const struct connection *c)
{
	return c->sent < c->start || (c->end == 'k' && flood.repeat.len > 0);
}

static void watch(struct connection *c, int operation)
{
	bool writes = !c->connected || (flood.pace == 0 && sends(c));
	struct epoll_event e = {
		.events = (flood.deaf ? EPOLLRDHUP : EPOLLIN) | (writes ? EPOLLOUT : 0),
		.data.ptr = c,
	};

	if (epoll_ctl(flood.epoll, operation, c->fd, &e) != 0)
		fail("epoll_ctl");
}

static void finish(struct connection *c, bool reset)
{
	const struct linger linger = {1, 0};

	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(c->fd);
	c->fd = -1;
	c->due = flood.now;
	flood.alive--;
}

static void begin(struct connection *c)
{
	const int small = 4096;

	if (flood.total > 0 && flood.opened == flood.total)
		return;
	if (flood.rate > 0 && flood.opened * 1000 > flood.rate * (uint64_t)(flood.now - flood.began))
		return;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket");
	if (flood.deaf)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	c->connected = false;
	c->sent = 0;
	c->end = flood.ends[flood.opened % strlen(flood.ends)];
	c->start = flood.cut ? flood.opened % (flood.start.len + 1) : flood.start.len;
	flood.opened++;
	flood.alive++;
	if (connect(c->fd, (struct sockaddr *)&flood.peer, sizeof flood.peer) != 0 &&
	    errno != EINPROGRESS) {
		flood.failed++;
		finish(c, false);
		c->due = flood.now + RETRY_MS;
		return;
	}
	watch(c, EPOLL_CTL_ADD);
}

/* The connection has sent the file -s: it does what its letter says. */
static void start_sent(struct connection *c)
{
	if (c->end == 'c' || c->end == 'r')
		finish(c, c->end == 'r');
	else if (c->end == 'h')
		shutdown(c->fd, SHUT_WR);
}

static void send_some(struct connection *c)
{
	const bool starts = c->sent < c->start;
	const struct bytes *b = starts ? &flood.start : &flood.repeat;
	size_t at = starts ? (size_t)c->sent : (size_t)((c->sent - c->start) % flood.repeat.len);
	size_t left = (starts ? c->start : b->len) - at;

	ssize_t n = send(c->fd, b->at + at, left < flood.chunk ? left : flood.chunk, MSG_NOSIGNAL);
	c->due = flood.now + flood.pace;
	if (n < 0) {
		if (errno != EAGAIN)
			finish(c, false);
		return;
	}
	c->sent += (uint64_t)n;
	flood.sent += (uint64_t)n;
	if (starts && c->sent == c->start)
		start_sent(c);
}

static void receive_some(struct connection *c)
{
	static uint8_t in[1 << 16];
	ssize_t n = recv(c->fd, in, sizeof in, 0);

	if (n > 0) {
		flood.received += (uint64_t)n;
		if (c->end == 'a' || c->end == 'b') {
			flood.answered++;
			finish(c, c->end == 'b');
		}
	} else if (n == 0 || errno != EAGAIN) {
		finish(c, false);
	}
}

static void serve(struct connection *c, uint32_t events)
{
	if (!c->connected && events & EPOLLOUT) {
		c->connected = true;
		if (c->start == 0)
			start_sent(c);
		if (c->fd >= 0)
			watch(c, EPOLL_CTL_MOD);
		return;
	}
	if (flood.deaf && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		finish(c, false);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive_some(c);
	if (c->fd >= 0 && events & EPOLLOUT && flood.pace == 0 && sends(c)) {
		send_some(c);
		if (c->fd >= 0 && !sends(c))
			watch(c, EPOLL_CTL_MOD);
	}
}

static void run(struct connection *all, size_t count)
{
	struct epoll_event events[EVENTS], input = {.events = EPOLLIN | EPOLLHUP, .data.ptr = NULL};
	int64_t ticked = 0;

	if (epoll_ctl(flood.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
		fail("standard input");
	while (flood.total == 0 || flood.opened < flood.total || flood.alive > 0) {
		int n = epoll_wait(flood.epoll, events, EVENTS, TICK_MS);

		flood.now = clock_ms();
		for (int i = 0; i < n; i++) {
			if (!events[i].data.ptr)
				return;
			serve(events[i].data.ptr, events[i].events);
		}
		if (flood.now - ticked < TICK_MS)
			continue;
		ticked = flood.now;
		for (size_t i = 0; i < count; i++) {
			if (all[i].due > flood.now)
				continue;
			if (all[i].fd < 0)
				begin(&all[i]);
			else if (flood.pace > 0 && all[i].connected && sends(&all[i]))
				send_some(&all[i]);
		}
	}
}

static bool read_options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "s:r:c:m:n:p:e:xd")) != -1) {
		switch (option) {
		case 's': flood.start = read_file(optarg); break;
		case 'r': flood.repeat = read_file(optarg); break;
		case 'c': flood.chunk = strtoul(optarg, NULL, 10); break;
		case 'm': flood.pace = strtol(optarg, NULL, 10); break;
		case 'n': flood.total = strtoul(optarg, NULL, 10); break;
		case 'p': flood.rate = strtoul(optarg, NULL, 10); break;
		case 'e': flood.ends = optarg; break;
		case 'x': flood.cut = true; break;
		case 'd': flood.deaf = true; break;
		default: return false;
		}
	}
	return argc - optind == 2;
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (!read_options(argc, argv)) {
		fputs("usage: flood [-s FILE] [-r FILE] [-c BYTES] [-m MS] [-n TOTAL] [-p PER_SECOND] "
		      "[-e ENDS] [-x] [-d] PORT CONNECTIONS\n", stderr);
		return 2;
	}
	size_t count = strtoul(argv[optind + 1], NULL, 10);
	struct connection *all = calloc(count, sizeof *all);
	flood.peer = (struct sockaddr_in){.sin_family = AF_INET,
	                                  .sin_port = htons((uint16_t)atoi(argv[optind])),
	                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	flood.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!all || flood.epoll < 0)
		fail("flood");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (size_t i = 0; i < count; i++)
		all[i].fd = -1;
	flood.began = flood.now = clock_ms();
	run(all, count);
	printf("{\"opened\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 "}\n",
	       flood.opened, flood.answered, flood.failed, flood.sent, flood.received);
	free(all);
	free(flood.start.at);
	free(flood.repeat.at);
	return 0;
}
