#ifndef CLOCK_H
#define CLOCK_H

/* The system's clocks, in ns and in ms. Should a call of the system fail, which it does for no clock
 * that Linux has, the time that was read last is returned, of whatever clock. */

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ns(clockid_t clock)
{
	static struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t clock_ms(clockid_t clock)
{
	return clock_ns(clock) / 1000000;
}

#endif
