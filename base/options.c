#include "base/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/http.h"
#include "base/parts.h"
#include "base/usage.h"

enum {
	FIRST = 256,     /* getopt_long() returns FIRST + i for the option of row i */
	ROWS_MAX = 40,   /* of both tables, with the rows that are no options */
};

_Static_assert(LISTENERS_MAX == 16 && OPTIONS_LIST_MAX == 32, "what the words below say");

#define FIELD(name) .field = offsetof(struct options, name)

static const struct option_row rows[] = {
	{.help = "Where it listens:"},
	{"listen", "ADDRESS", "HOST:PORT, [IPV6]:PORT or /PATH of a Unix socket; may\n"
	 "be given %d times\n(default: " DEFAULT_LISTEN " and " DEFAULT_LISTEN_6 ")", "at most 16 of them",
	 .kind = OPTION_LIST, .high = LISTENERS_MAX, .shown = LISTENERS_MAX, FIELD(listen), .letter = 'l'},
	{"max-clients", "N", "WebSocket clients at once (default: %d)", "a number",
	 1, 100000, DEFAULT_MAX_CLIENTS, .kind = OPTION_NUMBER, FIELD(max_clients)},
	{"max-per-address", "N", "connections of one address at once, 0 for any number\n"
	 "(default: half of all; any number from this machine\nand with --public-url)", "a number",
	 0, 100000, .kind = OPTION_NUMBER, FIELD(max_per_address)},
	{"allow-host", "NAME", "accept this Host besides localhost and IP addresses", "at most 32 of them",
	 .high = OPTIONS_LIST_MAX, .kind = OPTION_HOST, FIELD(allow_host)},
	{"allow-origin", "O", "accept web pages of this Origin, such as\nhttps://example.org",
	 "at most 32 of them", .high = OPTIONS_LIST_MAX, .kind = OPTION_ORIGIN, FIELD(allow_origin)},
	{"public-url", "URL", "where a proxy shows it: accept this Host and Origin",
	 .kind = OPTION_URL, FIELD(public_url)},
	{.help = "What it shows (default: every TCP and QUIC connection of this machine):"},
	{"pid", "PID|NAME", "the connections of one process; a name is followed\n"
	 "across restarts", "a process ID or a name", .kind = OPTION_PROCESS, FIELD(process)},
	{.help = "How:"},
	{"interval", "MS", "snapshots are never closer together, 10 to 3600000\n(default: %d)",
	 "milliseconds", 10, 3600000, DEFAULT_INTERVAL_MS, .kind = OPTION_MS, FIELD(interval)},
	{"max-snapshot", "B", "bytes of the largest snapshot, 1024 to 1073741824\n(default: %d)",
	 "bytes", 1024, 1 << 30, DEFAULT_MAX_SNAPSHOT, .kind = OPTION_NUMBER, FIELD(max_snapshot)},
	{"ping", "SECONDS", "of silence before a client is asked whether it is\nthere (default: %d)",
	 .shown = DEFAULT_PING_MS / 1000, .kind = OPTION_SECONDS, FIELD(ping)},
	{"drain", "SECONDS", "after which a client that takes nothing of what was\n"
	 "sent to it is dropped (default: %d)",
	 .shown = DEFAULT_DRAIN_MS / 1000, .kind = OPTION_SECONDS, FIELD(drain)},
	{"verbose", NULL, "log every connection", .kind = OPTION_FLAG, FIELD(verbose), .letter = 'v'},
	{"help", NULL, "this text", .kind = OPTION_HELP, .letter = 'h'},
	{"version", NULL, "of this program", .kind = OPTION_VERSION},
	{0},
};

static const struct option_row *const tables[] = {rows, parts_options};

/* The rows of both tables in one list. Returns how many there are. */
static size_t all_rows(const struct option_row *list[ROWS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct option_row *row = tables[i]; row->help && n < ROWS_MAX; row++)
			list[n++] = row;
	return n;
}

