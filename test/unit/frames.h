#ifndef FRAMES_H
#define FRAMES_H

/* Tables of frames and of what a decoder must make of them. Each row is written down once, unmasked. The
 * test replays it in both directions (masked as a client sends it, and unmasked), in one piece, byte by
 * byte, and cut in two at each place. To be included after cmocka.h and what that needs. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "ws.h"

struct frame {
	uint8_t first;         /* FIN, RSV, opcode */
	uint8_t form;          /* bytes that the length takes in the header: 1, 2 or 8; 0: the fewest */
	char fill;             /* when payload is NULL: len times this */
	const char *payload;
	size_t len;
	uint64_t announced;    /* with form: the length that the header tells, of which nothing comes */
};

#define PAYLOAD(first_, text) {.first = (first_), .payload = (text), .len = sizeof(text) - 1}
#define TEXT(text) PAYLOAD(0x81, text)
#define BINARY(text) PAYLOAD(0x82, text)
#define TEXT_BEGIN(text) PAYLOAD(0x01, text)
#define BINARY_BEGIN(text) PAYLOAD(0x02, text)
#define MORE(text) PAYLOAD(0x00, text)
#define LAST(text) PAYLOAD(0x80, text)
#define CLOSE(text) PAYLOAD(0x88, text)
#define PING(text) PAYLOAD(0x89, text)
#define PONG(text) PAYLOAD(0x8a, text)
#define FILLED(first_, c, n) {.first = (first_), .fill = (c), .len = (n)}
#define HEADER(first_, form_, n) {.first = (first_), .form = (form_), .announced = (n)}
#define FRAMES(...) (const struct frame[]){__VA_ARGS__, {0}}

/* expected: the events in their order, e.g. "ping(a) text(Hello) close(1000 bye)",
 * more than 32 equal bytes as x*N. A refusal stands last, with the byte at
 * which it must come: "1007@2:5" at the fifth payload byte of frame 2 (from 0),
 * "1002@0:start" at the second byte of its header, "1009@0:header" at the last. */
struct row {
	const char *name;
	const struct frame *frames;
	const char *expected;
};

struct stream {
	uint8_t bytes[GUARDED_MAX];
	size_t len;
	size_t refused_at;   /* bytes that must have come; 0: never */
};

static inline size_t fewest(uint64_t len)
{
	return len < 126 ? 1 : len < 65536 ? 2 : 8;
}

/* Appends a frame and returns the bytes of its header. key NULL: unmasked. */
static inline size_t append_frame(struct stream *s, const struct frame *f, const uint8_t *key)
{
	uint64_t len = f->form ? f->announced : f->len;
	size_t form = f->form ? f->form : fewest(len);
	uint8_t *start = s->bytes + s->len, *p = start;

	assert_true(s->len + 14 + f->len <= sizeof s->bytes);
	*p++ = f->first;
	*p++ = (uint8_t)((form == 1 ? len : form == 2 ? 126 : 127) | (key ? 0x80 : 0));
	for (size_t i = form == 1 ? 0 : form; i-- > 0;)
		*p++ = (uint8_t)(len >> (8 * i));
	for (int i = 0; key && i < 4; i++)
		*p++ = key[i];
	size_t header = (size_t)(p - start);
	for (size_t i = 0; i < f->len; i++)
		*p++ = (uint8_t)((f->payload ? f->payload[i] : f->fill) ^ (key ? key[i % 4] : 0));
	s->len += header + f->len;
	return header;
}

/* How many bytes of the stream must have come when the frame with this number, from 0, is refused, as the end of
 * expected says; 0: expected does not say that this frame is refused. start: the frame's first byte. */
static inline size_t refusal_in(const char *expected, int number, size_t start, size_t header)
{
	const char *at = strrchr(expected, '@');
	int frame, used = 0;

	if (!at || sscanf(at, "@%d:%n", &frame, &used) != 1 || used == 0 || frame != number)
		return 0;
	if (strcmp(at + used, "start") == 0)
		return start + 2;
	if (strcmp(at + used, "header") == 0)
		return start + header;
	return start + header + strtoul(at + used, NULL, 10);
}

static inline void build_stream(struct stream *s, const struct row *row, const uint8_t *key)
{
	s->len = s->refused_at = 0;
	for (int i = 0; row->frames[i].payload || row->frames[i].fill || row->frames[i].form; i++) {
		size_t start = s->len;
		size_t header = append_frame(s, &row->frames[i], key);
		size_t at = refusal_in(row->expected, i, start, header);

		s->refused_at = at ? at : s->refused_at;
	}
}

struct transcript {
	char text[4096];
	size_t len;
	uint8_t message[GUARDED_MAX];   /* what has come of the message under way */
	size_t message_len;
};

static inline void note(struct transcript *t, const char *event, const void *payload, size_t len)
{
	const char *p = payload;
	size_t same = 0;

	while (same < len && p[same] == p[0])
		same++;
	if (same == len && len > 32)
		t->len += (size_t)snprintf(t->text + t->len, sizeof t->text - t->len,
		                           "%s%s(%c*%zu)", t->len ? " " : "", event, p[0], len);
	else
		t->len += (size_t)snprintf(t->text + t->len, sizeof t->text - t->len, "%s%s(%.*s)",
		                           t->len ? " " : "", event, (int)len, p);
	assert_true(t->len < sizeof t->text);
}

