#ifndef RIGHTS_H
#define RIGHTS_H

#include <stddef.h>
#include <sys/socket.h>

#include "base/options.h"
#include "source/source.h"

/* Gives up, for good, every right that the loop and its source do not need (guard/sandbox.h).
 * own: the addresses that the daemon listens on; the files of Unix sockets among them must stay
 * removable. Returns 0, or -1 with one line logged. */
int rights_give_up(const struct options *o, const struct source *source,
                   const struct sockaddr_storage *own, size_t own_count);

#endif
