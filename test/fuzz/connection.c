/* The daemon's loop with clients whose every system call comes out as the input says: the
 * bytes that come and how many are taken, errors, signals and the time. Nothing but those
 * calls is replaced. However it goes, in the end everything has been given back. */

#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "source/wire.h"

static ssize_t script_recv(int fd, void *out, size_t room, int flags);
static ssize_t script_send(int fd, const void *bytes, size_t n, int flags);
int script_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags) __asm__("accept4");
static int script_next_signal(int fd);
static int script_clock_gettime(clockid_t id, struct timespec *t);
static int script_shutdown(int fd, int how);
static int script_close(int fd);

#define recv script_recv
#define send script_send
#define setup_next_signal script_next_signal
#define clock_gettime script_clock_gettime
#define shutdown script_shutdown
#define close script_close
#define main introspectd_main
#define stream_plain script_stream
#include "../../base/stream.c"
#include "../../introspectd.c"
#undef close

enum {
	FIRST_FD = 40,
	FDS = 128,
	CLIENTS = 3,
	CROWD = POLLSET_FEW + 4,   /* connections with which some inputs begin */
	LIMIT = 4096,
	HISTORY = 128 << 10,
	TURNS = 1000,
};

static struct input in;
static int64_t clock_now;
static bool is_open[FDS];
static int crowd;             /* connections that are still to come before the input is read */
static bool grouped[FDS];     /* in the epoll set */
static bool greets[FDS];      /* begins with a handshake, whatever the input says */
static bool many_greet;       /* all do */
static size_t sent[FDS];      /* bytes in this turn */
static uint64_t slot_of[FDS];

static int fail(int code)
{
	errno = code;
	return -1;
}

static bool opening;   /* the server reads its files, which are real */

/* Takes the place of libc's, for the whole program. After the end of the input every socket
 * takes what it is sent, and time goes by. */
int poll(struct pollfd *fds, nfds_t n, int wait)
{
	static const int steps[] = {0, 1, 30, 100, 500, 1000, 5000, 30000};
	const bool ended = in.left == 0;
	int answers = 0;

	if (opening)
		return ppoll(fds, n, &(struct timespec){.tv_sec = wait / 1000}, NULL);
	CHECK(!ended || wait >= 0);
	clock_now += ended ? steps[3] : steps[take_byte(&in) % 8];
	memset(sent, 0, sizeof sent);
	for (nfds_t i = 0; i < n; i++) {
		const short errors = fds[i].fd >= FIRST_FD ? POLLERR | POLLHUP : 0;

		fds[i].revents = 0;
		if (fds[i].fd >= 0)
			fds[i].revents = (short)((ended ? POLLOUT : crowd > 0 ? POLLIN : take_byte(&in)) &
			                         (fds[i].events | errors));
		answers += fds[i].revents != 0;
	}
	return answers;
}

/* So do these. Only the epoll set's own descriptor is real. */
int epoll_ctl(int group, int operation, int fd, struct epoll_event *event)
{
	const int i = fd - FIRST_FD;
	const bool add = operation == EPOLL_CTL_ADD;

	(void)group;
	CHECK(i >= 0 && i < FDS && is_open[i] && grouped[i] != add);
	if (add && crowd == 0 && take_byte(&in) == 255)
		return fail(ENOSPC);
	grouped[i] = add;
	if (add) {
		CHECK(event->events == EPOLLIN);
		slot_of[i] = event->data.u64;
	}
	return 0;
}

int epoll_wait(int group, struct epoll_event *events, int most, int wait)
{
	int n = 0;

	(void)group;
	CHECK(wait == 0);
	if (take_byte(&in) == 255)
		return fail(EBADF);
	for (int i = 0; i < FDS; i++) {
		const uint32_t found = grouped[i] ? take_byte(&in) & (EPOLLIN | EPOLLERR | EPOLLHUP) : 0;

		if (found) {
			CHECK(n < most);
			events[n++] = (struct epoll_event){.events = found, .data = {.u64 = slot_of[i]}};
		}
	}
	return n;
}

static ssize_t script_recv(int fd, void *out, size_t room, int flags)
{
	static const char paths[][12] = {"", "introspect", "metrics"};
	const int i = fd - FIRST_FD;
	char head[256];

	(void)flags;
	CHECK(room > 0);
	if (greets[i] && crowd == 0) {
		greets[i] = false;
		snprintf(head, sizeof head, "GET /%s HTTP/1.1\r\nHost: a.localhost\r\nUpgrade: websocket\r\n"
		         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", paths[i % 3]);
		CHECK(strlen(head) <= room);
		memcpy(out, head, strlen(head));
		return (ssize_t)strlen(head);
	}
	const size_t n = crowd > 0 ? 253 : take_byte(&in);
	if (n > 252)
		return fail(n == 253 ? EAGAIN : n == 254 ? EINTR : ECONNRESET);
	return (ssize_t)take_bytes(&in, out, n < room ? n : room);
}

static ssize_t script_send(int fd, const void *bytes, size_t n, int flags)
{
	const uint8_t much = take_byte(&in);

	CHECK(n > 0 && flags & MSG_NOSIGNAL && (sent[fd - FIRST_FD] += n) <= SHARE_MAX);
	free(copy_of(bytes, n));
	if (much > 252)
		return fail(much == 253 ? EAGAIN : much == 254 ? EINTR : EPIPE);
	const size_t took = much == 0 || much > n ? n : much;
	sent[fd - FIRST_FD] -= n - took;
	return (ssize_t)took;
}

/* By this name base/listen.c finds it, too. */
int script_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
	static const int errors[] = {EAGAIN, EMFILE, ECONNABORTED, EINTR};
	const uint8_t what = crowd > 0 ? 255 : take_byte(&in);
	struct sockaddr_in address = {.sin_family = AF_INET};
	int i = 0;

	(void)fd;
	(void)flags;
	if (what < 4)
		return fail(errors[what]);
	address.sin_addr.s_addr = htonl(what < 128 ? INADDR_LOOPBACK : INADDR_LOOPBACK + what);
	memcpy(peer, &address, *len = sizeof address);
	while (is_open[i])
		CHECK(++i < FDS);
	is_open[i] = true;
	greets[i] = many_greet;
	crowd -= crowd > 0;
	return FIRST_FD + i;
}

