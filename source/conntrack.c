#include "source/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Is the address one of this machine? Connection tracking also has what the machine forwards for
 * others. */
static bool is_own(const struct conntrack *c, const struct in6_addr *a)
{
	if (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == IN_LOOPBACKNET)
		return true;
	for (size_t i = 0; i < c->own_count; i++)
		if (IN6_ARE_ADDR_EQUAL(a, &c->own[i]))
			return true;
	return false;
}

/* Notes an address that the kernel tells (rtnetlink(7)). False: the message is malformed. */
static bool on_address(void *arg, const struct nlmsghdr *m)
{
	struct conntrack *c = arg;
	const struct ifaddrmsg *d = NLMSG_DATA(m);

	if (m->nlmsg_type != RTM_NEWADDR || m->nlmsg_len < NLMSG_LENGTH(sizeof *d))
		return false;
	const size_t size = d->ifa_family == AF_INET ? 4 : 16;
	unsigned left = m->nlmsg_len - (unsigned)NLMSG_LENGTH(sizeof *d);
	const struct rtattr *a = (const void *)(d + 1), *found = NULL;
	/* On a point-to-point interface IFA_LOCAL is this machine's address and IFA_ADDRESS that of the
	 * other end. Other interfaces may have IFA_ADDRESS alone. */
	for (; RTA_OK(a, left) && RTA_ALIGN(a->rta_len) <= left; a = RTA_NEXT(a, left))
		if (RTA_PAYLOAD(a) >= size && (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !found)))
			found = a;
	if (found && c->own_count < CONNTRACK_OWN_MAX)
		c->own[c->own_count++] = tcpdiag_end_of(d->ifa_family, RTA_DATA(found), 0).address;
	return true;
}

static const char *read_addresses(struct conntrack *c)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg body;
	} request = {
		.header.nlmsg_len = sizeof request,
		.header.nlmsg_type = RTM_GETADDR,
		.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		.body.ifa_family = AF_UNSPEC,
	};

	c->own_count = 0;
	return tcpdiag_ask(&c->addresses, &request.header, on_address, c);
}

/* Takes name=value from an entry. way: 0 or 1, as in struct conntrack_entry. False: the value of src or
 * dst is not an address. */
static bool read_member(struct conntrack_entry *e, int way, const char *name, const char *value)
{
	struct in6_addr address;

	if (strcmp(name, "src") == 0 || strcmp(name, "dst") == 0) {
		const int family = strchr(value, ':') ? AF_INET6 : AF_INET;

		if (inet_pton(family, value, &address) != 1)
			return false;
		(*name == 's' ? e->src : e->dst)[way].address = tcpdiag_end_of((uint8_t)family, &address, 0).address;
	} else if (strcmp(name, "sport") == 0)
		e->src[way].port = (uint16_t)strtoul(value, NULL, 10);
	else if (strcmp(name, "dport") == 0)
		e->dst[way].port = (uint16_t)strtoul(value, NULL, 10);
	else if (strcmp(name, "packets") == 0)
		e->packets[way] = strtoull(value, NULL, 10);
	else if (strcmp(name, "bytes") == 0)
		e->bytes[way] = strtoull(value, NULL, 10);
	else if (strcmp(name, "delta-time") == 0)
		e->age = strtoull(value, NULL, 10);
	return true;
}

