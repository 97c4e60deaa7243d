/* Flows of UDP, QUIC among them, as connections of the kernel source. The kernel knows UDP sockets but
 * no connections of UDP: flow.c, or else conntrack.c, counts datagrams by their ends, and the process
 * of a flow is that of the socket that gets the flow's datagrams. */

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/setup.h"
#include "source/conntrack.h"
#include "source/flow.h"
#include "source/kernel.h"
#include "source/wire.h"

enum {
	LINGER = 180000,   /* ms after the last snapshot until counting stops */
	IDLE = 2,          /* dumps in a row in which an interface showed no datagram of a flow, after
	                      which it counts as no longer showing the flow. Two, since one dump may be
	                      read just before a datagram */
	PACKETS_MIN = 4,   /* packets of a flow with short headers alone before it is taken for QUIC */
	LISTS = 8192,      /* of sockets */
};

/* A flow without a datagram for so long (ns) is taken for closed. The end of a QUIC connection cannot be
 * seen from outside, and libp2p sends something at least every 5 to 15 seconds to keep one alive. */
static const int64_t SILENCE = (int64_t)FLOW_SILENCE << 30;

/* This bit marks the cookies of flows. The kernel counts the cookies of sockets up from 1 and never
 * reaches it. */
static const uint64_t FLOW_COOKIE = UINT64_C(1) << 63;

struct udp {
	struct flow flow;
	struct conntrack conntrack;          /* counts where flow cannot */
	bool tracked;                        /* conntrack counts, not flow */
	bool all;                            /* flows that are not QUIC are shown, too */
	uint64_t seed;                       /* of the hash that is a flow's cookie */
	int64_t count_until;                 /* ms, the loop's clock: when flow stops counting; 0: it does
	                                        not count now */
	int64_t since;                       /* ns of CLOCK_BOOTTIME: when flow began to count */
	char counted_since[sizeof "counted_since=2026-11-29T18:40:12Z"];   /* since, as a tag */
	uint64_t read;                       /* ns of CLOCK_MONOTONIC: when the flows were last read */
	uint64_t lost;                       /* flow.lost when it was last logged */
	struct connection *sockets[LISTS];   /* lists of UDP sockets: of connected ones by the cookie of
	                                        their flow, of others by local port */
};

/* The cookie of the flow between these ends. */
static uint64_t flow_cookie(const struct udp *u, uint16_t local_port, const struct in6_addr *remote,
                            uint16_t remote_port)
{
	const uint16_t ports[] = {remote_port, local_port};
	const uint64_t seed = wire_hash(u->seed, remote, sizeof *remote);

	return wire_hash(seed, ports, sizeof ports) | FLOW_COOKIE;
}

/* Takes in a UDP socket of a dump, as each of tcpdiag_ask. The socket gets an entry of the table that is never shown, so that
 * its process is searched; flows take their process from that entry. Of the sockets of one process
 * that share an address (SO_REUSEPORT), only one is put into a list of sockets. */
static bool on_socket(void *arg, const struct nlmsghdr *message)
{
	struct kernel *k = arg;
	struct tcpdiag_socket s;

	if (!tcpdiag_read(&s, message))
		return false;
	struct connection *c = kernel_find(k, s.cookie);
	const bool connected = s.remote.port != 0;
	struct connection **list =
		&k->udp->sockets[(connected ? flow_cookie(k->udp, s.local.port, &s.remote.address, s.remote.port)
	                            : s.local.port) % LISTS];

	if (!c && !(c = kernel_add(k, s.cookie)))
		return true;
	c->hidden = true;
	kernel_seen(k, c, s.inode);
	c->local = s.local;
	c->remote = s.remote;
	if (!connected && *list && (*list)->remote.port == 0 && same_address(&(*list)->local, &c->local) &&
	    (*list)->holder.pid == c->holder.pid)
		return true;
	c->next_port = *list;
	*list = c;
	return true;
}

/* Takes in all UDP sockets, of IPv4 and then of IPv6. NULL, or what went wrong. */
static const char *dump_sockets(struct kernel *k)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	const char *wrong = NULL;

	memset(k->udp->sockets, 0, sizeof k->udp->sockets);
	for (size_t i = 0; !wrong && i < sizeof families; i++) {
		struct {
			struct nlmsghdr header;
			struct inet_diag_req_v2 body;
		} request = {
			.header.nlmsg_len = sizeof request,
			.header.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			.body.sdiag_family = families[i],
			.body.sdiag_protocol = IPPROTO_UDP,
			.body.idiag_states = UINT32_MAX,
		};

		wrong = tcpdiag_ask(&k->diag, &request.header, on_socket, k);
	}
	return wrong;
}

