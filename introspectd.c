/* The daemon: sockets, the poll() loop, the connection table and the pull protocol. Read from
 * the end: main, run, turn, and then what they call. */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buffers.h"
#include "base/clock.h"
#include "base/http.h"
#include "base/listen.h"
#include "base/log.h"
#include "base/options.h"
#include "base/pace.h"
#include "base/parts.h"
#include "base/peers.h"
#include "base/pollset.h"
#include "base/setup.h"
#include "base/stream.h"
#include "endpoint/endpoint.h"
#include "snapshot.h"
#include "source/source.h"
#include "ws.h"

enum {
	SPARE_SLOTS = 16,       /* beyond --max-clients: for HTTP, and to refuse properly */
	MESSAGE_MAX = 4096,     /* bytes of a client's message */
	RECEIVE_MAX = 4096,     /* bytes read from one client in one turn */
	SHARE_MAX = 256 << 10,  /* bytes written to one client in one turn */
	MESSAGE_COST = 8192,    /* bytes of SHARE_MAX that beginning a message uses up */
	ACCEPT_MAX = 64,        /* connections accepted in one turn from one listening socket */
	HANDSHAKE_MS = 5000,    /* from accept to the end of the request head */
	HANDSHAKES_MS = 5,      /* for TLS handshakes in one turn; the last one begun may take longer */
	LINGER_MS = 2000,       /* for the peer to take the last bytes sent to it and close */
	STOP_MS = 2000,         /* for clients to answer close frames when the daemon is stopped */
	PINGS_MAX = 2,          /* unanswered pings, before a client is given up */
	OTHER_FDS = 16,         /* descriptors that sources and libraries open for a moment */

	/* entries of the pollset besides the slots; entry 0 is the pollset's own */
	FD_SIGNALS = 1,
	FD_SOURCE = 2,
	FD_LISTENERS = FD_SOURCE + SOURCE_FDS,
	FD_SLOTS = FD_LISTENERS + LISTENERS_MAX,
};

enum slot_state {
	SLOT_FREE = 0,
	SLOT_HEAD,       /* reads a request head, after the TLS handshake if there is one, or holds it */
	SLOT_OPEN,       /* a WebSocket client */
	SLOT_ANSWER,     /* an endpoint answers it over HTTP */
	SLOT_ENDING,     /* writes its last bytes: a close frame or the end of an HTTP answer */
	SLOT_LINGERING,  /* has written them and waits for the peer to close */
	SLOT_DROPPED,    /* to be freed */
	SLOT_STATES,
};

static const char *const state_names[SLOT_STATES] = {
	"free", "head", "open", "answer", "ending", "lingering", "dropped",
};
_Static_assert((int)SLOT_STATES == (int)COUNTERS_STATES, "each state is counted");

/* Memory of a slot that only some slots need at a time. */
struct buffer {
	union {
		char head[WS_HEAD_MAX];            /* a request head, or an answer */
		struct {                           /* of an open client: */
			uint8_t out[WS_HEADER_MAX + HTTP_ACCEPT_MAX];   /* a control frame, or the answer
			                                                   to its handshake */
			uint8_t in[RECEIVE_MAX];   /* received while its endpoint pauses */
			uint8_t pong[WS_CONTROL_MAX];   /* payload of the pong that is due */
		};
	};
	_Alignas(16) uint8_t memory[];         /* the endpoint's */
};

/* A connection. All zero is a free slot. Times are ms of the monotonic clock. */
struct slot {
	struct connection c;     /* what its endpoint sees of it */
	struct stream stream;
	struct place place;
	uint8_t state;
	bool pong_due;           /* with a payload that stands in the buffer */
	bool ping_due;
	bool close_due;          /* with close_code */
	bool eof;                /* the peer sends no more */
	bool sends_state;        /* the message being written is a State */
	bool last;               /* the message being written ends an answer over HTTP */
	uint8_t pings;           /* sent and not answered */
	uint8_t pong_len;
	uint16_t close_code;     /* WS_NO_STATUS: an empty close frame */
	uint16_t head_len;       /* bytes of the request head that have come */
	uint32_t share;          /* bytes that may be written before its next turn */
	uint16_t in_at, in_len;  /* bytes received and not decoded, within buffer->in */
	struct buffer *buffer;   /* held while it reads a head, owes a pong or writes anything but a
	                            snapshot, and by an endpoint with memory as long as it has the slot */
	int64_t since;           /* start of the state's time limit: accept, last bytes written, shutdown */
	int64_t held_until;      /* when its request is judged; 0: it is not held back */
	int64_t quiet;           /* since when it is silent: last bytes from it, or last ping to it */
	uint64_t delivered;      /* States written to it, to the last byte */
	struct pace pace;
	const uint8_t *tx;       /* what is being written, c.tx_left bytes, in the buffer or a snapshot */
	const uint8_t *body;     /* what is written after tx, body_left bytes, wherever the message says */
	size_t body_left;
	struct ws_decoder ws;
	union {
		struct sockaddr any;
		struct sockaddr_in6 v6;   /* the longest of those that are told */
	} peer;
};

