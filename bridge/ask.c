#include <ctype.h>
#include <curl/curl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/options.h"
#include "bridge/bridge.h"

enum {
	REFUSED_S = 60,     /* after which what a node refused is asked again */
	URL_MAX = 2048,
	QUOTED_MAX = 120,   /* bytes of an error page that are told */
};

struct answer {
	char *path;            /* owned */
	json_t *json;          /* owned; NULL: refused or wrong */
	char *why;             /* owned; NULL: nothing was wrong */
	int64_t asked, until;  /* ms since 1970: when it came, and until when it is kept */
};

struct node {
	CURL *curl;
	struct curl_slist *headers;
	const char *url;
	const char *path;      /* of the answer that was asked for last */
	int64_t now;           /* ms since 1970: begin of the round */
	int64_t deadline;      /* ms, monotonic: of the round */
	bool lost;             /* could not be reached in this round */
	char *body;            /* of the answer under way; owned */
	size_t len, size;
	char why[WHY_MAX];
	char error[CURL_ERROR_SIZE];
	struct answer answers[QUESTIONS_MAX];
	size_t count;
};

/* The memory that jansson holds, for all of the process, which is bounded while it parses. */
static struct {
	size_t bytes;
	bool parses;
	size_t over;   /* bytes held, or VALUES_MAX, when jansson was refused more; 0: it was not */
} values;

static void *values_malloc(size_t size)
{
	if (values.parses && size > VALUES_MAX - (values.bytes < VALUES_MAX ? values.bytes : VALUES_MAX)) {
		values.over = VALUES_MAX;
		return NULL;
	}
	void *p = malloc(size);
	values.bytes += p ? malloc_usable_size(p) : 0;
	if (!p && values.parses)
		values.over = values.bytes;
	return p;
}

static void values_free(void *p)
{
	values.bytes -= p ? malloc_usable_size(p) : 0;
	free(p);
}

/* CURLOPT_WRITEFUNCTION: adds what came to body. Returning 0 ends the transfer. */
static size_t receive(char *bytes, size_t one, size_t len, void *arg)
{
	struct node *n = arg;

	(void)one;
	if (len > ANSWER_MAX - n->len)
		return 0;
	if (n->len + len > n->size) {
		const size_t twice = 2 * (n->len + len);
		const size_t size = twice < ANSWER_MAX ? twice : ANSWER_MAX;
		char *body = realloc(n->body, size);

		if (!body)
			return 0;
		n->body = body;
		n->size = size;
	}
	memcpy(n->body + n->len, bytes, len);
	n->len += len;
	return len;
}

static int64_t monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool add_header(struct node *n, const char *line)
{
	struct curl_slist *all = curl_slist_append(n->headers, line);

	if (!all)
		return false;
	n->headers = all;
	return true;
}

struct node *node_open(const char *url, const char *token)
{
	struct node *n = calloc(1, sizeof *n);
	char header[300];

