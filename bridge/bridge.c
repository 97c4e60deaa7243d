/* introspect-bridge: asks a node over its own HTTP API and hands the answers to introspectd, a
 * State for each byte `r` of the daemon (--to), or on standard output at an interval. */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/options.h"
#include "base/usage.h"
#include "bridge/bridge.h"
#include "bridge/confine.h"
#include "client/json.h"
#include "guard/auth.h"
#include "guard/sandbox.h"
#include "source/wire.h"

enum {
	RETRY_MIN = 500,     /* ms before something that failed is tried again; doubles */
	RETRY_MAX = 10000,
};

/* Options without letters. */
enum { TO = 256, ONCE, INTERVAL, TOKEN_FILE, USER, NO_SANDBOX, HELP, VERSION_OPTION };

static const struct kind *const kinds[] = {&kind_kubo, &kind_beacon};

/* How the last round was; the log has a line for each change. */
enum health {
	COMPLETE,
	INCOMPLETE,   /* something besides the connections was wrong */
	AWAY,
};

struct bridge {
	const struct kind *kind;
	const char *url, *to, *user;
	bool once, no_sandbox;
	int interval;                /* ms */
	struct auth auth;            /* holds the token */
	struct node *node;
	struct round round;
	enum health health;
	int out;                     /* -1: not connected */
	bool alone;                  /* the daemon could not be reached, which was logged */
	int retry;                   /* ms; 0: nothing has failed since the last success */
	uint8_t *runtime;            /* the encoded Runtime that the daemon was sent last; owned */
	size_t runtime_len;
};

/* Asks the node for a round, and logs it if the health of rounds has changed. False: the node does
 * not even tell its connections. */
static bool ask(struct bridge *b)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	round_begin(&b->round, b->node);
	const bool known = b->kind->fill(&b->round);
	clock_gettime(CLOCK_MONOTONIC, &end);
	b->round.state.snapshot_duration_ms = (uint32_t)((end.tv_sec - begin.tv_sec) * 1000 +
	                                                 (end.tv_nsec - begin.tv_nsec) / 1000000);
	const char *why = node_why(b->node);
	const enum health health = !known ? AWAY : *why ? INCOMPLETE : COMPLETE;
	if (health != b->health && !b->once) {
		if (health == COMPLETE)
			log_event("node_back url=%s", b->url);
		else
			log_event("node_%s reason=\"%s\"", health == AWAY ? "away" : "incomplete", why);
	}
	b->health = health;
	return known;
}

static bool write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		const ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return false;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* Writes a ServerMessage behind its length. */
static bool send_message(const struct bridge *b, const Introspection__ServerMessage *message)
{
	const size_t len = introspection__server_message__get_packed_size(message);
	uint8_t *bytes = take_memory(WIRE_VARINT_MAX + len);
	const size_t n = wire_put_varint(bytes, len);

	introspection__server_message__pack(message, bytes + n);
	return write_all(b->out, bytes, n + len);
}

/* The State, and before it the Runtime if it is not the one that the daemon has. */
static bool send_round(struct bridge *b)
{
	struct round *r = &b->round;
	Introspection__Version version = INTROSPECTION__VERSION__INIT;
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	const size_t len = introspection__runtime__get_packed_size(&r->runtime);
	uint8_t *runtime = malloc(len + 1);

	version.version = 1;
	message.version = &version;
	if (!runtime)
		return false;
	introspection__runtime__pack(&r->runtime, runtime);
	if (!b->runtime || len != b->runtime_len || memcmp(runtime, b->runtime, len) != 0) {
		message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME;
		message.runtime = &r->runtime;
		if (!send_message(b, &message)) {
			free(runtime);
			return false;
		}
	}
	free(b->runtime);
	b->runtime = runtime;
	b->runtime_len = len;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
	message.state = &r->state;
	return send_message(b, &message);
}

/* Waits for so many ms. False, at once: the daemon, or the reader of the pipe, is gone. */
static bool wait_for(const struct bridge *b, int ms)
{
	struct pollfd daemon = {.fd = b->out, .events = POLLRDHUP};

	return poll(&daemon, 1, ms) <= 0;
}

