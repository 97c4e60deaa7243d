#ifndef DOWNLOAD_H
#define DOWNLOAD_H

/* Reads a recording in memory, in the libp2p introspection file format: the answer to GET /past. */

#include <stddef.h>
#include <stdint.h>

/* Finds the next message of the file, which has file_len bytes. *at: the offset at which to look, 0 at first,
 * which is moved behind the message. *message: points into the file; NULL: there are no more. Returns
 * NULL, or in words what is wrong with the file. */
const char *download_next(const uint8_t *file, size_t file_len, size_t *at, const uint8_t **message,
			  size_t *len);

#endif
