#ifndef LISTEN_H
#define LISTEN_H

/* Listening sockets, and addresses as text. */

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"

#define DEFAULT_PORT "4801"
#define DEFAULT_LISTEN "127.0.0.1:" DEFAULT_PORT
#define DEFAULT_LISTEN_6 "[::1]:" DEFAULT_PORT

enum {
	LISTENERS_MAX = 16,
	LISTEN_UNSENT = 64 << 10,   /* unsent bytes that the kernel keeps for a TCP socket before it
	                               takes no more (TCP_NOTSENT_LOWAT) */
};

/* All zero: none. */
struct listeners {
	size_t count;
	int fds[LISTENERS_MAX];
	struct sockaddr_storage addresses[LISTENERS_MAX];   /* as bound, ports filled in; they stay
	                                                       after listen_close */
	struct stat files[LISTENERS_MAX];   /* of those that are Unix sockets */
	int64_t again;                      /* ms: nothing is accepted before; 0: accepting */
	struct log_limit pauses;            /* of lines that say so */
};

/* Listens at each of count texts: HOST:PORT, [V6]:PORT, HOST, or the path of a Unix socket, with
 * a socket for every address that a name has; without texts at port 4801 of the loopback
 * addresses. 0, or -1 with one line logged that names what was wrong. */
int listen_all(struct listeners *l, const char *const *texts, size_t count);

/* Logs where to look, and what is dangerous about it. anybody: who reaches it may watch. */
void listen_announce(const struct listeners *l, bool tls, bool anybody);

/* Writes what poll() shall look for, fd -1 where that is nothing, and lowers *deadline if
 * accepting begins again by then. now, *deadline: ms, monotonic. */
void listen_poll(struct listeners *l, struct pollfd fds[LISTENERS_MAX], int64_t now,
                 int64_t *deadline);

/* Accepts a connection from socket i, non-blocking. -1: there is none now, or the system is out
 * of descriptors or memory, so that accepting pauses. */
int listen_accept(struct listeners *l, size_t i, struct sockaddr_in6 *peer, int64_t now);

/* Closes all of them and removes the files of their Unix sockets. */
void listen_close(struct listeners *l);

/* A Unix stream socket that listens at path, non-blocking, its mode set before
 * anyone can connect; *file is filled in for listen_remove. A socket file nobody
 * listens at is replaced; one that is in use, and anything that is not a socket, is
 * left alone. -1 with one line logged, which names the option. */
int listen_unix(const char *option, const char *path, mode_t mode, struct stat *file);

/* Removes the file of a Unix socket, unless another one stands there by now. */
void listen_remove(const char *path, const struct stat *file);

/* ADDR:PORT or [V6]:PORT; "unix" for a Unix socket, whose clients have no address. The text is
 * static, until the next call. */
const char *address_text(const struct sockaddr *address);

/* Is it a loopback address of IPv4, IPv6 or IPv4 mapped into IPv6? */
bool address_is_loopback(const struct sockaddr *address);

#endif