/* Waits longer after each failure in a row. Returns as wait_for. */
static bool back_off(struct bridge *b)
{
	b->retry = b->retry == 0 ? RETRY_MIN : 2 * b->retry < RETRY_MAX ? 2 * b->retry : RETRY_MAX;
	return wait_for(b, b->retry);
}

/* Connects to the daemon's feed. False: not now, which is logged once. */
static bool reach_daemon(struct bridge *b)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof address.sun_path, "%s", b->to);
	b->out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (b->out >= 0 && connect(b->out, (struct sockaddr *)&address, sizeof address) == 0) {
		log_event("feed_connected path=%s", b->to);
		b->alone = false;
		free(b->runtime);
		b->runtime = NULL;
		return true;
	}
	if (!b->alone)
		log_event("feed_away path=%s reason=\"%s\"", b->to, strerror(errno));
	b->alone = true;
	if (b->out >= 0)
		close(b->out);
	b->out = -1;
	return false;
}

/* Asks until there is something to send. False: the daemon is gone. */
static bool answer_daemon(struct bridge *b)
{
	bool there = true;

	while (there && !ask(b)) {
		round_end(&b->round);
		there = back_off(b);
	}
	if (there)
		there = send_round(b);
	round_end(&b->round);
	return there;
}

/* Connects to the daemon again and again, and answers whenever it asks. That it asks again shows
 * that it took the State before: then nothing has failed. */
_Noreturn static void serve_daemon(struct bridge *b)
{
	for (;;) {
		char asked[64];
		ssize_t n;
		bool there = reach_daemon(b);

		for (int answers = 0; there; answers++) {
			do
				n = read(b->out, asked, sizeof asked);
			while (n < 0 && errno == EINTR);
			if (n > 0 && answers > 0)
				b->retry = 0;
			there = n > 0 && answer_daemon(b);
		}
		if (b->out >= 0) {
			log_event("feed_disconnected");
			close(b->out);
			b->out = -1;
		}
		back_off(b);
	}
}

static int output_failed(void)
{
	fprintf(stderr, "introspect-bridge: standard output: %s\n", strerror(errno));
	return 1;
}

/* Pushes a State at each interval to whoever reads standard output, until that goes away. Returns
 * the exit status. */
static int serve_pipe(struct bridge *b)
{
	bool there = true;

	while (there) {
		if (!ask(b)) {
			round_end(&b->round);
			there = back_off(b);
			continue;
		}
		b->retry = 0;
		if (!send_round(b))
			return errno == EPIPE || errno == ECONNRESET ? 0 : output_failed();
		round_end(&b->round);
		there = wait_for(b, b->interval);
	}
	return 0;
}

static int print_once(struct bridge *b)
{
	const bool known = ask(b);
	const char *why = node_why(b->node);

	if (known) {
		b->round.state.runtime = &b->round.runtime;
		json_write(stdout, &b->round.state.base);
		putchar('\n');
		if (ferror(stdout) || fflush(stdout) != 0)
			return output_failed();
	}
	if (*why)
		fprintf(stderr, "introspect-bridge: %s\n", why);
	return *why != '\0';
}

static void help(void)
{
	printf("Usage: introspect-bridge KIND [URL] [OPTION]...\n"
	       "Asks a node over its own HTTP API what it is doing, for introspectd:\n\n"
	       "  introspect-bridge kubo --once                      what would be told, as JSON\n"
	       "  introspect-bridge kubo | introspectd --feed - --pid ipfs\n"
	       "  introspect-bridge kubo --to /run/introspectd/feed  asks when the daemon asks\n\n"
	       "Kinds:\n");
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		printf("  %-8s %s\n           (default: %s)\n", kinds[i]->name, kinds[i]->about, kinds[i]->url);
	printf("\nOptions:\n"
	       "      --to PATH          the daemon's feed, a Unix socket; else standard output\n"
	       "      --once             print one State as JSON and end\n"
	       "      --interval MS      between two States on standard output, 100 to 3600000\n"
	       "                         (default: %d)\n"
	       "      --token-file FILE  show the token on its first line to the node\n"
	       "      --user NAME        become this user after start\n"
	       "      --no-sandbox       do without seccomp and Landlock\n"
	       "      --help, --version\n",
	       DEFAULT_INTERVAL_MS);
}

