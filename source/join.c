#include "source/join.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/setup.h"
#include "source/wire.h"

enum {
	CONNECTIONS_MAX = 65536,   /* of the node, and of the kernel; further ones are not joined */
	TABLE_BITS = 16,
	ADDED_MAX = 128,           /* bytes that the kernel adds to a connection of the node, at most */
	NONE = 0,                  /* no connection of the kernel: their numbers begin at 1 */
};

/* By what a connection of the kernel is found. */
enum by {
	BY_BOTH,     /* remote end and local port */
	BY_REMOTE,   /* remote end alone, for nodes that do not tell their own end */
	BY,
};

/* One end of a connection, read from a multiaddr. All zero: no end is known. An end is hashed as it
 * stands in memory, so it has no padding. */
struct end {
	struct in6_addr address;   /* IPv4: mapped into IPv6 */
	uint16_t port;
	uint16_t transport;        /* IPPROTO_TCP or IPPROTO_UDP */
};

/* A connection of the kernel. */
struct candidate {
	struct end local, remote;
	uint32_t next[BY];         /* number of the next candidate in the same list; or NONE */
	uint32_t claims;           /* connections of the node whose only match this is */
};

struct join {
	size_t max;
	uint64_t seed;                              /* of the hash: peers choose their addresses */
	uint32_t table[BY][1 << TABLE_BITS];        /* lists of candidates, by hash; or NONE */
	struct candidate all[1 + CONNECTIONS_MAX];  /* by number, from 1 */
	uint32_t belongs[CONNECTIONS_MAX];          /* for each connection of the node the number of the
	                                               candidate that it matches; or NONE */
	Introspection__Connection *unlisted[CONNECTIONS_MAX];   /* of the kernel, to be added */
	uint8_t out[];                              /* the joined State, of max bytes */
};

struct join *join_open(size_t max)
{
	struct join *j = calloc(1, sizeof *j + max);

	if (!j)
		return NULL;
	j->max = max;
	j->seed = setup_seed();
	return j;
}

void join_close(struct join *j)
{
	free(j);
}

/* Reads text, if it comes next. */
static bool begins(struct wire_reader *r, const char *text)
{
	const size_t len = strlen(text);

	if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* Reads the beginning of a multiaddr: /ip4 or /ip6, ADDRESS, /tcp or /udp, PORT. False, and *e is all
 * zero: the multiaddr has another form, or is that of a connection through a relay, whose address this
 * is. */
static bool read_end(struct end *e, const uint8_t *text, size_t len)
{
	static const char circuit[] = "/p2p-circuit";
	struct wire_reader r = {.at = text, .end = text + len};
	char address[INET6_ADDRSTRLEN] = "";
	unsigned long port = 0;

	*e = (struct end){0};
	const bool v4 = begins(&r, "/ip4/");
	if (!v4 && !begins(&r, "/ip6/"))
		return false;
	for (size_t n = 0; r.at < r.end && *r.at != '/' && n < sizeof address - 1; n++)
		address[n] = (char)*r.at++;
	const bool tcp = begins(&r, "/tcp/");
	if (!tcp && !begins(&r, "/udp/"))
		return false;
	while (r.at < r.end && *r.at >= '0' && *r.at <= '9' && port <= UINT16_MAX)
		port = port * 10 + (unsigned long)(*r.at++ - '0');
	if (port == 0 || port > UINT16_MAX || memmem(r.at, (size_t)(r.end - r.at), circuit, strlen(circuit)))
		return false;
	if (v4)
		memset(&e->address.s6_addr[10], 0xff, 2);
	if (inet_pton(v4 ? AF_INET : AF_INET6, address, &e->address.s6_addr[v4 ? 12 : 0]) != 1) {
		*e = (struct end){0};
		return false;
	}
	e->port = (uint16_t)port;
	e->transport = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	return true;
}

static bool same_end(const struct end *a, const struct end *b)
{
	return a->port == b->port && a->transport == b->transport &&
	       IN6_ARE_ADDR_EQUAL(&a->address, &b->address);
}

static bool is_unspecified(const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr32[3] == INADDR_ANY);
}

/* Can the end that the node tells as its own be the kernel's local one? A node that listens at all
 * addresses may tell no more than its port, and a node that tells no end excludes none. */
static bool may_be(const struct end *told, const struct end *local)
{
	return told->port == 0 ||
	       (is_unspecified(&told->address) ? told->port == local->port : same_end(told, local));
}

