#ifndef HTTP_H
#define HTTP_H

/* Who may ask, and what is answered, over HTTP/1.1 (RFC 9110). No I/O. */

#include <stdbool.h>
#include <stddef.h>

#include "guard/auth.h"
#include "ws.h"

enum { HTTP_ACCEPT_MAX = 192 };   /* bytes that http_accept writes at most */

/* Why a request is not served. */
enum http_refusal {
	HTTP_MALFORMED,
	HTTP_BAD_HOST,
	HTTP_NO_TOKEN,
	HTTP_FOREIGN_HOST,
	HTTP_FOREIGN_ORIGIN,
	HTTP_NO_PAGE,
	HTTP_NO_SOCKET,
	HTTP_BAD_METHOD,
	HTTP_BAD_VERSION,
	HTTP_HEAD_TOO_LONG,
	HTTP_CLIENTS_MAX,
	HTTP_SLOTS_MAX,
	HTTP_REFUSALS,
};

/* The status and the words for it. */
extern const struct http_reason {
	int status;
	const char *words;
} http_reasons[HTTP_REFUSALS];

/* Names beyond the built-in ones; borrowed, compared whole and without case. */
struct http_policy {
	const char *const *hosts;
	size_t host_count;
	const char *const *origins;
	size_t origin_count;
	const struct auth *auth;   /* NULL: no token is needed */
	bool tls;                  /* the client speaks TLS to this daemon */
};

struct http_answer {
	int status;                  /* 101: the opening handshake is accepted ... */
	bool command;                /* ... for the command protocol */
	bool metrics;                /* the body is the caller's to add */
	enum http_refusal refusal;   /* if there is a reason */
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

/* A refusal, of a request that could not be read or served, too. */
void http_refuse(struct http_answer *a, enum http_refusal refusal);

/* Writes the answer to an opening handshake that is accepted (RFC 6455 section 4.2.2).
 * Returns its length. */
size_t http_accept(char out[HTTP_ACCEPT_MAX], const struct ws_request *r);

/* Writes the response head, and behind it the body when that is not static. host:
 * the Host of the request, for texts. Returns the length; out must hold
 * WS_HEAD_MAX bytes. */
size_t http_head(char *out, const struct http_answer *a, struct ws_text host);

#endif
