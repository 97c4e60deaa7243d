#ifndef TCPDIAG_H
#define TCPDIAG_H

/* The TCP and UDP sockets of this network namespace, as the kernel lists them to every user
 * (sock_diag(7)). tcpdiag.c is the only file that knows what the messages of an answer look like. */

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
	TCPDIAG_UNTOLD,     /* the kernel does not tell, perhaps only not yet */
	TCPDIAG_DIALLED,
	TCPDIAG_ACCEPTED,
};

struct tcpdiag_end {
	struct in6_addr address;   /* IPv4: mapped into IPv6 */
	uint16_t port;             /* in the order of this machine */
};

/* Makes an end of an address and a port in network byte order. family: AF_INET, then address points to a
 * struct in_addr, or AF_INET6, then to a struct in6_addr; it need not be aligned. */
struct tcpdiag_end tcpdiag_end_of(uint8_t family, const void *address, uint16_t port);

struct tcpdiag_socket {
	uint64_t cookie;        /* the kernel's number of the socket, which it never gives again */
	uint8_t state;          /* enum tcpdiag_state */
	uint32_t inode;         /* of the socket; 0: no process has it open */
	uint8_t family;         /* AF_INET or AF_INET6; a socket of AF_INET6 may have IPv4 addresses */
	struct tcpdiag_end local, remote;
	enum tcpdiag_side side;

	/* False: the kernel keeps no counters for a socket in this state, and the fields below are 0. */
	bool counted;
	uint64_t bytes_in;      /* payload received, in order */
	uint64_t bytes_out;     /* payload sent, each byte once */
	uint64_t bytes_again;   /* payload sent again */
	uint32_t packets_in;    /* both counters of packets wrap */
	uint32_t packets_out;
	uint32_t rtt;           /* microseconds, smoothed */
};

struct tcpdiag {
	int fd;                 /* of netlink(7); owned by the caller; below 0: not open */
	uint32_t request;       /* sequence number of the last request */
	_Alignas(8) char answer[TCPDIAG_ANSWER_MAX];
};

/* Opens d->fd, which the caller closes, also after a failure if it is not below 0. protocol:
 * NETLINK_SOCK_DIAG for sockets, or another one whose dumps tcpdiag_ask is to read. 0, or -1 with
 * errno. */
int tcpdiag_open(struct tcpdiag *d, int protocol);

/* Sends a request for a dump, in which it sets the sequence number, and calls each(arg, message) for
 * every message of the answer; each returns false if the message is malformed, which ends the reading.
 * Never blocks. Returns NULL, or in words what went wrong. */
const char *tcpdiag_ask(struct tcpdiag *d, struct nlmsghdr *request,
                        bool (*each)(void *arg, const struct nlmsghdr *message), void *arg);

/* Asks for all TCP sockets but those that are closed or in TIME_WAIT, as tcpdiag_ask does with other
 * requests: each gets a message for a socket, which tcpdiag_read reads. Listening sockets come first. A
 * socket whose state changes meanwhile may come twice, and in rare cases not at all. */
const char *tcpdiag_dump(struct tcpdiag *d,
                         bool (*each)(void *arg, const struct nlmsghdr *message), void *arg);

/* Reads a message of an answer about sockets. Of UDP sockets only cookie, inode, family, state and ends are
 * filled in. False: the message is malformed. */
bool tcpdiag_read(struct tcpdiag_socket *s, const struct nlmsghdr *message);

#endif
