/* Flows of UDP, QUIC among them, as connections of the kernel source. The kernel has no such
 * thing: flow.c counts datagrams, and a flow belongs to the process of the socket that gets
 * them. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/setup.h"
#include "source/flow.h"
#include "source/kernel.h"
#include "source/wire.h"

enum {
	LINGER = 180000,   /* ms for which it is counted on when nobody asks any more */
	PACKETS_MIN = 4,   /* of what looks like QUIC, before it is taken for that */
};

/* Without a datagram for so long (ns), a flow is taken for closed: QUIC tells nobody but its
 * peer, and libp2p keeps a connection alive every 5 to 15 seconds. */
static const int64_t SILENCE = INT64_C(60000000000);

/* Set in the cookies of flows, which no socket's counter reaches. */
static const uint64_t FLOW_COOKIE = UINT64_C(1) << 63;

struct udp {
	struct flow flow;
	bool all;                            /* what is not QUIC is shown, too */
	uint64_t seed;                       /* of the hash that names a flow */
	int64_t count_until;                 /* ms, the loop's clock; 0: nothing is counted now */
	uint64_t lost;                       /* flows, when that was last logged */
	struct connection *by_port[65536];   /* UDP sockets, by local port */
};

/* A UDP socket is an entry of the table that is never shown: its process is looked up. */
static void on_socket(void *arg, const struct tcpdiag_socket *s)
{
	struct kernel *k = arg;
	struct connection *c = kernel_find(k, s->cookie);

	if (!c && !(c = kernel_add(k, s->cookie)))
		return;
	c->hidden = true;
	kernel_seen(k, c, s->inode);
	c->local = s->local;
	c->remote = s->remote;
	c->next_port = k->udp->by_port[s->local.port];
	k->udp->by_port[s->local.port] = c;
}

/* Does the socket get what the flow's peer sends? 0: no; of several that would, the kernel
 * takes the one with the highest number. */
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

/* The socket that the flow belongs to; NULL: there is none. */
static const struct connection *socket_of(const struct kernel *k, const struct tcpdiag_end *local,
                                          const struct tcpdiag_end *remote)
{
	const struct connection *best = NULL;
	int most = 0;

	for (const struct connection *c = k->udp->by_port[local->port]; c; c = c->next_port) {
		const int fit = fits(c, local, remote);

		if (fit > most) {
			most = fit;
			best = c;
		}
	}
	return best;
}

/* A flow that began before it was counted shows only short headers of QUIC, whose mark is one
 * bit. Other protocols do not set it always, nor in both directions. */
static bool is_quic(const struct flow_value *v)
{
	return v->seen & (FLOW_QUIC_V1 | FLOW_QUIC_V2) ||
	       (v->seen == FLOW_SHORT && v->packets[0] > 0 && v->packets[1] > 0 &&
	        v->packets[0] + v->packets[1] >= PACKETS_MIN);
}

/* Who dialled, when, and how long the answer took, as far as Initials tell. */
static void read_initials(const struct kernel *k, struct connection *c, const struct flow_value *v)
{
	const uint64_t in = v->initial[0], out = v->initial[1];
	const bool dialled = in == 0 || (out > 0 && out < in);

	if (in == 0 && out == 0)
		return;
	c->told = true;
	c->message.role = dialled ? INTROSPECTION__ROLE__INITIATOR : INTROSPECTION__ROLE__RESPONDER;
	c->opened = (int64_t)(dialled ? out : in) + k->monotonic;
	if (in > 0 && out > 0)
		c->message.latency_ns = dialled ? in - out : out - in;
}

/* Process of the socket, and that nobody knows who dialled. */
static void fill_tags(struct connection *c, const struct connection *of, bool quic)
{
	static char unknown[] = "role=unknown";
	const bool named = of->holder.pid != 0;

	c->holder.pid = of->holder.pid;
	strcpy(c->name, of->name);
	strcpy(c->number, of->number);
	c->tags[0] = named ? c->name : unknown;
	c->tags[2] = unknown;
	c->message.n_user_provided_tags = (named ? 2U : 0U) + (quic && !c->told ? 1U : 0U);
}

/* Of a flow that several interfaces show, as a bridge and its port do, the one with the most
 * counts. */
