/* permessage-deflate: any offer, any bytes as a compressed message in any pieces, readies that were
 * compressed by zlib, and snapshots of any bytes, which come out of zlib again as they were. The input
 * is a script of these. */

#include <zlib.h>

#include "endpoint/deflate.h"
#include "fuzz.h"

enum { LONGEST = 4096, STEPS = 64, PIECE = 16 };

static struct daemon d;
static struct snapshot latest;
static struct connection c;

static void offer(struct input *in)
{
	static const char before[] = "GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Extensions: ";
	char head[sizeof before + 256 + 4];
	struct ws_request r;

	memcpy(head, before, sizeof before - 1);
	size_t n = sizeof before - 1 + take_bytes(in, head + sizeof before - 1, take_byte(in));
	memcpy(head + n, "\r\n\r\n", 4);
	char *whole = copy_of(head, n + 4);
	if (ws_request(&r, whole, n + 4) > 0)
		deflate_accept(&r);
	free(whole);
}

/* In pieces of at most PIECE bytes. Leaves what the client wishes in the connection. */
static void read_message(const uint8_t *message, size_t len, bool compressed, uint8_t opcode, size_t most)
{
	struct ws_decoder ws = {.opcode = opcode | (compressed ? WS_RSV1 : 0)};

	for (size_t at = 0; ws.event != WS_MESSAGE; at += ws.data_len) {
		ws.data_len = len - at < most ? len - at : most;
		ws.data = copy_of(message + at, ws.data_len);
		ws.event = at + ws.data_len == len ? WS_MESSAGE : WS_DATA;
		deflate_forms.input(&d, &c, &ws);
		free(ws.data);
	}
	CHECK(c.ready_bytes.len == 0);
}

/* As a client compresses. Returns the bytes without what a flush ends on. */
static size_t compressed(uint8_t out[LONGEST], uint8_t *in, size_t len)
{
	z_stream z = {.next_in = in, .avail_in = (uInt)len, .next_out = out, .avail_out = LONGEST};

	CHECK(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	CHECK(deflate(&z, Z_SYNC_FLUSH) == Z_OK && z.avail_in == 0 && z.avail_out > 0);
	deflateEnd(&z);
	return LONGEST - z.avail_out - 4;
}

static void ready(struct input *in)
{
	uint8_t plain[PIECE], packed[LONGEST];
	const size_t most = 1 + take_byte(in) % PIECE;
	const size_t len = take_bytes(in, plain, take_byte(in) % sizeof plain);
	const size_t n = compressed(packed, plain, len);

	c.sent = c.base = 5;
	read_message(plain, len, false, WS_BINARY, PIECE);
	const bool totals = c.wants_totals, difference = c.wants_difference;
	read_message(packed, n, true, WS_BINARY, most);
	CHECK(n > sizeof c.ready_bytes.bytes || (c.wants_totals == totals && c.wants_difference == difference));
	read_message(packed, n, true, WS_TEXT, most);
	CHECK(!c.wants_totals && !c.wants_difference);
}

static void anything(struct input *in)
{
	uint8_t bytes[256];
	const size_t most = 1 + take_byte(in) % PIECE;

	read_message(bytes, take_bytes(in, bytes, take_byte(in)), true, WS_BINARY, most);
}

/* Repeated, so that some become smaller. */
static void form(struct input *in)
{
	static uint8_t message[LONGEST + 256], out[LONGEST + 256];
	z_stream z = {.next_out = out, .avail_out = sizeof out};

	latest.len = 0;
	const size_t n = 1 + take_bytes(in, message, take_byte(in));
	do
		memcpy(message + latest.len, message, n);
	while ((latest.len += n) < LONGEST && take_byte(in) % 4 > 0);
	latest.message = message;
	latest.sequence++;
	c.sent = 0;
	c.deflates = true;
	const struct snapshot *s = deflate_forms.pick(&d, &c);
	CHECK(s == deflate_forms.pick(&d, &c));
	CHECK(s->sequence == latest.sequence && (s == &latest || (s->deflated && s->len < latest.len)));
	if (s == &latest)
		return;
	uint8_t *whole = malloc(s->len + 4);
	CHECK(whole);
	memcpy(whole, s->message, s->len);
	memcpy(whole + s->len, "\0\0\377\377", 4);
	z.next_in = whole;
	z.avail_in = (uInt)s->len + 4;
	CHECK(inflateInit2(&z, -15) == Z_OK && inflate(&z, Z_SYNC_FLUSH) == Z_OK && z.avail_in == 0);
	CHECK(z.total_out == latest.len && memcmp(out, message, latest.len) == 0);
	inflateEnd(&z);
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(struct input *in) = {offer, ready, anything, form};
	struct input in = {data, size};

	c = (struct connection){0};
	latest = (struct snapshot){0};
	d.store.latest = &latest;
	CHECK((d.forms = deflate_forms.open(LONGEST)));
	for (int i = 0; i < STEPS && in.left > 0; i++)
		steps[take_byte(&in) % 4](&in);
	deflate_forms.close(d.forms);
	return 0;
}
