/* A recording stands for a node: its states become current at the pace at which
 * they were taken, beginning with the first take. The reader is always one
 * state ahead, since only that one's time says how long the one before lasts. */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "source.h"
#include "wire.h"

enum {
	FILE_VERSION = 1,
	FILE_HEADER = 4,          /* bytes: the version */
	HEADER = 8,               /* bytes before a message: checksum, length */
	GAP_MAX = 3600 * 1000,    /* ms between two states that is believed */
	GAP_DEFAULT = 1000,       /* ms used instead of one that is not */
	READ_MIN = 65536,         /* bytes read from the file at once, or more */
	TAKE_MAX = 1 << 20,       /* bytes gone through in one take before others have their turn */
	BEHIND_MS = 1000,         /* of reading, after which the state it got to has to do */
	SEARCH_MAX = 256 << 20,   /* bytes hashed per pass in looking for what follows damage */
	DAMAGE_LINES = 100,       /* lines about damage that are logged at most */
};

struct replay {
	struct source source;
	int fd;
	bool loop;
	size_t max_message;          /* bytes */
	uint64_t size;               /* of the file, bytes, when the pass began */
	uint64_t offset;             /* of the next header to read */
	bool searching;              /* offset is to be moved up to the next good message */
	uint64_t search_left;        /* bytes */
	bool ended;                  /* nothing is read any more */
	unsigned long states;        /* read so far */
	unsigned long pass_states;   /* of them in this pass */
	unsigned long skipped;       /* damaged messages so far */

	uint8_t *window;             /* owned; a part of the file */
	uint64_t window_offset;
	size_t window_len;

	bool started;                /* a state was asked for */
	bool waiting;                /* and could not be given */
	int64_t behind;              /* ms, monotonic; since when one is asked for while some that are
	                                due were not read; 0: they were, or one was given */
	uint8_t *next;               /* owned; the state that was read ahead */
	size_t next_len;
	bool have_next;
	uint64_t instant;            /* its instant_ts, ms */
	int64_t due;                 /* ms, monotonic; when it becomes current */
	uint8_t *current;            /* owned */
	size_t current_len;
	bool have_current;           /* and it was not taken yet */

	Introspection__Runtime *next_runtime;   /* owned; valid from the next state on, or NULL */
	Introspection__Runtime *runtime;        /* owned; source.runtime points to what it has */
};

static uint32_t little_endian(const uint8_t *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof n);
	return le32toh(n);
}

/* n bytes of the file, valid until the next call. NULL when it does not have them. */
static uint8_t *file_bytes(struct replay *r, uint64_t offset, size_t n)
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
			r->size = offset + r->window_len;   /* it became shorter, or is broken */
	}
	if (offset + n > r->window_offset + r->window_len)
		return NULL;
	return r->window + (offset - r->window_offset);
}

/* Bytes of the message whose header is at offset; 0 and *what when that cannot be. */
static size_t message_len(struct replay *r, uint64_t offset, const char **what)
{
	const uint8_t *header = NULL;

	if (offset + HEADER <= r->size)
		header = file_bytes(r, offset, HEADER);
	if (!header) {
		*what = "header is cut off";
		return 0;
	}
	uint32_t len = little_endian(header + 4);
	if (len == 0)
		*what = "message is empty";
	else if (len > r->max_message)
		*what = "message is over the limit";
	else if (offset + HEADER + len > r->size)
		*what = "message runs past the end of the file";
	else
		return len;
	return 0;
}

/* The message of len bytes whose header is at r->offset; NULL when its checksum is another. */
static uint8_t *intact_message(struct replay *r, size_t len)
{
	uint8_t *header = file_bytes(r, r->offset, HEADER + len);

	if (!header || wire_checksum(header + HEADER, len) != little_endian(header))
		return NULL;
	return header + HEADER;
}

static void queue_state(struct replay *r, const struct wire_payload *payload)
{
	uint64_t instant;

	memcpy(r->next, payload->bytes, payload->len);
	r->next_len = wire_strip_state(r->next, payload->len, &instant);
	r->have_next = true;
	r->states++;
	r->pass_states++;
	bool credible = instant > r->instant && instant - r->instant <= GAP_MAX;
	r->due += credible ? (int64_t)(instant - r->instant) : GAP_DEFAULT;
	r->instant = instant;
}

