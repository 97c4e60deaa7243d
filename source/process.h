#ifndef PROCESS_H
#define PROCESS_H

/* What /proc tells about processes and the sockets they hold. Nothing is kept
 * between calls but an open directory. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROCESS_NAME_MAX = 64 };   /* bytes, NUL included */

/* A process. While its directory of /proc is open, that never becomes the
 * directory of a later process with the same number. */
struct process {
	int dir;                       /* -1: none is open */
	int pid;
	char thread[32];               /* "task/TID/" of one that runs, if the main one has exited */
	char name[PROCESS_NAME_MAX];   /* any bytes; empty until process_name */
};

/* Opens the process whose number is given in decimal digits. False: there is none. */
bool process_open(struct process *p, const char *pid);

/* Opens the one that was started first among the processes whose command name
 * (/proc/PID/comm, which ends after 15 bytes), whose program (base name of
 * argv[0]) or whose process_name is name. *others: how many more there are. False: there is none. */
bool process_find(struct process *p, const char *name, size_t *others);

/* True when there is a process of this number, whether or not it is shown to us. */
bool process_exists(const char *pid);

/* Why processes of other users, or all, are not shown to us; NULL: they are. */
const char *process_hidden(void);

/* Also for one that is not open. */
void process_close(struct process *p);

/* False once all its threads have ended, whether or not its parent has taken
 * notice. To be asked before what follows is told of it. */
bool process_alive(struct process *p);

/* Fills p->name: the command name, as long as an argument spells it where the
 * kernel has cut it; the program's when the main thread was given a name of its
 * own; "?" when it may not be read. */
void process_name(struct process *p);

/* True when its network namespace is known to be another than ours. */
bool process_elsewhere(const struct process *p);

/* What can run out. A limit of 0: there is none. */
struct process_usage {
	uint64_t files, files_limit;     /* open files */
	uint64_t memory, memory_limit;   /* bytes resident */
};

/* p: a process, NULL for the whole machine. False when it cannot be told. */
bool process_usage(const struct process *p, struct process_usage *u);

/* How process_sockets asks and tells. */
struct process_search {
	/* False: the descriptor need not be looked at. */
	bool (*wanted)(void *arg, int pid, int fd);
	/* It is a socket. p is borrowed for the call. */
	void (*found)(void *arg, struct process *p, int fd, uint64_t inode);
	void *arg;
};

/* Looks at the descriptors of a process, with p NULL at those of all processes
 * that may be read. False: p may not be read. */
bool process_sockets(struct process *p, const struct process_search *search);

#endif
