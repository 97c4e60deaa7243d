#ifndef POLLSET_H
#define POLLSET_H

/* What the loop waits for: descriptors, some fixed ones and a socket for each slot in use, and a
 * deadline of each slot.
 *
 * The kernel pays for every entry of poll()'s table in every call, so that one client among
 * thousands would cost as much as all of them. Above POLLSET_FEW slots in use, the sockets of
 * which nothing but input is wanted therefore stand in an epoll set, and the table has a
 * single entry for all of them: the descriptor of that set. Sockets of which anything else is
 * wanted stand in the table, and so do all of them where the kernel refuses one its epoll set.
 * Whatever is not served is found again by the next call (level-triggered). */

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

enum { POLLSET_FEW = 64 };   /* slots in use for which an epoll set does not pay */

struct pollset {
	struct pollfd *fds;     /* the table of poll(): the fixed entries, of which the first is for
	                           the epoll set and the others are the caller's to fill in; then
	                           those slots, in any order, that are not in the epoll set */
	uint32_t *slot_at;      /* the slot of each entry of fds, beyond the fixed ones */
	size_t fixed, slots;
	size_t polled;          /* entries of fds */
	size_t used;            /* slots in use */
	int group;              /* the epoll set; -1: there is none */
	struct pollset_slot {
		int fd;
		uint32_t place; /* in fds; 0: not there */
		short revents;  /* found by the last poll() and not taken yet */
		bool grouped;   /* in the epoll set */
	} *slot;
	int64_t *deadlines;     /* of each slot; INT64_MAX: none */
	int64_t deadline;       /* none of them is earlier */
	size_t earliest;        /* the slot that has it; slots: to be looked for */
	size_t high;            /* slots from here on were never used */
	uint32_t *found;        /* slots for which the last pollset_poll() found something */
	size_t found_count, next;
	struct epoll_event *events;
};

/* Makes room for as many fixed entries, at least one, and slots. 0, or -1: out of memory. To be
 * closed in both cases. */
int pollset_open(struct pollset *p, size_t fixed, size_t slots);
void pollset_close(struct pollset *p);

/* The slot, which was not in use, gets a socket, of which nothing is wanted yet, and no
 * deadline. */
void pollset_add(struct pollset *p, size_t slot, int fd);

/* The slot is in use no more. To be called after the socket was closed, which is what takes it
 * out of the epoll set. */
void pollset_remove(struct pollset *p, size_t slot);

/* What is wanted of the socket, as events of struct pollfd. */
void pollset_want(struct pollset *p, size_t slot, short events);

/* When the slot must be looked at though nothing was found for it; INT64_MAX: never. */
void pollset_until(struct pollset *p, size_t slot, int64_t deadline);

/* The earliest deadline; INT64_MAX: there is none. May look at every slot after a deadline was put
 * off: not to be called for each of many. */
int64_t pollset_deadline(struct pollset *p);

/* Has the slot's deadline passed? */
bool pollset_is_past(const struct pollset *p, size_t slot, int64_t now);

/* poll(2), with its result and errors; the epoll set counts as one descriptor. After an error
 * nothing is found for any slot. EINTR also says, after a pause, that the system refuses to poll
 * for now. */
int pollset_poll(struct pollset *p, int timeout_ms);

/* Goes through the slots for which the last pollset_poll() found something that was not taken
 * since; -1: those were all. In between, slots may be added, removed and taken. */
ssize_t pollset_next(struct pollset *p);

/* What the last pollset_poll() found for the slot and was not taken yet; 0: nothing. */
short pollset_revents(const struct pollset *p, size_t slot);

/* The same; from now on there is nothing. */
short pollset_take(struct pollset *p, size_t slot);

#endif
