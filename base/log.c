#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static bool verbose;

void log_set_verbose(bool on)
{
	verbose = on;
}

static void write_line(const char *format, va_list args)
{
	char line[1024];
	int n = vsnprintf(line, sizeof line - 1, format, args);

	if (n < 0)
		return;
	size_t len = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
	line[len++] = '\n';
	for (size_t done = 0; done < len;) {
		ssize_t written = write(STDERR_FILENO, line + done, len - done);

		/* A log that cannot be written must not stop the daemon. */
		if (written == 0 || (written < 0 && errno != EINTR))
			return;
		done += written > 0 ? (size_t)written : 0;
	}
}

void log_event(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(format, args);
	va_end(args);
}

void log_verbose(const char *format, ...)
{
	va_list args;

	if (!verbose)
		return;
	va_start(args, format);
	write_line(format, args);
	va_end(args);
}

const char *log_escape(char out[LOG_ESCAPED_MAX], const void *bytes, size_t len)
{
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
