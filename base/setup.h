#ifndef SETUP_H
#define SETUP_H

/* What the process asks of the system once, at start. */

#include <stddef.h>
#include <stdint.h>

/* Turns core files off: the process has secrets in its memory. */
void setup_no_core(void);

/* Makes sure that descriptors 0 to 2 are taken, so that no socket gets a number
 * which others write to. 0, or -1 logged. */
int setup_standard(void);

/* Raises the limit on open descriptors to *clients + others, or cuts *clients to
 * what the limit allows and says so. 0, or -1 logged: not even others fit. */
int setup_descriptors(size_t *clients, size_t others);

/* A descriptor that is readable when SIGTERM, SIGINT, SIGHUP or SIGUSR1 has come. The signals are
 * blocked, so that none is missed between a look at the daemon's state and poll(). SIGPIPE is
 * ignored. -1 with one line logged. */
int setup_signals(void);

/* Takes the next signal that has come from that descriptor; 0: there is none; -1 with errno. */
int setup_next_signal(int fd);

/* A number to seed a hash with, so that nobody can choose keys that collide. */
uint64_t setup_seed(void);

#endif
