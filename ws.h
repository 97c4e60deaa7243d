#ifndef WS_H
#define WS_H

/* RFC 6455: the server's opening handshake (the client's is client/handshake.h), and the frame codec
 * for both ends. Bytes in, bytes out: no I/O, no allocation, no clock. Nothing here keeps a pointer
 * into a buffer after the call, except where a result is said to point into it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WS_HEAD_MAX = 8192,     /* bytes of a request or response head, its blank line included */
	WS_HEADER_MAX = 14,     /* bytes of the longest frame header */
	WS_CONTROL_MAX = 125,   /* payload bytes of a control frame, section 5.5 */
	WS_KEY_LEN = 24,        /* base64 of the 16 byte nonce */
	WS_ACCEPT_LEN = 28,     /* base64 of a SHA-1 */
	WS_RSV1 = 0x40,         /* in the first byte of a message: it is compressed (RFC 7692) */
};

enum ws_opcode {
	WS_CONTINUATION = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

/* Close codes of section 7.4.1 that this project sends, or reports (1005). */
enum ws_close_code {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL_ERROR = 1002,
	WS_NO_STATUS = 1005,
	WS_INVALID_DATA = 1007,
	WS_POLICY = 1008,
	WS_TOO_BIG = 1009,
};

/* Borrowed bytes, not terminated. at is NULL when there is no such thing, which
 * differs from one that is there and empty. */
struct ws_text {
	const char *at;
	size_t len;
};

/* True when text equals the C string, ASCII letters compared without case. */
bool ws_text_is(struct ws_text text, const char *s);

/* True when text equals the C string. Methods and paths have a case (RFC 9110 sections 9.1 and
 * 4.2.3). */
bool ws_text_is_exactly(struct ws_text text, const char *s);

/* A field whose value is a comma-separated list, which may go on in further lines of the
 * same name (RFC 9110 section 5.3). */
struct ws_list {
	const char *name;              /* of the field */
	struct ws_text line;           /* not yet read of a line; at is NULL when there is no such field */
	struct ws_text lines;          /* the field lines behind that one */
};

/* Cuts the first element, which may be empty, off the list. False: there is none left. */
bool ws_next_token(struct ws_list *list, struct ws_text *token);

/* True when the token stands in the list, whatever its case. */
bool ws_has_token(struct ws_list list, const char *token);

/* An HTTP/1.x request head. Every text points into the buffer that was parsed. */
struct ws_request {
	struct ws_text method;
	struct ws_text path;           /* the target without scheme, authority and query */
	struct ws_text query;          /* what stands behind the path and its '?' */
	struct ws_text host;           /* the target's authority or else the value of Host */
	struct ws_text origin;
	struct ws_text fetch_site;     /* Sec-Fetch-Site */
	struct ws_text authorization;
	struct ws_list protocols;      /* Sec-WebSocket-Protocol */
	struct ws_text fields;         /* all field lines, for a list of what stands in few requests */
	struct ws_list accept;
	struct ws_list accept_encoding;
	struct ws_text key;            /* only with upgrade; valid base64 of 16 bytes */
	bool http_1_0;
	bool upgrade;                  /* an opening handshake, section 4.2.1, but for its Host */
	const char *wrong;             /* what made it a 400, in words; NULL: nothing */
};

/* Parses a request head (RFC 9112; section 4.2.1 when it asks for an upgrade) and skips
 * empty lines before it. Whether there must be a Host is the caller's to say.
 * Returns > 0: bytes of the head, *r is filled; 0: incomplete, call again with
 * more; < 0: refuse with this HTTP status, negated: 400, 426 or 431. On refusal *r
 * holds what had been read, for the log. */
int ws_request(struct ws_request *r, const char *head, size_t len);

/* Sec-WebSocket-Accept for a key (section 4.2.2, 5.4): WS_ACCEPT_LEN characters
 * and a NUL. */
void ws_accept(char out[WS_ACCEPT_LEN + 1], struct ws_text key);

/* What a call of ws_decode ended on. */
enum ws_event {
	WS_NOTHING = 0,       /* all input used, no event */
	WS_DATA,              /* payload of a data message: data, data_len (may be 0) */
	WS_MESSAGE,           /* as WS_DATA, and the message ends here */
	WS_GOT_PING,          /* control, control_len */
	WS_GOT_PONG,          /* control, control_len */
	WS_GOT_CLOSE,         /* close_code; a reason in control + 2, control_len - 2 */
};

/* Where in a UTF-8 character a text stands; all zero is between two. */
struct ws_utf8 {
	uint8_t left;        /* continuation bytes still needed */
	uint8_t low, high;   /* range of the next of them */
};

/* Takes the next byte of a text. False: the text is not well-formed UTF-8 (RFC 3629 section 4). */
static inline bool ws_utf8_take(struct ws_utf8 *u, uint8_t c)
{
	if (u->left > 0) {
		if (c < u->low || c > u->high)
			return false;
		u->left--;
		u->low = 0x80;
		u->high = 0xbf;
	} else if (c >= 0x80) {
		if (c < 0xc2 || c > 0xf4)
			return false;
		u->left = (uint8_t)(c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3);
		u->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
		u->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	}
	return true;
}

/* State of one direction of one connection. All zero is a server that has read
 * nothing; max_message must be set before the first call. */
struct ws_decoder {
	/* set by the owner */
	uint32_t max_message;          /* bytes of a data message, fragments added up */
	bool client;                   /* decodes what a server sent: frames must not be masked */
	bool deflate;                  /* permessage-deflate was agreed on: messages may be compressed */

	/* results of the last call, valid until the next */
	uint8_t event;                 /* enum ws_event */
	uint8_t opcode;                /* of the message, for WS_DATA and WS_MESSAGE: WS_TEXT or WS_BINARY; with
	                                  WS_RSV1, which comes only with deflate, it is compressed, and text
	                                  was not checked */
	uint16_t close_code;           /* WS_NO_STATUS when the frame had none */
	uint8_t *data;                 /* unmasked, in the caller's buffer */
	size_t data_len;
	uint8_t control[WS_CONTROL_MAX];
	uint8_t control_len;

	/* the decoder's own */
	uint8_t header[WS_HEADER_MAX]; /* of the frame under way */
	uint8_t header_len;            /* bytes of it that have come */
	bool in_payload;
	bool in_message;               /* a data message waits for its last fragment */
	struct ws_utf8 utf8;           /* of the text message under way */
	uint32_t message_len;          /* bytes of the message announced so far */
	uint64_t left;                 /* payload bytes of the frame still to come */
	uint64_t done;                 /* payload bytes of the frame that have come */
};

/* Decodes up to the next event or the end of the input, unmasking in place.
 * Returns how many bytes were used (call again with the rest while there is
 * any; an event may need none of it), or a close code negated: 1002, 1007 or
 * 1009. After a refusal or WS_GOT_CLOSE the decoder must not be called again. */
int ws_decode(struct ws_decoder *d, uint8_t *in, size_t len);

/* Writes the header of a final frame (section 5.2) and returns its length, 2 to
 * WS_HEADER_MAX. masking_key NULL: a server's frame. A client must then mask
 * the payload itself with ws_mask. */
size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t payload_len,
                 const uint8_t masking_key[4]);

/* Masks or unmasks in place (section 5.3). offset: payload bytes before these. */
void ws_mask(uint8_t *data, size_t len, const uint8_t masking_key[4], uint64_t offset);

#endif