static inline void note_close(struct transcript *t, const struct ws_decoder *d)
{
	char text[WS_CONTROL_MAX + 16];
	int n = d->close_code == WS_NO_STATUS ? 0
	        : snprintf(text, sizeof text, "%u%s%.*s", d->close_code,
	                   d->control_len > 2 ? " " : "", d->control_len - 2, d->control + 2);

	note(t, "close", text, (size_t)n);
}

static inline void note_event(struct transcript *t, const struct ws_decoder *d)
{
	switch (d->event) {
	case WS_DATA:
	case WS_MESSAGE:
		assert_true(t->message_len + d->data_len <= sizeof t->message);
		memcpy(t->message + t->message_len, d->data, d->data_len);
		t->message_len += d->data_len;
		assert_true(d->opcode == WS_TEXT || d->opcode == WS_BINARY);
		if (d->event == WS_MESSAGE) {
			note(t, d->opcode == WS_TEXT ? "text" : "binary", t->message,
			     t->message_len);
			t->message_len = 0;
		}
		break;
	case WS_GOT_PING:
		note(t, "ping", d->control, d->control_len);
		break;
	case WS_GOT_PONG:
		note(t, "pong", d->control, d->control_len);
		break;
	case WS_GOT_CLOSE:
		note_close(t, d);
		break;
	default:
		break;
	}
}

/* Decodes one piece of the input. Returns a close code when it was refused, 1
 * when a close frame came, else 0. */
static inline int decode_piece(struct ws_decoder *d, struct transcript *t, uint8_t *in, size_t len)
{
	size_t used = 0;

	while (used < len) {
		int n = ws_decode(d, in + used, len - used);

		if (n < 0)
			return -n;
		assert_in_range(n, 1, len - used);
		if (d->event == WS_NOTHING)
			assert_int_equal(n, len - used);
		if (d->event == WS_DATA || d->event == WS_MESSAGE)
			assert_true(d->data >= in + used && d->data + d->data_len <= in + used + n);
		note_event(t, d);
		used += (size_t)n;
		if (d->event == WS_GOT_CLOSE)
			return 1;
	}
	return 0;
}

/* Hands the stream to a decoder in pieces: one of first bytes, the others of step bytes each. */
static inline void replay_pieces(const struct row *row, const struct stream *s,
                                 struct ws_decoder d, size_t first, size_t step)
{
	static struct transcript t;
	const char *at = strrchr(row->expected, '@');
	int end = 0;

	t.len = t.message_len = 0;
	t.text[0] = '\0';
	for (size_t fed = 0, n = first; fed < s->len && end == 0; fed += n, n = step) {
		n = n < s->len - fed ? n : s->len - fed;
		end = decode_piece(&d, &t, guarded(s->bytes + fed, n), n);
		if (end > 1 && (s->refused_at <= fed || s->refused_at > fed + n))
			fail_msg("%s: pieces of %zu, %zu: %d within bytes %zu to %zu, not at %zu",
			         row->name, first, step, end, fed + 1, fed + n, s->refused_at);
	}
	if (end > 1)
		t.len += (size_t)snprintf(t.text + t.len, sizeof t.text - t.len, "%s%d",
		                          t.len ? " " : "", end);
	size_t expected = at ? (size_t)(at - row->expected) : strlen(row->expected);
	if (t.len != expected || memcmp(t.text, row->expected, expected) != 0)
		fail_msg("%s: %s, pieces of %zu, %zu: got \"%s\", expected \"%s\"", row->name,
		         d.client ? "client" : "server", first, step, t.text, row->expected);
}

/* Replays a row in one direction. key: the masking key of a client; NULL: as a server sends it. */
static inline void replay_masked(const struct row *row, uint32_t max_message, const uint8_t *key)
{
	static struct stream s;
	const struct ws_decoder d = {.max_message = max_message, .client = !key};
	const size_t everywhere = 600;

	build_stream(&s, row, key);
	replay_pieces(row, &s, d, s.len, s.len);
	replay_pieces(row, &s, d, 1, 1);
	replay_pieces(row, &s, d, 997, 997);
	/* A long stream is cut in two at every place near its ends, and at some places between. */
	for (size_t k = 1; k < s.len; k++)
		if (s.len <= everywhere || k < 20 || k > s.len - 20 || k % 8191 == 0)
			replay_pieces(row, &s, d, k, s.len);
}

static inline void replay(const struct row *rows, size_t count, uint32_t max_message)
{
	static const uint8_t keys[][4] = {
		{0, 0, 0, 0}, {0x37, 0xfa, 0x21, 0x3d}, {0xff, 0xff, 0xff, 0xff}};

	for (size_t i = 0; i < count; i++) {
		replay_masked(&rows[i], max_message, NULL);
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
			replay_masked(&rows[i], max_message, keys[k]);
	}
}

/* Defines the test that replays a table of rows. */
#define REPLAY(rows, max_message)                                                                  \
	static void replay_##rows(void **state)                                                    \
	{                                                                                          \
		(void)state;                                                                       \
		replay(rows, sizeof(rows) / sizeof *(rows), max_message);                          \
	}

#endif
