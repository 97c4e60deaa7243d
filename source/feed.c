/* The feed: one node at a time sends ServerMessages (a State, a Runtime or an Event), each after
 * its length. A node sends a State when it wants to or, better, when it reads a byte 'r', which
 * the daemon writes when a client is due a snapshot. A State is passed on as its bytes are, without
 * the fields that only the daemon may set (wire_strip_state). */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/listen.h"
#include "base/log.h"
#include "source.h"
#include "wire.h"

enum {
	READ_MAX = 65536,        /* bytes read from the node in one turn of the loop */
	REFRESH_MAX = 1000,      /* ms that clients wait for the node to replace an old state */
	ACCEPT_PAUSE = 1000,     /* ms without accept() after it failed for lack of a resource */
	PATIENCE = 5000,         /* ms that a silent node keeps its place while another one waits */
};

struct feed {
	struct source source;
	struct feed_state node_state;
	const char *path;        /* of the socket file; borrowed */
	struct stat file;        /* that file when it was made */
	int listener;            /* -1: the node is on standard input */
	int node;                /* -1: none */
	bool refused;            /* another node was refused during this one's visit, and logged */
	bool spoke;              /* the node has sent a whole message */
	int next;                /* a second node, which waits whether the first is silent; -1: none */
	int64_t speak_by;        /* ms; if the first node is silent until then, the second replaces it */
	int64_t accept_at;       /* ms; accept() pauses until then; 0: it does not */

	size_t max_message;      /* bytes */
	int64_t interval;        /* ms */

	uint8_t *in;             /* owned; begins with the message under way */
	size_t in_len;
	uint64_t offset;         /* of in[0] in what the node sent since it connected */

	uint8_t *held;           /* owned; of the same size as in, holds the newest state */
	const uint8_t *state;    /* in held; NULL: no state came since the last was taken */
	size_t state_len;
	int64_t state_at;        /* ms; when the state came */
	bool asked;              /* 'r' was written, and no state has come since */
	int64_t asked_at;        /* ms; when 'r' was written */
	bool own_clock;          /* the last state came unasked, or later than REFRESH_MAX after 'r' */
	int64_t refresh_by;      /* ms; until then a newer state is waited for, after it the old state
	                            is given or the node asked again; 0: nothing is waited for */

	Introspection__Runtime *runtime;   /* owned; source.runtime has pointers into it */
	struct log_limit visits, refusals, errors;   /* limit the log lines about these */
};

static void disconnect(struct feed *f)
{
	close(f->node);
	f->node = -1;
	f->node_state.connected = false;
	f->in_len = 0;
	f->offset = 0;
	f->asked = false;
	f->refresh_by = 0;
}

static void connect_node(struct feed *f, int fd)
{
	f->node = fd;
	f->spoke = false;
	f->refused = false;
	f->node_state.connected = true;
	f->node_state.connections++;
}

/* Logs and counts that the node sent something wrong. at: where in f->in the message begins, with
 * its length. byte: which byte of the message itself is wrong. Always -1. */
static int refuse(struct feed *f, size_t at, size_t byte, const char *what, int64_t now)
{
	log_limited(&f->errors, now, "feed_closed offset=%" PRIu64 " in_message=%zu reason=\"%s\"",
	          f->offset + at, byte, what);
	f->node_state.errors++;
	return -1;
}

/* Shows this Runtime from now on. Returns NULL, or in words what is wrong with it. */
static const char *set_runtime(struct feed *f, const struct wire_payload *payload)
{
	_Static_assert(WIRE_RUNTIME_MAX == 65536, "what the words below say");
	if (payload->len > WIRE_RUNTIME_MAX)
		return "runtime is over 65536 bytes";
	Introspection__Runtime *next =
		introspection__runtime__unpack(NULL, payload->len, payload->bytes);
	if (!next)
		return "out of memory";
	if (next->n_event_types > WIRE_EVENT_TYPES_MAX) {
		introspection__runtime__free_unpacked(next, NULL);
		return "runtime has more than 256 event types";
	}
	f->source.runtime_changes++;
	wire_show_runtime(&f->source.runtime, &f->runtime, next);
	return NULL;
}

/* Takes in the message at f->in + at. Returns its length with prefix, in bytes; 0: it is not
 * complete; -1: refused and logged. If it holds a State, *state points to it: the caller keeps
 * only the last of several. */
