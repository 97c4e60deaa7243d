#ifndef RIGHTS_H
#define RIGHTS_H

#include "endpoint/endpoint.h"

/* Gives up, for good, every right that the loop and its source do not need (guard/sandbox.h).
 * The files of the Unix sockets on which the daemon listens stay removable. Returns 0, or -1 with
 * one line logged. */
int rights_give_up(const struct daemon *d);

#endif
