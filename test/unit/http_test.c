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
#include "endpoint/endpoint.h"
#include "endpoint/files.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct option_list hosts = {{"node.example", "xn--nde-sna.example"}, 2};
static const struct option_list origins = {{"https://watch.example", "https://watch.example:8443"}, 2};
static const struct endpoint pull = {.path = "/", .upgrade = true, .about = "snapshots"};
static const struct endpoint commands = {.path = "/introspect", .upgrade = true};
static const struct endpoint metrics = {.path = "/metrics", .about = "for Prometheus"};
static const struct endpoint *const endpoints[] = {&pull, &commands, &metrics, NULL};

static const struct http_policy allowing = {
	.endpoints = endpoints, .files = files_answer,
	.hosts = &hosts,
	.origins = &origins,
};
static const struct http_policy standard = {.endpoints = endpoints, .files = files_answer};

/* Decides on a request whose head is text. */
static void decide_text(struct http_answer *a, const char *text, const struct http_policy *policy)
{
	size_t len = strlen(text);
	const char *head = guarded(text, len);
	struct ws_request r;
	int n = ws_request(&r, head, len);

	if (n == 0 || n > (int)len)
		fail_msg("%s: %d", text, n);
	http_decide(a, &r, n, policy);
}

/* Parses a request with these fields (Host NULL: localhost:4801; Origin NULL:
 * none) and decides on it. */
static void decide(struct http_answer *a, const char *line, const char *host, const char *origin,
                   const struct http_policy *policy)
{
	char head[2048];
	int len = snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", line,
	                   host ? host : "localhost:4801", origin ? "Origin: " : "",
	                   origin ? origin : "", origin ? "\r\n" : "");

	assert_in_range(len, 1, sizeof head - 1);
	decide_text(a, head, policy);
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
		{"user@localhost", 400, 400}, {"localhost/", 400, 400}, {"local host", 400, 400},
		{"localhost,localhost", 400, 400}, {"[127.0.0.1]", 400, 400}, {"[]", 400, 400},
		{"[localhost]", 400, 400}, {"[::1%25lo]", 400, 400}, {"[:::1]", 400, 400},
		{"[1:2:3:4:5:6:7:8:9]", 400, 400},
		{"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]", 400, 400},
		{"", 400, 400}, {":4801", 400, 400}, {"::1", 400, 400}, {"[::1", 400, 400},
		{"[::1]4801", 400, 400}, {"localhost:http", 400, 400}, {"localhost:-1", 400, 400},
		{"localhost:1:2", 400, 400}, {"http://localhost", 400, 400},
		{"localhost/x?y#z", 400, 400}, {"user:password@localhost", 400, 400},
		{"n\xc3\xb6" "de.example", 400, 400}, {"node%2eexample", 400, 400},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a, b;

		decide(&a, "GET /healthz", rows[i].host, NULL, &standard);
		decide(&b, "GET /healthz", rows[i].host, NULL, &allowing);
		if (a.status != rows[i].status || b.status != rows[i].allowing)
			fail_msg("Host: %s: %d, %d", rows[i].host, a.status, b.status);
		assert_true((a.status == 200) == (a.reason == NULL));
	}
}

