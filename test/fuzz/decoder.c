/* The frame decoder of either end, which must come to the same in pieces as at once.
 * First byte: which end; second: how many of the bytes after it are sizes of pieces. */

#include "fuzz.h"
#include "ws.h"

enum { TRACE_MAX = 1 << 20 };

struct trace {
	size_t len;
	size_t settled;   /* bytes before the payload under way, which counts only when it ends */
	uint8_t bytes[TRACE_MAX];
};

static void note(struct trace *t, const void *bytes, size_t n)
{
	CHECK(n <= TRACE_MAX - t->len);
	memcpy(t->bytes + t->len, bytes, n);
	t->len += n;
}

/* Decodes a piece. False: there can be no other. */
static bool decode_piece(struct ws_decoder *d, const uint8_t *piece, size_t len, struct trace *t)
{
	uint8_t *bytes = copy_of(piece, len);
	int code = 0;

	for (size_t used = 0; used < len && code >= 0 && d->event != WS_GOT_CLOSE;) {
		if ((code = ws_decode(d, bytes + used, len - used)) < 0)
			break;
		used += (size_t)code;
		CHECK(used <= len && (code > 0 || d->event != WS_NOTHING));
		if (d->event == WS_DATA || d->event == WS_MESSAGE)
			note(t, d->data, d->data_len);
		if (d->event == WS_MESSAGE)
			note(t, &d->opcode, 1);
		if (d->event >= WS_GOT_PING)
			note(t, d->control, d->control_len);
		if (d->event == WS_GOT_CLOSE)
			note(t, &d->close_code, sizeof d->close_code);
		if (d->event >= WS_MESSAGE) {
			note(t, &d->event, 1);
			t->settled = d->in_message ? t->settled : t->len;
		}
	}
	free(bytes);
	if (code < 0) {
		t->len = t->settled;
		note(t, &code, sizeof code);
	}
	return code >= 0 && d->event != WS_GOT_CLOSE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct trace whole, pieces;
	struct input in = {data, size};
	const bool client = take_byte(&in) & 1;
	struct ws_decoder one = {.max_message = 4096, .client = client}, two = one;
	uint8_t cuts[256];
	size_t count = take_bytes(&in, cuts, take_byte(&in));

	whole.len = whole.settled = pieces.len = pieces.settled = 0;
	decode_piece(&one, in.at, in.left, &whole);
	for (size_t i = 0; in.left > 0; i++) {
		size_t n = count > 0 ? cuts[i % count] + (size_t)1 : 1;

		n = n < in.left ? n : in.left;
		if (!decode_piece(&two, in.at, n, &pieces))
			break;
		in.at += n;
		in.left -= n;
	}
	CHECK(whole.len == pieces.len && memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
	return 0;
}
