/* Kubo, by its RPC API (POST /api/v0/...). What older versions lack is left out: before 0.20 they
 * tell no agents, before 0.40 no reachability. */

#include "bridge/bridge.h"

#include <mbedtls/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/wire.h"

enum {
	LIMITS_EVERY = 10,      /* s; the node tells those of each peer, too, which nobody asked for */
	BUCKETS_EVERY = 30,
	IDENTITY_EVERY = 60,
	PROTOCOLS_MAX = 64,     /* whose bandwidth is asked for: each is a question */
	TOPICS_MAX = 64,
	INBOUND = 1,            /* network.Direction of go-libp2p */
	OUTBOUND = 2,
	URL_MAX = 192,
};

/* A duration of Go, such as 1h2m3.5s or 380µs, in ns; 0: none, as "n/a". */
static uint64_t duration(const char *text)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"h", 3.6e12}, {"m", 6e10}, {"s", 1e9}};
	double all = 0;

	while (*text) {
		char *end;
		const double value = strtod(text, &end);
		size_t i = 0;

		if (end == text || value < 0)
			return 0;
		while (i < sizeof units / sizeof *units &&
		       strncmp(end, units[i].unit, strlen(units[i].unit)) != 0)
			i++;
		if (i == sizeof units / sizeof *units)
			return 0;
		all += value * units[i].ns;
		text = end + strlen(units[i].unit);
	}
	return all < 1e18 ? (uint64_t)all : 0;
}

/* The URL in a file of the repository: a multiaddr such as /ip4/127.0.0.1/tcp/5001. */
static char *find(void)
{
	const char *repository = getenv("IPFS_PATH"), *home = getenv("HOME");
	char path[4096], line[256] = "", host[128];
	unsigned port;

	snprintf(path, sizeof path, "%s%s/api", repository ? repository : home ? home : "",
	         repository ? "" : "/.ipfs");
	FILE *f = fopen(path, "re");
	char *url = f && fgets(line, sizeof line, f) ? malloc(URL_MAX) : NULL;
	if (f)
		fclose(f);
	if (!url)
		return NULL;
	if (sscanf(line, "/ip4/%127[0-9.]/tcp/%u", host, &port) == 2)
		snprintf(url, URL_MAX, "http://%s:%u", host, port);
	else if (sscanf(line, "/ip6/%127[0-9a-fA-F:]/tcp/%u", host, &port) == 2)
		snprintf(url, URL_MAX, "http://[%s]:%u", host, port);
	else
		snprintf(url, URL_MAX, "%s", kind_kubo.url);
	return url;
}

/* Kubo tells neither an id of a connection nor its own end of it. */
static void fill_peers(struct round *r, const json_t *answer)
{
	const json_t *list = array_at(r, answer, "Peers");

	begin_connections(r, json_array_size(list));
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *peer = json_array_get(list, i), *streams = array_at(r, peer, "Streams");
		char *id = text_at(r, peer, "Peer"), *address = text_at(r, peer, "Addr");
		const unsigned direction = (unsigned)number_at(r, peer, "Direction");
		Introspection__Connection *c =
			add_connection(r, take_text("%s %s %u", id, address, direction), address);

		c->peer_id = id;
		c->role = direction == INBOUND ? INTROSPECTION__ROLE__RESPONDER
		                               : INTROSPECTION__ROLE__INITIATOR;
		if (direction != INBOUND && direction != OUTBOUND) {
			c->user_provided_tags = role_unknown;
			c->n_user_provided_tags = 1;
		}
		c->latency_ns = duration(text_at(r, peer, "Latency"));
		c->agent_version = text_at(r, object_at(r, peer, "Identify"), "AgentVersion");
		begin_streams(c, json_array_size(streams));
		for (size_t k = 0; k < json_array_size(streams); k++)
			add_stream(r, c, text_at(r, json_array_get(streams, k), "Protocol"));
	}
}

