/* The daemon: sockets, the poll() loop and the connection table. Read from the
 * end: main, run, turn, and then what they call. */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "guard/auth.h"
#include "endpoint/command.h"
#include "base/http.h"
#include "base/listen.h"
#include "base/log.h"
#include "endpoint/metrics.h"
#include "base/options.h"
#include "base/pollset.h"
#include "guard/sandbox.h"
#include "base/setup.h"
#include "snapshot.h"
#include "source/source.h"
#include "source/wire.h"
#include "guard/tls.h"
#include "ws.h"

enum {
	SPARE_SLOTS = 16,       /* beyond --max-clients: for HTTP, and to refuse properly */
	MESSAGE_MAX = 4096,     /* bytes of a client's message */
	RECEIVE_MAX = 4096,     /* bytes read from one client in one turn */
	MESSAGES_MAX = 32,      /* written to one client in one turn */
	VICTIMS_MAX = 256,      /* slots looked at to find one that makes room */
	ACCEPT_MAX = 64,        /* connections accepted in one turn from one listener */
	HANDSHAKE_MS = 5000,
	HANDSHAKES_MS = 5,      /* of a turn, for TLS handshakes; the last one begun may take longer */
	LINGER_MS = 2000,       /* for the peer to take our last bytes and close */
	STOP_MS = 2000,
	ACCEPT_PAUSE_MS = 1000, /* when the system is out of descriptors or memory */
	POLL_PAUSE_MS = 100,    /* when the system refuses to poll */
	STALE_MS = 1000,        /* who asks waits so long for a fresh snapshot if there is an old one */
	PINGS_MAX = 2,          /* unanswered, before a client is given up */
	OTHER_FDS = 16,         /* that sources and libraries open for a moment */

	/* what is polled besides the slots; the first is the pollset's own */
	FD_SIGNALS = 1,
	FD_SOURCE = 2,
	FD_LISTENERS = FD_SOURCE + SOURCE_FDS,
	FD_SLOTS = FD_LISTENERS + LISTENERS_MAX,
};

static const int64_t NEVER = INT64_MAX;

enum slot_state {
	SLOT_FREE = 0,
	SLOT_HEAD,       /* reads a request head, after the TLS handshake if there is one */
	SLOT_OPEN,       /* a WebSocket client */
	SLOT_SCRAPE,     /* waits for the snapshot that it asks about with GET /metrics */
	SLOT_DELAYED,    /* holds back a token that is yet to be compared, or the answer to a wrong one */
	SLOT_ENDING,     /* writes its last bytes: a close frame or an HTTP answer */
	SLOT_LINGERING,  /* has written them and waits for the peer to close */
	SLOT_DROPPED,    /* to be freed */
};

static const char *const state_names[METRICS_STATES] = {
	"free", "head", "open", "scrape", "delayed", "ending", "lingering", "dropped",
};

/* What only some slots need at a time. */
union buffer {
	union buffer *next;      /* a free one */
	char head[WS_HEAD_MAX];
	struct command command;
};

/* A connection. All zero is a free slot. Times are ms of the monotonic clock. */
struct slot {
	int fd;
	uint8_t state;
	bool ready;              /* the client has a credit for one snapshot, besides the first one,
	                            which it is owed for connecting */
	bool client;             /* counted in server.clients */
	bool waiting;            /* counted in server.waiting */
	bool reads_events;       /* counted in server.event_readers */
	bool holds_state;        /* counted in server.state_holders */
	bool pong_due;           /* with the payload that stands in pong */
	bool ping_due;
	bool close_due;          /* with close_code */
	bool eof;                /* the peer sends no more */
	bool no_body;            /* a scrape by HEAD */
	uint8_t pings;           /* sent and not answered */
	uint8_t share;           /* messages that may be written before its next turn */
	uint16_t close_code;     /* WS_NO_STATUS: an empty close frame */
	uint16_t head_len;       /* bytes of the request head that have come */
	union buffer *buffer;    /* held while it reads a head or writes anything but a snapshot;
	                            NULL: none */
	struct tls *tls;         /* NULL: none */
	struct command *command; /* a client of the command protocol: in that buffer; else NULL */
	int64_t since;           /* start of the state's time limit: accept, last bytes written, shutdown;
	                            of SLOT_DELAYED, the end of it */
	int64_t quiet;           /* since when it is silent: last bytes from it, or last ping to it */
	int64_t asked;           /* since when it waits for the next snapshot, if it does */
	uint64_t sent;           /* sequence number of the last snapshot sent to it; 0: none was */
	uint64_t delivered;      /* snapshots */
	struct snapshot *pinned; /* being written */
	uint64_t reading;        /* the item of the history being written; 0: none */
	const uint8_t *tx;       /* being written: in the buffer or the snapshot */
	size_t tx_left;
	const uint8_t *body;     /* written after tx: in the snapshot, the history or static */
	size_t body_left;
	struct ws_decoder ws;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer;
	uint8_t pong[WS_CONTROL_MAX];
	uint8_t pong_len;
};

struct server {
	struct options options;
	struct source *source;
	struct auth auth;
	struct tls_config *tls;      /* of every TCP connection; NULL: none */
	struct snapshot_store store;
	struct listener listeners[LISTENERS_MAX];
	size_t listener_count;
	struct pollset set;
	struct slot *slots;
	int64_t *deadlines;          /* of each slot; NEVER: none */
	int64_t slots_deadline;      /* the earliest, as it was before the last poll() */
	union buffer *buffers;       /* as many as slots; untouched ones cost nothing */
	union buffer *unused;        /* buffers from here on were never used */
	union buffer *free_buffers;  /* of those before */
	size_t slot_count;
	size_t high;                 /* slots from here on are free */
	size_t first_free;           /* no slot before is free */
	size_t victim;               /* the last slot that was looked at to find one that makes room */
	bool handshakes;             /* some slots can go on with their TLS handshakes */
	size_t handshake;            /* the first that may, in the next turn */
	size_t clients;              /* slots in SLOT_OPEN */
	size_t waiting;              /* slots that wait for the next snapshot */
	size_t event_readers;        /* slots that want events */
	size_t state_holders;        /* slots for which the next state is to be held back */
	struct commands commands;
	struct metrics metrics;
	int64_t now;                 /* of this turn */
	int64_t next_take;           /* no snapshot is taken before */
	bool asked;                  /* the source will come back to the request */
	int64_t accept_again;        /* 0: accepting */
	struct log_limit refusals, guesses, pauses, sizes;   /* of log lines on them */
	int64_t stop_at;             /* 0: not stopping */
	bool too_big;                /* the last snapshot was, and that was logged */
	bool event_came;             /* and was not sent on yet */
	struct sockaddr_storage own[LISTENERS_MAX];
	char hostname[256];
	int64_t started;             /* ms of CLOCK_BOOTTIME */
	uint8_t received[WS_HEAD_MAX];
};

