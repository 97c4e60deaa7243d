#ifndef LOG_H
#define LOG_H

/* Log lines on stderr, one write each: `event key=value ...`. Problems and what
 * the operator must know are always written; the course of single connections
 * (log_verbose) only with -v. Bytes that came from a peer go through
 * log_escape, so that a line stays a line and a terminal stays sane.
 *
 * Nothing here waits for whoever reads the log. A line for which a pipe, a socket or a
 * terminal has no room is lost; `log_lost lines=N` before the next one that is written says
 * how many were. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LOG_ESCAPED_MAX = 128,   /* characters that log_escape writes at most, NUL included */
	LOG_BURST = 10,          /* lines of one limit that may be written at once */
	LOG_PERIOD_MS = 1000,    /* time in which, after these, one more line may be written */
};

/* Of one kind of lines. All zero at start. */
struct log_limit {
	int64_t booked_until;    /* by the lines written so far, LOG_PERIOD_MS for each */
	uint64_t suppressed;     /* lines that were not written since the last that was */
};

/* To be called once, with stderr open, before the process gives up rights. Lines that are
 * written before may block where several processes write to one pipe. */
void log_open(void);

/* Turns log_verbose on; off at start. */
void log_set_verbose(bool on);
extern bool log_is_verbose;

/* Writes one line; the format holds the event and its pairs, without newline. */
void log_event(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* log_event with -v; without, the arguments are not evaluated. */
#define log_verbose(...) (log_is_verbose ? log_event(__VA_ARGS__) : (void)0)

/* log_event for a line that a client, a node or another process can cause as often as it
 * likes: at most LOG_BURST at once and one every LOG_PERIOD_MS after that, the last with
 * `suppressed=N` if there were more. With -v all are written. now: ms of the monotonic
 * clock. */
void log_limited(struct log_limit *limit, int64_t now, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Quotes bytes that others chose as a log value: printable ASCII as it is, all else as \xNN, cut
 * with "..." where the result would be over LOG_ESCAPED_MAX. The text is static, until the next
 * call. */
const char *log_escape(const void *bytes, size_t len);

#endif
