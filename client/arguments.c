#include "arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "base/usage.h"

enum { MAX_MESSAGE = 256, PAST, TOTALS, TOKEN_FILE, CA, INSECURE, CERT, KEY };

static void help(void)
{
	printf(
	    "Usage: introspect [OPTION]... [ADDRESS]\n"
	    "Watches a libp2p node through introspectd: live on a terminal, else as JSON, one\n"
	    "snapshot to a line.\n\n"
	    "ADDRESS is HOST[:PORT], [IPV6]:PORT, ws[s]://HOST[:PORT]/, or the path of a Unix\n"
	    "socket. Without it the daemon of this machine is looked for: 127.0.0.1:" DEFAULT_PORT
	    ",\n"
	    "[::1]:" DEFAULT_PORT ", " DEFAULT_SOCKET ".\n\n");
	printf("  -j, --json              print JSON, also on a terminal\n"
	       "  -e, --events            print events as they happen, as JSON, one to a line\n"
	       "  -o, --record FILE       write a recording, which introspectd --replay plays;\n"
	       "                          - is standard output\n"
	       "      --past FILE         write what the daemon remembers, likewise;\n"
	       "                          --past --json prints it\n"
	       "  -f, --force             overwrite FILE\n"
	       "      --totals            totals and counts alone, without the connections\n"
	       "  -n, --count N           end after N snapshots, or events\n"
	       "  -t, --duration SECONDS  end after this time\n"
	       "  -i, --interval SECONDS  at least so long between two snapshots\n"
	       "                          (default: %g in the live view, else 0)\n"
	       "  -w, --wait              wait for a daemon that is not there yet\n"
	       "      --max-message B     bytes of the largest snapshot accepted\n"
	       "                          (default: %d)\n"
	       "      --token-file FILE   show the token on its first line\n"
	       "      --ca FILE           trust these certificates (default: the system's)\n"
	       "      --insecure          do not check whose certificate it is\n"
	       "      --tls-cert FILE     show this certificate to a daemon with --tls-client-ca\n"
	       "      --tls-key FILE      its key\n"
	       "  -h, --help\n"
	       "  -V, --version\n\n",
	       (double)DEFAULT_VIEW_INTERVAL_MS / 1000, DEFAULT_MAX_MESSAGE);
	printf(
	    "Exit status: %d all is done, %d no connection, %d wrong usage, %d the time was over\n"
	    "before all had come, %d the output could not be written.\n",
	    STATUS_DONE, STATUS_NO_CONNECTION, STATUS_USAGE, STATUS_INCOMPLETE, STATUS_OUTPUT);
}

static bool read_number(const char *text, unsigned long long low, unsigned long long high,
			unsigned long long *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *number >= low &&
	       *number <= high;
}

/* Seconds, fractions allowed, as ms. */
static bool read_seconds(const char *text, int64_t *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= 1e9))
		return false;
	*ms = (int64_t)(seconds * 1000 + 0.5);
	return true;
}

/* Without an address behind it: is the file what somebody writes who forgot to name one? */
static bool is_address(const char *text)
{
	struct address a;

	return strstr(text, "://") ||
	       (strchr(text, ':') && !strchr(text, '/') && address_read(&a, text) == NULL);
}

/* Does the target end with this? */
static bool ends_with(const char *target, const char *end)
{
	const size_t len = strlen(target), end_len = strlen(end);

	return len >= end_len && strcmp(target + len - end_len, end) == 0;
}

/* Takes one option. NULL, or what is wrong with it. */
static const char *take_argument(struct arguments *a, int option, const char *value)
{
	unsigned long long n;

	switch (option) {
	case 'j':
	case 'e':
	case 'o':
	case PAST:
		if (a->mode != AUTO)
			return "there is another --json, --events or --record";
		a->past = option == PAST;
		a->mode = option == 'j' ? JSON : option == 'e' ? EVENTS : RECORD;
		if (a->past && (strcmp(value, "--json") == 0 || strcmp(value, "-j") == 0))
			a->mode = JSON;
		a->file = value;
		return NULL;
	case TOTALS:
		a->totals = true;
		return NULL;
	case 'f':
		a->force = true;
		return NULL;
	case 'w':
		a->wait = true;
		return NULL;
	case 'n':
		if (!read_number(value, 1, UINT64_MAX, &n))
			return "needs a number from 1";
		a->count = n;
		return NULL;
	case 't':
		return read_seconds(value, &a->duration) ? NULL : "needs seconds";
	case 'i':
		return read_seconds(value, &a->interval) ? NULL : "needs seconds";
	case TOKEN_FILE:
		a->token_file = value;
		return NULL;
	case CA:
		a->ca = value;
		return NULL;
	case INSECURE:
		a->insecure = true;
		return NULL;
	case CERT:
		a->cert = value;
		return NULL;
	case KEY:
		a->key = value;
		return NULL;
	default:
		if (!read_number(value, 1, UINT32_MAX, &n))
			return "needs bytes from 1 to 4294967295";
		a->max_message = (uint32_t)n;
		return NULL;
	}
}

