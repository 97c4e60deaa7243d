#ifndef BUFFERS_H
#define BUFFERS_H

/* Buffers of one size, all reserved at start. A buffer that was never taken costs no memory, since the
 * kernel gives none to pages that are not touched. */

#include <stddef.h>

struct buffers {
	size_t size;          /* bytes of one */
	char *all, *unused;   /* unused: from here on none was ever taken */
	void *given;          /* those that were given back, each pointing to the next */
};

/* Reserves count buffers of at least size bytes, aligned to 16. 0, or -1: there is no memory. */
int buffers_open(struct buffers *b, size_t count, size_t size);
void buffers_close(struct buffers *b);

/* Takes a buffer, with whatever its last owner left in it. The caller sees to it that no more than
 * count are taken at a time. */
void *buffers_take(struct buffers *b);

/* Gives a buffer back. NULL: does nothing. */
void buffers_give(struct buffers *b, void *buffer);

#endif
