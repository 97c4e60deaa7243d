#ifndef AUTH_H
#define AUTH_H

/* The token that a client must show, as RFC 6750's bearer token or, for browsers,
 * which cannot set that header on a WebSocket, as an offered subprotocol. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ws.h"

/* Offered together with "introspect", which is what the server picks. */
#define AUTH_PROTOCOL "introspect"
#define AUTH_TOKEN_PREFIX "introspect.token."

enum {
	AUTH_TOKEN_MIN = 16,     /* characters */
	AUTH_TOKEN_MAX = 256,
	AUTH_FAILURES = 64,      /* addresses of which failures are remembered */
	AUTH_DELAY_MAX = 5000,   /* ms */
};

struct auth_failure {
	uint8_t address[16];   /* IPv6, or IPv4 mapped into it; of an IPv6 network the first half */
	int64_t last;          /* ms, monotonic */
	unsigned count;
};

/* All zero: no token is needed. */
struct auth {
	char token[AUTH_TOKEN_MAX + 1];   /* terminated */
	size_t len;            /* 0: none is needed */
	struct auth_failure failures[AUTH_FAILURES];
};

/* Reads the token: the file's first line, of letters, digits and . _ ~ -. 0, or -1
 * with one line logged, the token before staying in force. */
int auth_read(struct auth *a, const char *file);

/* Does the request show the token? In constant time. */
bool auth_shown(const struct auth *a, const struct ws_request *r);

/* Notes a failure and returns for how many ms the answer to it is to be held back:
 * each one from the same address longer than the one before. */
int64_t auth_delay(struct auth *a, const struct sockaddr *peer, int64_t now);

#endif
