#include "base/http.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "endpoint/endpoint.h"

#define HEALTH_PATH "/healthz"

const struct http_reason http_reasons[HTTP_REFUSALS] = {
	[HTTP_MALFORMED] = {400, "malformed request", NULL},
	[HTTP_NO_HOST] = {400, "no Host", "only /healthz needs none, in HTTP/1.0"},
	[HTTP_BAD_HOST] = {400, "malformed Host", NULL},
	[HTTP_NO_TOKEN] = {401, "a wrong or no token", "send Authorization: Bearer TOKEN"},
	[HTTP_TOO_MANY_TOKENS] = {429, "too many wrong tokens came before", "try again later"},
	[HTTP_FOREIGN_HOST] = {403, "this Host is not allowed", NULL},
	[HTTP_FOREIGN_ORIGIN] = {403, "this Origin is not allowed", NULL},
	[HTTP_NO_PAGE] = {404, "nothing at this path", NULL},
	[HTTP_NO_SOCKET] = {404, "no WebSocket at this path", "there is one at / and at /introspect"},
	[HTTP_BAD_METHOD] = {405, "only GET and HEAD", NULL},
	[HTTP_NOT_ACCEPTABLE] = {406, "this file comes gzipped only", "Accept-Encoding forbids that"},
	[HTTP_BAD_VERSION] = {426, "Sec-WebSocket-Version is not 13", NULL},
	[HTTP_HEAD_TOO_LONG] = {431, "head over 8192 bytes", "are there too many cookies?"},
	[HTTP_CLIENTS_MAX] = {503, "as many clients as --max-clients allows", "try again later"},
	[HTTP_SLOTS_MAX] = {503, "every slot is taken", "try again later"},
	[HTTP_ADDRESS_MAX] = {503, "as many connections as --max-per-address allows", "try again later"},
};

#define SECURITY_HEADERS                                                                           \
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "       \
	"img-src 'self'; connect-src 'self' http: https: ws: wss:; base-uri 'none'; "        \
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'\r\n"       \
	"X-Content-Type-Options: nosniff\r\n"                                                      \
	"Referrer-Policy: no-referrer\r\n"                                                         \
	"Vary: Accept, Accept-Encoding, Origin, Sec-Fetch-Site\r\n"

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
		{406, "Not Acceptable"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{503, "Service Unavailable"},
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Error";
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

/* Splits host[:port], where the host is a name, an IPv4 address or an IPv6 address in
 * brackets. False: it is none of these (RFC 9112 section 3.2). */
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
	return http_is_name(*host) || is_ip_literal(*host);
}

static bool listed(struct ws_text text, const struct option_list *list)
{
	for (size_t i = 0; list && i < list->count; i++)
		if (ws_text_is(text, list->text[i]))
			return true;
	return false;
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

bool http_is_name(struct ws_text text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '.' || c == '_'))
			return false;
	}
	return text.len > 0;
}

/* An origin of the web (RFC 6454 section 4). */
struct origin {
	struct ws_text scheme, host, port;
	const char *standard;   /* port of the scheme */
};

/* False: it is malformed, or of a scheme other than http and https that has no host. */
static bool read_origin(struct origin *o, struct ws_text text)
{
	const char *colon = memchr(text.at, ':', text.len);
	size_t len = colon ? (size_t)(colon - text.at) : 0;

	o->scheme = (struct ws_text){text.at, len};
	if (len == 0 || text.len < len + 3 || memcmp(colon, "://", 3) != 0 || !http_is_name(o->scheme))
		return false;
	o->standard = ws_text_is(o->scheme, "http")    ? "80"
	              : ws_text_is(o->scheme, "https") ? "443"
	                                               : "";
	return split_authority((struct ws_text){text.at + len + 3, text.len - len - 3}, &o->host,
	                       &o->port);
}

bool http_is_origin(struct ws_text text)
{
	struct origin o;

	return text.len <= HTTP_ORIGIN_MAX && read_origin(&o, text) && !ws_text_is(o.scheme, "ws") &&
	       !ws_text_is(o.scheme, "wss") &&
	       !(o.port.at && same_port(o.port, (struct ws_text){NULL, 0}, o.standard));
}

/* The origin of a URL; false: it is none of http and https. */
static bool read_url(struct origin *o, struct ws_text url)
{
	size_t len = 0;

	for (size_t slashes = 0; len < url.len; len++)
		if (url.at[len] == '/' && ++slashes == 3)
			break;
	return read_origin(o, (struct ws_text){url.at, len}) && *o->standard;
}

