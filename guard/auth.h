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

	/* How fast tokens may be tried. One address has BURST comparisons at once, then one every
	 * PERIOD_MS; a right token costs nothing. All addresses that never showed the right token
	 * share BURST_ALL and PERIOD_ALL_MS, so that many addresses guess no faster together. */
	AUTH_BURST = 10,
	AUTH_PERIOD_MS = 1000,
	AUTH_BURST_ALL = 50,
	AUTH_PERIOD_ALL_MS = 100,
	AUTH_WAIT_MAX = 5000,    /* ms; what would have to wait longer is refused */
};

/* What is remembered of one client address. */
struct auth_owner {
	uint8_t address[16];   /* as peers_owner() groups addresses */
	bool known;            /* a client from this address has shown the right token */
	int64_t last;          /* ms, monotonic: last request from this address; 0: entry is free */
	int64_t booked;        /* ms, monotonic: each comparison moves it PERIOD_MS into the future */
	unsigned failures;     /* in a row; one minute without a request clears them */
};

/* All zero: no token is needed. */
struct auth {
	char token[AUTH_TOKEN_MAX + 1];   /* ends with a NUL */
	size_t len;            /* characters; 0: no token is needed */
	int64_t booked;        /* ms, monotonic: as that of an owner, for all unknown addresses */
	struct auth_owner owners[AUTH_OWNERS];
};

/* Reads the token from the first line of a file: AUTH_TOKEN_MIN to AUTH_TOKEN_MAX letters, digits
 * and . _ ~ - (the token68 of RFC 7235 without / + =). Returns NULL, or in words what is wrong
 * with the file; then the old token stays in force. */
const char *auth_read(struct auth *a, const char *file);

/* Does the request offer a token, right or wrong? If not, there is nothing to compare. */
bool auth_is_offered(const struct auth *a, const struct ws_request *r);

/* Does the request show the right token? Compared in constant time. A request that offers several
 * tokens shows none. Without a token in force, every request does. */
bool auth_shown(const struct auth *a, const struct ws_request *r);

/* Books one comparison for a request from this address. Returns in how many ms it may be made
 * (0: now), or -1: refuse the request, too many comparisons are waiting already. */
int64_t auth_book(struct auth *a, const struct sockaddr *peer, int64_t now);

/* The token of the booked comparison was right: gives the booking back and marks the address
 * as known. */
void auth_right(struct auth *a, const struct sockaddr *peer, int64_t now);

/* Notes that a request was denied, for a wrong token or for none. Returns for how many ms its
 * answer must be held back: 250 for the first from an address, then doubled each time, at most
 * AUTH_DELAY_MAX. */
int64_t auth_delay(struct auth *a, const struct sockaddr *peer, int64_t now);

#endif
