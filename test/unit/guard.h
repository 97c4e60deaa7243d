#ifndef GUARD_H
#define GUARD_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARDED_MAX = 1 << 20 };   /* bytes */

/* Copies len bytes, at most GUARDED_MAX, to the end of a page behind which nothing can be read, so that a parser
 * that reads too far crashes. The copy is valid until the next call. */
static inline void *guarded(const void *bytes, size_t len)
{
	static uint8_t *end;

	assert(len <= GUARDED_MAX);
	if (!end) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		uint8_t *start = mmap(NULL, GUARDED_MAX + page, PROT_READ | PROT_WRITE,
		                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		assert(start != MAP_FAILED);
		end = start + GUARDED_MAX;
		int forbidden = mprotect(end, page, PROT_NONE);
		assert(forbidden == 0);
	}
	return memcpy(end - len, bytes, len);
}

#endif
