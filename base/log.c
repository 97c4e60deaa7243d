#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LINE_BYTES = 1024,   /* of a line, with its newline, without what log.c itself adds */
	ADDED_BYTES = 64,    /* of what log.c adds: " suppressed=N", or "log_lost lines=N" before the line */
};

bool log_is_verbose;
static int log_fd = STDERR_FILENO;
static uint64_t lost;     /* lines that could not be written since the last one that was */
static bool unfinished;   /* only a part of the last line was written */

void log_open(void)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) != 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return;
	/* O_NONBLOCK on stderr itself would be a surprise for the other processes that have it.
	 * Opened once more, the same pipe or terminal has flags of its own. */
	const int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		log_fd = fd;
}

void log_set_verbose(bool on)
{
	log_is_verbose = on;
}

/* Where log_open could not open stderr once more, this look alone keeps write() from
 * blocking: a pipe that can be written has room for a page. poll() itself fails when
 * RLIMIT_NOFILE was lowered to 0. */
static bool has_room(void)
{
	struct pollfd look = {.fd = log_fd, .events = POLLOUT};

	return poll(&look, 1, 0) < 0 || look.revents & POLLOUT;
}

/* False: not all of it could be written. */
static bool write_all(const char *text, size_t len)
{
	while (len > 0 && has_room()) {
		const ssize_t n = write(log_fd, text, len);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
			unfinished = len > 0;
		}
	}
	return len == 0;
}

/* suppressed: for the last pair of the line; 0: there is none. False: the line is lost. */
__attribute__((format(printf, 1, 0))) static bool write_line(const char *format, va_list args,
                                                             uint64_t suppressed)
{
	char text[ADDED_BYTES + LINE_BYTES + ADDED_BYTES], *at = text;

	if (lost > 0)
		at += snprintf(at, ADDED_BYTES, "%slog_lost lines=%" PRIu64 "\n", unfinished ? "\n" : "",
		               lost);
	const int n = vsnprintf(at, LINE_BYTES - 1, format, args);
	at += n < 0 ? 0 : n < LINE_BYTES - 1 ? n : LINE_BYTES - 2;
	if (suppressed > 0)
		at += snprintf(at, ADDED_BYTES, " suppressed=%" PRIu64, suppressed);
	*at++ = '\n';
	const bool written = write_all(text, (size_t)(at - text));
	lost = written ? 0 : lost + 1;
	return written;
}

void log_event(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(format, args, 0);
	va_end(args);
}

void log_limited(struct log_limit *limit, int64_t now, const char *format, ...)
{
	const int64_t free_at = limit->booked_until > now ? limit->booked_until : now;
	va_list args;

	if (!log_is_verbose && free_at - now > (LOG_BURST - 1) * (int64_t)LOG_PERIOD_MS) {
		limit->suppressed++;
		return;
	}
	limit->booked_until = free_at + LOG_PERIOD_MS;
	va_start(args, format);
	if (write_line(format, args, limit->suppressed))
		limit->suppressed = 0;
	va_end(args);
}

const char *log_escape(const void *bytes, size_t len)
{
	static char out[LOG_ESCAPED_MAX];
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p = bytes;
	size_t used = 0;

	out[used++] = '"';
	for (size_t i = 0; i < len; i++) {
		if (used + sizeof "\\xNN...\"" > LOG_ESCAPED_MAX) {
			for (int dots = 0; dots < 3; dots++)
				out[used++] = '.';
			break;
		}
		if (p[i] >= ' ' && p[i] < 0x7f && p[i] != '"' && p[i] != '\\') {
			out[used++] = (char)p[i];
		} else {
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[p[i] >> 4];
			out[used++] = hex[p[i] & 15];
		}
	}
	out[used++] = '"';
	out[used] = '\0';
	return out;
}