bool http_is_url(struct ws_text text)
{
	struct origin o;

	return read_url(&o, text) && !memchr(text.at, '?', text.len) && !memchr(text.at, '#', text.len);
}

/* The origin at which a proxy shows the daemon. False: there is none. */
static bool public_origin(struct origin *o, const struct http_policy *policy)
{
	return policy->public_url &&
	       read_url(o, (struct ws_text){policy->public_url, strlen(policy->public_url)});
}

/* A Host that is a name in an attacker's DNS is refused (DNS rebinding): the attacker could point that
 * name to this machine, and a page of that name would be of the same origin as the daemon. */
static bool host_allowed(struct ws_text host, const struct http_policy *policy)
{
	struct origin proxy;

	return ws_text_is(host, "localhost") || is_ip_literal(host) ||
	       listed(host, policy->hosts) ||
	       (public_origin(&proxy, policy) && same_host(host, proxy.host));
}

/* Was the request made to this origin of the proxy, judged by its Host? */
static bool is_at(struct ws_text host, struct ws_text port, const struct origin *proxy)
{
	return same_host(host, proxy->host) && same_port(port, proxy->port, proxy->standard);
}

/* Is the origin the daemon's own, or an allowed one? A page from another port is of another origin, even if
 * it is one of this machine: an IPFS gateway there may serve pages of strangers. */
static bool origin_allowed(struct ws_text text, struct ws_text host, struct ws_text port,
                           const struct http_policy *policy)
{
	struct origin o, proxy;

	if (listed(text, policy->origins))
		return true;
	if (!read_origin(&o, text) || !*o.standard)
		return false;
	if (public_origin(&proxy, policy)) {
		if (*o.standard == *proxy.standard && is_at(o.host, o.port, &proxy))
			return true;
		/* What the proxy shows at that host and port has that scheme and no other. */
		if (is_at(host, port, &proxy))
			return false;
	}
	/* Anybody on the way may have written a page that came without TLS, so for a daemon with TLS it is of
	 * another origin. A daemon without TLS takes both schemes: a proxy before it may have TLS, which Host
	 * does not tell. */
	return !(policy->tls && ws_text_is(o.scheme, "http")) && same_host(o.host, host) &&
	       same_port(o.port, port, o.standard);
}

void http_refuse(struct http_answer *a, enum http_refusal refusal)
{
	*a = (struct http_answer){
		.status = http_reasons[refusal].status,
		.refusal = refusal,
		.reason = http_reasons[refusal].words,
		.type = "text/plain; charset=utf-8",
		.no_secret = true,
	};
}

/* A refusal of a value that stands in the request. option: the one that would allow it, or NULL. */
static void refuse_value(struct http_answer *a, enum http_refusal refusal, const char *option,
                         struct ws_text value)
{
	http_refuse(a, refusal);
	a->value = value;
	a->option = option;
}

/* A request that could not be read. */
static void refuse_head(struct http_answer *a, const struct ws_request *r, int status)
{
	http_refuse(a, status == 426   ? HTTP_BAD_VERSION
	               : status == 431 ? HTTP_HEAD_TOO_LONG
	                               : HTTP_MALFORMED);
	if (r->wrong)
		a->reason = r->wrong;
}

/* The endpoint that takes the request; NULL: none does. */
static const struct endpoint *find_endpoint(const struct ws_request *r,
                                            const struct http_policy *policy)
{
	const struct endpoint *const *e = policy->endpoints;

	while (e && *e && !((*e)->upgrade == r->upgrade && ws_text_is_exactly(r->path, (*e)->path)))
		e++;
	return e ? *e : NULL;
}

static void route(struct http_answer *a, const struct ws_request *r,
                  const struct endpoint *endpoint, const struct http_policy *policy)
{
	static const char ok[] = "ok\n";

	*a = (struct http_answer){
		.status = 200, .type = "text/plain; charset=utf-8", .no_secret = true};
	if (endpoint) {
		a->endpoint = endpoint;
		a->status = r->upgrade ? 101 : 200;
		a->no_secret = false;
	} else if (r->upgrade) {
		http_refuse(a, HTTP_NO_SOCKET);
	} else if (ws_text_is_exactly(r->path, HEALTH_PATH)) {
		a->body = (const unsigned char *)ok;
		a->body_len = sizeof ok - 1;
	} else if (!(policy->files && policy->files(a, r)) && !ws_text_is_exactly(r->path, "/")) {
		http_refuse(a, HTTP_NO_PAGE);
	}
}