/* The list of candidates with these ends; BY_REMOTE: local_port does not matter. */
static uint32_t *bucket(struct join *j, enum by by, const struct end *remote, uint16_t local_port)
{
	const uint16_t port = by == BY_BOTH ? local_port : 0;
	const uint64_t hash = wire_hash(wire_hash(j->seed, remote, sizeof *remote), &port, sizeof port);

	return &j->table[by][hash >> (64 - TABLE_BITS)];
}

static void index_kernel(struct join *j, const Introspection__Subsystems *kernel, size_t n)
{
	memset(j->table, 0, sizeof j->table);
	for (uint32_t i = 1; i <= n; i++) {
		struct candidate *c = &j->all[i];
		const Introspection__EndpointPair *ends = kernel->connections[i - 1]->endpoints;

		*c = (struct candidate){0};
		read_end(&c->local, (uint8_t *)ends->src_multiaddr, strlen(ends->src_multiaddr));
		if (!read_end(&c->remote, (uint8_t *)ends->dst_multiaddr, strlen(ends->dst_multiaddr)))
			continue;
		for (enum by by = 0; by < BY; by++) {
			uint32_t *list = bucket(j, by, &c->remote, c->local.port);
			c->next[by] = *list;
			*list = i;
		}
	}
}

/* What is needed of an encoded Connection. */
struct told {
	struct end local, remote;
	bool closed;
};

static struct told read_connection(struct wire_reader r)
{
	struct told t = {0};
	struct wire_field f;

	while (r.at < r.end && wire_next(&r, &f)) {
		if (f.number == 3)   /* status */
			t.closed = f.value == INTROSPECTION__STATUS__CLOSED;
		if (f.number != 5)   /* endpoints */
			continue;
		struct wire_reader ends = wire_inside(&r, &f);
		while (ends.at < ends.end && wire_next(&ends, &f))
			if (f.number == 1 || f.number == 2)
				read_end(f.number == 1 ? &t.local : &t.remote, ends.at - f.value, (size_t)f.value);
	}
	return t;
}

/* The one candidate that matches the node's connection; NONE: none does, or more than one. */
static uint32_t find(struct join *j, const struct told *t)
{
	const enum by by = t->local.port > 0 ? BY_BOTH : BY_REMOTE;
	uint32_t found = NONE;

	if (t->closed || t->remote.port == 0)
		return NONE;
	for (uint32_t i = *bucket(j, by, &t->remote, t->local.port); i != NONE; i = j->all[i].next[by]) {
		if (!same_end(&j->all[i].remote, &t->remote) || !may_be(&t->local, &j->all[i].local))
			continue;
		if (found != NONE)
			return NONE;
		found = i;
	}
	return found;
}

/* Calls each(arg, connection) for every connection of an encoded State. */
static void each_connection(const uint8_t *state, size_t len,
                            void (*each)(void *arg, struct wire_reader connection), void *arg)
{
	struct wire_reader r = {.at = state, .end = state + len};
	struct wire_field f;

	while (r.at < r.end && wire_next(&r, &f)) {
		if (f.number != 1)   /* subsystems */
			continue;
		struct wire_reader in = wire_inside(&r, &f);
		while (in.at < in.end && wire_next(&in, &f))
			if (f.number == 1)   /* connections */
				each(arg, wire_inside(&in, &f));
	}
}

struct matching {
	struct join *j;
	size_t count;   /* connections of the node seen so far */
};

static void match(void *arg, struct wire_reader connection)
{
	struct matching *m = arg;
	struct told t = read_connection(connection);

	if (m->count == CONNECTIONS_MAX)
		return;
	const uint32_t found = find(m->j, &t);
	m->j->belongs[m->count++] = found;
	m->j->all[found].claims++;
}

/* Writes a field with a number and returns where it ends. Unlike protobuf's encoders it writes 0, too:
 * a 0 of the kernel must replace the node's number. */
static uint8_t *put(uint8_t *out, unsigned field, uint64_t value)
{
	out += wire_put_varint(out, field << 3 | WIRE_VARINT);
	return out + wire_put_varint(out, value);
}

static uint8_t *put_gauge(uint8_t *out, unsigned field, const Introspection__DataGauge *g)
{
	uint8_t gauge[3 * (1 + WIRE_VARINT_MAX)];
	const size_t len = (size_t)(put(put(put(gauge, 1, g->cum_bytes), 2, g->cum_packets), 3,
	                               g->inst_bw) - gauge);

	out += wire_put_varint(out, field << 3 | WIRE_LEN);
	out += wire_put_varint(out, len);
	return (uint8_t *)memcpy(out, gauge, len) + len;
}

/* Writes the fields that the kernel knows of a connection. They come behind the node's fields: of a
 * field that comes twice decoders take the second, and fields of an embedded message merge. Returns
 * how many bytes were written. */
