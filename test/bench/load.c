#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "guard/tls.h"

enum {
	EVENTS_MAX = 512,
	OPENING_MAX = 128,       /* handshakes at a time */
	SAMPLES_MAX = 1 << 20,
	READ_MAX = 16384,        /* bytes: of the answer to a handshake, or where a frame begins */
	WHEEL = 4 * THINK_MS,    /* places, one for each ms */
	GIVE_UP_MS = 30000,
	NOBODY = -1,
};

enum client_state { OPENING, IDLE, ASKED, GETTING };

struct client {
	int fd;
	uint8_t state;       /* enum client_state */
	uint8_t head_len;
	uint8_t head[10];    /* of the frame under way */
	int next;            /* in the same place of the wheel */
	size_t left;         /* bytes of the payload still to come */
	int64_t asked;       /* ns */
	struct tls *tls;
};

struct load {
	int port, poller;
	struct tls_config *tls;
	struct client *clients;
	size_t count, opened, opening;
	bool pulling, sparse;
	uint32_t seed;
	int64_t turned;          /* ms; the wheel stands here */
	int wheel[WHEEL];        /* who gets ready then */
	size_t snapshots;
	size_t sample_count;
	int64_t samples[SAMPLES_MAX];
};

_Noreturn void fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t) != 0)
		fail("clock_gettime");
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* xorshift; from 0 to below - 1. */
static uint32_t pick(struct load *l, uint32_t below)
{
	l->seed ^= l->seed << 13;
	l->seed ^= l->seed >> 17;
	l->seed ^= l->seed << 5;
	return l->seed % below;
}

static void write_all(struct client *c, const void *bytes, size_t len)
{
	ssize_t n;

	do
		n = c->tls ? tls_send(c->tls, bytes, len) : send(c->fd, bytes, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EAGAIN);
	if (n != (ssize_t)len)
		fail("a client's send");
}

static void ask(struct client *c)
{
	static const uint8_t ready[] = {0x81, 0x81, 1, 2, 3, 4, 'r' ^ 1};

	c->state = ASKED;
	c->asked = now_ns();
	write_all(c, ready, sizeof ready);
}

static void think(struct load *l, struct client *c)
{
	size_t at = (size_t)(l->turned + THINK_MS / 2 + pick(l, THINK_MS)) % WHEEL;

	c->next = l->wheel[at];
	l->wheel[at] = (int)(c - l->clients);
}

static void got_snapshot(struct load *l, struct client *c)
{
	c->state = IDLE;
	c->head_len = 0;
	l->snapshots++;
	if (!l->pulling)
		return;
	if (l->sparse)
		think(l, c);
	else
		ask(c);
}

/* The length of the payload when the header is whole, else 0. */
static size_t payload_len(const struct client *c)
{
	unsigned short_len = c->head_len >= 2 ? c->head[1] : 0;
	size_t bytes = short_len == 127 ? 8 : short_len == 126 ? 2 : 0, len = 0;

	if (c->head_len < 2 + bytes || c->head_len < 2)
		return 0;
	if (c->head[0] != 0x82)
		fail("a frame that is no snapshot");
	for (size_t i = 0; i < bytes; i++)
		len = len << 8 | c->head[2 + i];
	return bytes ? len : short_len;
}

static void got_bytes(struct load *l, struct client *c, const uint8_t *in, size_t len)
{
	if (c->state == ASKED) {
		if (l->sample_count < SAMPLES_MAX)
			l->samples[l->sample_count++] = now_ns() - c->asked;
		c->state = GETTING;
	}
	while (c->left == 0 && len > 0) {
		c->head[c->head_len++] = *in++;
		len--;
		c->left = payload_len(c);
	}
	if (len > c->left || (c->state == IDLE && len > 0))
		fail("a snapshot that nobody asked for");
	if (c->left > 0 && (c->left -= len) == 0)
		got_snapshot(l, c);
}

/* The answer to the handshake, and perhaps the beginning of the first snapshot. */
static void opened(struct load *l, struct client *c, uint8_t *in, size_t len)
{
	uint8_t *end = memmem(in, len, "\r\n\r\n", 4);

	if (!end || memcmp(in, "HTTP/1.1 101", 12) != 0)
		fail("a handshake");
	c->state = GETTING;
	l->opening--;
	got_bytes(l, c, end + 4, len - (size_t)(end + 4 - in));
}