struct server {
	struct daemon d;             /* what endpoints see of it */
	const struct stream_kind *tcp;   /* of TCP connections */
	struct pollset set;
	struct slot *slots;
	uint64_t *waiting;           /* a bit for each slot: does it want a snapshot to be taken? */
	struct buffers buffers;      /* as many as slots */
	struct peers peers;
	size_t slot_count;
	size_t high;                 /* slots from here on are free */
	size_t first_free;           /* no slot before is free */
	bool handshakes;             /* some slots can go on with their TLS handshakes */
	size_t handshake;            /* the slot whose TLS handshake is first in the next turn */
	int64_t next_take;           /* no snapshot is taken before */
	bool asked;                  /* take had no State yet: it is called again after the next serve */
	struct log_limit refusals, sizes;   /* limit log lines on refusals, and on snapshots too big */
	int64_t stop_at;             /* when the daemon ends; 0: it is not stopping */
	bool too_big;                /* the last snapshot was over the limit, which was logged */
	uint8_t received[WS_HEAD_MAX];   /* what a slot without a buffer receives in this turn */
};

/* ---- The pull protocol, an endpoint like others ---- */

/* A pull client has a credit: for its first snapshot, which it is owed for connecting, and
 * for one more once it was ready. */
static bool has_credit(const struct connection *c)
{
	return c->ready || c->sent == 0;
}

/* The rule: a snapshot goes to a client that has a credit, if it is newer than the last one
 * that went to it, and fresh. */
static bool snapshot_due(const struct daemon *d, const struct connection *c)
{
	const struct snapshot *latest = d->store.latest;

	return has_credit(c) && latest && latest->sequence > c->sent && is_fresh(d, c->asked);
}

/* Puts the frame header before a snapshot's message: a server's frame is not masked, so it is
 * the same for every client. */
static void frame_snapshot(struct snapshot *s)
{
	uint8_t header[WS_HEADER_MAX];
	const size_t n = ws_header(header, WS_BINARY, s->len, NULL);

	header[0] |= s->deflated ? WS_RSV1 : 0;
	s->frame = s->message - n;
	memcpy(s->frame, header, n);
}

/* Any message of the client makes it ready. */
static int pull_input(struct daemon *d, struct connection *c, const struct ws_decoder *ws)
{
	if (parts_forms)
		parts_forms->input(d, c, ws);
	if (ws->event != WS_MESSAGE)
		return 0;
	if (!has_credit(c))
		c->asked = d->now;
	c->ready = true;
	return 0;
}

/* The first snapshot uses up no ready that came before it. */
static int pull_next(struct daemon *d, struct connection *c, struct message *m)
{
	if (!snapshot_due(d, c))
		return 0;
	struct snapshot *form = parts_forms ? parts_forms->pick(d, c) : d->store.latest;
	if (!form->frame)
		frame_snapshot(form);
	m->head = form->frame;
	m->head_len = (size_t)(form->message - form->frame) + form->len;
	m->snapshot = form;
	m->sequence = form->sequence;
	c->ready = c->sent == 0 && c->ready;
	return 1;
}

static bool pull_waits(const struct daemon *d, const struct connection *c)
{
	(void)d;
	return has_credit(c) && c->tx_left == 0;
}

/* When a client that waits for a newer snapshot is sent the one there is, though it is old. */
static int64_t pull_due(const struct daemon *d, const struct connection *c)
{
	return has_credit(c) && d->store.sequence > c->sent ? c->asked + STALE_MS : NEVER;
}

static const struct endpoint pull_endpoint = {
	.path = "/",
	.upgrade = true,
	.about = "one snapshot, then one per message",
	.input = pull_input,
	.next = pull_next,
	.waits = pull_waits,
	.due = pull_due,
};

/* ---- Slots ---- */

static void enter(struct server *srv, struct slot *s, enum slot_state state)
{
	srv->d.counters.clients[s->state]--;
	srv->d.counters.clients[state]++;
	if (s->place.peer)
		peers_set_client(&srv->peers, &s->place, state == SLOT_OPEN);
	s->state = (uint8_t)state;
}

static void slot_drop(struct server *srv, struct slot *s, const char *reason)
{
	if (s->state == SLOT_DROPPED)
		return;
	log_verbose("closed peer=%s reason=\"%s\" snapshots=%" PRIu64, address_text(&s->peer.any),
	            reason, s->delivered);
	enter(srv, s, SLOT_DROPPED);
}

/* Drops a client as too slow or silent. */
static void give_up(struct server *srv, struct slot *s, const char *reason)
{
	srv->d.counters.dropped += s->state != SLOT_DROPPED;
	slot_drop(srv, s, reason);
}

/* Drops a connection for its endpoint. The slot may be in use further up the stack, so it is freed only when
 * the loop sees that its deadline, which is set to now, has passed. */
static void drop_connection(struct daemon *d, struct connection *c, const char *reason)
{
	struct server *srv = (struct server *)d;
	struct slot *s = (struct slot *)c;

	give_up(srv, s, reason);
	pollset_until(&srv->set, (size_t)(s - srv->slots), d->now);
}

static struct buffer *slot_buffer(struct server *srv, struct slot *s)
{
	return s->buffer = s->buffer ? s->buffer : buffers_take(&srv->buffers);
}

static void release_buffer(struct server *srv, struct slot *s)
{
	buffers_give(&srv->buffers, s->buffer);
	s->buffer = NULL;
}

/* Ends the endpoint's part in the slot, and gives up all that was held for it. */
static void leave_endpoint(struct server *srv, struct slot *s)
{
	if (s->c.endpoint && s->c.endpoint->close)
		s->c.endpoint->close(&srv->d, &s->c);
	s->c.endpoint = NULL;
	connection_pin(&s->c, NULL);
	release_buffer(srv, s);
}

static void write_control(struct server *srv, struct slot *s, enum ws_opcode opcode,
                          const uint8_t *payload, size_t len)
{
	uint8_t *out = slot_buffer(srv, s)->out;
	size_t n = ws_header(out, opcode, len, NULL);

	memcpy(out + n, payload, len);
	s->tx = out;
	s->c.tx_left = n + len;
}