static int64_t clock_ns(clockid_t clock)
{
	static struct timespec t; /* should the call fail, time stands still */

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t clock_ms(clockid_t clock)
{
	return clock_ns(clock) / 1000000;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void slot_drop(struct slot *s, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];

	if (s->state == SLOT_DROPPED)
		return;
	log_verbose("closed peer=%s reason=\"%s\" snapshots=%" PRIu64,
	            address_text(text, &s->peer.any), reason, s->delivered);
	s->state = SLOT_DROPPED;
}

/* Drops a client as too slow or silent. */
static void give_up(struct server *srv, struct slot *s, const char *reason)
{
	srv->metrics.dropped++;
	slot_drop(s, reason);
}

/* Has the time come to push a state to the client, to hold one back for it, or
 * to see whether there were events? */
static bool push_due(const struct server *srv, const struct slot *s)
{
	return s->command && !s->close_due &&
	       command_due(s->command, srv->source->events_when_taken) <= srv->now;
}

/* Has the client a credit: for its first snapshot, or because it was ready (of the command
 * protocol: requested one)? */
static bool has_credit(const struct slot *s)
{
	return !s->close_due && (s->ready || (!s->command && s->sent == 0));
}

/* Has the client a credit, or is it time to push a state to it? */
static bool wants_snapshot(const struct server *srv, const struct slot *s)
{
	return has_credit(s) || (push_due(srv, s) && command_pushes(s->command));
}

/* Is a snapshot to be taken for the client though none is to be sent to it? */
static bool watches(const struct server *srv, const struct slot *s)
{
	return push_due(srv, s) && !command_pushes(s->command);
}

/* Who asks gets a snapshot that was no older than the interval when he asked, or, if none
 * can come or comes within STALE_MS, the one there is. */
static bool is_fresh(const struct server *srv, const struct slot *s)
{
	return srv->store.latest->taken >= s->asked - srv->options.interval ||
	       srv->now >= s->asked + STALE_MS || srv->now < srv->source->newest_until;
}

/* The rule: a snapshot goes to a client that is open and has a credit, if it is newer than
 * the last one that went to it, and fresh. To be pushed it must be fresh now, or have been
 * taken since the push was due. */
static bool snapshot_due(const struct server *srv, const struct slot *s)
{
	const struct snapshot *latest = srv->store.latest;

	if (s->state != SLOT_OPEN || !latest || latest->sequence <= s->sent)
		return false;
	if (has_credit(s))
		return is_fresh(srv, s);
	return wants_snapshot(srv, s) &&
	       latest->taken >= earlier(command_due(s->command, false),
	                                srv->now - srv->options.interval);
}

/* There are as many as slots. */
static union buffer *take_buffer(struct server *srv, struct slot *s)
{
	if (s->buffer)
		return s->buffer;
	s->buffer = srv->free_buffers;
	if (s->buffer)
		srv->free_buffers = s->buffer->next;
	else
		s->buffer = srv->unused++;
	return s->buffer;
}

/* Where a control frame or the answer to a handshake is put. */
static uint8_t *small_room(struct server *srv, struct slot *s)
{
	return s->command ? s->command->out : (uint8_t *)take_buffer(srv, s)->head;
}

static void write_control(struct server *srv, struct slot *s, enum ws_opcode opcode,
                          const uint8_t *payload, size_t len)
{
	uint8_t *out = small_room(srv, s);
	size_t n = ws_header(out, opcode, len, NULL);

	memcpy(out + n, payload, len);
	s->tx = out;
	s->tx_left = n + len;
}

static void begin_frame(struct slot *s, const struct command_frame *frame)
{
	s->tx = frame->at;
	s->tx_left = frame->len;
	s->body = frame->body;
	s->body_left = frame->body_len;
	s->reading = frame->number;
	s->sent = frame->sequence > 0 ? frame->sequence : s->sent;
}

static void begin_snapshot(struct server *srv, struct slot *s)
{
	struct snapshot *latest = srv->store.latest;

	if (s->command) {
		struct command_frame frame =
			command_state(s->command, latest->len, snapshot_checksum(latest));

		begin_frame(s, &frame);
		s->body = latest->message;
		s->body_left = latest->len;
		s->command->requests -= s->command->requests > 0;
		if (push_due(srv, s) && command_pushes(s->command))
			s->command->pushed_at = s->command->state_at = srv->now;
	} else {
		s->tx = latest->frame;
		s->tx_left = (size_t)(latest->message - latest->frame) + latest->len;
	}
	s->ready = s->command ? s->command->requests > 0 : s->ready && s->sent == 0;
	if (s->sent > 0)
		srv->metrics.skipped += latest->sequence - s->sent - 1;
	s->sent = latest->sequence;
	s->pinned = latest;
	latest->pins++;
}

/* Begins the one message that is owed to an open client first. False: none is, or its
 * share is used up. */
static bool begin_message(struct server *srv, struct slot *s)
{
	struct command_frame frame;

	if (s->state != SLOT_OPEN || s->share == 0)
		return false;
	if (s->close_due) {
		const uint8_t code[2] = {(uint8_t)(s->close_code >> 8), (uint8_t)s->close_code};

		write_control(srv, s, WS_CLOSE, code, s->close_code == WS_NO_STATUS ? 0 : sizeof code);
		s->state = SLOT_ENDING;
	} else if (s->pong_due) {
		write_control(srv, s, WS_PONG, s->pong, s->pong_len);
		s->pong_due = false;
	} else if (s->ping_due) {
		write_control(srv, s, WS_PING, s->pong, 0);
		s->ping_due = false;
	} else if (s->command && command_push(s->command, &srv->commands, s->sent, &frame)) {
		begin_frame(s, &frame);
		srv->metrics.sent += frame.sequence > 0;
	} else if (snapshot_due(srv, s)) {
		begin_snapshot(srv, s);
	} else {
		return false;
	}
	s->since = srv->now;
	return true;
}

/* And the text, if it has scraped. */
static void release_buffer(struct server *srv, struct slot *s)
{
	if (!s->buffer)
		return;
	s->buffer->next = srv->free_buffers;
	srv->free_buffers = s->buffer;
	s->buffer = NULL;
	metrics_release(&srv->metrics, s);
}

static void release_snapshot(struct slot *s)
{
	if (s->pinned)
		s->pinned->pins--;
	s->pinned = NULL;
}

/* All of tx is written: on to the body, or to whatever comes after a message. */
static void end_message(struct server *srv, struct slot *s)
{
	if (s->body_left > 0) {
		s->tx = s->body;
		s->tx_left = s->body_left;
		s->body_left = 0;
		return;
	}
	if (s->share > 0)
		s->share--;
	if (s->pinned) {
		s->delivered++;
		s->asked = srv->now;
		srv->metrics.sent++;
	}
	s->reading = 0;
	release_snapshot(s);
	if (!s->command)
		release_buffer(srv, s);
	if (s->state == SLOT_ENDING) {
		/* Closing at once could destroy our bytes on their way: unread
		 * input would make it a reset. */
		if (s->tls)
			tls_bye(s->tls);
		shutdown(s->fd, SHUT_WR);
		s->state = SLOT_LINGERING;
	} else if (s->eof) {
		slot_drop(s, "closed by the client");
	}
}

/* A socket call failed: try again when poll() says so, or give up. */
static void socket_failed(struct slot *s)
{
	char why[TLS_WHY_MAX];

	if (errno != EAGAIN && errno != EINTR)
		slot_drop(s, s->tls && errno == EPROTO ? tls_error(s->tls, why) : strerror(errno));
}

static void slot_write(struct server *srv, struct slot *s)
{
	while (s->state != SLOT_DELAYED && (s->tx_left > 0 || begin_message(srv, s))) {
		ssize_t n = s->tls ? tls_send(s->tls, s->tx, s->tx_left)
		                   : send(s->fd, s->tx, s->tx_left, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			socket_failed(s);
			return;
		}
		s->tx += n;
		s->tx_left -= (size_t)n;
		srv->metrics.sent_bytes += (uint64_t)n;
		s->since = srv->now;
		if (s->tx_left > 0)
			return;
		end_message(srv, s);
	}
}

/* The payload is kept, since whatever control frame comes next, even in part,
 * takes its place in the decoder. */
static void owe_pong(struct slot *s)
{
	memcpy(s->pong, s->ws.control, s->ws.control_len);
	s->pong_len = s->ws.control_len;
	s->pong_due = true;
}

static void begin_close(struct slot *s, uint16_t code, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];

	if (s->close_due)
		return;
	log_verbose("closing peer=%s code=%u reason=\"%s\"", address_text(text, &s->peer.any), code,
	            reason);
	s->close_due = true;
	s->close_code = code;
	s->ready = false;
}

