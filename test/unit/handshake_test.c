/* The opening handshake, both ends (RFC 6455 section 4). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "client/handshake.h"
#include "guard.h"
#include "ws.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Heads are written with \n for CR LF, and ^ for a bare LF or $ for a bare CR. */
static size_t wire(char *out, const char *text)
{
	char *p = out;

	for (; *text; text++) {
		if (*text == '\n')
			*p++ = '\r';
		*p++ = *text == '^' ? '\n' : *text == '$' ? '\r' : *text;
	}
	return (size_t)(p - out);
}

#define GET "GET / HTTP/1.1\n"
#define HOST "Host: localhost:4801\n"
#define UPGRADE "Upgrade: websocket\nConnection: Upgrade\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define VERSION "Sec-WebSocket-Version: 13\n"

static const struct {
	const char *name;
	const char *head;
	int expected;   /* 0: its length; else the status of the refusal, negated */
	bool upgrade;
} requests[] = {
	{"the RFC's own",
	 "GET /chat HTTP/1.1\nHost: server.example.com\nUpgrade: websocket\nConnection: Upgrade\n"
	 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: http://example.com\n"
	 "Sec-WebSocket-Protocol: chat, superchat\nSec-WebSocket-Version: 13\n\n", 0, true},
	{"plain", GET HOST "\n", 0, false},
	{"HTTP/1.0", "GET / HTTP/1.0\n" HOST "\n", 0, false},
	{"HTTP/1.2", "GET / HTTP/1.2\n" HOST "\n", 0, false},
	{"HEAD", "HEAD / HTTP/1.1\n" HOST "\n", 0, false},
	{"unknown method", "BREW / HTTP/1.1\n" HOST "\n", 0, false},
	{"names in any case", "GET / HTTP/1.1\nhOST: x\nUPGRADE: WebSocket\nCONNECTION: uPGRADE\n"
	 "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nSEC-WEBSOCKET-VERSION: 13\n\n", 0, true},
	{"no space after the colon",
	 "GET / HTTP/1.1\nHost:x\nUpgrade:websocket\nConnection:Upgrade\n"
	 "Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version:13\n\n", 0, true},
	{"space and tab around values", "GET / HTTP/1.1\nHost: \t x \t\nUpgrade:\twebsocket \n"
	 "Connection:  Upgrade\t\nSec-WebSocket-Key:  dGhlIHNhbXBsZSBub25jZQ==  \n"
	 "Sec-WebSocket-Version: 13 \n\n", 0, true},
	{"lists",
	 GET HOST "Upgrade: h2c, websocket\nConnection: keep-alive, Upgrade\n" KEY VERSION "\n",
	 0, true},
	{"lists over several lines", GET HOST "Upgrade: h2c\nUpgrade: websocket\n"
	 "Connection: keep-alive\nConnection: Upgrade\n" KEY VERSION "\n", 0, true},
	{"empty members of a list",
	 GET HOST "Upgrade: , websocket\nConnection: ,, upgrade,\n" KEY VERSION "\n", 0, true},
	{"another upgrade is no business of ours", GET HOST "Upgrade: h2c\nConnection: Upgrade\n\n",
	 0, false},
	{"part of a token", GET HOST "Upgrade: websockets\nConnection: Upgrade\n" KEY VERSION "\n",
	 0, false},
	{"only GET upgrades", "POST / HTTP/1.1\n" HOST UPGRADE KEY VERSION "\n", 0, false},
	{"bytes beyond ASCII in a value", GET HOST "X: \xc3\xa9\xff\n\n", 0, false},
	{"empty value", GET "Host:\n\n", 0, false},
	{"an empty line before it", "\n" GET HOST "\n", 0, false},
	{"several", "\n\n\n" GET HOST UPGRADE KEY VERSION "\n", 0, true},
	{"absolute form", "GET http://a.example/b HTTP/1.1\n" HOST "\n", 0, false},
	{"absolute form that upgrades", "GET https://a.example HTTP/1.1\n" HOST UPGRADE KEY VERSION "\n",
	 0, true},
	{"no Host", GET "\n", 0, false},
	{"HTTP/1.0 without Host", "GET / HTTP/1.0\n\n", 0, false},
	{"upgrade without Host", GET UPGRADE KEY VERSION "\n", 0, true},
	{"extensions are not taken up", GET HOST UPGRADE KEY VERSION
	 "Sec-WebSocket-Extensions: permessage-deflate\n\n", 0, true},

	{"no key", GET HOST UPGRADE VERSION "\n", -400, false},
	{"empty key", GET HOST UPGRADE VERSION "Sec-WebSocket-Key:\n\n", -400, false},
	{"short key", GET HOST UPGRADE VERSION "Sec-WebSocket-Key: c2hvcnQ=\n\n", -400, false},
	{"key of 15 bytes", GET HOST UPGRADE VERSION "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2Rl\n\n",
	 -400,
	 false},
	{"key of 17 bytes",
	 GET HOST UPGRADE VERSION "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZmc=\n\n",
	 -400, false},
	{"key of 18 bytes",
	 GET HOST UPGRADE VERSION "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZmdo\n\n",
	 -400, false},
	{"key that is not base64", GET HOST UPGRADE VERSION
	 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==\n\n", -400, false},
	{"key without padding",
	 GET HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\n\n",
	 -400, false},
	{"two keys", GET HOST UPGRADE VERSION KEY KEY "\n", -400, false},
	{"no version", GET HOST UPGRADE KEY "\n", -426, false},
	{"version 8", GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\n\n", -426, false},
	{"version 130", GET HOST UPGRADE KEY "Sec-WebSocket-Version: 130\n\n", -426, false},
	{"several versions", GET HOST UPGRADE KEY "Sec-WebSocket-Version: 13, 8\n\n", -426, false},
	{"version twice", GET HOST UPGRADE KEY VERSION VERSION "\n", -400, false},
	{"no Connection", GET HOST "Upgrade: websocket\n" KEY VERSION "\n", -400, false},
	{"Connection without upgrade",
	 GET HOST "Upgrade: websocket\nConnection: close\n" KEY VERSION "\n",
	 -400, false},
	{"upgrade of HTTP/1.0", "GET / HTTP/1.0\n" HOST UPGRADE KEY VERSION "\n", -400, false},
	{"two Hosts", GET HOST HOST "\n", -400, false},
	{"two Origins", GET HOST "Origin: http://a\nOrigin: http://b\n\n", -400, false},

	{"two Sec-Fetch-Sites", GET HOST "Sec-Fetch-Site: none\nSec-Fetch-Site: none\n\n", -400, false},
	{"a line feed before it", "^" GET HOST "\n", -400, false},
	{"a carriage return before it", "$" GET HOST "\n", -400, false},
	{"a query in place of a path", "GET ?a HTTP/1.1\n" HOST "\n", -400, false},
	{"no target", "GET HTTP/1.1\n" HOST "\n", -400, false},
	{"no version of HTTP", "GET /\n" HOST "\n", -400, false},
	{"HTTP/0.9", "GET / HTTP/0.9\n" HOST "\n", -400, false},
	{"HTTP/2.0", "GET / HTTP/2.0\n" HOST "\n", -400, false},
	{"HTTP/1.10", "GET / HTTP/1.10\n" HOST "\n", -400, false},
	{"HTTP/1.x", "GET / HTTP/1.x\n" HOST "\n", -400, false},
	{"another protocol", "GET / ICAP/1.1\n" HOST "\n", -400, false},
	{"two spaces", "GET  / HTTP/1.1\n" HOST "\n", -400, false},
	{"space behind", "GET / HTTP/1.1 \n" HOST "\n", -400, false},
	{"space in the target", "GET /a b HTTP/1.1\n" HOST "\n", -400, false},
	{"tab in the target", "GET /\ta HTTP/1.1\n" HOST "\n", -400, false},
	{"target beyond ASCII", "GET /\xc3\xa9 HTTP/1.1\n" HOST "\n", -400, false},
	{"method that is no token", "G(T / HTTP/1.1\n" HOST "\n", -400, false},
	{"no method", " / HTTP/1.1\n" HOST "\n", -400, false},
	{"field without a colon", GET HOST "nonsense\n\n", -400, false},
	{"field without a name", GET HOST ": x\n\n", -400, false},
	{"space before the colon", GET "Host : localhost\n\n", -400, false},
	{"folded line", GET HOST "X: a\n b\n\n", -400, false},
	{"space before the first field", GET " " HOST "\n", -400, false},
	{"name that is no token", GET HOST "a b: c\n\n", -400, false},
	{"bare LF", "GET / HTTP/1.1^" HOST "\n", -400, false},
	{"bare LF at the end", GET HOST "^", -400, false},
	{"bare CR", GET HOST "X: a$b\n\n", -400, false},
	{"DEL", GET HOST "X: \x7f\n\n", -400, false},
	{"control character", GET HOST "X: \x01\n\n", -400, false},
	{"a TLS client hello", "\x16\x03\x01\x02", -400, false},
};

/* The head of every row, with more and more of it there: nothing is decided
 * before it is whole, but that it is malformed. */
static void request_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++) {
		char head[1024];
		struct ws_request r;
		size_t len = wire(head, requests[i].head);
		int expected = requests[i].expected ? requests[i].expected : (int)len;
		int n = 0;

		for (size_t k = 0; k < len && n == 0; k++)
			n = ws_request(&r, guarded(head, k), k);
		if (n == 0)
			n = ws_request(&r, guarded(head, len), len);
		else if (n != -400)
			fail_msg("%s: %d too early", requests[i].name, n);
		if (n != expected || r.upgrade != requests[i].upgrade)
			fail_msg("%s: %d, upgrade %d", requests[i].name, n, r.upgrade);
		memcpy(head + len, "\x81\x80....", 6);
		if (n > 0 && ws_request(&r, guarded(head, len + 6), len + 6) != n)
			fail_msg("%s: with a frame behind it", requests[i].name);
	}
}

