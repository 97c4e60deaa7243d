/* Who may ask for what, and the answers' heads. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "base/http.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const hosts[] = {"node.example", "xn--nde-sna.example"};
static const char *const origins[] = {"https://watch.example", "https://watch.example:8443"};
static const struct http_policy allowing = {
	.hosts = hosts,
	.host_count = COUNT(hosts),
	.origins = origins,
	.origin_count = COUNT(origins),
};
static const struct http_policy standard = {0};

/* Parses a request with these fields (Host NULL: localhost:4801; Origin NULL:
 * none) and decides on it. The request stays behind in *r for http_head. */
static void decide(struct http_answer *a, struct ws_request *r, const char *line, const char *host,
                   const char *origin, const struct http_policy *policy, bool loopback)
{
	char head[2048];
	int len = snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", line,
	                   host ? host : "localhost:4801", origin ? "Origin: " : "",
	                   origin ? origin : "", origin ? "\r\n" : "");

	assert_in_range(len, 1, sizeof head - 1);
	assert_int_equal(ws_request(r, guarded(head, (size_t)len), (size_t)len), len);
	http_decide(a, r, policy, loopback);
}

static void host_table(void **state)
{
	static const struct {
		const char *host;
		int status, allowing;
	} rows[] = {
		{"localhost", 200, 200}, {"LocalHost", 200, 200}, {"localhost:4801", 200, 200},
		{"localhost:", 200, 200}, {"localhost:1", 200, 200},
		{"127.0.0.1", 200, 200}, {"127.0.0.1:4801", 200, 200}, {"192.0.2.7:80", 200, 200},
		{"[::1]", 200, 200}, {"[::1]:4801", 200, 200}, {"[2001:db8::7]:1", 200, 200},
		{"[::ffff:192.0.2.7]", 200, 200},
		{"node.example", 403, 200}, {"NODE.example:4801", 403, 200},
		{"xn--nde-sna.example", 403, 200}, {"a.node.example", 403, 403},
		{"node.example.", 403, 403},
		{"node.example.evil.example", 403, 403}, {"evil.example", 403, 403},
		{"localhost.", 403, 403}, {"localhost.evil.example", 403, 403},
		{"notlocalhost", 403, 403},
		{"127.0.0.1.evil.example", 403, 403}, {"127.1", 403, 403}, {"2130706433", 403, 403},
		{"0x7f000001", 403, 403}, {"127.0.0.256", 403, 403}, {"1.2.3.4.5", 403, 403},
		{"user@localhost", 403, 403}, {"localhost/", 403, 403}, {"local host", 403, 403},
		{"localhost,localhost", 403, 403}, {"[127.0.0.1]", 403, 403}, {"[]", 403, 403},
		{"[localhost]", 403, 403}, {"[::1%25lo]", 403, 403}, {"[:::1]", 403, 403},
		{"[1:2:3:4:5:6:7:8:9]", 403, 403},
		{"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]", 403, 403},
		{"", 400, 400}, {":4801", 400, 400}, {"::1", 400, 400}, {"[::1", 400, 400},
		{"[::1]4801", 400, 400}, {"localhost:http", 400, 400}, {"localhost:-1", 400, 400},
		{"localhost:1:2", 400, 400}, {"http://localhost", 400, 400},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a, b;
		struct ws_request r;

		decide(&a, &r, "GET /healthz", rows[i].host, NULL, &standard, true);
		decide(&b, &r, "GET /healthz", rows[i].host, NULL, &allowing, true);
		if (a.status != rows[i].status || b.status != rows[i].allowing)
			fail_msg("Host: %s: %d, %d", rows[i].host, a.status, b.status);
		assert_true((a.status == 200) == (a.reason == NULL));
	}
}