/* The client broke a rule of its protocol. */
static void close_for(struct server *srv, struct slot *s, int code)
{
	metrics_closed(&srv->metrics, (unsigned)code);
	begin_close(s, (uint16_t)code,
	            code == WS_INVALID_DATA ? "not UTF-8, or not a ClientCommand"
	            : code == WS_TOO_BIG    ? "message over 4096 bytes"
	                                    : "framing error");
}

/* The client says that it can take another snapshot. */
static void got_ready(struct server *srv, struct slot *s)
{
	if (!has_credit(s))
		s->asked = srv->now;
	s->ready = true;
}

/* What a pull client sent after its handshake. */
static void client_bytes(struct server *srv, struct slot *s, uint8_t *in, size_t len)
{
	while (len > 0 && s->state == SLOT_OPEN && !s->close_due) {
		int used = ws_decode(&s->ws, in, len);

		if (used < 0) {
			close_for(srv, s, -used);
			return;
		}
		in += used;
		len -= (size_t)used;
		if (s->ws.event == WS_MESSAGE) {
			got_ready(srv, s);
		} else if (s->ws.event == WS_GOT_CLOSE) {
			begin_close(s, s->ws.close_code, "asked by the client");
		} else if (s->ws.event == WS_GOT_PING) {
			/* Written at once, so that each of several is answered; if the
			 * socket is full or there are too many, the newest (section 5.5.3). */
			owe_pong(s);
			slot_write(srv, s);
		}
	}
}

/* Carries out what a client of the command protocol sent, as far as its answers
 * can be written. */
static void serve_commands(struct server *srv, struct slot *s)
{
	struct command_frame frame;

	while (s->state == SLOT_OPEN && !s->close_due && s->tx_left == 0 && s->share > 0 &&
	       s->command->raw_len > 0) {
		int got = command_read(s->command, &srv->commands, &s->ws, &srv->source->runtime,
		                       srv->now, &frame);

		if (got < 0)
			close_for(srv, s, -got);
		else if (got > 0)
			begin_frame(s, &frame);
		else if (s->ws.event == WS_GOT_CLOSE)
			begin_close(s, s->ws.close_code, "asked by the client");
		else if (s->ws.event == WS_GOT_PING)
			owe_pong(s);
		s->since = srv->now;
		slot_write(srv, s);
	}
	if (s->state == SLOT_OPEN && !s->close_due && s->command->requests > 0)
		got_ready(srv, s);
}

static void log_refusal(struct server *srv, const struct slot *s, const struct http_answer *a)
{
	char text[ADDRESS_TEXT_MAX], value[LOG_ESCAPED_MAX];

	address_text(text, &s->peer.any);
	if (!a->value.at) {
		log_verbose("refused status=%d peer=%s reason=\"%s\"", a->status, text, a->reason);
		return;
	}
	log_limited(&srv->refusals, srv->now, "refused status=%d peer=%s reason=\"%s\"%s%s%s value=%s",
	            a->status, text, a->reason, a->option ? " allow_with=\"" : "",
	            a->option ? a->option : "", a->option ? "\"" : "",
	            log_escape(value, a->value.at, a->value.len));
}

/* Answers a request, well formed or not, and ends the connection. */
static void answer(struct server *srv, struct slot *s, const struct http_answer *a)
{
	char head[WS_HEAD_MAX];
	size_t len = http_head(head, a, (time_t)(clock_ms(CLOCK_REALTIME) / 1000));

	if (a->reason) {
		srv->metrics.refused[a->refusal]++;
		log_refusal(srv, s, a);
	}
	memcpy(s->buffer->head, head, len);
	s->tx = (const uint8_t *)s->buffer->head;
	s->tx_left = len;
	s->body = a->body;
	s->body_left = a->no_body ? 0 : a->body_len;
	s->state = SLOT_ENDING;
	s->since = srv->now;
}

/* A scrape waits for a fresh snapshot as a client would, but no longer than STALE_MS if
 * there is none at all. */
static bool scrape_waits(const struct server *srv, const struct slot *s)
{
	return s->state == SLOT_SCRAPE && !s->pinned &&
	       (srv->store.latest ? !is_fresh(srv, s) : srv->now < s->asked + STALE_MS);
}

