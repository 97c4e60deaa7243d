#include "ws.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

#include <mbedtls/base64.h>
#include <mbedtls/sha1.h>
#include <mbedtls/version.h>

#include "base/head.h"

#if MBEDTLS_VERSION_MAJOR < 3
#define mbedtls_sha1 mbedtls_sha1_ret
#endif

#define MIN(a, b) ((a) < (b) ? (a) : (b))

enum { FIN = 0x80, RSV = 0x70, MASKED = 0x80, LEN16 = 126, LEN64 = 127 };
enum { TLS_HANDSHAKE = 22 };   /* the first byte of a ClientHello, RFC 8446 section 5.1 */

bool ws_text_is(struct ws_text text, const char *s)
{
	/* Nearly all texts that are compared differ in the first character already. */
	if (text.len > 0 && ((*text.at ^ *s) & ~('a' - 'A')) != 0)
		return false;
	return text.at && text.len == strlen(s) && strncasecmp(text.at, s, text.len) == 0;
}

bool ws_text_is_exactly(struct ws_text text, const char *s)
{
	return text.len == strlen(s) && memcmp(text.at, s, text.len) == 0;
}

bool ws_next_token(struct ws_list *list, struct ws_text *token)
{
	struct ws_text lines = list->lines, name, value;

	while (list->line.len == 0) {
		if (lines.len == 0 || head_cut_field(&lines, &name, &value) <= 0)
			return false;
		if (!ws_text_is(name, list->name))
			continue;
		list->line = value;
		list->lines = lines;
	}
	*token = head_trim(head_cut(&list->line, ','));
	return true;
}

bool ws_has_token(struct ws_list list, const char *token)
{
	struct ws_text one;

	while (ws_next_token(&list, &one))
		if (ws_text_is(one, token))
			return true;
	return false;
}

/* What the field lines say that ws_request needs but does not return. */
struct fields {
	bool websocket;
	bool connection;
	struct ws_text version;
	struct ws_text host;
};

/* Reads the field lines. NULL, or what is wrong: a line is malformed, or a field that may stand once stands
 * twice, of which another reader of the head (a proxy) might take the other one. */
static const char *request_fields(struct ws_request *r, struct ws_text rest, struct fields *f)
{
	const struct {
		const char *name;
		struct ws_text *once;
		struct ws_list *list;
	} wanted[] = {
		{"Host", &f->host, NULL},
		{"Origin", &r->origin, NULL},
		{"Sec-Fetch-Site", &r->fetch_site, NULL},
		{"Authorization", &r->authorization, NULL},
		{"Sec-WebSocket-Key", &r->key, NULL},
		{"Sec-WebSocket-Version", &f->version, NULL},
		{"Sec-WebSocket-Protocol", NULL, &r->protocols},
		{"Accept", NULL, &r->accept},
		{"Accept-Encoding", NULL, &r->accept_encoding},
	};
	struct ws_text name, value;
	int got;

	while ((got = head_cut_field(&rest, &name, &value)) > 0) {
		const struct ws_list line = {.line = value};

		if (ws_text_is(name, "Connection"))
			f->connection |= ws_has_token(line, "upgrade");
		else if (ws_text_is(name, "Upgrade"))
			f->websocket |= ws_has_token(line, "websocket");
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
			if (!ws_text_is(name, wanted[i].name))
				continue;
			if (wanted[i].once && wanted[i].once->at)
				return "a field that may stand once stands twice";
			if (wanted[i].once)
				*wanted[i].once = value;
			else if (!wanted[i].list->name)
				*wanted[i].list = (struct ws_list){wanted[i].name, value, rest};
			break;
		}
	}
	return got == 0 ? NULL : "a field line is not NAME: VALUE";
}

static bool key_is_valid(struct ws_text key)
{
	unsigned char nonce[18];
	size_t n;

	return key.len == WS_KEY_LEN &&
	       mbedtls_base64_decode(nonce, sizeof nonce, &n, (const unsigned char *)key.at,
	                             key.len) == 0 &&
	       n == 16;
}

/* A request to upgrade (section 4.2.1): 0, or an HTTP status. */
static int check_upgrade(struct ws_request *r, const struct fields *f)
{
	if (r->http_1_0)
		r->wrong = "an upgrade needs HTTP/1.1";
	else if (!f->connection)
		r->wrong = "Upgrade without Connection: Upgrade";
	else if (!ws_text_is(f->version, "13"))
		return 426;
	else if (!key_is_valid(r->key))
		r->wrong = "Sec-WebSocket-Key is not 16 bytes in base64";
	r->upgrade = !r->wrong;
	return r->wrong ? 400 : 0;
}

