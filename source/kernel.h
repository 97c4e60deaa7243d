#ifndef KERNEL_H
#define KERNEL_H

/* What the parts of the kernel source share: kernel.c owns the table of connections, udp.c adds
 * flows of UDP to it. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "base/log.h"
#include "source/holders.h"
#include "source/process.h"
#include "source/source.h"
#include "source/tcpdiag.h"

enum {
	TABLE_BITS = 16,
	CONNECTIONS_MAX = 1 << TABLE_BITS,
	SHOWN_NAME_MAX = 32,    /* bytes of a process name, NUL included */
	MULTIADDR_MAX = 80,     /* bytes of "/ip6/.../udp/65535/quic-v1", NUL included */
};

enum { PATHS = 2 };

/* An interface that shows a flow. A bridge and its port show the same datagrams; after a change of routes
 * another interface shows the following ones. Arrays: bytes in and out, packets in and out. */
struct path {
	uint32_t interface;              /* its index */
	uint32_t idle;                   /* dumps in a row in which it showed nothing new */
	uint64_t seen[4];                /* what it had shown by the last dump */
	uint64_t others[4];              /* to be added: what other interfaces alone showed */
};

/* A TCP connection, a UDP socket or a flow of UDP. The fields that are read for every flow in every dump
 * stand first, in few cache lines. */
struct connection {
	uint64_t cookie;                 /* the kernel's number of the socket, never used again; or a flow's */
	uint64_t seen;                   /* the last dump it was part of; 0: the entry is free */
	struct connection *next;         /* with the same hash of cookie, or the next free one */
	int64_t opened;                  /* ns of CLOCK_BOOTTIME */
	uint64_t of;                     /* of a flow: the cookie of the socket that it belongs to */
	uint64_t counted;                /* number of the dump in which it was last measured */
	int64_t last;                    /* when the last datagram came, in ns of CLOCK_BOOTTIME */
	uint64_t begun;                  /* ns of CLOCK_MONOTONIC: Initials before that are of an earlier
	                                    connection of the same ends */
	uint64_t initial[2];             /* in, out: as in flow.h, the earliest of all interfaces */
	struct holder holder;            /* of a flow, only pid is used */
	bool told;                       /* the kernel has told who dialled */
	bool hidden;                     /* a UDP socket, or a flow that was shown as closed */
	bool announced;                  /* an Event said that it opened, or none shall say so */
	bool quic;                       /* of a flow */
	struct path paths[PATHS];
	size_t path_count;
	uint64_t before[4];              /* sums of all paths, as of the previous dump */
	uint64_t before_in, before_out;  /* bytes, as of the previous snapshot */
	Introspection__DataGauge in, out;
	Introspection__Connection message;
	uint64_t id;                     /* in the message: the cookie, or for a later connection of the
	                                    same ends of a flow another number */
	char *tags[4];                   /* process and PID; of a flow also what is not known of it */
	size_t texts;                    /* bytes of transport, src, dst and tags, at most */
	uint32_t packets_in, packets_out;   /* as the kernel counts them, wrapping */

	Introspection__Connection__Timeline timeline;
	Introspection__EndpointPair endpoints;
	Introspection__Traffic traffic;
	char transport[sizeof "ip4+udp+quic-v1"];
	char src[MULTIADDR_MAX], dst[MULTIADDR_MAX];
	char name[sizeof "process=" + SHOWN_NAME_MAX], number[sizeof "pid=2147483647"];

	struct tcpdiag_end local, remote;   /* of a UDP socket ... */
	struct connection *next_port;    /* ... and the next one with the same local port */
};

struct kernel {
	struct source source;   /* first, so that a pointer to it is one to all of this */
	const struct sockaddr_storage *own;
	size_t own_count;

	const char *process;           /* as asked for; NULL: all connections are shown */
	bool by_name;
	struct process watched;
	struct process_search search;  /* for it, by name */
	bool unreadable;               /* logged that the watched process may not be read */
	struct log_limit failures, visits;   /* of log lines on them */

	uint64_t dump;                 /* number of the last one */
	size_t left_out;               /* connections for which there was no entry, in this dump */
	size_t left_out_before;        /* ... and in the previous one */
	bool listening[2][65536];      /* local ports: of IPv4, of IPv6 */

	int64_t before;                /* ms, the loop's clock, of the previous snapshot */
	int64_t instant, previous;     /* ns of CLOCK_BOOTTIME, of this and the previous snapshot;
	                                  0: there is none */
	int64_t epoch;                 /* ns since 1970, at 0 of CLOCK_BOOTTIME */