static void begin_close(struct slot *s, uint16_t code, const char *reason)
{
	if (s->close_due)
		return;
	log_verbose("closing peer=%s code=%u reason=\"%s\"", address_text(&s->peer.any), code, reason);
	s->close_due = true;
	s->close_code = code;
}

/* The client broke a rule of its protocol. */
static void close_for(struct server *srv, struct slot *s, int code)
{
	counters_closed(&srv->d.counters, (unsigned)code);
	begin_close(s, (uint16_t)code,
	            code == WS_INVALID_DATA ? "not UTF-8, or not a ClientCommand"
	            : code == WS_TOO_BIG    ? "message over 4096 bytes"
	                                    : "framing error");
}

/* Begins the control frame that is owed to an open client. False: none is. */
static bool begin_control(struct server *srv, struct slot *s)
{
	if (s->state != SLOT_OPEN)
		return false;
	if (s->close_due) {
		const uint8_t code[2] = {(uint8_t)(s->close_code >> 8), (uint8_t)s->close_code};

		write_control(srv, s, WS_CLOSE, code, s->close_code == WS_NO_STATUS ? 0 : sizeof code);
		enter(srv, s, SLOT_ENDING);
	} else if (s->pong_due) {
		write_control(srv, s, WS_PONG, s->buffer->pong, s->pong_len);
		s->pong_due = false;
	} else if (s->ping_due) {
		write_control(srv, s, WS_PING, s->ws.control, 0);
		s->ping_due = false;
	} else {
		return false;
	}
	return true;
}

/* Begins what the endpoint says is owed. False: nothing is. */
static bool begin_next(struct server *srv, struct slot *s)
{
	struct message m = {0};
	int got = s->c.endpoint->next(&srv->d, &s->c, &m);

	if (got < 0) {
		close_for(srv, s, -got);
		return begin_control(srv, s);
	}
	/* No State goes out twice, and none after a newer one, whatever the endpoint says. */
	if (got == 0 || (m.sequence > 0 && m.sequence <= s->c.sent))
		return false;
	if (m.sequence > 0) {
		if (s->c.sent > 0)
			srv->d.counters.skipped += m.sequence - s->c.sent - 1;
		s->c.sent = m.sequence;
	}
	if (m.snapshot)
		connection_pin(&s->c, m.snapshot);
	s->tx = m.head;
	s->c.tx_left = m.head_len;
	s->body = m.body;
	s->body_left = m.body_len;
	s->sends_state = m.sequence > 0;
	s->last = m.last;
	return true;
}

/* Begins the one message that is owed first. False: none is, or the slot's share is used
 * up. */
static bool begin_message(struct server *srv, struct slot *s)
{
	if ((s->state != SLOT_OPEN && s->state != SLOT_ANSWER) || s->share < MESSAGE_COST ||
	    !(begin_control(srv, s) || begin_next(srv, s)))
		return false;
	s->share -= MESSAGE_COST;
	s->since = srv->d.now;
	return true;
}

/* All of tx is written: goes on to the body, or ends the message. */
static void end_message(struct server *srv, struct slot *s)
{
	if (s->body_left > 0) {
		s->tx = s->body;
		s->c.tx_left = s->body_left;
		s->body_left = 0;
		return;
	}
	if (s->sends_state) {
		s->delivered++;
		srv->d.counters.sent++;
		s->c.asked = srv->d.now;
		connection_pin(&s->c, NULL);
	}
	s->sends_state = false;
	if (s->state == SLOT_ENDING || s->last) {
		/* The daemon waits for the peer to close first: with unread input a close would send a
		 * reset, which could destroy the bytes on their way. */
		leave_endpoint(srv, s);
		s->stream.kind->bye(&s->stream);
		enter(srv, s, SLOT_LINGERING);
	} else if (s->eof) {
		slot_drop(srv, s, "closed by the client");
	} else if (s->c.endpoint->size == 0 && !s->pong_due) {
		release_buffer(srv, s);
	}
}

/* A call of the stream failed: try again when poll() says so, or give up. */
static void stream_failed(struct server *srv, struct slot *s)
{
	char why[STREAM_WHY_MAX];
	const int error = errno;

	if (error != EAGAIN && error != EINTR)
		slot_drop(srv, s, s->stream.kind->error(&s->stream, error, why));
}

static void slot_write(struct server *srv, struct slot *s)
{
	while (s->state != SLOT_DROPPED && (s->c.tx_left > 0 || begin_message(srv, s))) {
		const size_t len = s->c.tx_left < s->share ? s->c.tx_left : s->share;
		const ssize_t n = len > 0 ? s->stream.kind->send(&s->stream, s->tx, len) : 0;

		if (n < 0) {
			stream_failed(srv, s);
			return;
		}
		if (len == 0)
			return;
		s->tx += n;
		s->c.tx_left -= (size_t)n;
		s->share -= (uint32_t)n;
		s->since = srv->d.now;
		pace_add(&s->pace, (size_t)n, srv->d.now);
		srv->d.counters.sent_bytes += (uint64_t)n;
		if (s->c.tx_left > 0)
			return;
		end_message(srv, s);
	}
}

static bool pauses(const struct slot *s)
{
	return s->c.endpoint->pauses && s->c.endpoint->pauses(&s->c);
}

/* Decodes what an open client sent, until its endpoint pauses. Returns how much was used;
 * of a client that is closed, all. */
