#include "endpoint/history.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int history_open(struct history *h, size_t size)
{
	*h = (struct history){
		.ring = malloc(size),
		.size = size,
		.first = 1,
		.next = 1,
		.items = calloc(HISTORY_ITEMS, sizeof *h->items),
	};
	if (h->ring && h->items)
		return 0;
	history_close(h);
	return -1;
}

void history_close(struct history *h)
{
	free(h->ring);
	free(h->items);
	*h = (struct history){0};
}

const struct history_item *history_item(const struct history *h, uint64_t number)
{
	return &h->items[number % HISTORY_ITEMS];
}

int history_make_room(struct history *h, size_t len)
{
	if (len > h->size)
		return -1;
	bool wraps = len > h->size - h->head;
	size_t start = wraps ? 0 : h->head;

	for (; h->first < h->next; h->first++) {
		const struct history_item *oldest = history_item(h, h->first);
		bool in_gap = wraps && oldest->offset >= h->head;
		bool in_the_way = oldest->offset < start + len && oldest->offset + oldest->len > start;

		if (!in_gap && !in_the_way && h->next - h->first < HISTORY_ITEMS)
			break;
	}
	h->head = start;
	return 0;
}

void history_add(struct history *h, const struct history_item *item, const uint8_t *bytes,
                 size_t len)
{
	struct history_item *added = &h->items[h->next % HISTORY_ITEMS];

	*added = *item;
	added->offset = h->head;
	added->len = len;
	memcpy(h->ring + h->head, bytes, len);
	h->head += len;
	h->next++;
}
