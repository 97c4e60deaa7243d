#include "endpoint/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "ws.h"

enum { LABEL_MAX = 2 * TOTALS_NAME_MAX };   /* bytes of a label's value, escaped */

/* The text that is being written. */
struct text {
	char *out;
	size_t len;
	const char *name;   /* of the metric whose samples are written */
	const char *type;
	const char *help;   /* NULL: HELP and TYPE of the metric were written */
	bool full;
};

static const char *const counter = "counter";
static const char *const gauge = "gauge";
static const char *const directions[] = {"in", "out"};
static const char *const statuses[TOTALS_STATUSES] = {
	"active", "closed", "opening", "closing", "error", "unknown",
};
static const char *const roles[TOTALS_ROLES] = {"initiator", "responder", "unknown"};
static const char *const peer_statuses[] = {
	"active", "missing", "rejected", "candidate", "unknown",
};
static const char *const results[] = {"success", "error", "timeout"};

/* The metrics without labels. */
static const struct figure {
	const char *name, *help;
	size_t at;   /* in struct metrics */
} figures[] = {
#define FIGURE(name, field, help) {"introspectd_" name, help, offsetof(struct metrics, field)}
	FIGURE("clients_waiting", counters.waiting,
	       "Clients, other scrapes among them, that wait for a snapshot."),
	FIGURE("clients_max", max_clients, "WebSocket clients there may be."),
	FIGURE("clients_dropped_total", counters.dropped, "Clients dropped as too slow or silent."),
	FIGURE("snapshots_taken_total", counters.taken, "Snapshots taken."),
	FIGURE("snapshots_failed_total", counters.failed, "Snapshots that failed or were too big."),
	FIGURE("snapshots_sent_total", counters.sent, "Snapshots sent, once for each client."),
	FIGURE("snapshots_skipped_total", counters.skipped,
	       "Snapshots that a client was not ready for and so did not get."),
	FIGURE("sent_bytes_total", counters.sent_bytes, "Bytes sent to clients, without TLS."),
#undef FIGURE
};

static void family(struct text *t, const char *name, const char *type, const char *help)
{
	t->name = name;
	t->type = type;
	t->help = help;
}

/* Appends; what does not fit is left out as a whole. */
static void put(struct text *t, size_t *end, const char *format, va_list args)
{
	int n = vsnprintf(t->out + *end, METRICS_MAX - *end, format, args);

	t->full |= n < 0 || (size_t)n >= METRICS_MAX - *end;
	*end += t->full ? 0 : (size_t)n;
}

__attribute__((format(printf, 3, 4)))
static void putf(struct text *t, size_t *end, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(t, end, format, args);
	va_end(args);
}

/* One sample: the metric's name, and then what the format says. The first sample of a metric is
 * preceded by its HELP and TYPE. */
__attribute__((format(printf, 2, 3)))
static void sample(struct text *t, const char *format, ...)
{
	size_t end = t->len;
	va_list args;

	if (t->help)
		putf(t, &end, "# HELP %s %s\n# TYPE %s %s\n", t->name, t->help, t->name, t->type);
	putf(t, &end, "%s", t->name);
	va_start(args, format);
	put(t, &end, format, args);
	va_end(args);
	putf(t, &end, "\n");
	if (t->full)
		return;
	t->help = NULL;
	t->len = end;
}

/* Escapes a text as the value of a label, without its quotes; returns out. */
static const char *label(char out[LABEL_MAX], const char *text)
{
	char name[TOTALS_NAME_MAX] = "";
	char *to = out;

	if (*text)
		totals_name(name, (const uint8_t *)text, strlen(text));
	for (const char *at = name; *at; at++) {
		if (*at == '\\' || *at == '"' || *at == '\n')
			*to++ = '\\';
		*to = *at;
		if (*at == '\n')
			*to = 'n';
		to++;
	}
	*to = '\0';
	return out;
}

static void write_process(struct text *t, const struct metrics *m)
{
	family(t, "introspectd_build_info", gauge, "Version of the daemon.");
	sample(t, "{version=\"" VERSION "\"} 1");
	family(t, "process_start_time_seconds", gauge, "When the daemon was started, Unix time.");
	sample(t, " %.3f", (double)m->started / 1000);
	family(t, "process_cpu_seconds_total", counter, "User and system time of the daemon.");
	sample(t, " %.3f", (double)m->cpu / 1000);
}

