#ifndef OPTIONS_H
#define OPTIONS_H

/* The daemon's command line. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/listen.h"

#define VERSION "1.0.0"

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
	ALLOWED_MAX = 32,   /* of --allow-host and of --allow-origin */
};

/* Strings are borrowed from argv. */
struct options {
	const char *listen[LISTENERS_MAX];
	size_t listen_count;            /* 0: the defaults */
	int64_t interval;               /* ms between snapshots, 10 to 3600000 */
	size_t max_clients;             /* WebSocket clients, 1 to 100000 */
	size_t max_per_address;         /* connections, up to 100000; 0: any number */
	bool max_per_address_given;
	size_t max_snapshot;            /* bytes of a message, 1 KiB to 1 GiB */
	size_t history;                 /* bytes kept for paused clients, 128 KiB to 1 GiB */
	int64_t remember;               /* ms for which the past is remembered; 0: it is not */
	int64_t remember_every;         /* ms between what is remembered */
	size_t remember_bytes;          /* for it, 128 KiB to 1 GiB */
	int64_t ping;                   /* ms of silence before a ping */
	int64_t drain;                  /* ms without progress before a client is dropped */
	const char *process;            /* of the kernel source; NULL: all */
	bool udp;                  /* with the flows of UDP that are not QUIC */
	const char *feed;
	mode_t feed_mode;
	bool feed_mode_given;
	const char *replay;
	bool loop;
	bool verbose;
	const char *token_file;
	const char *tls_cert;
	const char *tls_key;
	const char *tls_client_ca;
	const char *user;               /* to become after start */
	bool no_sandbox;
	const char *allow_host[ALLOWED_MAX];
	size_t allow_host_count;
	const char *allow_origin[ALLOWED_MAX];
	size_t allow_origin_count;
	const char *public_url;         /* where a proxy shows the daemon; NULL: nowhere */
};

/* Reads the command line. -1: go on; else the exit status, everything that had
 * to be said being said: 0 after --help and --version, 2 for a wrong option. */
int options_read(struct options *o, int argc, char **argv);

#endif