/* How well the socket c fits a flow between these ends. Where several sockets fit, the kernel gives a
 * datagram to the one for which this number is highest. 0: the socket gets no datagram of the flow. */
static int fits(const struct connection *c, const struct tcpdiag_end *local,
                const struct tcpdiag_end *remote)
{
	const bool any = is_wildcard(&c->local);

	if (any ? is_ip4(&c->local) && !is_ip4(local) : !same_address(&c->local, local))
		return 0;
	if (c->remote.port != 0)
		return c->remote.port == remote->port && same_address(&c->remote, remote) ? 4 : 0;
	return !any ? 3 : is_ip4(&c->local) == is_ip4(local) ? 2 : 1;
}

/* The socket that gets the flow's datagrams; NULL: there is none. c: the flow's connection, NULL for a new
 * flow. The socket that c had is kept as long as it is open. */
static const struct connection *socket_of(struct kernel *k, const struct connection *c, uint64_t cookie,
                                          const struct tcpdiag_end *local,
                                          const struct tcpdiag_end *remote)
{
	const size_t lists[] = {cookie % LISTS, local->port % LISTS};
	const struct connection *best = c ? kernel_find(k, c->of) : NULL;
	int most = 0;

	if (best && best->seen == k->dump)
		return best;
	best = NULL;
	for (size_t i = 0; i < 2 && most < 3; i++) {
		for (const struct connection *s = k->udp->sockets[lists[i]]; s && most < 3; s = s->next_port) {
			const int fit = s->local.port == local->port ? fits(s, local, remote) : 0;

			if (fit > most) {
				most = fit;
				best = s;
			}
		}
	}
	return best;
}

/* Is it a flow of QUIC? A flow in which this machine sent nothing is not: on a router it may be a flow of
 * another machine, at a port that some socket of this machine has, too. A flow that began before it was
 * counted shows only short headers of QUIC. Since a single bit marks these, it must be set in every one
 * of several packets and in both directions, as is not the case with other protocols. */
static bool is_quic(const struct flow_value *v)
{
	return v->packets[1] > 0 &&
	       (v->seen & (FLOW_QUIC_V1 | FLOW_QUIC_V2) ||
	        (v->seen == FLOW_SHORT && v->packets[0] > 0 && v->packets[0] + v->packets[1] >= PACKETS_MIN));
}

/* The first Initial in each direction tells who dialled (it sent the earlier one), when, and how long the
 * answer took. */
static void read_initials(const struct kernel *k, struct connection *c, const struct flow_value *v)
{
	for (int way = 0; way < 2; way++) {
		uint64_t at = v->initial[way];

		/* Connection tracking keeps an entry through a silence that ended the connection. Who sent
		 * first in that entry counts as who dialled the next connection, just after the end of the
		 * last one. */
		if (k->udp->tracked && at > 0 && at <= c->begun)
			at = c->begun + 1;
		if (at > c->begun && (c->initial[way] == 0 || at < c->initial[way]))
			c->initial[way] = at;
	}
	const uint64_t in = c->initial[0], out = c->initial[1];
	const bool dialled = in == 0 || (out > 0 && out < in);

	if (in == 0 && out == 0)
		return;
	c->told = true;
	c->message.role = dialled ? INTROSPECTION__ROLE__INITIATOR : INTROSPECTION__ROLE__RESPONDER;
	c->opened = (int64_t)(dialled ? out : in) + k->monotonic;
	if (in > 0 && out > 0)
		c->message.latency_ns = dialled ? in - out : out - in;
}

/* Sets the tags of the flow c: the process of its socket, which is of; counted_since, if the flow may have
 * begun before it was counted; and role=unknown, if it is a flow of QUIC and nothing tells who
 * dialled. */
static void fill_tags(struct udp *u, struct connection *c, const struct connection *of)
{
	size_t n = of->holder.pid != 0 ? 2 : 0;

	if (c->holder.pid != of->holder.pid) {
		c->holder.pid = of->holder.pid;
		strcpy(c->name, of->name);
		strcpy(c->number, of->number);
		c->tags[0] = c->name;
		c->tags[1] = c->number;
	}
	if (!c->told || c->opened < u->since)
		c->tags[n++] = u->counted_since;
	if (c->quic && !c->told)
		c->tags[n++] = (char *)"role=unknown";
	c->message.n_user_provided_tags = n;
}

