#ifndef SOURCE_H
#define SOURCE_H

/* Where a State comes from. The loop polls for a source and calls it; a source
 * reads and writes its own descriptors, never blocks, and never ends the
 * daemon once it is open. */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "snapshot.h"

enum { SOURCE_FDS = 2 };

/* How the nodes that feed a source come and go. */
struct feed_state {
	bool connected;
	uint64_t connections;   /* since start */
	uint64_t errors;        /* those that were ended for what was sent */
};

struct source {
	/* What is being watched, always valid. The daemon owns the fields source,
	 * hostname and interval_ms; the source owns the others and what they
	 * point to. */
	Introspection__Runtime runtime;
	uint64_t runtime_changes;   /* how often what the source owns of it became another */

	/* Writes what the source waits for and returns how many, 0 to SOURCE_FDS.
	 * Lowers *deadline (ms, monotonic) when serve must be called by then
	 * without any descriptor being ready. */
	nfds_t (*poll)(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline);

	/* Called with the answers of poll() when one came or the deadline passed. */
	void (*serve)(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now);

	/* A client is due a snapshot and the interval has passed. 1: *out is
	 * filled; 0: not yet, asked again after the next serve; -1: failed and
	 * logged, asked again after an interval. */
	int (*take)(struct source *s, int64_t now, struct snapshot_input *out);

	/* ms, monotonic: before, nothing newer can come than what was handed over
	 * last, however old that is. 0: something may. */
	int64_t newest_until;

	/* Releases everything, s included. */
	void (*close)(struct source *s);

	/* Set by the daemon, NULL: events are dropped. Called from within serve
	 * or take with each encoded Event that arrives, well-formed; borrowed for
	 * the call. Returns NULL, or what is wrong with the event. */
	const char *(*event)(void *arg, const uint8_t *event, size_t len, int64_t now);
	void *event_arg;

	/* Set by the daemon before poll: since when somebody reads events, in ms,
	 * monotonic; 0: nobody does. */
	int64_t events_since;

	/* Set before event is called: it happened when nobody was there to be told. */
	bool late;

	/* NULL: no node feeds the source. */
	const struct feed_state *feed;

	/* What code inside could misuse, and the source cannot do without once it is open: bits
	 * 1 << CAP_..., and whether it looks into other processes. */
	uint64_t capabilities;
	bool sees_processes;

	/* Events are differences between snapshots: seen only when one is taken. */
	bool events_when_taken;
};

/* Sources, each in the file of its name. NULL with one line on stderr that says
 * what was wrong. */

/* process: NULL for every TCP connection of the network namespace, else a PID
 * or a process name. own: the addresses that the daemon listens on, whose
 * connections are left out; borrowed for the source's life. udp: flows of UDP that are not
 * QUIC are shown, too. */
struct source *kernel_open(const char *process, const struct sockaddr_storage *own, size_t own_count,
                           bool udp);

/* path: a Unix stream socket to listen on, created with mode, or "-" for
 * standard input; borrowed for the source's life. max_message: bytes of the
 * largest ServerMessage accepted; interval: ms after which a state that nobody
 * took is too old to stand for a fresh one. */
struct source *feed_open(const char *path, mode_t mode, size_t max_message, int64_t interval);

/* The feed's States with what the kernel knows of the watched process put into them, and what
 * only the kernel knows added (join.h). Takes over both, also when it fails, and when one is
 * NULL because it could not be opened. max_message: bytes of a joined State. */
struct source *joined_open(struct source *feed, struct source *kernel, size_t max_message);

/* path: a recording; loop: start again at its end. max_message: as above. */
struct source *replay_open(const char *path, bool loop, size_t max_message);

#endif