/* No byte but those of HTTP's grammar, wherever it stands. */
static void control_characters(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char head[] = "GET / HTTP/1.1\r\nHost: x\r\nX: a?b\r\n\r\n";
		struct ws_request r;
		bool allowed = c == '\t' || (c >= ' ' && c != 0x7f);

		*strchr(head, '?') = (char)c;
		int n = ws_request(&r, guarded(head, sizeof head - 1), sizeof head - 1);
		if (n != (allowed ? (int)sizeof head - 1 : -400))
			fail_msg("%02x: %d", (unsigned)c, n);
	}
}

static void assert_text(struct ws_text text, const char *expected)
{
	if (!expected) {
		assert_null(text.at);
		return;
	}
	assert_non_null(text.at);
	assert_int_equal(text.len, strlen(expected));
	assert_memory_equal(text.at, expected, text.len);
}

/* elements: with | between them; NULL: there is no such field. */
static void assert_list(struct ws_list list, const char *elements)
{
	char text[256] = "";
	struct ws_text one;

	assert_true(!list.line.at == !elements);
	for (size_t n = 0, i = 0; ws_next_token(&list, &one); i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i > 0 ? "|" : "", (int)one.len,
		                      one.at);
	assert_string_equal(text, elements ? elements : "");
	assert_false(ws_next_token(&list, &one));
}

