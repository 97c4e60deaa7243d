#ifndef SOURCE_H
#define SOURCE_H

/* A source is where States come from. The loop polls the source's descriptors and calls the source's
 * functions; these read and write the descriptors, never block, and never end the daemon. */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "snapshot.h"

enum { SOURCE_FDS = 2 };   /* descriptors that a source waits for, at most */

/* How nodes come and go that send their States (--feed). */
struct feed_state {
	bool connected;         /* a node is connected now */
	uint64_t connections;   /* nodes that connected since the daemon started */
	uint64_t errors;        /* nodes that the daemon disconnected for what they sent, or for silence */
};

struct source {
	/* Says what is being watched, and is valid at any time. The daemon sets the fields source,
	 * hostname and interval_ms; the source sets the others and owns what they point to. */
	Introspection__Runtime runtime;
	uint64_t runtime_changes;   /* how often the source changed its fields of runtime */

	/* Writes the descriptors that the source waits for to fds and returns their number, 0 to
	 * SOURCE_FDS. Lowers *deadline (ms, monotonic) if serve must be called by then even if no
	 * descriptor is ready. */
	nfds_t (*poll)(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline);

	/* Called with what poll() found for the n descriptors, when it found anything or the deadline
	 * has passed. now, here and below: ms, monotonic. */
	void (*serve)(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now);

	/* Called when a snapshot is to be taken. 1: *out is filled in, and what it points to stays
	 * valid until the source is called again. 0: there is no State yet; the loop calls take again
	 * after the next serve. -1, with one line logged: failed; the loop calls again after an
	 * interval. */
	int (*take)(struct source *s, int64_t now, struct snapshot_input *out);

	/* ms, monotonic: until then the source has no newer State than the one that take gave last,
	 * however old that is. 0: it may have a newer one. */
	int64_t newest_until;

	/* Releases all that the source has, with s itself. */
	void (*close)(struct source *s);

	/* Set by the daemon; NULL: Events are dropped. The source calls it within serve or take for
	 * each Event: len bytes, encoded, well-formed, borrowed for the call. Returns NULL, or in
	 * words what is wrong with the Event. */
	const char *(*event)(void *arg, const uint8_t *event, size_t len, int64_t now);
	void *event_arg;

	/* Set by the daemon before poll: since when some client reads Events (ms, monotonic); 0: no
	 * client does. */
	int64_t events_since;

	/* Set by the source before it calls event: this Event happened before events_since. */
	bool late;

	/* NULL: no node feeds the source. */
	const struct feed_state *feed;

	/* What the source still needs once it is open; the daemon gives up all other rights
	 * (guard/rights.h). capabilities: bits 1 << CAP_...; sees_processes: it reads the folders of
	 * other processes in /proc. */
	uint64_t capabilities;
	bool sees_processes;

	/* The source makes Events by comparing two snapshots, so it has some only in take. */
	bool events_when_taken;
};

/* Each source is opened by a function in the file of its name. The caller owns the result, and ends its life
 * by close. NULL, with one line logged: it cannot be opened. */

/* The kernel's view of connections. process: a PID or the name of a process, borrowed for the source's
 * life; NULL: all connections of the network namespace are shown. own: own_count addresses at which the
 * daemon listens, borrowed for the source's life; connections to them are left out. udp: UDP flows
 * other than QUIC are shown, too. */
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

/* Plays a recording, the file at path. loop: it starts again when it has come to its end. max_message: as
 * in feed_open. */
struct source *replay_open(const char *path, bool loop, size_t max_message);

#endif
