#ifndef HTTP_H
#define HTTP_H

/* Who may ask, and what is answered, over HTTP/1.1 (RFC 9110). No I/O. */

#include <stdbool.h>
#include <stddef.h>

#include "auth.h"
#include "ws.h"

/* Names beyond the built-in ones; borrowed, compared whole and without case. */
struct http_policy {
	const char *const *hosts;
	size_t host_count;
	const char *const *origins;
	size_t origin_count;
	const struct auth *auth;   /* NULL: no token is needed */
};

struct http_answer {
	int status;                  /* 101: the opening handshake is accepted ... */
	bool command;                /* ... for the command protocol */
	const char *reason;          /* for a refusal: what was wrong, in words; else NULL */
	const char *option;          /* the option that would have allowed it, or NULL ... */
	struct ws_text value;        /* ... and its value, bytes of the peer */
	const char *type;            /* media type of the body */
	const unsigned char *body;   /* static; NULL: http_head writes a text of its own */
	size_t body_len;
	bool gzip;                   /* the body is gzip encoded */
	bool no_body;                /* the request was a HEAD */
};

/* Decides on a request that ws_request has read. loopback: the client came from
 * a loopback address, so that pages of this machine may ask whatever their port. */
void http_decide(struct http_answer *a, const struct ws_request *r,
                 const struct http_policy *policy, bool loopback);

/* A refusal with this status, for a request that could not be read or served. */
void http_refuse(struct http_answer *a, int status, const char *reason);

/* Writes the response head, and behind it the body when that is not static. host:
 * the Host of the request, for texts. Returns the length; out must hold
 * WS_HEAD_MAX bytes. */
size_t http_head(char *out, const struct http_answer *a, struct ws_text host);

#endif
