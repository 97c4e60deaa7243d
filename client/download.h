#ifndef DOWNLOAD_H
#define DOWNLOAD_H

/* A recording that came as a whole, in the libp2p introspection file format. */

#include <stddef.h>
#include <stdint.h>

/* Finds the next message. *at: where to look, 0 at first; moved behind it. *message and *len:
 * within the file; NULL: that was all. Returns NULL, or what is wrong. */
const char *download_next(const uint8_t *file, size_t file_len, size_t *at, const uint8_t **message,
			  size_t *len);

#endif