static void request_values(void **state)
{
	char head[1024];
	struct ws_request r;
	size_t len = wire(head, "GET /a/b?c=d?e HTTP/1.1\n" HOST "Origin:\n"
	                        "Authorization: Bearer abc\nAccept-Encoding: gzip, br\n"
	                        "Sec-WebSocket-Protocol: a, b\n" UPGRADE KEY VERSION "\n");

	(void)state;
	assert_int_equal(ws_request(&r, guarded(head, len), len), len);
	assert_text(r.method, "GET");
	assert_text(r.path, "/a/b");
	assert_text(r.host, "localhost:4801");
	assert_text(r.origin, "");
	assert_text(r.authorization, "Bearer abc");
	assert_list(r.protocols, "a|b");
	assert_list(r.accept_encoding, "gzip|br");
	assert_text(r.key, "dGhlIHNhbXBsZSBub25jZQ==");
	assert_true(r.upgrade);

	len = wire(head, GET HOST "\n");
	assert_int_equal(ws_request(&r, guarded(head, len), len), len);
	assert_text(r.path, "/");
	assert_text(r.origin, NULL);
	assert_text(r.authorization, NULL);
	assert_list(r.protocols, NULL);
	assert_list(r.accept_encoding, NULL);
	assert_false(r.upgrade);
	assert_null(r.wrong);
}

