#ifndef ROW_H
#define ROW_H

/* A row of a table, which is a connection, a stream, or the sum of some connections, and its
 * cells. */

#include <stdbool.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum { CELL_MAX = 256 };

/* Texts first, then numbers. */
enum cell {
	PEER,        /* of a connection, as those down to TRANSPORT */
	ADDRESS,     /* of the peer */
	LOCAL,       /* address of the node */
	AGENT,
	PROCESS,
	TAGS,        /* of the connection, those that no other cell shows */
	TRANSPORT,
	GROUP,       /* of a sum: what its connections have in common */
	PROTOCOL,    /* of a stream */
	STATUS,
	DIRECTION,
	FIRST_NUMBER,
	MEMBERS = FIRST_NUMBER,   /* of a sum: its connections that are not closed */
	STREAMS,
	RATE_IN,     /* bytes per second */
	RATE_OUT,
	BYTES_IN,
	BYTES_OUT,
	LATENCY,     /* ns */
	AGE,         /* ms; how long it was open, once it is closed */
};

/* What pointers point to belongs to the State. */
struct row {
	const Introspection__Connection *connection;   /* NULL: the row is no connection */
	const Introspection__Stream *stream;           /* NULL: the row is no stream */
	const char *name, *detail;                     /* of a sum, what its connections have in common,
	                                                  of name_len bytes and with a NUL; else NULL */
	size_t name_len;
	ProtobufCBinaryData id;
	uint64_t rate[2], bytes[2];                    /* [0]: in, [1]: out */
	uint64_t streams, members;
	Introspection__Status status;
	Introspection__Role role;
	uint64_t latency;   /* ns */
	uint64_t age;       /* ms */
};

/* The row of a connection or stream. now: when the State was taken, ms since the epoch. */
struct row row_of_connection(const Introspection__Connection *c, uint64_t now);
struct row row_of_stream(const Introspection__Stream *s, uint64_t now);

/* Makes the row of a connection a sum that has this connection alone: of its process, or of its
 * peer, or, where the peer id is not known, of the peer's host. row_add adds another row of the
 * same sum; row_compare_names orders sums by what they have in common. */
void row_begin_sum(struct row *row, bool by_process);
void row_add(struct row *sum, const struct row *row);
int row_compare_names(const struct row *a, const struct row *b);

/* A text cell; it may be written to out. Empty: not known. */
const char *row_text(char out[CELL_MAX], const struct row *row, enum cell cell);

/* The host and the port of a multiaddr, as HOST:PORT; a text without them as it is. */
const char *brief_address(char out[CELL_MAX], const char *multiaddr);

/* Does nobody know who opened the connection or stream? Then role is without a meaning. */
bool is_role_unknown(const struct row *row);

/* A number cell, in the unit of enum cell. 0 may stand for not known. */
uint64_t row_number(const struct row *row, enum cell cell);

const char *status_text(Introspection__Status status);

/* The gauge of one direction. traffic may be NULL. Never NULL: all zero if it is not known. */
const Introspection__DataGauge *traffic_gauge(const Introspection__Traffic *traffic, bool out);

#endif
