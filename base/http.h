#ifndef HTTP_H
#define HTTP_H

/* Who may ask, and what is answered, over HTTP/1.1 (RFC 9110). No I/O. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "ws.h"

/* The WebSocket subprotocol that the daemon chooses if the client offers it. */
#define HTTP_PROTOCOL "introspect"

#define HTTP_SCHEMA_PATH "/introspection.proto"

enum {
	HTTP_ACCEPT_MAX = 320,   /* bytes that http_accept writes at most */
	HTTP_ORIGIN_MAX = 512,   /* bytes of an origin, which is repeated in the head of an answer */
};

/* Why a request is not served. */
enum http_refusal {
	HTTP_MALFORMED,
	HTTP_NO_HOST,
	HTTP_BAD_HOST,
	HTTP_NO_TOKEN,
	HTTP_TOO_MANY_TOKENS,
	HTTP_FOREIGN_HOST,
	HTTP_FOREIGN_ORIGIN,
	HTTP_NO_PAGE,
	HTTP_NO_SOCKET,
	HTTP_BAD_METHOD,
	HTTP_NOT_ACCEPTABLE,
	HTTP_BAD_VERSION,
	HTTP_HEAD_TOO_LONG,
	HTTP_CLIENTS_MAX,
	HTTP_SLOTS_MAX,
	HTTP_ADDRESS_MAX,
	HTTP_REFUSALS,
};

/* By enum http_refusal: the status and the words of the answer. help: what the client is told
 * besides, or NULL. */
extern const struct http_reason {
	int status;
	const char *words;
	const char *help;
} http_reasons[HTTP_REFUSALS];

struct endpoint;
struct http_answer;
struct option_list;

/* By which requests are judged. Everything in it is borrowed. */
struct http_policy {
	const struct option_list *hosts, *origins;   /* allowed besides the built-in ones, compared
	                                                whole and without case; NULL: none */
	const char *public_url;    /* where a proxy shows the daemon; NULL: nowhere */
	bool (*admits)(const struct ws_request *r);   /* may the client have data of the node?
	                                                 NULL: every client may */
	/* Answers a request for a file, or with a text in place of the page. False: there is no such
	 * file. NULL: there are none. */
	bool (*files)(struct http_answer *a, const struct ws_request *r);
	bool tls;                  /* this request came over TLS; set before each one */
	const struct endpoint *const *endpoints;      /* ended by NULL; or NULL: there are none */
};

struct http_answer {
	int status;                  /* 101: the opening handshake is accepted */
	const struct endpoint *endpoint;   /* that serves the request; NULL: this answer is all */
	const struct http_policy *policy;   /* by which it was decided, for texts */
	enum http_refusal refusal;   /* if there is a reason */
	const char *reason;          /* for a refusal: what was wrong, in words; else NULL */
	struct ws_text value;        /* the Host or Origin that was refused, bytes of the peer; its at is
	                                NULL: the refusal is not for one of these */
	const char *option;          /* the option that would have allowed value, or NULL */
	const char *type;            /* media type of the body */
	const unsigned char *body;   /* static; NULL: http_head writes a text of its own */
	size_t body_len;
	const char *framing;         /* the field line in place of Content-Length: the body comes from
	                                the endpoint, in chunks or up to the end of the connection;
	                                NULL: the length is known */
	bool gzip;                   /* the body is gzip encoded */
	bool no_body;                /* the request was a HEAD */
	bool no_secret;              /* other pages of the same site may load it */
	bool takes_options;          /* the path is /healthz, where OPTIONS is answered as GET is */
	bool gzip_refused;           /* a text comes in place of the page, which is gzipped only */
	struct ws_text origin;       /* whose pages may read the answer, if it is an allowed one */
	bool secure;                 /* the client used https or wss, perhaps through a proxy */
	struct ws_text host;         /* the request's Host; with secure, for addresses in texts */
};

/* Is the text the name of a host as browsers write it in Host, without a port? */
bool http_is_name(struct ws_text text);

/* Is the text an origin as browsers write it (RFC 6454 section 6.2): scheme://host, with the port
 * unless it is the scheme's own? False, too, if it is longer than HTTP_ORIGIN_MAX. */
bool http_is_origin(struct ws_text text);

/* Is the text http:// or https://, a host, perhaps a port and a path? */
bool http_is_url(struct ws_text text);

/* Decides on a request for which ws_request returned got, which is not 0, and fills *a. Texts in *a
 * point into the request, the policy is borrowed. */
void http_decide(struct http_answer *a, const struct ws_request *r, int got,
                 const struct http_policy *policy);

/* Fills *a for a refusal whose reason does not stand in the request. */
void http_refuse(struct http_answer *a, enum http_refusal refusal);

/* Logs a refusal. Without -v only one that an option would allow or that names a value, and no more
 * often than limit permits. peer: the client's address; now: ms, monotonic. */
struct log_limit;
void http_log(const struct http_answer *a, const char *peer, struct log_limit *limit, int64_t now);

/* Writes the answer to an opening handshake that is accepted (RFC 6455 section 4.2.2).
 * extension: a field line that says which was agreed on; NULL: none. Returns its length. */
size_t http_accept(char out[HTTP_ACCEPT_MAX], const struct ws_request *r, const char *extension);

/* Writes the response head, and behind it the body when that is not static. now: seconds since 1970,
 * for the field Date. Returns the length; out must hold WS_HEAD_MAX bytes. */
size_t http_head(char *out, const struct http_answer *a, time_t now);

#endif
