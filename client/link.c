#include "link.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/head.h"
#include "base/log.h"
#include "client/handshake.h"

#define UPGRADE                       \
	"Upgrade: websocket\r\n"         \
	"Connection: Upgrade\r\n"        \
	"Sec-WebSocket-Version: 13\r\n" \
	"Sec-WebSocket-Key: "

enum {
	MESSAGE_MIN = 65536, /* bytes allocated at first */
	CONTROL_FRAME_MAX = 2 + 4 + WS_CONTROL_MAX,
};

void link_init(struct link *l, const struct address *address, uint32_t max_message)
{
	*l = (struct link){
	    .address = *address,
	    .lookup.fd = -1,
	    .fd = -1,
	    .retry = LINK_RETRY_MS,
	    .max_message = max_message,
	};
}

const char *link_name(const struct link *l)
{
	return l->endpoint < l->resolved.count ? l->resolved.endpoints[l->endpoint].name : "";
}

static void hang_up(struct link *l)
{
	lookup_stop(&l->lookup);
	tls_close(l->tls);
	l->tls = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	l->rx_len = l->rx_at = l->tx_len = l->tx_at = 0;
}

static void random_bytes(void *out, size_t len)
{
	if (getrandom(out, len, 0) == (ssize_t)len)
		return;
	perror("introspect: random numbers"); /* a kernel before 3.17 */
	exit(EXIT_FAILURE);
}

/* No endpoint is left to try: waits before the next round. The pause is up to a fourth longer or shorter than
 * l->retry, by chance, so that many clients of one daemon do not come back at once. */
static enum link_event wait_to_retry(struct link *l, int64_t now)
{
	uint16_t dice;

	hang_up(l);
	random_bytes(&dice, sizeof dice);
	l->state = LINK_WAITING;
	l->deadline = now + l->retry * 3 / 4 + l->retry * dice / (INT64_C(2) * UINT16_MAX);
	l->retry = l->retry * 2 < LINK_RETRY_MAX_MS ? l->retry * 2 : LINK_RETRY_MAX_MS;
	return LINK_FAILED;
}

static enum link_event connect_next(struct link *l, int64_t now);

/* Gives up the endpoint in use and adds the reason to why; until the first reason of a round, why holds those of
 * the round before. The next endpoint of the round is tried at once, unless this connection was open. */
__attribute__((format(printf, 3, 4))) static enum link_event fail(struct link *l, int64_t now,
								  const char *format, ...)
{
	size_t used = strlen(l->why);
	va_list args;

	if (l->state == LINK_OPEN || l->endpoint == 0)
		used = 0;
	used += (size_t)snprintf(l->why + used, sizeof l->why - used,
				 "%s%s: ", used > 0 ? "; " : "", link_name(l));
	if (used < sizeof l->why) {
		va_start(args, format);
		vsnprintf(l->why + used, sizeof l->why - used, format, args);
		va_end(args);
	}
	if (l->state == LINK_OPEN)
		return wait_to_retry(l, now);
	hang_up(l);
	l->endpoint++;
	return connect_next(l, now);
}

/* The server closed the connection, or the kernel says that it did. */
static enum link_event closed(struct link *l, int64_t now)
{
	if (l->state == LINK_OPEN)
		return fail(l, now, "broke the connection off");
	return fail(l, now, "closed the connection without an answer%s",
		    l->tls               ? ": it may want a certificate (--tls-cert)"
		    : l->address.is_path ? ""
					 : ": if it speaks TLS, use wss://");
}

/* Reading or writing failed, as errno and TLS say. */
static enum link_event broken(struct link *l, int64_t now)
{
	char why[TLS_WHY_MAX];

	if (errno == ECONNRESET || errno == EPIPE)
		return closed(l, now);
	if (!l->tls || errno != EPROTO)
		return fail(l, now, "%s", strerror(errno));
	return fail(l, now, "%s%s", tls_error(l->tls, why),
		    tls_is_untrusted(l->tls) ? ": see --ca" : "");
}

/* Starts to connect to the next endpoint of the round. */
static enum link_event connect_next(struct link *l, int64_t now)
{
	if (l->endpoint == l->resolved.count)
		return wait_to_retry(l, now);
	const struct endpoint *e = &l->resolved.endpoints[l->endpoint];
	int on = 1;

	l->state = LINK_CONNECTING;
	l->deadline = now + LINK_CONNECT_MS;
	l->fd = socket(e->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return fail(l, now, "%s", strerror(errno));
	if (e->at.ss_family != AF_UNIX)
		setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(l->fd, (const struct sockaddr *)&e->at, e->len) < 0 && errno != EINPROGRESS)
		return fail(l, now, "%s", strerror(errno));
	return LINK_NOTHING;
}

