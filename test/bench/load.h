#ifndef LOAD_H
#define LOAD_H

/* Many clients of the pull protocol in one process: epoll, and what comes is thrown away
 * without being copied, so that the server is what is measured. Whatever goes wrong, a
 * snapshot that nobody asked for included, ends the program. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { THINK_MS = 1000 };   /* mean time between a snapshot and its ready, when sparse */

struct figures {
	double rate;       /* snapshots per second */
	double cpu;        /* microseconds of the server for each of them */
	double p50, p99;   /* ms from the ready to the first byte */
};

struct load;

/* Connects that many clients to the port of 127.0.0.1; returns when each has got its first
 * snapshot and said nothing since. */
struct load *load_open(int port, size_t clients, bool tls);
void load_close(struct load *l);

/* Pulls for ms milliseconds from the server pid: every client ready at once after each
 * snapshot, or, when sparse, each at its own random moment. May be called again. */
struct figures load_run(struct load *l, int pid, bool sparse, int ms);

_Noreturn void fail(const char *what);

#endif
