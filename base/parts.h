#ifndef PARTS_H
#define PARTS_H

/* What a daemon is made of besides the loop and the pull protocol: chosen when it is linked,
 * by base/all.c or base/core.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/options.h"
#include "base/stream.h"
#include "endpoint/endpoint.h"
#include "source/source.h"

/* Kinds of streams, ended by NULL. TCP connections are of the last kind that the options ask for. */
extern const struct stream_kind *const parts_streams[];

/* Endpoints besides the pull protocol, ended by NULL. */
extern const struct endpoint *const parts_endpoints[];

/* Sources besides the kernel source, ended by one without a name. */
struct source_kind {
	const char *name;
	bool (*wanted)(const struct options *o);
	struct source *(*open)(const struct daemon *d);   /* NULL with one line logged */
};
extern const struct source_kind parts_sources[];

/* Opens the kernel source as the options say. NULL with one line logged. */
struct source *parts_open_kernel(const struct daemon *d);

/* Opens, once the daemon listens, the first of parts_sources that the options ask for, else the kernel
 * source, as d->source. Says in the source's runtime what the daemon owns of that, and passes the
 * source's Events on to the endpoints that take them. 0, or -1 with one line logged. */
int parts_open_source(struct daemon *d);

/* A snapshot was taken: tells the endpoints and whatever makes smaller forms of it. */
void parts_taken(struct daemon *d);

/* The smaller forms of a snapshot that a ready may ask for, as in endpoint/difference.h. */
struct forms {
	struct difference *(*open)(size_t max);
	void (*close)(struct difference *d);
	/* A pull client sent a part of a message (WS_DATA, WS_MESSAGE): notes which form of its next
	 * snapshot the client wishes for. */
	void (*input)(struct daemon *d, struct connection *c, const struct ws_decoder *ws);
	/* The form in which a pull client is sent the latest snapshot now; without a frame, if it
	 * is new. */
	struct snapshot *(*pick)(struct daemon *d, struct connection *c);
	/* A snapshot was taken. */
	void (*note)(struct difference *d, const struct snapshot *latest);
	/* A smaller form of the latest snapshot: the difference from the one with the number base or,
	 * with base 0, the totals. NULL: there is none. */
	struct snapshot *(*form)(struct difference *d, const struct snapshot *latest, uint64_t base);
};
extern const struct forms *const parts_forms;   /* NULL: whole snapshots only */

/* The field line that accepts permessage-deflate, if an opening handshake offers it as the forms have it,
 * else NULL. Itself NULL: they have it not. */
extern const char *(*const parts_deflate)(const struct ws_request *r);

/* Who may have data. */
struct guard {
	/* Reads what the options name, at start and again on SIGHUP. 0; -1: with one line
	 * logged, what was read before stays in force. */
	int (*setup)(const struct options *o);
	/* Called once for each request. Returns in how many ms the request may be judged, that time
	 * being kept free for it; 0: now; -1: too many requests came before it. */
	int64_t (*wait)(const struct ws_request *r, const struct sockaddr *peer, int64_t now);
	bool (*admits)(const struct ws_request *r);
	/* The request was judged, and is answered with this HTTP status. */
	void (*judged)(const struct ws_request *r, const struct sockaddr *peer, int64_t now,
	               int status);
	const struct endpoint *denied;   /* answers clients that were not admitted, after a delay */
};
extern const struct guard *const parts_guard;   /* NULL: everybody may */

/* Decides by d->policy on a request for which ws_request returned got, which is not 0. Returns 0: *a is
 * filled; > 0: after so many ms the loop calls it again for this request, with again. */
int64_t parts_judge(const struct daemon *d, struct http_answer *a, const struct ws_request *r,
                    int got, const struct sockaddr *peer, bool again);

/* Reads what streams and guard need, token and certificates. Returns the kind of streams for TCP
 * connections; NULL: something was refused, with one line logged. Whatever was not refused
 * is in force. */
const struct stream_kind *parts_read(const struct options *o);

/* Reads the same on SIGHUP, and what endpoints read again; logs what was read. */
void parts_read_again(const struct options *o);

/* Starts the endpoints and fills in d->endpoints, d->forms and d->policy. *memory: bytes that one of
 * the endpoints, or the guard, needs most for a connection. 0, or -1 with one line logged. */
int parts_start(struct daemon *d, const struct endpoint *pull, size_t *memory);

/* Releases streams and endpoints, started or not. */
void parts_stop(struct daemon *d);

/* Files besides, as files of struct http_policy. NULL: there are none. */
extern bool (*const parts_files)(struct http_answer *a, const struct ws_request *r);

/* Gives up, for good, all that the loop and its source do without. 0, or -1 with one line logged.
 * NULL: nothing is given up. */
extern int (*const parts_rights)(const struct daemon *d);

/* Options of these parts, as in base/options.h. */
extern const struct option_row parts_options[];

/* What must hold between options. NULL, or what is wrong. */
const char *parts_conflict(const struct options *o);

#endif