/* A list over several lines is one list, whatever stands between them. */
static void lists(void **state)
{
	static const struct {
		const char *fields, *elements;
	} rows[] = {
		{"", NULL},
		{"Accept:\n", ""},
		{"Accept: a, b\n", "a|b"},
		{"Accept: a\nX: x\nACCEPT: b , c\n", "a|b|c"},
		{"Accept:\nX: x\nAccept: b\n", "b"},
		{"Accept: a,\nAccept:\nAccept: b\nX: y\n", "a|b"},
		{"Accept: ,a,,b\nAccept-Encoding: c\n", "|a||b"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[512], head[1024];
		struct ws_request r;

		snprintf(text, sizeof text, "%s%s%s\n", GET, HOST, rows[i].fields);
		size_t len = wire(head, text);
		assert_int_equal(ws_request(&r, guarded(head, len), len), len);
		assert_list(r.accept, rows[i].elements);
		assert_list(r.accept, rows[i].elements);
		assert_true(!rows[i].elements || ws_has_token(r.accept, "B") == !!strchr(rows[i].elements, 'b'));
	}
}

/* The authority of an absolute form takes the place of Host, which HTTP/1.1 must have all
 * the same (RFC 9112 section 3.2). */
static void targets(void **state)
{
	static const struct {
		const char *line, *fields, *host, *path;
	} rows[] = {
		{"GET /a?b HTTP/1.1\n", HOST, "localhost:4801", "/a"},
		{"GET http://x/a?b HTTP/1.1\n", HOST, "x", "/a"},
		{"GET HTTPS://x:99/ HTTP/1.1\n", HOST, "x:99", "/"},
		{"GET http://x HTTP/1.1\n", HOST, "x", "/"},
		{"GET http://x?b/c HTTP/1.1\n", HOST, "x", "/"},
		{"GET http://[::1]:1//a HTTP/1.1\n", HOST, "[::1]:1", "//a"},
		{"GET http:// HTTP/1.1\n", HOST, "", "/"},
		{"GET http:///a HTTP/1.1\n", HOST, "", "/a"},
		{"GET http:/a HTTP/1.1\n", HOST, "localhost:4801", "http:/a"},
		{"GET httpx://a HTTP/1.1\n", HOST, "localhost:4801", "httpx://a"},
		{"GET http://x/ HTTP/1.1\n", "", NULL, "/"},
		{"GET http://x/ HTTP/1.0\n", "", "x", "/"},
		{"GET http://x/ HTTP/1.0\n", HOST, "x", "/"},
		{"GET / HTTP/1.0\n", "", NULL, "/"},
		{"OPTIONS * HTTP/1.1\n", HOST, "localhost:4801", "*"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[512], head[1024];
		struct ws_request r;

		snprintf(text, sizeof text, "%s%s\n", rows[i].line, rows[i].fields);
		size_t len = wire(head, text);
		assert_int_equal(ws_request(&r, guarded(head, len), len), len);
		assert_text(r.host, rows[i].host);
		assert_text(r.path, rows[i].path);
		assert_int_equal(r.http_1_0, !!strstr(rows[i].line, "1.0"));
	}
}

/* What was wrong is said in words. */
static void words(void **state)
{
	static const struct {
		const char *head, *wrong;
	} rows[] = {
		{"\x16\x03\x01", "TLS, which this port does not speak"},
		{"GET / HTTP/1.1^", "a control character, or a bare CR or LF"},
		{"GET /\n\n", "neither HTTP/1.1 nor HTTP/1.0"},
		{"PRI * HTTP/2.0\n\n", "neither HTTP/1.1 nor HTTP/1.0"},
		{"G(T / HTTP/1.1\n\n", "the request line does not begin with a method"},
		{"GET  / HTTP/1.1\n\n", "the request line is not METHOD TARGET HTTP/1.1"},
		{"GET /\xc3\xa9 HTTP/1.1\n\n", "the target has a character that no URL has"},
		{"GET ? HTTP/1.1\n\n", "the target has no path"},
		{GET "x\n\n", "a field line is not NAME: VALUE"},
		{GET HOST HOST "\n", "a field that may stand once stands twice"},
		{GET HOST "Upgrade: websocket\n\n", "Upgrade without Connection: Upgrade"},
		{"GET / HTTP/1.0\n" UPGRADE "\n", "an upgrade needs HTTP/1.1"},
		{GET HOST UPGRADE VERSION "\n", "Sec-WebSocket-Key is not 16 bytes in base64"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char head[1024];
		struct ws_request r;
		size_t len = wire(head, rows[i].head);

		assert_int_equal(ws_request(&r, guarded(head, len), len), -400);
		assert_string_equal(r.wrong, rows[i].wrong);
		assert_false(r.upgrade);
	}
}

/* A refused request still says whose it was, as far as it had been read. */
static void refused_values(void **state)
{
	char head[1024];
	struct ws_request r;
	size_t len = wire(head, GET HOST "Origin: http://a\n" UPGRADE KEY "\n");

	(void)state;
	assert_int_equal(ws_request(&r, guarded(head, len), len), -426);
	assert_text(r.host, "localhost:4801");
	assert_text(r.origin, "http://a");
	assert_int_equal(ws_request(&r, guarded("\n", 1), 1), -400);
	assert_text(r.host, NULL);
}

/* Fills a head with one long field so that it has len bytes. */
static void long_head(char *out, size_t len, const char *start)
{
	size_t n = wire(out, start);

	memset(out + n, 'x', len - n - 4);
	memcpy(out + len - 4, "\r\n\r\n", 4);
}

static void longest_request(void **state)
{
	static char head[WS_HEAD_MAX + 2];
	struct ws_request r;

	(void)state;
	long_head(head, WS_HEAD_MAX, GET HOST "X: ");
	assert_int_equal(ws_request(&r, guarded(head, WS_HEAD_MAX), WS_HEAD_MAX), WS_HEAD_MAX);
	assert_int_equal(ws_request(&r, guarded(head, WS_HEAD_MAX - 1), WS_HEAD_MAX - 1), 0);
	long_head(head, WS_HEAD_MAX + 1, GET HOST "X: ");
	assert_int_equal(ws_request(&r, guarded(head, WS_HEAD_MAX - 1), WS_HEAD_MAX - 1), 0);
	assert_int_equal(ws_request(&r, guarded(head, WS_HEAD_MAX), WS_HEAD_MAX), -431);
	assert_int_equal(ws_request(&r, guarded(head, WS_HEAD_MAX + 1), WS_HEAD_MAX + 1), -431);
}

static void accept_key(void **state)
{
	static const struct {
		const char *key, *accept;
	} rows[] = {
		{"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[WS_ACCEPT_LEN + 1];
		const char *key = guarded(rows[i].key, WS_KEY_LEN);

		ws_accept(out, (struct ws_text){key, WS_KEY_LEN});
		assert_string_equal(out, rows[i].accept);
	}
}

static void client_key(void **state)
{
	char out[WS_KEY_LEN + 1];

	(void)state;
	handshake_key(out, guarded("the sample nonce", 16));
	assert_string_equal(out, "dGhlIHNhbXBsZSBub25jZQ==");
}

#define SWITCHING "HTTP/1.1 101 Switching Protocols\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n"

static const struct {
	const char *name;
	const char *head;
	int expected;   /* 0: its length; else as handshake_response returns it */
} responses[] = {
	{"the RFC's own", SWITCHING UPGRADE ACCEPT "\n", 0},
	{"no reason", "HTTP/1.1 101 \n" UPGRADE ACCEPT "\n", 0},
	{"nor a space for it", "HTTP/1.1 101\n" UPGRADE ACCEPT "\n", 0},
	{"names in any case", SWITCHING "upgrade: WEBSOCKET\nconnection: upgrade\n"
	 "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n", 0},
	{"other fields", SWITCHING "Server: x\n" UPGRADE "Date: y\n" ACCEPT "\n", 0},
	{"Connection is a list",
	 SWITCHING "Connection: keep-alive, Upgrade\nUpgrade: websocket\n" ACCEPT "\n", 0},

	{"400", "HTTP/1.1 400 Bad Request\n\n", -400},
	{"401", "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer\n\n", -401},
	{"503", "HTTP/1.1 503 Service Unavailable\nRetry-After: 5\n\n", -503},
	{"200", "HTTP/1.1 200 OK\n" UPGRADE ACCEPT "\n", -200},
	{"301", "HTTP/1.1 301 Moved Permanently\nLocation: ws://x/\n\n", -301},
	{"100", "HTTP/1.1 100 Continue\n\n", -100},

	{"no Upgrade", SWITCHING "Connection: Upgrade\n" ACCEPT "\n", -1002},
	{"no Connection", SWITCHING "Upgrade: websocket\n" ACCEPT "\n", -1002},
	{"no accept", SWITCHING UPGRADE "\n", -1002},
	{"empty accept", SWITCHING UPGRADE "Sec-WebSocket-Accept:\n\n", -1002},
	{"accept of another key", SWITCHING UPGRADE
	 "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\n\n", -1002},
	{"accept in the wrong case", SWITCHING UPGRADE
	 "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=\n\n", -1002},
	{"another upgrade", SWITCHING "Upgrade: h2c\nConnection: Upgrade\n" ACCEPT "\n", -1002},
	{"extension nobody offered", SWITCHING UPGRADE ACCEPT
	 "Sec-WebSocket-Extensions: permessage-deflate\n\n", -1002},
	{"subprotocol nobody offered", SWITCHING UPGRADE ACCEPT "Sec-WebSocket-Protocol: chat\n\n",
	 -1002},
	{"malformed field", SWITCHING UPGRADE ACCEPT "nonsense\n\n", -1002},
	{"another protocol", "SSH-2.0-OpenSSH_9.2\n\n", -1002},
	{"status of two digits", "HTTP/1.1 99 x\n\n", -1002},
	{"status of four digits", "HTTP/1.1 1010 x\n\n", -1002},
	{"status below 100", "HTTP/1.1 099 x\n\n", -1002},
	{"status with a letter", "HTTP/1.1 10a x\n\n", -1002},
	{"HTTP/2", "HTTP/2.0 101 x\n" UPGRADE ACCEPT "\n", -1002},
	{"bare LF", "HTTP/1.1 101 x^\n", -1002},
	{"NUL-like control", "HTTP/1.1 101 \x02\n\n", -1002},
};

static void response_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(responses); i++) {
		static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
		char head[1024];
		size_t len = wire(head, responses[i].head);
		int expected = responses[i].expected ? responses[i].expected : (int)len;
		int n = 0;

		for (size_t k = 0; k < len && n == 0; k++)
			n = handshake_response(guarded(head, k), k, key);
		if (n == 0)
			n = handshake_response(guarded(head, len), len, key);
		else if (n != -1002)
			fail_msg("%s: %d too early", responses[i].name, n);
		if (n != expected)
			fail_msg("%s: %d", responses[i].name, n);
		memcpy(head + len, "\x82\x01x", 3);
		if (n > 0 && handshake_response(guarded(head, len + 3), len + 3, key) != n)
			fail_msg("%s: with a frame behind it", responses[i].name);
	}
}

static void longest_response(void **state)
{
	static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
	static char head[WS_HEAD_MAX];

	(void)state;
	long_head(head, WS_HEAD_MAX, SWITCHING UPGRADE ACCEPT "X: ");
	assert_int_equal(handshake_response(guarded(head, WS_HEAD_MAX), WS_HEAD_MAX, key), WS_HEAD_MAX);
	assert_int_equal(handshake_response(guarded(head, WS_HEAD_MAX - 1), WS_HEAD_MAX - 1, key), 0);
	head[WS_HEAD_MAX - 1] = 'x';
	head[WS_HEAD_MAX - 2] = 'x';
	head[WS_HEAD_MAX - 3] = 'x';
	head[WS_HEAD_MAX - 4] = 'x';
	assert_int_equal(handshake_response(guarded(head, WS_HEAD_MAX), WS_HEAD_MAX, key), -1002);
}

static void response_fields(void **state)
{
	char head[1024];
	size_t len = wire(head, "HTTP/1.1 301 Moved\nX: y\nLOCATION:  /a b \nLocation: c\nEmpty:\n\n");
	const char *at = guarded(head, len);

	(void)state;
	assert_text(handshake_field(at, len, "Location"), "/a b");
	assert_text(handshake_field(at, len, "Empty"), "");
	assert_text(handshake_field(at, len, "Y"), NULL);
	assert_text(handshake_field(guarded(head, len - 1), len - 1, "Location"), NULL);   /* not whole */
	len = wire(head, "HTTP/1.1 301\nnonsense\nLocation: c\n\n");
	assert_text(handshake_field(guarded(head, len), len, "Location"), NULL);
	assert_text(handshake_field(guarded("", 0), 0, "Location"), NULL);
}

static void texts(void **state)
{
	(void)state;
	assert_true(ws_text_is((struct ws_text){"GeT", 3}, "gEt"));
	assert_true(ws_text_is((struct ws_text){"", 0}, ""));
	assert_false(ws_text_is((struct ws_text){NULL, 0}, ""));
	assert_false(ws_text_is((struct ws_text){guarded("GE", 2), 2}, "GET"));
	assert_false(ws_text_is((struct ws_text){"GETS", 4}, "GET"));
	assert_false(ws_text_is((struct ws_text){"GE\0", 3}, "GET"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_table),
		cmocka_unit_test(control_characters),
		cmocka_unit_test(request_values),
		cmocka_unit_test(refused_values),
		cmocka_unit_test(lists),
		cmocka_unit_test(targets),
		cmocka_unit_test(words),
		cmocka_unit_test(longest_request),
		cmocka_unit_test(accept_key),
		cmocka_unit_test(client_key),
		cmocka_unit_test(response_table),
		cmocka_unit_test(longest_response),
		cmocka_unit_test(response_fields),
		cmocka_unit_test(texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