static size_t client_bytes(struct server *srv, struct slot *s, uint8_t *in, size_t len)
{
	size_t used = 0;

	while (used < len && s->state == SLOT_OPEN && !s->close_due) {
		if (pauses(s))
			return used;
		int n = ws_decode(&s->ws, in + used, len - used);
		if (n < 0) {
			close_for(srv, s, -n);
			break;
		}
		used += (size_t)n;
		if (s->ws.event == WS_DATA || s->ws.event == WS_MESSAGE) {
			int code = s->c.endpoint->input(&srv->d, &s->c, &s->ws);

			if (code != 0)
				close_for(srv, s, code);
		} else if (s->ws.event == WS_GOT_CLOSE) {
			begin_close(s, s->ws.close_code, "asked by the client");
		} else if (s->ws.event == WS_GOT_PING) {
			/* Written at once, so that each of several is answered; if the
			 * socket is full or there are too many, the newest (section 5.5.3). */
			memcpy(slot_buffer(srv, s)->pong, s->ws.control, s->ws.control_len);
			s->pong_len = s->ws.control_len;
			s->pong_due = true;
			slot_write(srv, s);
		}
	}
	return len;
}

/* Decodes, and keeps what the endpoint does not take yet. */
static void receive(struct server *srv, struct slot *s, uint8_t *in, size_t len)
{
	const size_t used = client_bytes(srv, s, in, len);

	if (used == len)
		return;
	if (len - used > RECEIVE_MAX) {
		slot_drop(srv, s, "too much before the handshake was answered");
		return;
	}
	s->in_at = 0;
	s->in_len = (uint16_t)(len - used);
	memcpy(slot_buffer(srv, s)->in, in + used, s->in_len);
}

/* Goes on with what was kept. False: there is nothing, or the endpoint still pauses. */
static bool receive_kept(struct server *srv, struct slot *s)
{
	if (s->in_len == 0 || s->state != SLOT_OPEN)
		return false;
	const size_t used = client_bytes(srv, s, s->buffer->in + s->in_at, s->in_len);

	s->in_at = (uint16_t)(s->in_at + used);
	s->in_len = (uint16_t)(s->in_len - used);
	return used > 0;
}

static void count_refusal(struct server *srv, const struct sockaddr *peer,
                          const struct http_answer *a)
{
	srv->d.counters.refused[a->refusal]++;
	http_log(a, address_text(peer), &srv->refusals, srv->d.now);
}

/* Answers a request, well formed or not, and ends the connection. */
static void answer_request(struct server *srv, struct slot *s, const struct http_answer *a)
{
	char head[WS_HEAD_MAX];
	size_t len = http_head(head, a, (time_t)(clock_ms(CLOCK_REALTIME) / 1000));

	s->tx = memcpy(s->buffer->head, head, len);
	s->c.tx_left = len;
	s->body = a->body;
	s->body_left = a->no_body ? 0 : a->body_len;
	s->since = srv->d.now;
	s->held_until = 0;
	enter(srv, s, SLOT_ENDING);
}

/* Hands the slot over to an endpoint. The request stands in the buffer, and so may what
 * came behind it. */
static void open_endpoint(struct server *srv, struct slot *s, const struct endpoint *e,
                          const struct ws_request *r, const struct http_answer *a,
                          const char *extra, size_t len)
{
	char accept[HTTP_ACCEPT_MAX];
	const char *extension;

	s->c.endpoint = e;
	s->c.peer = &s->peer.any;
	s->c.memory = e->size > 0 ? memset(s->buffer->memory, 0, e->size) : NULL;
	s->c.asked = s->since = srv->d.now;
	s->held_until = 0;
	enter(srv, s, a->status == 101 ? SLOT_OPEN : SLOT_ANSWER);
	if (e->open)
		e->open(&srv->d, &s->c, r, a);
	if (a->status != 101)
		return;
	log_verbose("open peer=%s", address_text(&s->peer.any));
	extension = e == &pull_endpoint && parts_deflate ? parts_deflate(r) : NULL;
	s->ws.deflate = s->c.deflates = extension;
	s->c.tx_left = http_accept(accept, r, extension);
	memcpy(srv->received, extra, len);
	s->tx = memcpy(s->buffer->out, accept, s->c.tx_left);
	s->ws.max_message = MESSAGE_MAX;
	receive(srv, s, srv->received, len);
}

/* Looks at a request head of which len more bytes have come; len 0: the request was held back until now. */
static void head_bytes(struct server *srv, struct slot *s, size_t len)
{
	char *head = s->buffer->head;
	struct ws_request request;
	struct http_answer a;

	s->head_len = (uint16_t)(s->head_len + len);
	int n = ws_request(&request, head, s->head_len);
	if (n == 0)
		return;
	srv->d.policy.tls = s->stream.kind->secure;
	const int64_t wait =
		parts_judge(&srv->d, &a, &request, n, &s->peer.any, s->held_until > 0);
	if (wait > 0) {
		s->held_until = srv->d.now + wait;
		return;
	}
	if (a.status == 101 && srv->d.counters.clients[SLOT_OPEN] >= srv->d.options.max_clients)
		http_refuse(&a, HTTP_CLIENTS_MAX);
	if (a.reason)
		count_refusal(srv, &s->peer.any, &a);
	const struct endpoint *e = a.status == 401 ? parts_guard->denied : a.endpoint;
	if (e)
		open_endpoint(srv, s, e, &request, &a, head + n, n < 0 ? 0 : (size_t)(s->head_len - n));
	else
		answer_request(srv, s, &a);
}

