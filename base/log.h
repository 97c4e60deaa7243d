#ifndef LOG_H
#define LOG_H

/* Log lines on stderr, one write each: `event key=value ...`. Problems and what
 * the operator must know are always written; the course of single connections
 * (log_verbose) only with -v. Bytes that came from a peer go through
 * log_escape, so that a line stays a line and a terminal stays sane. */

#include <stdbool.h>
#include <stddef.h>

enum { LOG_ESCAPED_MAX = 128 };   /* characters that log_escape writes at most, NUL included */

/* Turns log_verbose on; off at start. */
void log_set_verbose(bool on);

/* Writes one line; the format holds the event and its pairs, without newline. */
void log_event(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Quotes peer bytes as a log value: printable ASCII as it is, all else as \xNN,
 * cut with "..." when out is full. Returns out. */
const char *log_escape(char out[LOG_ESCAPED_MAX], const void *bytes, size_t len);

#endif