	Introspection__State state;
	size_t most;                   /* bytes that state takes at most when it is encoded */
	Introspection__Subsystems subsystems;
	Introspection__Traffic traffic;
	Introspection__DataGauge in, out;
	Introspection__DataGauge past_in, past_out;   /* of connections that have been forgotten */
	Introspection__Resource files, memory;
	Introspection__Resource *resources[3];   /* these, and one of udp.c */
	const char *means;             /* of counting QUIC, as the runtime says it; "": TCP alone is shown */
	char watching[SHOWN_NAME_MAX + sizeof "process  (not running)"];
	char implementation[SHOWN_NAME_MAX + sizeof "process  (not running)" + sizeof ", QUIC by conntrack"];
	char release[sizeof((struct utsname *)0)->release];
	char platform[sizeof((struct utsname *)0)->sysname * 2];

	size_t verified;               /* entry of all[] whose process was verified last */
	struct connection *free;
	size_t used;                   /* entries of all[] that have been in use */
	struct connection *by_cookie[CONNECTIONS_MAX];
	Introspection__Connection *shown[CONNECTIONS_MAX];
	struct connection all[CONNECTIONS_MAX];
	struct tcpdiag diag;
	struct holders holders;

	struct udp *udp;               /* owned by udp.c; NULL: flows of UDP are not counted */
	Introspection__Resource flows; /* the kernel's table of them */
	int64_t monotonic;             /* ns to add to CLOCK_MONOTONIC for CLOCK_BOOTTIME */
};

/* NULL: there is none. */
struct connection *kernel_find(struct kernel *k, uint64_t cookie);

/* A connection with this cookie will soon be looked for: asks the processor to fetch the list that it
 * is in or, with entry, once that has come, the first entry of the list. */
void kernel_expect(struct kernel *k, uint64_t cookie, bool entry);

/* NULL: the table is full, which is counted. */
struct connection *kernel_add(struct kernel *k, uint64_t cookie);

/* The socket of c is part of this dump and has this inode. If its process is not known, it will be
 * searched. */
void kernel_seen(struct kernel *k, struct connection *c, uint32_t inode);

/* Adds the traffic of c to that of connections that have been forgotten, and sets that of c to 0. */
void kernel_settle(struct kernel *k, struct connection *c);

/* Says in the runtime by which means UDP is counted from now on: ", QUIC by eBPF" or the like; "": it is
 * not. means: a static text. */
void kernel_count_by(struct kernel *k, const char *means);

/* A time of day, in ms since 1970, for one of CLOCK_BOOTTIME in ns. */
uint64_t kernel_time_of_day(const struct kernel *k, int64_t boottime);

/* Fills in what does not change of a connection: ends and transport. Called again for a flow that turns out
 * to be QUIC. id: what stands behind "ip4" or "ip6": "+tcp", "+udp" or "+udp+quic-v1". */
void kernel_describe(struct kernel *k, struct connection *c, const struct tcpdiag_end *local,
                     const struct tcpdiag_end *remote, const char *id);

static inline bool is_ip4(const struct tcpdiag_end *e)
{
	return IN6_IS_ADDR_V4MAPPED(&e->address);
}

static inline bool is_wildcard(const struct tcpdiag_end *e)
{
	return IN6_IS_ADDR_UNSPECIFIED(&e->address) ||
	       (is_ip4(e) && e->address.s6_addr32[3] == INADDR_ANY);
}

static inline bool same_address(const struct tcpdiag_end *a, const struct tcpdiag_end *b)
{
	return IN6_ARE_ADDR_EQUAL(&a->address, &b->address);
}

/* A cumulative counter never steps back, though what the kernel tells may. */
static inline void raise_to(uint64_t *counter, uint64_t value)
{
	if (*counter < value)
		*counter = value;
}

/* Counts flows of UDP; kernel_udp is NULL where the daemon was linked without (base/parts.h). */
struct kernel_udp {
	/* Once, at the start. all: flows that are not QUIC are shown, too. What cannot be had is
	 * logged, and leaves k->udp NULL. */
	void (*open)(struct kernel *k, bool all);
	void (*close)(struct kernel *k);
	/* Brings the table up to date, as a part of the dump. now: ms, the loop's clock. NULL, or
	 * what went wrong. Where the kernel lets nobody read any more, it says so and sets k->udp to
	 * NULL. */
	const char *(*dump)(struct kernel *k, int64_t now);
	/* As the functions of struct source. */
	void (*poll)(const struct kernel *k, int64_t *deadline);
	void (*serve)(struct kernel *k, int64_t now);
};

extern const struct kernel_udp *const kernel_udp;

#endif
