#ifndef ARGUMENTS_H
#define ARGUMENTS_H

/* The command line of introspect. */

#include <stdbool.h>
#include <stdint.h>

#include "address.h"

enum {
	DEFAULT_MAX_MESSAGE = 64 << 20,
	DEFAULT_VIEW_INTERVAL_MS = 500,
};

#define NEVER INT64_MAX

/* What the program ends with; a signal that ends it is raised again instead. */
enum exit_status {
	STATUS_DONE = 0,
	STATUS_NO_CONNECTION = 1,
	STATUS_USAGE = 2,
	STATUS_INCOMPLETE = 3,
	STATUS_OUTPUT = 4,
};

enum mode { AUTO = 0, VIEW, JSON, RECORD, EVENTS };

/* Strings are borrowed from argv. */
struct arguments {
	enum mode mode;         /* AUTO: VIEW on a terminal, else JSON */
	const char *file;       /* to record to; "-": standard output */
	bool force;             /* overwrite it */
	bool past;              /* what the daemon remembers, in place of snapshots */
	bool totals;            /* snapshots without connections */
	bool wait;              /* for a daemon that is not there */
	uint64_t count;         /* snapshots, or events; 0: no end */
	int64_t duration;       /* ms; NEVER: no end */
	int64_t interval;       /* ms from a snapshot to the ready for the next */
	uint32_t max_message;   /* bytes */
	const char *token_file; /* NULL: no token */
	const char *ca;         /* trusted certificates; NULL: those of the system */
	bool insecure;          /* no certificate is checked */
	const char *cert, *key; /* shown to a daemon that asks for a certificate; NULL: none */
	struct address address;
};

/* Reads the command line and settles mode, which is not AUTO then. -1: go on; else the exit status:
 * the user was told what is wrong, or got the help or the version. */
int arguments_read(struct arguments *a, int argc, char **argv);

#endif
