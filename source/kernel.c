#include "source/kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "source/events.h"
#include "source/put.h"

enum {
	NUMBERS_MAX = 192,      /* encoded bytes of a connection besides its texts */
	STATE_MAX = 1024,       /* encoded bytes of a State besides its connections */
	EPOCH_SLACK = 10000000, /* ns by which the clock of the day may be set without that showing */

	/* ns of CPU time, in one snapshot, for the search of the processes of new sockets: */
	SEARCH_FIRST = 200000000,   /* in the first snapshot, in which all sockets are new */
	SEARCH_SHARE = 200,         /* in later ones 1/SEARCH_SHARE of the time since the previous one, */
	SEARCH_LEAST = 500000,      /* but not less than this */
	SEARCH_MOST = 50000000,     /* and not more than this */
	FIND = 20000000,            /* ns of CPU time, in one snapshot, to find a process by its name */
	VERIFIED = 32,              /* sockets of which each snapshot verifies the process */
};

/* The clock of the day may be set at any time, as when a machine without a battery reaches its time server.
 * So all times are kept in CLOCK_BOOTTIME, which nobody sets and which goes on during suspend. */
uint64_t kernel_time_of_day(const struct kernel *k, int64_t boottime)
{
	int64_t t = boottime + k->epoch;

	return t > 0 ? (uint64_t)(t / 1000000) : 0;
}

/* Sets instant, monotonic and epoch. The epoch is changed only when it has become wrong by more than
 * EPOCH_SLACK, so that a connection that has not changed has the same times in every snapshot. */
static void read_clocks(struct kernel *k)
{
	int64_t before, epoch;
	int tries = 0;

	do {
		before = clock_ns(CLOCK_BOOTTIME);
		epoch = clock_ns(CLOCK_REALTIME);
		k->instant = clock_ns(CLOCK_BOOTTIME);
		epoch -= k->instant;
	} while (k->instant - before > EPOCH_SLACK && ++tries < 8);
	k->monotonic = k->instant - clock_ns(CLOCK_MONOTONIC);
	if (llabs(epoch - k->epoch) > EPOCH_SLACK + k->instant - before)
		k->epoch = epoch;
}

static bool is_loopback(const struct tcpdiag_end *e)
{
	return IN6_IS_ADDR_LOOPBACK(&e->address) ||
	       (is_ip4(e) && e->address.s6_addr[12] == IN_LOOPBACKNET);
}

/* Writes /ip4 or /ip6, address, /transport, port and rest. Returns how many bytes that has. */
static size_t write_multiaddr(char out[MULTIADDR_MAX], const struct tcpdiag_end *e,
                              const char *transport, const char *rest)
{
	char address[INET6_ADDRSTRLEN];

	inet_ntop(is_ip4(e) ? AF_INET : AF_INET6, &e->address.s6_addr[is_ip4(e) ? 12 : 0], address,
	          sizeof address);
	return (size_t)snprintf(out, MULTIADDR_MAX, "/%s/%s/%s/%u%s", is_ip4(e) ? "ip4" : "ip6",
	                        address, transport, e->port, rest);
}

/* Is the connection one between the daemon and a client on this machine or elsewhere, seen from either
 * side? A listener at a wildcard address takes connections of its own family only. */
static bool is_own(const struct kernel *k, const struct tcpdiag_end *local,
                   const struct tcpdiag_end *remote)
{
	for (size_t i = 0; i < k->own_count; i++) {
		const struct sockaddr_in *v4 = (const void *)&k->own[i];
		const struct sockaddr_in6 *v6 = (const void *)&k->own[i];
		struct tcpdiag_end own;
		bool any;

		if (k->own[i].ss_family == AF_INET)
			own = tcpdiag_end_of(AF_INET, &v4->sin_addr, v4->sin_port);
		else if (k->own[i].ss_family == AF_INET6)
			own = tcpdiag_end_of(AF_INET6, &v6->sin6_addr, v6->sin6_port);
		else
			continue;
		any = is_wildcard(&own);
		if (any && is_ip4(&own) != is_ip4(local))
			continue;
		if (local->port == own.port && (any || same_address(local, &own)))
			return true;
		if (remote->port == own.port &&
		    (any ? is_loopback(remote) || same_address(remote, local)
		         : same_address(remote, &own)))
			return true;
	}
	return false;
}

