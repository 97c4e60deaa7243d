#ifndef RECORDING_H
#define RECORDING_H

/* Reads the messages of a recording, a file in the libp2p introspection file format, and
 * finds those that follow damage. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RECORDING_HEADER = 8,   /* bytes before a message: checksum, length */
};

/* One that goes through the file from its first message to its end. */
struct recording {
	int fd;                  /* borrowed */
	bool events_only;        /* other messages are passed over, unread */
	size_t max_message;      /* bytes */
	uint64_t first;          /* offset of the first message */
	uint64_t size;           /* of the file, bytes, when the pass began */
	uint64_t offset;         /* of the next header to read */
	bool searching;          /* offset is to be moved up to the next good message */
	uint64_t search_left;    /* bytes */
	uint8_t *window;         /* owned; a part of the file */
	uint64_t window_offset;
	size_t window_len;
};

/* What was found in the file. */
struct recording_message {
	uint64_t offset;       /* of its header */
	uint8_t *bytes;        /* valid until the next call; NULL: there is no intact message */
	size_t len;
	const char *what;      /* what is wrong there; NULL: nothing, or it was told before */
};

/* Looks whether fd is a recording and begins with its first message. Returns NULL, or what is
 * wrong. recording_close has to be called in any case. */
const char *recording_open(struct recording *r, int fd, size_t max_message);
void recording_close(struct recording *r);

/* Begins with the first message, in the file as it is by now. */
void recording_begin(struct recording *r);

/* Reads on by one message. Returns the bytes gone through; 0: the end of the file. */
size_t recording_next(struct recording *r, struct recording_message *m);

#endif