/* Counts some of the snapshot that the answer is to be about, or answers. */
static void serve_scrape(struct server *srv, struct slot *s)
{
	struct snapshot *latest = srv->store.latest;
	struct http_answer a = {.status = 200, .type = METRICS_TYPE, .no_body = s->no_body};
	struct metrics *m = &srv->metrics;
	void *slow;

	if (!s->pinned && latest) {
		s->pinned = latest;
		latest->pins++;
	}
	if (s->pinned && !metrics_count(m, s->pinned, s))
		return;
	release_snapshot(s);
	memset(m->clients, 0, sizeof m->clients);
	m->clients[SLOT_FREE] = srv->slot_count - srv->high;
	for (size_t i = 0; i < srv->high; i++)
		m->clients[srv->slots[i].state]++;
	m->waiting = srv->waiting - s->waiting;
	m->cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
	m->epoch = clock_ms(CLOCK_REALTIME) - srv->now;
	/* Somebody may have set the clock since then. */
	m->started = clock_ms(CLOCK_REALTIME) - (clock_ms(CLOCK_BOOTTIME) - srv->started);
	a.body = metrics_write(m, s, &slow, &a.body_len);
	if (slow) {
		give_up(srv, slow, "too slow for the texts there are");
		srv->deadlines[(struct slot *)slow - srv->slots] = srv->now;
	}
	answer(srv, s, &a);
}

/* The buffer holds the request until here; what came behind it is moved
 * away, since from now on the buffer is for the answer, or the command protocol. */
static void open_client(struct server *srv, struct slot *s, const struct ws_request *r,
                        bool command, const char *extra, size_t len)
{
	char answer[HTTP_ACCEPT_MAX], text[ADDRESS_TEXT_MAX];
	size_t answer_len = http_accept(answer, r);

	log_verbose("open peer=%s", address_text(text, &s->peer.any));
	memcpy(srv->received, extra, len);
	if (command) {
		if (len > sizeof s->buffer->command.in) {
			slot_drop(s, "commands before the handshake was answered");
			return;
		}
		s->command = &s->buffer->command;
		memset(s->command, 0, offsetof(struct command, in));
		memcpy(s->command->in, srv->received, len);
		s->command->raw_len = len;
	}
	s->tx = memcpy(small_room(srv, s), answer, answer_len);
	s->tx_left = answer_len;
	s->ws.max_message = MESSAGE_MAX;
	s->state = SLOT_OPEN;
	s->since = s->asked = srv->now;
	if (!command)
		client_bytes(srv, s, srv->received, len);
}

/* A line that is made for fail2ban and its like. */
static void log_wrong_token(struct server *srv, const struct slot *s, int status)
{
	char text[ADDRESS_TEXT_MAX];

	log_limited(&srv->guesses, srv->now, "wrong_token peer=%s status=%d",
	            address_text(text, &s->peer.any), status);
}

/* False: the token that the request offers is compared later or not at all. */
static bool book_token(struct server *srv, struct slot *s)
{
	int64_t wait = auth_book(&srv->auth, &s->peer.any, srv->now);
	struct http_answer a;

	if (wait < 0) {
		http_refuse(&a, HTTP_TOO_MANY_TOKENS);
		log_wrong_token(srv, s, a.status);
		answer(srv, s, &a);
	} else if (wait > 0) {
		s->state = SLOT_DELAYED;
		s->since = srv->now + wait;
	}
	return wait == 0;
}

static void head_bytes(struct server *srv, struct slot *s, size_t len)
{
	const struct http_policy policy = {
		srv->options.allow_host, srv->options.allow_host_count,
		srv->options.allow_origin, srv->options.allow_origin_count,
		srv->options.public_url,
		&srv->auth,
		s->tls != NULL,
	};
	char *head = s->buffer->head;
	struct ws_request request;
	struct http_answer a;

	s->head_len = (uint16_t)(s->head_len + len);
	int n = ws_request(&request, head, s->head_len);
	if (n == 0)
		return;
	const bool offers = n > 0 && auth_is_offered(&srv->auth, &request);
	if (offers && s->state == SLOT_HEAD && !book_token(srv, s))
		return;
	http_decide(&a, &request, n, &policy);
	if (offers && auth_shown(&srv->auth, &request))
		auth_right(&srv->auth, &s->peer.any, srv->now);
	else if (offers)
		log_wrong_token(srv, s, a.status);
	if (a.status == 101 && srv->clients >= srv->options.max_clients)
		http_refuse(&a, HTTP_CLIENTS_MAX);
	if (a.metrics) {
		s->state = SLOT_SCRAPE;
		s->no_body = a.no_body;
		s->asked = srv->now;
		return;
	}
	if (a.status != 101) {
		answer(srv, s, &a);
		if (a.status == 401) {
			s->state = SLOT_DELAYED;
			s->since = srv->now + auth_delay(&srv->auth, &s->peer.any, srv->now);
		}
		return;
	}
	open_client(srv, s, &request, a.command, head + n, (size_t)(s->head_len - n));
}

/* Where the next bytes of a slot are read to. */
static uint8_t *receive_room(struct server *srv, struct slot *s, size_t *room)
{
	if (s->command && s->state == SLOT_OPEN)
		return command_room(s->command, room);
	*room = RECEIVE_MAX;
	if (s->state != SLOT_HEAD)
		return srv->received;
	*room = (size_t)(WS_HEAD_MAX - s->head_len);
	return (uint8_t *)take_buffer(srv, s)->head + s->head_len;
}

static void slot_read(struct server *srv, struct slot *s)
{
	size_t room;
	uint8_t *in = receive_room(srv, s, &room);
	ssize_t n = s->tls ? tls_recv(s->tls, in, room) : recv(s->fd, in, room, MSG_DONTWAIT);

	if (n < 0) {
		socket_failed(s);
		return;
	}
	if (n == 0) {
		s->eof = true;
		if (s->state != SLOT_OPEN || s->tx_left == 0)
			slot_drop(s, "closed by the client");
		return;
	}
	s->quiet = srv->now;
	s->pings = 0;
	if (s->state == SLOT_HEAD)
		head_bytes(srv, s, (size_t)n);
	else if (s->state == SLOT_OPEN && s->command)
		s->command->raw_len += (size_t)n;
	else if (s->state == SLOT_OPEN)
		client_bytes(srv, s, in, (size_t)n);
}

/* When the slot must be looked at though nothing came. */
static int64_t slot_deadline(const struct server *srv, const struct slot *s)
{
	switch (s->state) {
	case SLOT_HEAD:
		return s->since + HANDSHAKE_MS;
	case SLOT_LINGERING:
		return s->since + LINGER_MS;
	case SLOT_DELAYED:
		return s->since;
	default:
		break;
	}
	if (s->tx_left > 0)
		return s->since + srv->options.drain;
	int64_t deadline = s->state == SLOT_OPEN ? s->quiet + srv->options.ping : NEVER;
	if (s->waiting && has_credit(s) && (s->state == SLOT_SCRAPE || srv->store.sequence > s->sent))
		deadline = earlier(deadline, s->asked + STALE_MS);
	if (s->command && !push_due(srv, s))
		deadline = earlier(deadline, command_due(s->command, srv->source->events_when_taken));
	return deadline;
}