struct connection *kernel_find(struct kernel *k, uint64_t cookie)
{
	struct connection *c = *kernel_list(k, cookie);

	while (c && c->cookie != cookie)
		c = c->next;
	return c;
}

/* An entry that has been described has a message with a descriptor; only its texts are written again. */
void kernel_describe(struct kernel *k, struct connection *c, const struct tcpdiag_end *local,
                     const struct tcpdiag_end *remote, const char *id)
{
	const bool tcp = strcmp(id, "+tcp") == 0;
	const char *rest = strcmp(id, "+udp+quic-v1") == 0 ? "/quic-v1" : "";

	if (!c->message.base.descriptor) {
		introspection__connection__init(&c->message);
		introspection__endpoint_pair__init(&c->endpoints);
		introspection__connection__timeline__init(&c->timeline);
		introspection__traffic__init(&c->traffic);
		introspection__data_gauge__init(&c->in);
		introspection__data_gauge__init(&c->out);
		c->id = c->cookie;
	}
	c->message.id.data = (uint8_t *)&c->id;
	c->message.id.len = sizeof c->id;
	c->message.transport_id.len =
		(size_t)snprintf(c->transport, sizeof c->transport, "ip%c%s", is_ip4(local) ? '4' : '6', id);
	c->message.transport_id.data = (uint8_t *)c->transport;
	c->message.endpoints = &c->endpoints;
	c->message.timeline = &c->timeline;
	c->message.traffic = &c->traffic;
	c->traffic.traffic_in = &c->in;
	c->traffic.traffic_out = &c->out;
	c->texts = sizeof c->name + sizeof c->number + c->message.transport_id.len +
	           write_multiaddr(c->src, local, tcp ? "tcp" : "udp", rest) +
	           write_multiaddr(c->dst, remote, tcp ? "tcp" : "udp", rest);
	c->endpoints.src_multiaddr = c->src;
	c->endpoints.dst_multiaddr = c->dst;
	c->message.user_provided_tags = c->tags;
	c->tags[0] = c->name;
	c->tags[1] = c->number;
	c->opened = k->instant;
}

struct connection *kernel_add(struct kernel *k, uint64_t cookie)
{
	struct connection **list = kernel_list(k, cookie);
	struct connection *c = k->free;

	if (c)
		k->free = c->next;
	else if (k->used < CONNECTIONS_MAX)
		c = &k->all[k->used++];
	else
		k->left_out++;
	if (!c)
		return NULL;
	*c = (struct connection){.cookie = cookie, .next = *list};
	return *list = c;
}

/* With --pid only connections of the watched process are shown, which are those whose process is known. */
static bool is_shown(const struct kernel *k, const struct connection *c)
{
	return !k->process || c->holder.pid != 0;
}

static void add_up(Introspection__DataGauge *sum, const Introspection__DataGauge *part)
{
	sum->cum_bytes += part->cum_bytes;
	sum->cum_packets += part->cum_packets;
	sum->inst_bw += part->inst_bw;
}

void kernel_settle(struct kernel *k, struct connection *c)
{
	c->in.inst_bw = c->out.inst_bw = 0;
	if (is_shown(k, c)) {
		add_up(&k->past_in, &c->in);
		add_up(&k->past_out, &c->out);
	}
	c->in.cum_bytes = c->in.cum_packets = c->out.cum_bytes = c->out.cum_packets = 0;
	c->before_in = c->before_out = 0;
}

/* Frees the entry. */
static void forget(struct kernel *k, struct connection *c)
{
	struct connection **link = kernel_list(k, c->cookie);

	kernel_settle(k, c);
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	c->seen = 0;
	c->next = k->free;
	k->free = c;
}

static Introspection__Status status_of(int state)
{
	switch (state) {
	case TCPDIAG_ESTABLISHED:
		return INTROSPECTION__STATUS__ACTIVE;
	case TCPDIAG_SYN_SENT:
	case TCPDIAG_SYN_RECV:
		return INTROSPECTION__STATUS__OPENING;
	default:
		return INTROSPECTION__STATUS__CLOSING;
	}
}

