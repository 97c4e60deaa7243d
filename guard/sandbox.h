#ifndef SANDBOX_H
#define SANDBOX_H

/* Takes from the process, for good, what the running loop does not need: the rights of its user,
 * capabilities, files, and all system calls but those that the loop makes. Linux only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SANDBOX_FILES = 24 };

/* What the process still needs; all zero: nothing. Strings are borrowed for the calls below. */
struct sandbox {
	const char *user;          /* the process becomes this user, with the user's groups; NULL: no */
	uint64_t capabilities;     /* to keep of those it has, as bits 1 << CAP_...; with user: none */
	bool sees_processes;       /* it reads /proc/PID/fd of other processes, which Landlock forbids */
	const char *reads[SANDBOX_FILES];     /* files that SIGHUP opens again; a new file under the */
	size_t read_count;                    /* same name, or behind the same symbolic link, is read */
	const char *removes[SANDBOX_FILES];   /* files that are removed when the daemon ends */
	size_t remove_count;
};

/* Becomes the user and gives up capabilities, in the bounding set too. Returns 0, or -1 with one
 * line logged. */
int sandbox_drop(const struct sandbox *needs);

/* Installs the system call filter. From then on the kernel kills the process if it executes
 * anything, connects, sends a signal, or opens a file for writing; and if removes is empty, if it
 * removes a file. With Landlock (Linux 5.13), and unless sees_processes, files can be opened
 * only in the folders of reads and removed only in those of removes. No other process of the
 * user can read its memory, and it leaves no core file. Returns 0, or -1 with one line logged. */
int sandbox_enter(const struct sandbox *needs);

#endif
