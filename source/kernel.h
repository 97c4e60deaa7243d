#ifndef KERNEL_H
#define KERNEL_H

/* What the files of the kernel source share: kernel.c owns the table of connections, and udp.c adds
 * flows of UDP to that table. */

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

enum { PATHS = 2 };   /* interfaces at a time by which a flow is measured */

/* A network interface that shows a flow. A bridge and its port show the same datagrams; after a change of
 * routes another interface shows the later datagrams of a flow. The arrays have bytes in, bytes out,
 * packets in and packets out. */
struct path {
	uint32_t interface;              /* its index */
	uint32_t idle;                   /* dumps in a row in which it showed no new datagram */
	uint64_t seen[4];                /* what it had counted at the last dump */
	uint64_t others[4];              /* to be added to that: what only other interfaces counted */
};

/* A TCP connection, a UDP socket or a flow of UDP. The fields that are read for every flow in every dump
 * stand first, in few cache lines. */
struct connection {
	uint64_t cookie;                 /* the kernel's number of the socket, which it never gives again;
	                                    or the number that udp.c gives a flow */
	uint64_t seen;                   /* number of the last dump that had it; 0: the entry is free */
	struct connection *next;         /* in the list by hash of cookie, or in the list of free entries */
	int64_t opened;                  /* ns of CLOCK_BOOTTIME */
	uint64_t of;                     /* flow: the cookie of the socket that gets its datagrams */
	uint64_t counted;                /* flow: number of the dump in which it was last measured */
	int64_t last;                    /* flow: ns of CLOCK_BOOTTIME, when the last datagram passed */
	uint64_t begun;                  /* flow: ns of CLOCK_MONOTONIC. Initials before that are of an
	                                    earlier connection between the same ends */
	uint64_t initial[2];             /* flow: in, out: as in flow.h, the earliest of all interfaces */
	struct holder holder;            /* of a flow, only pid is used */
	bool told;                       /* role is not a guess: the kernel, or an Initial, told who dialled */
	bool hidden;                     /* is not shown: a UDP socket, or a flow already shown as closed */
	bool announced;                  /* an Event has told that it opened, or none is to tell it */
	bool quic;                       /* flow: is one of QUIC */
	struct path paths[PATHS];        /* flow */
	size_t path_count;
	uint64_t before[4];              /* flow: its sums as of the previous dump, ordered as in paths */
	uint64_t before_in, before_out;  /* bytes as of the previous snapshot */
	Introspection__DataGauge in, out;
	Introspection__Connection message;
	uint64_t id;                     /* the message's id: the cookie; for a later connection between the
	                                    ends of a flow, another number */
	char *tags[4];                   /* process and PID; of a flow also those of fill_tags in udp.c */
	size_t texts;                    /* bytes of transport, src, dst and tags, at most */
	uint32_t packets_in, packets_out;   /* as the kernel last told them; they wrap */

	Introspection__Connection__Timeline timeline;
	Introspection__EndpointPair endpoints;
	Introspection__Traffic traffic;
	char transport[sizeof "ip4+udp+quic-v1"];
	char src[MULTIADDR_MAX], dst[MULTIADDR_MAX];
	char name[sizeof "process=" + SHOWN_NAME_MAX], number[sizeof "pid=2147483647"];

	struct tcpdiag_end local, remote;   /* of a UDP socket */
	struct connection *next_port;    /* of a UDP socket: the next one in its list of struct udp */
};

struct kernel {
	struct source source;   /* first, so that a pointer to it is one to all of this */
	const struct sockaddr_storage *own;
	size_t own_count;

	const char *process;           /* the value of --pid; NULL: all connections are shown */
	bool by_name;                  /* that value is a name, not a PID */
	struct process watched;        /* the process it names, while there is one */
	struct process_search search;  /* for watched, by its name */
	bool unreadable;               /* it was logged that watched may not be read */
	struct log_limit failures, visits;   /* limit log lines on failed dumps, and on processes that
	                                        come and go */

	uint64_t dump;                 /* number of the last one */
	size_t left_out;               /* connections for which there was no entry, in this dump */
	size_t left_out_before;        /* left_out of the previous dump */
	bool listening[2][65536];      /* does a socket of IPv4, of IPv6 listen at this local port? */