static int script_next_signal(int fd)
{
	static const int signals[] = {0, SIGUSR1, SIGHUP, SIGTERM};

	(void)fd;
	return signals[take_byte(&in) % 4];
}

static int script_clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	*t = (struct timespec){clock_now / 1000, clock_now % 1000 * 1000000};
	return 0;
}

static int script_shutdown(int fd, int how)
{
	CHECK(is_open[fd - FIRST_FD] && how == SHUT_WR);
	return 0;
}

static int script_close(int fd)
{
	CHECK(is_open[fd - FIRST_FD]);
	is_open[fd - FIRST_FD] = grouped[fd - FIRST_FD] = false;
	return 0;
}

/* Of two states, 100 ms from one another, and an event between them. */
static void write_recording(int fd)
{
	static const struct {
		uint8_t kind, len;
		char bytes[12];
	} payloads[] = {
		{INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, 3, "\x18\xe8\x07"},
		{INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT, 9, "\x0a\x03\x0a\x01" "A\x1a\x02{}"},
		{INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, 3, "\x18\xcc\x08"},
	};
	uint8_t file[128] = {1}, *at = file + 4;

	for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
		size_t n = wire_put_prefix(at + 8, payloads[i].kind, payloads[i].len);

		memcpy(at + 8 + n, payloads[i].bytes, payloads[i].len);
		const uint32_t len = (uint32_t)n + payloads[i].len;
		const uint32_t words[] = {htole32(wire_checksum(at + 8, len)), htole32(len)};
		memcpy(at, words, sizeof words);
		at += sizeof words + len;
	}
	CHECK(write(fd, file, (size_t)(at - file)) == at - file);
}

static void open_server(struct server *srv, bool token, size_t per_address)
{
	static char path[64], token_path[64];
	int fd = memfd_create("recording", MFD_CLOEXEC), token_fd = memfd_create("token", MFD_CLOEXEC);

	write_recording(fd);
	CHECK(write(token_fd, "0123456789abcdef\n", 17) == 17);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	snprintf(token_path, sizeof token_path, "/proc/self/fd/%d", token_fd);
	*srv = (struct server){
		.d = {.options = {.max_clients = crowd > 0 ? CROWD : CLIENTS,
		                  .max_snapshot = LIMIT,
		                  .history = HISTORY,
		                  .interval = 100,
		                  .ping = DEFAULT_PING_MS,
		                  .drain = DEFAULT_DRAIN_MS,
		                  .replay = path,
		                  .loop = true,
		                  .max_per_address = per_address > 0 ? per_address : NOT_GIVEN,
		                  .token_file = token ? token_path : NULL},
		      .listeners = {.count = 1, .fds = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}},
		      .now = clock_now},
	};
	opening = true;
	CHECK(make_table(srv) == 0 && parts_guard->setup(&srv->d.options) == 0 &&
	      parts_open_source(&srv->d) == 0);
	opening = false;
	srv->d.options.token_file = NULL;   /* SIGHUP would read it again */
	srv->tcp = &script_stream;
	srv->set.fds[FD_SIGNALS].fd = 0;
	(close)(fd);
	(close)(token_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct server srv;
	ptrdiff_t free_buffers = 0;

	in = (struct input){data, size};
	clock_now = 1000;
	log_set_verbose(true);
	const uint8_t kind = take_byte(&in);
	crowd = kind & 0x80 ? CROWD : 0;
	many_greet = kind & 0x40;
	memset(greets, 0, sizeof greets);
	open_server(&srv, kind & 1, kind >> 1 & 0x1f);
	while (in.left > 0 && (!srv.stop_at || srv.d.now < srv.stop_at))
		CHECK(turn(&srv) == 0);
	in.left = 0;
	crowd = 0;
	if (!srv.stop_at)
		stop(&srv, "SIGTERM");
	for (int turns = 0; srv.high > 0; turns++)
		CHECK(turns < TURNS && turn(&srv) == 0);
	for (int i = 0; i < SLOT_STATES; i++)
		CHECK(srv.d.counters.clients[i] == (i == SLOT_FREE ? srv.slot_count : 0));
	CHECK(srv.d.counters.waiting == 0);
	for (const void *b = srv.buffers.given; b; memcpy(&b, b, sizeof b))
		free_buffers++;
	CHECK(free_buffers * (ptrdiff_t)srv.buffers.size == srv.buffers.unused - srv.buffers.all && !memchr(is_open, true, FDS));
	CHECK(!srv.peers.oldest);
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		CHECK(srv.d.store.all[i].pins == 0);
	release(&srv);
	return 0;
}
