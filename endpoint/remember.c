#include "endpoint/remember.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/parts.h"
#include "endpoint/past.h"

enum {
	CHUNK_MAX = 12 << 10,   /* bytes of the recording in one message */
	CHUNK_HEAD = 8,         /* bytes: its length in hexadecimal, and a line end */
};

static struct past past;
static uint64_t runtime_changes;   /* of the source, when past_runtime was last called */

/* The memory of a reader. */
struct answer {
	struct http_answer http;   /* as it was judged; then with type and framing */
	bool http_1_0;    /* which has no chunks: the answer ends with the connection */
	bool begun;
	struct past_reader reader;
	char out[CHUNK_HEAD + CHUNK_MAX + 2];
};

_Static_assert(sizeof((struct answer){0}.out) >= WS_HEAD_MAX, "a response head must fit");

static int remember_start(struct daemon *d)
{
	struct options *o = &d->options;

	if (o->remember == 0)
		return 1;
	o->remember_every = o->remember_every ? o->remember_every : DEFAULT_REMEMBER_EVERY_MS;
	o->remember_bytes = o->remember_bytes ? o->remember_bytes : DEFAULT_REMEMBER_BYTES;
	if (past_open(&past, o->remember_bytes, o->remember) != 0) {
		log_event("error reason=\"%s\" remember_bytes=%zu", strerror(errno), o->remember_bytes);
		return -1;
	}
	d->take_at = 0;
	return 0;
}

static void remember_stop(void)
{
	past_close(&past);
}

static void remember_runtime(const struct daemon *d)
{
	const struct source *s = d->source;

	if (past.heads == 0 || runtime_changes != s->runtime_changes)
		past_runtime(&past, &s->runtime, d->options.remember_every);
	runtime_changes = s->runtime_changes;
}

/* A snapshot that was taken for a client before take_at is not remembered. */
static void remember_taken(struct daemon *d)
{
	if (d->source->events_since == 0)
		d->source->events_since = d->now;
	if (d->now < d->take_at)
		return;
	d->take_at = d->now + d->options.remember_every;
	remember_runtime(d);
	past_state(&past, d->now, parts_forms->form(d->forms, d->store.latest, 0), d->store.latest);
}

static const char *remember_event(struct daemon *d, const uint8_t *event, size_t len)
{
	past_event(&past, d->now, event, len);
	return NULL;
}

/* The number behind since= at the beginning of a query, ms since the epoch; 0: there is no since=; -1: no
 * number stands behind it. */
static int64_t read_since(struct ws_text query)
{
	int64_t since = 0;
	size_t i = 6;

	if (query.len < i || memcmp(query.at, "since=", i) != 0)
		return 0;
	for (; i < query.len && query.at[i] != '&'; i++) {
		if (query.at[i] < '0' || query.at[i] > '9' || since > INT64_MAX / 20)
			return -1;
		since = since * 10 + query.at[i] - '0';
	}
	return i > 6 ? since : -1;
}

static void remember_open(struct daemon *d, struct connection *c, const struct ws_request *r,
                          const struct http_answer *a)
{
	struct answer *answer = c->memory;
	const int64_t since = read_since(r->query);

	remember_runtime(d);
	answer->http = *a;
	if (since < 0) {
		answer->http.status = 400;
		answer->http.reason = "since= is no number of ms since 1970";
	}
	answer->http_1_0 = r->http_1_0;
	/* since is converted by how long ago it was by the clock of the day, as that clock is now: items are
	 * remembered by the monotonic clock alone. */
	answer->reader = past_reader(
		&past, since > 0 ? d->now - (d->clock_ms(CLOCK_REALTIME) - since) : INT64_MIN);
}

static void put_head(const struct daemon *d, struct answer *answer, struct message *m)
{
	struct http_answer *a = &answer->http;

	if (a->status == 200) {
		a->type = "application/octet-stream";
		a->framing = answer->http_1_0 ? "" : "Transfer-Encoding: chunked\r\n";
	}
	m->head_len = http_head(answer->out, a, (time_t)(d->clock_ms(CLOCK_REALTIME) / 1000));
	answer->begun = true;
	m->last = a->no_body || a->status != 200;
}

/* Makes a message of the next bytes of the recording. In HTTP/1.1 each is a chunk, and an empty chunk ends the
 * answer (RFC 9112 section 7.1), so that a client can tell a whole answer from one that was cut off. */
static int put_chunk(struct daemon *d, struct connection *c, struct message *m)
{
	struct answer *answer = c->memory;
	uint8_t *const chunk = (uint8_t *)answer->out + CHUNK_HEAD, byte;
	const long n = past_read(&past, &answer->reader, chunk, CHUNK_MAX);
	struct past_reader peek = answer->reader;
	char head[CHUNK_HEAD + 1];

	/* n is 0 in HTTP/1.0 only if the rest, which the last call has seen, was dropped since. */
	if (n == PAST_LOST || (n == 0 && answer->http_1_0)) {
		d->drop(d, c, "too slow for what is remembered");
		return 0;
	}
	/* In HTTP/1.0 the message with the last bytes must be the last one: the loop cannot write a message of
	 * no bytes, as would be needed behind it. */
	m->last = n == 0 || (answer->http_1_0 && past_read(&past, &peek, &byte, 1) == 0);
	m->head_len = (size_t)n;
	m->head = chunk;
	if (answer->http_1_0)
		return 1;
	snprintf(head, sizeof head, "%06lx\r\n", n);
	memcpy(answer->out, head, CHUNK_HEAD);
	memcpy(answer->out + CHUNK_HEAD + n, "\r\n", 2);
	m->head = (uint8_t *)answer->out;
	m->head_len += CHUNK_HEAD + 2;
	return 1;
}

static int remember_next(struct daemon *d, struct connection *c, struct message *m)
{
	struct answer *answer = c->memory;

	if (answer->begun)
		return put_chunk(d, c, m);
	m->head = (uint8_t *)answer->out;
	put_head(d, answer, m);
	return 1;
}

const struct endpoint remember_endpoint = {
	.path = "/past",
	.about = "a recording of what is remembered",
	.size = sizeof(struct answer),
	.start = remember_start,
	.stop = remember_stop,
	.open = remember_open,
	.next = remember_next,
	.event = remember_event,
	.taken = remember_taken,
};
