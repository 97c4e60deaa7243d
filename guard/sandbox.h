#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

/* What the running loop does not need is taken from the process for good: other
 * users' rights, new privileges, and every system call but those it makes. Linux
 * only. */

/* Becomes this user, with his groups. 0, or -1 with one line logged. */
int sandbox_user(const char *name);

/* Leaves the loop its system calls and no more: nothing can be executed, connected
 * to, or opened for writing; whatever tries is killed. With landlock, and where the
 * kernel has it, that holds for files a second time; what is under Landlock cannot
 * look into other processes. removes: it has sockets whose files it removes at its end;
 * else no file can be removed. 0, or -1 with one line logged. */
int sandbox_enter(bool landlock, bool removes);

#endif
