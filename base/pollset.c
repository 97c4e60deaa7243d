#include "base/pollset.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	SINGLY_MS = 20,   /* ms between two rounds of poll_singly */
	PAUSE_MS = 100,   /* ms without poll() after the system has refused it */
};

/* What epoll_wait() returns is passed on as what poll() would. */
_Static_assert(EPOLLIN == POLLIN && EPOLLERR == POLLERR && EPOLLHUP == POLLHUP, "");

int pollset_open(struct pollset *p, size_t fixed, size_t slots)
{
	*p = (struct pollset){.fixed = fixed, .slots = slots, .polled = fixed, .group = -1,
	                      .deadline = INT64_MAX};
	p->fds = calloc(fixed + slots, sizeof *p->fds);
	p->slot_at = calloc(fixed + slots, sizeof *p->slot_at);
	p->slot = calloc(slots, sizeof *p->slot);
	p->deadlines = calloc(slots, sizeof *p->deadlines);
	p->found = calloc(slots, sizeof *p->found);
	p->events = calloc(slots, sizeof *p->events);
	if (!p->fds || !p->slot_at || !p->slot || !p->deadlines || !p->found || !p->events)
		return -1;
	for (size_t i = 0; i < fixed; i++)
		p->fds[i].fd = -1;
	p->fds[0].events = POLLIN;
	p->group = epoll_create1(EPOLL_CLOEXEC);
	return 0;
}

void pollset_close(struct pollset *p)
{
	if (p->group >= 0)
		close(p->group);
	free(p->fds);
	free(p->slot_at);
	free(p->slot);
	free(p->deadlines);
	free(p->found);
	free(p->events);
}

static void enter_table(struct pollset *p, size_t slot, short events)
{
	const size_t place = p->polled++;

	p->fds[place] = (struct pollfd){.fd = p->slot[slot].fd, .events = events};
	p->slot_at[place] = (uint32_t)slot;
	p->slot[slot].place = (uint32_t)place;
}

/* The last entry of the table takes the place of the slot's. */
static void leave_table(struct pollset *p, size_t slot)
{
	const uint32_t place = p->slot[slot].place;
	const size_t last = --p->polled;

	p->fds[place] = p->fds[last];
	p->slot_at[place] = p->slot_at[last];
	p->slot[p->slot_at[place]].place = place;
	p->slot[slot].place = 0;
}

/* Moves the slot from the table to the epoll set, unless the kernel refuses that. The table
 * has an entry for the set from the first slot on. */
static void enter_group(struct pollset *p, size_t slot)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = slot}};

	if (p->group < 0 || epoll_ctl(p->group, EPOLL_CTL_ADD, p->slot[slot].fd, &event) != 0)
		return;
	p->fds[0].fd = p->group;
	p->slot[slot].grouped = true;
	leave_table(p, slot);
}

static void leave_group(struct pollset *p, size_t slot, short events)
{
	epoll_ctl(p->group, EPOLL_CTL_DEL, p->slot[slot].fd, NULL);
	p->slot[slot].grouped = false;
	enter_table(p, slot, events);
}

void pollset_add(struct pollset *p, size_t slot, int fd)
{
	p->slot[slot] = (struct pollset_slot){.fd = fd};
	enter_table(p, slot, 0);
	while (p->high <= slot)
		p->deadlines[p->high++] = INT64_MAX;
	if (++p->used != POLLSET_FEW + 1)
		return;
	/* From this slot on there are many: those that came before move to the epoll set, too. */
	for (size_t place = p->polled; place-- > p->fixed;)
		if (p->fds[place].events == POLLIN)
			enter_group(p, p->slot_at[place]);
}

void pollset_remove(struct pollset *p, size_t slot)
{
	if (!p->slot[slot].grouped)
		leave_table(p, slot);
	p->slot[slot] = (struct pollset_slot){0};
	pollset_until(p, slot, INT64_MAX);
	p->used--;
}

/* The earliest deadline is kept, so that pollset_deadline goes through all of them only after the slot that had
 * it has put it off. Of many slots, the one that is being served is seldom that one. */