/* Returns NULL, or what is wrong with the message, at *byte of it. */
static const char *use_message(struct replay *r, uint8_t *message, size_t len, int64_t now,
                               size_t *byte)
{
	struct wire_payload payload;
	struct wire_error error;

	if (!wire_check(&introspection__server_message__descriptor, message, len, &error) ||
	    !wire_payload(message, len, &payload, &error)) {
		*byte = error.offset;
		return error.what;
	}
	if (payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE) {
		queue_state(r, &payload);
	} else if (payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT) {
		if (r->source.event)
			return r->source.event(r->source.event_arg, payload.bytes, payload.len,
			                       now);
	} else if (payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME) {
		if (payload.len > WIRE_RUNTIME_MAX)
			return "runtime is too long";
		introspection__runtime__free_unpacked(r->next_runtime, NULL);
		r->next_runtime = introspection__runtime__unpack(NULL, payload.len, payload.bytes);
		if (!r->next_runtime)
			return "out of memory";
	}
	return NULL;
}

static bool first_pass(const struct replay *r)
{
	return r->states == r->pass_states;
}

/* Looks whether a message begins at r->offset, in the search for the one that follows where a
 * length made no sense. Returns the bytes gone through, at least 1. */
static size_t search(struct replay *r)
{
	const char *ignored;
	size_t len = message_len(r, r->offset, &ignored);
	const uint8_t *header = len > 0 ? file_bytes(r, r->offset, HEADER + 1) : NULL;

	/* A ServerMessage begins with the tag of its version or payload: that
	 * much is worth a look before reading and hashing all of it. */
	if (!header || (header[HEADER] & 7) != 2 || header[HEADER] >> 3 > 6) {
		r->offset++;
		return 1;
	}
	if (intact_message(r, len)) {
		r->searching = false;
	} else if (r->search_left >= len) {
		r->search_left -= len;
		r->offset++;
	} else {
		if (first_pass(r))
			log_event("replay_stopped offset=%" PRIu64 " reason=\"too much damage\"",
			          r->offset);
		r->offset = r->size;
	}
	return len;
}

static void begin_pass(struct replay *r)
{
	struct stat st;

	if (fstat(r->fd, &st) == 0)
		r->size = (uint64_t)st.st_size;
	r->offset = FILE_HEADER;
	r->window_len = 0;
	r->search_left = SEARCH_MAX;
	r->pass_states = 0;
}

static void end_pass(struct replay *r, int64_t now)
{
	r->searching = false;
	if (r->loop && r->pass_states > 0) {
		begin_pass(r);
		/* What nobody watched is not caught up with for more than one pass. */
		if (r->due < now - GAP_DEFAULT)
			r->due = now - GAP_DEFAULT;
		return;
	}
	r->ended = true;
	if (r->states > 0)
		log_event("replay_done states=%lu skipped=%lu", r->states, r->skipped);
}

static void log_skipped(struct replay *r, size_t byte, const char *what)
{
	r->skipped++;
	if (first_pass(r) && r->skipped <= DAMAGE_LINES)
		log_event("replay_skipped offset=%" PRIu64 " in_message=%zu reason=\"%s\"%s",
		          r->offset, byte, what,
		          r->skipped == DAMAGE_LINES ? " (more are not logged)" : "");
}

/* Reads on by one message. Returns the bytes gone through, at least 1. */
static size_t read_on(struct replay *r, int64_t now)
{
	const char *what = NULL, *ignored;
	size_t byte = 0;

	if (r->offset >= r->size) {
		end_pass(r, now);
		return HEADER;
	}
	if (r->searching)
		return search(r);
	size_t len = message_len(r, r->offset, &what);
	uint8_t *message = len > 0 ? intact_message(r, len) : NULL;
	uint64_t after = r->offset + HEADER + len;
	if (message)
		what = use_message(r, message, len, now, &byte);
	else if (message_len(r, r->offset, &what) > 0)   /* the file may be shorter by now */
		what = "checksum is wrong";
	if (what)
		log_skipped(r, byte, what);
	/* An unproven length is trusted when it leads to one that makes sense. */
	if (message || (len > 0 && message_len(r, after, &ignored) > 0)) {
		r->offset = after;
	} else {
		r->searching = true;
		r->offset++;
	}
	return HEADER + len;
}