/* Refuses a request that a page of another origin caused. Browsers do not send Origin with everything
 * that they load, but then they send Sec-Fetch-Site, which is "none" for an address that a person
 * typed. False: the request was not refused. */
static bool from_elsewhere(struct http_answer *a, const struct ws_request *r, struct ws_text host,
                           struct ws_text port, const struct http_policy *policy)
{
	if (r->origin.at && origin_allowed(r->origin, host, port, policy))
		return false;
	if (!r->origin.at && (!r->fetch_site.at || ws_text_is(r->fetch_site, "same-origin") ||
	                      ws_text_is(r->fetch_site, "none")))
		return false;
	refuse_value(a, HTTP_FOREIGN_ORIGIN,
	             r->origin.at && http_is_origin(r->origin) ? "--allow-origin" : NULL, r->origin);
	if (!r->origin.at)
		a->reason = "asked for by a page of another origin";
	return true;
}

static void decide(struct http_answer *a, const struct ws_request *r,
                   const struct http_policy *policy)
{
	const struct endpoint *endpoint = find_endpoint(r, policy);
	bool data = r->upgrade || endpoint;   /* the answer would hold data of the node */
	bool health = ws_text_is_exactly(r->path, HEALTH_PATH) && !r->upgrade;
	bool allowed = ws_text_is_exactly(r->method, "GET") || ws_text_is_exactly(r->method, "HEAD") ||
	               (health && ws_text_is_exactly(r->method, "OPTIONS"));
	struct ws_text host = {NULL, 0}, port = {NULL, 0};
	struct origin proxy;

	if (!r->host.at && !(health && r->http_1_0))
		http_refuse(a, HTTP_NO_HOST);
	else if (r->host.at && !split_authority(r->host, &host, &port))
		refuse_value(a, HTTP_BAD_HOST, NULL, r->host);
	else if (r->host.at && !host_allowed(host, policy))
		refuse_value(a, HTTP_FOREIGN_HOST, "--allow-host", host);
	else if (data && from_elsewhere(a, r, host, port, policy))
		return;
	else if (!allowed)
		http_refuse(a, HTTP_BAD_METHOD);
	else if (data && policy->admits && !policy->admits(r))
		http_refuse(a, HTTP_NO_TOKEN);
	else
		route(a, r, endpoint, policy);
	a->takes_options = health;
	if (listed(r->origin, policy->origins))
		a->origin = r->origin;
	a->host = r->host;
	a->policy = policy;
	a->secure = policy->tls || (host.at && public_origin(&proxy, policy) &&
	                            is_at(host, port, &proxy) && ws_text_is(proxy.scheme, "https"));
}

void http_decide(struct http_answer *a, const struct ws_request *r, int got,
                 const struct http_policy *policy)
{
	if (got < 0)
		refuse_head(a, r, -got);
	else
		decide(a, r, policy);
	a->no_body = ws_text_is_exactly(r->method, "HEAD");
}

/* Writes behind the n characters that are in out. Returns how many there are then, less
 * than size in any case. */
__attribute__((format(printf, 4, 5)))
static size_t append(char *out, size_t size, size_t n, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int more = vsnprintf(out + n, size - n, format, args);
	va_end(args);
	return more < 0 ? n : n + (size_t)more < size ? n + (size_t)more : size - 1;
}

/* The text of a refusal: one line, however long the refused value is. */
static size_t write_refusal(char *out, size_t size, const struct http_answer *a)
{
	const char *help = http_reasons[a->refusal].help;
	size_t n = append(out, size - 1, 0, "%d %s: %s", a->status, status_text(a->status), a->reason);

	if (a->option)
		n = append(out, size - 1, n, "; start introspectd with %s %.*s", a->option,
		           (int)a->value.len, a->value.at);
	else if (help)
		n = append(out, size - 1, n, "; %s", help);
	out[n++] = '\n';
	return n;
}

/* Appends a line on one path to the list at /. */
static size_t append_place(char *out, size_t size, size_t n, const struct http_answer *a,
                           const char *scheme, const char *path, const char *about)
{
	return append(out, size, n, "  %s%s://%.*s%-20s  %s\n", scheme, a->secure ? "s" : "",
	              (int)a->host.len, a->host.at, path, about);
}

