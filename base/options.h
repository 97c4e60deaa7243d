#ifndef OPTIONS_H
#define OPTIONS_H

/* The daemon's command line. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/listen.h"

#define VERSION "1.1.0"

enum {
	DEFAULT_INTERVAL_MS = 1000,
	DEFAULT_MAX_CLIENTS = 64,
	DEFAULT_MAX_SNAPSHOT = 16 << 20,
	DEFAULT_HISTORY = 4 << 20,
	DEFAULT_PING_MS = 25000,
	DEFAULT_DRAIN_MS = 10000,
	DEFAULT_FEED_MODE = 0600,
	DEFAULT_REMEMBER_EVERY_MS = 10000,
	DEFAULT_REMEMBER_BYTES = 8 << 20,
	OPTIONS_LIST_MAX = 32,   /* values of an option that may be given more than once */
};

struct option_list {
	const char *text[OPTIONS_LIST_MAX];
	size_t count;
};

static const size_t NOT_GIVEN = SIZE_MAX;

/* Strings are borrowed from argv. */
struct options {
	struct option_list listen;      /* none: the defaults */
	struct option_list allow_host;
	struct option_list allow_origin;
	const char *public_url;         /* where a proxy shows the daemon; NULL: nowhere */
	int64_t interval;               /* ms between snapshots, 10 to 3600000 */
	size_t max_clients;             /* WebSocket clients, 1 to 100000 */
	size_t max_per_address;         /* connections, up to 100000; 0: any number; or NOT_GIVEN */
	size_t max_snapshot;            /* bytes of a message, 1 KiB to 1 GiB */
	size_t history;                 /* bytes kept for paused clients, 128 KiB to 1 GiB */
	int64_t remember;               /* ms for which the past is remembered; 0: it is not */
	int64_t remember_every;         /* ms between what is remembered; 0: the default */
	size_t remember_bytes;          /* for it, 128 KiB to 1 GiB; 0: the default */
	int64_t ping;                   /* ms of silence before a ping */
	int64_t drain;                  /* ms without progress before a client is dropped */
	const char *process;            /* of the kernel source; NULL: all */
	bool udp;                       /* with the flows of UDP that are not QUIC */
	const char *feed;
	size_t feed_mode;               /* or NOT_GIVEN */
	const char *replay;
	bool loop;
	bool verbose;
	const char *token_file;
	const char *tls_cert;
	const char *tls_key;
	const char *tls_client_ca;
	const char *networks;           /* file for /networks; NULL: none */
	const char *user;               /* to become after start */
	bool no_sandbox;
};

/* What an option takes, and the field of struct options that it sets. */
enum option_kind {
	OPTION_FLAG,       /* nothing; bool */
	OPTION_TEXT,       /* any text, but not an empty one if the row says what is expected; const char * */
	OPTION_LIST,       /* any text, at most high times; struct option_list */
	OPTION_HOST,       /* the name of a host, at most high times; struct option_list */
	OPTION_ORIGIN,     /* an origin, at most high times; struct option_list */
	OPTION_URL,        /* a URL; const char * */
	OPTION_PROCESS,    /* a process ID or a name; const char * */
	OPTION_NUMBER,     /* a number from low to high; size_t */
	OPTION_OCTAL,      /* an octal number from low to high; size_t */
	OPTION_MS,         /* ms from low to high; int64_t */
	OPTION_SECONDS,    /* seconds from 0.01 to 86400, fractions allowed; int64_t, in ms */
	OPTION_OTHER,      /* what the row's read takes */
	OPTION_HELP,
	OPTION_VERSION,
};

/* An option, or without a name what --help says above the options that follow. A table of these
 * ends with one without help. */
struct option_row {
	const char *name;
	const char *value;      /* what --help calls what it takes; NULL: it takes nothing */
	const char *help;       /* a format for shown; newlines are indented */
	const char *expected;   /* what an error message says would have been right; low and high, if
	                           there is a high, follow it */
	unsigned low, high;
	int shown;              /* the default, as --help shows it */
	bool (*read)(const char *value, void *field);   /* of OPTION_OTHER. False: the value is wrong */
	uint16_t field;         /* offset */
	uint8_t kind;
	char letter;            /* a short name */
};

/* Reads the command line. -1: go on; else the exit status: 0 after --help or --version was answered on
 * stdout, 2 after an error was reported on stderr. */
int options_read(struct options *o, int argc, char **argv);

#endif
