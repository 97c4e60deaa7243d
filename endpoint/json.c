#include "endpoint/json.h"

#include <string.h>

struct text {
	const char *at, *end;
};

static void skip_space(struct text *t)
{
	while (t->at < t->end && memchr(" \t\r\n", *t->at, 4))
		t->at++;
}

static bool skip(struct text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

static bool take_word(struct text *t, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len) != 0)
		return false;
	t->at += len;
	return true;
}

static bool take_digits(struct text *t)
{
	const char *start = t->at;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9')
		t->at++;
	return t->at > start;
}

static bool take_number(struct text *t)
{
	skip(t, '-');
	if (!skip(t, '0') && !take_digits(t))
		return false;
	if (skip(t, '.') && !take_digits(t))
		return false;
	if (skip(t, 'e') || skip(t, 'E')) {
		if (!skip(t, '+'))
			skip(t, '-');
		return take_digits(t);
	}
	return true;
}

static bool take_hex(struct text *t, int digits)
{
	for (; digits > 0; digits--, t->at++)
		if (t->at == t->end || !strchr("0123456789abcdefABCDEF", *t->at) || !*t->at)
			return false;
	return true;
}

static bool take_string(struct text *t)
{
	if (!skip(t, '"'))
		return false;
	while (t->at < t->end && *t->at != '"') {
		unsigned char c = (unsigned char)*t->at++;

		if (c < ' ')
			return false;
		if (c != '\\')
			continue;
		if (skip(t, 'u')) {
			if (!take_hex(t, 4))
				return false;
		} else if (t->at == t->end || !memchr("\"\\/bfnrt", *t->at++, 8)) {
			return false;
		}
	}
	return skip(t, '"');
}

static bool take_value(struct text *t, int depth);

/* The members of an object or the elements of an array, and the bracket that ends it. */
static bool take_members(struct text *t, char end, int depth)
{
	skip_space(t);
	if (skip(t, end))
		return true;
	do {
		skip_space(t);
		if (end == '}') {
			if (!take_string(t))
				return false;
			skip_space(t);
			if (!skip(t, ':'))
				return false;
		}
		if (!take_value(t, depth + 1))
			return false;
	} while (skip(t, ','));
	return skip(t, end);
}

static bool take_value(struct text *t, int depth)
{
	bool valid;

	skip_space(t);
	if (t->at == t->end || depth > JSON_DEPTH_MAX)
		return false;
	if (skip(t, '{'))
		valid = take_members(t, '}', depth);
	else if (skip(t, '['))
		valid = take_members(t, ']', depth);
	else if (*t->at == '"')
		valid = take_string(t);
	else if (*t->at == '-' || (*t->at >= '0' && *t->at <= '9'))
		valid = take_number(t);
	else
		valid = take_word(t, "true") || take_word(t, "false") || take_word(t, "null");
	skip_space(t);
	return valid;
}

bool json_is_valid(const char *text, size_t len)
{
	struct text t = {text, text + len};

	return take_value(&t, 1) && t.at == t.end;
}