/* The text behind a head that has no static body. */
static size_t write_text(char *out, size_t size, const struct http_answer *a)
{
	if (a->status != 200)
		return write_refusal(out, size, a);
	size_t n = append(out, size, 0,
	                  "introspectd serves snapshots of this node over WebSocket.\n\n");
	for (const struct endpoint *const *e = a->policy->endpoints; e && *e; e++)
		if ((*e)->about)
			n = append_place(out, size, n, a, (*e)->upgrade ? "ws" : "http", (*e)->path,
			                 (*e)->about);
	if (a->policy->files)
		n = append_place(out, size, n, a, "http", HTTP_SCHEMA_PATH, "how to read them");
	n = append_place(out, size, n, a, "http", HEALTH_PATH, "is it alive");
	n = append(out, size, n, "\nTry: introspect %s%.*s\n", a->secure ? "wss://" : "",
	           (int)a->host.len, a->host.at);
	return append(out, size, n, "%s",
	              a->gzip_refused ? "\nThe page for browsers comes gzipped only, which "
	                                "Accept-Encoding forbids.\n"
	                              : "");
}

void http_log(const struct http_answer *a, const char *peer, struct log_limit *limit, int64_t now)
{
	if (a->value.at)
		log_limited(limit, now, "refused status=%d peer=%s reason=\"%s\"%s%s%s value=%s",
		            a->status, peer, a->reason, a->option ? " allow_with=\"" : "",
		            a->option ? a->option : "", a->option ? "\"" : "",
		            log_escape(a->value.at, a->value.len));
	else if (a->refusal == HTTP_ADDRESS_MAX)
		log_limited(limit, now, "refused status=%d peer=%s reason=\"%s\"", a->status, peer,
		            a->reason);
	else
		log_verbose("refused status=%d peer=%s reason=\"%s\"", a->status, peer, a->reason);
}

size_t http_accept(char out[HTTP_ACCEPT_MAX], const struct ws_request *r, const char *extension)
{
	char accept[WS_ACCEPT_LEN + 1];
	bool offered = ws_has_token(r->protocols, HTTP_PROTOCOL);

	ws_accept(accept, r->key);
	return (size_t)snprintf(out, HTTP_ACCEPT_MAX,
	                        "HTTP/1.1 101 Switching Protocols\r\n"
	                        "Upgrade: websocket\r\n"
	                        "Connection: Upgrade\r\n"
	                        "Sec-WebSocket-Accept: %s\r\n%s%s\r\n",
	                        accept,
	                        offered ? "Sec-WebSocket-Protocol: " HTTP_PROTOCOL "\r\n" : "",
	                        extension ? extension : "");
}

size_t http_head(char *out, const struct http_answer *a, time_t now)
{
	char text[WS_HEAD_MAX / 4], date[32] = "", length[48];
	size_t text_len = a->body || a->framing ? 0 : write_text(text, sizeof text, a);
	struct tm tm;

	snprintf(length, sizeof length, "Content-Length: %zu\r\n", a->body ? a->body_len : text_len);
	if (gmtime_r(&now, &tm))
		strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	int n = snprintf(out, WS_HEAD_MAX,
	                 "HTTP/1.1 %d %s\r\n"
	                 "Date: %s\r\n"
	                 "Content-Type: %s\r\n"
	                 "%s%s%s%s%s%s%s%.*s%s"
	                 "Cache-Control: %s\r\n"
	                 "Cross-Origin-Resource-Policy: %s\r\n" SECURITY_HEADERS
	                 "Connection: close%s\r\n\r\n",
	                 a->status, status_text(a->status), date, a->type,
	                 a->framing ? a->framing : length,
	                 a->gzip ? "Content-Encoding: gzip\r\n" : "",
	                 a->status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
	                 a->takes_options ? "Allow: GET, HEAD, OPTIONS\r\n" : a->status == 405 ? "Allow: GET, HEAD\r\n" : "",
	                 a->status == 426 ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" : "",
	                 a->status == 503 || a->status == 429 ? "Retry-After: 5\r\n" : "",
	                 a->origin.at ? "Access-Control-Allow-Origin: " : "", (int)a->origin.len,
	                 a->origin.at ? a->origin.at : "", a->origin.at ? "\r\n" : "",
	                 a->status == 200 && a->no_secret ? "no-cache" : "no-store",
	                 a->no_secret ? "same-site" : "same-origin",
	                 a->status == 426 ? ", Upgrade" : "");
	size_t len = (size_t)n;

	if (!a->no_body) {
		memcpy(out + len, text, text_len);
		len += text_len;
	}
	return len;
}
