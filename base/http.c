#include "base/http.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dashboard/dashboard.h"

static const unsigned char schema[] = {
#include "introspection.proto.inc"
};

#define METRICS_PATH "/metrics"

const struct http_reason http_reasons[HTTP_REFUSALS] = {
	[HTTP_MALFORMED] = {400, "malformed request"},
	[HTTP_BAD_HOST] = {400, "malformed Host"},
	[HTTP_NO_TOKEN] = {401, "a wrong or no token"},
	[HTTP_FOREIGN_HOST] = {403, "this Host is not allowed"},
	[HTTP_FOREIGN_ORIGIN] = {403, "this Origin is not allowed"},
	[HTTP_NO_PAGE] = {404, "nothing at this path"},
	[HTTP_NO_SOCKET] = {404, "no WebSocket at this path"},
	[HTTP_BAD_METHOD] = {405, "only GET and HEAD"},
	[HTTP_BAD_VERSION] = {426, "Sec-WebSocket-Version is not 13"},
	[HTTP_HEAD_TOO_LONG] = {431, "head over 8192 bytes"},
	[HTTP_CLIENTS_MAX] = {503, "as many clients as --max-clients allows"},
	[HTTP_SLOTS_MAX] = {503, "every slot is taken"},
};

#define SECURITY_HEADERS                                                                           \
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "       \
	"img-src 'self'; connect-src 'self' http: https: ws: wss:; base-uri 'none'; "        \
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'\r\n"       \
	"X-Content-Type-Options: nosniff\r\n"                                                      \
	"Referrer-Policy: no-referrer\r\n"

static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{426, "Upgrade Required"},
		{431, "Request Header Fields Too Large"},
		{503, "Service Unavailable"},
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Error";
}

/* Methods and paths have a case (RFC 9110 sections 9.1 and 4.2.3). */
static bool is(struct ws_text text, const char *s)
{
	return text.len == strlen(s) && memcmp(text.at, s, text.len) == 0;
}

/* Splits host[:port], where the host may be an IPv6 address in brackets. False:
 * it is neither. */
static bool split_authority(struct ws_text text, struct ws_text *host, struct ws_text *port)
{
	const char *end = text.at + text.len;
	const char *colon;

	if (text.len > 0 && *text.at == '[') {
		const char *bracket = memchr(text.at, ']', text.len);

		if (!bracket)
			return false;
		colon = bracket + 1;
	} else {
		colon = memchr(text.at, ':', text.len);
		if (!colon)
			colon = end;
	}
	*host = (struct ws_text){text.at, (size_t)(colon - text.at)};
	*port = (struct ws_text){NULL, 0};
	if (colon < end) {
		if (*colon != ':')
			return false;
		*port = (struct ws_text){colon + 1, (size_t)(end - colon - 1)};
		for (size_t i = 0; i < port->len; i++)
			if (port->at[i] < '0' || port->at[i] > '9')
				return false;
	}
	return host->len > 0;
}

static bool is_ip_literal(struct ws_text host)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char address[16];
	int family = AF_INET;

	if (host.len > 2 && *host.at == '[') {
		family = AF_INET6;
		host = (struct ws_text){host.at + 1, host.len - 2};
	}
	if (host.len >= sizeof text)
		return false;
	memcpy(text, host.at, host.len);
	text[host.len] = '\0';
	return inet_pton(family, text, address) == 1;
}

static bool listed(struct ws_text text, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ws_text_is(text, list[i]))
			return true;
	return false;
}

/* A name that an attacker's DNS could point here must not be served: a page of
 * his would then be of the same origin as this server. */
static bool host_allowed(struct ws_text host, const struct http_policy *policy)
{
	return ws_text_is(host, "localhost") || is_ip_literal(host) ||
	       listed(host, policy->hosts, policy->host_count);
}

