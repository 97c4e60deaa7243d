#include "tcpdiag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

enum {
	ALL_STATES = 0x1ffe,   /* bits 1 << state, from 1 (ESTABLISHED) to 12 (NEW_SYN_RECV), which the
	                          kernel reports as SYN_RECV */
	STATES = ALL_STATES & ~(1 << TCPDIAG_TIME_WAIT) & ~(1 << TCPDIAG_CLOSE),
	DATAGRAMS_MAX = 65536, /* more than a dump has */
};

struct tcpdiag_end tcpdiag_end_of(uint8_t family, const void *address, uint16_t port)
{
	struct tcpdiag_end e = {.port = ntohs(port)};

	if (family == AF_INET) {
		memset(&e.address.s6_addr[10], 0xff, 2);
		memcpy(&e.address.s6_addr[12], address, 4);
	} else {
		memcpy(&e.address, address, sizeof e.address);
	}
	return e;
}

/* Which end dialled? The kernel counts the SYN of the end that dialled among the bytes that its peer has
 * acknowledged, but not among the bytes it has sent. Once all that was sent is acknowledged, the two
 * counters therefore differ by 1 at the end that dialled and not at all at the other one. An
 * established socket without any acknowledged byte accepted, since the one that dialled is established
 * by the acknowledgement of its SYN. len: bytes of info that the kernel filled in; before Linux 4.19 it
 * did not count all that is needed. */
static enum tcpdiag_side side_of(uint8_t state, const struct tcp_info *info, size_t len)
{
	uint64_t ahead = info->tcpi_bytes_acked - (info->tcpi_bytes_sent - info->tcpi_bytes_retrans);

	if (state == TCPDIAG_SYN_SENT)
		return TCPDIAG_DIALLED;
	if (len < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof info->tcpi_bytes_retrans ||
	    (state != TCPDIAG_ESTABLISHED && state != TCPDIAG_CLOSE_WAIT))   /* a FIN sent counts as a byte */
		return TCPDIAG_UNTOLD;
	if (info->tcpi_bytes_acked == 0 || (info->tcpi_unacked == 0 && ahead == 0))
		return TCPDIAG_ACCEPTED;
	return info->tcpi_unacked == 0 && ahead == 1 ? TCPDIAG_DIALLED : TCPDIAG_UNTOLD;
}

static void count(struct tcpdiag_socket *s, const struct tcp_info *info)
{
	/* The peer's FIN counts as one received byte. */
	bool fin = s->state == TCPDIAG_CLOSE_WAIT || s->state == TCPDIAG_LAST_ACK ||
	           s->state == TCPDIAG_CLOSING;

	s->counted = true;
	if (info->tcpi_bytes_received > 0)
		s->bytes_in = info->tcpi_bytes_received - fin;
	if (info->tcpi_bytes_sent > info->tcpi_bytes_retrans)
		s->bytes_out = info->tcpi_bytes_sent - info->tcpi_bytes_retrans;
	s->bytes_again = info->tcpi_bytes_retrans;
	s->packets_in = info->tcpi_segs_in;
	s->packets_out = info->tcpi_segs_out;
	s->rtt = info->tcpi_rtt;
}

bool tcpdiag_read(struct tcpdiag_socket *s, const struct nlmsghdr *m)
{
	const struct inet_diag_msg *d = NLMSG_DATA(m);

	if ((m->nlmsg_type != TCPDIAG_GETSOCK && m->nlmsg_type != SOCK_DIAG_BY_FAMILY) ||
	    m->nlmsg_len < NLMSG_LENGTH(sizeof *d))
		return false;
	*s = (struct tcpdiag_socket){
		.cookie = (uint64_t)d->id.idiag_cookie[1] << 32 | d->id.idiag_cookie[0],
		.state = d->idiag_state,
		.inode = d->idiag_inode,
		.family = d->idiag_family,
		.local = tcpdiag_end_of(d->idiag_family, d->id.idiag_src, d->id.idiag_sport),
		.remote = tcpdiag_end_of(d->idiag_family, d->id.idiag_dst, d->id.idiag_dport),
	};
	unsigned left = m->nlmsg_len - (unsigned)NLMSG_LENGTH(sizeof *d);
	const struct rtattr *a = (const void *)(d + 1);
	while (RTA_OK(a, left) && a->rta_type != INET_DIAG_INFO && RTA_ALIGN(a->rta_len) <= left)
		a = RTA_NEXT(a, left);
	if (RTA_OK(a, left) && a->rta_type == INET_DIAG_INFO) {
		struct tcp_info info = {0};
		size_t len = RTA_PAYLOAD(a);

		/* An older kernel's struct is shorter than this one, a newer kernel's is longer. */
		memcpy(&info, RTA_DATA(a), len < sizeof info ? len : sizeof info);
		count(s, &info);
		s->side = side_of(s->state, &info, len);
	}
	return true;
}