/* Judged where data is shown; the page's own files are for everybody. */
static void origin_table(void **state)
{
	static const struct http_policy proxied = {.endpoints = endpoints, .files = files_answer, .public_url = "https://node.example/below"};
	static const struct http_policy tls = {.endpoints = endpoints, .files = files_answer, .tls = true};
	static const struct {
		const char *host, *origin;
		int standard, allowing, tls, proxied;
	} rows[] = {
		{NULL, NULL, 200, 200, 200, 200},
		{"localhost:4801", "http://localhost:4801", 200, 200, 403, 200},
		{"localhost:4801", "HTTP://LOCALHOST:4801", 200, 200, 403, 200},
		{"localhost:4801", "https://localhost:4801", 200, 200, 200, 200},
		{"localhost:4801", "http://localhost:80", 403, 403, 403, 403},
		{"localhost:4801", "http://localhost", 403, 403, 403, 403},
		{"localhost:4801", "http://localhost:8080", 403, 403, 403, 403},
		{"localhost:4801", "http://127.0.0.1:4801", 403, 403, 403, 403},
		{"127.0.0.1:4801", "http://127.0.0.1:8080", 403, 403, 403, 403},
		{"127.0.0.1:4801", "http://127.0.0.1", 403, 403, 403, 403},
		{"127.0.0.1:4801", "http://localhost:4801", 403, 403, 403, 403},
		{"[::1]:4801", "http://[::1]:4801", 200, 200, 403, 200},
		{"[::1]:4801", "http://[::1]:9000", 403, 403, 403, 403},
		{"localhost:4801", "https://[::1]", 403, 403, 403, 403},
		{"localhost", "http://localhost", 200, 200, 403, 200},
		{"localhost:80", "http://localhost", 200, 200, 403, 200},
		{"localhost", "http://localhost:80", 200, 200, 403, 200},
		{"localhost:443", "https://localhost", 200, 200, 200, 200},
		{"localhost:443", "http://localhost", 403, 403, 403, 403},
		{"192.0.2.7", "https://192.0.2.7:443", 200, 200, 200, 200},
		{"192.0.2.7:443", "http://192.0.2.7:443", 200, 200, 403, 200},
		{"192.0.2.7:4801", "http://192.0.2.7:4801", 200, 200, 403, 200},
		{"192.0.2.7:4801", "http://192.0.2.7:4802", 403, 403, 403, 403},
		{"192.0.2.7:4801", "http://192.0.2.8:4801", 403, 403, 403, 403},
		{"[2001:db8::7]:1", "http://[2001:db8::7]:1", 200, 200, 403, 200},
		{NULL, "null", 403, 403, 403, 403},
		{NULL, "", 403, 403, 403, 403},
		{NULL, "http://", 403, 403, 403, 403},
		{NULL, "https://", 403, 403, 403, 403},
		{NULL, "localhost:4801", 403, 403, 403, 403},
		{NULL, "file://", 403, 403, 403, 403},
		{NULL, "ws://localhost:4801", 403, 403, 403, 403},
		{NULL, "chrome-extension://localhost", 403, 403, 403, 403},
		{NULL, "chrome-extension://localhost:4801", 403, 403, 403, 403},
		{NULL, "http://evil.example", 403, 403, 403, 403},
		{NULL, "http://localhost.evil.example", 403, 403, 403, 403},
		{NULL, "http://localhost:4801.evil.example", 403, 403, 403, 403},
		{NULL, "http://127.0.0.1.evil.example", 403, 403, 403, 403},
		{NULL, "http://[::1].evil.example", 403, 403, 403, 403},
		{NULL, "http://localhost@evil.example", 403, 403, 403, 403},
		{NULL, "http://evil.example:4801", 403, 403, 403, 403},
		{NULL, "http://localhost:4801/", 403, 403, 403, 403},
		{NULL, "http://localhost:4801 http://evil.example", 403, 403, 403, 403},
		{NULL, "http://localhost.:4801", 403, 403, 403, 403},
		{NULL, "http://:4801", 403, 403, 403, 403},
		{NULL, "http://[::1", 403, 403, 403, 403},
		{NULL, "https://watch.example", 403, 200, 403, 403},
		{NULL, "HTTPS://Watch.Example", 403, 200, 403, 403},
		{NULL, "https://watch.example:8443", 403, 200, 403, 403},
		{NULL, "https://watch.example:443", 403, 403, 403, 403},
		{NULL, "http://watch.example", 403, 403, 403, 403},
		{NULL, "https://watch.example.evil.example", 403, 403, 403, 403},
		/* Host as the proxy rewrites it, and as it came */
		{"127.0.0.1:4801", "https://node.example", 403, 403, 403, 200},
		{"127.0.0.1:4801", "https://node.example:443", 403, 403, 403, 200},
		{"127.0.0.1:4801", "http://node.example", 403, 403, 403, 403},
		{"127.0.0.1:4801", "https://node.example:4801", 403, 403, 403, 403},
		{"127.0.0.1:4801", "https://a.node.example", 403, 403, 403, 403},
		{"node.example", "https://node.example", 403, 200, 403, 200},
		{"node.example", "http://node.example", 403, 200, 403, 403},
		{"node.example:443", "https://node.example", 403, 200, 403, 200},
		{"node.example:443", "http://node.example:443", 403, 200, 403, 403},
		{"node.example:80", "http://node.example", 403, 200, 403, 200},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *host = rows[i].host, *origin = rows[i].origin;
		const struct {
			const struct http_policy *policy;
			int status;
		} by[] = {{&standard, rows[i].standard},
		          {&allowing, rows[i].allowing},
		          {&tls, rows[i].tls},
		          {&proxied, rows[i].proxied}};

		for (size_t k = 0; k < COUNT(by); k++) {
			struct http_answer a;

			decide(&a, "GET /metrics", host, origin, by[k].policy);
			if (a.status != by[k].status)
				fail_msg("Host: %s, Origin: %s, policy %zu: %d", host ? host : "-",
				         origin ? origin : "-", k, a.status);
			bool known = a.refusal != HTTP_FOREIGN_HOST;
			decide(&a, "GET /app.js", host, origin, by[k].policy);
			assert_int_equal(a.status, known ? 200 : 403);
			decide(&a, "GET /healthz", host, origin, by[k].policy);
			assert_int_equal(a.status, known ? 200 : 403);
		}
	}
}