static void write_clients(struct text *t, const struct metrics *m)
{
	family(t, "introspectd_clients", gauge,
	       "Connections to the daemon by state: open is a WebSocket client, free the room left.");
	for (size_t i = 0; i < COUNTERS_STATES; i++)
		sample(t, "{state=\"%s\"} %" PRIu64, m->counters.names[i], m->counters.clients[i]);
	for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
		const char *end = strrchr(figures[i].name, '_');
		uint64_t value;

		memcpy(&value, (const char *)m + figures[i].at, sizeof value);
		family(t, figures[i].name, strcmp(end, "_total") == 0 ? counter : gauge,
		       figures[i].help);
		sample(t, " %" PRIu64, value);
	}
	family(t, "introspectd_refusals_total", counter, "Requests refused, in the log's words.");
	for (size_t i = 0; i < HTTP_REFUSALS; i++)
		sample(t, "{status=\"%d\",reason=\"%s\"} %" PRIu64, http_reasons[i].status,
		       http_reasons[i].words, m->counters.refused[i]);
	family(t, "introspectd_protocol_errors_total", counter,
	       "Clients closed for what they sent, by WebSocket close code.");
	for (size_t i = 0; i < COUNTERS_CLOSE_CODES; i++)
		sample(t, "{code=\"%u\"} %" PRIu64, counters_close_codes[i], m->counters.closed[i]);
}

static void write_source(struct text *t, const struct metrics *m)
{
	const Introspection__Runtime *r = m->runtime;
	char source[LABEL_MAX], name[LABEL_MAX], version[LABEL_MAX], platform[LABEL_MAX];
	char peer[LABEL_MAX], host[LABEL_MAX];
	uint64_t sum = 0;

	family(t, "introspectd_snapshot_build_seconds", "histogram",
	       "How long it took to take a snapshot and encode it.");
	for (size_t i = 0; i < COUNTERS_BUCKETS; i++) {
		sum += m->counters.built[i];
		if (i < COUNTERS_BUCKETS - 1)
			sample(t, "_bucket{le=\"%g\"} %" PRIu64, counters_bounds[i], sum);
	}
	sample(t, "_bucket{le=\"+Inf\"} %" PRIu64, sum);
	sample(t, "_sum %.9f", (double)m->counters.built_ns / 1e9);
	sample(t, "_count %" PRIu64, sum);
	if (m->feed) {
		family(t, "introspectd_feed_connected", gauge, "Whether a node is feeding.");
		sample(t, " %d", m->feed->connected);
		family(t, "introspectd_feed_connections_total", counter,
		       "How often a node began to feed.");
		sample(t, " %" PRIu64, m->feed->connections);
		family(t, "introspectd_feed_errors_total", counter,
		       "How often a feed was ended for what it sent.");
		sample(t, " %" PRIu64, m->feed->errors);
	}
	family(t, "libp2p_node_info", gauge, "What is being watched.");
	sample(t,
	       "{source=\"%s\",implementation=\"%s\",version=\"%s\",platform=\"%s\",peer_id=\"%s\","
	       "hostname=\"%s\"} 1",
	       label(source, r->source), label(name, r->implementation), label(version, r->version),
	       label(platform, r->platform), label(peer, r->peer_id), label(host, r->hostname));
}

static void write_connections(struct text *t, const struct totals *totals)
{
	char transport[LABEL_MAX];

	family(t, "libp2p_connections", gauge, "Connections of the node.");
	for (size_t i = 0; i < totals->transports.count; i++) {
		label(transport, totals->transports.text[i]);
		for (size_t k = 0; k < (size_t)TOTALS_STATUSES * TOTALS_ROLES; k++) {
			size_t status = k / TOTALS_ROLES, role = k % TOTALS_ROLES;
			uint64_t n = totals->connections[i][status][role];

			/* One sample is written even if it is 0: sum() over no samples is no value. */
			if (n > 0 || (i == 0 && k == 0))
				sample(t,
				       "{status=\"%s\",role=\"%s\",transport=\"%s\"} %" PRIu64,
				       statuses[status], roles[role], transport, n);
		}
	}
}

static void write_protocols(struct text *t, const struct totals *totals)
{
	const struct totals_names *names = &totals->protocols;
	char protocol[LABEL_MAX];

	/* A node may list its streams, or tell their number by protocol, or both. */
	family(t, "libp2p_streams", gauge, "Open streams of the node.");
	for (size_t i = 0; i < names->count; i++) {
		uint64_t listed = totals->streams[i], told = totals->streams_told[i];

		sample(t, "{protocol=\"%s\"} %" PRIu64, label(protocol, names->text[i]),
		       listed > told ? listed : told);
	}
	family(t, "libp2p_protocol_bytes_total", counter,
	       "Bytes moved by each protocol, closed streams included.");
	for (size_t i = 0; i < 2 * names->count; i++)
		if (totals->has_traffic[i / 2])
			sample(t, "{protocol=\"%s\",direction=\"%s\"} %" PRIu64,
			       label(protocol, names->text[i / 2]), directions[i % 2],
			       totals->protocol_bytes[i / 2][i % 2]);
}

