#include "base/head.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

int head_length(const char *head, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const unsigned char c = (unsigned char)head[i];

		if ((unsigned char)(c - ' ') <= '~' - ' ')   /* nearly all are ASCII */
			continue;
		if (c >= 0x80 || c == '\t' || (c == '\r' && (i + 1 == len || head[i + 1] == '\n')))
			continue;
		if (c != '\n' || i == 0 || head[i - 1] != '\r')
			return -1;
		if (i >= 3 && head[i - 2] == '\n')
			return (int)i + 1;
	}
	return 0;
}

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || c == '-' || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+.^_`|~", c));
}

struct ws_text head_trim(struct ws_text text)
{
	while (text.len > 0 && (*text.at == ' ' || *text.at == '\t')) {
		text.at++;
		text.len--;
	}
	while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
		text.len--;
	return text;
}

struct ws_text head_cut(struct ws_text *rest, char mark)
{
	const char *found = memchr(rest->at, mark, rest->len);
	struct ws_text part = {rest->at, found ? (size_t)(found - rest->at) : rest->len};
	size_t used = part.len + (found ? 1 : 0);

	rest->at += used;
	rest->len -= used;
	return part;
}

struct ws_text head_cut_line(struct ws_text *rest)
{
	struct ws_text line = head_cut(rest, '\r');

	rest->at++;
	rest->len--;
	return line;
}

int head_cut_field(struct ws_text *rest, struct ws_text *name, struct ws_text *value)
{
	struct ws_text line = head_cut_line(rest);

	if (line.len == 0)
		return 0;
	*name = head_cut(&line, ':');
	if (name->len == 0 || name->at + name->len == line.at)
		return -1;
	for (size_t i = 0; i < name->len; i++)
		if (!is_token_char(name->at[i]))
			return -1;
	*value = head_trim(line);
	return 1;
}

/* Takes scheme and authority off a target in absolute form (RFC 9112 section 3.2.2): the
 * authority is what counts as Host. */
static void cut_authority(struct ws_request *r, struct ws_text *target)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		size_t len = strlen(schemes[i]);

		if (target->len < len || strncasecmp(target->at, schemes[i], len) != 0)
			continue;
		r->host = (struct ws_text){target->at + len, 0};
		while (len + r->host.len < target->len && !strchr("/?", r->host.at[r->host.len]))
			r->host.len++;
		target->at += len + r->host.len;
		target->len -= len + r->host.len;
		return;
	}
}

const char *head_request_line(struct ws_request *r, struct ws_text line)
{
	r->method = head_cut(&line, ' ');
	struct ws_text target = head_cut(&line, ' ');

	for (size_t i = 0; i < r->method.len; i++)
		if (!is_token_char(r->method.at[i]))
			return "the request line does not begin with a method";
	for (size_t i = 0; i < target.len; i++)
		if (target.at[i] <= ' ' || target.at[i] > '~')
			return "the target has a character that no URL has";
	if (r->method.len == 0 || target.len == 0)
		return "the request line is not METHOD TARGET HTTP/1.1";
	r->http_1_0 = ws_text_is(line, "HTTP/1.0");
	if (!r->http_1_0 && (line.len != 8 || memcmp(line.at, "HTTP/1.", 7) != 0 || line.at[7] < '1' ||
	                     line.at[7] > '9'))
		return "neither HTTP/1.1 nor HTTP/1.0";
	cut_authority(r, &target);
	/* A target without a path means "/". Texts point into the head, so r->path is the slash that
	 * stands before the authority. */
	if (r->host.at && (target.len == 0 || *target.at == '?'))
		r->path = (struct ws_text){r->host.at - 1, 1};
	else
		r->path = head_cut(&target, '?');
	r->query = target;
	return r->path.len > 0 ? NULL : "the target has no path";
}
