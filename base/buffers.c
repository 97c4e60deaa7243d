#include "base/buffers.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16 };

int buffers_open(struct buffers *b, size_t count, size_t size)
{
	*b = (struct buffers){.size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT};
	b->all = b->unused = calloc(count, b->size);
	return b->all ? 0 : -1;
}

void buffers_close(struct buffers *b)
{
	free(b->all);
	*b = (struct buffers){0};
}

void *buffers_take(struct buffers *b)
{
	void *buffer = b->given;

	if (buffer) {
		memcpy(&b->given, buffer, sizeof b->given);
	} else {
		buffer = b->unused;
		b->unused += b->size;
	}
	return buffer;
}

void buffers_give(struct buffers *b, void *buffer)
{
	if (!buffer)
		return;
	memcpy(buffer, &b->given, sizeof b->given);
	b->given = buffer;
}