/* What else has this API says in AgentVersion what it is: js-ipfs/0.18.1. */
static void fill_identity(struct round *r)
{
	const json_t *version = node_recall(r->node, "/api/v0/version", POST, IDENTITY_EVERY, NULL);

	r->runtime.version = text_at(r, version, "Version");
	r->runtime.platform = text_at(r, version, "System");
	const json_t *id = node_recall(r->node, "/api/v0/id", POST, IDENTITY_EVERY, NULL);
	const char *agent = text_at(r, id, "AgentVersion");

	r->runtime.peer_id = text_at(r, id, "ID");
	r->runtime.implementation = *agent ? take_text("%.*s", (int)strcspn(agent, "/"), agent) : (char *)"kubo";
}

/* Those whose reachability is known are told first. */
static void fill_addresses(struct round *r)
{
	uint64_t age = 0;
	const json_t *autonat = node_recall(r->node, "/api/v0/swarm/addrs/autonat", POST | OPTIONAL,
	                                    IDENTITY_EVERY, NULL);

	add_addresses(r, array_at(r, autonat, "reachable"),
	              INTROSPECTION__OWN_ADDRESS__REACHABILITY__PUBLIC);
	add_addresses(r, array_at(r, autonat, "unreachable"),
	              INTROSPECTION__OWN_ADDRESS__REACHABILITY__PRIVATE);
	const json_t *local = node_recall(r->node, "/api/v0/swarm/addrs/local", POST | OPTIONAL,
	                                  IDENTITY_EVERY, &age);
	add_addresses(r, array_at(r, local, "Strings"),
	              INTROSPECTION__OWN_ADDRESS__REACHABILITY__UNKNOWN);
	if (local)
		add_resource(r, "age-seconds", "addresses", age, IDENTITY_EVERY);
}

static Introspection__Traffic *bandwidth(const struct round *r, const json_t *bw)
{
	return new_traffic(number_at(r, bw, "TotalIn"), number_at(r, bw, "TotalOut"),
	                   number_at(r, bw, "RateIn"), number_at(r, bw, "RateOut"));
}

/* Counts the streams of each protocol that has one now. */
static void fill_protocols(struct round *r)
{
	Introspection__ProtocolTraffic **list = take_memory(PROTOCOLS_MAX * sizeof(void *));

	r->state.protocols = list;
	for (size_t i = 0; i < r->subsystems.n_connections; i++) {
		const Introspection__StreamList *streams = r->subsystems.connections[i]->streams;

		for (size_t k = 0; k < streams->n_streams; k++) {
			char *protocol = streams->streams[k]->protocol;
			size_t at = 0;

			while (at < r->state.n_protocols && strcmp(list[at]->protocol, protocol) != 0)
				at++;
			if (at == PROTOCOLS_MAX || !protocol[0])
				continue;
			if (at == r->state.n_protocols) {
				list[at] = NEW(protocol_traffic, ProtocolTraffic);
				list[at]->protocol = protocol;
				r->state.n_protocols++;
			}
			list[at]->streams++;
		}
	}
}

/* In all, and for each protocol that is open. Never for each peer: a thousand such questions
 * stop the node. */
static void fill_bandwidth(struct round *r)
{
	const json_t *all = node_ask(r->node, "/api/v0/stats/bw", POST | OPTIONAL);

	if (!all)
		return;
	r->state.traffic = bandwidth(r, all);
	fill_protocols(r);
	for (size_t i = 0; i < r->state.n_protocols; i++) {
		Introspection__ProtocolTraffic *p = r->state.protocols[i];
		const char *path = take_text("/api/v0/stats/bw?proto=%s", take_escaped(p->protocol));

		p->traffic = bandwidth(r, node_ask(r->node, path, POST | OPTIONAL));
	}
}