__attribute__((format(printf, 1, 2))) static int wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("introspect-bridge: ", stderr);
	vfprintf(stderr, format, args);
	fputs(": see --help\n", stderr);
	va_end(args);
	return 2;
}

/* Passwords in URLs would be in the log. */
static bool is_url(const char *text)
{
	return (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0) &&
	       text[strlen(text) - 1] != '/' && !strpbrk(text, "@?# ");
}

/* KIND and URL. -1: go on; else the exit status. */
static int read_operands(struct bridge *b, int argc, char **argv)
{
	if (argc == 0)
		return wrong("which kind of node?");
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(argv[0], kinds[i]->name) == 0)
			b->kind = kinds[i];
	if (!b->kind)
		return wrong("%s: no such kind of node", argv[0]);
	if (argc > 2)
		return wrong("%s: too many arguments", argv[2]);
	b->url = argc == 2 ? argv[1] : NULL;
	if (b->url && !is_url(b->url))
		return wrong("%s: expected a URL such as %s, without user and / at its end", b->url,
		             b->kind->url);
	if (!b->url && b->kind->find)
		b->url = b->kind->find();
	if (!b->url)
		b->url = b->kind->url;
	if (b->to && strlen(b->to) >= sizeof((struct sockaddr_un *)0)->sun_path)
		return wrong("--to %s: the path is too long for a Unix socket", b->to);
	if (b->to && b->once)
		return wrong("--once and --to do not go together");
	if (!b->to && !b->once && isatty(STDOUT_FILENO))
		return wrong("standard output is a terminal: pipe it to introspectd --feed -, or use "
		             "--to or --once");
	return -1;
}

/* The command line. -1: go on; else the exit status. */
static int read_arguments(struct bridge *b, int argc, char **argv)
{
	static const struct option names[] = {
		{"to", required_argument, NULL, TO},       {"once", no_argument, NULL, ONCE},
		{"interval", required_argument, NULL, INTERVAL}, {"token-file", required_argument, NULL, TOKEN_FILE},
		{"user", required_argument, NULL, USER},     {"no-sandbox", no_argument, NULL, NO_SANDBOX},
		{"help", no_argument, NULL, HELP},           {"version", no_argument, NULL, VERSION_OPTION},
		{0},
	};
	const char *why;

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":", names, NULL)) >= 0;) {
		switch (c) {
		case TO:
			b->to = optarg;
			break;
		case ONCE:
			b->once = true;
			break;
		case INTERVAL:
			if (strlen(optarg) <= 7 && strspn(optarg, "0123456789") == strlen(optarg))
				b->interval = atoi(optarg);
			else
				b->interval = 0;
			if (b->interval < 100 || b->interval > 3600000)
				return wrong("--interval %s: expected ms from 100 to 3600000", optarg);
			break;
		case TOKEN_FILE:
			if ((why = auth_read(&b->auth, optarg)) != NULL)
				return wrong("--token-file %s: %s", optarg, why);
			break;
		case USER:
			b->user = optarg;
			break;
		case NO_SANDBOX:
			b->no_sandbox = true;
			break;
		case HELP:
			help();
			return 0;
		case VERSION_OPTION:
			puts("introspect-bridge " VERSION);
			return 0;
		default:
			usage_refused("introspect-bridge", c, argv, ":");
			return 2;
		}
	}
	return read_operands(b, argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
	static struct bridge b = {.out = STDOUT_FILENO, .interval = DEFAULT_INTERVAL_MS};
	const int status = read_arguments(&b, argc, argv);

	if (status >= 0)
		return status;
	log_open();
	signal(SIGPIPE, SIG_IGN);
	b.node = node_open(b.url, b.auth.len > 0 ? b.auth.token : NULL);
	if (!b.node) {
		fputs("introspect-bridge: out of memory\n", stderr);
		return 1;
	}
	const struct sandbox needs = {.user = b.user};
	if (sandbox_drop(&needs) != 0 || (!b.no_sandbox && confine() != 0))
		return 1;
	if (b.once)
		return print_once(&b);
	b.out = b.to ? -1 : STDOUT_FILENO;
	if (b.to)
		serve_daemon(&b);
	return serve_pipe(&b);
}
