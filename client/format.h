#ifndef FORMAT_H
#define FORMAT_H

/* Quantities in the units that people read. Each returns out. */

#include <stdint.h>

enum { FORMAT_MAX = 32 };

/* "512", "1.2K", "34M": at most 5 characters, powers of 1024. */
const char *format_brief(char out[FORMAT_MAX], uint64_t bytes);

/* "512 B", "1.2 KiB", "34 MiB". */
const char *format_bytes(char out[FORMAT_MAX], uint64_t bytes);

/* "850us", "9.2ms", "12ms", "1.2s": at most 6 characters. */
const char *format_latency(char out[FORMAT_MAX], uint64_t ns);

/* "12s", "3m", "5h", "2d", "3y": rounded down; below 1,000 years at most 4 characters. */
const char *format_age(char out[FORMAT_MAX], uint64_t ms);

#endif
