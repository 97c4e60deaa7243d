#ifndef HISTORY_H
#define HISTORY_H

/* Recent states and events in one ring of bytes; new items write over the oldest. Items are
 * numbered, so that each client can read on from where it stopped. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HISTORY_ITEMS = 8192,   /* items that the history holds at most, however small they are */
};

enum history_kind {
	HISTORY_STATE,     /* a ServerMessage */
	HISTORY_RUNTIME,   /* a ServerMessage */
	HISTORY_EVENT,     /* an Event without its type */
};

struct history_item {
	uint8_t kind;        /* enum history_kind */
	bool lost;           /* stands for an item that was dropped: its bytes are not in the ring */
	int8_t event_type;   /* of an event: its number among the types */
	uint32_t checksum;   /* of a ServerMessage: FNV-1a */
	uint64_t sequence;   /* of a state */
	int64_t time;        /* ms, monotonic */
	size_t offset;       /* in the ring */
	size_t len;          /* bytes */
};

struct history {
	uint8_t *ring;
	size_t size;                 /* bytes of the ring */
	size_t head;                 /* where the next item begins if it fits there, else at 0 */
	uint64_t first;              /* number of the oldest item; numbers begin with 1 */
	uint64_t next;               /* number that the next item will get */
	struct history_item *items;  /* item n stands at n modulo HISTORY_ITEMS */
};

/* Allocates a ring of size bytes; the kernel gives pages when they are used. 0, or -1 with
 * errno. */
int history_open(struct history *h, size_t size);
void history_close(struct history *h);

/* Drops the oldest items, by raising h->first, until len bytes can be added. Their bytes are
 * written over by history_add, so nobody may read them by then. -1: len is over the ring's
 * size. */
int history_make_room(struct history *h, size_t len);

/* Adds an item and copies its bytes; history_make_room(len) must come first. offset and len of
 * *item are ignored. */
void history_add(struct history *h, const struct history_item *item, const uint8_t *bytes,
                 size_t len);

/* The item with this number, which must be first to next - 1. */
const struct history_item *history_item(const struct history *h, uint64_t number);

#endif