static void slot_read(struct server *srv, struct slot *s)
{
	uint8_t *in = srv->received;
	size_t room = RECEIVE_MAX;

	if (s->state == SLOT_HEAD) {
		in = (uint8_t *)slot_buffer(srv, s)->head + s->head_len;
		room = (size_t)(WS_HEAD_MAX - s->head_len);
	}
	s->place.spoke = true;
	ssize_t n = s->stream.kind->recv(&s->stream, in, room);
	if (n < 0) {
		stream_failed(srv, s);
		return;
	}
	if (n == 0) {
		s->eof = true;
		if (s->state != SLOT_OPEN || s->c.tx_left == 0)
			slot_drop(srv, s, "closed by the client");
		return;
	}
	s->quiet = srv->d.now;
	s->pings = 0;
	if (s->state == SLOT_HEAD)
		head_bytes(srv, s, (size_t)n);
	else if (s->state == SLOT_OPEN)
		receive(srv, s, in, (size_t)n);
}

/* When the slot must be looked at though nothing came. */
static int64_t slot_deadline(const struct server *srv, const struct slot *s)
{
	const struct endpoint *e = s->c.endpoint;
	int64_t ping = s->state == SLOT_OPEN ? s->quiet + srv->d.options.ping : NEVER;

	if (s->state == SLOT_HEAD)
		return s->held_until > 0 ? s->held_until : s->since + HANDSHAKE_MS;
	if (s->state == SLOT_LINGERING)
		return s->since + LINGER_MS;
	if (s->c.tx_left > 0)
		return s->since + srv->d.options.drain;
	return e && e->due ? earlier(ping, e->due(&srv->d, &s->c)) : ping;
}

/* Is input wanted from the peer? From a client, as long as its endpoint takes it. */
static bool slot_reads(const struct slot *s)
{
	if (s->state == SLOT_OPEN)
		return !s->eof && !s->close_due && s->in_len == 0 && !pauses(s);
	return (s->state == SLOT_HEAD && s->held_until == 0) || s->state == SLOT_LINGERING;
}

/* What poll() is to look for. */
static short slot_events(const struct slot *s)
{
	const struct stream_kind *kind = s->stream.kind;

	return (short)((slot_reads(s) ? kind->events(&s->stream, POLLIN) : 0) |
	               (s->c.tx_left > 0 ? kind->events(&s->stream, POLLOUT) : 0));
}

/* Were bytes received that poll() does not know of? */
static bool has_unread(const struct slot *s)
{
	return slot_reads(s) && s->stream.kind->pending(&s->stream) > 0;
}

static void slot_free(struct server *srv, struct slot *s, size_t i)
{
	leave_endpoint(srv, s);
	s->stream.kind->close(&s->stream);
	enter(srv, s, SLOT_FREE);
	peers_leave(&srv->peers, &s->place);
	memset(s, 0, sizeof *s);
	pollset_remove(&srv->set, i);
	while (srv->high > 0 && srv->slots[srv->high - 1].state == SLOT_FREE)
		srv->high--;
	if (i < srv->first_free)
		srv->first_free = i;
	srv->d.listeners.again = 0;
}

/* Does the slot want a snapshot to be taken? */
static bool slot_waits(const struct server *srv, const struct slot *s)
{
	return (s->state == SLOT_OPEN || s->state == SLOT_ANSWER) && !s->close_due &&
	       s->c.endpoint->waits && s->c.endpoint->waits(&srv->d, &s->c);
}

static void set_waiting(struct server *srv, size_t i, bool waits)
{
	struct connection *c = &srv->slots[i].c;

	if (c->waiting == waits)
		return;
	c->waiting = waits;
	srv->waiting[i / 64] ^= UINT64_C(1) << i % 64;
	srv->d.counters.waiting += waits ? 1 : (uint64_t)-1;
}

/* To be called after anything was done with a slot: writes what can be written, frees the slot if it was
 * dropped, else derives from its state what the loop goes by: events, deadline, whether it waits. */
static void slot_settle(struct server *srv, size_t i)
{
	struct slot *s = &srv->slots[i];

	do
		slot_write(srv, s);
	while (receive_kept(srv, s));
	set_waiting(srv, i, slot_waits(srv, s));
	if (s->state == SLOT_DROPPED) {
		slot_free(srv, s, i);
		return;
	}
	pollset_want(&srv->set, i, slot_events(s));
	const bool speaks = s->state == SLOT_OPEN || s->state == SLOT_ANSWER;
	const bool goes_on = has_unread(s) || (speaks && s->share < MESSAGE_COST && s->c.tx_left == 0);
	pollset_until(&srv->set, i, goes_on ? srv->d.now : slot_deadline(srv, s));
}

/* The slot's deadline has passed. If it is that of the endpoint, there is nothing to do here: slot_settle
 * asks the endpoint for its next message. */
static void slot_expire(struct server *srv, struct slot *s)
{
	if (s->state == SLOT_HEAD && s->held_until > 0) {
		head_bytes(srv, s, 0);
	} else if (s->state == SLOT_HEAD) {
		give_up(srv, s, "handshake not finished in 5 s");
	} else if (s->state == SLOT_LINGERING) {
		slot_drop(srv, s, "closed");
	} else if (s->c.tx_left > 0) {
		give_up(srv, s, "takes nothing of what is sent to it");
	} else if (s->state != SLOT_OPEN || srv->d.now < s->quiet + srv->d.options.ping) {
		return;
	} else if (s->pings == PINGS_MAX) {
		give_up(srv, s, "answers no ping");
	} else {
		s->ping_due = true;
		s->pings++;
		s->quiet = srv->d.now;
	}
}