static const char *malformed = "malformed answer";

/* What went wrong, as the message says that ends a dump; NULL: nothing did. */
static const char *end_of_dump(const struct nlmsghdr *m)
{
	int error = 0;

	if (m->nlmsg_len >= NLMSG_LENGTH(sizeof error))
		memcpy(&error, NLMSG_DATA(m), sizeof error);
	if (error == -ENOENT || error == -EOPNOTSUPP)
		return "this kernel cannot list its sockets, it has no tcp_diag or udp_diag";
	if (error != 0)
		return strerror((int)(0U - (unsigned)error));
	return m->nlmsg_type == NLMSG_DONE ? NULL : malformed;
}

static const char *read_answer(struct tcpdiag *d,
                               bool (*each)(void *arg, const struct nlmsghdr *message), void *arg)
{
	for (;;) {
		ssize_t len = recv(d->fd, d->answer, sizeof d->answer, MSG_TRUNC);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return strerror(errno);
		if ((size_t)len > sizeof d->answer)
			return "answer too long";
		unsigned left = (unsigned)len;
		const struct nlmsghdr *m = (const void *)d->answer;
		do {
			if (!NLMSG_OK(m, left) || NLMSG_ALIGN(m->nlmsg_len) > left ||
			    m->nlmsg_seq != d->request)
				return malformed;
			if (m->nlmsg_flags & NLM_F_DUMP_INTR)
				return "interrupted by a change";
			if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
				return end_of_dump(m);
			if (!each(arg, m))
				return malformed;
			m = NLMSG_NEXT(m, left);
		} while (left > 0);
	}
}

/* Reads the rest of an answer and throws it away, or it would be taken for the answer to the next request.
 * The kernel gives the rest of a dump as fast as it is read. */
static void drain(struct tcpdiag *d)
{
	for (int i = 0; i < DATAGRAMS_MAX; i++)
		if (recv(d->fd, d->answer, sizeof d->answer, 0) < 0)
			break;
}

int tcpdiag_open(struct tcpdiag *d, int protocol)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	d->fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	/* A socket that is connected to the kernel gets no messages of other processes. */
	return d->fd < 0 ? -1 : connect(d->fd, (struct sockaddr *)&kernel, sizeof kernel);
}

const char *tcpdiag_ask(struct tcpdiag *d, struct nlmsghdr *request,
                        bool (*each)(void *arg, const struct nlmsghdr *message), void *arg)
{
	ssize_t sent;

	request->nlmsg_seq = ++d->request;
	do
		sent = send(d->fd, request, request->nlmsg_len, 0);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return strerror(errno);
	const char *wrong = read_answer(d, each, arg);
	if (wrong)
		drain(d);
	return wrong;
}

/* There are two forms of the request. Only the older one lists IPv4 and IPv6 at once, so that the kernel
 * goes through its table a single time: that table is large even if few of its sockets are of this
 * network namespace. */
const char *tcpdiag_dump(struct tcpdiag *d,
                         bool (*each)(void *arg, const struct nlmsghdr *message), void *arg)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req body;
	} request = {
		.header.nlmsg_len = sizeof request,
		.header.nlmsg_type = TCPDIAG_GETSOCK,
		.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		.body.idiag_family = AF_UNSPEC,
		.body.idiag_ext = 1 << (INET_DIAG_INFO - 1),
		.body.idiag_states = STATES,
	};

	return tcpdiag_ask(d, &request.header, each, arg);
}