/* What a page loads without saying its Origin, a browser calls by its site. */
static void fetch_site(void **state)
{
	static const struct {
		const char *fields;
		int metrics;
	} rows[] = {
		{"Sec-Fetch-Site: none\r\n", 200},
		{"Sec-Fetch-Site: same-origin\r\n", 200},
		{"Sec-Fetch-Site: same-site\r\n", 403},
		{"Sec-Fetch-Site: cross-site\r\n", 403},
		{"Sec-Fetch-Site: \r\n", 403},
		{"Origin: https://watch.example\r\nSec-Fetch-Site: cross-site\r\n", 200},
		{"Origin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n", 403},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char head[512];
		struct http_answer a;

		snprintf(head, sizeof head, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
		         rows[i].fields);
		decide_text(&a, head, &allowing);
		if (a.status != rows[i].metrics)
			fail_msg("%s: %d", rows[i].fields, a.status);
		assert_true(a.status == 200 || a.refusal == HTTP_FOREIGN_ORIGIN);
		snprintf(head, sizeof head, "GET /app.js HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
		         rows[i].fields);
		decide_text(&a, head, &allowing);
		assert_int_equal(a.status, 200);
	}
}

/* What the options about names take. */
static void names(void **state)
{
	static const struct {
		const char *text;
		bool name, origin, url;
	} rows[] = {
		{"node.example", true, false, false}, {"NODE-1_a.example", true, false, false},
		{"localhost", true, false, false}, {"127.0.0.1", true, false, false},
		{"", false, false, false}, {"*", false, false, false}, {"*.example", false, false, false},
		{"node.example:443", false, false, false}, {"[::1]", false, false, false},
		{"n\xc3\xb6"
		 "de.example", false, false, false}, {"null", true, false, false},
		{"http://x", false, true, true}, {"https://x", false, true, true},
		{"HTTPS://X.example:8443", false, true, true}, {"http://[::1]:4801", false, true, true},
		{"http://x:443", false, true, true}, {"https://x:80", false, true, true},
		{"http://x:80", false, false, true}, {"https://x:443", false, false, true},
		{"https://x:", false, false, true}, {"https://x/", false, false, true},
		{"https://x/a/b", false, false, true}, {"https://x/?a", false, false, false},
		{"https://x/#a", false, false, false}, {"https://x?a", false, false, false},
		{"https://", false, false, false}, {"https:///x", false, false, false},
		{"https://u@x", false, false, false}, {"https://u:p@x", false, false, false},
		{"https://x y", false, false, false}, {"https://n\xc3\xb6"
		 "de", false, false, false},
		{"ws://x", false, false, false}, {"wss://x", false, false, false},
		{"chrome-extension://abc", false, true, false}, {"://x", false, false, false},
		{"x://", false, false, false}, {"https:x", false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t len = strlen(rows[i].text);
		struct ws_text text = {guarded(rows[i].text, len), len};

		if (http_is_name(text) != rows[i].name || http_is_origin(text) != rows[i].origin ||
		    http_is_url(text) != rows[i].url)
			fail_msg("%s: %d %d %d", rows[i].text, http_is_name(text), http_is_origin(text),
			         http_is_url(text));
	}
}

static void assert_value(const struct http_answer *a, const char *option, const char *value)
{
	if (option)
		assert_string_equal(a->option, option);
	else
		assert_null(a->option);
	assert_int_equal(a->value.len, strlen(value));
	assert_memory_equal(a->value.at, value, a->value.len);
}

/* A refusal names the option that would allow it, with its value, if there is one. */
static void refusals_help(void **state)
{
	struct http_answer a;

	(void)state;
	decide(&a, "GET /", "evil.example:99", "http://evil.example:99", &standard);
	assert_string_equal(a.reason, "this Host is not allowed");
	assert_value(&a, "--allow-host", "evil.example");
	decide(&a, "GET /", "user@localhost", NULL, &standard);
	assert_string_equal(a.reason, "malformed Host");
	assert_value(&a, NULL, "user@localhost");

	decide(&a, "GET /metrics", NULL, "https://evil.example:99", &standard);
	assert_string_equal(a.reason, "this Origin is not allowed");
	assert_value(&a, "--allow-origin", "https://evil.example:99");
	decide(&a, "GET /metrics", NULL, "null", &standard);
	assert_value(&a, NULL, "null");

	decide(&a, "GET /nothing", NULL, NULL, &standard);
	assert_non_null(a.reason);
	assert_null(a.option);
	assert_null(a.value.at);
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
		{"GET http://localhost:4801/healthz", 200, false},
		{"GET HTTPS://127.0.0.1/healthz?a", 200, false},
		{"GET http://localhost", 200, false},
		{"GET http://localhost?a", 200, false},
		{"GET http://localhost/nothing", 404, false},
		{"GET http://evil.example/healthz", 403, false},
		{"GET http:///healthz", 400, false},
		{"GET http://user@localhost/healthz", 400, false},
		{"GET ftp://localhost/healthz", 404, false},
		{"OPTIONS /healthz", 200, false},
		{"OPTIONS http://localhost/healthz", 200, false},
		{"OPTIONS /", 405, false},
		{"OPTIONS /metrics", 405, false},
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

		decide(&a, rows[i].line, NULL, NULL, &standard);
		if (a.status != rows[i].status || a.no_body != rows[i].no_body)
			fail_msg("%s: %d", rows[i].line, a.status);
		assert_true((a.endpoint == &metrics) ==
		            (a.status == 200 && strstr(rows[i].line, "/metrics")));
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
		{"GET /" UPGRADE "localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403},
		{"GET /app.js" UPGRADE "localhost\r\nOrigin: null\r\n\r\n", 403},
		{"GET http://localhost/" UPGRADE "evil.example\r\n\r\n", 101},
		{"GET http://evil.example/" UPGRADE "localhost\r\n\r\n", 403},
		{"GET http://localhost:99/introspect" UPGRADE
		 "localhost\r\nOrigin: http://localhost:99\r\n\r\n", 101},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 426},
		{"GET / HTTP/1.0\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n", 400},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a;

		decide_text(&a, rows[i].head, &standard);
		if (a.status != rows[i].status)
			fail_msg("%s: %d", rows[i].head, a.status);
	}
}