void pollset_until(struct pollset *p, size_t slot, int64_t deadline)
{
	p->deadlines[slot] = deadline;
	if (deadline <= p->deadline) {
		p->deadline = deadline;
		p->earliest = slot;
	} else if (slot == p->earliest) {
		p->earliest = p->slots;
	}
}

int64_t pollset_deadline(struct pollset *p)
{
	if (p->earliest < p->slots)
		return p->deadline;
	p->deadline = INT64_MAX;
	p->earliest = 0;
	for (size_t slot = 0; slot < p->high; slot++)
		if (p->deadlines[slot] < p->deadline) {
			p->deadline = p->deadlines[slot];
			p->earliest = slot;
		}
	return p->deadline;
}

bool pollset_is_past(const struct pollset *p, size_t slot, int64_t now)
{
	return p->deadlines[slot] <= now;
}

void pollset_want(struct pollset *p, size_t slot, short events)
{
	const struct pollset_slot *s = &p->slot[slot];

	if (s->grouped && events == POLLIN)
		return;
	if (s->grouped)
		leave_group(p, slot, events);
	p->fds[s->place].events = events;
	if (events == POLLIN && p->used > POLLSET_FEW)
		enter_group(p, slot);
}

static void find(struct pollset *p, size_t slot, short revents)
{
	p->slot[slot].revents = revents;
	p->found[p->found_count++] = (uint32_t)slot;
}

/* epoll_wait() failed: from now on there is no epoll set, and all sockets stand in the table. */
static void end_group(struct pollset *p)
{
	for (size_t slot = 0; slot < p->slots; slot++)
		if (p->slot[slot].grouped)
			leave_group(p, slot, POLLIN);
	close(p->group);
	p->group = p->fds[0].fd = -1;
}

/* poll() refuses a table that is longer than RLIMIT_NOFILE (EINVAL), which may be lowered at
 * any time: asks it for one entry after the other. */
static int poll_singly(struct pollset *p, int timeout_ms)
{
	int found = 0, n = 0;

	poll(NULL, 0, timeout_ms >= 0 && timeout_ms < SINGLY_MS ? timeout_ms : SINGLY_MS);
	for (size_t i = 0; i < p->polled && n >= 0; i++) {
		n = poll(&p->fds[i], 1, 0);
		found += n > 0;
	}
	return n < 0 ? n : found;
}

int pollset_poll(struct pollset *p, int timeout_ms)
{
	while (p->found_count > 0)
		p->slot[p->found[--p->found_count]].revents = 0;
	p->next = 0;
	int n = poll(p->fds, p->polled, timeout_ms);
	if (n < 0 && errno == EINVAL)
		n = poll_singly(p, timeout_ms);
	if (n < 0) {
		for (size_t i = 0; i < p->fixed; i++)
			p->fds[i].revents = 0;
		if (errno == ENOMEM || errno == EINVAL) {
			poll(NULL, 0, PAUSE_MS);
			errno = EINTR;
		}
		return n;
	}
	for (size_t place = p->fixed; place < p->polled; place++)
		if (p->fds[place].revents)
			find(p, p->slot_at[place], p->fds[place].revents);
	if (p->fds[0].revents) {
		const int ready = epoll_wait(p->group, p->events, (int)p->slots, 0);

		for (int i = 0; i < ready; i++)
			find(p, (size_t)p->events[i].data.u64, (short)p->events[i].events);
		if (ready < 0)
			end_group(p);
	}
	return n;
}

ssize_t pollset_next(struct pollset *p)
{
	while (p->next < p->found_count) {
		const uint32_t slot = p->found[p->next++];

		if (p->slot[slot].revents)
			return slot;
	}
	return -1;
}

short pollset_revents(const struct pollset *p, size_t slot)
{
	return p->slot[slot].revents;
}

short pollset_take(struct pollset *p, size_t slot)
{
	const short revents = p->slot[slot].revents;

	p->slot[slot].revents = 0;
	return revents;
}