static void read_client(struct load *l, struct client *c)
{
	static uint8_t in[READ_MAX];
	ssize_t n;

	do {
		/* Of a TCP socket MSG_TRUNC throws away. */
		if (c->tls)
			n = tls_recv(c->tls, in, sizeof in);
		else if (c->left > 0)
			n = recv(c->fd, NULL, c->left, MSG_TRUNC);
		else
			n = recv(c->fd, in, sizeof in, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			fail("the server hung up");
		if (n > 0 && c->state == OPENING)
			opened(l, c, in, (size_t)n);
		else if (n > 0)
			got_bytes(l, c, in, (size_t)n);
	} while (c->tls && (n > 0 || tls_pending(c->tls) > 0));
}

static void connect_one(struct load *l)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
	                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port),
	                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct client *c = &l->clients[l->opened];

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0)
		fail("connect");
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)l->opened};
	epoll_ctl(l->poller, EPOLL_CTL_ADD, c->fd, &event);
	/* The handshake of TLS is done while the socket still blocks. */
	if (l->tls && !(c->tls = tls_open(l->tls, c->fd, "localhost")))
		fail("TLS");
	write_all(c, request, sizeof request - 1);
	if (l->tls && fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
		fail("fcntl");
	l->opened++;
	l->opening++;
}

/* Who wanted to be ready by now is. */
static void turn_wheel(struct load *l)
{
	for (int64_t now = now_ns() / 1000000; l->turned < now; l->turned++) {
		int *place = &l->wheel[l->turned % WHEEL];

		while (*place != NOBODY) {
			struct client *c = &l->clients[*place];

			*place = c->next;
			ask(c);
		}
	}
}

static void turn(struct load *l)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(l->poller, events, EVENTS_MAX, 1);

	for (int i = 0; i < n; i++)
		read_client(l, &l->clients[events[i].data.u32]);
	turn_wheel(l);
}

struct load *load_open(int port, size_t clients, bool tls)
{
	struct load *l = calloc(1, sizeof *l);
	char why[TLS_WHY_MAX];

	if (!l || !(l->clients = calloc(clients, sizeof *l->clients)))
		fail("memory");
	l->port = port;
	l->count = clients;
	l->seed = 1;
	l->turned = now_ns() / 1000000;
	l->poller = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < WHEEL; i++)
		l->wheel[i] = NOBODY;
	if (tls && !(l->tls = tls_client(NULL, true, NULL, NULL, why)))
		fail(why);
	const int64_t end = now_ns() + (int64_t)GIVE_UP_MS * 1000000;
	while (l->snapshots < clients) {
		if (now_ns() > end)
			fail("not every client got its first snapshot");
		while (l->opened < clients && l->opening < OPENING_MAX)
			connect_one(l);
		turn(l);
	}
	return l;
}

void load_close(struct load *l)
{
	for (size_t i = 0; i < l->count; i++) {
		tls_close(l->clients[i].tls);
		close(l->clients[i].fd);
	}
	tls_release(l->tls);
	close(l->poller);
	free(l->clients);
	free(l);
}

static int ascending(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double percentile(const struct load *l, double part)
{
	return l->sample_count == 0
	               ? 0
	               : (double)l->samples[(size_t)((double)(l->sample_count - 1) * part)] / 1e6;
}

struct figures load_run(struct load *l, int pid, bool sparse, int ms)
{
	clockid_t cpu;

	if (clock_getcpuclockid(pid, &cpu) != 0)
		fail("the server's clock");
	if (!l->pulling) {
		l->pulling = true;
		l->sparse = sparse;
		for (size_t i = 0; i < l->count; i++) {
			if (sparse)
				think(l, &l->clients[i]);
			else
				ask(&l->clients[i]);
		}
	}
	l->snapshots = l->sample_count = 0;
	const int64_t begin = now_ns(), used = clock_ns(cpu);
	while (now_ns() < begin + (int64_t)ms * 1000000)
		turn(l);
	const double seconds = (double)(now_ns() - begin) / 1e9;
	const double busy = (double)(clock_ns(cpu) - used) / 1e3;
	qsort(l->samples, l->sample_count, sizeof *l->samples, ascending);
	return (struct figures){
		.rate = (double)l->snapshots / seconds,
		.cpu = l->snapshots ? busy / (double)l->snapshots : 0,
		.p50 = percentile(l, 0.5),
		.p99 = percentile(l, 0.99),
	};
}