/* Takes in the counters of a TCP socket. */
static void measure(struct connection *c, const struct tcpdiag_socket *s)
{
	raise_to(&c->in.cum_bytes, s->bytes_in);
	raise_to(&c->out.cum_bytes, s->bytes_out);
	raise_to(&c->message.retransmitted_bytes, s->bytes_again);
	c->in.cum_packets += s->packets_in - c->packets_in;
	c->out.cum_packets += s->packets_out - c->packets_out;
	c->packets_in = s->packets_in;
	c->packets_out = s->packets_out;
	c->message.latency_ns = (uint64_t)s->rtt * 1000;
}

void kernel_seen(struct kernel *k, struct connection *c, uint32_t inode)
{
	if (c->holder.inode != inode)
		holders_forget(&k->holders, &c->holder);
	c->holder.inode = inode;
	if (c->seen != k->dump && holders_are_missing(&c->holder))
		holders_want(&k->holders, &c->holder);
	c->seen = k->dump;
}

/* Takes in a TCP socket of a dump, as each of tcpdiag_dump. */
static bool on_socket(void *arg, const struct nlmsghdr *message)
{
	struct kernel *k = arg;
	struct tcpdiag_socket s;

	if (!tcpdiag_read(&s, message))
		return false;
	bool *listening = &k->listening[s.family == AF_INET6][s.local.port];
	if (s.state == TCPDIAG_LISTEN) {
		*listening = true;
		return true;
	}
	struct connection *c = kernel_find(k, s.cookie);
	if (!c) {
		if (is_own(k, &s.local, &s.remote) || !(c = kernel_add(k, s.cookie)))
			return true;
		kernel_describe(k, c, &s.local, &s.remote, "+tcp");
		/* The role is a guess until the kernel tells who dialled: some nodes dial from the port at
		 * which they listen. */
		if (*listening)
			c->message.role = INTROSPECTION__ROLE__RESPONDER;
	}
	kernel_seen(k, c, s.inode);
	c->message.status = status_of(s.state);
	c->timeline.close_ts = 0;
	if (!c->told && s.side != TCPDIAG_UNTOLD) {
		c->told = true;
		c->message.role = s.side == TCPDIAG_DIALLED ? INTROSPECTION__ROLE__INITIATOR
		                                            : INTROSPECTION__ROLE__RESPONDER;
	}
	if (s.counted)
		measure(c, &s);
	return true;
}

/* Brings the table up to date. False: reading failed, which was logged; what was read is kept, and the
 * caller must take no connection for gone. */
static bool dump(struct kernel *k, int64_t now)
{
	read_clocks(k);
	k->dump++;
	k->left_out = 0;
	holders_begin(&k->holders);
	memset(k->listening, 0, sizeof k->listening);
	const char *wrong = tcpdiag_dump(&k->diag, on_socket, k);
	if (!wrong && k->udp)
		wrong = kernel_udp->dump(k, now);
	if (wrong) {
		log_limited(&k->failures, now, "error source=kernel reason=\"%s\"",
		            wrong);
		return false;
	}
	if (k->left_out > 0 && k->left_out_before == 0)
		log_limited(&k->failures, now,
		            "error source=kernel reason=\"more than %d connections\" left_out=%zu",
		            CONNECTIONS_MAX, k->left_out);
	k->left_out_before = k->left_out;
	return true;
}

/* Fills p->name with what may be shown. */
static void name_process(struct process *p)
{
	process_name(p);
	wire_text(p->name, SHOWN_NAME_MAX, p->name, strlen(p->name));
}

/* Called when the process of a socket was found, as found of struct holders. */
static void on_holder(void *arg, struct holder *h, struct process *p)
{
	struct connection *c = (void *)((char *)h - offsetof(struct connection, holder));

	(void)arg;
	if (!p->name[0])
		name_process(p);
	snprintf(c->name, sizeof c->name, "process=%.*s", SHOWN_NAME_MAX - 1, p->name);
	snprintf(c->number, sizeof c->number, "pid=%d", p->pid);
	c->message.n_user_provided_tags = 2;
}

/* A process may hand a socket to another process and then close its own descriptor or end; the connection is
 * then to be named for the other process. So each snapshot verifies some connections, in turns, and has
 * the process searched again where it no longer has the socket. With --pid none are verified: a
 * connection that the watched process had stays listed. */
