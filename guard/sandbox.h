#ifndef SANDBOX_H
#define SANDBOX_H

/* What the running loop does not need is taken from the process for good: other
 * users' rights, capabilities, files, and every system call but those it makes.
 * Linux only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SANDBOX_FILES = 24 };

/* What it does need. All zero: nothing. Strings are borrowed for the calls. */
struct sandbox {
	const char *user;          /* whom it becomes, with his groups; NULL: stays who it is */
	uint64_t capabilities;     /* of those it has, bits 1 << CAP_...; who becomes a user has none */
	bool sees_processes;       /* it looks into other processes, which Landlock would forbid */
	const char *reads[SANDBOX_FILES];     /* files that are opened again; what replaces one is in */
	size_t read_count;                    /* the same folder, or where a symbolic link leads */
	const char *removes[SANDBOX_FILES];   /* files that are removed at the end */
	size_t remove_count;
};

/* Becomes the user and gives up capabilities, from the bounding set, too. 0, or -1 with
 * one line logged. */
int sandbox_drop(const struct sandbox *needs);

/* Leaves the loop its system calls and no more: nothing can be executed, connected
 * to, or opened for writing; whatever tries is killed. Without files to remove, none can
 * be removed. Unless it sees processes, and where the kernel has Landlock, no file can be
 * opened but in the folders of reads, or removed but in those of removes. Nobody
 * else's process can read its memory, a core file included. 0, or -1 with one line
 * logged. */
int sandbox_enter(const struct sandbox *needs);

#endif