bool conntrack_parse(char *line, struct conntrack_entry *e)
{
	unsigned protocol;
	int at = 0, way = -1;
	char *save;

	*e = (struct conntrack_entry){0};
	if (sscanf(line, "%*s %*u %*s %u %u %n", &protocol, &e->left, &at) != 2 || protocol != IPPROTO_UDP)
		return false;
	for (char *name = strtok_r(line + at, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		char *value = strchr(name, '=');

		e->assured |= strcmp(name, "[ASSURED]") == 0;
		if (!value)
			continue;
		*value++ = '\0';
		way += strcmp(name, "src") == 0;   /* the first member of each way */
		if (way < 0 || way > 1 || !read_member(e, way, name, value))
			return false;
	}
	return way == 1 && e->packets[0] > 0;
}

/* Calls each for an entry as one of its ends sees it. way: 0 for the end that sent first, 1 for the other
 * one. */
static void tell(const struct conntrack *c, const struct conntrack_entry *e, int way, int64_t now,
                 void (*each)(void *arg, const struct flow_key *keys, const struct flow_value *values,
                              size_t n),
                 void *arg)
{
	const unsigned timeout = c->timeout[e->assured];
	const int64_t silence = timeout > e->left ? timeout - e->left : 0;
	/* The kernel computes the age by the clock of the day. An age beyond the uptime shows that this
	 * clock was set since, and counts as unknown. */
	const int64_t age = e->age < (uint64_t)now / 1000000000 ? (int64_t)e->age * 1000000000 : 0;
	const struct flow_key key = {
		.remote = e->dst[way].address,
		.remote_port = e->dst[way].port,
		.local_port = e->src[way].port,
	};
	struct flow_value value = {
		.bytes = {e->bytes[!way], e->bytes[way]},
		.packets = {e->packets[!way], e->packets[way]},
		.first = (uint64_t)(now - age),
		.last = (uint64_t)(now - silence * 1000000000),
		.seen = FLOW_OTHER,
		.local = e->src[way].address,
	};

	value.initial[way == 0] = value.first;
	each(arg, &key, &value, 1);
}

const char *conntrack_read(struct conntrack *c, int64_t now,
                           void (*each)(void *arg, const struct flow_key *keys,
                                        const struct flow_value *values, size_t n),
                           void *arg)
{
	const char *wrong = read_addresses(c);
	struct conntrack_entry e;
	size_t used = 0, sum = 0;
	ssize_t n = 0;

	if (wrong || lseek(c->file, 0, SEEK_SET) != 0)
		return wrong ? wrong : strerror(errno);
	for (; sum < CONNTRACK_BYTES_MAX && (n = read(c->file, c->text + used, sizeof c->text - used)) > 0; sum += (size_t)n) {
		char *line = c->text, *end;

		for (used += (size_t)n; (end = memchr(line, '\n', used)); line = end + 1) {
			*end = '\0';
			used -= (size_t)(end + 1 - line);
			if (!conntrack_parse(line, &e) || (!e.assured && !c->all))
				continue;
			for (int way = 0; way < 2; way++)
				if (is_own(c, &e.src[way].address))
					tell(c, &e, way, now, each, arg);
		}
		memmove(c->text, line, used);
	}
	c->cut = n > 0;
	return n < 0 ? strerror(errno) : NULL;
}

/* The number in a file of /proc/sys; 0: the file cannot be read. */
static unsigned read_number(const char *path)
{
	char text[16] = "";
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	return (unsigned)strtoul(text, NULL, 10);
}

#define SETTING "/proc/sys/net/netfilter/nf_conntrack_"

const char *conntrack_open(struct conntrack *c, bool all)
{
	c->all = all;
	c->addresses.fd = -1;
	c->file = open("/proc/net/nf_conntrack", O_RDONLY | O_CLOEXEC);
	if (c->file < 0)
		return strerror(errno);
	c->timeout[false] = read_number(SETTING "udp_timeout");
	c->timeout[true] = read_number(SETTING "udp_timeout_stream");
	const char *wrong = read_number(SETTING "acct") == 0 ? "net.netfilter.nf_conntrack_acct is 0" : NULL;
	if (!wrong && tcpdiag_open(&c->addresses, NETLINK_ROUTE) != 0)
		wrong = strerror(errno);
	if (!wrong)
		wrong = read_addresses(c);
	if (wrong)
		conntrack_close(c);
	return wrong;
}

void conntrack_close(struct conntrack *c)
{
	if (c->addresses.fd >= 0)
		close(c->addresses.fd);
	if (c->file >= 0)
		close(c->file);
	c->file = c->addresses.fd = -1;
}
