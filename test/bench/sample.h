#ifndef SAMPLE_H
#define SAMPLE_H

/* Times of which the median counts. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 21 };   /* odd, so that one is in the middle */

struct samples {
	uint64_t ns[ROUNDS];
};

/* CPU time of this process, so that other work on the machine hardly matters. */
static inline uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline int compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* In ns; sorts. */
static inline double median(struct samples *s)
{
	qsort(s->ns, ROUNDS, sizeof *s->ns, compare_ns);
	return (double)s->ns[ROUNDS / 2];
}

/* Ends the benchmark when something that it needs cannot be had. */
static inline void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

#endif
