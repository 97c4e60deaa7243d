/* Replays a recording as if it were a node: states become current and events happen at the pace
 * at which they were recorded. Replay starts with the first take or the first client that reads
 * events. Two readers go through the file: one for states, always one state ahead, since only
 * the time of the next state says how long the current one lasts; and one for events, which
 * in the file may stand behind all states. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "complete.h"
#include "recording.h"
#include "source.h"
#include "wire.h"

enum {
	GAP_MAX = 3600 * 1000,    /* ms between two states; a longer gap, or none, is not believed */
	GAP_DEFAULT = 1000,       /* ms, instead of a gap that is not believed */
	TAKE_MAX = 1 << 20,       /* bytes that a reader goes through in one turn of the loop */
	BEHIND_MS = 1000,         /* after reading for so long, the state that was reached is given */
	DAMAGE_LINES = 100,       /* log lines about damage, at most */
	EVENT_BYTES = 16384,      /* of an event whose time is shifted; the daemon drops longer ones */
	EVENT_TS = 2,             /* number of the field Event.ts */
};

static const int64_t NEVER = INT64_MAX;

/* A pass goes once from the beginning of the file to its end; with loop there are several. Times
 * of states and events are ms since the epoch as clients see them: later than in the file by the
 * length of all earlier passes, so that time never runs back. */
struct replay {
	struct source source;
	int fd;
	bool loop;
	size_t max_message;          /* bytes */
	struct recording file;       /* the reader of states */
	bool ended;                  /* the last pass has been read to its end */
	unsigned long states;        /* read so far */
	unsigned long pass_states;   /* read so far in this pass */
	unsigned long skipped;       /* damaged messages so far */
	unsigned long passes;        /* passes that another one has followed */
	uint64_t shift;              /* ms that are added to all times of this pass */
	uint64_t first, last;        /* time of the first state, and the latest time, in this pass */

	bool started;                /* replay has started */
	bool waiting;                /* take was called and had no state to give */
	int64_t behind;              /* ms, monotonic; since when take has been called while states that
	                                are due are still unread; 0: there are none */
	uint8_t *next;               /* owned; the state that was read ahead */
	size_t next_len;
	bool have_next;
	uint64_t instant;            /* State.instant_ts of next */
	int64_t due;                 /* ms, monotonic; when next becomes current */
	uint8_t *current;            /* owned */
	size_t current_len;
	bool have_current;           /* current was not taken yet */

	struct recording event_file;   /* the reader of events */
	unsigned long event_pass;    /* the pass that this reader is in */
	uint64_t event_shift;        /* ms that are added to times of that pass */
	bool have_event;             /* an event was read ahead */
	struct recording_message event_message;
	const uint8_t *event;        /* in event_file */
	size_t event_len;
	uint64_t event_ts;
	int64_t start;               /* ms, monotonic; when replay started */
	uint8_t shifted[EVENT_BYTES];

	Introspection__Runtime *next_runtime;   /* owned; shown from the next state on; or NULL */
	Introspection__Runtime *runtime;        /* owned; source.runtime has pointers into it */
};

/* Makes this State the next one. Returns NULL, or in words what is wrong with it. */
static const char *queue_state(struct replay *r, const struct wire_payload *payload)
{
	uint64_t instant;
	size_t len = payload->len;

	if (r->shift > 0)
		len = complete_state(r->next, r->max_message, payload->bytes, len, r->shift);
	else
		memcpy(r->next, payload->bytes, len);
	if (len > r->max_message)
		return "state is over the limit when its times are later";
	r->next_len = wire_strip_state(r->next, len, &instant);
	r->have_next = true;
	r->states++;
	r->pass_states++;
	bool credible = instant > r->instant && instant - r->instant <= GAP_MAX;
	r->due += credible ? (int64_t)(instant - r->instant) : GAP_DEFAULT;
	r->instant = instant;
	if (r->pass_states == 1)
		r->first = r->last = instant;
	if (instant > r->last)
		r->last = instant;
	return NULL;
}

/* Takes a State or a Runtime from the message. Returns NULL, or in words what is wrong with the
 * message, at *byte of it. */
static const char *use_message(struct replay *r, const struct recording_message *m, size_t *byte)
{
	struct wire_payload payload;
	struct wire_error error;

	if (!wire_check(&introspection__server_message__descriptor, m->bytes, m->len, &error) ||
	    !wire_payload(m->bytes, m->len, &payload, &error)) {
		*byte = error.offset;
		return error.what;
	}
	if (payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE)
		return queue_state(r, &payload);
	if (payload.kind == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME) {
		_Static_assert(WIRE_RUNTIME_MAX == 65536, "what the words below say");
		if (payload.len > WIRE_RUNTIME_MAX)
			return "runtime is over 65536 bytes";
		introspection__runtime__free_unpacked(r->next_runtime, NULL);
		r->next_runtime = introspection__runtime__unpack(NULL, payload.len, payload.bytes);
		if (!r->next_runtime)
			return "out of memory";
		if (r->next_runtime->n_event_types > WIRE_EVENT_TYPES_MAX) {
			introspection__runtime__free_unpacked(r->next_runtime, NULL);
			r->next_runtime = NULL;
			return "runtime has more than 256 event types";
		}
	}
	return NULL;
}

