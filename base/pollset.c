#include "base/pollset.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	FEW = 64,          /* slots for which nothing of this pays */
	VAIN_MAX = 10,     /* looks that cost as much as going over to signals and back */
	SIGNALS_MAX = 64,  /* read at once */
	SINGLY_MS = 20,    /* between looks at single entries */
};

static size_t slot_at(const struct pollset *p, size_t place)
{
	return p->slot_of[p->fds[place].fd];
}

/* Exchanges the slot's place with that of another. */
static void move(struct pollset *p, size_t slot, size_t place)
{
	const struct pollfd other = p->fds[place];
	const uint32_t old = p->slot[slot].place;

	p->slot[slot_at(p, place)].place = old;
	p->fds[place] = p->fds[old];
	p->fds[old] = other;
	p->slot[slot].place = (uint32_t)place;
}

static bool begin_signals(const struct pollset *p, struct pollset_slot *s, int fd)
{
	if (!s->addressed)
		s->addressed = fcntl(fd, F_SETOWN, p->pid) == 0 && fcntl(fd, F_SETSIG, SIGRTMIN) == 0;
	s->signals = s->addressed && fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC) == 0;
	return s->signals;
}

/* Puts the slot back into poll()'s part of the table. */
static void come_back(struct pollset *p, size_t slot)
{
	struct pollset_slot *s = &p->slot[slot];

	s->vain = 0;
	if (s->place >= p->polled)
		move(p, slot, p->polled++);
	if (s->signals)
		s->signals = fcntl(p->fds[s->place].fd, F_SETFL, O_NONBLOCK) != 0;
}

/* Lets the sockets go that were looked at in vain often enough. One that goes was to send signals
 * before the last look, so that there is one for whatever that did not see. */
static void let_go(struct pollset *p)
{
	if (!p->signals || p->used <= p->fixed + FEW)
		return;
	for (size_t place = p->polled; place-- > p->fixed;) {
		if (p->fds[place].revents || p->fds[place].events != POLLIN)
			continue;
		struct pollset_slot *s = &p->slot[slot_at(p, place)];

		if (s->vain < VAIN_MAX)
			s->vain++;
		else if (s->signals)
			move(p, slot_at(p, place), --p->polled);
		else if (!begin_signals(p, s, p->fds[place].fd))
			s->vain = 0;
	}
}

/* A signal may be late: the descriptor may be closed, or that of another socket. */
static void got_signal(struct pollset *p, const struct signalfd_siginfo *info)
{
	const size_t fd = (size_t)info->ssi_fd;

	if (info->ssi_signo != (uint32_t)SIGRTMIN) {
		p->lost = true;
	} else if (fd < p->bound) {
		const size_t slot = p->slot_of[fd], place = p->slot[slot].place;

		if (place < p->used && p->fds[place].fd == info->ssi_fd) {
			come_back(p, slot);
			p->fds[p->slot[slot].place].revents |= POLLIN;
		}
	}
}

static void read_signals(struct pollset *p)
{
	struct signalfd_siginfo info[SIGNALS_MAX];
	ssize_t n = sizeof info;

	for (size_t left = p->slots / SIGNALS_MAX + 1; left > 0 && n == (ssize_t)sizeof info; left--) {
		n = read(p->fds[0].fd, info, sizeof info);
		for (ssize_t i = 0; i < n / (ssize_t)sizeof *info; i++)
			got_signal(p, &info[i]);
	}
	if (n >= 0 || errno == EAGAIN || errno == EINTR)
		return;
	p->signals = false;
	close(p->fds[0].fd);
	p->fds[0].fd = -1;
	while (p->polled < p->used)
		come_back(p, slot_at(p, p->polled));
}

/* Does the kernel send them, and say for which socket? */
static bool signals_work(const struct pollset *p)
{
	struct signalfd_siginfo info;
	struct pollset_slot slot = {0};
	bool work = false;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	if (begin_signals(p, &slot, pair[0]) && write(pair[1], "", 1) == 1)
		while (!work && read(p->fds[0].fd, &info, sizeof info) == (ssize_t)sizeof info)
			work = info.ssi_signo == (uint32_t)SIGRTMIN && info.ssi_fd == pair[0];
	close(pair[0]);
	close(pair[1]);
	return work;
}