static void verify_holders(struct kernel *k)
{
	for (size_t i = 0; i < VERIFIED && i < k->used && !k->process; i++) {
		struct connection *c = &k->all[++k->verified % k->used];

		if (c->seen != k->dump || c->holder.inode == 0 || c->holder.pid == 0 || holders_still(&c->holder))
			continue;
		holders_forget(&k->holders, &c->holder);
		c->message.n_user_provided_tags = 0;
		c->holder = (struct holder){.inode = c->holder.inode};
		holders_want(&k->holders, &c->holder);
	}
}

/* Searches for a while the processes of the sockets whose process is not known. elapsed: ms since the
 * previous snapshot. */
static void look_up(struct kernel *k, int64_t elapsed)
{
	int64_t ns = elapsed * 1000000 / SEARCH_SHARE;

	if (k->process && k->watched.dir < 0)
		return;
	if (k->holders.missing == 0)
		return;
	/* The descriptors of sockets that have gone may now be other files. */
	for (const struct connection *c = k->all; c < k->all + k->used; c++)
		if (c->seen != 0 && c->seen != k->dump)
			holders_forget(&k->holders, &c->holder);
	ns = ns < SEARCH_LEAST ? SEARCH_LEAST : ns > SEARCH_MOST ? SEARCH_MOST : ns;
	if (holders_search(&k->holders, k->previous ? ns : SEARCH_FIRST) || k->unreadable)
		return;
	k->unreadable = true;
	log_event("error pid=%d reason=\"its open files may not be read: run as its user, or with "
	          "CAP_SYS_PTRACE\"",
	          k->watched.pid);
}

void kernel_count_by(struct kernel *k, const char *means)
{
	k->source.runtime_changes++;
	k->means = means;
	snprintf(k->implementation, sizeof k->implementation, "%s%s", k->watching,
	         k->process && k->watched.dir < 0 ? "" : means);
}

/* Says in the runtime which process is watched. */
static void name_watched(struct kernel *k)
{
	char name[SHOWN_NAME_MAX];

	wire_text(name, sizeof name, k->process, strlen(k->process));
	if (k->watched.dir >= 0)
		snprintf(k->watching, sizeof k->watching, "%.*s (pid %d)", SHOWN_NAME_MAX - 1,
		         k->watched.name, k->watched.pid);
	else
		snprintf(k->watching, sizeof k->watching, "%s%s (not running)",
		         k->by_name ? "" : "process ", name);
	kernel_count_by(k, k->means);
}

static const char *escaped(const char *name)
{
	return log_escape(name, strlen(name));
}

/* The watched process has been found. */
static void begin_to_watch(struct kernel *k, size_t others, int64_t now)
{
	name_process(&k->watched);
	name_watched(k);
	k->unreadable = false;
	holders_stop(&k->holders);
	for (size_t i = 0; i < k->used; i++)
		k->all[i].holder.first = k->all[i].holder.rounds = 0;
	log_limited(&k->visits, now, "watching process=%s pid=%d others=%zu",
	            escaped(k->watched.name), k->watched.pid, others);
	if (process_elsewhere(&k->watched))
		log_event("error pid=%d reason=\"it is in another network namespace, its sockets "
		          "cannot be seen from here: use nsenter --target %d --net introspectd --pid %d\"",
		          k->watched.pid, k->watched.pid, k->watched.pid);
}

/* Sees whether the watched process has ended and, if --pid names it, finds the next one. */
static void follow(struct kernel *k, int64_t now)
{
	size_t others;

	if (k->watched.dir >= 0 && !process_alive(&k->watched)) {
		log_limited(&k->visits, now, "gone process=%s pid=%d", escaped(k->watched.name),
		            k->watched.pid);
		process_close(&k->watched);
		name_watched(k);
	}
	if (k->watched.dir < 0 && k->by_name &&
	    process_find(&k->search, k->process, FIND, &k->watched, &others) > 0)
		begin_to_watch(k, others, now);
}

static void fill_resources(struct kernel *k)
{
	struct process_usage u;
	size_t n = 0;

	if ((!k->process || k->watched.dir >= 0) &&
	    process_usage(k->process ? &k->watched : NULL, &u)) {
		k->resources[n++] = &k->files;
		k->resources[n++] = &k->memory;
		k->files.used = u.files;
		k->files.limit = u.files_limit;
		k->memory.used = u.memory;
		k->memory.limit = u.memory_limit;
	}
	if (k->udp)
		k->resources[n++] = &k->flows;
	k->state.n_resources = n;
}

