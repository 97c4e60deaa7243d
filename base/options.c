#include "base/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/http.h"
#include "base/parts.h"
#include "base/usage.h"

enum {
	INTERVAL = 256,
	MAX_CLIENTS,
	MAX_PER_ADDRESS,
	MAX_SNAPSHOT,
	HISTORY,
	REMEMBER,
	REMEMBER_EVERY,
	REMEMBER_BYTES,
	PING,
	DRAIN,
	PROCESS,
	UDP,
	FEED,
	FEED_MODE,
	REPLAY,
	LOOP,
	ALLOW_HOST,
	ALLOW_ORIGIN,
	PUBLIC_URL,
	TOKEN_FILE,
	TLS_CERT,
	TLS_KEY,
	TLS_CLIENT_CA,
	USER,
	NO_SANDBOX,
	SHOW_VERSION,
};

static void help(void)
{
	printf("Usage: introspectd [OPTION]...\n"
	       "Serves snapshots of a libp2p node over WebSocket, each client at its own pace.\n\n"
	       "Where it listens:\n"
	       "  -l, --listen ADDRESS   HOST:PORT, [IPV6]:PORT or /PATH of a Unix socket; may be\n"
	       "                         given %d times (default: %s and %s)\n"
	       "      --max-clients N    WebSocket clients at once (default: %d)\n"
	       "      --max-per-address N connections of one address at once, 0 for any number (default:\n"
	       "                         half of all; of this machine, or with --public-url, any)\n"
	       "      --allow-host NAME  accept this Host besides localhost and IP addresses\n"
	       "      --allow-origin O   accept web pages of this Origin, e.g. https://example.org\n"
	       "      --public-url URL   where a proxy shows it: accept this Host and this Origin\n"
	       "      --token-file FILE  clients must show the token on its first line\n"
	       "      --tls-cert FILE    speak TLS with this certificate (PEM, its chain behind it)\n"
	       "      --tls-key FILE     ... and this key\n"
	       "      --tls-client-ca F  ... to clients that have a certificate of these authorities\n\n",
	       LISTENERS_MAX, DEFAULT_LISTEN, DEFAULT_LISTEN_6, DEFAULT_MAX_CLIENTS);
	printf("What it shows (default: every TCP connection of this machine):\n"
	       "      --pid PID|NAME     the connections of one process; a name is followed across\n"
	       "                         restarts; with --feed, its numbers on the node's names\n"
	       "      --udp              with the flows of UDP that are not QUIC\n"
	       "      --feed PATH|-      what a libp2p node publishes on a Unix socket made at\n"
	       "                         PATH, or on standard input\n"
	       "      --feed-mode MODE   of that socket, octal (default: %04o)\n"
	       "      --replay FILE      a recording\n"
	       "      --loop             start the recording again at its end\n\n",
	       (unsigned)DEFAULT_FEED_MODE);
	printf("How:\n"
	       "      --interval MS      snapshots are never closer together, 10 to 3600000\n"
	       "                         (default: %d)\n"
	       "      --max-snapshot B   bytes of the largest snapshot, 1024 to 1073741824\n"
	       "                         (default: %d)\n"
	       "      --history B        bytes of states and events kept for clients of the command\n"
	       "                         protocol that paused, 131072 to 1073741824 (default: %d)\n"
	       "      --remember TIME    remember that much of the past, such as 24h or 30m, for\n"
	       "                         GET /past and pages that are opened later (default: none)\n"
	       "      --remember-every S seconds from one remembered snapshot to the next\n"
	       "                         (default: %d)\n"
	       "      --remember-bytes B for it, 131072 to 1073741824; when they are used up, the\n"
	       "                         oldest goes (default: %d)\n"
	       "      --ping SECONDS     of silence before a client is asked whether it is there\n"
	       "                         (default: %d)\n"
	       "      --drain SECONDS    after which a client that takes nothing of what was sent\n"
	       "                         to it is dropped (default: %d)\n"
	       "      --user NAME        become this user after start\n"
	       "      --no-sandbox       do without seccomp and Landlock\n"
	       "  -v, --verbose          log every connection\n"
	       "  -h, --help\n"
	       "      --version\n",
	       DEFAULT_INTERVAL_MS, DEFAULT_MAX_SNAPSHOT, DEFAULT_HISTORY,
	       DEFAULT_REMEMBER_EVERY_MS / 1000, DEFAULT_REMEMBER_BYTES, DEFAULT_PING_MS / 1000,
	       DEFAULT_DRAIN_MS / 1000);
}