/* Connects to the first of the endpoints that were found, or ends the round if none was. */
static enum link_event begin_to_connect(struct link *l, int64_t now)
{
	if (l->resolved.count > 0)
		return connect_next(l, now);
	snprintf(l->why, sizeof l->why, "%s: %s", l->address.host, resolved_error(&l->resolved));
	return wait_to_retry(l, now);
}

static enum link_event start_round(struct link *l, int64_t now)
{
	l->endpoint = 0;
	if (address_is_known(&l->address, &l->resolved))
		return begin_to_connect(l, now);
	l->state = LINK_LOOKUP;
	l->deadline = now + LINK_LOOKUP_MS;
	if (lookup_start(&l->lookup, &l->address))
		return LINK_NOTHING;
	snprintf(l->why, sizeof l->why, "%s: %s", l->address.host, strerror(errno));
	return wait_to_retry(l, now);
}

/* The child that looks the name up has an answer, or has had its time. */
static enum link_event serve_lookup(struct link *l, short revents, int64_t now)
{
	if (revents != 0) {
		lookup_finish(&l->lookup, &l->resolved);
		return begin_to_connect(l, now);
	}
	if (now < l->deadline)
		return LINK_NOTHING;
	snprintf(l->why, sizeof l->why, "%s: its address could not be found in %d s",
		 l->address.host, LINK_LOOKUP_MS / 1000);
	return wait_to_retry(l, now);
}

/* Sends what is waiting. False: the connection is broken, as errno says. */
static bool flush(struct link *l)
{
	while (l->tx_at < l->tx_len) {
		size_t len = l->tx_len - l->tx_at;
		ssize_t n = l->tls ? tls_send(l->tls, l->tx + l->tx_at, len)
				   : send(l->fd, l->tx + l->tx_at, len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n < 0)
			return false;
		l->tx_at += (size_t)n;
	}
	l->tx_at = l->tx_len = 0;
	return true;
}

/* Appends a masked frame of at most WS_CONTROL_MAX bytes. No frame is read while bytes wait to be
 * sent, so at most one pong waits, beside a ready, a ping and a close frame: tx has room. */
static void put_frame(struct link *l, enum ws_opcode opcode, const void *payload, size_t len)
{
	uint8_t key[4];

	if (sizeof l->tx - l->tx_len < CONTROL_FRAME_MAX)
		return;
	random_bytes(key, sizeof key);
	l->tx_len += ws_header(l->tx + l->tx_len, opcode, len, key);
	if (len > 0)
		memcpy(l->tx + l->tx_len, payload, len);
	ws_mask(l->tx + l->tx_len, len, key, 0);
	l->tx_len += len;
}

static void put_close(struct link *l, uint16_t code)
{
	uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	put_frame(l, WS_CLOSE, payload, code == WS_NO_STATUS ? 0 : sizeof payload);
	flush(l);
}

void link_refuse(struct link *l, uint16_t code, const char *reason, int64_t now)
{
	put_close(l, code);
	fail(l, now, "%s", reason);
}

static enum link_event start_handshake(struct link *l, int64_t now)
{
	uint8_t nonce[16];
	int error = 0;
	socklen_t len = sizeof error;

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0)
		return fail(l, now, "%s", strerror(error != 0 ? error : errno));
	if (l->address.secure && !(l->tls = tls_open(l->tls_config, l->fd, l->address.host)))
		return fail(l, now, "no memory for TLS");
	random_bytes(nonce, sizeof nonce);
	handshake_key(l->key, nonce);
	l->tx_len = (size_t)snprintf((char *)l->tx, sizeof l->tx,
				     "GET %s HTTP/1.1\r\n"
				     "Host: %s\r\n"
				     "%s%s%s%s%s%s\r\n",
				     l->address.target, l->resolved.endpoints[l->endpoint].host,
				     l->get ? "Connection: close\r\n" : UPGRADE, l->get ? "" : l->key,
				     l->get ? "" : "\r\n",
				     l->token ? "Authorization: Bearer " : "",
				     l->token ? l->token : "", l->token ? "\r\n" : "");
	l->state = LINK_HANDSHAKE;
	return flush(l) ? LINK_NOTHING : broken(l, now);
}

/* The first line of the answer's body, if it came with the head and begins with the status: so
 * introspectd says why it refuses. at is NULL: there is none. */