/* Who needs a Host. */
static void without_host(void **state)
{
	static const struct {
		const char *head;
		int status;
	} rows[] = {
		{"GET /healthz HTTP/1.0\r\n\r\n", 200},
		{"HEAD /healthz HTTP/1.0\r\n\r\n", 200},
		{"OPTIONS /healthz HTTP/1.0\r\n\r\n", 200},
		{"POST /healthz HTTP/1.0\r\n\r\n", 405},
		{"GET /healthz HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.0\r\n\r\n", 400},
		{"GET /metrics HTTP/1.0\r\n\r\n", 400},
		{"GET /introspection.proto HTTP/1.0\r\n\r\n", 400},
		{"GET /nothing HTTP/1.0\r\n\r\n", 400},
		{"OPTIONS / HTTP/1.0\r\n\r\n", 400},
		{"GET http://localhost/ HTTP/1.0\r\n\r\n", 200},
		{"GET http://localhost/ HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", 400},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_answer a;

		decide_text(&a, rows[i].head, &standard);
		if (a.status != rows[i].status)
			fail_msg("%s: %d", rows[i].head, a.status);
		if (a.status == 400)
			assert_string_equal(a.reason, "no Host");
	}
}

/* The page is for who takes gzip, or text/html and any coding (RFC 9110 sections 12.4.2,
 * 12.5.1 and 12.5.3). */