static bool first_pass(const struct replay *r)
{
	return r->passes == 0;
}

/* Begins the next pass. Its times follow those of this pass after a pause as long as the average
 * gap between two states. If nobody watched for long, replay does not catch up with more than that
 * pause. Without loop, or without any state in the pass, replay has ended. */
static void end_pass(struct replay *r, int64_t now)
{
	if (r->loop && r->pass_states > 0) {
		uint64_t pause = r->pass_states > 1 ? (r->last - r->first) / (r->pass_states - 1) : 0;

		if (pause == 0 || pause > GAP_MAX)
			pause = GAP_DEFAULT;
		r->shift += r->last - r->first + pause;
		r->instant = r->last;
		r->passes++;
		r->pass_states = 0;
		recording_begin(&r->file);
		if (r->due < now - (int64_t)pause)
			r->due = now - (int64_t)pause;
		return;
	}
	r->ended = true;
	if (r->states > 0)
		log_event("replay_done states=%lu skipped=%lu", r->states, r->skipped);
}

static void log_skipped(struct replay *r, uint64_t offset, size_t byte, const char *what)
{
	r->skipped++;
	if (first_pass(r) && r->skipped <= DAMAGE_LINES)
		log_event("replay_skipped offset=%" PRIu64 " in_message=%zu reason=\"%s\"%s",
		          offset, byte, what,
		          r->skipped == DAMAGE_LINES ? " (more are not logged)" : "");
}

/* Reads one message for states. Returns the bytes gone through, at least 1. */
static size_t read_on(struct replay *r, int64_t now)
{
	struct recording_message m;
	const bool searching = r->file.searching;
	size_t byte = 0, read = recording_next(&r->file, &m);

	if (read == 0) {
		end_pass(r, now);
		return RECORDING_HEADER;
	}
	if (m.bytes)
		m.what = use_message(r, &m, &byte);
	if (m.what && searching && first_pass(r))
		log_event("replay_stopped offset=%" PRIu64 " reason=\"%s\"", m.offset, m.what);
	else if (m.what && !searching)
		log_skipped(r, m.offset, byte, m.what);
	return read;
}

/* Has the reader of events nothing to read now? It follows the reader of states into a new pass,
 * never before it. */
static bool events_end(const struct replay *r)
{
	return !r->source.event ||
	       (r->event_file.offset >= r->event_file.size && r->event_pass == r->passes);
}

/* Reads one message for events. Damage is not logged: the reader of states logs it. Returns the
 * bytes gone through, at least 1. */
static size_t read_event(struct replay *r)
{
	struct wire_payload payload;
	struct wire_error error;
	struct wire_field f;
	struct recording_message *m = &r->event_message;
	size_t read = recording_next(&r->event_file, m);

	if (read == 0) {
		r->event_pass = r->passes;
		r->event_shift = r->shift;
		recording_begin(&r->event_file);
		return RECORDING_HEADER;
	}
	if (!m->bytes || !wire_payload(m->bytes, m->len, &payload, &error) ||
	    payload.kind != INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT ||
	    !wire_check(&introspection__event__descriptor, payload.bytes, payload.len, &error))
		return read;
	r->event = payload.bytes;
	r->event_len = payload.len;
	r->event_ts = 0;
	r->have_event = true;
	struct wire_reader reader = {.at = r->event, .end = r->event + r->event_len};
	while (reader.at < reader.end && wire_next(&reader, &f))
		if (f.number == EVENT_TS)
			r->event_ts = f.value > 0 ? f.value + r->event_shift : 0;
	return read;
}

/* When the event that was read ahead happens, ms, monotonic, by its distance from the next state.
 * NEVER: it is after that state, so it is known only when that state has become current. */
static int64_t event_due(const struct replay *r)
{
	const bool after = r->event_ts > r->instant;
	const uint64_t apart = after ? r->event_ts - r->instant : r->instant - r->event_ts;

	if (after && !r->ended)
		return NEVER;
	if (apart > GAP_MAX)
		return after ? r->due : r->start;
	const int64_t due = after ? r->due + (int64_t)apart : r->due - (int64_t)apart;
	return due > r->start ? due : r->start;
}