/* What must hold between options. NULL, or what is wrong. */
static const char *conflict(const struct arguments *a)
{
	if (a->force && a->mode != RECORD)
		return "--force goes with --record";
	if (a->past && a->wait)
		return "--wait goes without --past";
	if (a->totals && (a->mode == RECORD || a->mode == EVENTS || a->past))
		return "--totals goes with --json or the live view";
	if (a->ca && a->insecure)
		return "only one of --ca and --insecure";
	if (a->mode != EVENTS && ends_with(a->address.target, "/introspect"))
		return "what the address ends with, /introspect, goes with --events";
	if (!a->cert != !a->key)
		return "--tls-cert and --tls-key go together";
	if ((a->ca || a->insecure || a->cert) && !a->address.secure)
		return "--ca, --insecure and --tls-cert go with a wss:// address";
	return NULL;
}

/* What remains to be decided and checked once all options are read. */
static int settle(struct arguments *a, const char *address)
{
	const char *term = getenv("TERM");
	const char *wrong = address_read(&a->address, address);

	if (wrong) {
		fprintf(stderr, "introspect: %s: %s\n", address, wrong);
		return STATUS_USAGE;
	}
	if (a->file && !address && is_address(a->file)) {
		fprintf(stderr,
			"introspect: --%s %s: an address: name a file first, then the address; "
			"a file of this name needs ./ before it\n",
			a->past ? "past" : "record", a->file);
		return STATUS_USAGE;
	}
	if ((wrong = conflict(a)) != NULL) {
		fprintf(stderr, "introspect: %s\n", wrong);
		return STATUS_USAGE;
	}
	if (a->mode == AUTO)
		a->mode = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? VIEW : JSON;
	if (a->mode == VIEW && (!term || !*term || strcmp(term, "dumb") == 0)) {
		fprintf(stderr, "introspect: TERM=%s cannot show the live view: try --json\n",
			term ? term : "");
		return STATUS_USAGE;
	}
	if (a->mode == RECORD && strcmp(a->file, "-") == 0 && isatty(STDOUT_FILENO)) {
		fprintf(stderr, "introspect: a recording is not for a terminal: name a file\n");
		return STATUS_USAGE;
	}
	/* An address that ends with a slash, perhaps below the path at which a proxy serves the daemon, goes on
	 * with what the mode asks for. */
	const size_t len = strlen(a->address.target);
	if ((a->past || a->mode == EVENTS) && ends_with(a->address.target, "/") &&
	    !strchr(a->address.target, '?'))
		snprintf(a->address.target + len, sizeof a->address.target - len, "%s",
			 a->past ? "past" : "introspect");
	if (a->interval < 0)
		a->interval = a->mode == VIEW ? DEFAULT_VIEW_INTERVAL_MS : 0;
	return -1;
}

int arguments_read(struct arguments *a, int argc, char **argv)
{
	static const struct option names[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"events", no_argument, NULL, 'e'},
	    {"record", required_argument, NULL, 'o'},
	    {"past", required_argument, NULL, PAST},
	    {"totals", no_argument, NULL, TOTALS},
	    {"force", no_argument, NULL, 'f'},
	    {"count", required_argument, NULL, 'n'},
	    {"duration", required_argument, NULL, 't'},
	    {"interval", required_argument, NULL, 'i'},
	    {"wait", no_argument, NULL, 'w'},
	    {"max-message", required_argument, NULL, MAX_MESSAGE},
	    {"token-file", required_argument, NULL, TOKEN_FILE},
	    {"ca", required_argument, NULL, CA},
	    {"insecure", no_argument, NULL, INSECURE},
	    {"tls-cert", required_argument, NULL, CERT},
	    {"tls-key", required_argument, NULL, KEY},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {0},
	};
	static const char letters[] = ":jeo:fn:t:i:whV";
	const char *wrong;
	int option;

	*a = (struct arguments){
	    .duration = NEVER, .interval = -1, .max_message = DEFAULT_MAX_MESSAGE};
	opterr = 0;
	while ((option = getopt_long(argc, argv, letters, names, NULL)) != -1) {
		if (option == '?' || option == ':') {
			usage_refused("introspect", option, argv, letters);
			return STATUS_USAGE;
		}
		if (option == 'h') {
			help();
			return STATUS_DONE;
		}
		if (option == 'V') {
			puts("introspect " VERSION);
			return STATUS_DONE;
		}
		if ((wrong = take_argument(a, option, optarg)) != NULL) {
			const char *name = "";

			for (const struct option *o = names; o->name; o++)
				if (o->val == option)
					name = o->name;
			fprintf(stderr, "introspect: --%s%s%s: %s\n", name, optarg ? " " : "",
				optarg ? optarg : "", wrong);
			return STATUS_USAGE;
		}
	}
	if (argc - optind > 1) {
		fprintf(stderr, "introspect: %s: only one address\n", argv[optind + 1]);
		return STATUS_USAGE;
	}
	return settle(a, argv[optind]);
}
