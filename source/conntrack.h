#ifndef CONNTRACK_H
#define CONNTRACK_H

/* UDP flows as the kernel's connection tracking counts them: for where eBPF is not to be had. It
 * knows no protocol above UDP, what it sends or gets as one packet (GSO, GRO) it counts as one, and
 * it follows only what a firewall rule makes it follow. Read from /proc/net/nf_conntrack, which
 * needs a right when it is opened and none after that: to be asked by netlink (CTNETLINK) it would
 * need CAP_NET_ADMIN each time, with which code inside could change the firewall. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/flow.h"
#include "source/tcpdiag.h"

enum {
	CONNTRACK_TEXT_MAX = 16384,
	CONNTRACK_OWN_MAX = 256,          /* addresses of this machine that are known to it */
	CONNTRACK_BYTES_MAX = 16 << 20,   /* read at a time; an entry has about 200 */
};

/* [0] as the first packet went, [1] as answers go: with NAT, not the same ends. */
struct conntrack_entry {
	struct tcpdiag_end src[2], dst[2];
	uint64_t packets[2], bytes[2];   /* of IP packets, their headers included */
	unsigned left;                   /* seconds until the kernel forgets it, if nothing comes */
	uint64_t age;                    /* seconds, by the clock of the day; 0: it does not say */
	bool assured;                    /* both sides spoke, and not just for a question and its answer */
};

struct conntrack {
	int file;                        /* -1: not open */
	bool all;                        /* those that are not assured are told, too */
	bool cut;                        /* there was more than CONNTRACK_BYTES_MAX */
	unsigned timeout[2];             /* seconds until an entry is forgotten: a new one, an assured one */
	struct in6_addr own[CONNTRACK_OWN_MAX];
	size_t own_count;
	struct tcpdiag addresses;        /* asks for them */
	char text[CONNTRACK_TEXT_MAX];
};

/* Reads a line, which it changes. False: it is no counted entry of UDP. */
bool conntrack_parse(char *line, struct conntrack_entry *e);

/* NULL, or why it cannot be had. */
const char *conntrack_open(struct conntrack *c, bool all);
void conntrack_close(struct conntrack *c);

/* As flow_read, one flow at a time, interface 0: of each entry the ends that are this machine's. Who
 * sent first has an Initial, as old as the entry or, if that is not known, of now. now: ns of the
 * monotonic clock. NULL, or what went wrong: then some may not have been told. */
const char *conntrack_read(struct conntrack *c, int64_t now,
                           void (*each)(void *arg, const struct flow_key *keys,
                                        const struct flow_value *values, size_t n),
                           void *arg);

#endif