static void origin_table(void **state)
{
	static const struct {
		const char *host, *origin;
		int from_loopback, from_afar, allowing;   /* the last from afar as well */
	} rows[] = {
		{NULL, NULL, 200, 200, 200},
		{"localhost:4801", "http://localhost:4801", 200, 200, 200},
		{"localhost:4801", "HTTP://LOCALHOST:4801", 200, 200, 200},
		{"localhost:4801", "https://localhost:4801", 200, 200, 200},
		{"localhost:4801", "http://localhost:80", 200, 403, 403},
		{"localhost:4801", "http://localhost", 200, 403, 403},
		{"localhost:4801", "http://127.0.0.1:4801", 200, 403, 403},
		{"localhost:4801", "http://127.0.0.1", 200, 403, 403},
		{"localhost:4801", "https://127.0.0.1:1", 200, 403, 403},
		{"localhost:4801", "http://[::1]:9000", 200, 403, 403},
		{"localhost:4801", "https://[::1]", 200, 403, 403},
		{"localhost", "http://localhost", 200, 200, 200},
		{"localhost:80", "http://localhost", 200, 200, 200},
		{"localhost", "http://localhost:80", 200, 200, 200},
		{"localhost:443", "https://localhost", 200, 200, 200},
		{"localhost:443", "http://localhost", 200, 403, 403},
		{"192.0.2.7:4801", "http://192.0.2.7:4801", 200, 200, 200},
		{"192.0.2.7:4801", "http://192.0.2.7:4802", 403, 403, 403},
		{"192.0.2.7:4801", "http://192.0.2.8:4801", 403, 403, 403},
		{"[2001:db8::7]:1", "http://[2001:db8::7]:1", 200, 200, 200},
		{NULL, "null", 403, 403, 403},
		{NULL, "", 403, 403, 403},
		{NULL, "http://", 403, 403, 403},
		{NULL, "https://", 403, 403, 403},
		{NULL, "localhost:4801", 403, 403, 403},
		{NULL, "file://", 403, 403, 403},
		{NULL, "ws://localhost:4801", 403, 403, 403},
		{NULL, "chrome-extension://localhost", 403, 403, 403},
		{NULL, "http://evil.example", 403, 403, 403},
		{NULL, "http://localhost.evil.example", 403, 403, 403},
		{NULL, "http://127.0.0.1.evil.example", 403, 403, 403},
		{NULL, "http://[::1].evil.example", 403, 403, 403},
		{NULL, "http://localhost@evil.example", 403, 403, 403},
		{NULL, "http://evil.example:4801", 403, 403, 403},
		{NULL, "http://localhost:4801/", 403, 403, 403},
		{NULL, "http://localhost:4801 http://evil.example", 403, 403, 403},
		{NULL, "http://127.0.0.2", 403, 403, 403},
		{NULL, "http://127.1", 403, 403, 403},
		{NULL, "http://localhost.", 403, 403, 403},
		{NULL, "http://:4801", 403, 403, 403},
		{NULL, "http://[::1", 403, 403, 403},
		{NULL, "https://watch.example", 403, 403, 200},
		{NULL, "HTTPS://Watch.Example", 403, 403, 200},
		{NULL, "https://watch.example:8443", 403, 403, 200},
		{NULL, "https://watch.example:443", 403, 403, 403},
		{NULL, "http://watch.example", 403, 403, 403},
		{NULL, "https://watch.example.evil.example", 403, 403, 403},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a, b, c;
		struct ws_request r;
		const char *host = rows[i].host, *origin = rows[i].origin;

		decide(&a, &r, "GET /healthz", host, origin, &standard, true);
		decide(&b, &r, "GET /healthz", host, origin, &standard, false);
		decide(&c, &r, "GET /healthz", host, origin, &allowing, false);
		if (a.status != rows[i].from_loopback || b.status != rows[i].from_afar ||
		    c.status != rows[i].allowing)
			fail_msg("Origin: %s: %d, %d, %d", origin ? origin : "none", a.status,
			         b.status, c.status);
	}
}

/* A page without TLS is not of the origin of a daemon with TLS. */
static void origin_under_tls(void **state)
{
	static const struct http_policy tls = {.tls = true};
	static const struct {
		const char *host, *origin;
		int without, with;
	} rows[] = {
		{"192.0.2.7", "http://192.0.2.7", 200, 403},
		{"192.0.2.7", "https://192.0.2.7", 200, 200},
		{"192.0.2.7", "https://192.0.2.7:443", 200, 200},
		{"192.0.2.7:443", "https://192.0.2.7", 200, 200},
		{"192.0.2.7:80", "http://192.0.2.7", 200, 403},
		{"192.0.2.7:443", "http://192.0.2.7:443", 200, 403},
		{"192.0.2.7:4801", "http://192.0.2.7:4801", 200, 403},
		{"192.0.2.7:4801", "https://192.0.2.7:4801", 200, 200},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a, b;
		struct ws_request r;

		decide(&a, &r, "GET /healthz", rows[i].host, rows[i].origin, &standard, false);
		decide(&b, &r, "GET /healthz", rows[i].host, rows[i].origin, &tls, false);
		if (a.status != rows[i].without || b.status != rows[i].with)
			fail_msg("%s: %d, %d", rows[i].origin, a.status, b.status);
	}
}