static void measure(struct kernel *k, struct connection *c, const struct flow_value *v)
{
	raise_to(&c->in.cum_bytes, v->bytes[0]);
	raise_to(&c->out.cum_bytes, v->bytes[1]);
	raise_to(&c->in.cum_packets, v->packets[0]);
	raise_to(&c->out.cum_packets, v->packets[1]);
	if (k->instant - ((int64_t)v->last + k->monotonic) <= SILENCE) {
		c->announced = c->announced && c->message.status != INTROSPECTION__STATUS__CLOSED;
		c->hidden = false;
		c->message.status = INTROSPECTION__STATUS__ACTIVE;
		c->timeline.close_ts = 0;
	} else if (c->seen != k->dump) {
		c->hidden = c->hidden || c->message.status == INTROSPECTION__STATUS__CLOSED;
		c->message.status = INTROSPECTION__STATUS__CLOSED;
		c->timeline.close_ts = kernel_time_of_day(k, (int64_t)v->last + k->monotonic);
	}
	c->seen = k->dump;
}

static void on_flow(void *arg, const struct flow_key *key, const struct flow_value *v)
{
	struct kernel *k = arg;
	const struct tcpdiag_end local = {v->local, key->local_port};
	const struct tcpdiag_end remote = {key->remote, key->remote_port};
	const struct connection *of = socket_of(k, &local, &remote);
	const bool quic = is_quic(v);

	k->flows.used++;
	if (!of || (!quic && !k->udp->all))
		return;
	const uint16_t ports[] = {key->remote_port, key->local_port};
	const uint64_t seed = wire_hash(k->udp->seed, &key->remote, sizeof key->remote);
	const uint64_t cookie = wire_hash(seed, ports, sizeof ports) | FLOW_COOKIE;
	struct connection *c = kernel_find(k, cookie);
	if (!c) {
		if (k->instant - ((int64_t)v->last + k->monotonic) > SILENCE ||
		    !(c = kernel_add(k, cookie)))
			return;
		kernel_describe(k, c, &local, &remote, quic ? "+udp+quic-v1" : "+udp");
		c->opened = (int64_t)v->first + k->monotonic;
		c->texts += sizeof c->name + sizeof c->number + sizeof "role=unknown";
	}
	read_initials(k, c, v);
	fill_tags(c, of, quic);
	measure(k, c, v);
}

static const char *udp_dump(struct kernel *k, int64_t now)
{
	struct udp *u = k->udp;

	if (u->count_until == 0 && flow_count(&u->flow, true) != 0)
		return strerror(errno);
	u->count_until = now + LINGER;
	memset(u->by_port, 0, sizeof u->by_port);
	const char *wrong = tcpdiag_dump_udp(&k->diag, on_socket, k);
	if (wrong)
		return wrong;
	k->flows.used = 0;
	if (flow_read(&u->flow, on_flow, k) != 0)
		return strerror(errno);
	if (u->flow.lost > 0 && u->lost == 0)
		log_event("warning source=kernel reason=\"more than %d flows of UDP: the kernel forgot those "
		          "that were silent for longest\" lost=%llu",
		          FLOWS_MAX, (unsigned long long)u->flow.lost);
	u->lost = u->flow.lost;
	return NULL;
}

/* Counting costs the kernel for each packet of the machine: only while somebody watches. */
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
	flow_close(&k->udp->flow);
	free(k->udp);
	k->udp = NULL;
}

static void udp_open(struct kernel *k, bool all)
{
	struct udp *u = k->udp = calloc(1, sizeof *u);
	const char *wrong = u ? flow_open(&u->flow) : "memory";
	const char *reason = wrong ? strerror(errno) : tcpdiag_dump_udp(&k->diag, on_socket, k);

	if (reason) {
		log_event("warning source=kernel reason=\"QUIC cannot be seen, TCP alone is shown: %s: %s\" "
		          "needs=\"CAP_NET_RAW and CAP_BPF at the start, Linux 5.8\"",
		          wrong ? wrong : "sockets", reason);
		if (u && !wrong)
			flow_close(&u->flow);
		free(u);
		k->udp = NULL;
		return;
	}
	u->all = all;
	u->seed = setup_seed();
	introspection__resource__init(&k->flows);
	k->flows.scope = (char *)"kernel";
	k->flows.name = (char *)"udp-flows";
	k->flows.limit = FLOWS_MAX;
}

static const struct kernel_udp udp = {
	.open = udp_open,
	.close = udp_close,
	.dump = udp_dump,
	.poll = udp_poll,
	.serve = udp_serve,
};

const struct kernel_udp *const kernel_udp = &udp;
