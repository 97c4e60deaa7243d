#include "client/handshake.h"

#include <string.h>

#include <mbedtls/base64.h>

#include "base/head.h"

void handshake_key(char out[WS_KEY_LEN + 1], const uint8_t nonce[16])
{
	size_t n;

	mbedtls_base64_encode((unsigned char *)out, WS_KEY_LEN + 1, &n, nonce, 16);
}

int handshake_status(const char *head, size_t len)
{
	struct ws_text rest = {head, len}, line = head_cut_line(&rest);
	struct ws_text version = head_cut(&line, ' ');
	struct ws_text code = head_cut(&line, ' ');

	if (version.len != 8 || memcmp(version.at, "HTTP/1.", 7) != 0 || code.len != 3)
		return 0;
	int status = 0;
	for (size_t i = 0; i < 3; i++) {
		if (code.at[i] < '0' || code.at[i] > '9')
			return 0;
		status = status * 10 + (code.at[i] - '0');
	}
	return status;
}

int handshake_response(const char *head, size_t len, const char key[WS_KEY_LEN + 1])
{
	char expected[WS_ACCEPT_LEN + 1];
	struct ws_text name, value, accept = {0};
	bool websocket = false, connection = false;
	int got, n = head_length(head, len);

	if (n < 0 || (n == 0 && len >= WS_HEAD_MAX))
		return -WS_PROTOCOL_ERROR;
	if (n == 0)
		return 0;

	const int status = handshake_status(head, (size_t)n);
	if (status != 101)
		return status >= 100 ? -status : -WS_PROTOCOL_ERROR;
	struct ws_text rest = {head, (size_t)n};
	head_cut_line(&rest);
	while ((got = head_cut_field(&rest, &name, &value)) > 0) {
		const struct ws_list line = {.line = value};

		if (ws_text_is(name, "Connection"))
			connection |= ws_has_token(line, "upgrade");
		else if (ws_text_is(name, "Upgrade"))
			websocket |= ws_has_token(line, "websocket");
		else if (ws_text_is(name, "Sec-WebSocket-Accept"))
			accept = value;
		else if (ws_text_is(name, "Sec-WebSocket-Extensions") ||
		         ws_text_is(name, "Sec-WebSocket-Protocol"))
			return -WS_PROTOCOL_ERROR; /* none was offered */
	}
	ws_accept(expected, (struct ws_text){key, WS_KEY_LEN});
	if (got < 0 || !websocket || !connection || accept.len != WS_ACCEPT_LEN ||
	    memcmp(accept.at, expected, WS_ACCEPT_LEN) != 0)
		return -WS_PROTOCOL_ERROR;
	return n;
}

struct ws_text handshake_field(const char *head, size_t len, const char *name)
{
	struct ws_text found, value;
	int n = head_length(head, len);
	struct ws_text rest = {head, n > 0 ? (size_t)n : 0};

	if (n > 0)
		head_cut_line(&rest);
	while (rest.len > 0 && head_cut_field(&rest, &found, &value) > 0)
		if (ws_text_is(found, name))
			return value;
	return (struct ws_text){NULL, 0};
}