static void slot_serve(struct server *srv, size_t i)
{
	struct slot *s = &srv->slots[i];
	const short revents = pollset_take(&srv->set, i);
	const short gone = POLLHUP | POLLERR;

	s->share = SHARE_MAX;
	short readable = (short)(POLLIN | gone | s->stream.kind->events(&s->stream, POLLIN));
	if (slot_reads(s) && (revents & readable || has_unread(s)))
		slot_read(srv, s);
	else if ((s->held_until > 0 || (s->state == SLOT_ANSWER && s->c.tx_left == 0)) &&
	         revents & gone)
		slot_drop(srv, s, "closed by the client"); /* else poll() would return for it every time */
	/* Writes before it looks at the deadline: while the daemon was held up, the client may have taken all
	 * that its socket had, so that it makes progress now. */
	if (revents & POLLOUT)
		slot_write(srv, s);
	if (s->state != SLOT_DROPPED && pollset_is_past(&srv->set, i, srv->d.now) &&
	    slot_deadline(srv, s) <= srv->d.now)
		slot_expire(srv, s);
	slot_settle(srv, i);
}

/* Refuses a connection for which there is no slot, with what the socket takes at once. */
static void refuse_at_once(struct server *srv, int fd, const struct sockaddr *peer,
                           enum http_refusal refusal)
{
	char out[WS_HEAD_MAX];
	struct http_answer a;

