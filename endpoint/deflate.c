#include "endpoint/deflate.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/head.h"
#include "endpoint/wishes.h"

enum {
	LEVEL = 1,           /* of zlib; level 6 makes the result 4 % smaller for a third more CPU */
	WINDOW_BITS = 15,    /* for snapshots. Given to zlib negated, which means no header of zlib's own */
	READY_WINDOW = 9,    /* for readies, which are shorter than the window of 512 bytes that this makes */
	MEMORY_LEVEL = 8,
	READY_MAX = sizeof((struct ready_bytes *)0)->bytes,
};

/* The last bytes that a flush writes, which are not sent (RFC 7692 section 7.2.1). */
static const uint8_t tail[4] = {0, 0, 0xff, 0xff};

static struct {
	z_stream out, in;
	struct compressed {
		struct snapshot snapshot;
		const struct snapshot *of;   /* the form that was compressed, if it still has the sequence
		                                number of snapshot */
	} all[DEFLATE_FORMS];
} deflater;

/* The parameters of RFC 7692 section 7.1. */
enum parameter { SERVER_TAKEOVER, CLIENT_TAKEOVER, SERVER_BITS, CLIENT_BITS, PARAMETERS };

static const char *const parameters[PARAMETERS] = {
	[SERVER_TAKEOVER] = "server_no_context_takeover",
	[CLIENT_TAKEOVER] = "client_no_context_takeover",
	[SERVER_BITS] = "server_max_window_bits",
	[CLIENT_BITS] = "client_max_window_bits",
};

static bool value_fits(enum parameter parameter, struct ws_text value)
{
	static const char *const bits[] = {"15", "14", "13", "12", "11", "10", "9", "8"};

	if (value.len == 0)
		return parameter != SERVER_BITS;
	for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
		if (ws_text_is(value, bits[i]))
			return parameter == CLIENT_BITS || (parameter == SERVER_BITS && i == 0);
	return false;
}

/* Can the daemon accept an offer with these parameters? An offer is declined for a parameter that is
 * unknown, has a wrong value or comes twice (RFC 7692 section 5.1), or that asks for a smaller window of
 * the server. offer: without the extension's name. */
static bool parameters_fit(struct ws_text offer)
{
	unsigned seen = 0;

	while (offer.len > 0) {
		struct ws_text value = head_trim(head_cut(&offer, ';'));
		const struct ws_text name = head_trim(head_cut(&value, '='));
		unsigned i = 0;

		while (i < PARAMETERS && !ws_text_is(name, parameters[i]))
			i++;
		if (i == PARAMETERS || seen >> i & 1 || !value_fits(i, head_trim(value)))
			return false;
		seen |= 1U << i;
	}
	return true;
}

const char *deflate_accept(const struct ws_request *r)
{
	struct ws_list offers = {.name = "Sec-WebSocket-Extensions", .lines = r->fields};
	struct ws_text offer;

	while (ws_next_token(&offers, &offer))
		if (ws_text_is(head_trim(head_cut(&offer, ';')), "permessage-deflate") &&
		    parameters_fit(offer))
			return "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
			       "client_no_context_takeover\r\n";
	return NULL;
}

static void deflate_close(struct difference *d)
{
	deflateEnd(&deflater.out);
	inflateEnd(&deflater.in);
	for (int i = 0; i < DEFLATE_FORMS; i++)
		free(deflater.all[i].snapshot.buffer);
	memset(&deflater, 0, sizeof deflater);
	wishes_forms.close(d);
}

static struct difference *deflate_open(size_t max)
{
	struct difference *d = wishes_forms.open(max);
	bool whole = d && deflateInit2(&deflater.out, LEVEL, Z_DEFLATED, -WINDOW_BITS, MEMORY_LEVEL,
	                               Z_DEFAULT_STRATEGY) == Z_OK &&
	             inflateInit2(&deflater.in, -READY_WINDOW) == Z_OK;

