#ifndef HOLDERS_H
#define HOLDERS_H

/* Which process has a socket open. To find out, all descriptors of all processes
 * must be looked at, and anybody may have a million of them: that is done a part at
 * a time, and goes on where it stopped. Newer processes come first, for most new
 * sockets are theirs; what was found to be no socket, or the one of a known
 * connection, is passed over in a first round, and looked at again in a second
 * one, since the number of a descriptor may have been given to another file. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

enum {
	HOLDERS_ROUNDS = 2,              /* in which a socket is searched */
	HOLDERS_TABLE_BITS = 16,
	HOLDERS_PROCESSES_MAX = 65536,   /* searched; of more, the newer ones */
	HOLDERS_KNOWN_MAX = 131072,      /* descriptors that are passed over; a power of 2 */
};

/* Of one socket. All-zero but for the inode: it is to be searched. */
struct holder {
	uint32_t inode;         /* 0: no process has it open */
	int pid, fd;            /* where it was found; pid 0: nowhere yet */
	unsigned first : 30;    /* the first round that can find it; 0: not known yet */
	uint8_t rounds;         /* that have passed without finding it */
	struct holder *next;    /* wanted, with the same hash of inode */
	struct holder *other;   /* wanted */
};

struct holders {
	/* Set by the caller. only: NULL, or the process whose descriptors alone are
	 * looked at, borrowed. found: called for each holder whose process was found,
	 * which is borrowed for the call. */
	struct process *only;
	void (*found)(void *arg, struct holder *h, struct process *p);
	void *arg;

	struct holder *wanted;        /* all, the found ones included, since holders_begin */
	size_t missing;               /* those that were not found */
	unsigned round;               /* number of the latest */
	bool running;
	bool thorough;                /* nothing is passed over */
	bool unreadable;              /* so was only */

	int proc;                     /* being listed; 0: not */
	size_t listed, left;          /* processes, in all, and still to be searched */
	struct process at;            /* being searched */
	int descriptors;              /* its folder; 0: none is open */
	bool empty;                   /* nothing was in that so far */

	int pids[HOLDERS_PROCESSES_MAX];
	uint64_t known[HOLDERS_KNOWN_MAX];
	struct holder *by_inode[1 << HOLDERS_TABLE_BITS];
};

/* Forgets what is wanted, but not what is known. Before the holders go away. */
void holders_begin(struct holders *h);

/* The socket of this holder is searched from now on, until it was found or
 * HOLDERS_ROUNDS have passed; only once after each holders_begin. The holder stays where
 * it is until the next one. */
void holders_want(struct holders *h, struct holder *holder);

static inline bool holders_are_missing(const struct holder *holder)
{
	return holder->inode != 0 && holder->pid == 0 && holder->rounds < HOLDERS_ROUNDS;
}

/* Searches on, as long as something is missing and the CPU time, in ns, is not used up.
 * False: only may not be looked at. */
bool holders_search(struct holders *h, int64_t ns);

/* Whether the socket is still open where it was found, as far as that can be seen. One system call. */
bool holders_still(const struct holder *holder);

/* The socket is open no more where it was found. */
void holders_forget(struct holders *h, const struct holder *holder);

/* Ends a round that is under way. */
void holders_stop(struct holders *h);

#endif
