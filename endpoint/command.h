#ifndef COMMAND_H
#define COMMAND_H

/* The command protocol of libp2p introspection v1, as the observer toolkit speaks it: the client
 * sends commands, the daemon sends answers, and pushes states and events. No I/O.
 *
 * Pushing states is pulling on behalf of the client: once an interval the client counts as ready.
 * States that are due while a client is paused go to the history, where every item has a number;
 * a client that resumes reads on from the number where it stopped. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "endpoint/history.h"
#include "introspection.pb-c.h"
#include "ws.h"

enum {
	COMMAND_MESSAGE_MAX = 4096,   /* bytes of a ClientCommand */
	COMMAND_FRAME_MAX = 22,       /* bytes before a message: header, version, checksum, length */
	COMMAND_OUT_MAX = 11 << 10,   /* bytes of an answer or event with its COMMAND_FRAME_MAX */
	COMMAND_INTERVAL_MIN = 500,   /* ms */
	COMMAND_INTERVAL_MAX = INT32_MAX,
	COMMAND_INTERVAL = 1000,      /* ms, if the client does not configure it */
	COMMAND_RETENTION = 120000,   /* ms, if the client does not configure it; also the most */
	EVENT_MAX = 8192,             /* bytes of an encoded Event without its type */
	EVENT_TYPES_MAX = 64,
	EVENT_TYPE_MAX = 1024,        /* bytes of an encoded EventType */
};

struct event_type {
	uint64_t visit;                   /* visit (see struct commands) in which it was named last */
	uint64_t last;                    /* number of the newest event of this type in the history */
	char name[64];
	size_t len;                       /* bytes of encoded; 0: the node never told its properties */
	uint8_t encoded[EVENT_TYPE_MAX];
};

/* What all clients of the protocol share. */
struct commands {
	struct history history;
	struct event_type types[EVENT_TYPES_MAX];
	size_t type_count;
	uint64_t types_replaced;          /* how often a type took the place of another in types */
	int64_t interval;                 /* ms, of the daemon: clients get no shorter one */
	struct log_limit drops;           /* limits the log lines about dropped events */
	uint64_t runtime;                 /* number of the newest item of the history with a Runtime */
	uint64_t runtime_packed;          /* *runtime_changes when that item was made */

	/* Set by the owner: how often the Runtime has changed (NULL: unknown, compare it each
	 * time), and how many nodes have connected so far. A visit is the connection of one
	 * node: types of earlier visits make room for new ones. */
	const uint64_t *runtime_changes;
	uint64_t visit;

	/* Set by the owner. Called before the items with numbers below first are written over:
	 * the owner must stop clients that are being sent one of them, and call command_forget
	 * for all others. */
	void (*evict)(void *arg, uint64_t first);
	void *evict_arg;
};

/* One client. All zero is one that has not said HELLO. */
struct command {
	bool hello;
	bool push_states;
	bool push_events;
	bool paused;
	bool discarded;          /* something was dropped; the client must be sent a notice */
	bool told;               /* the last thing sent from the history was a notice, so what is
	                            dropped now needs no further one */
	unsigned requests;       /* REQUESTs of a state that were not answered yet */
	uint64_t retention;      /* ms */
	uint64_t interval;       /* ms */
	int64_t pushed_at;       /* ms; when a state was last pushed, or put in the history instead */
	int64_t state_at;        /* ms; when the last pushed state was taken */
	int64_t keep_from;       /* ms; states of the pause that are older are dropped (retention) */
	uint64_t states_from;    /* the client wants states of the history from this number on */
	uint64_t events_from;    /* the client wants events of the history from this number on */
	uint64_t cursor;         /* number of the next item of the history to look at */
	uint64_t held_until;     /* items below this number date from before the client resumed */
	uint64_t known_types;    /* bit n: the client was sent the properties of types[n] */
	uint64_t types_replaced; /* known_types is valid only if this equals that of struct commands */
	bool complete;           /* in holds a whole command, which was not carried out yet */
	size_t message_len;      /* bytes in in */
	uint8_t in[COMMAND_MESSAGE_MAX];
	uint8_t out[COMMAND_OUT_MAX];
};

/* A frame to send: len bytes at at, in command.out, then those of body. */
struct command_frame {
	const uint8_t *at;
	size_t len;
	const uint8_t *body;    /* in the history; NULL: none */
	size_t body_len;
	uint64_t number;        /* of the item of the history in body */
	uint64_t sequence;      /* of the State in the frame; 0: it holds none */
};

/* Allocates the history. 0, or -1 with errno. */
int commands_open(struct commands *all, size_t history_bytes);
void commands_close(struct commands *all);

/* Takes in an encoded Event, which must be well-formed, and learns its type's properties from the
 * Event or the Runtime. wanted: some client reads events, so it goes to the history. Returns
 * NULL, or in words what is wrong with the Event. An Event over a limit is dropped, with a line
 * in the log (log_limited) and a notice for the clients that read events. */
const char *commands_event(struct commands *all, const uint8_t *event, size_t len,
                           const Introspection__Runtime *runtime, bool wanted, int64_t now);

/* Puts a state (an encoded ServerMessage) in the history, for clients that are paused. */
void commands_state(struct commands *all, const uint8_t *message, size_t len, uint32_t checksum,
                    uint64_t sequence, int64_t now);

/* Takes in the next part of a command; end: the last part. Must not be called while complete is
 * set, nor with more than COMMAND_MESSAGE_MAX bytes for one command. */
void command_input(struct command *c, const uint8_t *data, size_t len, bool end);

/* Carries out the complete command. 1: *frame is the answer. 0: the answer is a state, which
 * requests now counts. Below 0: the client is to be closed with this code, negated. */
int command_answer(struct command *c, struct commands *all, const Introspection__Runtime *runtime,
                   int64_t now, struct command_frame *frame);

/* To be called before the items with numbers below first are written over: notes whether the
 * client loses something by it. */
void command_forget(struct command *c, const struct commands *all, uint64_t first);

/* Finds what is to be pushed to the client from the history next: a state, an event or a notice.
 * last: sequence number of the last state sent to the client. False: nothing. */
bool command_push(struct command *c, const struct commands *all, uint64_t last,
                  struct command_frame *frame);

/* Writes the header of the frame, and what precedes the message in it, for a state of this length
 * and checksum into c->out. */
struct command_frame command_state(struct command *c, size_t len, uint32_t checksum);

/* Does the client have states pushed, and is not paused? */
bool command_pushes(const struct command *c);

/* When a snapshot is to be taken for what is pushed to this client; INT64_MAX: never. events: the
 * source notices events only when a snapshot is taken. */
int64_t command_due(const struct command *c, bool events);

#endif