/* Sets the rate of the gauge, in bytes per second. *before: the gauge's bytes elapsed ms ago, which become
 * those of now. elapsed 0: there was no earlier snapshot. */
static void fill_rate(Introspection__DataGauge *gauge, uint64_t *before, int64_t elapsed)
{
	uint64_t moved = gauge->cum_bytes - *before;

	gauge->inst_bw = elapsed > 0 ? moved * 1000 / (uint64_t)elapsed : 0;
	*before = gauge->cum_bytes;
}

/* Lists the connections that are shown and adds up their traffic. A connection that the dump did not have is
 * listed as closed once, and forgotten at the next snapshot. */
static void fill_connections(struct kernel *k, int64_t elapsed, int64_t now)
{
	size_t n = 0;

	introspection__data_gauge__init(&k->in);
	introspection__data_gauge__init(&k->out);
	k->most = STATE_MAX;
	for (struct connection *c = k->all; c < k->all + k->used; c++) {
		if (c->seen == 0)
			continue;
		if (c->seen != k->dump) {
			holders_forget(&k->holders, &c->holder);
			if (!is_shown(k, c) || c->message.status == INTROSPECTION__STATUS__CLOSED) {
				forget(k, c);
				continue;
			}
			c->message.status = INTROSPECTION__STATUS__CLOSED;
			c->timeline.close_ts = kernel_time_of_day(k, k->instant);
		}
		c->timeline.open_ts = kernel_time_of_day(k, c->opened);
		fill_rate(&c->in, &c->before_in, elapsed);
		fill_rate(&c->out, &c->before_out, elapsed);
		if (!is_shown(k, c))
			continue;
		add_up(&k->in, &c->in);
		add_up(&k->out, &c->out);
		if (c->hidden)
			continue;
		if (kernel_events && !c->announced && elapsed > 0)
			kernel_events->connection(&k->source, &c->message, c->timeline.open_ts, now);
		if (kernel_events && c->announced && c->message.status == INTROSPECTION__STATUS__CLOSED)
			kernel_events->connection(&k->source, &c->message, c->timeline.close_ts, now);
		c->announced = true;
		k->shown[n++] = &c->message;
		k->most += NUMBERS_MAX + c->texts;
	}
	add_up(&k->in, &k->past_in);
	add_up(&k->out, &k->past_out);
	k->subsystems.n_connections = n;
}

static int take_state(struct source *s, int64_t now, struct snapshot_input *out)
{
	struct kernel *k = (struct kernel *)s;
	int64_t begin = clock_ns(CLOCK_MONOTONIC);

	if (k->process)
		follow(k, now);
	if (!dump(k, now))
		return -1;
	int64_t elapsed = k->previous ? now - k->before : 0;
	verify_holders(k);
	look_up(k, elapsed);
	fill_connections(k, elapsed, now);
	fill_resources(k);
	k->before = now;
	k->state.start_ts = kernel_time_of_day(k, k->previous ? k->previous : k->instant);
	k->state.instant_ts = kernel_time_of_day(k, k->instant);
	k->previous = k->instant;
	k->state.snapshot_duration_ms = (uint32_t)((clock_ns(CLOCK_MONOTONIC) - begin) / 1000000);
	*out = (struct snapshot_input){.state = &k->state, .most = k->most};
	return 1;
}

/* The kernel answers a dump at once, so there is no descriptor to wait for. */
static nfds_t kernel_poll(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline)
{
	const struct kernel *k = (struct kernel *)s;

	(void)fds;
	if (k->udp)
		kernel_udp->poll(k, deadline);
	return 0;
}

static void kernel_serve(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now)
{
	struct kernel *k = (struct kernel *)s;

	(void)fds, (void)n;
	if (k->udp)
		kernel_udp->serve(k, now);
}

static void close_kernel(struct source *s)
{
	struct kernel *k = (struct kernel *)s;

	holders_stop(&k->holders);
	process_close(&k->watched);
	process_stop(&k->search);
	if (k->udp)
		kernel_udp->close(k);
	if (k->diag.fd >= 0)
		close(k->diag.fd);
	free(k);
}

