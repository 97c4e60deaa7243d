#ifndef SOURCE_H
#define SOURCE_H

/* A source is where States come from. The loop polls the source's descriptors and calls it; the
 * source reads and writes them, never blocks, and never ends the daemon once it is open. */

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
	uint64_t connections;   /* nodes that connected since the daemon started */
	uint64_t errors;        /* how many of them the daemon closed for what they sent */
};

struct source {
	/* Says what is being watched; valid at any time. The daemon sets source, hostname and
	 * interval_ms; the source sets the other fields and owns what they point to. */
	Introspection__Runtime runtime;
	uint64_t runtime_changes;   /* how often the source changed its fields of runtime */

	/* Writes the descriptors that the source waits for to fds and returns their number, 0 to
	 * SOURCE_FDS. Lowers *deadline (ms, monotonic) if serve must be called by then even if no
	 * descriptor is ready. */
	nfds_t (*poll)(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline);

	/* Called with the answers of poll() when one came or the deadline passed. */
	void (*serve)(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now);

	/* Called when a client is due a snapshot and the interval has passed. 1: *out is filled.
	 * 0: not yet; the loop calls again after the next serve. -1, with one line logged: failed;
	 * the loop calls again after an interval. */
	int (*take)(struct source *s, int64_t now, struct snapshot_input *out);

	/* ms, monotonic: until then the source has nothing newer than what take gave last, however
	 * old that is. 0: it may have something newer. */
	int64_t newest_until;

	/* Releases everything, s included. */
	void (*close)(struct source *s);

	/* Set by the daemon; NULL: events are dropped. The source calls it within serve or take, with
	 * each encoded Event, well-formed and borrowed for the call. Returns NULL, or in words what
	 * is wrong with the Event. */
	const char *(*event)(void *arg, const uint8_t *event, size_t len, int64_t now);
	void *event_arg;

	/* Set by the daemon before poll: since when a client reads events (ms, monotonic); 0: none
	 * does. */
	int64_t events_since;

	/* Set by the source before it calls event: this Event happened before events_since. */
	bool late;

	/* NULL: no node feeds the source. */
	const struct feed_state *feed;

	/* What the open source still needs, so that the daemon gives up the rest (guard/rights.h):
	 * capabilities as bits 1 << CAP_..., and reading /proc of other processes. */
	uint64_t capabilities;
	bool sees_processes;

	/* The source makes Events by comparing two snapshots, so it has some only in take. */
	bool events_when_taken;
};

/* Each source is opened by a function in the file of its name. NULL, with one line logged: it
 * cannot be opened. */

/* The kernel's view of connections. process: a PID or the name of a process; NULL: all of the
 * network namespace. own: the addresses that the daemon listens on, borrowed for the source's life;
 * connections to them are left out. udp: UDP flows other than QUIC are shown too. */
struct source *kernel_open(const char *process, const struct sockaddr_storage *own, size_t own_count,
                           bool udp);

/* A node that sends its States. path: a Unix stream socket to listen on, created with mode, or "-"
 * for standard input; borrowed for the source's life. max_message: bytes of the largest
 * ServerMessage that is accepted. interval: ms after which a State counts as old. */
struct source *feed_open(const char *path, mode_t mode, size_t max_message, int64_t interval);

/* The feed's States, joined with what the kernel source knows of the same process (join.h). Takes
 * ownership of both, also when it fails; if one is NULL, since it could not be opened, closes the
 * other and returns NULL. max_message: bytes of the largest joined State. */
struct source *joined_open(struct source *feed, struct source *kernel, size_t max_message);

/* path: a recording. loop: start again at its end. max_message: as in feed_open. */
struct source *replay_open(const char *path, bool loop, size_t max_message);

#endif