/* The path of the flow c by this interface; a new one takes a place that is free or whose path no longer
 * shows the flow. NULL: the interface showed nothing new, or PATHS others show the flow. now: the
 * interface's counts. If it first showed the flow after the last reading, all of its counts are new and
 * are added to the sums. If it is older, it is a path that was given up and shows the flow again, and
 * nobody knows how many of its counts are new: none are added. */
static struct path *path_of(const struct udp *u, struct connection *c, uint32_t interface,
                            const struct flow_value *v, const uint64_t now[4])
{
	struct path *p = c->paths, *const end = p + c->path_count;

	while (p < end && p->interface != interface)
		p++;
	if (p < end)
		return p;
	for (p = c->path_count < PATHS ? end : c->paths; p < end && p->idle < IDLE;)
		p++;
	if (p == c->paths + PATHS || v->last <= u->read)
		return NULL;
	c->path_count += p == end;
	*p = (struct path){.interface = interface};
	for (int i = 0; i < 4 && c->before[2] + c->before[3] > 0; i++)
		p->others[i] = c->before[i] - (v->first > u->read ? 0 : now[i]);
	return p;
}

/* Takes in what an interface showed of the flow c. Several interfaces may show the same datagrams, so the
 * sums of the flow are those of the path for which they are highest. A path that shows the flow again
 * after a pause goes on from the sums that the others have reached, and so does a path whose counts
 * became lower because the kernel forgot the flow meanwhile. */
static void measure(struct kernel *k, struct connection *c, uint32_t interface, const struct flow_value *v)
{
	uint64_t *const sums[] = {&c->in.cum_bytes, &c->out.cum_bytes, &c->in.cum_packets, &c->out.cum_packets};
	const uint64_t now[] = {v->bytes[0], v->bytes[1], v->packets[0], v->packets[1]};

	for (int i = 0; i < 4 && c->counted != k->dump; i++)
		c->before[i] = *sums[i];
	c->counted = k->dump;
	struct path *p = path_of(k->udp, c, interface, v, now);
	if (!p)
		return;
	const bool lower = now[2] + now[3] < p->seen[2] + p->seen[3];
	const bool moved = memcmp(now, p->seen, sizeof now) != 0;
	for (int i = 0; i < 4; i++) {
		if (lower || (moved && p->idle >= IDLE))
			p->others[i] = c->before[i] - (lower ? 0 : p->seen[i]);
		if ((int64_t)(now[i] + p->others[i] - *sums[i]) > 0)
			*sums[i] = now[i] + p->others[i];
		p->seen[i] = now[i];
	}
	p->idle = moved ? 0 : p->idle + 1;
}

/* The flow's connection was closed, at ns of CLOCK_BOOTTIME. One snapshot shows it as closed. After that
 * its entry stays, hidden, as long as the kernel has counts of the flow: without the entry these would
 * be taken for a new flow. */
static void end_flow(struct kernel *k, struct connection *c, int64_t at)
{
	c->hidden = c->message.status == INTROSPECTION__STATUS__CLOSED;
	if (!c->hidden) {
		c->timeline.close_ts = kernel_time_of_day(k, at);
		c->begun = (uint64_t)(at - k->monotonic);
	}
	c->message.status = INTROSPECTION__STATUS__CLOSED;
}

/* A connection begins: the first one between the ends of c, or another one after the last was closed. of:
 * its socket. */
static void begin_flow(struct kernel *k, struct connection *c, const struct connection *of,
                       const struct flow_value *v)
{
	if (c->of != 0) {
		kernel_settle(k, c);
		for (struct path *p = c->paths; p < c->paths + c->path_count; p++)
			for (int i = 0; i < 4; i++)
				p->others[i] = -p->seen[i];
		c->id = wire_hash(c->id, &v->last, sizeof v->last) | FLOW_COOKIE;
	}
	c->of = of->cookie;
	c->hidden = c->announced = c->told = false;
	c->initial[0] = c->initial[1] = c->message.latency_ns = c->timeline.close_ts = 0;
	c->message.role = INTROSPECTION__ROLE__INITIATOR;
	c->message.status = INTROSPECTION__STATUS__ACTIVE;
	c->opened = (int64_t)(v->first > c->begun ? v->first : c->begun) + k->monotonic;
}

