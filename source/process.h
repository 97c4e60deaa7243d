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

/* False: there is none of this number. */
bool process_open(struct process *p, int pid);

enum { PROCESS_NUMBERS = 64 };

/* Reads on in a folder of /proc, of processes, threads or descriptors. Returns how many numbers
 * there were among its files, 0 at the end or when it cannot be read. */
int process_numbers(int folder, int numbers[PROCESS_NUMBERS]);

/* A search for a process, which may take several calls. All-zero at first. */
struct process_search {
	int proc;                   /* the folder /proc; 0: the search has not begun */
	int pids[PROCESS_NUMBERS];  /* read from it ... */
	int pid_count, looked_at;   /* ... so many, and looked at */
	struct process first;       /* the one that was started first, of those so far */
	unsigned long long start;   /* when */
	size_t count;               /* of those so far */
};

/* Opens the one that was started first among the processes whose command name
 * (/proc/PID/comm, which ends after 15 bytes), whose program (base name of
 * argv[0]) or whose process_name is name. *others: how many more there are. Looks for
 * so many ns of CPU time. 1: it is open; 0: there is none; -1: not all were
 * looked at, call it again. */
int process_find(struct process_search *s, const char *name, int64_t ns, struct process *p,
                 size_t *others);

/* Ends a search before it has come to an end. */
void process_stop(struct process_search *s);

/* True when there is a process of this number, whether or not /proc shows it to this one. */
bool process_exists(int pid);

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

/* Opens the folder of its descriptors, which the caller closes. -1 with errno. */
int process_descriptors(const struct process *p);

/* Where that is empty, or may not be read: chooses a thread that runs if the main one
 * has exited. False: it has not, or one was chosen before. Leaves errno as it is. */
bool process_other_thread(struct process *p);

/* Whether errno, of these calls, says that the process may not be looked at. */
bool process_may_not(void);

/* name: of a descriptor, in the folder of its process. Returns 1 for a socket, whose inode it tells,
 * 0 for another file, -1 with errno. */
int process_socket(int descriptors, const char *name, uint32_t *inode);

#endif