	for (int i = 0; i < DEFLATE_FORMS; i++) {
		struct snapshot *s = &deflater.all[i].snapshot;

		s->buffer = malloc(SNAPSHOT_HEADROOM + DEFLATE_MAX);
		whole = whole && s->buffer;
	}
	if (whole)
		return d;
	deflate_close(d);
	return NULL;
}

/* Decompresses len bytes, at most READY_MAX, behind which in has room for tail. Returns how many bytes the
 * result has; 0: it is longer than READY_MAX, or in is no compressed message. */
static size_t inflate_ready(uint8_t out[READY_MAX + 1], uint8_t *in, size_t len)
{
	z_stream *z = &deflater.in;

	memcpy(in + len, tail, sizeof tail);
	z->next_in = in;
	z->avail_in = (uInt)(len + sizeof tail);
	z->next_out = out;
	z->avail_out = READY_MAX + 1;
	if (inflateReset(z) != Z_OK || inflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0)
		return 0;
	return z->avail_out > 0 ? READY_MAX + 1 - z->avail_out : 0;
}

/* Hands a client's message on: a compressed one as what it was before it was compressed. */
static void deflate_input(struct daemon *d, struct connection *c, const struct ws_decoder *ws)
{
	struct ready_bytes *begun = &c->ready_bytes;
	uint8_t in[READY_MAX + sizeof tail], out[READY_MAX + 1];
	struct ws_decoder plain = {.event = ws->event, .opcode = ws->opcode & 0x0f,
	                           .data = ws->data, .data_len = ws->data_len};
	const size_t len = begun->len + ws->data_len;

	if (ws->opcode & WS_RSV1 && ws->event == WS_MESSAGE) {
		plain.data = out;
		plain.data_len = 0;
		if (plain.opcode == WS_BINARY && len <= READY_MAX) {
			memcpy(in, begun->bytes, begun->len);
			if (ws->data_len > 0)
				memcpy(in + begun->len, ws->data, ws->data_len);
			plain.data_len = inflate_ready(out, in, len);
		}
		begun->len = 0;
	}
	wishes_forms.input(d, c, &plain);
}

/* The compressed form if there is one, else a buffer to make it in; NULL: no buffer is free. */
static struct compressed *find(const struct snapshot *form)
{
	struct compressed *room = NULL;

	for (struct compressed *c = deflater.all; c < deflater.all + DEFLATE_FORMS; c++) {
		if (c->of == form && c->snapshot.sequence == form->sequence)
			return c;
		if (c->snapshot.pins == 0 && (!room || c->snapshot.sequence < room->snapshot.sequence))
			room = c;
	}
	return room;
}

/* Compresses a form. If it does not become smaller, the length is 0, by which later calls for the form know
 * that without another try. */
static void compress_form(struct compressed *c, const struct snapshot *form)
{
	struct snapshot *s = &c->snapshot;
	z_stream *z = &deflater.out;

	*s = (struct snapshot){.sequence = form->sequence, .taken = form->taken, .buffer = s->buffer,
	                       .message = s->buffer + SNAPSHOT_HEADROOM, .deflated = true};
	c->of = form;
	z->next_in = form->message;
	z->avail_in = (uInt)form->len;
	z->next_out = s->message;
	z->avail_out = (uInt)form->len;
	if (deflateReset(z) == Z_OK && deflate(z, Z_SYNC_FLUSH) == Z_OK && z->avail_in == 0 &&
	    z->avail_out > 0)
		s->len = form->len - z->avail_out - sizeof tail;
}

static struct snapshot *deflate_pick(struct daemon *d, struct connection *c)
{
	struct snapshot *form = wishes_forms.pick(d, c);

	if (!c->deflates || form->len > DEFLATE_MAX)
		return form;
	struct compressed *found = find(form);
	if (!found)
		return form;
	if (found->of != form || found->snapshot.sequence != form->sequence)
		compress_form(found, form);
	return found->snapshot.len > 0 ? &found->snapshot : form;
}

const struct forms deflate_forms = {
	.open = deflate_open,
	.close = deflate_close,
	.input = deflate_input,
	.pick = deflate_pick,
	.note = difference_note,
	.form = difference_form,
};
