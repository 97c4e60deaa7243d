#ifndef AUTH_H
#define AUTH_H

/* The token that a client must show, as RFC 6750's bearer token or, for browsers,
 * which cannot set that header on a WebSocket, as an offered subprotocol. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ws.h"

/* Offered together with HTTP_PROTOCOL, which is what the server picks. */
#define AUTH_TOKEN_PREFIX "introspect.token."

enum {
	AUTH_TOKEN_MIN = 16,     /* characters */
	AUTH_TOKEN_MAX = 256,
	AUTH_OWNERS = 64,        /* addresses that are remembered */
	AUTH_DELAY_MAX = 5000,   /* ms */

	/* Wrong tokens are compared at once up to BURST, and one every PERIOD_MS after that: of an
	 * address, and of all that have not shown the right one before. */
	AUTH_BURST = 10,
	AUTH_PERIOD_MS = 1000,
	AUTH_BURST_ALL = 50,
	AUTH_PERIOD_ALL_MS = 100,
	AUTH_WAIT_MAX = 5000,    /* ms; what would have to wait longer is refused */
};

/* Whose tokens were compared. */
struct auth_owner {
	uint8_t address[16];   /* of peers_owner */
	bool known;            /* has shown the right one */
	int64_t last;          /* ms, monotonic: of the last one that was compared; 0: free */
	int64_t booked;        /* ms: PERIOD_MS for each one that was wrong lead up to it */
	unsigned failures;     /* in a row */
};

/* All zero: no token is needed. */
struct auth {
	char token[AUTH_TOKEN_MAX + 1];   /* terminated */
	size_t len;            /* 0: none is needed */
	int64_t booked;        /* as of an owner, by all */
	struct auth_owner owners[AUTH_OWNERS];
};

/* Reads the token: the file's first line, of letters, digits and . _ ~ -. NULL, or what is
 * wrong with it, the token before staying in force. */
const char *auth_read(struct auth *a, const char *file);

/* Does the request offer something as the token? Only then is there anything to compare. */
bool auth_is_offered(const struct auth *a, const struct ws_request *r);

/* Does the request show the token? In constant time. More than one offer is none. */
bool auth_shown(const struct auth *a, const struct ws_request *r);

/* In how many ms the offer of this peer may be compared, 0: now; it is booked for then, so
 * that others of the peer come later. -1: too many are booked already. */
int64_t auth_book(struct auth *a, const struct sockaddr *peer, int64_t now);

/* The booked offer was right: it counts for nothing. */
void auth_right(struct auth *a, const struct sockaddr *peer, int64_t now);

/* Notes a failure, of a request that showed no token, too, and returns for how many ms the
 * answer to it is to be held back: each one from the same address longer than the one before. */
int64_t auth_delay(struct auth *a, const struct sockaddr *peer, int64_t now);

#endif
