#ifndef FLOW_H
#define FLOW_H

/* UDP flows of this network namespace, which no table of the kernel counts: an eBPF socket
 * filter on a packet socket counts them inside the kernel and returns 0, so that no packet
 * is copied to this process. The only file that knows bpf(2). Linux 5.11 or later; one before
 * 5.19 lets nobody read a map without CAP_BPF, unless kernel.unprivileged_bpf_disabled is 0.
 * What this machine forwards for others is no flow when it goes out. Of fragments only the first
 * is counted, and only with IPv4; with IPv6, only what has no extension headers. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FLOWS_MAX = 16384,   /* counted at a time; of more, the kernel forgets the least recent */
	FLOW_BATCH = 1024,   /* flows read by one system call */
	FLOW_SILENCE = 56,   /* in 2^30 ns: 60 s. After so long a silence a datagram begins another
	                        connection of the same ends */
};

/* What was seen among the datagrams of a flow. */
enum flow_seen {
	FLOW_QUIC_V1 = 1 << 0,   /* a long header of QUIC version 1 (RFC 9000, section 17.2) */
	FLOW_QUIC_V2 = 1 << 1,   /* ... of version 2 (RFC 9369) */
	FLOW_INITIAL = 1 << 2,   /* an Initial packet of either */
	FLOW_SHORT = 1 << 3,     /* what may be a short header of QUIC: the fixed bit alone */
	FLOW_OTHER = 1 << 4,     /* a datagram that is none of these */
};

/* Where a flow goes. The eBPF program fills it, so it has no padding; ports are in the
 * order of this machine, an IPv4 address is mapped into IPv6. */
struct flow_key {
	struct in6_addr remote;
	uint16_t remote_port;
	uint16_t local_port;
	uint32_t interface;     /* its index: a bridge and its port show the same datagram twice */
};

/* [0] is in, [1] is out. Times are ns of the monotonic clock. */
struct flow_value {
	uint64_t bytes[2];      /* of IP packets, their headers included */
	uint64_t packets[2];    /* as on the wire: segments, also where the kernel handles many as one */
	uint64_t initial[2];    /* when the first Initial since the last silence passed; 0: none did */
	uint64_t first, last;   /* when the first datagram since the last silence passed, and the last */
	uint64_t seen;          /* of enum flow_seen, bits of all datagrams */
	struct in6_addr local;  /* of the first datagram */
};

struct flow {
	int socket;              /* -1: not open */
	int map, created;        /* descriptors of the eBPF maps */
	uint64_t lost;           /* flows that the kernel forgot to make room, since flow_open */
	struct flow_key keys[FLOW_BATCH];
	struct flow_value values[FLOW_BATCH];
};

/* Loads the program and makes the socket, which does not count yet. Needs CAP_NET_RAW and
 * CAP_BPF (CAP_SYS_ADMIN before Linux 5.8); the functions below need neither. Returns NULL, or
 * what could not be done, with errno. */
const char *flow_open(struct flow *f);
void flow_close(struct flow *f);

/* Begins to count (on), or stops: then the socket is bound to a protocol that never occurs, and costs the
 * kernel nothing. What was counted stays. 0, or -1 with errno. */
int flow_count(struct flow *f, bool on);

/* Calls each(arg, keys, values, n) until every flow was told, in no order, at most FLOW_BATCH at
 * a time. One that changes meanwhile may be told twice. Never blocks. 0, or -1 with errno: then
 * some may not have been told. */
int flow_read(struct flow *f,
              void (*each)(void *arg, const struct flow_key *keys, const struct flow_value *values,
                           size_t n),
              void *arg);

#endif