	json_set_alloc_funcs(values_malloc, values_free);
	if (!n || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(n->curl = curl_easy_init())) {
		free(n);
		return NULL;
	}
	n->url = url;
	bool added = add_header(n, "Accept: application/json");
	if (token) {
		snprintf(header, sizeof header, "Authorization: Bearer %s", token);
		added = added && add_header(n, header);
		explicit_bzero(header, sizeof header);
	}
	if (!added) {
		node_close(n);
		return NULL;
	}
	curl_easy_setopt(n->curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(n->curl, CURLOPT_WRITEDATA, n);
	curl_easy_setopt(n->curl, CURLOPT_HTTPHEADER, n->headers);
	curl_easy_setopt(n->curl, CURLOPT_USERAGENT, "introspect-bridge/" VERSION);
	curl_easy_setopt(n->curl, CURLOPT_ERRORBUFFER, n->error);
	curl_easy_setopt(n->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(n->curl, CURLOPT_NOPROXY, "*");
	return n;
}

static void forget(struct answer *a)
{
	json_decref(a->json);
	free(a->path);
	free(a->why);
}

void node_close(struct node *n)
{
	for (size_t i = 0; i < n->count; i++)
		forget(&n->answers[i]);
	curl_slist_free_all(n->headers);
	curl_easy_cleanup(n->curl);
	curl_global_cleanup();
	free(n);
}

void node_begin(struct node *n, int64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->count; i++) {
		struct answer *a = &n->answers[i];

		/* A clock that was set back keeps nothing. */
		if (a->until > now && a->asked <= now && !n->lost)
			n->answers[kept++] = *a;
		else
			forget(a);
	}
	n->count = kept;
	n->now = now;
	n->deadline = monotonic() + ROUND_MS;
	n->lost = false;
	n->why[0] = '\0';
}

const char *node_why(const struct node *n)
{
	return n->why;
}

void node_wrong(struct node *n, const char *format, ...)
{
	va_list args;

	if (n->why[0])
		return;
	const size_t begun = (size_t)snprintf(n->why, sizeof n->why, "%s%s: ", n->url, n->path);
	if (begun >= sizeof n->why)
		return;
	va_start(args, format);
	vsnprintf(n->why + begun, sizeof n->why - begun, format, args);
	va_end(args);
	for (char *c = n->why; *c; c++)
		if (*c < ' ' || *c > '~' || *c == '"')
			*c = *c == '"' ? '\'' : '?';
}

/* An array of the JSON values that stand one behind another in body. */
static json_t *parse_several(const struct node *n, json_error_t *error)
{
	json_t *all = json_array();

	for (size_t at = 0; all && at < n->len;) {
		if (strchr(" \t\r\n", n->body[at])) {
			at++;
			continue;
		}
		json_t *value = json_loadb(n->body + at, n->len - at, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, error);
		if (!value || json_array_append_new(all, value) != 0) {
			error->position += (int)at;
			json_decref(all);
			return NULL;
		}
		at += (size_t)error->position;
	}
	return all;
}

/* The body as JSON. Peers choose some of the text, so a NUL in it is allowed; what follows the NUL
 * is not shown. NULL: what is wrong was noted. */
static json_t *parse(struct node *n, unsigned how)
{
	json_error_t error = {0};

	values.parses = true;
	values.over = 0;
	json_t *json = how & SEVERAL ? parse_several(n, &error)
	                             : json_loadb(n->body ? n->body : "", n->len, JSON_ALLOW_NUL, &error);
	values.parses = false;
	if (!json && values.over)
		node_wrong(n, "the answer takes over %zu bytes of memory", values.over);
	else if (!json)
		node_wrong(n, "the answer is not JSON: byte %d of %zu: %s", error.position, n->len,
		           error.text);
	return json;
}

/* Notes what an answer means that has another status than 200. */
static void refused(struct node *n, unsigned how, long status)
{
	int len = n->len < QUOTED_MAX ? (int)n->len : QUOTED_MAX;
	const char *leads_to = NULL;

	while (len > 0 && isspace((unsigned char)n->body[len - 1]))
		len--;
	if (how & OPTIONAL && status >= 400 && status != 401 && status != 403)
		return;
	curl_easy_getinfo(n->curl, CURLINFO_REDIRECT_URL, &leads_to);
	if (leads_to)
		node_wrong(n, "HTTP status %ld leads to %s: give that URL", status, leads_to);
	else if (status == 401 || status == 403)
		node_wrong(n, "HTTP status %ld: it wants another --token-file: %.*s", status, len,
		           len > 0 ? n->body : "");
	else
		node_wrong(n, "HTTP status %ld: %.*s", status, len, len > 0 ? n->body : "");
}

/* Asks for n->path. NULL: it is OPTIONAL and refused, or what is wrong was noted. */
static json_t *fetch(struct node *n, unsigned how)
{
	const int64_t left = n->deadline - monotonic();
	char url[URL_MAX];
	long status = 0;

	if (left <= 0 || snprintf(url, sizeof url, "%s%s", n->url, n->path) >= (int)sizeof url) {
		node_wrong(n, left <= 0 ? "not asked, the questions before it took %d ms" : "longer than %d bytes",
		           left <= 0 ? ROUND_MS : URL_MAX);
		return NULL;
	}
	n->error[0] = '\0';
	curl_easy_setopt(n->curl, CURLOPT_URL, url);
	curl_easy_setopt(n->curl, CURLOPT_TIMEOUT_MS, (long)(left < DEADLINE_MS ? left : DEADLINE_MS));
	curl_easy_setopt(n->curl, CURLOPT_HTTPGET, 1L);
	if (how & POST)
		curl_easy_setopt(n->curl, CURLOPT_COPYPOSTFIELDS, "");
	const CURLcode result = curl_easy_perform(n->curl);
	if (result == CURLE_OK) {
		curl_easy_getinfo(n->curl, CURLINFO_RESPONSE_CODE, &status);
		if (status == 200)
			return parse(n, how);
		refused(n, how, status);
	} else if (result == CURLE_WRITE_ERROR) {
		node_wrong(n, "the answer is over %d bytes, or there is no memory for it", ANSWER_MAX);
	} else {
		n->lost = result != CURLE_OPERATION_TIMEDOUT;
		node_wrong(n, "%s", n->error[0] ? n->error : curl_easy_strerror(result));
	}
	return NULL;
}

/* Asks the node, and keeps the answer for so many seconds. NULL: there is no room, which was noted. */
static struct answer *ask(struct node *n, const char *path, unsigned how, int seconds)
{
	struct answer *a = &n->answers[n->count];
	char before[WHY_MAX];

	n->path = path;
	char *copy = n->count < QUESTIONS_MAX ? strdup(path) : NULL;
	if (!copy) {
		node_wrong(n, "not asked, there are over %d questions or there is no memory", QUESTIONS_MAX);
		return NULL;
	}
	memcpy(before, n->why, sizeof before);
	n->why[0] = '\0';
	*a = (struct answer){.path = copy, .asked = n->now, .json = fetch(n, how)};
	n->count++;
	if (n->why[0])
		a->why = strdup(n->why);
	else if (!a->json && seconds < REFUSED_S)
		seconds = REFUSED_S;
	a->until = n->now + (int64_t)seconds * 1000;
	if (before[0])
		memcpy(n->why, before, sizeof before);
	free(n->body);
	n->body = NULL;
	n->len = n->size = 0;
	return a;
}

const json_t *node_recall(struct node *n, const char *path, unsigned how, int seconds, uint64_t *age)
{
	struct answer *a = n->answers;

	while (a < n->answers + n->count && strcmp(a->path, path) != 0)
		a++;
	if (a == n->answers + n->count)
		a = ask(n, path, how, seconds);
	if (age)
		*age = a ? (uint64_t)(n->now - a->asked) / 1000 : 0;
	if (!a)
		return NULL;
	n->path = a->path;
	if (a->why && !n->why[0])
		snprintf(n->why, sizeof n->why, "%s", a->why);
	return a->json;
}

const json_t *node_ask(struct node *n, const char *path, unsigned how)
{
	return node_recall(n, path, how, 0, NULL);
}