static struct ws_text refusal_line(const struct link *l, int status)
{
	const char *head = (const char *)l->rx;
	const char *end = memmem(head, l->rx_len, "\r\n\r\n", 4);
	char start[16];
	struct ws_text line = {NULL, 0};

	snprintf(start, sizeof start, "%d ", status);
	if (!end || l->rx_len < (size_t)(end - head) + 4 + strlen(start) ||
	    memcmp(end + 4, start, strlen(start)) != 0)
		return line;
	line.at = end + 4;
	while (line.at + line.len < head + l->rx_len && line.at[line.len] != '\n')
		line.len++;
	return line;
}

/* The server did not open a WebSocket: fails with what its status means and what helps. */
static enum link_event refused(struct link *l, int status, int64_t now)
{
	const struct address *a = &l->address;
	struct ws_text line = refusal_line(l, status);
	struct ws_text location = handshake_field((const char *)l->rx, l->rx_len, "Location");

	if (status / 100 == 3 && location.at)
		return fail(l, now, "has moved (%d): use the address %s", status,
			    log_escape(location.at, location.len));
	if (l->get && status == 404)
		return fail(l, now, "remembers nothing: start introspectd with --remember");
	if (l->get && status == 200)
		return fail(l, now, "answers with no recording (200): is it an introspectd?");
	if (line.at && status != 401)
		return fail(l, now, "refuses: %s", log_escape(line.at, line.len));
	if (status == 403 && a->host[0] != '\0' && !a->is_path)
		return fail(l, now,
			    "does not answer to this name (403): use its IP address, or start "
			    "introspectd with --allow-host %s",
			    a->host);
	switch (status) {
	case 200:
		return fail(l, now,
			    "answers with a page (200): does a proxy before it pass Upgrade on?");
	case 401:
		return fail(l, now, "%s (401)",
			    l->token ? "does not take this token" : "wants a token: see --token-file");
	case 502:
	case 503:
	case 504:
		return fail(l, now, "is a proxy that reaches no daemon (%d)", status);
	case WS_PROTOCOL_ERROR:
		return fail(l, now, "is not a WebSocket server");
	default:
		return fail(l, now, "answers HTTP %d: is it an introspectd?", status);
	}
}

/* Reads the head of an answer. Returns > 0: the bytes of the head, behind which the body comes in chunks (RFC
 * 9112 section 7.1); 0: the head is incomplete; < 0: the status of an answer of another form, negated. */
static int get_head(const struct link *l)
{
	const char *head = (const char *)l->rx;
	const int len = head_length(head, l->rx_len);

	if (len == 0)
		return l->rx_len < sizeof l->rx ? 0 : -WS_PROTOCOL_ERROR;
	const int status = len > 0 ? handshake_status(head, (size_t)len) : 0;
	if (status == 200 &&
	    ws_text_is(handshake_field(head, (size_t)len, "Transfer-Encoding"), "chunked"))
		return len;
	return status > 0 ? -status : -WS_PROTOCOL_ERROR;
}

static enum link_event read_head(struct link *l, int64_t now)
{
	int n = l->get ? get_head(l) : handshake_response((const char *)l->rx, l->rx_len, l->key);

	if (n < 0)
		return refused(l, -n, now);
	if (n == 0)
		return LINK_NOTHING;
	l->rx_at = (size_t)n;
	l->state = LINK_OPEN;
	l->deadline = now + LINK_SILENCE_MS;
	l->decoder = (struct ws_decoder){.client = true, .max_message = l->max_message};
	l->message_len = 0;
	l->may_send = true;
	l->pinged = false;
	l->chunk = l->chunk_left = 0;
	l->size_line = NO_SIZE;
	return LINK_OPENED;
}

/* Adds bytes to the message. Its memory grows with what came, never with a length that was only
 * announced. False: out of memory. */
static bool append(struct link *l, const uint8_t *data, size_t len)
{
	size_t size = l->message_size > 0 ? l->message_size : MESSAGE_MIN;

	while (size < l->message_len + len)
		size *= 2;
	if (size > l->message_size) {
		uint8_t *bigger = realloc(l->message, size);

		if (!bigger)
			return false;
		l->message = bigger;
		l->message_size = size;
	}
	if (len > 0)
		memcpy(l->message + l->message_len, data, len);
	l->message_len += len;
	return true;
}

static enum link_event refuse(struct link *l, uint16_t code, const char *reason, int64_t now)
{
	link_refuse(l, code, reason, now);
	return LINK_FAILED;
}