/* Passes the event on. late: as in struct source. */
static void tell_event(struct replay *r, bool late, int64_t now)
{
	const uint8_t *event = r->event;
	size_t len = r->event_len;

	/* The shifted time is appended: of a field that comes twice, protobuf takes the last one. */
	if (r->event_ts > 0 && r->event_shift > 0 && len + 1 + WIRE_VARINT_MAX <= EVENT_BYTES) {
		memcpy(r->shifted, event, len);
		r->shifted[len++] = EVENT_TS << 3 | WIRE_VARINT;
		len += wire_put_varint(r->shifted + len, r->event_ts);
		event = r->shifted;
	}
	r->have_event = false;
	r->source.late = late;
	const char *what = r->source.event(r->source.event_arg, event, len, now);
	if (what && r->event_pass == 0)
		log_skipped(r, r->event_message.offset, 0, what);
}

static void tell_events(struct replay *r, int64_t now)
{
	const int64_t since = r->source.events_since > 0 ? r->source.events_since : now;

	for (size_t read = 0; read < TAKE_MAX;) {
		if (!r->have_event && events_end(r))
			return;
		if (!r->have_event) {
			read += read_event(r);
			continue;
		}
		const int64_t due = event_due(r);
		if (due > now)
			return;
		read += r->event_len;
		tell_event(r, due < since && due > r->start, now);
	}
}

static void show_next_runtime(struct replay *r)
{
	if (r->next_runtime)
		wire_show_runtime(&r->source.runtime, &r->runtime, r->next_runtime);
	r->source.runtime_changes++;
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

/* Makes states current and passes on events that are due, as far as one turn allows. */
static void advance(struct replay *r, int64_t now)
{
	size_t read = 0;

	if (!r->started)
		r->due = r->start = now;
	r->started = true;
	while (r->have_next ? r->due <= now : !r->ended) {
		if (r->have_next)
			make_current(r);
		else if (read < TAKE_MAX)
			read += read_on(r, now);
		else
			break;
	}
	tell_events(r, now);
}

static void set_newest(struct replay *r)
{
	r->source.newest_until = r->have_current ? 0
	                         : r->have_next  ? r->due
	                         : r->ended      ? NEVER
	                                         : 0;
}

static int replay_take(struct source *s, int64_t now, struct snapshot_input *out)
{
	struct replay *r = (struct replay *)s;

	advance(r, now);
	/* States may become due faster than this machine reads them. */
	bool caught_up = r->have_next || r->ended;
	if (caught_up)
		r->behind = 0;
	else if (r->behind == 0)
		r->behind = now;
	r->waiting = !r->have_current || (!caught_up && now - r->behind < BEHIND_MS);
	if (!r->waiting) {
		r->behind = 0;
		r->have_current = false;
		*out = (struct snapshot_input){.bytes = r->current, .len = r->current_len};
	}
	set_newest(r);
	return !r->waiting;
}

static nfds_t replay_poll(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline)
{
	struct replay *r = (struct replay *)s;
	const bool wanted = s->events_since > 0;
	int64_t at = NEVER;

	(void)fds;
	if (r->waiting || (wanted && r->started))
		at = r->have_next ? r->due : r->ended ? NEVER : 0;
	if (wanted && r->started && r->have_event && event_due(r) < at)
		at = event_due(r);
	if (wanted && (!r->started || (!r->have_event && !events_end(r))))
		at = 0;
	if (at < *deadline)
		*deadline = at;
	return 0;
}

/* Passes on events; for states the loop calls take after serve. */
static void replay_serve(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now)
{
	struct replay *r = (struct replay *)s;

	(void)fds;
	(void)n;
	r->waiting = false;
	if (s->events_since > 0) {
		advance(r, now);
		set_newest(r);
	}
}

static void replay_close(struct source *s)
{
	struct replay *r = (struct replay *)s;

	if (r->fd >= 0)
		close(r->fd);
	introspection__runtime__free_unpacked(r->next_runtime, NULL);
	introspection__runtime__free_unpacked(r->runtime, NULL);
	recording_close(&r->file);
	recording_close(&r->event_file);
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
	const char *wrong = recording_open(&r->file, r->fd, r->max_message);
	if (!wrong)
		wrong = recording_open(&r->event_file, r->fd, r->max_message);
	if (wrong)
		return wrong;
	r->event_file.events_only = true;
	while (!r->have_next && !r->ended)
		read_on(r, 0);
	if (!r->have_next)
		return "no state in it";
	show_next_runtime(r);
	return NULL;
}

struct source *replay_open(const char *path, bool loop, size_t max_message)
{
	struct replay *r = calloc(1, sizeof *r);
	const char *error = strerror(ENOMEM);

	if (!r) {
		log_event("error replay=%s reason=\"%s\"", path, error);
		return NULL;
	}
	r->source.poll = replay_poll;
	r->source.serve = replay_serve;
	r->source.take = replay_take;
	r->source.close = replay_close;
	r->fd = -1;
	r->loop = loop;
	r->max_message = max_message;
	r->next = malloc(max_message);
	r->current = malloc(max_message);
	introspection__runtime__init(&r->source.runtime);
	if (r->next && r->current)
		error = open_file(r, path);
	if (!error)
		return &r->source;
	log_event("error replay=%s reason=\"%s\"", path, error);
	replay_close(&r->source);
	return NULL;
}