/* Takes in what one interface showed of a flow. */
static void on_flow(struct kernel *k, const struct flow_key *key, const struct flow_value *v,
                    uint64_t cookie)
{
	struct udp *u = k->udp;
	const struct tcpdiag_end local = {v->local, key->local_port};
	const struct tcpdiag_end remote = {key->remote, key->remote_port};
	struct connection *c = kernel_find(k, cookie);
	const struct connection *of = socket_of(k, c, cookie, &local, &remote);
	const int64_t told = (int64_t)v->last + k->monotonic;
	const int64_t last = c && c->last > told ? c->last : told;
	const bool quic = is_quic(v) || (c && c->quic);
	const bool silent = k->instant - (last > u->since ? last : u->since) > SILENCE;

	k->flows.used++;
	if (!c && (silent || !of || (!quic && !u->all) || !(c = kernel_add(k, cookie))))
		return;
	if (!c->message.base.descriptor || quic != c->quic) {
		kernel_describe(k, c, &local, &remote, quic ? "+udp+quic-v1" : "+udp");
		c->texts += sizeof u->counted_since + sizeof "role=unknown";
		c->quic = quic;
	}
	c->last = last;
	const bool closed = c->message.status == INTROSPECTION__STATUS__CLOSED;
	if (c->seen != k->dump) {   /* not yet seen in this dump on another interface */
		if (silent)
			end_flow(k, c, last);
		else if (!of || (c->of != 0 && c->of != of->cookie && !closed))
			end_flow(k, c, k->instant);
		else if (c->of == 0 || closed)
			begin_flow(k, c, of, v);
	}
	c->seen = k->dump;
	measure(k, c, key->interface, v);
	if (c->message.status == INTROSPECTION__STATUS__CLOSED)
		return;
	read_initials(k, c, v);
	fill_tags(u, c, of);
}

/* The flow with this cookie will soon be worked on: asks the processor to fetch the list that its entry is in
 * (entry false) or, once the list has come, the first entry of that list (entry true). */
static void expect(struct kernel *k, uint64_t cookie, bool entry)
{
	struct connection **list = kernel_list(k, cookie);

	if (!entry)
		__builtin_prefetch(list);
	else if (*list)
		for (size_t at = 0; at < offsetof(struct connection, id); at += 64)   /* a line */
			__builtin_prefetch((char *)*list + at);
}

/* Takes in a batch of flows, as each of flow_read. The entries of flows are scattered over a large table,
 * and waiting for memory would take as long as all else that is done with a flow. So, while one flow is
 * worked on, the processor is asked to fetch the entries of later flows: first the list that the
 * entry is in, and once that has come, the entry. */
static void on_flows(void *arg, const struct flow_key *keys, const struct flow_value *values, size_t n)
{
	enum { ENTRY = 16, LIST = 32 };   /* how many flows ahead entry and list are asked for */
	struct kernel *k = arg;
	uint64_t cookies[FLOW_BATCH];

	for (size_t i = 0; i < n + LIST; i++) {
		if (i < n) {
			cookies[i] = flow_cookie(k->udp, keys[i].local_port, &keys[i].remote, keys[i].remote_port);
			expect(k, cookies[i], false);
		}
		if (i >= LIST - ENTRY && i < n + LIST - ENTRY)
			expect(k, cookies[i - (LIST - ENTRY)], true);
		if (i >= LIST)
			on_flow(k, &keys[i - LIST], &values[i - LIST], cookies[i - LIST]);
	}
}

static void udp_close(struct kernel *k);

/* From now on conntrack counts. It cannot tell QUIC, so all flows of UDP are shown. */
static void count_by_conntrack(struct kernel *k)
{
	k->udp->tracked = k->udp->all = true;
	k->flows.limit = 0;
	kernel_count_by(k, ", UDP by conntrack");
}

static const char *read_conntrack(struct kernel *k)
{
	struct conntrack *c = &k->udp->conntrack;
	const char *wrong = conntrack_read(c, k->instant - k->monotonic, on_flows, k);

	k->left_out += c->cut;
	return wrong;
}

/* Reading the counts of flow failed (errno). If the reason is that this kernel lets nobody without CAP_BPF
 * read them, conntrack counts from now on; without conntrack, TCP alone is shown. NULL, or what went
 * wrong. */