static void codings(void **state)
{
	enum { TEXT, TEXT_ONLY, PAGE };   /* TEXT_ONLY says that the page comes gzipped only */
	static const struct {
		const char *fields;
		int root;
		int file;
	} rows[] = {
		{"", TEXT, 200},
		{"Accept: */*\r\n", TEXT, 200},
		{"Accept: text/html\r\n", PAGE, 200},
		{"Accept: application/xml;q=0.9, Text/HTML ;q=0.8,*/*\r\n", PAGE, 200},
		{"Accept: image/png\r\nAccept: text/html\r\n", PAGE, 200},
		{"Accept: text/html;q=0\r\n", TEXT, 200},
		{"Accept-Encoding: gzip\r\n", PAGE, 200},
		{"Accept-Encoding: GZIP\r\n", PAGE, 200},
		{"Accept-Encoding: x-gzip\r\n", PAGE, 200},
		{"Accept-Encoding: *\r\n", PAGE, 200},
		{"Accept-Encoding: br, *;q=0.1\r\n", PAGE, 200},
		{"Accept-Encoding: gzip;q=1.0, identity;q=0.5\r\n", PAGE, 200},
		{"Accept-Encoding: gzip;q=1.0, *;q=0\r\n", PAGE, 200},
		{"Accept-Encoding: gzip ; q=0.001\r\n", PAGE, 200},
		{"Accept-Encoding: gzip;q=0.0001\r\n", PAGE, 200},
		{"Accept-Encoding: gzip;level=0\r\n", PAGE, 200},
		{"Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n", PAGE, 200},
		{"Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", PAGE, 200},
		{"Accept-Encoding:\r\nAccept-Encoding: gzip\r\n", PAGE, 200},
		{"Accept-Encoding: gzip;q=0\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: gzip;Q=0.0\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: gzip ;\tq=0.000, *\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: gzip;x=1;q=0\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: identity\r\nAccept: text/html\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: br\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: *;q=0\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding:\r\n", TEXT_ONLY, 406},
		{"Accept-Encoding: gzippy\r\n", TEXT_ONLY, 406},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char head[512], out[WS_HEAD_MAX];
		struct http_answer a;

		snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
		         rows[i].fields);
		decide_text(&a, head, &standard);
		if (a.status != 200 || a.gzip != (rows[i].root == PAGE))
			fail_msg("%s: %d, gzip %d", rows[i].fields, a.status, a.gzip);
		out[http_head(out, &a, 0)] = '\0';
		if (!!strstr(out, "gzipped only") != (rows[i].root == TEXT_ONLY))
			fail_msg("%s: %s", rows[i].fields, out);
		snprintf(head, sizeof head, "GET /app.js HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
		         rows[i].fields);
		decide_text(&a, head, &standard);
		if (a.status != rows[i].file || a.gzip != (a.status == 200))
			fail_msg("%s: %d", rows[i].fields, a.status);
		snprintf(head, sizeof head,
		         "GET /introspection.proto HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
		         rows[i].fields);
		decide_text(&a, head, &standard);
		assert_int_equal(a.status, 200);
		assert_false(a.gzip);
	}
}