static enum link_event take_data(struct link *l, int64_t now)
{
	const struct ws_decoder *d = &l->decoder;

	if (d->opcode != WS_BINARY)
		return refuse(l, WS_POLICY, "sent text, not a snapshot", now);
	if (!l->may_send)
		return refuse(l, WS_POLICY, "sent a snapshot that was not asked for", now);
	if (!append(l, d->data, d->data_len))
		return refuse(l, WS_TOO_BIG, "not enough memory for its snapshot", now);
	if (d->event == WS_DATA)
		return LINK_NOTHING;
	l->may_send = l->pushed;
	return LINK_MESSAGE;
}

static enum link_event take_close(struct link *l, int64_t now)
{
	const struct ws_decoder *d = &l->decoder;
	bool given = d->control_len > 2;
	const char *reason = given ? log_escape(d->control + 2, d->control_len - 2U) : "";

	put_close(l, d->close_code);
	return fail(l, now, "closed the connection (%u%s%s)", d->close_code,
		    d->close_code == WS_GOING_AWAY ? ", going away"
		    : given                        ? ", "
						   : "",
		    given && d->close_code != WS_GOING_AWAY ? reason : "");
}

/* The decoder refused what came, with this close code (RFC 6455 section 7.4.1). */
static enum link_event broke_protocol(struct link *l, int code, int64_t now)
{
	char reason[80];

	if (code != WS_TOO_BIG)
		return refuse(l, (uint16_t)code, "broke the WebSocket protocol", now);
	snprintf(reason, sizeof reason, "sent more than %" PRIu32 " bytes (see --max-message)",
		 l->max_message);
	return refuse(l, (uint16_t)code, reason, now);
}

/* Takes a byte of the line before a chunk (RFC 9112 section 7.1): its size in hexadecimal, behind
 * which extensions are skipped. False: there is no size, or it is over max_message. */
static bool take_size(struct link *l, uint8_t c)
{
	static const char digits[] = "0123456789abcdef";
	const char *digit = memchr(digits, tolower(c), sizeof digits - 1);

	if (c == '\n' && l->size_line != NO_SIZE) {
		l->chunk_left = l->chunk + 2;
		l->size_line = NO_SIZE;
	} else if (digit && l->size_line != AFTER_SIZE) {
		l->chunk = l->chunk * 16 + (uint64_t)(digit - digits);
		l->size_line = SIZE;
	} else if (l->size_line == SIZE && memchr("\r; \t", c, 4)) {
		l->size_line = AFTER_SIZE;
	} else if (l->size_line != AFTER_SIZE) {
		return false;
	}
	return l->chunk <= l->max_message;
}

/* Adds the chunks that came to the message. The chunk of size 0 ends it. */
static enum link_event read_chunks(struct link *l, int64_t now)
{
	while (l->rx_at < l->rx_len) {
		const size_t there = l->rx_len - l->rx_at;

		if (l->chunk_left > 2) {
			const size_t n = there < l->chunk_left - 2 ? there : (size_t)l->chunk_left - 2;

			if (l->message_len + n > l->max_message)
				return fail(l, now, "sent more than %" PRIu32
					    " bytes (see --max-message)", l->max_message);
			if (!append(l, l->rx + l->rx_at, n))
				return fail(l, now, "not enough memory for its answer");
			l->rx_at += n;
			l->chunk_left -= n;
		} else if (l->chunk_left > 0) {
			if (l->rx[l->rx_at++] != (l->chunk_left == 2 ? '\r' : '\n'))
				return fail(l, now, "sent a chunk that is longer than its size");
			l->chunk = --l->chunk_left > 0 ? l->chunk : 0;
		} else if (!take_size(l, l->rx[l->rx_at++])) {
			return fail(l, now, "sent a chunk without a size, or too large a one");
		} else if (l->chunk_left == 2) {
			return LINK_MESSAGE;
		}
	}
	return LINK_NOTHING;
}

/* Decodes what was read, up to the first event that matters to the owner. Stops while bytes wait
 * to be sent. */
static enum link_event read_frames(struct link *l, int64_t now)
{
	enum link_event event = LINK_NOTHING;

	while (event == LINK_NOTHING && l->state == LINK_OPEN && l->rx_at < l->rx_len &&
	       l->tx_len == 0) {
		int n = ws_decode(&l->decoder, l->rx + l->rx_at, l->rx_len - l->rx_at);

		if (n < 0)
			return broke_protocol(l, -n, now);
		l->rx_at += (size_t)n;
		switch (l->decoder.event) {
		case WS_DATA:
		case WS_MESSAGE:
			event = take_data(l, now);
			break;
		case WS_GOT_PING:
			put_frame(l, WS_PONG, l->decoder.control, l->decoder.control_len);
			if (!flush(l))
				return broken(l, now);
			break;
		case WS_GOT_CLOSE:
			return take_close(l, now);
		}
	}
	return event;
}

