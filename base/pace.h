#ifndef PACE_H
#define PACE_H

/* How fast a client takes what is sent to it. Times are ms of the monotonic clock. */

#include <stddef.h>
#include <stdint.h>

enum { PACE_MS = 1000 };   /* over which it is measured */

/* All zero: nothing was sent. */
struct pace {
	size_t bytes, before;   /* in this period of PACE_MS, and in the one before */
	int64_t since;          /* when this one began */
};

/* The client took that many bytes. */
static inline void pace_add(struct pace *p, size_t bytes, int64_t now)
{
	if (now - p->since >= PACE_MS) {
		p->before = now - p->since < 2 * PACE_MS ? p->bytes : 0;
		p->bytes = 0;
		p->since = now;
	}
	p->bytes += bytes;
}

/* Bytes that the client took in the present period and the one before. A client that has just come
 * takes at once as many as the kernel keeps for its socket (LISTEN_UNSENT). */
static inline size_t pace_now(const struct pace *p, int64_t now)
{
	return now - p->since < PACE_MS       ? p->bytes + p->before
	       : now - p->since < 2 * PACE_MS ? p->bytes
	                                      : 0;
}

#endif
