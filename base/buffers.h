#ifndef BUFFERS_H
#define BUFFERS_H

/* Buffers of one size, reserved at once: untouched ones cost nothing. */

#include <stddef.h>

struct buffers {
	size_t size;          /* bytes of one */
	char *all, *unused;   /* unused: from here on none was ever taken */
	void *given;          /* those that were given back, each pointing to the next */
};

/* 0, or -1: there is no memory. */
int buffers_open(struct buffers *b, size_t count, size_t size);
void buffers_close(struct buffers *b);

/* One of them, with whatever stands in it. No more than count may be taken at a time. */
void *buffers_take(struct buffers *b);

/* buffer may be NULL. */
void buffers_give(struct buffers *b, void *buffer);

#endif