	http_refuse(&a, refusal);
	count_refusal(srv, peer, &a);
	size_t len = http_head(out, &a, (time_t)(clock_ms(CLOCK_REALTIME) / 1000));
	if (send(fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		shutdown(fd, SHUT_WR);
	close(fd);
}

/* Every slot is taken: one that is no client is dropped for a connection from the address, or a few
 * that say nothing would keep everybody out. False: there is none. */
static bool make_slot_free(struct server *srv, const struct sockaddr *address)
{
	struct place *victim = peers_victim(&srv->peers, address, srv->d.now);

	if (!victim)
		return false;
	struct slot *s = (struct slot *)(void *)((char *)victim - offsetof(struct slot, place));
	srv->d.counters.refused[HTTP_SLOTS_MAX]++;
	slot_drop(srv, s, "made room for the next one");
	slot_settle(srv, (size_t)(s - srv->slots));
	return true;
}

static void slot_open(struct server *srv, int fd, const struct sockaddr_in6 *peer)
{
	const struct sockaddr *address = (const struct sockaddr *)peer;

	while (srv->first_free < srv->slot_count &&
	       srv->slots[srv->first_free].state != SLOT_FREE)
		srv->first_free++;
	if (peers_is_full(&srv->peers, address)) {
		refuse_at_once(srv, fd, address, HTTP_ADDRESS_MAX);
		return;
	}
	if (srv->first_free == srv->slot_count && !make_slot_free(srv, address)) {
		refuse_at_once(srv, fd, address, HTTP_SLOTS_MAX);
		return;
	}
	size_t i = srv->first_free;
	struct slot *s = &srv->slots[i];
	pollset_add(&srv->set, i, fd);
	s->stream = (struct stream){.kind = peer->sin6_family == AF_UNIX ? &stream_plain : srv->tcp,
	                            .fd = fd};
	s->since = s->quiet = srv->d.now;
	s->peer.v6 = *peer;
	srv->high = i >= srv->high ? i + 1 : srv->high;
	peers_enter(&srv->peers, &s->place, address, srv->d.now);
	enter(srv, s, SLOT_HEAD);
	if (s->stream.kind->open(&s->stream) != 0)
		slot_drop(srv, s, "no memory for TLS");
	slot_settle(srv, i);
}

static void accept_clients(struct server *srv, size_t listener)
{
	for (int i = 0; i < ACCEPT_MAX; i++) {
		struct sockaddr_in6 peer = {0};
		const int fd = listen_accept(&srv->d.listeners, listener, &peer, srv->d.now);

		if (fd < 0)
			return;
		slot_open(srv, fd, &peer);
	}
}

/* Sees to it that the next snapshot has a buffer. When slow clients hold all of them, one snapshot is given up,
 * and the clients that hold it are dropped: the one whose fastest reader is the slowest. */
static void make_room(struct server *srv)
{
	struct snapshot_store *store = &srv->d.store;

	if (!snapshot_in_the_way(store))
		return;
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		store->all[i].pace = 0;
	for (size_t i = 0; i < srv->high; i++) {
		struct snapshot *pinned = srv->slots[i].c.pinned;
		/* A client whose endpoint still reads the snapshot waits for the daemon, so it is not slow. */
		const size_t pace = srv->slots[i].c.tx_left == 0
		                            ? SIZE_MAX
		                            : pace_now(&srv->slots[i].pace, srv->d.now);

		if (pinned && pace > pinned->pace)
			pinned->pace = pace;
	}
	const struct snapshot *slowest = snapshot_in_the_way(store);
	for (size_t i = 0; i < srv->high; i++) {
		if (srv->slots[i].c.pinned == slowest) {
			give_up(srv, &srv->slots[i], "too slow for the buffers there are");
			slot_settle(srv, i);
		}
	}
}

/* Asks the source for a State, and makes it the latest snapshot and one frame. False: there is
 * no new one. */
static bool build_snapshot(struct server *srv)
{
	struct snapshot_input input = {0};
	struct daemon *d = &srv->d;
	int64_t begin = clock_ns(CLOCK_MONOTONIC);
	int taken = d->source->take(d->source, d->now, &input);

	srv->asked = taken == 0;
	if (srv->asked)
		return false;
	srv->next_take = d->now + d->options.interval;
	d->counters.failed += taken < 0;
	if (taken < 0)
		return false;
	make_room(srv);
	size_t len = snapshot_take(&d->store, &input, &d->source->runtime, d->now);
	bool too_big = len > d->store.max;
	if (too_big && !srv->too_big)
		log_limited(&srv->sizes, d->now, "snapshot_too_big bytes=%zu max_snapshot=%zu", len,
		            d->store.max);
	srv->too_big = too_big;
	d->counters.failed += too_big;
	if (too_big)
		return false;
	counters_built(&d->counters, (uint64_t)(clock_ns(CLOCK_MONOTONIC) - begin));
	frame_snapshot(d->store.latest);
	return true;
}

static void take_snapshot(struct server *srv)
{
	if (!build_snapshot(srv))
		return;
	parts_taken(&srv->d);
	for (size_t i = 0; i < srv->high; i += 64)
		for (uint64_t bits = srv->waiting[i / 64]; bits; bits &= bits - 1)
			slot_settle(srv, i + (size_t)__builtin_ctzll(bits));
}

/* Events came, which may be owed to connections that read events. */
static void push_events(struct server *srv)
{
	srv->d.event_came = false;
	for (size_t i = 0; i < srv->high; i++)
		if (srv->slots[i].c.events)
			slot_settle(srv, i);
}

static void log_slots(const struct server *srv)
{
	for (size_t i = 0; i < srv->high; i++) {
		const struct slot *s = &srv->slots[i];

		if (s->state != SLOT_FREE)
			log_event("slot number=%zu state=%s peer=%s ready=%d sequence=%" PRIu64
			          " snapshots=%" PRIu64 " unsent=%zu quiet_ms=%" PRId64,
			          i, state_names[s->state], address_text(&s->peer.any), s->c.ready,
			          s->c.sent, s->delivered, s->c.tx_left + s->body_left,
			          srv->d.now - s->quiet);
	}
}

/* Stops listening and sends every client a close frame; a second call stops waiting for the answers. */
static void stop(struct server *srv, const char *signal)
{
	log_event("stopping signal=%s clients=%" PRIu64, signal, srv->d.counters.clients[SLOT_OPEN]);
	srv->stop_at = srv->stop_at ? srv->d.now : srv->d.now + STOP_MS;
	listen_close(&srv->d.listeners);
	for (size_t i = 0; i < srv->high; i++) {
		struct slot *s = &srv->slots[i];

		if (s->state == SLOT_FREE)
			continue;
		if (s->state == SLOT_HEAD || s->state == SLOT_ANSWER)
			slot_drop(srv, s, "going down");
		else if (s->state == SLOT_OPEN)
			begin_close(s, WS_GOING_AWAY, "going down");
		slot_settle(srv, i);
	}
}

/* Does what signals ask for. -1: they cannot be read, so that nothing could end the daemon any more. */
static int serve_signals(struct server *srv)
{
	int signal;

	while ((signal = setup_next_signal(srv->set.fds[FD_SIGNALS].fd)) > 0) {
		if (signal == SIGUSR1)
			log_slots(srv);
		else if (signal == SIGHUP)
			parts_read_again(&srv->d.options);
		else
			stop(srv, signal == SIGINT ? "SIGINT" : "SIGTERM");
	}
	return signal;
}

/* When the next snapshot is to be taken, if the source does not come back to it. */
static int64_t take_due(const struct server *srv)
{
	const int64_t own = srv->d.counters.waiting > 0 ? srv->next_take : srv->d.take_at;

	return own > srv->next_take ? own : srv->next_take;
}

/* Fills in what changes from turn to turn and returns when the next deadline is. */
static int64_t prepare(struct server *srv, int64_t *source_deadline)
{
	struct pollfd *fds = srv->set.fds + FD_SOURCE;

	*source_deadline = NEVER;
	for (nfds_t n = srv->d.source->poll(srv->d.source, fds, source_deadline); n < SOURCE_FDS; n++)
		fds[n].fd = -1;

	int64_t deadline = *source_deadline;
	listen_poll(&srv->d.listeners, srv->set.fds + FD_LISTENERS, srv->d.now, &deadline);
	if (srv->stop_at > 0)
		deadline = earlier(deadline, srv->stop_at);
	else if (!srv->asked)
		deadline = earlier(deadline, take_due(srv));
	return earlier(deadline, pollset_deadline(&srv->set));
}

static void serve_source(struct server *srv, int64_t deadline)
{
	struct pollfd *fds = srv->set.fds + FD_SOURCE;
	nfds_t n = 0;
	bool answered = false;

	for (; n < SOURCE_FDS && fds[n].fd >= 0; n++)
		answered |= fds[n].revents != 0;
	if (answered || deadline <= srv->d.now) {
		srv->d.source->serve(srv->d.source, fds, n, srv->d.now);
		srv->asked = false;
	}
}

/* May the slot's next bytes cost asymmetric cryptography, which takes as long as a thousand messages? */
static bool in_handshake(const struct slot *s)
{
	return s->state == SLOT_HEAD && s->held_until == 0 && s->stream.kind->secure;
}

/* Serves the slot, unless it is in a TLS handshake, which serve_handshakes goes on with. */
static void serve_client(struct server *srv, size_t i)
{
	if (in_handshake(&srv->slots[i]))
		srv->handshakes = true;
	else
		slot_serve(srv, i);
}

static void serve_clients(struct server *srv)
{
	const size_t end = pollset_deadline(&srv->set) <= srv->d.now ? srv->high : 0;
	ssize_t found;

	for (size_t i = 0; i < end; i++)
		if (pollset_is_past(&srv->set, i, srv->d.now))
			serve_client(srv, i);
	while ((found = pollset_next(&srv->set)) >= 0)
		serve_client(srv, (size_t)found);
}

/* Goes on with TLS handshakes for HANDSHAKES_MS. Those that are left are the first in the next turn. */
static void serve_handshakes(struct server *srv)
{
	const int64_t end = clock_ms(CLOCK_MONOTONIC) + HANDSHAKES_MS;
	const size_t first = srv->handshake, high = srv->high;

	srv->handshakes = false;
	for (size_t n = 0; n < high; n++) {
		size_t i = (first + n) % high;

		if (!in_handshake(&srv->slots[i]) ||
		    !(pollset_revents(&srv->set, i) || pollset_is_past(&srv->set, i, srv->d.now)))
			continue;
		slot_serve(srv, i);
		srv->handshake = i + 1;
		if (clock_ms(CLOCK_MONOTONIC) >= end)
			return;
	}
}

/* One turn of the loop. -1: it cannot go on (errno). */
static int turn(struct server *srv)
{
	int64_t source_deadline, deadline = prepare(srv, &source_deadline);
	int64_t wait = deadline == NEVER ? -1 : deadline > srv->d.now ? deadline - srv->d.now : 0;
	const int n = pollset_poll(&srv->set, wait > INT32_MAX ? INT32_MAX : (int)wait);

	if (n < 0 && errno != EINTR)
		return -1;
	srv->d.now = clock_ms(CLOCK_MONOTONIC);
	serve_source(srv, source_deadline);
	serve_clients(srv);
	if (srv->handshakes)
		serve_handshakes(srv);
	for (size_t i = 0; i < srv->d.listeners.count; i++)
		if (srv->set.fds[FD_LISTENERS + i].revents)
			accept_clients(srv, i);
	if ((n < 0 || srv->set.fds[FD_SIGNALS].revents) && serve_signals(srv) != 0)
		return -1;
	if (!srv->asked && take_due(srv) <= srv->d.now)
		take_snapshot(srv);
	if (srv->d.event_came)
		push_events(srv);
	return 0;
}

static int run(struct server *srv)
{
	srv->d.now = clock_ms(CLOCK_MONOTONIC);
	while (!srv->stop_at || (srv->high > 0 && srv->d.now < srv->stop_at)) {
		if (turn(srv) != 0) {
			log_event("error loop=\"%s\"", strerror(errno));
			return 1;
		}
	}
	return 0;
}

static int make_table(struct server *srv)
{
	const struct options *o = &srv->d.options;
	size_t n = srv->slot_count = o->max_clients + SPARE_SLOTS, memory;

	srv->d.take_at = NEVER;
	if (parts_start(&srv->d, &pull_endpoint, &memory) != 0)
		return -1;
	srv->slots = calloc(n, sizeof *srv->slots);
	srv->waiting = calloc(n / 64 + 1, sizeof *srv->waiting);
	if (pollset_open(&srv->set, FD_SLOTS, n) != 0 || !srv->slots || !srv->waiting ||
	    buffers_open(&srv->buffers, n, sizeof(struct buffer) + memory) != 0 ||
	    peers_open(&srv->peers, n) != 0 ||
	    snapshot_open(&srv->d.store, o->max_snapshot) != 0) {
		log_event("error reason=\"out of memory: --max-clients %zu --max-snapshot %zu\"",
		          o->max_clients, o->max_snapshot);
		return -1;
	}
	/* Unless the option says so, the limit holds for neither this machine nor a proxy. */
	srv->peers.loopback = o->max_per_address != NOT_GIVEN;
	srv->peers.most = srv->peers.loopback ? o->max_per_address : o->public_url ? 0 : n / 2;
	srv->set.fds[FD_SIGNALS].events = POLLIN;
	srv->d.clock_ms = clock_ms;
	srv->d.drop = drop_connection;
	memcpy(srv->d.counters.names, state_names, sizeof state_names);
	srv->d.counters.clients[SLOT_FREE] = n;
	return 0;
}

static void release(struct server *srv)
{
	for (size_t i = 0; i < srv->high; i++)
		if (srv->slots[i].state != SLOT_FREE)
			slot_free(srv, &srv->slots[i], i);
	listen_close(&srv->d.listeners);
	if (srv->d.source)
		srv->d.source->close(srv->d.source);
	snapshot_close(&srv->d.store);
	parts_stop(&srv->d);
	pollset_close(&srv->set);
	free(srv->slots);
	free(srv->waiting);
	buffers_close(&srv->buffers);
	peers_close(&srv->peers);
}

/* Does all that needs more rights than the loop, then gives them up. 0, or -1 with one line logged. */
static int start(struct server *srv)
{
	struct options *o = &srv->d.options;

	setup_no_core();
	if (setup_standard() != 0 ||
	    setup_descriptors(&o->max_clients, SPARE_SLOTS + FD_SLOTS + OTHER_FDS) != 0 ||
	    make_table(srv) != 0 || (srv->set.fds[FD_SIGNALS].fd = setup_signals()) < 0 ||
	    (srv->tcp = parts_read(o)) == NULL ||
	    listen_all(&srv->d.listeners, o->listen.text, o->listen.count) != 0 ||
	    parts_open_source(&srv->d) != 0 || (parts_rights && parts_rights(&srv->d) != 0))
		return -1;
	srv->d.started = clock_ms(CLOCK_BOOTTIME);
	listen_announce(&srv->d.listeners, srv->tcp->secure, !o->token_file && !o->tls_client_ca);
	return 0;
}

int main(int argc, char **argv)
{
	static struct server srv;
	int status = options_read(&srv.d.options, argc, argv);

	if (status >= 0)
		return status;
	log_set_verbose(srv.d.options.verbose);
	status = start(&srv) == 0 ? run(&srv) : 1;
	release(&srv);
	return status;
}
