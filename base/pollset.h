#ifndef POLLSET_H
#define POLLSET_H

/* The descriptors that the loop waits for: some fixed ones, and a socket for each slot that is
 * in use. poll() pays for every entry of its table each time, so that one client among
 * thousands would cost as much as all of them. Sockets that only wait for input and were looked
 * at in vain for some time therefore leave the table; the kernel tells by signal when something
 * comes (O_ASYNC in fcntl(2), signalfd(2)), and they are back in it. Where it does not, or as
 * long as there are few, poll() looks at all of them. */

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pollset {
	struct pollfd *fds;   /* the fixed ones, for the caller to fill in, but for the first; then the
	                         slots', in any order */
	size_t fixed, slots;
	size_t polled;        /* entries of fds that poll() looks at */
	size_t used;          /* entries of fds that are used */
	size_t found;         /* pollset_next() has been through the entries from here on */
	struct pollset_slot {
		uint32_t place;   /* in fds */
		uint8_t vain;     /* looks of poll() that found nothing */
		bool addressed;   /* its socket knows where to send which signal */
		bool signals;     /* and sends it */
	} *slot;
	uint32_t *slot_of;    /* the slot of each descriptor */
	size_t bound;         /* no descriptor of a slot is as high */
	pid_t pid;
	bool signals;         /* the kernel has signals for sockets */
	bool lost;            /* there were more than it can queue */
};

/* For as many fixed entries, of which the first is taken for signals from sockets (SIGRTMIN and
 * SIGIO, which are blocked from now on), and slots. Descriptors that are open already may stay so.
 * Lowers RLIMIT_SIGPENDING to the number of slots. 0, or -1: out of memory. */
int pollset_open(struct pollset *p, size_t fixed, size_t slots);
void pollset_close(struct pollset *p);

enum { POLLSET_OTHER_FDS = 64 };

/* The slot gets a socket that is not blocking. False: its descriptor is too high, which takes more
 * open ones than there were at the start, slots, and POLLSET_OTHER_FDS. */
bool pollset_add(struct pollset *p, size_t slot, int fd);

/* To be called after the socket was closed, which is what ends its signals. */
void pollset_remove(struct pollset *p, size_t slot);

/* What is wanted of the socket, as events of struct pollfd. */
void pollset_want(struct pollset *p, size_t slot, short events);

/* poll(2), with its result and errors. It may return early, with nothing for any slot. After an
 * error nothing is found. */
int pollset_poll(struct pollset *p, int timeout_ms);

/* Goes through the slots for which something was found; -1: those were all. In between, slots
 * may be added, removed and taken. */
ssize_t pollset_next(struct pollset *p);

/* What poll() found for the slot. POLLIN may be said of a socket that has nothing to read. */
short pollset_revents(const struct pollset *p, size_t slot);

/* The same, and from now on nothing. To be called before the socket is read. */
short pollset_take(struct pollset *p, size_t slot);

#endif
