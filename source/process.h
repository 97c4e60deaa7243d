#ifndef PROCESS_H
#define PROCESS_H

/* What /proc tells about processes and the sockets they have open (proc(5)). Nothing is kept between calls
 * but open folders. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROCESS_NAME_MAX = 64 };   /* bytes, NUL included */

/* A process. As long as its folder of /proc is open, the kernel does not take another process with the
 * same number for this one. */
struct process {
	int dir;                       /* the folder /proc/PID, owned; -1: not open */
	int pid;
	char thread[32];               /* "task/TID/" of a thread that runs, if the main thread has
	                                  exited; else empty */
	char name[PROCESS_NAME_MAX];   /* any bytes; empty until process_name was called */
};

/* Opens the folder of the process with this number. False: there is none, or it is hidden. */
bool process_open(struct process *p, int pid);

enum { PROCESS_NUMBERS = 64 };

/* Reads on in an open folder of /proc that has a file for each process, thread or descriptor. Returns how
 * many numbers were read, at most PROCESS_NUMBERS; 0: the folder has no more, or cannot be read. */
int process_numbers(int folder, int numbers[PROCESS_NUMBERS]);

/* A search for a process by name, which may take several calls. All zero: it has not begun. */
struct process_search {
	int proc;                   /* the folder /proc, owned; 0: not open */
	int pids[PROCESS_NUMBERS];  /* process IDs read from proc last */
	int pid_count, looked_at;   /* how many these are, and how many of them were looked at */
	size_t count;               /* processes of that name found so far */
	struct process first;       /* of these the one that was started first, owned; if count > 0 */
	unsigned long long start;   /* when first was started, in clock ticks since boot */
};

/* Opens the process that was started first among those for which name is the command name
 * (/proc/PID/comm, of which only the first 15 bytes are compared), the program (base name of argv[0])
 * or the process_name. *others: how many more there are. Returns 1: *p is open; 0: there is no such
 * process; -1: ns of CPU time are used up and not all processes were looked at: call it again, with the
 * same name. */
int process_find(struct process_search *s, const char *name, int64_t ns, struct process *p,
                 size_t *others);

/* Ends a search, wherever it stands, and closes what it has open. */
void process_stop(struct process_search *s);

/* Is there a process of this number, whether or not /proc shows it? */
bool process_exists(int pid);

/* Why /proc does not show the processes of other users, or any, in words; NULL: it shows them. */
const char *process_hidden(void);

/* Closes the folder of the process; nothing happens if it is not open. */
void process_close(struct process *p);

/* Does any thread of the process run? False for a zombie, whose parent has not waited for it. If the main
 * thread has exited, the functions below are told of another thread only by this call. */
bool process_alive(struct process *p);

/* Fills in p->name: the command name and, where the kernel has cut it, the rest of it from an argument
 * that begins so; the program's name, if the main thread was given a name of its own; "?" if neither
 * may be read. */
void process_name(struct process *p);

/* Is the process known to be in another network namespace than the daemon? */
bool process_elsewhere(const struct process *p);

/* How much is used of what can run out. A limit of 0: there is none. */
struct process_usage {
	uint64_t files, files_limit;     /* open files */
	uint64_t memory, memory_limit;   /* bytes resident */
};

/* Fills in what the process uses, or with p NULL the whole machine. False: it cannot be read. */
bool process_usage(const struct process *p, struct process_usage *u);

/* Opens the folder of the descriptors of the process, which the caller closes. -1 with errno. */
int process_descriptors(const struct process *p);

/* Called when the folder of descriptors is empty or may not be read, as that of a main thread that has
 * exited: chooses another thread of the process in its place, that runs. False: the main thread has
 * not exited, or another one was chosen before. Leaves errno as it is. */
bool process_other_thread(struct process *p);

/* Does errno, as one of these functions has left it, say that the process may not be looked at? */
bool process_may_not(void);

/* Looks where a descriptor leads. descriptors: the open folder of a process's descriptors; name: the
 * descriptor's number. Returns 1: to a socket, *inode is filled in; 0: to another file; -1 with
 * errno. */
int process_socket(int descriptors, const char *name, uint32_t *inode);

#endif
