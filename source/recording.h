#ifndef RECORDING_H
#define RECORDING_H

/* Reads the messages of a recording, which is a file in the libp2p introspection file format, and
 * after a damaged part finds the next intact message. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RECORDING_HEADER = 8,   /* bytes before a message: checksum, length */
};

/* A reader, which goes through the file from the first message to the end. */
struct recording {
	int fd;                  /* borrowed */
	bool events_only;        /* messages that are no Events are skipped without reading them */
	size_t max_message;      /* bytes */
	uint64_t first;          /* offset of the first message */
	uint64_t size;           /* bytes of the file when recording_begin was called */
	uint64_t offset;         /* of the header to read next */
	bool searching;          /* offset is in a damaged part; the next intact message is searched */
	uint64_t search_left;    /* bytes that may still be hashed in such searches */
	uint8_t *window;         /* owned; a part of the file */
	uint64_t window_offset;
	size_t window_len;
};

/* What recording_next found. */
struct recording_message {
	uint64_t offset;       /* in the file, of the message's header */
	uint8_t *bytes;        /* valid until the next call; NULL: there is no intact message here */
	size_t len;
	const char *what;      /* in words, what is wrong here; NULL: nothing, or this damaged part was
	                          reported before */
};

/* Prepares a reader of the file behind fd. Returns NULL, or in words why that is no recording;
 * recording_close must be called in both cases. */
const char *recording_open(struct recording *r, int fd, size_t max_message);
void recording_close(struct recording *r);

/* Goes back to the first message, and looks how long the file is now. */
void recording_begin(struct recording *r);

/* Reads one message, or takes one step of a search. Returns the bytes that were gone through, a
 * measure of its work; 0: the end of the file. */
size_t recording_next(struct recording *r, struct recording_message *m);

#endif