static void help_on(const struct option_row *row)
{
	enum { COLUMN = 24 };
	char name[64], text[320];

	if (!row->name) {
		printf("\n%s\n", row->help);
		return;
	}
	snprintf(name, sizeof name, "  %c%c%c --%s %s", row->letter ? '-' : ' ',
	         row->letter ? row->letter : ' ', row->letter ? ',' : ' ', row->name,
	         row->value ? row->value : "");
	snprintf(text, sizeof text, row->help, row->shown);
	const bool wide = strlen(name) > COLUMN;
	int at = wide ? 0 : COLUMN;
	printf("%-*s%s", COLUMN, name, wide ? "\n" : "");
	for (char *line = text, *end; *line; line = end, at = 0) {
		end = line + strcspn(line, "\n");
		printf("%*s%.*s\n", COLUMN + 1 - at, "", (int)(end - line), line);
		end += *end == '\n';
	}
}

static void help(const struct option_row *const *list, size_t count)
{
	puts("Usage: introspectd [OPTION]...\n"
	     "Serves snapshots of a libp2p node over WebSocket, each client at its own pace.");
	for (size_t i = 0; i < count; i++)
		help_on(list[i]);
}

/* A whole number from low to high, in this base. */
static bool read_number(const char *text, int base, unsigned low, unsigned high, size_t *number)
{
	char *end;

	errno = 0;
	const unsigned long long n = strtoull(text, &end, base);
	*number = (size_t)n;
	return errno == 0 && end != text && *end == '\0' && *text >= '0' && *text <= '9' && n >= low &&
	       n <= high;
}

/* Seconds, fractions allowed, as ms. */
static bool read_seconds(const char *text, int64_t *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end != '\0' || !(seconds >= 0.01 && seconds <= 86400))
		return false;
	*ms = (int64_t)(seconds * 1000 + 0.5);
	return true;
}

static bool append(struct option_list *list, size_t max, const char *value)
{
	if (list->count == max)
		return false;
	list->text[list->count++] = value;
	return true;
}

/* What to suggest to a user whose value is no origin (or, if name, no host): the origin or the host that
 * can be found in the value, else an example. */
static const char *meant(const char *value, bool name)
{
	static char text[128];
	const char *slashes = strstr(value, "://"), *host = slashes ? slashes + 3 : value;
	bool plain = slashes && (host - value <= 5 || !strchr("sS", slashes[-1]));
	size_t user = strcspn(host, "@/");
	int len;

	if (host[user] == '@')
		host += user + 1;
	if (name)
		len = snprintf(text, sizeof text, "%.*s", (int)strcspn(host, ":/?#"), host);
	else
		len = snprintf(text, sizeof text, "http%s://%.*s", plain ? "" : "s",
		               (int)strcspn(host, "/?#"), host);
	if (len >= (int)sizeof text)
		len = 0;
	char *port = strrchr(text, ':');
	if (!name && port && strcmp(port, plain ? ":80" : ":443") == 0)
		len = (int)(port - text);
	text[len] = '\0';
	const struct ws_text found = {text, (size_t)len};
	const bool whole = strcmp(value, "null") != 0; /* the origin of pages that have none */
	return whole && (name ? http_is_name(found) : http_is_origin(found)) ? text
	       : name ? "a host name such as node.example"
	              : "an origin such as https://example.org";
}

/* A process ID as Linux gives them (PID_MAX_LIMIT), or a name. */
static bool is_process(const char *value)
{
	const char *digits = value + (*value == '-');
	size_t n;

	return digits[strspn(digits, "0123456789")] != '\0' || read_number(value, 10, 1, 1 << 22, &n);
}