/* The value of a field of the head, in a buffer of the next call; NULL: none. */
static const char *field(const char *head, const char *name)
{
	static char value[HTTP_ORIGIN_MAX + 1];
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

static void answer_head(char *out, const struct http_answer *a)
{
	size_t len = http_head(out, a, 784111777);

	assert_in_range(len, 1, WS_HEAD_MAX - 1);
	out[len] = '\0';
	const char *body = strstr(out, "\r\n\r\n");
	assert_non_null(body);
	if (!a->no_body && !a->body)
		assert_int_equal(strlen(body + 4), atoi(field(out, "Content-Length")));
	else
		assert_string_equal(body + 4, "");
	assert_field(out, "Connection", a->status == 426 ? "close, Upgrade" : "close");
	assert_field(out, "Date", "Sun, 06 Nov 1994 08:49:37 GMT");   /* of RFC 9110 section 5.6.7 */
	assert_field(out, "Vary", "Accept, Accept-Encoding, Origin, Sec-Fetch-Site");
	assert_field(out, "Cross-Origin-Resource-Policy", a->endpoint ? "same-origin" : "same-site");
	assert_field(out, "Cache-Control", a->status == 200 && !a->endpoint ? "no-cache" : "no-store");
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
		[HTTP_NO_HOST] = {"HTTP/1.1 400 Bad Request\r\n", NULL, NULL},
		[HTTP_BAD_HOST] = {"HTTP/1.1 400 Bad Request\r\n", NULL, NULL},
		[HTTP_NO_TOKEN] = {"HTTP/1.1 401 Unauthorized\r\n", "WWW-Authenticate", "Bearer"},
		[HTTP_TOO_MANY_TOKENS] = {"HTTP/1.1 429 Too Many Requests\r\n", "Retry-After", "5"},
		[HTTP_FOREIGN_HOST] = {"HTTP/1.1 403 Forbidden\r\n", NULL, NULL},
		[HTTP_FOREIGN_ORIGIN] = {"HTTP/1.1 403 Forbidden\r\n", NULL, NULL},
		[HTTP_NO_PAGE] = {"HTTP/1.1 404 Not Found\r\n", NULL, NULL},
		[HTTP_NO_SOCKET] = {"HTTP/1.1 404 Not Found\r\n", NULL, NULL},
		[HTTP_BAD_METHOD] = {"HTTP/1.1 405 Method Not Allowed\r\n", "Allow", "GET, HEAD"},
		[HTTP_NOT_ACCEPTABLE] = {"HTTP/1.1 406 Not Acceptable\r\n", NULL, NULL},
		[HTTP_BAD_VERSION] = {"HTTP/1.1 426 Upgrade Required\r\n", "Sec-WebSocket-Version",
		                      "13"},
		[HTTP_HEAD_TOO_LONG] = {"HTTP/1.1 431 Request Header Fields Too Large\r\n", NULL, NULL},
		[HTTP_CLIENTS_MAX] = {"HTTP/1.1 503 Service Unavailable\r\n", "Retry-After", "5"},
		[HTTP_SLOTS_MAX] = {"HTTP/1.1 503 Service Unavailable\r\n", "Retry-After", "5"},
		[HTTP_ADDRESS_MAX] = {"HTTP/1.1 503 Service Unavailable\r\n", "Retry-After", "5"},
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
		answer_head(out, &a);
		assert_memory_equal(out, rows[i].line, strlen(rows[i].line));
		assert_non_null(strstr(out, a.reason));
		if (a.status == 426)
			assert_field(out, "Upgrade", "websocket");
		else
			assert_null(field(out, "Upgrade"));
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

	(void)state;
	decide(&a, "GET /", "localhost:4801", NULL, &standard);
	answer_head(out, &a);
	assert_field(out, "Content-Type", "text/plain; charset=utf-8");
	assert_non_null(strstr(out, "ws://localhost:4801/"));

	decide(&a, "HEAD /", "localhost:4801", NULL, &standard);
	answer_head(out, &a);
	assert_true(atoi(field(out, "Content-Length")) > 0);

	decide(&a, "GET /healthz", NULL, NULL, &standard);
	answer_head(out, &a);
	assert_int_equal(a.body_len, 3);
	assert_memory_equal(a.body, "ok\n", 3);
	assert_field(out, "Content-Length", "3");

	decide(&a, "OPTIONS /healthz", NULL, NULL, &standard);
	answer_head(out, &a);
	assert_field(out, "Allow", "GET, HEAD, OPTIONS");
	decide(&a, "PUT /healthz", NULL, NULL, &standard);
	answer_head(out, &a);
	assert_field(out, "Allow", "GET, HEAD, OPTIONS");

	decide(&a, "GET /metrics", NULL, NULL, &standard);
	answer_head(out, &a);
}

/* The origin of the request, if it was allowed, is repeated in the head, which has to hold it. */
static void the_longest_origin(void **state)
{
	char out[WS_HEAD_MAX], text[HTTP_ORIGIN_MAX + 2] = "https://";
	struct http_answer a;

	(void)state;
	memset(text + 8, 'x', sizeof text - 9);
	assert_false(http_is_origin((struct ws_text){text, HTTP_ORIGIN_MAX + 1}));
	text[HTTP_ORIGIN_MAX] = '\0';
	assert_true(http_is_origin((struct ws_text){text, HTTP_ORIGIN_MAX}));
	const struct option_list list = {{text}, 1};
	const struct http_policy policy = {.origins = &list, .endpoints = endpoints};
	decide(&a, "GET /", NULL, text, &policy);
	answer_head(out, &a);
	assert_field(out, "Access-Control-Allow-Origin", text);
}

/* Whoever was refused reads what to do. */
static void refusal_texts(void **state)
{
	static const struct {
		const char *head, *text;
	} rows[] = {
		{"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		 "403 Forbidden: this Host is not allowed; start introspectd with --allow-host evil.example\n"},
		{"GET / HTTP/1.1\r\nHost: user@x\r\n\r\n", "400 Bad Request: malformed Host\n"},
		{"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: https://x.example:8\r\n\r\n",
		 "403 Forbidden: this Origin is not allowed; "
		 "start introspectd with --allow-origin https://x.example:8\n"},
		{"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: <script>\r\n\r\n",
		 "403 Forbidden: this Origin is not allowed\n"},
		{"GET /metrics HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\n\r\n",
		 "403 Forbidden: asked for by a page of another origin\n"},
		{"GET / HTTP/1.0\r\n\r\n",
		 "400 Bad Request: no Host; only /healthz needs none, in HTTP/1.0\n"},
		{"GET / HTTP/1.1\r\nHost\r\n\r\n",
		 "400 Bad Request: a field line is not NAME: VALUE\n"},
		{"\x16\x03\x01", "400 Bad Request: TLS, which this port does not speak\n"},
		{"GET /app.js HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br\r\n\r\n",
		 "406 Not Acceptable: this file comes gzipped only; Accept-Encoding forbids that\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[WS_HEAD_MAX];
		struct http_answer a;

		decide_text(&a, rows[i].head, &standard);
		answer_head(out, &a);
		assert_string_equal(strstr(out, "\r\n\r\n") + 4, rows[i].text);
	}
}

/* The text for terminals names the address by which it was asked, with TLS or without. */
static void own_address(void **state)
{
	static const struct http_policy tls = {.endpoints = endpoints, .files = files_answer, .tls = true};
	static const struct http_policy proxied = {.endpoints = endpoints, .files = files_answer, .public_url = "https://node.example"};
	static const struct http_policy unsafe = {.endpoints = endpoints, .files = files_answer, .public_url = "http://node.example:81"};
	static const struct {
		const struct http_policy *policy;
		const char *host, *socket, *try;
	} rows[] = {
		{&standard, "localhost:4801", "ws://localhost:4801/", "introspect localhost:4801\n"},
		{&tls, "192.0.2.7:4801", "wss://192.0.2.7:4801/", "introspect wss://192.0.2.7:4801\n"},
		{&proxied, "node.example", "wss://node.example/", "introspect wss://node.example\n"},
		{&proxied, "localhost:4801", "ws://localhost:4801/", "introspect localhost:4801\n"},
		{&unsafe, "node.example:81", "ws://node.example:81/", "introspect node.example:81\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[WS_HEAD_MAX];
		struct http_answer a;

		decide(&a, "GET /", rows[i].host, NULL, rows[i].policy);
		answer_head(out, &a);
		assert_non_null(strstr(out, rows[i].socket));
		assert_non_null(strstr(out, rows[i].try));
	}
}

/* A Host as long as a head can be does not fit the text that repeats it. */
static void long_host(void **state)
{
	static char host[WS_HEAD_MAX - 100], out[WS_HEAD_MAX];
	struct http_answer a = {
		.status = 200, .type = "text/plain; charset=utf-8", .no_secret = true, .policy = &standard};

	(void)state;
	memset(host, '0', sizeof host);
	memcpy(host, "localhost:", 10);
	a.host = (struct ws_text){guarded(host, sizeof host), sizeof host};
	answer_head(out, &a);
	memset(host, 'x', sizeof host);
	decide(&a, "GET /metrics", NULL, NULL, &standard);
	http_refuse(&a, HTTP_FOREIGN_HOST);
	a.option = "--allow-host";
	a.value = (struct ws_text){guarded(host, sizeof host), sizeof host};
	answer_head(out, &a);
	assert_int_equal(out[strlen(out) - 1], '\n');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_table),
		cmocka_unit_test(origin_table),
		cmocka_unit_test(fetch_site),
		cmocka_unit_test(names),
		cmocka_unit_test(refusals_help),
		cmocka_unit_test(route_table),
		cmocka_unit_test(upgrades),
		cmocka_unit_test(without_host),
		cmocka_unit_test(codings),
		cmocka_unit_test(heads),
		cmocka_unit_test(texts),
		cmocka_unit_test(the_longest_origin),
		cmocka_unit_test(refusal_texts),
		cmocka_unit_test(own_address),
		cmocka_unit_test(long_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