static ssize_t handle_message(struct feed *f, size_t at, struct wire_payload *state, int64_t now)
{
	struct wire_payload payload;
	struct wire_error error = {0};
	uint64_t len;
	int prefix = wire_varint(f->in + at, f->in_len - at, &len);

	if (prefix < 0)
		return refuse(f, at, 0, "length is not a varint", now);
	if (prefix > 0 && len > f->max_message) {
		log_limited(&f->errors, now,
		            "feed_closed offset=%" PRIu64 " length=%" PRIu64
		            " reason=\"message is over --max-snapshot %zu\"",
		            f->offset + at, len, f->max_message);
		f->node_state.errors++;
		return -1;
	}
	if (prefix == 0 || f->in_len - at - (size_t)prefix < len)
		return 0;

	uint8_t *message = f->in + at + prefix;
	if (!wire_check(&introspection__server_message__descriptor, message, (size_t)len, &error) ||
	    !wire_payload(message, (size_t)len, &payload, &error))
		return refuse(f, at, error.offset, error.what, now);
	switch (payload.kind) {
	case INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE:
		*state = payload;
		break;
	case INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME:
		error.what = set_runtime(f, &payload);
		break;
	case INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT:
		if (f->source.event)
			error.what = f->source.event(f->source.event_arg, payload.bytes,
			                             payload.len, now);
		break;
	default:
		error.what = "payload is not state, runtime or event";
	}
	if (error.what)
		return refuse(f, at, 0, error.what, now);
	return prefix + (ssize_t)len;
}

/* Keeps the state, which is in f->in, without copying it: in becomes held. What follows the first
 * used bytes is copied to the new in. */
static void hold_state(struct feed *f, const struct wire_payload *state, size_t used, int64_t now)
{
	uint8_t *held = f->in;
	uint64_t ignored;

	f->in = f->held;
	f->held = held;
	f->state_len = wire_strip_state(state->bytes, state->len, &ignored);
	f->state = state->bytes;
	f->state_at = now;
	f->own_clock = !f->asked || now - f->asked_at >= REFRESH_MAX;
	f->asked = false;
	f->refresh_by = 0;
	memcpy(f->in, f->held + used, f->in_len - used);
}

/* Writes 'r' to the node. If that fails, it is tried again at the next take; whether the connection
 * is broken shows when it is read. */
static void ask(struct feed *f, int64_t now)
{
	if (f->asked)
		return;
	f->asked = send(f->node, "r", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
	f->asked_at = now;
}

static void refuse_node(struct feed *f, int fd, int64_t now)
{
	if (!f->refused)
		log_limited(&f->refusals, now, "feed_refused reason=\"another node is connected\"");
	f->refused = true;
	close(fd);
}

/* The node has sent a message, so the second node, which waited for its place, is refused. */
static void refuse_next(struct feed *f, int64_t now)
{
	if (f->next >= 0)
		refuse_node(f, f->next, now);
	f->next = -1;
}

static void receive(struct feed *f, int64_t now)
{
	struct wire_payload state = {0};
	size_t used = 0;
	ssize_t n = read(f->node, f->in + f->in_len, READ_MAX);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (f->in_len > 0)
			refuse(f, 0, 0, "stream ends within a message", now);
		else
			log_limited(&f->visits, now, "feed_disconnected");
		disconnect(f);
		return;
	}
	f->in_len += (size_t)n;
	while ((n = handle_message(f, used, &state, now)) > 0)
		used += (size_t)n;
	f->spoke |= used > 0;
	if (used > 0)
		refuse_next(f, now);
	if (state.bytes)
		hold_state(f, &state, used, now);
	else if (used > 0)
		memmove(f->in, f->in + used, f->in_len - used);
	f->in_len -= used;
	f->offset += used;
	if (n < 0)
		disconnect(f);
}

/* Does the daemon wait for the node: for its first message, for the rest of a message, or for PATIENCE for
 * the answer to an 'r'? */
static bool is_silent(const struct feed *f, int64_t now)
{
	return !f->spoke || f->in_len > 0 || (f->asked && now - f->asked_at >= PATIENCE);
}

/* Gives the place of a silent node to the one that waits, if the node has been silent for long enough. A
 * connection from which nothing comes must not keep a node out for ever. */
static void replace_silent(struct feed *f, int64_t now)
{
	const int next = f->next;

	if (next < 0 || (f->node >= 0 && now < f->speak_by))
		return;
	if (f->node >= 0) {
		log_limited(&f->errors, now, "feed_closed reason=\"it said nothing in %d ms, and another "
		            "node waits\"", PATIENCE);
		f->node_state.errors++;
		disconnect(f);
	}
	f->next = -1;
	log_limited(&f->visits, now, "feed_connected");
	connect_node(f, next);
}