static const char *failed(struct kernel *k)
{
	struct udp *u = k->udp;
	const int error = errno;

	if (error != EPERM)
		return strerror(error);
	log_event("error source=kernel reason=\"QUIC cannot be %s: without CAP_BPF, Linux before 5.19 needs "
	          "kernel.unprivileged_bpf_disabled=0\"",
	          u->conntrack.file < 0 ? "seen any more" : "told from other UDP, which conntrack counts");
	if (u->conntrack.file < 0) {
		udp_close(k);
		return NULL;
	}
	flow_close(&u->flow);
	u->count_until = 0;
	count_by_conntrack(k);
	return read_conntrack(k);
}

static void begin_to_count(struct kernel *k)
{
	struct udp *u = k->udp;
	const time_t now = (time_t)(kernel_time_of_day(k, k->instant) / 1000);
	struct tm utc = {0};

	u->since = k->instant;
	strftime(u->counted_since, sizeof u->counted_since, "counted_since=%FT%TZ", gmtime_r(&now, &utc));
}

static const char *read_flows(struct kernel *k, int64_t now)
{
	struct udp *u = k->udp;

	if (u->count_until == 0) {
		if (flow_count(&u->flow, true) != 0)
			return failed(k);
		begin_to_count(k);
	}
	u->count_until = now + LINGER;
	if (flow_read(&u->flow, on_flows, k) != 0)
		return failed(k);
	u->read = (uint64_t)clock_ns(CLOCK_MONOTONIC);
	if (u->flow.lost / 2 >= u->lost && u->flow.lost > 0) {   /* logged again when it has doubled */
		log_event("warning source=kernel reason=\"more than %d flows of UDP: the kernel forgot those "
		          "that were silent for longest\" lost=%llu",
		          FLOWS_MAX, (unsigned long long)u->flow.lost);
		u->lost = u->flow.lost;
	}
	return NULL;
}

static const char *udp_dump(struct kernel *k, int64_t now)
{
	struct udp *u = k->udp;
	const char *wrong = dump_sockets(k);

	if (wrong)
		return wrong;
	k->flows.used = 0;
	return u->tracked ? read_conntrack(k) : read_flows(k, now);
}

/* Counting costs the kernel a little for each packet of the machine, so flow stops LINGER after the last
 * snapshot. */
static void udp_poll(const struct kernel *k, int64_t *deadline)
{
	if (k->udp->count_until > 0 && k->udp->count_until < *deadline)
		*deadline = k->udp->count_until;
}

static void udp_serve(struct kernel *k, int64_t now)
{
	if (k->udp->count_until == 0 || now < k->udp->count_until)
		return;
	flow_count(&k->udp->flow, false);
	k->udp->count_until = 0;
}

static void udp_close(struct kernel *k)
{
	kernel_count_by(k, "");
	flow_close(&k->udp->flow);
	conntrack_close(&k->udp->conntrack);
	free(k->udp);
	k->udp = NULL;
}

static void udp_open(struct kernel *k, bool all)
{
	struct udp *u = k->udp = calloc(1, sizeof *u);
	const char *missing = u ? flow_open(&u->flow) : "memory", *untracked = "memory";
	const char *reason = strerror(errno);

	if (u)
		untracked = conntrack_open(&u->conntrack, all);
	const char *sockets = missing && untracked ? NULL : dump_sockets(k);
	if (sockets) {
		missing = "sockets";
		reason = untracked = sockets;
	}
	if (missing)
		log_event("warning source=kernel reason=\"QUIC cannot be %s: %s: %s\" conntrack=\"%s\" "
		          "needs=\"CAP_NET_RAW and CAP_BPF at the start, Linux 5.11\"",
		          untracked ? "seen, TCP alone is shown" : "told from other UDP", missing, reason,
		          untracked ? untracked : "counts");
	if (missing && untracked) {
		if (u)
			udp_close(k);
		return;
	}
	u->all = all;
	u->seed = setup_seed();
	introspection__resource__init(&k->flows);
	k->flows.scope = (char *)"kernel";
	k->flows.name = (char *)"udp-flows";
	k->flows.limit = FLOWS_MAX;
	if (missing)
		count_by_conntrack(k);
	else
		kernel_count_by(k, all ? ", UDP by eBPF" : ", QUIC by eBPF");
}

static const struct kernel_udp udp = {
	.open = udp_open,
	.close = udp_close,
	.dump = udp_dump,
	.poll = udp_poll,
	.serve = udp_serve,
};

const struct kernel_udp *const kernel_udp = &udp;
