#include "endpoint/wishes.h"

#include <string.h>

struct wish wishes_read(struct ready_bytes *begun, const struct ws_decoder *ws)
{
	const bool fits = begun->len + ws->data_len <= sizeof begun->bytes;
	struct wish wish = {0};

	if (ws->opcode != WS_BINARY)
		return wish;
	if (ws->event == WS_MESSAGE && begun->len == 0)
		return difference_wish(ws->data, ws->data_len);
	if (fits && ws->data_len > 0)
		memcpy(begun->bytes + begun->len, ws->data, ws->data_len);
	if (fits && ws->event == WS_MESSAGE)
		wish = difference_wish(begun->bytes, begun->len + ws->data_len);
	begun->len = ws->event == WS_MESSAGE ? 0
	             : fits                  ? (uint8_t)(begun->len + ws->data_len)
	                                     : sizeof begun->bytes + 1;
	return wish;
}

/* A client may have a difference only to the snapshot that it was sent last, and only if it can make that one
 * whole. */
static void wishes_input(struct daemon *d, struct connection *c, const struct ws_decoder *ws)
{
	const struct wish wish = wishes_read(&c->ready_bytes, ws);

	if (ws->event != WS_MESSAGE)
		return;
	c->wants_totals = wish.totals;
	c->wants_difference = wish.have > 0 && wish.have == c->sent && wish.have == c->base;
	if (c->wants_difference)
		difference_wanted(d->forms, d->store.latest, wish.have);
}

/* Where there is no smaller form, the client gets the whole snapshot, which serves every wish. A client's first
 * snapshot is whole; a wish that came before it holds for the second. */
static struct snapshot *wishes_pick(struct daemon *d, struct connection *c)
{
	struct snapshot *latest = d->store.latest, *form = NULL;
	const bool totals = c->wants_totals;

	if (c->sent > 0 && (totals || c->wants_difference))
		form = difference_form(d->forms, latest, totals ? 0 : c->base);
	c->base = form && totals ? 0 : latest->sequence;
	c->wants_totals = totals && c->sent == 0;
	c->wants_difference = false;
	return form ? form : latest;
}

const struct forms wishes_forms = {
	.open = difference_open,
	.close = difference_close,
	.input = wishes_input,
	.pick = wishes_pick,
	.note = difference_note,
	.form = difference_form,
};