static void accept_node(struct feed *f, int64_t now)
{
	int fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		log_event("feed_accept_paused reason=\"%s\" ms=%d", strerror(errno), ACCEPT_PAUSE);
		f->accept_at = now + ACCEPT_PAUSE;
	} else if (f->node >= 0 && f->next < 0 && is_silent(f, now)) {
		f->next = fd;
		f->speak_by = now + PATIENCE;
		ask(f, now);
	} else if (f->node >= 0) {
		refuse_node(f, fd, now);
	} else {
		log_limited(&f->visits, now, "feed_connected");
		connect_node(f, fd);
	}
}

static nfds_t feed_poll(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline)
{
	struct feed *f = (struct feed *)s;
	nfds_t n = 0;

	if (f->listener >= 0 && !f->accept_at)
		fds[n++] = (struct pollfd){.fd = f->listener, .events = POLLIN};
	if (f->node >= 0)
		fds[n++] = (struct pollfd){.fd = f->node, .events = POLLIN};
	if (f->accept_at && f->accept_at < *deadline)
		*deadline = f->accept_at;
	if (f->refresh_by && f->refresh_by < *deadline)
		*deadline = f->refresh_by;
	if (f->next >= 0 && f->speak_by < *deadline)
		*deadline = f->speak_by;
	return n;
}

/* Nothing newer is to be expected, once the newest State was taken, while no node is connected or while the
 * node is on standard input, where it cannot be asked. Clients then get the last State at once. */
static void set_newest(struct feed *f)
{
	f->source.newest_until = !f->state && (f->node < 0 || f->listener < 0) ? INT64_MAX : 0;
}

static void feed_serve(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now)
{
	struct feed *f = (struct feed *)s;
	short node = 0, listener = 0;

	for (nfds_t i = 0; i < n; i++)
		*(fds[i].fd == f->node ? &node : &listener) = fds[i].revents;
	if (node)
		receive(f, now);
	/* A node that was restarted may connect before the rest of its old connection was read. As long
	 * as that one has ended but is not read to its end, the new one waits to be accepted. */
	if (listener && !(f->node >= 0 && (node & POLLHUP)))
		accept_node(f, now);
	replace_silent(f, now);
	if (now >= f->accept_at)
		f->accept_at = 0;
	if (f->refresh_by && now >= f->refresh_by) {
		f->refresh_by = 0;
		f->state_at = now;
	}
	set_newest(f);
}

static int feed_take(struct source *s, int64_t now, struct snapshot_input *out)
{
	struct feed *f = (struct feed *)s;
	bool old = f->state && now - f->state_at > f->interval;

	if (f->listener >= 0 && f->node >= 0 && (!f->state || old)) {
		ask(f, now);
		/* A node that sends by its own clock does not send a newer state for an 'r', so its old
		 * state is given at once. */
		if (!f->state || !f->own_clock) {
			if ((old || !f->asked) && !f->refresh_by)
				f->refresh_by = now + REFRESH_MAX;
			return 0;
		}
	}
	if (!f->state)
		return 0;
	*out = (struct snapshot_input){.bytes = f->state, .len = f->state_len};
	f->state = NULL;
	set_newest(f);
	return 1;
}

static void feed_close(struct source *s)
{
	struct feed *f = (struct feed *)s;

	if (f->node >= 0)
		close(f->node);
	if (f->next >= 0)
		close(f->next);
	if (f->listener >= 0) {
		listen_remove(f->path, &f->file);
		close(f->listener);
	}
	introspection__runtime__free_unpacked(f->runtime, NULL);
	free(f->in);
	free(f->held);
	free(f);
}

struct source *feed_open(const char *path, mode_t mode, size_t max_message, int64_t interval)
{
	struct feed *f = malloc(sizeof *f);

	if (!f) {
		log_event("error feed=%s reason=\"%s\"", path, strerror(errno));
		return NULL;
	}
	*f = (struct feed){
		.source = {.poll = feed_poll,
		           .serve = feed_serve,
		           .take = feed_take,
		           .close = feed_close},
		.path = path,
		.listener = -1,
		.node = -1,
		.next = -1,
		.max_message = max_message,
		.interval = interval,
		/* Before each read there is less than one message in the buffer. */
		.in = malloc(WIRE_VARINT_MAX + max_message + READ_MAX),
		.held = malloc(WIRE_VARINT_MAX + max_message + READ_MAX),
	};
	f->source.feed = &f->node_state;
	introspection__runtime__init(&f->source.runtime);
	if (!f->in || !f->held) {
		log_event("error feed=%s reason=\"%s\"", path, strerror(ENOMEM));
	} else if (strcmp(path, "-") == 0) {
		connect_node(f, STDIN_FILENO);
		return &f->source;
	} else if ((f->listener = listen_unix("feed", path, mode, &f->file)) >= 0) {
		return &f->source;
	}
	feed_close(&f->source);
	return NULL;
}
