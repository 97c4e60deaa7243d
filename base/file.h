#ifndef FILE_H
#define FILE_H

/* Files that the options name. */

#include <stddef.h>
#include <sys/types.h>

enum { FILE_WAIT_MS = 1000 };   /* how long file_read waits for a FIFO or a device */

/* Reads the beginning of a file, at most size bytes, with read(): stdio would leave a copy of a
 * secret in its own buffer. A FIFO without a writer does not hold the daemon up: after FILE_WAIT_MS
 * the error is ENODATA. Returns the bytes read, or -1 with errno. */
ssize_t file_read(const char *file, void *into, size_t size);

/* Logs a warning if the mode of a file that holds a secret lets everybody read it. */
void file_warn_readable(const char *file);

#endif