/* Reads once, if all that was read before has been used. */
static enum link_event receive(struct link *l, int64_t now)
{
	if (l->state == LINK_OPEN && l->rx_at < l->rx_len)
		return LINK_NOTHING;
	if (l->rx_at == l->rx_len)
		l->rx_at = l->rx_len = 0;
	size_t room = sizeof l->rx - l->rx_len;
	ssize_t n = l->tls ? tls_recv(l->tls, l->rx + l->rx_len, room)
			   : recv(l->fd, l->rx + l->rx_len, room, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return LINK_NOTHING;
	if (n < 0)
		return broken(l, now);
	if (n == 0)
		return closed(l, now);
	l->rx_len += (size_t)n;
	if (l->state == LINK_HANDSHAKE)
		return read_head(l, now);
	l->deadline = now + LINK_SILENCE_MS;
	l->pinged = false;
	return LINK_NOTHING;
}

static enum link_event pass_deadline(struct link *l, int64_t now)
{
	if (l->state != LINK_OPEN)
		return fail(l, now, "no answer in %d s", LINK_CONNECT_MS / 1000);
	if (l->pinged || l->get)
		return fail(l, now, "no sign of life in %d s",
			    (l->pinged ? 2 : 1) * LINK_SILENCE_MS / 1000);
	put_frame(l, WS_PING, NULL, 0);
	l->pinged = true;
	l->deadline = now + LINK_SILENCE_MS;
	return LINK_NOTHING;
}

void link_poll(const struct link *l, struct pollfd *fd, int64_t *deadline)
{
	const bool sending = l->state == LINK_CONNECTING || l->tx_len > 0;
	const bool writable = l->tls ? tls_wants_write(l->tls) : sending;
	const bool unused = l->rx_at < l->rx_len || (l->tls && tls_pending(l->tls) > 0);

	*fd = (struct pollfd){.fd = l->state == LINK_LOOKUP ? l->lookup.fd : l->fd,
	                      .events = writable ? POLLOUT : POLLIN};
	if (l->deadline < *deadline)
		*deadline = l->deadline;
	if (l->state == LINK_OPEN && !sending && unused)
		*deadline = 0; /* bytes were read already, of which poll() does not know */
}

enum link_event link_serve(struct link *l, short revents, int64_t now)
{
	enum link_event event = LINK_NOTHING;

	if (l->state == LINK_WAITING)
		return now >= l->deadline ? start_round(l, now) : LINK_NOTHING;
	if (l->state == LINK_LOOKUP)
		return serve_lookup(l, revents, now);
	if (now >= l->deadline && (revents == 0 || l->state != LINK_OPEN) &&
	    (event = pass_deadline(l, now)) != LINK_NOTHING)
		return event;
	if (l->state == LINK_CONNECTING)
		return revents != 0 ? start_handshake(l, now) : LINK_NOTHING;
	if (!flush(l))
		return broken(l, now);
	if (l->tx_len == 0 && (revents & (POLLIN | POLLHUP | POLLERR) || l->tls) &&
	    (event = receive(l, now)) != LINK_NOTHING)
		return event;
	if (l->state != LINK_OPEN)
		return LINK_NOTHING;
	return l->get ? read_chunks(l, now) : read_frames(l, now);
}

void link_ready(struct link *l, const uint8_t *wishes, size_t len)
{
	if (l->state != LINK_OPEN || (l->may_send && !l->pushed))
		return;
	l->message_len = 0;
	if (l->pushed)
		return;
	l->may_send = true;
	l->retry = LINK_RETRY_MS; /* all is well again */
	if (len > 0)
		put_frame(l, WS_BINARY, wishes, len);
	else
		put_frame(l, WS_TEXT, "r", 1);
	flush(l);
}

void link_command(struct link *l, const uint8_t *command, size_t len)
{
	l->retry = LINK_RETRY_MS;
	put_frame(l, WS_BINARY, command, len);
	flush(l);
}

void link_close(struct link *l)
{
	if (l->state == LINK_OPEN && !l->get)
		put_close(l, WS_NORMAL);
	if (l->tls)
		tls_bye(l->tls);
	hang_up(l);
	free(l->message);
	l->message = NULL;
}