static void show_next_runtime(struct replay *r)
{
	if (r->next_runtime)
		wire_show_runtime(&r->source.runtime, &r->runtime, r->next_runtime);
	r->next_runtime = NULL;
}

static void make_current(struct replay *r)
{
	uint8_t *before = r->current;

	r->current = r->next;
	r->current_len = r->next_len;
	r->next = before;
	r->have_next = false;
	r->have_current = true;
	show_next_runtime(r);
}

static int replay_take(struct source *s, int64_t now, struct snapshot_input *out)
{
	struct replay *r = (struct replay *)s;
	size_t read = 0;

	if (!r->started)
		r->due = now;
	r->started = true;
	while (r->have_next ? r->due <= now : !r->ended) {
		if (r->have_next)
			make_current(r);
		else if (read < TAKE_MAX)
			read += read_on(r, now);
		else
			break;
	}
	/* States may be due faster than this machine reads them. */
	bool caught_up = r->have_next || r->ended;
	if (caught_up)
		r->behind = 0;
	else if (r->behind == 0)
		r->behind = now;
	r->waiting = !r->have_current || (!caught_up && now - r->behind < BEHIND_MS);
	if (r->waiting)
		return 0;
	r->behind = 0;
	r->have_current = false;
	*out = (struct snapshot_input){.bytes = r->current, .len = r->current_len};
	return 1;
}

static nfds_t replay_poll(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline)
{
	struct replay *r = (struct replay *)s;

	(void)fds;
	if (r->waiting && !r->have_next && !r->ended)
		*deadline = 0;
	else if (r->waiting && r->have_next && r->due < *deadline)
		*deadline = r->due;
	return 0;
}

/* The work is done by take, which follows while anybody is due a snapshot. */
static void replay_serve(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now)
{
	struct replay *r = (struct replay *)s;

	(void)fds;
	(void)n;
	(void)now;
	r->waiting = false;
}

static void replay_close(struct source *s)
{
	struct replay *r = (struct replay *)s;

	if (r->fd >= 0)
		close(r->fd);
	introspection__runtime__free_unpacked(r->next_runtime, NULL);
	introspection__runtime__free_unpacked(r->runtime, NULL);
	free(r->window);
	free(r->next);
	free(r->current);
	free(r);
}

/* Opens the file and reads up to the first state. Returns NULL, or what is wrong. */
static const char *open_file(struct replay *r, const char *path)
{
	struct stat st;

	/* Without O_NONBLOCK, opening a FIFO would wait for its writer. */
	r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0 || fstat(r->fd, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	r->size = (uint64_t)st.st_size;
	const uint8_t *version = file_bytes(r, 0, FILE_HEADER);
	if (!version)
		return "no recording: too short";
	if (little_endian(version) != FILE_VERSION)
		return "no recording: file version is not 1";
	begin_pass(r);
	while (!r->have_next && !r->ended)
		read_on(r, 0);
	if (!r->have_next)
		return "no state in it";
	show_next_runtime(r);
	return NULL;
}

struct source *replay_open(const char *path, bool loop, size_t max_message)
{
	struct replay *r = malloc(sizeof *r);
	const char *error = strerror(ENOMEM);

	if (!r) {
		log_event("error replay=%s reason=\"%s\"", path, error);
		return NULL;
	}
	*r = (struct replay){
		.source = {.poll = replay_poll,
		           .serve = replay_serve,
		           .take = replay_take,
		           .close = replay_close,
		           .events_when_taken = true},
		.fd = -1,
		.loop = loop,
		.max_message = max_message,
		.window = malloc(HEADER + max_message + READ_MIN),
		.next = malloc(max_message),
		.current = malloc(max_message),
	};
	introspection__runtime__init(&r->source.runtime);
	if (r->window && r->next && r->current)
		error = open_file(r, path);
	if (!error)
		return &r->source;
	log_event("error replay=%s reason=\"%s\"", path, error);
	replay_close(&r->source);
	return NULL;
}