/* Is anything wanted from the peer? No more commands while the answer to one is
 * unsent, or some have not had their turn. */
static bool slot_reads(const struct slot *s)
{
	if (s->state == SLOT_OPEN)
		return !s->eof && !s->close_due &&
		       !(s->command && (s->tx_left > 0 || s->command->raw_len > 0));
	return s->state == SLOT_HEAD || s->state == SLOT_LINGERING;
}

static short slot_events(const struct slot *s)
{
	bool writes = s->tx_left > 0 && s->state != SLOT_DELAYED;

	/* To read, TLS may have to write first. */
	if (s->tls && !writes && slot_reads(s) && tls_wants_write(s->tls))
		return POLLOUT;
	return (short)((slot_reads(s) ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

/* Bytes that TLS has decrypted already: poll() will not tell. */
static bool has_unread(const struct slot *s)
{
	return s->tls && slot_reads(s) && tls_pending(s->tls) > 0;
}

static void slot_free(struct server *srv, struct slot *s, size_t i)
{
	release_snapshot(s);
	release_buffer(srv, s);
	tls_close(s->tls);
	close(s->fd);
	memset(s, 0, sizeof *s);
	pollset_remove(&srv->set, i);
	srv->deadlines[i] = NEVER;
	while (srv->high > 0 && srv->slots[srv->high - 1].state == SLOT_FREE)
		srv->high--;
	if (i < srv->first_free)
		srv->first_free = i;
	srv->accept_again = 0;
}

static void count(size_t *counter, bool *counted, bool counts)
{
	if (counts != *counted)
		*counter = counts ? *counter + 1 : *counter - 1;
	*counted = counts;
}

/* Ends whatever was done with a slot: writes what can be written, frees it if it
 * was dropped, and derives from its state all that the loop goes by. */
static void slot_settle(struct server *srv, size_t i)
{
	struct slot *s = &srv->slots[i];

	if (s->state == SLOT_SCRAPE && !scrape_waits(srv, s))
		serve_scrape(srv, s);
	if (s->state != SLOT_DROPPED)
		slot_write(srv, s);
	if (s->state == SLOT_OPEN && s->command) {
		serve_commands(srv, s);
		slot_write(srv, s);
	}
	bool open = s->state == SLOT_OPEN;
	count(&srv->clients, &s->client, open);
	count(&srv->waiting, &s->waiting,
	      scrape_waits(srv, s) ||
		      (open && ((wants_snapshot(srv, s) && s->tx_left == 0) || watches(srv, s))));
	count(&srv->event_readers, &s->reads_events, open && s->command && s->command->push_events);
	count(&srv->state_holders, &s->holds_state,
	      open && watches(srv, s) && s->command->push_states);
	if (s->state == SLOT_DROPPED) {
		slot_free(srv, s, i);
		return;
	}
	pollset_want(&srv->set, i, slot_events(s));
	const bool counts = s->state == SLOT_SCRAPE && s->pinned;
	const bool goes_on = has_unread(s) || counts || (open && s->share == 0 && s->tx_left == 0);
	srv->deadlines[i] = goes_on ? srv->now : slot_deadline(srv, s);
}

static void slot_expire(struct server *srv, struct slot *s)
{
	if (s->state == SLOT_HEAD) {
		give_up(srv, s, "handshake not finished in 5 s");
	} else if (s->state == SLOT_LINGERING) {
		slot_drop(s, "closed");
	} else if (s->state == SLOT_DELAYED && s->tx_left == 0) {
		head_bytes(srv, s, 0);
	} else if (s->state == SLOT_DELAYED) {
		s->state = SLOT_ENDING;
		s->since = srv->now;
	} else if (s->tx_left > 0) {
		give_up(srv, s, "takes nothing of what is sent to it");
	} else if (s->state != SLOT_OPEN || srv->now < s->quiet + srv->options.ping) {
		return; /* a push is due, or an old snapshot must do: slot_settle sees to it */
	} else if (s->pings == PINGS_MAX) {
		give_up(srv, s, "answers no ping");
	} else {
		s->ping_due = true;
		s->pings++;
		s->quiet = srv->now;
	}
}

static void slot_serve(struct server *srv, size_t i)
{
	struct slot *s = &srv->slots[i];
	const short revents = pollset_take(&srv->set, i);

	s->share = MESSAGES_MAX;
	short readable = s->tls ? POLLIN | POLLOUT | POLLHUP | POLLERR : POLLIN | POLLHUP | POLLERR;
	if ((revents & readable && slot_reads(s)) || has_unread(s))
		slot_read(srv, s);
	else if ((s->state == SLOT_DELAYED || s->state == SLOT_SCRAPE) &&
	         revents & (POLLHUP | POLLERR))
		slot_drop(s, "closed by the client"); /* poll() would return for it all the time */
	/* After a pause of ours the peer must not pay for it: it may have read all. */
	if (s->state != SLOT_DROPPED && revents & POLLOUT)
		slot_write(srv, s);
	if (s->state != SLOT_DROPPED && srv->deadlines[i] <= srv->now &&
	    slot_deadline(srv, s) <= srv->now)
		slot_expire(srv, s);
	slot_settle(srv, i);
}

/* No slot is free, not even to refuse in. */
static void refuse_at_once(struct server *srv, int fd)
{
	char out[WS_HEAD_MAX];
	struct http_answer a;

	srv->metrics.refused[HTTP_SLOTS_MAX]++;
	http_refuse(&a, HTTP_SLOTS_MAX);
	size_t len = http_head(out, &a, (time_t)(clock_ms(CLOCK_REALTIME) / 1000));
	if (send(fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		shutdown(fd, SHUT_WR);
	close(fd);
}

/* Every slot is taken. Who has been there for longest without being a client makes room,
 * or else a few who say nothing would keep out everybody. One that came in this turn was
 * not even heard. False: there is none, or none was near. */
static bool make_slot_free(struct server *srv)
{
	int64_t oldest = srv->now;
	size_t found = srv->slot_count;

	for (size_t n = 0; n < VICTIMS_MAX && n < srv->slot_count; n++) {
		size_t i = srv->victim = (srv->victim + 1) % srv->slot_count;
		const struct slot *s = &srv->slots[i];
		int64_t since = s->state == SLOT_DELAYED ? s->quiet : s->since;

		if (s->state != SLOT_OPEN && since < oldest) {
			oldest = since;
			found = i;
		}
	}
	if (found == srv->slot_count)
		return false;
	srv->metrics.refused[HTTP_SLOTS_MAX]++;
	slot_drop(&srv->slots[found], "made room for the next one");
	slot_settle(srv, found);
	return true;
}

static void slot_open(struct server *srv, int fd, const struct sockaddr_in6 *peer)
{
	while (srv->first_free < srv->slot_count &&
	       srv->slots[srv->first_free].state != SLOT_FREE)
		srv->first_free++;
	if (srv->first_free == srv->slot_count && !make_slot_free(srv)) {
		refuse_at_once(srv, fd);
		return;
	}
	size_t i = srv->first_free;
	struct slot *s = &srv->slots[i];
	pollset_add(&srv->set, i, fd);
	s->fd = fd;
	s->state = SLOT_HEAD;
	s->since = s->quiet = srv->now;
	s->peer.v6 = *peer;
	if (srv->tls && peer->sin6_family != AF_UNIX && !(s->tls = tls_open(srv->tls, fd, NULL)))
		slot_drop(s, "no memory for TLS");
	srv->high = i >= srv->high ? i + 1 : srv->high;
	slot_settle(srv, i);
}

static void accept_clients(struct server *srv, int listener)
{
	for (int i = 0, failed = 0; i < ACCEPT_MAX; i++) {
		struct sockaddr_in6 peer = {0};
		socklen_t len = sizeof peer;
		int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			slot_open(srv, fd, &peer);
		} else if (errno == EAGAIN) {
			return;
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ||
		           ++failed == ACCEPT_MAX) {
			log_limited(&srv->pauses, srv->now, "accept_paused reason=\"%s\" ms=%d", strerror(errno), ACCEPT_PAUSE_MS);
			srv->accept_again = srv->now + ACCEPT_PAUSE_MS;
			return;
		}
		/* Anything else is the trouble of that one connection, unless there is
		 * nothing but trouble. */
	}
}

/* Items of the history before this number are about to be written over. */
static void evict(void *arg, uint64_t first)
{
	struct server *srv = arg;

	for (size_t i = 0; i < srv->high; i++) {
		struct slot *s = &srv->slots[i];

		if (s->reading > 0 && s->reading < first) {
			give_up(srv, s, "too slow for the history");
			slot_settle(srv, i);
		} else if (s->command) {
			command_forget(s->command, &srv->commands, first);
		}
	}
}

static const char *take_event(void *arg, const uint8_t *event, size_t len, int64_t now)
{
	struct server *srv = arg;
	const char *error =
		commands_event(&srv->commands, event, len, &srv->source->runtime,
		               srv->event_readers > 0 && !srv->source->late, now);

	srv->event_came = true;
	return error;
}

/* A buffer for the next snapshot: when slow clients hold all of them, those that
 * hold the oldest have to go. */
static void make_room(struct server *srv)
{
	const struct snapshot *old = snapshot_in_the_way(&srv->store);

	for (size_t i = 0; old && i < srv->high; i++) {
		if (srv->slots[i].pinned == old) {
			give_up(srv, &srv->slots[i], "too slow for the buffers there are");
			slot_settle(srv, i);
		}
	}
}

static void take_snapshot(struct server *srv)
{
	struct snapshot_input input = {0};
	uint8_t header[WS_HEADER_MAX];
	int64_t begin = clock_ns(CLOCK_MONOTONIC);
	int taken = srv->source->take(srv->source, srv->now, &input);

	srv->asked = taken == 0;
	if (srv->asked)
		return;
	srv->next_take = srv->now + srv->options.interval;
	srv->metrics.failed += taken < 0;
	if (taken < 0)
		return;
	make_room(srv);
	size_t len = snapshot_take(&srv->store, &input, &srv->source->runtime, srv->now);
	bool too_big = len > srv->store.max;
	if (too_big && !srv->too_big)
		log_limited(&srv->sizes, srv->now, "snapshot_too_big bytes=%zu max_snapshot=%zu", len,
		            srv->store.max);
	srv->too_big = too_big;
	srv->metrics.failed += too_big;
	if (too_big)
		return;
	metrics_built(&srv->metrics, (uint64_t)(clock_ns(CLOCK_MONOTONIC) - begin));
	struct snapshot *latest = srv->store.latest;
	size_t n = ws_header(header, WS_BINARY, len, NULL);
	latest->frame = latest->message - n;
	memcpy(latest->frame, header, n);
	if (srv->state_holders > 0)
		commands_state(&srv->commands, latest->message, len, snapshot_checksum(latest),
		               latest->sequence, srv->now);
	for (size_t i = 0; i < srv->high; i++) {
		if (!srv->slots[i].waiting)
			continue;
		if (watches(srv, &srv->slots[i]))
			srv->slots[i].command->pushed_at = srv->now;
		slot_settle(srv, i);
	}
}

/* Events came: everybody who wants them gets them from the history. */
static void push_events(struct server *srv)
{
	srv->event_came = false;
	for (size_t i = 0; i < srv->high; i++)
		if (srv->slots[i].reads_events)
			slot_settle(srv, i);
}

static void log_slots(const struct server *srv)
{
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < srv->high; i++) {
		const struct slot *s = &srv->slots[i];

		if (s->state != SLOT_FREE)
			log_event("slot number=%zu state=%s peer=%s ready=%d sequence=%" PRIu64
			          " snapshots=%" PRIu64 " unsent=%zu quiet_ms=%" PRId64,
			          i, state_names[s->state], address_text(text, &s->peer.any), s->ready, s->sent,
			          s->delivered, s->tx_left + s->body_left, srv->now - s->quiet);
	}
}

/* Says goodbye to everybody; the second time, stops waiting for their answers. */
static void stop(struct server *srv, const char *signal)
{
	log_event("stopping signal=%s clients=%zu", signal, srv->clients);
	srv->stop_at = srv->stop_at ? srv->now : srv->now + STOP_MS;
	listen_close(srv->listeners, &srv->listener_count);
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		srv->set.fds[FD_LISTENERS + i].fd = -1;
	for (size_t i = 0; i < srv->high; i++) {
		struct slot *s = &srv->slots[i];

		if (s->state == SLOT_FREE)
			continue;
		if (s->state == SLOT_HEAD || s->state == SLOT_SCRAPE || s->state == SLOT_DELAYED)
			slot_drop(s, "going down");
		else if (s->state == SLOT_OPEN)
			begin_close(s, WS_GOING_AWAY, "going down");
		slot_settle(srv, i);
	}
}

/* Reads token and certificates again; those that are wrong are not taken, and keep
 * the others from nothing. */
static int reload(struct server *srv)
{
	const struct options *o = &srv->options;
	char why[TLS_WHY_MAX];
	const char *wrong = NULL;

	if (o->token_file) {
		setup_warn_readable(o->token_file);
		if ((wrong = auth_read(&srv->auth, o->token_file)) != NULL)
			log_event("error token_file=%s reason=\"%s\"", o->token_file, wrong);
	}
	if (!o->tls_cert)
		return wrong ? -1 : 0;
	setup_warn_readable(o->tls_key);
	struct tls_config *tls = tls_server(o->tls_cert, o->tls_key, o->tls_client_ca, why);
	if (!tls) {
		log_event("error tls=\"%s\"", why);
		return -1;
	}
	tls_release(srv->tls);
	srv->tls = tls;
	return wrong ? -1 : 0;
}

static void reload_and_tell(struct server *srv)
{
	const char *token = srv->options.token_file, *cert = srv->options.tls_cert;

	if (!token && !cert)
		log_event("reloaded nothing=\"there is neither --token-file nor --tls-cert\"");
	else if (reload(srv) == 0)
		log_event("reloaded%s%s%s%s", token ? " token_file=" : "", token ? token : "",
		          cert ? " tls_cert=" : "", cert ? cert : "");
}

/* -1: they cannot be read, so that nothing could end the daemon any more. */
static int serve_signals(struct server *srv)
{
	struct signalfd_siginfo info;
	ssize_t n;

	while ((n = read(srv->set.fds[FD_SIGNALS].fd, &info, sizeof info)) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGUSR1)
			log_slots(srv);
		else if (info.ssi_signo == SIGHUP)
			reload_and_tell(srv);
		else
			stop(srv, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
	}
	return n < 0 && errno != EAGAIN && errno != EINTR ? -1 : 0;
}

/* Fills in what changes from turn to turn and returns when the next deadline is. */
static int64_t prepare(struct server *srv, int64_t *source_deadline)
{
	struct pollfd source[SOURCE_FDS];
	nfds_t n;

	*source_deadline = NEVER;
	if (srv->event_readers == 0)
		srv->source->events_since = 0;
	else if (srv->source->events_since == 0)
		srv->source->events_since = srv->now;
	n = srv->source->poll(srv->source, source, source_deadline);
	for (nfds_t i = 0; i < SOURCE_FDS; i++)
		srv->set.fds[FD_SOURCE + i] = i < n ? source[i] : (struct pollfd){.fd = -1};

	int64_t deadline = *source_deadline;
	for (size_t i = 0; i < srv->listener_count; i++)
		srv->set.fds[FD_LISTENERS + i].events = srv->accept_again > 0 ? 0 : POLLIN;
	if (srv->accept_again > 0)
		deadline = earlier(deadline, srv->accept_again);
	if (srv->stop_at > 0)
		deadline = earlier(deadline, srv->stop_at);
	else if (srv->waiting > 0 && !srv->asked)
		deadline = earlier(deadline, srv->next_take);
	srv->slots_deadline = NEVER;
	for (size_t i = 0; i < srv->high; i++)
		srv->slots_deadline = earlier(srv->slots_deadline, srv->deadlines[i]);
	return earlier(deadline, srv->slots_deadline);
}

static void serve_source(struct server *srv, int64_t deadline)
{
	struct pollfd *fds = srv->set.fds + FD_SOURCE;
	nfds_t n = 0;
	bool answered = false;

	for (; n < SOURCE_FDS && fds[n].fd >= 0; n++)
		answered |= fds[n].revents != 0;
	if (answered || deadline <= srv->now) {
		srv->source->serve(srv->source, fds, n, srv->now);
		srv->asked = false;
	}
}

/* Is the slot one whose next bytes may cost asymmetric cryptography, which is as much as
 * a thousand messages? */
static bool in_handshake(const struct slot *s)
{
	return s->tls && s->state == SLOT_HEAD;
}

static bool is_due(const struct server *srv, size_t i)
{
	return srv->deadlines[i] <= srv->now || pollset_revents(&srv->set, i);
}

/* Serves the slot, unless it is in a TLS handshake; those have their own turn. */
static void serve_client(struct server *srv, size_t i)
{
	if (in_handshake(&srv->slots[i]))
		srv->handshakes = true;
	else
		slot_serve(srv, i);
}

static void serve_clients(struct server *srv)
{
	ssize_t found;

	for (size_t i = 0; srv->slots_deadline <= srv->now && i < srv->high; i++)
		if (srv->deadlines[i] <= srv->now)
			serve_client(srv, i);
	while ((found = pollset_next(&srv->set)) >= 0)
		serve_client(srv, (size_t)found);
}

/* When the time is up, the others wait for the next turn, and are first then. */
static void serve_handshakes(struct server *srv)
{
	const int64_t end = clock_ms(CLOCK_MONOTONIC) + HANDSHAKES_MS;
	const size_t first = srv->handshake, high = srv->high;

	srv->handshakes = false;
	for (size_t n = 0; n < high; n++) {
		size_t i = (first + n) % high;

		if (!is_due(srv, i) || !in_handshake(&srv->slots[i]))
			continue;
		slot_serve(srv, i);
		srv->handshake = i + 1;
		if (clock_ms(CLOCK_MONOTONIC) >= end)
			return;
	}
}

/* poll() was interrupted, or the system refuses it for now. Only signals are looked for, so
 * that the daemon can be ended in any case. */
static void unpolled(struct server *srv)
{
	if (errno != EINTR)
		poll(NULL, 0, POLL_PAUSE_MS);
	srv->set.fds[FD_SIGNALS].revents = POLLIN;
}

/* One turn of the loop. -1: it cannot go on (errno). */
static int turn(struct server *srv)
{
	int64_t source_deadline, deadline = prepare(srv, &source_deadline);
	int64_t wait = deadline == NEVER ? -1 : deadline > srv->now ? deadline - srv->now : 0;
	int n = pollset_poll(&srv->set, wait > INT32_MAX ? INT32_MAX : (int)wait);

	if (n < 0 && errno != EINTR && errno != ENOMEM && errno != EINVAL)
		return -1;
	if (n < 0)
		unpolled(srv);
	srv->now = clock_ms(CLOCK_MONOTONIC);
	if (srv->accept_again > 0 && srv->accept_again <= srv->now)
		srv->accept_again = 0;
	serve_source(srv, source_deadline);
	serve_clients(srv);
	if (srv->handshakes)
		serve_handshakes(srv);
	for (size_t i = 0; i < srv->listener_count; i++)
		if (srv->set.fds[FD_LISTENERS + i].revents)
			accept_clients(srv, srv->listeners[i].fd);
	if (srv->set.fds[FD_SIGNALS].revents && serve_signals(srv) != 0)
		return -1;
	if (srv->waiting > 0 && !srv->asked && srv->next_take <= srv->now)
		take_snapshot(srv);
	if (srv->event_came)
		push_events(srv);
	return 0;
}

static int run(struct server *srv)
{
	srv->now = clock_ms(CLOCK_MONOTONIC);
	while (!srv->stop_at || (srv->high > 0 && srv->now < srv->stop_at)) {
		if (turn(srv) != 0) {
			log_event("error loop=\"%s\"", strerror(errno));
			return 1;
		}
	}
	return 0;
}

static int make_table(struct server *srv)
{
	size_t n = srv->slot_count = srv->options.max_clients + SPARE_SLOTS;

	srv->slots = calloc(n, sizeof *srv->slots);
	srv->deadlines = calloc(n, sizeof *srv->deadlines);
	srv->unused = srv->buffers = calloc(n, sizeof *srv->buffers);
	if (pollset_open(&srv->set, FD_SLOTS, n) != 0 || !srv->slots || !srv->deadlines ||
	    !srv->buffers || snapshot_open(&srv->store, srv->options.max_snapshot) != 0 ||
	    commands_open(&srv->commands, srv->options.history) != 0) {
		log_event("error reason=\"out of memory: --max-clients %zu --max-snapshot %zu --history %zu\"",
		          srv->options.max_clients, srv->options.max_snapshot, srv->options.history);
		return -1;
	}
	srv->set.fds[FD_SIGNALS].events = POLLIN;
	srv->commands.interval = srv->options.interval;
	srv->commands.evict = evict;
	srv->commands.evict_arg = srv;
	return 0;
}

static int open_listeners(struct server *srv)
{
	const struct options *o = &srv->options;

	for (size_t i = 0; i < o->listen_count; i++)
		if (listen_on(srv->listeners, &srv->listener_count, o->listen[i], false) != 0)
			return -1;
	if (o->listen_count == 0 &&
	    (listen_on(srv->listeners, &srv->listener_count, DEFAULT_LISTEN, false) != 0 ||
	     listen_on(srv->listeners, &srv->listener_count, DEFAULT_LISTEN_6, true) != 0))
		return -1;
	for (size_t i = 0; i < srv->listener_count; i++) {
		const struct listener *l = &srv->listeners[i];

		srv->own[i] = l->address;
		srv->set.fds[FD_LISTENERS + i].fd = l->fd;
	}
	return 0;
}

static int open_source(struct server *srv)
{
	const struct options *o = &srv->options;
	const char *name = o->feed ? "feed" : o->replay ? "replay" : "kernel";
	struct source *kernel = NULL;
	char hostname[sizeof srv->hostname] = "";

	if (!o->feed || o->process)
		kernel = o->replay ? NULL : kernel_open(o->process, srv->own, srv->listener_count, o->udp);
	if (o->feed)
		srv->source = feed_open(o->feed, o->feed_mode, o->max_snapshot, o->interval);
	if (o->feed && o->process)
		srv->source = joined_open(srv->source, kernel, o->max_snapshot);
	else if (o->replay)
		srv->source = replay_open(o->replay, o->loop, o->max_snapshot);
	else if (!o->feed)
		srv->source = kernel;
	if (!srv->source)
		return -1;
	gethostname(hostname, sizeof hostname - 1);
	wire_text(srv->hostname, sizeof srv->hostname, hostname, strlen(hostname));
	srv->source->runtime.source = (char *)name;
	srv->source->runtime.hostname = srv->hostname;
	srv->source->runtime.interval_ms = (uint32_t)o->interval;
	srv->metrics.names = state_names;
	srv->metrics.max_clients = o->max_clients;
	srv->metrics.runtime = &srv->source->runtime;
	srv->metrics.feed = srv->source->feed;
	srv->source->event = take_event;
	srv->source->event_arg = srv;
	return 0;
}

static void release(struct server *srv)
{
	for (size_t i = 0; i < srv->high; i++)
		if (srv->slots[i].state != SLOT_FREE)
			slot_free(srv, &srv->slots[i], i);
	listen_close(srv->listeners, &srv->listener_count);
	if (srv->source)
		srv->source->close(srv->source);
	snapshot_close(&srv->store);
	tls_release(srv->tls);
	pollset_close(&srv->set);
	free(srv->slots);
	free(srv->deadlines);
	commands_close(&srv->commands);
	free(srv->buffers);
}

/* Gives up all that the loop and its source do without. */
static int give_up_rights(const struct server *srv)
{
	const struct options *o = &srv->options;
	const char *const read_again[] = {o->token_file, o->tls_cert, o->tls_key, o->tls_client_ca};
	struct sandbox needs = {
		.user = o->user,
		.capabilities = srv->source->capabilities,
		.sees_processes = srv->source->sees_processes,
	};

	for (size_t i = 0; i < sizeof read_again / sizeof *read_again; i++)
		if (read_again[i])
			needs.reads[needs.read_count++] = read_again[i];
	for (size_t i = 0; i < srv->listener_count; i++)
		if (srv->own[i].ss_family == AF_UNIX)
			needs.removes[needs.remove_count++] =
				((const struct sockaddr_un *)&srv->own[i])->sun_path;
	if (o->feed && strcmp(o->feed, "-") != 0)
		needs.removes[needs.remove_count++] = o->feed;
	return sandbox_drop(&needs) != 0 || (!o->no_sandbox && sandbox_enter(&needs) != 0) ? -1 : 0;
}

/* Everything that needs more than the loop does. */
static int start(struct server *srv)
{
	struct options *o = &srv->options;

	setup_no_core();
	if (setup_standard() != 0 ||
	    setup_descriptors(&o->max_clients, SPARE_SLOTS + FD_SLOTS + OTHER_FDS) != 0 ||
	    make_table(srv) != 0 || (srv->set.fds[FD_SIGNALS].fd = setup_signals()) < 0 ||
	    reload(srv) != 0 || open_listeners(srv) != 0 || open_source(srv) != 0 ||
	    give_up_rights(srv) != 0)
		return -1;
	srv->started = clock_ms(CLOCK_BOOTTIME);
	listen_announce(srv->listeners, srv->listener_count, srv->tls != NULL,
	                srv->auth.len == 0 && !o->tls_client_ca);
	return 0;
}

int main(int argc, char **argv)
{
	static struct server srv;
	int status = options_read(&srv.options, argc, argv);

	if (status >= 0)
		return status;
	log_set_verbose(srv.options.verbose);
	status = start(&srv) == 0 ? run(&srv) : 1;
	release(&srv);
	return status;
}
