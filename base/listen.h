#ifndef LISTEN_H
#define LISTEN_H

/* Listening sockets, and addresses as text. */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define DEFAULT_PORT "4801"
#define DEFAULT_LISTEN "127.0.0.1:" DEFAULT_PORT
#define DEFAULT_LISTEN_6 "[::1]:" DEFAULT_PORT

enum {
	LISTENERS_MAX = 16,
	LISTEN_UNSENT = 64 << 10,   /* bytes that a TCP socket keeps beyond what it may send */
	ADDRESS_TEXT_MAX = sizeof((struct sockaddr_un *)0)->sun_path + 16,
};

struct listener {
	int fd;
	struct sockaddr_storage address;   /* as bound, its port filled in */
	struct stat file;                  /* of a Unix socket */
};

/* Binds to HOST:PORT, [V6]:PORT, HOST, or the path of a Unix socket, adding a
 * listener for every address that the name has. optional: an address that this
 * machine does not have is no error. 0, or -1 with one line logged that names
 * what was wrong. *count is at most LISTENERS_MAX. */
int listen_on(struct listener list[LISTENERS_MAX], size_t *count, const char *text, bool optional);

/* listen_on for each of count texts; without any, for port 4801 of the loopback addresses. */
int listen_all(struct listener list[LISTENERS_MAX], size_t *count, const char *const *texts,
               size_t text_count);

/* Logs where to look, and what is dangerous about it. anybody: who reaches it may watch. */
void listen_announce(const struct listener *list, size_t count, bool tls, bool anybody);

/* Closes all of them and removes the files of their Unix sockets. */
void listen_close(struct listener list[LISTENERS_MAX], size_t *count);

/* A Unix stream socket that listens at path, non-blocking, its mode set before
 * anyone can connect; *file is filled in for listen_remove. A socket file nobody
 * listens at is replaced; one that is in use, and anything that is not a socket, is
 * left alone. -1 with one line logged, which names the option. */
int listen_unix(const char *option, const char *path, mode_t mode, struct stat *file);

/* Removes the file of a Unix socket, unless another one stands there by now. */
void listen_remove(const char *path, const struct stat *file);

/* Writes ADDR:PORT, [V6]:PORT or unix:PATH. Returns out. */
const char *address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr *address);

/* Is it a loopback address of IPv4, IPv6 or IPv4 mapped into IPv6? */
bool address_is_loopback(const struct sockaddr *address);

#endif
