#ifndef COMMAND_H
#define COMMAND_H

/* The command protocol of libp2p introspection v1, as the observer toolkit speaks
 * it: commands of the client in, answers and pushed states and events out. No
 * I/O. Push is the ready flag of the pull protocol, set again each interval;
 * what a paused client misses is found in the history, by number. */

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
	COMMAND_OUT_MAX = 11 << 10,   /* bytes of an answer or event, with all that stands before */
	COMMAND_INTERVAL_MIN = 500,   /* ms */
	COMMAND_INTERVAL_MAX = INT32_MAX,
	COMMAND_INTERVAL = 1000,      /* ms, unless the client says otherwise */
	COMMAND_RETENTION = 120000,   /* ms, likewise, and at most */
	EVENT_MAX = 8192,             /* bytes of an encoded Event without its type */
	EVENT_TYPES_MAX = 64,
	EVENT_TYPE_MAX = 1024,        /* bytes of an encoded EventType */
};

struct event_type {
	uint64_t visit;                   /* of the node that named it last */
	uint64_t last;                    /* number of the last event of it in the history */
	char name[64];
	size_t len;                       /* bytes of encoded; 0: its properties are not known */
	uint8_t encoded[EVENT_TYPE_MAX];
};

/* What all clients of the protocol share. */
struct commands {
	struct history history;
	struct event_type types[EVENT_TYPES_MAX];
	size_t type_count;
	uint64_t types_replaced;          /* types that gave up their places for others */
	int64_t interval;                 /* ms, the daemon's */
	struct log_limit drops;           /* of log lines on dropped events */
	uint64_t runtime;                 /* number of the item that holds, or held, the Runtime */
	uint64_t runtime_packed;          /* *runtime_changes when it was put there */

	/* Set by the owner: the count of changes of the Runtime, NULL: it may change at any time;
	 * and the count of nodes so far. Types belong to a node's visit: those of nodes that are
	 * gone make room for others. */
	const uint64_t *runtime_changes;
	uint64_t visit;

	/* Set by the owner. Called before items of the history with lower numbers
	 * are written over: whoever is reading one of them must stop, and all
	 * clients must be told (command_forget). */
	void (*evict)(void *arg, uint64_t first);
	void *evict_arg;
};

/* One client. All zero is one that has not said HELLO. */
struct command {
	bool hello;
	bool push_states;
	bool push_events;
	bool paused;
	bool discarded;          /* something was dropped, and the client is to be sent a notice of it */
	bool told;               /* the client was sent a notice, and nothing from the history after it:
	                            what is dropped now needs no other notice */
	unsigned requests;       /* states asked for and not sent yet */
	uint64_t retention;      /* ms */
	uint64_t interval;       /* ms */
	int64_t pushed_at;       /* ms; when a snapshot was last pushed, or taken to be held back */
	int64_t state_at;        /* ms; time of the last state that was pushed */
	int64_t keep_from;       /* ms; what was held back and is older is too old for it */
	uint64_t states_from;    /* numbers of the history from which on it wants states ... */
	uint64_t events_from;    /* ... and events */
	uint64_t cursor;         /* the next item of the history to look at */
	uint64_t held_until;     /* items before this number were held back, until it resumed */
	uint64_t known_types;    /* bit n: it was sent what type n looks like, ... */
	uint64_t types_replaced; /* ... as long as this is as in struct commands */
	bool complete;           /* a whole message waits for its answer */
	size_t message_len;      /* bytes of the message, or of what has come of it */
	uint8_t in[COMMAND_MESSAGE_MAX];
	uint8_t out[COMMAND_OUT_MAX];
};

/* Something to send: a frame that begins in command.out and, with body, goes on
 * there. */
struct command_frame {
	const uint8_t *at;
	size_t len;
	const uint8_t *body;    /* in the history; NULL: none */
	size_t body_len;
	uint64_t number;        /* of the item that body belongs to */
	uint64_t sequence;      /* of a state; 0: it is none */
};

/* Reserves history_bytes. 0, or -1 with errno. */
int commands_open(struct commands *all, size_t history_bytes);
void commands_close(struct commands *all);

/* Takes in an encoded Event that is well-formed; what runtime says of its type is
 * learned. wanted: somebody wants it, put it in the history. Returns NULL, or what is
 * wrong with it. One that is over a limit is dropped, which the log tells (log_limited),
 * and a notice those who wanted it. */
const char *commands_event(struct commands *all, const uint8_t *event, size_t len,
                           const Introspection__Runtime *runtime, bool wanted, int64_t now);

/* Puts a state (an encoded ServerMessage) in the history for those that paused. */
void commands_state(struct commands *all, const uint8_t *message, size_t len, uint32_t checksum,
                    uint64_t sequence, int64_t now);

/* Takes in the next part of a message; with end, its last. None may be complete. A
 * message has at most COMMAND_MESSAGE_MAX bytes. */
void command_input(struct command *c, const uint8_t *data, size_t len, bool end);

/* Carries out the command that is complete. 1: *frame is the answer; 0: there is none but
 * the state that was requested; < 0: a close code, negated. */
int command_answer(struct command *c, struct commands *all, const Introspection__Runtime *runtime,
                   int64_t now, struct command_frame *frame);

/* Items of the history before this number are about to be written over: notes
 * whether the client loses something. */
void command_forget(struct command *c, const struct commands *all, uint64_t first);

/* The next thing that is pushed to the client from the history. last: sequence
 * number of the last state sent to it. False: nothing is due. */
bool command_push(struct command *c, const struct commands *all, uint64_t last,
                  struct command_frame *frame);

/* Writes what stands before a state of this length and checksum into c->out. */
struct command_frame command_state(struct command *c, size_t len, uint32_t checksum);

/* Are states pushed to the client now, rather than held back or not at all? */
bool command_pushes(const struct command *c);

/* When a snapshot is next wanted for this client though it did not ask; INT64_MAX:
 * never. events: the source sees events only when a snapshot is taken. */
int64_t command_due(const struct command *c, bool events);

#endif
