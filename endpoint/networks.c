#include "endpoint/networks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"

enum {
	FILE_MAX = 4 << 20,   /* bytes; about 100,000 networks */
	LINE_MAX_LEN = 255,   /* bytes of a line */
};

/* The file as read last, and as read before that, for connections to which the former is still being
 * written. */
static struct table {
	char *text;        /* FILE_MAX + 1 bytes */
	size_t len;
	size_t readers;    /* connections to which it is being written */
} tables[2];
static struct table *newest;

/* The memory of a reader. */
struct reader {
	struct table *table;
	struct http_answer answer;   /* as it was judged; then with type and body */
	char head[WS_HEAD_MAX];
};

static bool is_prefix(char *text)
{
	unsigned char address[16];
	char *slash = strchr(text, '/');
	const bool v6 = strchr(text, ':');
	size_t bits = 0, digits = slash ? strspn(slash + 1, "0123456789") : 0;

	if (digits < 1 || digits > 3 || slash[1 + digits])
		return false;
	for (size_t i = 1; i <= digits; i++)
		bits = bits * 10 + (size_t)(slash[i] - '0');
	*slash = '\0';
	return bits <= (v6 ? 128 : 32) && inet_pton(v6 ? AF_INET6 : AF_INET, text, address) == 1;
}

static bool is_as(const char *text)
{
	text += strncmp(text, "AS", 2) == 0 ? 2 : 0;
	return strlen(text) <= 10 && strspn(text, "0123456789") == strlen(text) && *text;
}

static bool is_country(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return strlen(text) == 2 && strspn(text, letters) == 2;
}

/* What is wrong with a line of the file, in words; NULL: nothing. The line is changed. */
static const char *line_wrong(char *line)
{
	static const char blank[] = " \t\r";
	char *rest, *prefix = strtok_r(line, blank, &rest);

	if (!prefix || *prefix == '#')
		return NULL;
	const char *as = strtok_r(NULL, blank, &rest), *country = strtok_r(NULL, blank, &rest);
	if (!is_prefix(prefix))
		return "begin it with a network such as 192.0.2.0/24 or 2001:db8::/32";
	if (as && strcmp(as, "-") != 0 && !is_as(as))
		return "behind the network, give its AS such as AS64500, or -";
	if (country && strcmp(country, "-") != 0 && !is_country(country))
		return "behind the AS, give a country of two capital letters such as DE, or -";
	return NULL;
}

/* What is wrong with the text of the file, in words, and the *number of the line, 0 if it is no line; NULL:
 * nothing. */
static const char *text_wrong(const struct table *t, size_t *number)
{
	const char *end = t->text + t->len;

	*number = 0;
	if (t->len > FILE_MAX)
		return "it has more than 4 MiB";
	for (const char *at = t->text, *stop; at < end; at = stop + 1) {
		char line[LINE_MAX_LEN + 1];

		stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		++*number;
		if (stop - at > LINE_MAX_LEN)
			return "it is longer than 255 bytes";
		memcpy(line, at, (size_t)(stop - at));
		line[stop - at] = '\0';
		const char *wrong = memchr(at, '\0', (size_t)(stop - at)) ? "it has a byte 0" : line_wrong(line);
		if (wrong)
			return wrong;
	}
	return NULL;
}

/* Reads the file into the table t, which is being written to no connection. NULL, or in words what is wrong,
 * with the *line as in text_wrong. */
static const char *read_file(const char *path, struct table *t, size_t *line)
{
	const ssize_t got = file_read(path, t->text, FILE_MAX + 1);

	*line = 0;
	if (got < 0)
		return strerror(errno);
	t->len = (size_t)got;
	return text_wrong(t, line);
}

static int networks_reload(const struct options *o)
{
	struct table *t = &tables[newest == &tables[0]];
	size_t line = 0;
	const char *wrong = NULL;

	if (!o->networks)
		return 0;
	wrong = t->readers ? "the one before the last is still being read: try again"
	                   : read_file(o->networks, t, &line);
	if (!wrong)
		newest = t;
	else if (line)
		log_event("error networks=%s line=%zu reason=\"%s\"", o->networks, line, wrong);
	else
		log_event("error networks=%s reason=\"%s\"", o->networks, wrong);
	return wrong ? -1 : 0;
}

static int networks_start(struct daemon *d)
{
	if (!d->options.networks)
		return 1;
	for (size_t i = 0; i < 2; i++) {
		if (!(tables[i].text = malloc(FILE_MAX + 1))) {
			log_event("error networks=%s reason=\"%s\"", d->options.networks, strerror(errno));
			return -1;
		}
	}
	return networks_reload(&d->options);
}

static void networks_stop(void)
{
	for (size_t i = 0; i < 2; i++)
		free(tables[i].text);
}

static void networks_open(struct daemon *d, struct connection *c, const struct ws_request *r,
                          const struct http_answer *a)
{
	struct reader *reader = c->memory;

	(void)d;
	(void)r;
	reader->answer = *a;
	reader->table = newest;
	newest->readers++;
}

static int networks_next(struct daemon *d, struct connection *c, struct message *m)
{
	struct reader *reader = c->memory;
	struct http_answer *a = &reader->answer;

	a->body = (const unsigned char *)reader->table->text;
	a->body_len = reader->table->len;
	m->head = (const uint8_t *)reader->head;
	m->head_len = http_head(reader->head, a, (time_t)(d->clock_ms(CLOCK_REALTIME) / 1000));
	m->body = a->body;
	m->body_len = a->no_body ? 0 : a->body_len;
	m->last = true;
	return 1;
}

static void networks_close(struct daemon *d, struct connection *c)
{
	(void)d;
	((struct reader *)c->memory)->table->readers--;
}

const struct endpoint networks_endpoint = {
	.path = "/networks",
	.about = "the networks of addresses",
	.size = sizeof(struct reader),
	.start = networks_start,
	.stop = networks_stop,
	.reload = networks_reload,
	.open = networks_open,
	.next = networks_next,
	.close = networks_close,
};
