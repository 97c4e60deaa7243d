#ifndef BRIDGE_H
#define BRIDGE_H

/* What the parts of introspect-bridge share. bridge.c owns the loop and the way to the daemon,
 * ask.c the way to the node, round.c the memory of a round; each kind of node has a file of its
 * own that makes a State of what the node answers. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"

enum {
	ANSWER_MAX = 64 << 20,      /* bytes of one answer of a node */
	VALUES_MAX = 384 << 20,     /* bytes of memory of all answers that are held, parsed */
	QUESTIONS_MAX = 160,        /* different ones in one round */
	DEADLINE_MS = 10000,        /* for one answer */
	ROUND_MS = 30000,           /* for all answers of a round */
	WHY_MAX = 512,              /* bytes of what was wrong, NUL included */
};

/* The node and its HTTP API; one question at a time. */
struct node;

/* url: without a slash at its end; token: for Authorization: Bearer, NULL: none. Both borrowed.
 * Programs have one at most, since the bound of parsed answers is the process's. NULL: out of
 * memory. */
struct node *node_open(const char *url, const char *token);
void node_close(struct node *n);

/* Begins a round at now, in ms since 1970: what the last one asked is forgotten, but answers of
 * node_recall that are still kept. All of those go after a round in which the node could not be
 * reached: it may be another one now. */
void node_begin(struct node *n, int64_t now);

/* Asks and waits, by GET unless how says otherwise; path: what follows the URL, at most
 * 1024 bytes. The answer is the node's, until node_begin. NULL: it is OPTIONAL and the node refuses,
 * or something is wrong, which node_why tells. */
enum how {
	GET = 0,
	POST = 1,
	OPTIONAL = 2,   /* the node may have no such thing; it is asked again after a minute */
	SEVERAL = 4,    /* the answer is JSON values one behind another: an array of them */
};
const json_t *node_ask(struct node *n, const char *path, unsigned how);

/* The same for what is dear to the node: it is asked once in so many seconds. *age: of what is
 * returned, in s; may be NULL. */
const json_t *node_recall(struct node *n, const char *path, unsigned how, int seconds,
                          uint64_t *age);

/* Notes what is wrong with the answer that was asked for last; of a round the first such thing
 * is kept. */
void node_wrong(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first thing that was wrong in this round: one line of printable ASCII that names the
 * question. "": nothing. */
const char *node_why(const struct node *n);

/* What a kind puts together. */
struct round {
	struct node *node;
	int64_t now;                      /* ms since 1970 */
	json_t *before, *current;         /* when things were first seen, by name */
	json_t *counts;                   /* of names in this round that are the same */
	Introspection__Runtime runtime;
	Introspection__State state;
	Introspection__Subsystems subsystems;
};

/* Memory of a round is freed with it. Without memory the program ends. */
void round_begin(struct round *r, struct node *node);
void round_end(struct round *r);

void *take_memory(size_t size);   /* zeroed */
char *take_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text as part of a query of a URL (RFC 3986 section 2.1). */
char *take_escaped(const char *text);

/* A message of the round: NEW(connection, Connection). */
#define NEW(lower, upper)                                                       \
	((Introspection__##upper *)take_message(sizeof(Introspection__##upper), \
	                                        &introspection__##lower##__descriptor))
void *take_message(size_t size, const ProtobufCMessageDescriptor *type);

/* Members of an object of the answer that was asked for last. One that is absent or null is "",
 * 0, or NULL, which has no elements and no members; one of another type is the same, and noted
 * as wrong. Numbers may be written as text, and text that does not begin with a digit is 0. */
char *text_at(const struct round *r, const json_t *object, const char *key);
uint64_t number_at(const struct round *r, const json_t *object, const char *key);
const json_t *array_at(const struct round *r, const json_t *object, const char *key);
const json_t *object_at(const struct round *r, const json_t *object, const char *key);

/* Text of an element of an array, on the same terms. */
char *text_of(const struct round *r, const json_t *element);

/* In ms since 1970, when the thing of this name was in a round for the first time; it has been in
 * each round since. */
uint64_t first_seen(struct round *r, const char *name);

/* Makes room for count connections. */
void begin_connections(struct round *r, size_t count);

/* The next of them, with id, transport, remote end and the time at which it was first seen.
 * name: what tells it apart in all rounds; those of the same name are told apart by their order. */
Introspection__Connection *add_connection(struct round *r, const char *name, const char *remote);

/* Makes room for count streams of a connection. */
void begin_streams(Introspection__Connection *c, size_t count);

/* A tag: nobody knows who opened it, whatever its role is, for which the schema has no such value. */
extern char *role_unknown[1];

/* The next of them. Nodes have no ids of streams, so one is the n-th of its protocol; nor do they
 * tell who opened it. */
void add_stream(struct round *r, Introspection__Connection *c, const char *protocol);

/* The node's own addresses; one that is told twice is what it was told to be first, and there are
 * ADDRESSES_MAX at most. */
enum { ADDRESSES_MAX = 256 };
void add_addresses(struct round *r, const json_t *list,
                   Introspection__OwnAddress__Reachability reachability);

/* RESOURCES_MAX at most; those beyond are left out. limit 0: none. */
enum { RESOURCES_MAX = 32 };
void add_resource(struct round *r, const char *scope, const char *name, uint64_t used,
                  uint64_t limit);

/* Bytes and bytes per second of both directions. */
Introspection__Traffic *new_traffic(uint64_t in, uint64_t out, uint64_t rate_in, uint64_t rate_out);

struct kind {
	const char *name;
	const char *about;                /* for --help */
	const char *url;                  /* where it usually is */
	char *(*find)(void);              /* the URL that the node's files tell, allocated; NULL: none */
	bool (*fill)(struct round *r);    /* false: not even the connections are known; node_why tells */
};

extern const struct kind kind_kubo, kind_beacon;

#endif