static void write_resources(struct text *t, const struct totals *totals)
{
	char scope[LABEL_MAX], name[LABEL_MAX];

	family(t, "libp2p_resource_used", gauge, "How much is used of what can run out.");
	for (size_t i = 0; i < totals->resource_count; i++)
		sample(t, "{scope=\"%s\",name=\"%s\"} %" PRIu64,
		       label(scope, totals->resources[i].scope),
		       label(name, totals->resources[i].name), totals->resources[i].used);
	family(t, "libp2p_resource_limit", gauge, "How much of it there is.");
	for (size_t i = 0; i < totals->resource_count; i++)
		if (totals->resources[i].limit > 0)
			sample(t, "{scope=\"%s\",name=\"%s\"} %" PRIu64,
			       label(scope, totals->resources[i].scope),
			       label(name, totals->resources[i].name),
			       totals->resources[i].limit);
}

static void write_traffic(struct text *t, const struct totals *totals)
{
	family(t, "libp2p_traffic_bytes_total", counter, "Bytes moved by the node.");
	for (size_t i = 0; i < 2; i++)
		sample(t, "{direction=\"%s\"} %" PRIu64, directions[i], totals->bytes[i]);
	family(t, "libp2p_traffic_packets_total", counter, "Packets moved by the node.");
	for (size_t i = 0; i < 2; i++)
		sample(t, "{direction=\"%s\"} %" PRIu64, directions[i], totals->packets[i]);
	if (!totals->has_dht)
		return;
	family(t, "libp2p_dht_peers", gauge, "Peers in the routing table.");
	for (size_t i = 0; i < sizeof peer_statuses / sizeof *peer_statuses; i++)
		sample(t, "{status=\"%s\"} %" PRIu64, peer_statuses[i], totals->dht_peers[i]);
	family(t, "libp2p_dht_queries_total", counter, "Queries to (in) and by (out) the node.");
	for (size_t i = 0; i < 6; i++)
		sample(t, "{direction=\"%s\",result=\"%s\"} %" PRIu64, directions[i / 3],
		       results[i % 3], totals->dht_queries[i / 3][i % 3]);
}

static void write_snapshot(struct text *t, const struct metrics *m)
{
	family(t, "introspectd_snapshot_timestamp_seconds", gauge,
	       "When the newest snapshot was taken, Unix time. What follows is of that time.");
	sample(t, " %.3f", (double)(m->epoch + m->counted_taken) / 1000);
	family(t, "introspectd_snapshot_bytes", gauge, "Size of the newest snapshot.");
	sample(t, " %zu", m->counted_bytes);
	write_connections(t, &m->totals);
	write_traffic(t, &m->totals);
	write_protocols(t, &m->totals);
	write_resources(t, &m->totals);
}

bool metrics_count(struct metrics *m, const struct snapshot *snapshot, const void *reader)
{
	if (m->counted >= snapshot->sequence)
		return true;
	if (m->counter && m->counter != reader)
		return false;
	if (!m->counter) {
		totals_begin(&m->totals, snapshot->message, snapshot->len);
		m->counter = reader;
		m->counted = 0;
	}
	if (!totals_count(&m->totals, METRICS_FIELDS))
		return false;
	m->counter = NULL;
	m->counted = snapshot->sequence;
	m->counted_taken = snapshot->taken;
	m->counted_bytes = snapshot->len;
	return true;
}

const unsigned char *metrics_write(struct metrics *m, void *reader, void **slow, size_t *len)
{
	unsigned i = 0;

	for (unsigned k = 1; k < METRICS_TEXTS; k++)
		i = m->order[k] < m->order[i] ? k : i;
	struct text t = {.out = m->texts[i]};
	*slow = m->readers[i];
	m->readers[i] = reader;
	m->order[i] = ++m->written;
	write_process(&t, m);
	write_clients(&t, m);
	write_source(&t, m);
	if (m->counted > 0)
		write_snapshot(&t, m);
	*len = t.len;
	return (const unsigned char *)t.out;
}

void metrics_release(struct metrics *m, const void *reader)
{
	if (m->counter == reader)
		m->counter = NULL;
	for (unsigned i = 0; i < METRICS_TEXTS; i++) {
		if (m->readers[i] != reader)
			continue;
		m->readers[i] = NULL;
		m->order[i] = 0;
	}
}