/* A whole number from low to high, in this base. */
static bool read_number(const char *text, int base, unsigned long low, unsigned long high,
                        unsigned long *number)
{
	char *end;

	errno = 0;
	*number = strtoul(text, &end, base);
	return errno == 0 && end != text && *end == '\0' && *text >= '0' && *text <= '9' &&
	       *number >= low && *number <= high;
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

/* A number and a unit: s, m, h or d; as ms. */
static bool read_duration(const char *text, int64_t *ms)
{
	static const struct {
		char unit;
		int seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;

	errno = 0;
	const unsigned long n = strtoul(text, &end, 10);
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (errno == 0 && *text >= '0' && *text <= '9' && n <= 31536000 &&
		    end[0] == units[i].unit && end[1] == '\0')
			*ms = (int64_t)n * units[i].seconds * 1000;
	return *ms >= 1000 && *ms <= INT64_C(31536000000);
}

static bool append(const char **list, size_t *count, size_t max, const char *value)
{
	if (*count == max)
		return false;
	list[(*count)++] = value;
	return true;
}

/* The origin (or, of a host alone, the name) that somebody meant who wrote more or less
 * than that; else an example. */
static const char *meant(const char *value, bool name)
{
	static char text[128];
	const char *slashes = strstr(value, "://"), *host = slashes ? slashes + 3 : value;
	bool plain = slashes && (host - value == 5 || tolower((unsigned char)slashes[-1]) != 's');
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

static struct ws_text text_of(const char *value)
{
	return (struct ws_text){value, strlen(value)};
}

/* Takes an option about who may ask: NULL, or what would have been right. */
static const char *take_name(struct options *o, int option, const char *value)
{
	const struct ws_text text = text_of(value);

	if (option == PUBLIC_URL) {
		o->public_url = value;
		return http_is_url(text) ? NULL : meant(value, false);
	}
	if (option == ALLOW_HOST ? !http_is_name(text) : !http_is_origin(text))
		return meant(value, option == ALLOW_HOST);
	if (option == ALLOW_HOST
	            ? append(o->allow_host, &o->allow_host_count, ALLOWED_MAX, value)
	            : append(o->allow_origin, &o->allow_origin_count, ALLOWED_MAX, value))
		return NULL;
	return "fewer of them";
}

/* A process ID as Linux gives them (PID_MAX_LIMIT), or a name. */
static bool is_process(const char *value)
{
	const char *digits = value + (*value == '-');
	unsigned long n;

	return digits[strspn(digits, "0123456789")] != '\0' || read_number(value, 10, 1, 1 << 22, &n);
}

/* Takes one option. NULL, or what would have been right in its place. */
static const char *take_option(struct options *o, int option, const char *value)
{
	unsigned long n;

	switch (option) {
	case 'l':
		return append(o->listen, &o->listen_count, LISTENERS_MAX, value) ? NULL : "fewer of them";
	case ALLOW_HOST:
	case ALLOW_ORIGIN:
	case PUBLIC_URL:
		return take_name(o, option, value);
	case INTERVAL:
		if (!read_number(value, 10, 10, 3600000, &n))
			return "milliseconds from 10 to 3600000";
		o->interval = (int64_t)n;
		return NULL;
	case MAX_CLIENTS:
		if (!read_number(value, 10, 1, 100000, &n))
			return "a number from 1 to 100000";
		o->max_clients = n;
		return NULL;
	case MAX_PER_ADDRESS:
		if (!read_number(value, 10, 0, 100000, &n))
			return "a number from 0 to 100000";
		o->max_per_address = n;
		o->max_per_address_given = true;
		return NULL;
	case MAX_SNAPSHOT:
		if (!read_number(value, 10, 1024, 1 << 30, &n))
			return "bytes from 1024 to 1073741824";
		o->max_snapshot = n;
		return NULL;
	case HISTORY:
		if (!read_number(value, 10, 128 << 10, 1 << 30, &n))
			return "bytes from 131072 to 1073741824";
		o->history = n;
		return NULL;
	case REMEMBER:
		o->remember = 0;
		return read_duration(value, &o->remember) ? NULL
		                                          : "a time from 1s to 365d, such as 90s, 30m, 24h or 7d";
	case REMEMBER_EVERY:
		return read_seconds(value, &o->remember_every) ? NULL : "seconds from 0.01 to 86400";
	case REMEMBER_BYTES:
		if (!read_number(value, 10, 128 << 10, 1 << 30, &n))
			return "bytes from 131072 to 1073741824";
		o->remember_bytes = n;
		return NULL;
	case FEED_MODE:
		if (!read_number(value, 8, 0, 0777, &n))
			return "an octal mode such as 0660";
		o->feed_mode = (mode_t)n;
		o->feed_mode_given = true;
		return NULL;
	case PING:
		return read_seconds(value, &o->ping) ? NULL : "seconds from 0.01 to 86400";
	case DRAIN:
		return read_seconds(value, &o->drain) ? NULL : "seconds from 0.01 to 86400";
	case PROCESS:
		o->process = value;
		return is_process(value) ? NULL : "a process ID or a name";
	case UDP:
		o->udp = true;
		return NULL;
	case FEED:
		o->feed = value;
		return *value ? NULL : "a path or -";
	case REPLAY:
		o->replay = value;
		return *value ? NULL : "a file";
	case LOOP:
		o->loop = true;
		return NULL;
	case TOKEN_FILE:
		o->token_file = value;
		return NULL;
	case TLS_CERT:
		o->tls_cert = value;
		return NULL;
	case TLS_KEY:
		o->tls_key = value;
		return NULL;
	case TLS_CLIENT_CA:
		o->tls_client_ca = value;
		return NULL;
	case USER:
		o->user = value;
		return NULL;
	case NO_SANDBOX:
		o->no_sandbox = true;
		return NULL;
	default:
		o->verbose = true;
		return NULL;
	}
}

static bool has_tcp(const struct options *o)
{
	for (size_t i = 0; i < o->listen_count; i++)
		if (*o->listen[i] != '/')
			return true;
	return false;
}

/* What must hold between options. NULL, or what is wrong. */
static const char *conflict(const struct options *o)
{
	if (o->replay && (o->process || o->feed))
		return "--replay goes with neither --pid nor --feed";
	if (o->udp && (o->replay || (o->feed && !o->process)))
		return "--udp goes with --pid or with all connections of this machine";
	if (o->loop && !o->replay)
		return "--loop goes with --replay";
	if (o->feed_mode_given && (!o->feed || strcmp(o->feed, "-") == 0))
		return "--feed-mode goes with --feed PATH";
	if (!o->remember && (o->remember_every || o->remember_bytes))
		return "--remember-every and --remember-bytes go with --remember";
	if (!o->tls_cert != !o->tls_key)
		return "--tls-cert goes with --tls-key";
	if (o->tls_cert && o->listen_count > 0 && !has_tcp(o))
		return "--tls-cert goes with a TCP address: Unix sockets have no TLS";
	if (o->tls_client_ca && !o->tls_cert)
		return "--tls-client-ca goes with --tls-cert";
	return NULL;
}

int options_read(struct options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{"listen", required_argument, NULL, 'l'},
		{"interval", required_argument, NULL, INTERVAL},
		{"max-clients", required_argument, NULL, MAX_CLIENTS},
		{"max-per-address", required_argument, NULL, MAX_PER_ADDRESS},
		{"max-snapshot", required_argument, NULL, MAX_SNAPSHOT},
		{"history", required_argument, NULL, HISTORY},
		{"remember", required_argument, NULL, REMEMBER},
		{"remember-every", required_argument, NULL, REMEMBER_EVERY},
		{"remember-bytes", required_argument, NULL, REMEMBER_BYTES},
		{"ping", required_argument, NULL, PING},
		{"drain", required_argument, NULL, DRAIN},
		{"pid", required_argument, NULL, PROCESS},
		{"udp", no_argument, NULL, UDP},
		{"feed", required_argument, NULL, FEED},
		{"feed-mode", required_argument, NULL, FEED_MODE},
		{"replay", required_argument, NULL, REPLAY},
		{"loop", no_argument, NULL, LOOP},
		{"allow-host", required_argument, NULL, ALLOW_HOST},
		{"allow-origin", required_argument, NULL, ALLOW_ORIGIN},
		{"public-url", required_argument, NULL, PUBLIC_URL},
		{"token-file", required_argument, NULL, TOKEN_FILE},
		{"tls-cert", required_argument, NULL, TLS_CERT},
		{"tls-key", required_argument, NULL, TLS_KEY},
		{"tls-client-ca", required_argument, NULL, TLS_CLIENT_CA},
		{"user", required_argument, NULL, USER},
		{"no-sandbox", no_argument, NULL, NO_SANDBOX},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, SHOW_VERSION},
		{0},
	};
	static const char letters[] = ":l:vh";
	const char *wrong = NULL;
	int option, index = -1;

	*o = (struct options){.interval = DEFAULT_INTERVAL_MS,
	                      .max_clients = DEFAULT_MAX_CLIENTS,
	                      .max_snapshot = DEFAULT_MAX_SNAPSHOT,
	                      .history = DEFAULT_HISTORY,
	                      .ping = DEFAULT_PING_MS,
	                      .drain = DEFAULT_DRAIN_MS,
	                      .feed_mode = DEFAULT_FEED_MODE};
	opterr = 0;
	while ((option = getopt_long(argc, argv, letters, names, &index)) != -1) {
		if (option == '?' || option == ':') {
			usage_refused("introspectd", option, argv, letters);
			return 2;
		}
		if (option == 'h') {
			help();
			return 0;
		}
		if (option == SHOW_VERSION) {
			puts("introspectd " VERSION);
			return 0;
		}
		if ((wrong = take_option(o, option, optarg)) != NULL) {
			fprintf(stderr, "introspectd: --%s %s: expected %s\n",
			        index >= 0 ? names[index].name : "listen", optarg, wrong);
			return 2;
		}
		index = -1;
	}
	if (optind < argc) {
		fprintf(stderr, "introspectd: %s: not an option: see --help\n", argv[optind]);
		return 2;
	}
	if ((wrong = parts_missing(o)) != NULL) {
		fprintf(stderr, "introspectd: %s: this build is without\n", wrong);
		return 2;
	}
	if ((wrong = conflict(o)) != NULL) {
		fprintf(stderr, "introspectd: %s\n", wrong);
		return 2;
	}
	o->remember_every = o->remember_every ? o->remember_every : DEFAULT_REMEMBER_EVERY_MS;
	o->remember_bytes = o->remember_bytes ? o->remember_bytes : DEFAULT_REMEMBER_BYTES;
	return -1;
}
