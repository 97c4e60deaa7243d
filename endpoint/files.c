#include "endpoint/files.h"

#include <string.h>

#include "dashboard/dashboard.h"

static const unsigned char schema[] = {
#include "introspection.proto.inc"
};

/* Does the parameter say that its element is not wanted (RFC 9110 section 12.4.2)? */
static bool is_weight_0(struct ws_text parameters)
{
	static const char weight[] = "q=0.000";
	size_t n = 0;

	for (size_t i = 0; i < parameters.len; i++) {
		char c = parameters.at[i];

		if (c == ';')
			n = 0;
		else if (c != ' ' && c != '\t' && n < sizeof weight)
			n = n < sizeof weight - 1 && (c == weight[n] || (c == 'Q' && n == 0))
			            ? n + 1
			            : sizeof weight;
	}
	return n >= 3 && n < sizeof weight;
}

/* What an Accept or Accept-Encoding field says of what (RFC 9110 section 12.5). Above 0: the client takes
 * it; below 0: the client does not; 0: the field does not name it. */
static int accepted(struct ws_list list, const char *what)
{
	struct ws_text one;

	while (ws_next_token(&list, &one)) {
		struct ws_text name = one;
		const char *parameters = memchr(one.at, ';', one.len);

		if (parameters)
			name.len = (size_t)(parameters - one.at);
		while (name.len > 0 && (name.at[name.len - 1] == ' ' || name.at[name.len - 1] == '\t'))
			name.len--;
		if (!ws_text_is(name, what))
			continue;
		one.len -= parameters ? (size_t)(parameters - one.at) : one.len;
		one.at = parameters;
		return parameters && is_weight_0(one) ? -1 : 1;
	}
	return 0;
}

/* Whether the client takes the coding gzip (RFC 9110 section 12.5.3), as accepted tells it. 0: the request
 * has no Accept-Encoding, so any coding will do. A field that does not name gzip excludes it. */
static int accepts_gzip(const struct ws_request *r)
{
	int said;

	if (!r->accept_encoding.line.at)
		return 0;
	if ((said = accepted(r->accept_encoding, "gzip")) == 0 &&
	    (said = accepted(r->accept_encoding, "x-gzip")) == 0)
		said = accepted(r->accept_encoding, "*");
	return said == 0 ? -1 : said;
}

/* Is the client a browser, which gets the page? Then it asks for gzip or for text/html. Other clients get a
 * text. */
static bool wants_page(struct http_answer *a, const struct ws_request *r)
{
	const int gzip = accepts_gzip(r);

	a->gzip_refused = gzip < 0;
	return gzip > 0 || (gzip == 0 && accepted(r->accept, "text/html") > 0);
}

bool files_answer(struct http_answer *a, const struct ws_request *r)
{
	const struct dashboard_file *file = dashboard_files, *end = file + dashboard_file_count;

	if (ws_text_is_exactly(r->path, HTTP_SCHEMA_PATH)) {
		a->body = schema;
		a->body_len = sizeof schema;
		return true;
	}
	while (file < end && !ws_text_is_exactly(r->path, file->path))
		file++;
	if (file == end || (ws_text_is_exactly(r->path, "/") && !wants_page(a, r)))
		return false;
	if (accepts_gzip(r) < 0) {
		http_refuse(a, HTTP_NOT_ACCEPTABLE);
		return true;
	}
	a->type = file->type;
	a->body = file->gzip;
	a->body_len = file->len;
	a->gzip = true;
	return true;
}