/* In ms, for how long the thing of this name has been seen. */
static uint32_t seen_for(struct round *r, const char *name)
{
	const int64_t ms = r->now - (int64_t)first_seen(r, name);

	return ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* The number of a bucket is the length of the prefix that its peers share with the node. Kubo does
 * not tell since when they are in it. */
static Introspection__DHT__Bucket *new_bucket(struct round *r, const json_t *bucket, size_t cpl)
{
	Introspection__DHT__Bucket *b = NEW(dht__bucket, DHT__Bucket);
	const json_t *peers = array_at(r, bucket, "Peers");
	const size_t n = json_array_size(peers);

	b->cpl = (uint32_t)cpl;
	b->peers = take_memory((n + 1) * sizeof(void *));
	for (size_t i = 0; i < n; i++) {
		const json_t *peer = json_array_get(peers, i);
		Introspection__DHT__PeerInDHT *p = NEW(dht__peer_in_dht, DHT__PeerInDHT);

		p->peer_id = text_at(r, peer, "ID");
		p->age_in_bucket = seen_for(r, take_text("%zu %s", cpl, p->peer_id));
		p->status = json_is_true(json_object_get(peer, "Connected"))
		                    ? INTROSPECTION__DHT__PEER_IN_DHT__STATUS__ACTIVE
		                    : INTROSPECTION__DHT__PEER_IN_DHT__STATUS__MISSING;
		b->peers[b->n_peers++] = p;
	}
	return b;
}

/* Kubo has two routing tables, for the internet and for the local network. The first is shown,
 * unless it is empty. */
static void fill_dht(struct round *r)
{
	uint64_t age = 0;
	const json_t *tables = node_recall(r->node, "/api/v0/stats/dht", POST | OPTIONAL | SEVERAL,
	                                   BUCKETS_EVERY, &age);
	const json_t *table = NULL, *buckets = NULL;

	for (size_t i = 0; i < json_array_size(tables) && json_array_size(buckets) == 0; i++) {
		table = json_array_get(tables, i);
		buckets = array_at(r, table, "Buckets");
	}
	if (!table)
		return;
	Introspection__DHT *d = r->subsystems.dht = NEW(dht, DHT);
	d->protocol = (char *)(strcmp(text_at(r, table, "Name"), "lan") == 0 ? "/ipfs/lan/kad/1.0.0"
	                                                                     : "/ipfs/kad/1.0.0");
	d->enabled = true;
	d->params = NEW(dht__params, DHT__Params);
	d->params->k = 20;
	d->buckets = take_memory((json_array_size(buckets) + 1) * sizeof(void *));
	for (size_t i = 0; i < json_array_size(buckets); i++)
		d->buckets[d->n_buckets++] = new_bucket(r, json_array_get(buckets, i), i);
	add_resource(r, "age-seconds", "dht", age, BUCKETS_EVERY);
}

/* A limit is a number, a number as text, or "unlimited". What is "blockAll" is never used. */
static void fill_resources(struct round *r)
{
	static const struct {
		const char *name, *used, *limit;
	} rows[] = {
		{"conns", "ConnsUsage", "Conns"},
		{"conns-inbound", "ConnsInboundUsage", "ConnsInbound"},
		{"conns-outbound", "ConnsOutboundUsage", "ConnsOutbound"},
		{"streams", "StreamsUsage", "Streams"},
		{"streams-inbound", "StreamsInboundUsage", "StreamsInbound"},
		{"streams-outbound", "StreamsOutboundUsage", "StreamsOutbound"},
		{"open-files", "FDUsage", "FD"},
		{"memory", "MemoryUsage", "Memory"},
	};
	static const char *const scopes[][2] = {{"system", "System"}, {"transient", "Transient"}};
	uint64_t age = 0;
	const json_t *limits = node_recall(r->node, "/api/v0/swarm/resources", POST | OPTIONAL,
	                                   LIMITS_EVERY, &age);

	for (size_t s = 0; s < 2; s++) {
		const json_t *scope = object_at(r, limits, scopes[s][1]);

		for (size_t i = 0; scope && i < sizeof rows / sizeof *rows; i++)
			if (strcmp(json_is_string(json_object_get(scope, rows[i].limit))
			                   ? text_at(r, scope, rows[i].limit) : "", "blockAll") != 0)
				add_resource(r, scopes[s][0], rows[i].name, number_at(r, scope, rows[i].used),
				             number_at(r, scope, rows[i].limit));
	}
	if (limits)
		add_resource(r, "age-seconds", "limits", age, LIMITS_EVERY);
}

/* The connection manager closes connections above the one mark until they are at the other.
 * Defaults are not in the configuration, so they are not told. */
static void fill_marks(struct round *r)
{
	const json_t *answer = node_recall(r->node, "/api/v0/config?arg=Swarm.ConnMgr", POST | OPTIONAL,
	                                   IDENTITY_EVERY, NULL);
	const json_t *manager = object_at(r, answer, "Value");
	const uint64_t high = number_at(r, manager, "HighWater"), low = number_at(r, manager, "LowWater");

	if (high > 0)
		add_resource(r, "connection-manager", "high-water", r->subsystems.n_connections, high);
	if (low > 0)
		add_resource(r, "connection-manager", "low-water", r->subsystems.n_connections, low);
}

/* Text in base64url with the multibase prefix u, without padding; NULL: it is none. */
static char *from_multibase(const char *in)
{
	const size_t len = strlen(in), padded = (len - (len > 0) + 3) / 4 * 4;
	char *base64 = take_memory(padded + 1), *out = take_memory(padded + 1);
	size_t n = 0;

	if (in[0] != 'u')
		return NULL;
	memset(base64, '=', padded);
	for (size_t i = 1; i < len; i++)
		base64[i - 1] = (char)(in[i] == '-' ? '+' : in[i] == '_' ? '/' : in[i]);
	if (mbedtls_base64_decode((unsigned char *)out, padded, &n, (unsigned char *)base64, padded) != 0)
		return NULL;
	wire_text(out, padded + 1, out, n);
	return out;
}

static void fill_topics(struct round *r)
{
	const json_t *names =
		array_at(r, node_ask(r->node, "/api/v0/pubsub/ls", POST | OPTIONAL), "Strings");
	const size_t n = json_array_size(names) < TOPICS_MAX ? json_array_size(names) : TOPICS_MAX;

	r->state.topics = take_memory((n + 1) * sizeof(void *));
	for (size_t i = 0; i < n; i++) {
		const char *encoded = text_of(r, json_array_get(names, i));
		char *name = from_multibase(encoded);

		if (!name) {
			node_wrong(r->node, "\"%s\" is not base64url in multibase", encoded);
			continue;
		}
		Introspection__Topic *t = NEW(topic, Topic);
		const char *path = take_text("/api/v0/pubsub/peers?arg=%s", take_escaped(encoded));
		t->name = name;
		t->subscribers = (uint32_t)json_array_size(
			array_at(r, node_ask(r->node, path, POST | OPTIONAL), "Strings"));
		r->state.topics[r->state.n_topics++] = t;
	}
}

static bool fill(struct round *r)
{
	const json_t *peers = node_ask(r->node, "/api/v0/swarm/peers?verbose=true&identify=true", POST);

	if (!peers)
		return false;
	fill_peers(r, peers);
	fill_identity(r);
	fill_addresses(r);
	fill_bandwidth(r);
	fill_dht(r);
	fill_resources(r);
	fill_marks(r);
	fill_topics(r);
	return true;
}

const struct kind kind_kubo = {
	.name = "kubo",
	.about = "Kubo's RPC API; its URL is in $IPFS_PATH/api or ~/.ipfs/api",
	.url = "http://127.0.0.1:5001",
	.find = find,
	.fill = fill,
};
