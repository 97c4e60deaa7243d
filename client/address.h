#ifndef ADDRESS_H
#define ADDRESS_H

/* Where a daemon is: what the user wrote, and the socket addresses that it
 * stands for. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

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
	char target[TARGET_MAX + sizeof "introspect"];   /* with room for what a mode adds */
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

/* The endpoints of an address, to be tried in this order. */
struct resolved {
	size_t count;
	int error, system;    /* count 0: of getaddrinfo(); for EAI_SYSTEM, errno */
	struct endpoint endpoints[ENDPOINTS_MAX];
};

/* Why there are none: a constant string. */
const char *resolved_error(const struct resolved *r);

/* Finds the endpoints of an address that needs no lookup: a path, an IP address, the daemon of
 * this machine. False: it is a name, which lookup_start() looks up. */
bool address_is_known(const struct address *a, struct resolved *out);

/* A child process that looks a name up, since the C library's resolver blocks for as long as
 * its servers are silent, whatever signals come. */
struct lookup {
	pid_t child;
	int fd;               /* becomes readable when there is an answer; -1: no lookup */
};

/* False, with errno: there can be no child. */
bool lookup_start(struct lookup *l, const struct address *a);

/* Takes the answer that fd is readable for, and ends the child. */
void lookup_finish(struct lookup *l, struct resolved *out);

/* Ends the child; harmless when there is none. */
void lookup_stop(struct lookup *l);

#endif
