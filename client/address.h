#ifndef ADDRESS_H
#define ADDRESS_H

/* Where a daemon is: what the user wrote, and the socket addresses that it
 * stands for. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/listen.h"

#define DEFAULT_SOCKET "/run/introspectd.sock"

enum {
	HOST_MAX = 256,       /* a DNS name or the path of a Unix socket, NUL included */
	TARGET_MAX = 512,     /* an HTTP request target, NUL included */
	ENDPOINTS_MAX = 8,
};

struct address {
	char host[HOST_MAX];      /* empty: the daemon of this machine */
	char port[6];
	char target[TARGET_MAX];
	bool is_path;             /* host is the path of a Unix socket */
	bool secure;              /* TLS */
};

struct endpoint {
	struct sockaddr_storage at;
	socklen_t len;
	char name[HOST_MAX + 8];  /* HOST:PORT, [V6]:PORT or a path, for people */
	char host[HOST_MAX + 8];  /* value of the Host field */
};

/* Reads HOST[:PORT], [V6][:PORT], a bare V6, ws:// and http:// URLs (port 80 unless they
 * say), wss:// and https:// URLs (port 443), or a path with a '/' in it; NULL stands for the
 * daemon of this machine. NULL when it could be read, else what was wrong with it. */
const char *address_read(struct address *a, const char *text);

/* Looks the address up (this may block for as long as the resolver takes) and
 * returns how many endpoints there are to try, in this order. 0: *why is set to
 * a constant string. */
size_t address_resolve(const struct address *a, struct endpoint out[ENDPOINTS_MAX],
                       const char **why);

#endif