static bool same_port(struct ws_text a, struct ws_text b, const char *standard)
{
	struct ws_text implied = {standard, strlen(standard)};

	a = a.len > 0 ? a : implied;
	b = b.len > 0 ? b : implied;
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool same_host(struct ws_text a, struct ws_text b)
{
	return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

static bool origin_allowed(struct ws_text origin, struct ws_text own_host, struct ws_text own_port,
                           const struct http_policy *policy, bool loopback)
{
	static const char http[] = "http://", https[] = "https://";
	struct ws_text authority = origin, host, port;
	const char *standard;
	bool plain = false;

	if (listed(origin, policy->origins, policy->origin_count))
		return true;
	if (origin.len > sizeof http - 1 && strncasecmp(origin.at, http, sizeof http - 1) == 0) {
		authority.at += sizeof http - 1;
		standard = "80";
		plain = true;
	} else if (origin.len > sizeof https - 1 &&
	           strncasecmp(origin.at, https, sizeof https - 1) == 0) {
		authority.at += sizeof https - 1;
		standard = "443";
	} else {
		return false;
	}
	authority.len -= (size_t)(authority.at - origin.at);
	if (!split_authority(authority, &host, &port))
		return false;
	/* A page that came without TLS may be anybody's, whatever its port: it is not of the
	 * same origin. Without TLS here, a proxy may have it, and the Host does not tell. */
	if (!(plain && policy->tls) && same_host(host, own_host) &&
	    same_port(port, own_port, standard))
		return true;
	return loopback && (ws_text_is(host, "localhost") || ws_text_is(host, "127.0.0.1") ||
	                    ws_text_is(host, "[::1]"));
}

void http_refuse(struct http_answer *a, enum http_refusal refusal)
{
	*a = (struct http_answer){
		.status = http_reasons[refusal].status,
		.refusal = refusal,
		.reason = http_reasons[refusal].words,
		.type = "text/plain",
	};
}

static void refuse_unless(struct http_answer *a, enum http_refusal refusal, const char *option,
                          struct ws_text value)
{
	http_refuse(a, refusal);
	a->option = option;
	a->value = value;
}

static const struct dashboard_file *find_file(struct ws_text path)
{
	for (size_t i = 0; i < dashboard_file_count; i++)
		if (is(path, dashboard_files[i].path))
			return &dashboard_files[i];
	return NULL;
}

static void route(struct http_answer *a, const struct ws_request *r)
{
	static const char ok[] = "ok\n";
	const struct dashboard_file *file = find_file(r->path);
	bool page = is(r->path, "/");

	*a = (struct http_answer){.status = 200, .type = "text/plain; charset=utf-8"};
	if (r->upgrade && page) {
		a->status = 101;
	} else if (r->upgrade && is(r->path, "/introspect")) {
		a->status = 101;
		a->command = true;
	} else if (r->upgrade) {
		http_refuse(a, HTTP_NO_SOCKET);
	} else if (file && (!page || ws_has_token(r->accept_encoding, "gzip"))) {
		a->type = file->type;
		a->body = file->gzip;
		a->body_len = file->len;
		a->gzip = true;
	} else if (page) {
		return; /* not a browser: a text */
	} else if (is(r->path, "/healthz")) {
		a->body = (const unsigned char *)ok;
		a->body_len = sizeof ok - 1;
	} else if (is(r->path, METRICS_PATH)) {
		a->metrics = true;
	} else if (is(r->path, "/introspection.proto")) {
		a->body = schema;
		a->body_len = sizeof schema;
	} else {
		http_refuse(a, HTTP_NO_PAGE);
	}
}

void http_decide(struct http_answer *a, const struct ws_request *r,
                 const struct http_policy *policy, bool loopback)
{
	bool head = is(r->method, "HEAD");
	bool shows_data = r->upgrade || is(r->path, METRICS_PATH);
	struct ws_text host, port;

	if (!split_authority(r->host, &host, &port))
		http_refuse(a, HTTP_BAD_HOST);
	else if (!host_allowed(host, policy))
		refuse_unless(a, HTTP_FOREIGN_HOST, "--allow-host", host);
	else if (r->origin.at && !origin_allowed(r->origin, host, port, policy, loopback))
		refuse_unless(a, HTTP_FOREIGN_ORIGIN, "--allow-origin", r->origin);
	else if (!head && !is(r->method, "GET"))
		http_refuse(a, HTTP_BAD_METHOD);
	else if (shows_data && policy->auth && !auth_shown(policy->auth, r))
		http_refuse(a, HTTP_NO_TOKEN);
	else
		route(a, r);
	a->no_body = head;
}

/* The text behind a head that has no static body. */
static size_t write_text(char *out, size_t size, const struct http_answer *a, struct ws_text host)
{
	int n;

	if (a->status != 200)
		n = snprintf(out, size, "%d %s: %s%s%s\n", a->status, status_text(a->status),
		             a->reason, a->option ? "; see " : "", a->option ? a->option : "");
	else
		n = snprintf(out, size,
		             "introspectd serves snapshots of this node over WebSocket.\n\n"
		             "  ws://%.*s/                       one snapshot, then one per message\n"
		             "  http://%.*s/introspection.proto  how to read them\n"
		             "  http://%.*s/healthz              is it alive\n"
		             "  http://%.*s/metrics              for Prometheus\n\n"
		             "Try: introspect %.*s\n",
		             (int)host.len, host.at, (int)host.len, host.at, (int)host.len, host.at,
		             (int)host.len, host.at, (int)host.len, host.at);
	return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

size_t http_accept(char out[HTTP_ACCEPT_MAX], const struct ws_request *r)
{
	char accept[WS_ACCEPT_LEN + 1];
	bool offered = ws_has_token(r->protocols, AUTH_PROTOCOL);

	ws_accept(accept, r->key);
	return (size_t)snprintf(out, HTTP_ACCEPT_MAX,
	                        "HTTP/1.1 101 Switching Protocols\r\n"
	                        "Upgrade: websocket\r\n"
	                        "Connection: Upgrade\r\n"
	                        "Sec-WebSocket-Accept: %s\r\n%s\r\n",
	                        accept,
	                        offered ? "Sec-WebSocket-Protocol: " AUTH_PROTOCOL "\r\n" : "");
}

size_t http_head(char *out, const struct http_answer *a, struct ws_text host)
{
	char text[WS_HEAD_MAX / 4];
	size_t text_len = a->body ? 0 : write_text(text, sizeof text, a, host);
	int n = snprintf(out, WS_HEAD_MAX,
	                 "HTTP/1.1 %d %s\r\n"
	                 "Content-Type: %s\r\n"
	                 "Content-Length: %zu\r\n"
	                 "%s%s%s%s%s"
	                 "Cache-Control: no-cache\r\n" SECURITY_HEADERS
	                 "Connection: close\r\n\r\n",
	                 a->status, status_text(a->status), a->type, a->body ? a->body_len : text_len,
	                 a->gzip ? "Content-Encoding: gzip\r\n" : "",
	                 a->status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
	                 a->status == 405 ? "Allow: GET, HEAD\r\n" : "",
	                 a->status == 426 ? "Sec-WebSocket-Version: 13\r\n" : "",
	                 a->status == 503 ? "Retry-After: 5\r\n" : "");
	size_t len = (size_t)n;

	if (!a->no_body) {
		memcpy(out + len, text, text_len);
		len += text_len;
	}
	return len;
}
