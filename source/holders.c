#include "holders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static uint64_t hash(uint64_t key, int bits)
{
	return key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);
}

static struct holder **bucket(struct holders *h, uint32_t inode)
{
	return &h->by_inode[hash(inode, HOLDERS_TABLE_BITS)];
}

/* The two places in which a descriptor may be remembered, the later one in the first. *key: how it stands
 * there. A third descriptor with these places takes that of the oldest, which is then looked at
 * again. */
static uint64_t *known(struct holders *h, int pid, int fd, uint64_t *key)
{
	*key = (uint64_t)(unsigned)pid << 32 | (unsigned)fd;
	return &h->known[hash(*key, 20) % (HOLDERS_KNOWN_MAX / 2) * 2];
}

static bool is_known(struct holders *h, int pid, int fd)
{
	uint64_t key, *at = known(h, pid, fd, &key);

	return at[0] == key || at[1] == key;
}

static void remember(struct holders *h, int pid, int fd)
{
	uint64_t key, *at = known(h, pid, fd, &key);

	if (at[0] != key)
		at[1] = at[0];
	at[0] = key;
}

void holders_forget(struct holders *h, const struct holder *holder)
{
	uint64_t key, *at = known(h, holder->pid, holder->fd, &key);

	for (int i = 0; i < 2; i++)
		if (at[i] == key)
			at[i] = 0;
}

bool holders_still(const struct holder *holder)
{
	char path[sizeof "/proc/-2147483648/fd/-2147483648"];
	uint32_t inode;

	snprintf(path, sizeof path, "/proc/%d/fd/%d", holder->pid, holder->fd);
	const int kind = process_socket(AT_FDCWD, path, &inode);
	return kind < 0 ? errno != ENOENT && errno != ESRCH : kind > 0 && inode == holder->inode;
}

void holders_begin(struct holders *h)
{
	if (h->wanted)
		memset(h->by_inode, 0, sizeof h->by_inode);
	h->wanted = NULL;
	h->missing = 0;
}

void holders_want(struct holders *h, struct holder *holder)
{
	struct holder **list = bucket(h, holder->inode);

	holder->next = *list;
	*list = holder;
	holder->other = h->wanted;
	h->wanted = holder;
	h->missing++;
	if (holder->first == 0)
		holder->first = (h->round + 1) & ((1U << 30) - 1);
}

static void close_descriptors(struct holders *h)
{
	if (h->descriptors > 0)
		close(h->descriptors);
	h->descriptors = 0;
	if (!h->only && h->at.dir > 0)
		process_close(&h->at);
}

void holders_stop(struct holders *h)
{
	close_descriptors(h);
	if (h->proc > 0)
		close(h->proc);
	h->proc = 0;
	h->running = false;
}

/* False: the processes cannot be listed. */
static bool begin_round(struct holders *h)
{
	h->proc = h->only ? 0 : open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->proc < 0)
		return false;
	h->running = true;
	h->round++;
	h->thorough = false;
	for (const struct holder *w = h->wanted; w; w = w->other)
		h->thorough = h->thorough || (w->pid == 0 && w->rounds > 0);
	h->listed = 0;
	h->left = 1;   /* the process only; of all processes list_processes sets it */
	return true;
}

/* Counts the round for those it did not find, unless it was under way when they came. */
static void end_round(struct holders *h)
{
	for (struct holder *w = h->wanted; w; w = w->other)
		if (w->pid == 0 && w->first <= h->round && ++w->rounds == HOLDERS_ROUNDS)
			h->missing--;
	holders_stop(h);
}

/* Lists some more processes. /proc lists them by number and numbers rise, so the last are the newest, but
 * for those after the numbers began anew. */
static void list_processes(struct holders *h)
{
	int numbers[PROCESS_NUMBERS];
	int n = process_numbers(h->proc, numbers);

	for (int i = 0; i < n; i++)
		h->pids[h->listed++ % HOLDERS_PROCESSES_MAX] = numbers[i];
	if (n > 0)
		return;
	close(h->proc);
	h->proc = 0;
	h->left = h->listed < HOLDERS_PROCESSES_MAX ? h->listed : HOLDERS_PROCESSES_MAX;
}

static void open_descriptors(struct holders *h)
{
	h->descriptors = process_descriptors(&h->at);
	h->empty = true;
	if (h->descriptors >= 0)
		return;
	if (errno != ESRCH && process_other_thread(&h->at))
		h->descriptors = process_descriptors(&h->at);
	if (h->descriptors >= 0)
		return;
	h->unreadable = h->unreadable || process_may_not();
	close_descriptors(h);
}

static void open_next(struct holders *h)
{
	h->left--;
	if (h->only) {
		h->at = *h->only;
		open_descriptors(h);
		return;
	}
	if (process_open(&h->at, h->pids[--h->listed % HOLDERS_PROCESSES_MAX]))
		open_descriptors(h);
}

/* Looks at one descriptor of the process h->at. */
static void look_at(struct holders *h, int fd)
{
	uint32_t inode;
	char name[16];

	if (!h->thorough && is_known(h, h->at.pid, fd))
		return;
	snprintf(name, sizeof name, "%d", fd);
	int kind = process_socket(h->descriptors, name, &inode);
	if (kind < 0) {
		h->unreadable = h->unreadable || (errno != ENOENT && process_may_not());
		return;
	}
	struct holder *w = kind > 0 ? *bucket(h, inode) : NULL;
	while (w && w->inode != inode)
		w = w->next;
	if (kind == 0 || w)
		remember(h, h->at.pid, fd);
	if (!w || w->pid != 0)
		return;
	w->pid = h->at.pid;
	w->fd = fd;
	h->missing--;
	h->found(h->arg, w, &h->at);
}

/* Looks at some more descriptors of the process h->at. */
static void look(struct holders *h)
{
	int numbers[PROCESS_NUMBERS];
	int n = process_numbers(h->descriptors, numbers);

	for (int i = 0; i < n; i++)
		look_at(h, numbers[i]);
	if (n > 0) {
		h->empty = false;
		return;
	}
	close(h->descriptors);
	h->descriptors = 0;
	if (h->empty && process_other_thread(&h->at))
		open_descriptors(h);
	else
		close_descriptors(h);
}

/* Makes a few system calls, about PROCESS_NUMBERS at most. False: nothing can be done now. */
static bool step(struct holders *h)
{
	if (!h->running)
		return begin_round(h);
	if (h->proc > 0)
		list_processes(h);
	else if (h->descriptors > 0)
		look(h);
	else if (h->left > 0)
		open_next(h);
	else
		end_round(h);
	return true;
}

bool holders_search(struct holders *h, int64_t ns)
{
	const int64_t end = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + ns;

	h->unreadable = false;
	do {
		if (h->missing == 0)
			holders_stop(h);
	} while (h->missing > 0 && step(h) && clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end);
	return !h->unreadable || !h->only;
}
