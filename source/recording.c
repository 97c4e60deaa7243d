#include "recording.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "wire.h"

enum {
	FILE_VERSION = 1,
	TEXT_VERSION = 0x30303031,   /* "1000": the version as the observer toolkit's UI writes it */
	WORD = 4,                    /* bytes of the version */
	READ_MIN = 65536,            /* bytes asked of the file in one read, at least */
	SEARCH_MAX = 256 << 20,      /* bytes hashed in searches, from the first message to the end */
	PEEK = 16,                   /* first bytes of a message, which show the kind of its payload */
};

static uint32_t little_endian(const uint8_t *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof n);
	return le32toh(n);
}

/* n bytes of the file at offset, valid until the next call. NULL: the file does not have them. */
static uint8_t *file_bytes(struct recording *r, uint64_t offset, size_t n)
{
	if (offset < r->window_offset || offset + n > r->window_offset + r->window_len) {
		size_t want = n > READ_MIN ? n : READ_MIN;
		ssize_t got = 1;

		r->window_offset = offset;
		r->window_len = 0;
		while (r->window_len < want && got > 0) {
			do
				got = pread(r->fd, r->window + r->window_len, want - r->window_len,
				            (off_t)(offset + r->window_len));
			while (got < 0 && errno == EINTR);
			if (got > 0)
				r->window_len += (size_t)got;
		}
		if (got < 0)
			log_event("replay_error offset=%" PRIu64 " reason=\"%s\"",
			          offset + r->window_len, strerror(errno));
		if (got <= 0 && r->size > offset + r->window_len)
			r->size = offset + r->window_len;   /* the file became shorter, or cannot be read */
	}
	if (offset + n > r->window_offset + r->window_len)
		return NULL;
	return r->window + (offset - r->window_offset);
}

/* Length in bytes of the message whose header is at offset. 0: the header makes no sense, and
 * *what says why. */
static size_t message_len(struct recording *r, uint64_t offset, const char **what)
{
	const uint8_t *header = NULL;

	if (offset + RECORDING_HEADER <= r->size)
		header = file_bytes(r, offset, RECORDING_HEADER);
	if (!header) {
		*what = "header is cut off";
		return 0;
	}
	uint32_t len = little_endian(header + 4);
	if (len == 0)
		*what = "message is empty";
	else if (len > r->max_message)
		*what = "message is over the limit";
	else if (offset + RECORDING_HEADER + len > r->size)
		*what = "message runs past the end of the file";
	else
		return len;
	return 0;
}

/* The message of len bytes whose header is at r->offset. NULL: its checksum is wrong. */
static uint8_t *intact_message(struct recording *r, size_t len)
{
	uint8_t *header = file_bytes(r, r->offset, RECORDING_HEADER + len);

	if (!header || wire_checksum(header + RECORDING_HEADER, len) != little_endian(header))
		return NULL;
	return header + RECORDING_HEADER;
}

/* Is it certain, by its first bytes, that the message at r->offset is not wanted? */
static bool is_unwanted(struct recording *r, size_t len)
{
	const size_t n = len < PEEK ? len : PEEK;
	const uint8_t *header = r->events_only ? file_bytes(r, r->offset, RECORDING_HEADER + n) : NULL;

	if (!header)
		return false;
	const uint8_t *at = header + RECORDING_HEADER, *end = at + n;
	while (end - at >= 2 && at[0] == (1 << 3 | WIRE_LEN) && at[1] < end - at - 2)   /* version */
		at += 2 + at[1];
	return at < end && at[0] >> 3 >= INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE &&
	       at[0] >> 3 <= INTROSPECTION__SERVER_MESSAGE__PAYLOAD_NOTICE &&
	       at[0] >> 3 != INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT;
}

/* One step of the search for the next intact message: does one begin at r->offset? Returns the
 * bytes gone through, at least 1. */
static size_t search(struct recording *r, struct recording_message *m)
{
	const char *ignored;
	size_t len = message_len(r, r->offset, &ignored);
	const uint8_t *header = len > 0 ? file_bytes(r, r->offset, RECORDING_HEADER + 1) : NULL;

	/* A ServerMessage begins with the tag of its version or of its payload. That is looked at
	 * first, since to hash a message costs far more. */
	if (!header || (header[RECORDING_HEADER] & 7) != 2 || header[RECORDING_HEADER] >> 3 > 6) {
		r->offset++;
		return 1;
	}
	if (intact_message(r, len)) {
		r->searching = false;
	} else if (r->search_left >= len) {
		r->search_left -= len;
		r->offset++;
	} else {
		m->what = "too much damage";
		r->offset = r->size;
	}
	return len;
}

size_t recording_next(struct recording *r, struct recording_message *m)
{
	const char *ignored;

	*m = (struct recording_message){.offset = r->offset};
	if (r->offset >= r->size) {
		r->searching = false;
		return 0;
	}
	if (r->searching)
		return search(r, m);
	m->len = message_len(r, r->offset, &m->what);
	uint64_t after = r->offset + RECORDING_HEADER + m->len;
	/* The length of a message that is not hashed is trusted if a sensible header follows it. */
	if (m->len > 0 && is_unwanted(r, m->len) &&
	    (after == r->size || message_len(r, after, &ignored) > 0)) {
		r->offset = after;
		return RECORDING_HEADER;
	}
	m->bytes = m->len > 0 ? intact_message(r, m->len) : NULL;
	/* Asked again, since the file may have become shorter while the message was read. */
	if (!m->bytes && message_len(r, r->offset, &m->what) > 0)
		m->what = "checksum is wrong";
	if (m->bytes || (m->len > 0 && message_len(r, after, &ignored) > 0)) {
		r->offset = after;
	} else {
		r->searching = true;
		r->offset++;
	}
	return RECORDING_HEADER + m->len;
}

void recording_begin(struct recording *r)
{
	struct stat st;

	if (fstat(r->fd, &st) == 0)
		r->size = (uint64_t)st.st_size;
	r->offset = r->first;
	r->window_len = 0;
	r->search_left = SEARCH_MAX;
}

const char *recording_open(struct recording *r, int fd, size_t max_message)
{
	*r = (struct recording){
		.fd = fd,
		.max_message = max_message,
		.window = malloc(RECORDING_HEADER + max_message + READ_MIN),
	};
	if (!r->window)
		return strerror(ENOMEM);
	recording_begin(r);
	const uint8_t *version = file_bytes(r, 0, WORD);
	if (!version)
		return "no recording: too short";
	/* The toolkit's UI writes TEXT_VERSION in place of the version, or before it. */
	r->first = WORD;
	if (little_endian(version) == TEXT_VERSION) {
		const uint8_t *second = file_bytes(r, WORD, WORD);

		if (second && little_endian(second) == FILE_VERSION)
			r->first += WORD;
	} else if (little_endian(version) != FILE_VERSION) {
		return "no recording: file version is not 1";
	}
	recording_begin(r);
	return NULL;
}

void recording_close(struct recording *r)
{
	free(r->window);
	r->window = NULL;
}