static size_t put_kernel(uint8_t out[ADDED_MAX], const Introspection__Connection *c)
{
	uint8_t traffic[ADDED_MAX], *at = out;
	const size_t len = (size_t)(put_gauge(put_gauge(traffic, 1, c->traffic->traffic_in), 2,
	                                     c->traffic->traffic_out) - traffic);

	at += wire_put_varint(at, 8 << 3 | WIRE_LEN);
	at += wire_put_varint(at, len);
	at = (uint8_t *)memcpy(at, traffic, len) + len;
	if (c->latency_ns > 0)
		at = put(at, 10, c->latency_ns);
	at = put(at, 22, c->retransmitted_bytes);
	return (size_t)(put(at, 24, true) - out);
}

/* Copies a Subsystems of the node and adds to each connection what the kernel knows of it. *n: how many
 * connections of the node came in earlier Subsystems, which is counted on. */
static void join_subsystems(struct join *j, struct wire_writer *w, struct wire_reader in, size_t *n,
                            Introspection__Connection **kernel)
{
	uint8_t *const body = wire_begin(w);
	struct wire_field f;

	while (in.at < in.end && wire_next(&in, &f)) {
		uint8_t added[ADDED_MAX];
		size_t len = 0;

		if (f.number != 1) {
			wire_copy_field(w, &in, &f);
			continue;
		}
		const uint32_t i = *n < CONNECTIONS_MAX ? j->belongs[*n] : NONE;
		if (i != NONE && j->all[i].claims == 1)
			len = put_kernel(added, kernel[i - 1]);
		(*n)++;
		wire_copy_length(w, 1, (size_t)f.value + len);
		wire_copy(w, in.at - f.value, (size_t)f.value);
		wire_copy(w, added, len);
	}
	wire_end(w, body, 1);
}

/* Adds the kernel's unlisted connections, and totals and resources where the node's State has none. They
 * are encoded as a State of their own behind the node's: decoders merge the two. traffic, resources:
 * the node's State has them. */
static void add_rest(struct join *j, struct wire_writer *w, Introspection__State *kernel, size_t n,
                     bool traffic, bool resources)
{
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__State rest = INTROSPECTION__STATE__INIT;

	for (uint32_t i = 1; i <= n; i++) {
		Introspection__Connection *c = kernel->subsystems->connections[i - 1];

		if (j->all[i].claims > 0 || c->status == INTROSPECTION__STATUS__CLOSED)
			continue;
		c->unlisted = c->kernel_traffic = true;
		j->unlisted[subsystems.n_connections++] = c;
	}
	subsystems.connections = j->unlisted;
	rest.subsystems = subsystems.n_connections > 0 ? &subsystems : NULL;
	rest.traffic = traffic ? NULL : kernel->traffic;
	rest.n_resources = resources ? 0 : kernel->n_resources;
	rest.resources = kernel->resources;
	const size_t len = introspection__state__get_packed_size(&rest);
	w->over = w->over || len > (size_t)(w->end - w->at);
	if (!w->over)
		w->at += introspection__state__pack(&rest, w->at);
	for (size_t i = 0; i < subsystems.n_connections; i++)
		j->unlisted[i]->unlisted = j->unlisted[i]->kernel_traffic = false;
}

const char *join_states(struct join *j, const uint8_t *state, size_t len,
                        Introspection__State *kernel, struct snapshot_input *out)
{
	struct matching matching = {.j = j};
	struct wire_writer w = {.at = j->out, .end = j->out + j->max};
	struct wire_reader r = {.at = state, .end = state + len};
	const size_t known = kernel->subsystems->n_connections;
	const size_t n = known < CONNECTIONS_MAX ? known : CONNECTIONS_MAX;
	bool traffic = false, resources = false;
	size_t connections = 0;
	struct wire_field f;

	index_kernel(j, kernel->subsystems, n);
	each_connection(state, len, match, &matching);
	while (r.at < r.end && wire_next(&r, &f)) {
		traffic |= f.number == 2;
		resources |= f.number == 105;
		if (f.number == 1)
			join_subsystems(j, &w, wire_inside(&r, &f), &connections, kernel->subsystems->connections);
		else
			wire_copy_field(&w, &r, &f);
	}
	add_rest(j, &w, kernel, n, traffic, resources);
	*out = w.over ? (struct snapshot_input){.bytes = state, .len = len}
	              : (struct snapshot_input){.bytes = j->out, .len = (size_t)(w.at - j->out)};
	return w.over ? "the joined state is over --max-snapshot" : NULL;
}
