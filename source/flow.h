#ifndef FLOW_H
#define FLOW_H

/* UDP flows of this network namespace. No table of the kernel counts them, so an eBPF program does: a
 * socket filter on a packet socket, which counts every packet inside the kernel and returns 0, so that
 * no packet is copied to this process. flow.c is the only file that knows bpf(2).
 *
 * Needs Linux 5.11 or later. Before 5.19 reading a map needs CAP_BPF, unless
 * kernel.unprivileged_bpf_disabled is 0. Packets that this machine forwards are not counted when they
 * go out. Of an IPv4 packet in fragments only the first fragment is counted; an IPv6 packet is counted
 * only if it has no extension headers. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FLOWS_MAX = 16384,   /* counted at a time; for another one, the kernel forgets the flow that was
	                        silent for longest */
	FLOW_BATCH = 1024,   /* flows read by one system call */
	FLOW_SILENCE = 56,   /* units of 2^30 ns, together 60 s: a datagram after a silence of that length
	                        begins another connection between the same ends */
};

/* What the datagrams of a flow began with. */
enum flow_seen {
	FLOW_QUIC_V1 = 1 << 0,   /* a long header of QUIC version 1 (RFC 9000 section 17.2) */
	FLOW_QUIC_V2 = 1 << 1,   /* a long header of QUIC version 2 (RFC 9369) */
	FLOW_INITIAL = 1 << 2,   /* that long header was one of an Initial packet */
	FLOW_SHORT = 1 << 3,     /* of the first two bits only the second, the fixed bit: perhaps a short
	                            header of QUIC (RFC 9000 section 17.3) */
	FLOW_OTHER = 1 << 4,     /* none of these */
};

/* Between which ends a flow goes. The eBPF program fills this, and the kernel compares all bytes of it,
 * so it has no padding. Ports are in the byte order of this machine; an IPv4 address is mapped into
 * IPv6. */
struct flow_key {
	struct in6_addr remote;
	uint16_t remote_port;
	uint16_t local_port;
	uint32_t interface;     /* index of the network interface. Interfaces count apart, since a
	                           bridge and its port show the same datagram */
};

/* What was counted of a flow. [0] is in, [1] is out. Times are ns of CLOCK_MONOTONIC. */
struct flow_value {
	uint64_t bytes[2];      /* of IP packets, their headers included */
	uint64_t packets[2];    /* as on the wire: segments, also where the kernel handles many as one */
	uint64_t initial[2];    /* when the first Initial since the last silence passed; 0: none did */
	uint64_t first, last;   /* when the first datagram since the last silence passed, and the last */
	uint64_t seen;          /* bits of enum flow_seen, from all datagrams */
	struct in6_addr local;  /* this machine's address in the first datagram */
};

struct flow {
	int socket;              /* -1: not open */
	int map, created;        /* descriptors of the eBPF maps */
	uint64_t lost;           /* flows that the kernel forgot to make room, since flow_open */
	struct flow_key keys[FLOW_BATCH];
	struct flow_value values[FLOW_BATCH];
};

/* Loads the program and makes the socket; nothing is counted before flow_count. Needs CAP_NET_RAW and
 * CAP_BPF (CAP_SYS_ADMIN before Linux 5.8); the functions below need neither. Returns NULL, or with
 * errno a static text that names what could not be made; then nothing is open. */
const char *flow_open(struct flow *f);
void flow_close(struct flow *f);

/* Begins to count (on) or stops. A socket that has stopped is bound to a protocol that never occurs, so
 * that it costs the kernel nothing. What was counted stays. 0, or -1 with errno. */
int flow_count(struct flow *f, bool on);

/* Calls each(arg, keys, values, n) until every flow was told, in no order, with n at most FLOW_BATCH.
 * keys and values are borrowed for the call. A flow that changes meanwhile may be told twice. Never
 * blocks. 0, or -1 with errno: then each was not called for all flows. */
int flow_read(struct flow *f,
              void (*each)(void *arg, const struct flow_key *keys, const struct flow_value *values,
                           size_t n),
              void *arg);

#endif