static void init_messages(struct kernel *k)
{
	Introspection__Runtime *runtime = &k->source.runtime;
	char platform[sizeof k->platform];
	struct utsname system = {0};

	uname(&system);
	int len = snprintf(platform, sizeof platform, "%s %s", system.sysname, system.machine);
	wire_text(k->platform, sizeof k->platform, platform, (size_t)len);
	wire_text(k->release, sizeof k->release, system.release, strlen(system.release));
	introspection__runtime__init(runtime);
	snprintf(k->watching, sizeof k->watching, "Linux TCP");
	kernel_count_by(k, "");
	runtime->implementation = k->implementation;
	runtime->version = k->release;
	runtime->platform = k->platform;
	runtime->event_types = kernel_events ? kernel_events->types : NULL;
	runtime->n_event_types = kernel_events ? kernel_events->type_count : 0;

	introspection__state__init(&k->state);
	introspection__subsystems__init(&k->subsystems);
	introspection__traffic__init(&k->traffic);
	introspection__data_gauge__init(&k->past_in);
	introspection__data_gauge__init(&k->past_out);
	introspection__resource__init(&k->files);
	introspection__resource__init(&k->memory);
	k->state.subsystems = &k->subsystems;
	k->subsystems.connections = k->shown;
	k->state.traffic = &k->traffic;
	k->traffic.traffic_in = &k->in;
	k->traffic.traffic_out = &k->out;
	k->files.name = (char *)"open-files";
	k->memory.name = (char *)"memory";
	k->files.scope = k->memory.scope = (char *)(k->process ? "process" : "system");
	k->state.resources = k->resources;
}

/* Begins to watch the process of --pid. A name may be that of a process to come. False, with one line
 * logged: there is no process with this PID, or it cannot be seen. */
static bool open_watched(struct kernel *k)
{
	const char *hidden = process_hidden(), *reason = "there is no such process";
	size_t others;

	k->by_name = k->process[strspn(k->process, "0123456789")] != '\0';
	if (k->by_name) {
		if (process_find(&k->search, k->process, INT64_MAX / 2, &k->watched, &others) > 0) {
			begin_to_watch(k, others, 0);
			return true;
		}
		name_watched(k);
		log_event("waiting process=%s", escaped(k->process));
		if (hidden)
			log_event("warning process=%s reason=\"%s\"", escaped(k->process), hidden);
		return true;
	}
	const int pid = atoi(k->process);
	if (process_open(&k->watched, pid) && process_alive(&k->watched)) {
		begin_to_watch(k, 0, 0);
		return true;
	}
	if (hidden && process_exists(pid))
		reason = hidden;
	log_event("error pid=%s reason=\"%s\"", escaped(k->process), reason);
	return false;
}

struct source *kernel_open(const char *process, const struct sockaddr_storage *own,
                           size_t own_count, bool udp)
{
	/* The tables are large, but pages of them that are never touched cost no memory. */
	struct kernel *k = calloc(1, sizeof *k);

	if (!k) {
		log_event("error source=kernel reason=\"%s\"", strerror(errno));
		return NULL;
	}
	k->source.poll = kernel_poll;
	k->source.serve = kernel_serve;
	k->source.take = take_state;
	k->source.close = close_kernel;
	k->source.events_when_taken = true;
	/* The first lets the daemon list the descriptors of other users' processes, the second look where
	 * a descriptor leads. Only both together show whose a socket is. */
	k->source.capabilities = UINT64_C(1) << CAP_DAC_READ_SEARCH | UINT64_C(1) << CAP_SYS_PTRACE;
	k->source.sees_processes = true;
	k->own = own;
	k->own_count = own_count;
	k->process = process;
	k->watched.dir = -1;
	k->holders.only = process ? &k->watched : NULL;
	k->holders.found = on_holder;
	init_messages(k);
	if (tcpdiag_open(&k->diag, NETLINK_SOCK_DIAG) != 0) {
		log_event("error source=kernel reason=\"%s\"", strerror(errno));
		close_kernel(&k->source);
		return NULL;
	}
	/* A kernel that cannot answer is to be noticed at the start, not with the first client. */
	if (!dump(k, 0) || (process && !open_watched(k))) {
		close_kernel(&k->source);
		return NULL;
	}
	if (kernel_udp)
		kernel_udp->open(k, udp);
	if (!process && access("/proc/self", F_OK) != 0)
		log_event("warning source=kernel reason=\"/proc is not mounted: connections are "
		          "shown without their processes\"");
	return &k->source;
}
