#ifndef FUZZ_H
#define FUZZ_H

/* What the fuzz targets have in common: the input as a script that is read from its
 * beginning to its end, and copies that end where the sanitizer sees it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Stands in for assert(), which writes to a stderr that is full of log lines. */
#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

struct input {
	const uint8_t *at;
	size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0 after the end. */
static inline uint8_t take_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

/* Copies up to n bytes and returns how many there were. */
static inline size_t take_bytes(struct input *in, void *out, size_t n)
{
	n = n < in->left ? n : in->left;
	memcpy(out, in->at, n);
	in->at += n;
	in->left -= n;
	return n;
}

/* A copy of exactly these bytes, to be freed. */
static inline void *copy_of(const void *bytes, size_t n)
{
	void *copy = malloc(n > 0 ? n : 1);

	CHECK(copy);
	memcpy(copy, bytes, n);
	return copy;
}

#endif