	int64_t before;                /* ms, the loop's clock: when the previous snapshot was taken */
	int64_t instant, previous;     /* ns of CLOCK_BOOTTIME: when this and the previous snapshot were
	                                  taken; 0: there was none */
	int64_t epoch;                 /* ns since 1970 at which CLOCK_BOOTTIME was 0 */

	Introspection__State state;
	size_t most;                   /* bytes that state takes at most when it is encoded */
	Introspection__Subsystems subsystems;
	Introspection__Traffic traffic;
	Introspection__DataGauge in, out;
	Introspection__DataGauge past_in, past_out;   /* of connections that have been forgotten */
	Introspection__Resource files, memory;
	Introspection__Resource *resources[3];   /* those of files, memory and flows that are known */
	const char *means;             /* by which UDP is counted, as kernel_count_by has it */
	char watching[SHOWN_NAME_MAX + sizeof "process  (not running)"];
	char implementation[SHOWN_NAME_MAX + sizeof "process  (not running)" + sizeof ", QUIC by conntrack"];
	char release[sizeof((struct utsname *)0)->release];
	char platform[sizeof((struct utsname *)0)->sysname * 2];

	size_t verified;               /* index in all of the entry whose process was verified last */
	struct connection *free;
	size_t used;                   /* entries of all from here on were never in use */
	struct connection *by_cookie[CONNECTIONS_MAX];
	Introspection__Connection *shown[CONNECTIONS_MAX];
	struct connection all[CONNECTIONS_MAX];
	struct tcpdiag diag;
	struct holders holders;

	struct udp *udp;               /* owned by udp.c; NULL: flows of UDP are not counted */
	Introspection__Resource flows; /* how full the kernel's table of flows is */
	int64_t monotonic;             /* ns by which CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC */
};

/* The list in which the entry with this cookie is, or is to be. */
static inline struct connection **kernel_list(struct kernel *k, uint64_t cookie)
{
	return &k->by_cookie[cookie * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TABLE_BITS)];
}

/* The entry with this cookie; NULL: there is none. */
struct connection *kernel_find(struct kernel *k, uint64_t cookie);

/* Makes an entry, all zero but for the cookie. The table owns it, and keeps it until a dump without it
 * was shown. NULL: the table is full, which is counted in left_out. */
struct connection *kernel_add(struct kernel *k, uint64_t cookie);

/* The socket of c is part of this dump and has this inode. If it is not known which process has the
 * socket, that process will be searched. */
void kernel_seen(struct kernel *k, struct connection *c, uint32_t inode);

/* Adds the traffic of c to that of connections that have been forgotten, and sets that of c to 0. */
void kernel_settle(struct kernel *k, struct connection *c);

/* Says in the runtime by which means UDP is counted from now on: ", QUIC by eBPF" or the like; "": UDP is
 * not counted. means: a static text. */
void kernel_count_by(struct kernel *k, const char *means);

/* The time of day, in ms since 1970, at a time of CLOCK_BOOTTIME in ns. */
uint64_t kernel_time_of_day(const struct kernel *k, int64_t boottime);

/* Fills in what stays the same about a connection, ends and transport; called again for a flow that turns
 * out to be QUIC. id: what stands behind "ip4" or "ip6" in the transport: "+tcp", "+udp" or
 * "+udp+quic-v1". */
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

/* Counts flows of UDP (udp.c); kernel_udp is NULL where the daemon was linked without it
 * (base/parts.h). */
struct kernel_udp {
	/* Called once, at the start. all: flows that are not QUIC are shown, too. Sets k->udp; if UDP
	 * cannot be counted, logs why and leaves k->udp NULL. */
	void (*open)(struct kernel *k, bool all);
	/* Frees k->udp and sets it to NULL. */
	void (*close)(struct kernel *k);
	/* Brings the entries of UDP up to date, as a part of the dump. now: ms, the loop's clock.
	 * NULL, or in words what went wrong. If the kernel lets nobody read the counts any more,
	 * logs that and closes. */
	const char *(*dump)(struct kernel *k, int64_t now);
	/* The part of UDP in the functions of struct source with these names. */
	void (*poll)(const struct kernel *k, int64_t *deadline);
	void (*serve)(struct kernel *k, int64_t now);
};

extern const struct kernel_udp *const kernel_udp;

#endif
