#ifndef SETUP_H
#define SETUP_H

/* What the process asks of the system once, at start. */

#include <stddef.h>
#include <stdint.h>

/* Memory, in which there are secrets, is not written to a file when the process crashes. */
void setup_no_core(void);

/* Makes sure that descriptors 0 to 2 are taken, so that no socket gets a number
 * which others write to. 0, or -1 logged. */
int setup_standard(void);

/* Raises the limit on open descriptors to *clients + others, or cuts *clients to
 * what the limit allows and says so. 0, or -1 logged: not even others fit. */
int setup_descriptors(size_t *clients, size_t others);

/* A descriptor that is readable when SIGTERM, SIGINT, SIGHUP or SIGUSR1 has come, so that
 * none can get between a look at the state and poll(). SIGPIPE is ignored. -1 logged. */
int setup_signals(void);

/* The next signal that has come; 0: there is none; -1 with errno. */
int setup_next_signal(int fd);

/* A number to seed a hash with, so that nobody can choose keys that collide. */
uint64_t setup_seed(void);

#endif
