#ifndef HOLDERS_H
#define HOLDERS_H

/* Which process has a socket open. Linux tells it only the other way round: one descriptor after the other
 * of every process shows its socket. Any user may have a million of them, so the search looks at some
 * of them at a time and goes on where it stopped. It is made in rounds through all processes. Newer
 * processes come first, since most new sockets are theirs. A descriptor that was found to be no socket,
 * or the socket of a known connection, is passed over in a socket's first round; its second round looks
 * at all descriptors, since a process may have given such a number to another file. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

enum {
	HOLDERS_ROUNDS = 2,              /* rounds in which a socket is searched */
	HOLDERS_TABLE_BITS = 16,
	HOLDERS_PROCESSES_MAX = 65536,   /* processes in a round; of more, the newer ones */
	HOLDERS_KNOWN_MAX = 131072,      /* descriptors that are remembered to be passed over; a power
	                                    of 2 */
};

/* A socket and the process that has it open. All zero but the inode: the process is not known. */
struct holder {
	uint32_t inode;         /* of the socket; 0: no process has it open */
	int pid, fd;            /* the process and its descriptor; pid 0: not found yet */
	unsigned first : 30;    /* number of the first whole round since the search was asked for; 0: it
	                           was not asked for yet */
	uint8_t rounds;         /* whole rounds that have not found it */
	struct holder *next;    /* in the list of by_inode */
	struct holder *other;   /* in the list wanted */
};

struct holders {
	/* Set by the caller. only: the one process whose descriptors are looked at, borrowed; NULL:
	 * those of all. found: called for each holder once its process p was found; p is borrowed for
	 * the call. */
	struct process *only;
	void (*found)(void *arg, struct holder *h, struct process *p);
	void *arg;

	struct holder *wanted;        /* holders given to holders_want since holders_begin, found or not */
	size_t missing;               /* how many of them may still be found */
	unsigned round;               /* number of the latest round */
	bool running;                 /* a round is under way */
	bool thorough;                /* that round passes over no descriptor */
	bool unreadable;              /* a process was met that may not be looked at */

	int proc;                     /* the folder /proc while its processes are listed; 0: not open */
	size_t listed, left;          /* processes listed in this round, and those not yet searched */
	struct process at;            /* the process that is being searched */
	int descriptors;              /* the folder of its descriptors; 0: not open */
	bool empty;                   /* that folder had no descriptor so far */

	int pids[HOLDERS_PROCESSES_MAX];
	uint64_t known[HOLDERS_KNOWN_MAX];   /* descriptors to be passed over: PID and number */
	struct holder *by_inode[1 << HOLDERS_TABLE_BITS];   /* wanted holders, in lists by hash */
};

/* Forgets which holders are wanted, but not which descriptors are known. To be called before the memory
 * of a wanted holder is used for anything else. */
void holders_begin(struct holders *h);

/* Has the process of this holder searched from now on, until it was found or HOLDERS_ROUNDS whole rounds
 * have passed. To be called once for a holder after each holders_begin. The holder is borrowed until
 * the next holders_begin. */
void holders_want(struct holders *h, struct holder *holder);

/* Is it worth to search the holder's process? */
static inline bool holders_are_missing(const struct holder *holder)
{
	return holder->inode != 0 && holder->pid == 0 && holder->rounds < HOLDERS_ROUNDS;
}

/* Goes on with the search until nothing is missing or ns of CPU time are used up. False: the process only
 * may not be looked at. */
bool holders_search(struct holders *h, int64_t ns);

/* Has the process still the socket open at the descriptor where it was found? True if that cannot be seen.
 * Makes one system call. */
bool holders_still(const struct holder *holder);

/* The socket is no longer at the descriptor where it was found: that is not passed over any more. */
void holders_forget(struct holders *h, const struct holder *holder);

/* Ends the round under way, if there is one, and closes what is open. */
void holders_stop(struct holders *h);

#endif