int ws_request(struct ws_request *r, const char *head, size_t len)
{
	struct fields f = {0};
	size_t skip = 0;

	memset(r, 0, sizeof *r);
	while (len - skip >= 2 && memcmp(head + skip, "\r\n", 2) == 0)
		skip += 2; /* RFC 9112 section 2.2 */
	int n = head_length(head + skip, len - skip);
	if (n < 0) {
		r->wrong = *head == TLS_HANDSHAKE ? "TLS, which this port does not speak"
		                                  : "a control character, or a bare CR or LF";
		return -400;
	}
	if (n == 0 ? len >= WS_HEAD_MAX : skip + (size_t)n > WS_HEAD_MAX)
		return -431;
	if (n == 0)
		return 0;

	struct ws_text rest = {head + skip, (size_t)n};
	r->wrong = head_request_line(r, head_cut_line(&rest));
	r->fields = rest;
	if (!r->wrong)
		r->wrong = request_fields(r, rest, &f);
	if (r->wrong)
		return -400;
	if (!r->host.at || (!f.host.at && !r->http_1_0))
		r->host = f.host;
	if (f.websocket && r->method.len == 3 && memcmp(r->method.at, "GET", 3) == 0) {
		int status = check_upgrade(r, &f);

		if (status > 0)
			return -status;
	}
	return (int)skip + n;
}

void ws_accept(char out[WS_ACCEPT_LEN + 1], struct ws_text key)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char text[WS_KEY_LEN + sizeof guid], hash[20];
	size_t len = MIN(key.len, (size_t)WS_KEY_LEN), n;

	memcpy(text, key.at, len);
	memcpy(text + len, guid, sizeof guid - 1);
	mbedtls_sha1(text, len + sizeof guid - 1, hash);
	mbedtls_base64_encode((unsigned char *)out, WS_ACCEPT_LEN + 1, &n, hash, sizeof hash);
}

/* Takes the next piece of a text. False: the text is not UTF-8. */
static bool utf8_check(struct ws_utf8 *u, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!ws_utf8_take(u, p[i]))
			return false;
	return true;
}

static bool is_control(const struct ws_decoder *d)
{
	return d->header[0] & 0x08;
}

/* Bytes of the header under way, as far as they can be known. */
static size_t header_size(const struct ws_decoder *d)
{
	if (d->header_len < 2)
		return 2;
	uint8_t len = d->header[1] & 0x7f;
	return 2U + (len == LEN16 ? 2U : len == LEN64 ? 8U : 0U) + (d->header[1] & MASKED ? 4U : 0U);
}

/* Section 5.2 on the first two bytes: 0 or a close code. */
static int check_start(const struct ws_decoder *d)
{
	uint8_t opcode = d->header[0] & 0x0f, len = d->header[1] & 0x7f;

	const uint8_t rsv = d->header[0] & RSV;

	if (rsv && !(rsv == WS_RSV1 && d->deflate && (opcode == WS_TEXT || opcode == WS_BINARY)))
		return WS_PROTOCOL_ERROR;
	if ((opcode > WS_BINARY && opcode < WS_CLOSE) || opcode > WS_PONG)
		return WS_PROTOCOL_ERROR;
	if (!(d->header[1] & MASKED) != d->client)
		return WS_PROTOCOL_ERROR;
	if (is_control(d))
		return !(d->header[0] & FIN) || len > WS_CONTROL_MAX ? WS_PROTOCOL_ERROR : 0;
	return (opcode == WS_CONTINUATION) != d->in_message ? WS_PROTOCOL_ERROR : 0;
}

