#ifndef HISTORY_H
#define HISTORY_H

/* Recent states and events by number, in one ring of bytes: the newest take the
 * room of the oldest. Clients walk through it at their own pace. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HISTORY_ITEMS = 8192,   /* at most, however small they are */
};

enum history_kind {
	HISTORY_STATE,     /* a ServerMessage */
	HISTORY_RUNTIME,   /* a ServerMessage */
	HISTORY_EVENT,     /* an Event without its type */
};

struct history_item {
	uint8_t kind;        /* enum history_kind */
	bool lost;           /* there was no room for it: it is not in the ring */
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
	size_t head;                 /* where the next item goes, if it fits before the end */
	uint64_t first;              /* number of the oldest item; they begin with 1 */
	uint64_t next;               /* number that the next item will get */
	struct history_item *items;  /* item n stands at n modulo HISTORY_ITEMS */
};

/* Reserves size bytes (untouched pages cost nothing). 0, or -1 with errno. */
int history_open(struct history *h, size_t size);
void history_close(struct history *h);

/* Lets go of the oldest items until len bytes can be added: those before h->first
 * are gone then, and nobody may be reading them when history_add is called. -1:
 * len is more than the ring holds. */
int history_make_room(struct history *h, size_t len);

/* Adds an item for which there is room and copies its bytes. offset and len of
 * *item are filled in here. */
void history_add(struct history *h, const struct history_item *item, const uint8_t *bytes,
                 size_t len);

/* The item with this number, first to next - 1, and where its bytes are. */
const struct history_item *history_item(const struct history *h, uint64_t number);

#endif