/* They are queued for each segment that comes, and count for all processes of the user. */
static void limit_signals(size_t most)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_SIGPENDING, &limit) != 0 || limit.rlim_cur <= most)
		return;
	limit.rlim_cur = most;
	setrlimit(RLIMIT_SIGPENDING, &limit);
}

int pollset_open(struct pollset *p, size_t fixed, size_t slots)
{
	sigset_t set;

	*p = (struct pollset){.fixed = fixed, .slots = slots, .polled = fixed, .used = fixed};
	p->fds = calloc(fixed + slots, sizeof *p->fds);
	p->slot = calloc(slots, sizeof *p->slot);
	p->bound = slots + POLLSET_OTHER_FDS;
	for (size_t fd = 0; fd < p->bound; fd++)
		p->bound += fcntl((int)fd, F_GETFD) >= 0;
	p->slot_of = calloc(p->bound, sizeof *p->slot_of);
	for (size_t i = 0; p->fds && i < fixed; i++)
		p->fds[i].fd = -1;
	if (!p->fds || !p->slot || !p->slot_of)
		return -1;
	p->pid = getpid();
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGIO);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
		p->fds[0].fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	p->fds[0].events = POLLIN;
	limit_signals(slots);
	p->signals = p->fds[0].fd >= 0 && signals_work(p);
	return 0;
}

void pollset_close(struct pollset *p)
{
	if (p->fds && p->fds[0].fd >= 0)
		close(p->fds[0].fd);
	free(p->fds);
	free(p->slot);
	free(p->slot_of);
}

bool pollset_add(struct pollset *p, size_t slot, int fd)
{
	if ((size_t)fd >= p->bound)
		return false;
	p->slot_of[fd] = (uint32_t)slot;
	p->slot[slot] = (struct pollset_slot){.place = (uint32_t)p->used};
	p->fds[p->used++] = (struct pollfd){.fd = fd};
	come_back(p, slot);
	return true;
}

void pollset_remove(struct pollset *p, size_t slot)
{
	p->slot[slot].signals = false;
	come_back(p, slot);
	move(p, slot, --p->polled);
	move(p, slot, --p->used);
	p->fds[p->used] = (struct pollfd){.fd = -1};
}

void pollset_want(struct pollset *p, size_t slot, short events)
{
	if (events != POLLIN)
		come_back(p, slot);
	p->fds[p->slot[slot].place].events = events;
}

/* poll() refuses a table that is longer than RLIMIT_NOFILE (EINVAL), which may be lowered at
 * any time: asks it for one entry after the other. */
static int poll_singly(struct pollset *p, size_t polled, int timeout_ms)
{
	int found = 0, n = 0;

	poll(NULL, 0, timeout_ms >= 0 && timeout_ms < SINGLY_MS ? timeout_ms : SINGLY_MS);
	for (size_t i = 0; i < polled && n >= 0; i++) {
		n = poll(&p->fds[i], 1, 0);
		found += n > 0;
	}
	return n < 0 ? n : found;
}

int pollset_poll(struct pollset *p, int timeout_ms)
{
	const size_t polled = p->lost ? p->used : p->polled;
	int n = poll(p->fds, polled, timeout_ms);

	if (n < 0 && errno == EINVAL)
		n = poll_singly(p, polled, timeout_ms);
	if (n < 0) {
		for (size_t i = 0; i < polled; i++)
			p->fds[i].revents = 0;
		return n;
	}
	p->lost = false;
	for (size_t place = p->polled; place < polled; place++)
		if (p->fds[place].revents)
			come_back(p, slot_at(p, place));
	let_go(p);
	if (p->fds[0].revents)
		read_signals(p);
	p->found = p->polled;
	return n;
}

ssize_t pollset_next(struct pollset *p)
{
	while (p->found > p->fixed)
		if (p->fds[--p->found].revents)
			return (ssize_t)slot_at(p, p->found);
	return -1;
}

short pollset_revents(const struct pollset *p, size_t slot)
{
	return p->fds[p->slot[slot].place].revents;
}

short pollset_take(struct pollset *p, size_t slot)
{
	const short revents = pollset_revents(p, slot);

	p->fds[p->slot[slot].place].revents = 0;
	come_back(p, slot);
	return revents;
}