/* What would have been right in place of a wrong value. */
static const char *expected(const struct option_row *row)
{
	static char text[64];

	switch (row->kind) {
	case OPTION_NUMBER:
	case OPTION_MS:
		snprintf(text, sizeof text, "%s from %u to %u", row->expected, row->low, row->high);
		return text;
	case OPTION_SECONDS:
		return "seconds from 0.01 to 86400";
	default:
		return row->expected;
	}
}

/* Takes one option. NULL, or what would have been right in its place. */
static const char *take(struct options *o, const struct option_row *row, const char *value)
{
	void *field = (char *)o + row->field;
	const struct ws_text text = {value, value ? strlen(value) : 0};
	size_t n;
	bool right = true;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		break;
	case OPTION_NUMBER:
	case OPTION_OCTAL:
		right = read_number(value, row->kind == OPTION_OCTAL ? 8 : 10, row->low, row->high, field);
		break;
	case OPTION_MS:
		right = read_number(value, 10, row->low, row->high, &n);
		*(int64_t *)field = (int64_t)n;
		break;
	case OPTION_SECONDS:
		right = read_seconds(value, field);
		break;
	case OPTION_OTHER:
		right = row->read(value, field);
		break;
	case OPTION_HOST:
	case OPTION_ORIGIN:
		if (row->kind == OPTION_HOST ? !http_is_name(text) : !http_is_origin(text))
			return meant(value, row->kind == OPTION_HOST);
		/* fall through */
	case OPTION_LIST:
		right = append(field, row->high, value);
		break;
	case OPTION_URL:
		if (!http_is_url(text))
			return meant(value, false);
		/* fall through */
	default:
		*(const char **)field = value;
		right = row->kind == OPTION_PROCESS ? is_process(value) : *value || !row->expected;
	}
	return right ? NULL : expected(row);
}

/* Lists the options for getopt_long(). */
static void list_options(struct option names[ROWS_MAX + 1], const struct option_row *const *list,
                         size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i]->name)
			*names++ = (struct option){list[i]->name, list[i]->value ? required_argument : no_argument,
			                           NULL, FIRST + (int)i};
	*names = (struct option){0};
}

int options_read(struct options *o, int argc, char **argv)
{
	static const char letters[] = ":l:vh";
	struct option names[ROWS_MAX + 1];
	const struct option_row *list[ROWS_MAX];
	const size_t count = all_rows(list);
	const char *wrong;
	int option;

	*o = (struct options){.interval = DEFAULT_INTERVAL_MS,
	                      .max_clients = DEFAULT_MAX_CLIENTS,
	                      .max_per_address = NOT_GIVEN,
	                      .max_snapshot = DEFAULT_MAX_SNAPSHOT,
	                      .history = DEFAULT_HISTORY,
	                      .ping = DEFAULT_PING_MS,
	                      .drain = DEFAULT_DRAIN_MS,
	                      .feed_mode = NOT_GIVEN};
	list_options(names, list, count);
	opterr = 0;
	while ((option = getopt_long(argc, argv, letters, names, NULL)) != -1) {
		size_t i = option >= FIRST ? (size_t)option - FIRST : 0;

		if (option == '?' || option == ':') {
			usage_refused("introspectd", option, argv, letters);
			return 2;
		}
		while (option < FIRST && list[i]->letter != option)
			i++;
		if (list[i]->kind == OPTION_HELP) {
			help(list, count);
			return 0;
		}
		if (list[i]->kind == OPTION_VERSION) {
			puts("introspectd " VERSION);
			return 0;
		}
		if ((wrong = take(o, list[i], optarg)) != NULL) {
			fprintf(stderr, "introspectd: --%s %s: expected %s\n", list[i]->name, optarg,
			        wrong);
			return 2;
		}
	}
	wrong = parts_conflict(o);
	if (optind < argc)
		fprintf(stderr, "introspectd: %s: not an option: see --help\n", argv[optind]);
	else if (wrong)
		fprintf(stderr, "introspectd: %s\n", wrong);
	return optind < argc || wrong ? 2 : -1;
}
