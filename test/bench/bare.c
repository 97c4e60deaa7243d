/* bare poll|epoll BYTES: the least that can be done to serve a frame of BYTES under the rules
 * of the pull protocol, a new one each 10 ms. It answers the handshake, takes whatever comes
 * after it for a ready, and knows nothing of bad clients. */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ws.h"

enum { INTERVAL_MS = 10, FDS_MAX = 20000, EVENTS_MAX = 256 };

struct client {
	bool open, ready, waiting, writing;
	uint64_t sent;
	size_t left;          /* bytes of the frame under way */
	size_t head_len;
	char head[512];
};

static struct client clients[FDS_MAX];   /* by descriptor */
static struct pollfd fds[FDS_MAX];       /* likewise; 0 is the listener's */
static int listener, top, poller = -1;
static uint8_t *frame;
static size_t frame_len, waiting;
static uint64_t latest = 1;
static int64_t next_take;

static int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void drop(int fd)
{
	waiting -= clients[fd].waiting;
	clients[fd] = (struct client){0};
	fds[fd].fd = -1;
	close(fd);
}

static void handshake(int fd, struct client *c)
{
	struct ws_request r;
	char accept[WS_ACCEPT_LEN + 1], out[256];

	if (ws_request(&r, c->head, c->head_len) <= 0 || !r.upgrade)
		return;
	ws_accept(accept, r.key);
	int n = snprintf(out, sizeof out,
	                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
	                 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
	c->open = c->ready = send(fd, out, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n;
}

/* False: the client is gone. */
static bool read_client(int fd, struct client *c)
{
	static char in[4096];
	ssize_t n = c->open ? recv(fd, in, sizeof in, MSG_DONTWAIT)
	                    : recv(fd, c->head + c->head_len, sizeof c->head - c->head_len, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		return false;
	if (c->open && n > 0)
		c->ready = true;
	if (!c->open && n > 0) {
		c->head_len += (size_t)n;
		handshake(fd, c);
	}
	return true;
}

static void write_client(int fd, struct client *c)
{
	if (c->left == 0 && c->ready && latest > c->sent) {
		c->ready = false;
		c->sent = latest;
		c->left = frame_len;
	}
	if (c->left > 0) {
		ssize_t n = send(fd, frame + frame_len - c->left, c->left, MSG_NOSIGNAL | MSG_DONTWAIT);

		c->left -= n > 0 ? (size_t)n : 0;
	}
	waiting -= c->waiting;
	c->waiting = c->ready && c->left == 0;
	waiting += c->waiting;
	if (c->writing == (c->left > 0))
		return;
	c->writing = c->left > 0;
	fds[fd].events = (short)(POLLIN | (c->writing ? POLLOUT : 0));
	if (poller >= 0)
		epoll_ctl(poller, EPOLL_CTL_MOD, fd,
		          &(struct epoll_event){.events = EPOLLIN | (c->writing ? EPOLLOUT : 0),
		                                .data.fd = fd});
}

static void serve(int fd, bool readable)
{
	if (readable && !read_client(fd, &clients[fd]))
		drop(fd);
	else
		write_client(fd, &clients[fd]);
}

static void accept_clients(void)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= FDS_MAX) {
			close(fd);
			return;
		}
		fds[fd] = (struct pollfd){.fd = fd, .events = POLLIN};
		top = fd >= top ? fd + 1 : top;
		if (poller >= 0)
			epoll_ctl(poller, EPOLL_CTL_ADD, fd,
			          &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
	}
}

static void take(void)
{
	if (waiting == 0 || clock_ms() < next_take)
		return;
	latest++;
	next_take = clock_ms() + INTERVAL_MS;
	for (int fd = 0; fd < top; fd++)
		if (clients[fd].waiting)
			serve(fd, false);
}

static int timeout(void)
{
	int64_t left = next_take - clock_ms();

	return waiting == 0 ? -1 : left > 0 ? (int)left : 0;
}

static void turn_poll(void)
{
	poll(fds, (nfds_t)top, timeout());
	for (int fd = 0; fd < top; fd++)
		if (fd != listener && fds[fd].revents)
			serve(fd, fds[fd].revents & ~POLLOUT);
	if (fds[listener].revents)
		accept_clients();
}

static void turn_epoll(void)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(poller, events, EVENTS_MAX, timeout());

	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == listener)
			accept_clients();
		else
			serve(events[i].data.fd, events[i].events & ~(uint32_t)EPOLLOUT);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof address;
	uint8_t header[WS_HEADER_MAX];
	size_t bytes = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	size_t n = ws_header(header, WS_BINARY, bytes, NULL);

	frame_len = n + bytes;
	frame = calloc(1, frame_len);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bytes == 0 || !frame || listener < 0 ||
	    bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, SOMAXCONN) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &len) != 0)
		return 1;
	memcpy(frame, header, n);
	for (int fd = 0; fd < FDS_MAX; fd++)
		fds[fd].fd = -1;
	fds[listener] = (struct pollfd){.fd = listener, .events = POLLIN};
	top = listener + 1;
	if (strcmp(argv[1], "epoll") == 0) {
		poller = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(poller, EPOLL_CTL_ADD, listener,
		          &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
	}
	printf("listening url=http://127.0.0.1:%d/\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		if (poller >= 0)
			turn_epoll();
		else
			turn_poll();
		take();
	}
}
