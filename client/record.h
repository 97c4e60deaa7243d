#ifndef RECORD_H
#define RECORD_H

/* Recordings, in the libp2p introspection file format: a version, then messages
 * with their checksum and length. What has been written is a valid file after
 * every call, failed ones included, as long as the file can be truncated. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct record {
	int fd;
	const char *path;    /* borrowed */
	bool created;        /* record_open made the file: it is removed again if nothing is recorded */
	off_t end;           /* of the last whole message */
	uint64_t messages;   /* snapshots; counted by the owner */
};

/* path: a file that must not exist yet, unless overwrite, or "-" for standard
 * output. 0, or -1 with errno. */
int record_open(struct record *r, const char *path, bool overwrite);

/* Appends an encoded ServerMessage. 0, or -1 with errno and the file as it was. */
int record_write(struct record *r, const uint8_t *message, size_t len);

/* Closes the file. 0, or -1 with errno: what was written may not have reached the disk. */
int record_close(struct record *r);

#endif
