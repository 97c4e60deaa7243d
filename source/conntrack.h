#ifndef CONNTRACK_H
#define CONNTRACK_H

/* UDP flows as the kernel's connection tracking counts them, for machines without eBPF. Connection
 * tracking knows no protocol above UDP, counts what the kernel handles as one packet (GSO, GRO) as
 * one, and is active only where a firewall rule needs it. It is read from /proc/net/nf_conntrack,
 * which takes a right to open and none to read. Its netlink interface (CTNETLINK) would need
 * CAP_NET_ADMIN for each question, with which an intruder could change the firewall. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/flow.h"
#include "source/tcpdiag.h"

enum {
	CONNTRACK_TEXT_MAX = 16384,
	CONNTRACK_OWN_MAX = 256,          /* addresses of this machine that are told from others' */
	CONNTRACK_BYTES_MAX = 16 << 20,   /* read for one snapshot; an entry has about 200 */
};

/* [0]: the way of the first packet, [1]: that of answers, which has other ends where there is NAT. */
struct conntrack_entry {
	struct tcpdiag_end src[2], dst[2];
	uint64_t packets[2], bytes[2];   /* of IP packets, their headers included */
	unsigned left;                   /* seconds until the kernel forgets it, if nothing comes */
	uint64_t age;                    /* seconds, by the clock that may be set; 0: not known */
	bool assured;                    /* both sides spoke, and not just for a question and its answer */
};

struct conntrack {
	int file;                        /* -1: not open */
	bool all;                        /* entries that are not assured are told, too */
	bool cut;                        /* the last reading stopped at CONNTRACK_BYTES_MAX */
	unsigned timeout[2];             /* seconds until an entry is forgotten: a new one, an assured one */
	struct in6_addr own[CONNTRACK_OWN_MAX];
	size_t own_count;
	struct tcpdiag addresses;        /* a netlink socket by which they are asked for */
	char text[CONNTRACK_TEXT_MAX];
};

/* Reads a line, which it changes. False: it is no counted entry of UDP. */
bool conntrack_parse(char *line, struct conntrack_entry *e);

/* Opens the file and reads the addresses of this machine. NULL, or why that cannot be. */
const char *conntrack_open(struct conntrack *c, bool all);
void conntrack_close(struct conntrack *c);

/* As flow_read, with one flow in each call and interface 0: a flow for each end of an entry that is this
 * machine's. The side that sent first gets an Initial as old as the entry or, if its age is not known,
 * of now. now: ns of the monotonic clock. NULL, or what went wrong: then some may not have been told. */
const char *conntrack_read(struct conntrack *c, int64_t now,
                           void (*each)(void *arg, const struct flow_key *keys,
                                        const struct flow_value *values, size_t n),
                           void *arg);

#endif
