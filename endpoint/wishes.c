#include "endpoint/wishes.h"

/* A difference can only be to the snapshot that the client was sent last, and holds whole. */
static void wishes_input(struct daemon *d, struct connection *c, const struct ws_decoder *ws)
{
	const struct wish wish = difference_read(&c->ready_bytes, ws);

	if (ws->event != WS_MESSAGE)
		return;
	c->wants_totals = wish.totals;
	c->wants_difference = wish.have > 0 && wish.have == c->sent && wish.have == c->base;
	if (c->wants_difference)
		difference_wanted(d->forms, d->store.latest, wish.have);
}

/* The whole snapshot is always right. A client's first one is whole, and uses up no wish that came
 * before it. */
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