/* Begins the payload of a frame whose header is complete: 0 or a close code. */
static int begin_payload(struct ws_decoder *d)
{
	uint8_t len7 = d->header[1] & 0x7f;
	size_t bytes = len7 == LEN16 ? 2 : len7 == LEN64 ? 8 : 0;
	uint64_t len = 0;

	for (size_t i = 0; i < bytes; i++)
		len = len << 8 | d->header[2 + i];
	if (bytes == 0)
		len = len7;
	else if (len >> 63 || len < LEN16 || (bytes == 8 && len <= UINT16_MAX))
		return WS_PROTOCOL_ERROR; /* must take the fewest bytes */
	d->left = len;
	d->done = 0;
	d->in_payload = true;
	if (is_control(d)) {
		d->control_len = 0;
		return 0;
	}
	if (!d->in_message) {
		d->opcode = d->header[0] & (0x0f | WS_RSV1);
		d->message_len = 0;
		d->utf8 = (struct ws_utf8){0};
		d->in_message = true;
	}
	if (len > d->max_message - d->message_len)
		return WS_TOO_BIG;
	d->message_len += (uint32_t)len;
	return 0;
}

static bool close_code_is_valid(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

/* A control frame is whole: its event, or a close code. */
static int end_control(struct ws_decoder *d)
{
	struct ws_utf8 utf8 = {0};
	uint8_t opcode = d->header[0] & 0x0f;

	if (opcode != WS_CLOSE) {
		d->event = opcode == WS_PING ? WS_GOT_PING : WS_GOT_PONG;
		return 0;
	}
	d->event = WS_GOT_CLOSE;
	d->close_code = WS_NO_STATUS;
	if (d->control_len == 0)
		return 0;
	if (d->control_len == 1)
		return WS_PROTOCOL_ERROR;
	d->close_code = (uint16_t)(d->control[0] << 8 | d->control[1]);
	if (!close_code_is_valid(d->close_code))
		return WS_PROTOCOL_ERROR;
	if (!utf8_check(&utf8, d->control + 2, d->control_len - 2U) || utf8.left > 0)
		return WS_INVALID_DATA;
	return 0;
}

/* Takes n payload bytes of the frame: 0 or a close code. */
static int take_payload(struct ws_decoder *d, uint8_t *in, size_t n)
{
	if (!d->client)
		ws_mask(in, n, d->header + d->header_len - 4, d->done);
	d->done += n;
	d->left -= n;
	if (is_control(d)) {
		memcpy(d->control + d->control_len, in, n);
		d->control_len = (uint8_t)(d->control_len + n);
		return d->left == 0 ? end_control(d) : 0;
	}
	d->data = in;
	d->data_len = n;
	d->event = WS_DATA;
	if (d->opcode == WS_TEXT && !utf8_check(&d->utf8, in, n))
		return WS_INVALID_DATA;
	if (d->left == 0 && d->header[0] & FIN) {
		if (d->utf8.left > 0)
			return WS_INVALID_DATA;
		d->event = WS_MESSAGE;
		d->in_message = false;
	}
	return 0;
}

int ws_decode(struct ws_decoder *d, uint8_t *in, size_t len)
{
	size_t used = 0;
	int code;

	if (len > INT_MAX)
		len = INT_MAX;
	d->event = WS_NOTHING;
	if (!d->in_payload) {
		while (d->header_len < header_size(d)) {
			if (used == len)
				return (int)used;
			d->header[d->header_len++] = in[used++];
			if (d->header_len == 2 && (code = check_start(d)) != 0)
				return -code;
		}
		if ((code = begin_payload(d)) != 0)
			return -code;
	}
	size_t n = d->left < len - used ? (size_t)d->left : len - used;
	if (n > 0 || d->left == 0) {
		if ((code = take_payload(d, in + used, n)) != 0)
			return -code;
		used += n;
		if (d->left == 0) {
			d->in_payload = false;
			d->header_len = 0;
		}
	}
	return (int)used;
}

size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t payload_len,
                 const uint8_t masking_key[4])
{
	size_t bytes = payload_len < LEN16 ? 0 : payload_len <= UINT16_MAX ? 2 : 8;
	size_t n = 2;

	out[0] = (uint8_t)(FIN | opcode);
	out[1] = (uint8_t)(bytes == 0 ? payload_len : bytes == 2 ? LEN16 : LEN64);
	for (size_t i = bytes; i-- > 0;)
		out[n++] = (uint8_t)(payload_len >> (8 * i));
	if (masking_key) {
		out[1] |= MASKED;
		memcpy(out + n, masking_key, 4);
		n += 4;
	}
	return n;
}

void ws_mask(uint8_t *data, size_t len, const uint8_t masking_key[4], uint64_t offset)
{
	for (size_t i = 0; i < len; i++)
		data[i] ^= masking_key[(offset + i) & 3];
}
