/* A ready of a pull client: any bytes are one, and however they come in pieces, they ask for the
 * same. The input is how long the pieces are, and the message. */

#include "endpoint/wishes.h"
#include "fuzz.h"
#include "source/wire.h"

enum { PIECES = 4 };

/* The wish as another reader understands it: protobuf-c. */
static struct wish unpacked(const uint8_t *message, size_t len)
{
	struct wire_error error;
	struct wish wish = {0};

	if (!wire_check(&introspection__ready__descriptor, message, len, &error))
		return wish;
	Introspection__Ready *ready = introspection__ready__unpack(NULL, len, message);
	CHECK(ready);
	wish.have = ready->have;
	wish.totals = ready->detail == INTROSPECTION__READY__DETAIL__TOTALS;
	introspection__ready__free_unpacked(ready, NULL);
	return wish;
}

static struct wish read_pieces(const uint8_t *message, size_t len, const uint8_t cuts[PIECES],
                               uint8_t opcode)
{
	struct ready_bytes begun = {0};
	struct ws_decoder ws = {.opcode = opcode};
	size_t at = 0;

	for (int i = 0; i < PIECES; i++) {
		const size_t n = cuts[i] < len - at ? cuts[i] : len - at;
		uint8_t *piece = copy_of(message + at, n);

		ws.event = WS_DATA;
		ws.data = piece;
		ws.data_len = n;
		const struct wish none = wishes_read(&begun, &ws);
		CHECK(none.have == 0 && !none.totals);
		at += n;
		free(piece);
	}
	uint8_t *rest = copy_of(message + at, len - at);
	ws.event = WS_MESSAGE;
	ws.data = rest;
	ws.data_len = len - at;
	const struct wish wish = wishes_read(&begun, &ws);
	CHECK(begun.len == 0);
	free(rest);
	return wish;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const uint8_t none[PIECES] = {0};
	uint8_t cuts[PIECES];

	for (int i = 0; i < PIECES; i++)
		cuts[i] = take_byte(&in);
	uint8_t *message = copy_of(in.at, in.left);
	const struct wish expected = unpacked(message, in.left);
	const struct wish whole = difference_wish(message, in.left);
	const struct wish once = read_pieces(message, in.left, none, WS_BINARY);
	const struct wish cut = read_pieces(message, in.left, cuts, WS_BINARY);
	const struct wish text = read_pieces(message, in.left, cuts, WS_TEXT);

	CHECK(whole.have == expected.have && whole.totals == expected.totals);
	CHECK(once.have == expected.have && once.totals == expected.totals);
	CHECK(text.have == 0 && !text.totals);
	/* What came in pieces and is longer than any that is needed is a plain ready. */
	if (in.left <= sizeof((struct ready_bytes){0}.bytes))
		CHECK(cut.have == expected.have && cut.totals == expected.totals);
	else
		CHECK((cut.have == expected.have && cut.totals == expected.totals) ||
		      (cut.have == 0 && !cut.totals));
	free(message);
	return 0;
}
