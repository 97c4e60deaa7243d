#ifndef CONNTRACK_H
#define CONNTRACK_H

/* UDP flows as the kernel's connection tracking counts them, for machines without eBPF. Connection
 * tracking does not tell QUIC from other UDP; it counts segments that the kernel handles as one packet
 * (GSO, GRO) as one; and it is active only where a firewall rule needs it. Its entries are read from
 * /proc/net/nf_conntrack: only opening that file needs a right, which the daemon then gives up. The
 * netlink interface (CTNETLINK) would need CAP_NET_ADMIN for each question, and with that right an
 * intruder could change the firewall. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/flow.h"
#include "source/tcpdiag.h"

enum {
	CONNTRACK_TEXT_MAX = 16384,       /* bytes of the file that are held at a time */
	CONNTRACK_OWN_MAX = 256,          /* addresses of this machine that are known as such */
	CONNTRACK_BYTES_MAX = 16 << 20,   /* bytes read for one snapshot; an entry has about 200 */
};

/* An entry of connection tracking. [0] is for packets of the side that sent first, [1] for the answers;
 * where there is NAT, the ends of [1] are not those of [0] in reverse. */
struct conntrack_entry {
	struct tcpdiag_end src[2], dst[2];
	uint64_t packets[2], bytes[2];   /* of IP packets, their headers included */
	unsigned left;                   /* seconds until the kernel forgets the entry, if no packet comes */
	uint64_t age;                    /* seconds, by the clock that may be set; 0: not known */
	bool assured;                    /* the kernel saw more than a question and its answer */
};

struct conntrack {
	int file;                        /* -1: not open */
	bool all;                        /* conntrack_read tells entries that are not assured, too */
	bool cut;                        /* the last conntrack_read stopped at CONNTRACK_BYTES_MAX */
	unsigned timeout[2];             /* seconds without a packet after which the kernel forgets an
	                                    entry, by whether the entry is assured */
	struct in6_addr own[CONNTRACK_OWN_MAX];   /* addresses of this machine */
	size_t own_count;
	struct tcpdiag addresses;        /* a netlink socket that asks the kernel for these addresses */
	char text[CONNTRACK_TEXT_MAX];
};

/* Reads a line of /proc/net/nf_conntrack without its newline; the line is changed. False: the line is not
 * an entry of UDP, or connection tracking did not count its packets. */
bool conntrack_parse(char *line, struct conntrack_entry *e);

/* Opens the file and reads the addresses of this machine. all: as in struct conntrack. Returns NULL, or
 * in words why connection tracking cannot be used; then nothing is open. */
const char *conntrack_open(struct conntrack *c, bool all);
void conntrack_close(struct conntrack *c);

/* Calls each as flow_read does (source/flow.h), with one flow at a time and interface 0: an entry is a
 * flow for each of its ends that has an address of this machine. The flow of the side that sent first
 * gets an Initial as old as the entry or, if the entry's age is not known, of now. now: ns of
 * CLOCK_MONOTONIC. Returns NULL, or in words what went wrong: then each was not called for all flows. */
const char *conntrack_read(struct conntrack *c, int64_t now,
                           void (*each)(void *arg, const struct flow_key *keys,
                                        const struct flow_value *values, size_t n),
                           void *arg);

#endif