/* A refusal names the option that would allow it, with its value. */
static void refusals_help(void **state)
{
	struct http_answer a;
	struct ws_request r;

	(void)state;
	decide(&a, &r, "GET /", "evil.example:99", "http://evil.example:99", &standard, true);
	assert_string_equal(a.reason, "this Host is not allowed");
	assert_string_equal(a.option, "--allow-host");
	assert_int_equal(a.value.len, strlen("evil.example"));
	assert_memory_equal(a.value.at, "evil.example", a.value.len);

	decide(&a, &r, "GET /", NULL, "https://evil.example:99", &standard, true);
	assert_string_equal(a.reason, "this Origin is not allowed");
	assert_string_equal(a.option, "--allow-origin");
	assert_int_equal(a.value.len, strlen("https://evil.example:99"));
	assert_memory_equal(a.value.at, "https://evil.example:99", a.value.len);

	decide(&a, &r, "GET /nothing", NULL, NULL, &standard, true);
	assert_non_null(a.reason);
	assert_null(a.option);
}

static void route_table(void **state)
{
	static const struct {
		const char *line;
		int status;
		bool no_body;
	} rows[] = {
		{"GET /", 200, false},
		{"GET /?a=b", 200, false},
		{"HEAD /", 200, true},
		{"GET /healthz", 200, false},
		{"HEAD /healthz", 200, true},
		{"GET /introspection.proto", 200, false},
		{"GET /metrics", 200, false},
		{"HEAD /metrics", 200, true},
		{"GET /metrics/", 404, false},
		{"POST /metrics", 405, false},
		{"GET /nothing", 404, false},
		{"HEAD /nothing", 404, true},
		{"GET /healthz/", 404, false},
		{"GET //", 404, false},
		{"GET /../healthz", 404, false},
		{"GET *", 404, false},
		{"POST /", 405, false},
		{"PUT /healthz", 405, false},
		{"DELETE /nothing", 405, false},
		{"OPTIONS *", 405, false},
		{"CONNECT localhost:4801", 405, false},
		{"TRACE /", 405, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a;
		struct ws_request r;

		decide(&a, &r, rows[i].line, NULL, NULL, &standard, true);
		if (a.status != rows[i].status || a.no_body != rows[i].no_body)
			fail_msg("%s: %d", rows[i].line, a.status);
		assert_int_equal(a.metrics, a.status == 200 && strstr(rows[i].line, "/metrics"));
	}
}

#define UPGRADE " HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                       \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nHost: "

static void upgrades(void **state)
{
	static const struct {
		const char *head;
		int status;
	} rows[] = {
		{"GET /" UPGRADE "localhost\r\n\r\n", 101},
		{"GET /?x" UPGRADE "localhost\r\n\r\n", 101},
		{"GET /healthz" UPGRADE "localhost\r\n\r\n", 404},
		{"GET /metrics" UPGRADE "localhost\r\n\r\n", 404},
		{"GET /nothing" UPGRADE "localhost\r\n\r\n", 404},
		{"POST /" UPGRADE "localhost\r\n\r\n", 405},
		{"GET /" UPGRADE "evil.example\r\n\r\n", 403},
		{"GET /" UPGRADE "localhost\r\nOrigin: null\r\n\r\n", 403},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a;
		struct ws_request r;
		size_t len = strlen(rows[i].head);

		assert_int_equal(ws_request(&r, guarded(rows[i].head, len), len), len);
		http_decide(&a, &r, &standard, true);
		if (a.status != rows[i].status)
			fail_msg("%s: %d", rows[i].head, a.status);
	}
}

/* The value of a field of the head, in a buffer of the next call; NULL: none. */
static const char *field(const char *head, const char *name)
{
	static char value[512];
	char start[64];

	snprintf(start, sizeof start, "\r\n%s: ", name);
	const char *at = strstr(head, start);
	if (!at)
		return NULL;
	at += strlen(start);
	snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

static void assert_field(const char *head, const char *name, const char *expected)
{
	const char *value = field(head, name);

	assert_non_null(value);
	assert_string_equal(value, expected);
}

static void answer_head(char *out, const struct http_answer *a, struct ws_text host)
{
	size_t len = http_head(out, a, host);

	assert_in_range(len, 1, WS_HEAD_MAX - 1);
	out[len] = '\0';
	const char *body = strstr(out, "\r\n\r\n");
	assert_non_null(body);
	if (!a->no_body && !a->body)
		assert_int_equal(strlen(body + 4), atoi(field(out, "Content-Length")));
	else
		assert_string_equal(body + 4, "");
	assert_field(out, "Connection", "close");
	assert_field(out, "X-Content-Type-Options", "nosniff");
	assert_field(out, "Referrer-Policy", "no-referrer");
	assert_non_null(strstr(field(out, "Content-Security-Policy"), "default-src 'none'"));
	assert_non_null(strstr(field(out, "Content-Security-Policy"), "frame-ancestors 'none'"));
}

static void heads(void **state)
{
	static const struct {
		const char *line, *field, *value;
	} rows[HTTP_REFUSALS] = {
		[HTTP_MALFORMED] = {"HTTP/1.1 400 Bad Request\r\n", NULL, NULL},
		[HTTP_BAD_HOST] = {"HTTP/1.1 400 Bad Request\r\n", NULL, NULL},
		[HTTP_NO_TOKEN] = {"HTTP/1.1 401 Unauthorized\r\n", "WWW-Authenticate", "Bearer"},
		[HTTP_FOREIGN_HOST] = {"HTTP/1.1 403 Forbidden\r\n", NULL, NULL},
		[HTTP_FOREIGN_ORIGIN] = {"HTTP/1.1 403 Forbidden\r\n", NULL, NULL},
		[HTTP_NO_PAGE] = {"HTTP/1.1 404 Not Found\r\n", NULL, NULL},
		[HTTP_NO_SOCKET] = {"HTTP/1.1 404 Not Found\r\n", NULL, NULL},
		[HTTP_BAD_METHOD] = {"HTTP/1.1 405 Method Not Allowed\r\n", "Allow", "GET, HEAD"},
		[HTTP_BAD_VERSION] = {"HTTP/1.1 426 Upgrade Required\r\n", "Sec-WebSocket-Version",
		                      "13"},
		[HTTP_HEAD_TOO_LONG] = {"HTTP/1.1 431 Request Header Fields Too Large\r\n", NULL, NULL},
		[HTTP_CLIENTS_MAX] = {"HTTP/1.1 503 Service Unavailable\r\n", "Retry-After", "5"},
		[HTTP_SLOTS_MAX] = {"HTTP/1.1 503 Service Unavailable\r\n", "Retry-After", "5"},
	};
	static const char *const special[] = {"Allow", "Sec-WebSocket-Version", "Retry-After",
	                                      "WWW-Authenticate", "Content-Encoding"};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[WS_HEAD_MAX];
		struct http_answer a;

		http_refuse(&a, (enum http_refusal)i);
		assert_int_equal(a.refusal, i);
		assert_int_equal(a.status, atoi(rows[i].line + sizeof "HTTP/1.1"));
		answer_head(out, &a, (struct ws_text){0});
		assert_memory_equal(out, rows[i].line, strlen(rows[i].line));
		assert_non_null(strstr(out, a.reason));
		for (size_t k = 0; k < COUNT(special); k++) {
			if (rows[i].field && strcmp(special[k], rows[i].field) == 0)
				assert_field(out, special[k], rows[i].value);
			else
				assert_null(field(out, special[k]));
		}
	}
}

static void texts(void **state)
{
	char out[WS_HEAD_MAX];
	struct http_answer a;
	struct ws_request r;

	(void)state;
	decide(&a, &r, "GET /", "localhost:4801", NULL, &standard, true);
	answer_head(out, &a, r.host);
	assert_field(out, "Content-Type", "text/plain; charset=utf-8");
	assert_non_null(strstr(out, "ws://localhost:4801/"));

	decide(&a, &r, "HEAD /", "localhost:4801", NULL, &standard, true);
	answer_head(out, &a, r.host);
	assert_true(atoi(field(out, "Content-Length")) > 0);

	decide(&a, &r, "GET /healthz", NULL, NULL, &standard, true);
	answer_head(out, &a, r.host);
	assert_int_equal(a.body_len, 3);
	assert_memory_equal(a.body, "ok\n", 3);
	assert_field(out, "Content-Length", "3");

	decide(&a, &r, "GET /", "evil.example", NULL, &standard, true);
	answer_head(out, &a, r.host);
	assert_non_null(strstr(out, "--allow-host"));
	assert_null(strstr(out, "evil.example"));
}

/* A Host as long as a head can be does not fit the text that repeats it. */
static void long_host(void **state)
{
	static char host[WS_HEAD_MAX - 100], out[WS_HEAD_MAX];
	const struct http_answer a = {.status = 200, .type = "text/plain; charset=utf-8"};

	(void)state;
	memset(host, '0', sizeof host);
	memcpy(host, "localhost:", 10);
	answer_head(out, &a, (struct ws_text){guarded(host, sizeof host), sizeof host});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_table),
		cmocka_unit_test(origin_table),
		cmocka_unit_test(origin_under_tls),
		cmocka_unit_test(refusals_help),
		cmocka_unit_test(route_table),
		cmocka_unit_test(upgrades),
		cmocka_unit_test(heads),
		cmocka_unit_test(texts),
		cmocka_unit_test(long_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
