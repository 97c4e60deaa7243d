#ifndef TCPDIAG_H
#define TCPDIAG_H

/* The TCP and UDP sockets of this network namespace, as the kernel lists them to
 * everyone: sock_diag(7). The only file that knows its messages. */

#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { TCPDIAG_ANSWER_MAX = 65536 };   /* bytes; the kernel sends at most half of it at once */

/* As the kernel numbers them. */
enum tcpdiag_state {
	TCPDIAG_ESTABLISHED = 1,
	TCPDIAG_SYN_SENT,
	TCPDIAG_SYN_RECV,
	TCPDIAG_FIN_WAIT1,
	TCPDIAG_FIN_WAIT2,
	TCPDIAG_TIME_WAIT,
	TCPDIAG_CLOSE,
	TCPDIAG_CLOSE_WAIT,
	TCPDIAG_LAST_ACK,
	TCPDIAG_LISTEN,
	TCPDIAG_CLOSING,
};

/* Which end of a connection a socket is. */
enum tcpdiag_side {
	TCPDIAG_UNTOLD,     /* the kernel does not say, not now or never */
	TCPDIAG_DIALLED,
	TCPDIAG_ACCEPTED,
};

struct tcpdiag_end {
	struct in6_addr address;   /* IPv4: mapped into IPv6 */
	uint16_t port;             /* in the order of this machine */
};

/* address: a struct in_addr or in6_addr, as family says, aligned or not; port:
 * in network byte order. */
struct tcpdiag_end tcpdiag_end_of(uint8_t family, const void *address, uint16_t port);

struct tcpdiag_socket {
	uint64_t cookie;        /* names the socket; never used again */
	uint8_t state;          /* enum tcpdiag_state */
	uint32_t inode;         /* 0: no process has it open */
	uint8_t family;         /* AF_INET or AF_INET6; its addresses may be IPv4 in either */
	struct tcpdiag_end local, remote;
	enum tcpdiag_side side;

	/* False: the kernel keeps no counters for it, not yet or no more; what
	 * follows is 0. */
	bool counted;
	uint64_t bytes_in;      /* payload received, in order */
	uint64_t bytes_out;     /* payload sent, each byte once */
	uint64_t bytes_again;   /* payload sent again */
	uint32_t packets_in;    /* the packet counters wrap */
	uint32_t packets_out;
	uint32_t rtt;           /* microseconds, smoothed */
};

struct tcpdiag {
	int fd;
	uint32_t request;       /* sequence number of the last one */
	_Alignas(8) char answer[TCPDIAG_ANSWER_MAX];
};

/* Opens d->fd, which the caller closes. protocol: NETLINK_SOCK_DIAG for what follows, or another
 * whose dumps tcpdiag_ask shall read. 0, or -1 with errno. */
int tcpdiag_open(struct tcpdiag *d, int protocol);

/* Sends a request for a dump, whose number it sets, and calls each(arg, message) for every message
 * of the answer, until one is malformed: each says false. Never blocks. NULL, or what went wrong. */
const char *tcpdiag_ask(struct tcpdiag *d, struct nlmsghdr *request,
                        bool (*each)(void *arg, const struct nlmsghdr *message), void *arg);

/* Calls each(arg, socket) for every socket but those that are closed or in TIME_WAIT;
 * the listening ones come first. One whose state changes meanwhile may come twice, and
 * in rare cases not at all. Never blocks. Returns NULL, or what went wrong: then some
 * may not have been told. */
const char *tcpdiag_dump(struct tcpdiag *d,
                         void (*each)(void *arg, const struct tcpdiag_socket *socket), void *arg);

/* The same for UDP sockets, of which the kernel tells ends, inode and cookie alone. */
const char *tcpdiag_dump_udp(struct tcpdiag *d,
                             void (*each)(void *arg, const struct tcpdiag_socket *socket),
                             void *arg);

#endif
