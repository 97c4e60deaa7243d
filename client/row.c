#include "row.h"

#include <stdio.h>
#include <string.h>

static uint64_t lifetime(uint64_t opened, uint64_t closed, uint64_t now)
{
	uint64_t end = closed > 0 ? closed : now;

	return opened > 0 && end > opened ? end - opened : 0;
}

const Introspection__DataGauge *traffic_gauge(const Introspection__Traffic *traffic, bool out)
{
	static const Introspection__DataGauge none;
	const Introspection__DataGauge *gauge = NULL;

	if (traffic)
		gauge = out ? traffic->traffic_out : traffic->traffic_in;
	return gauge ? gauge : &none;
}

static uint64_t stream_count(const Introspection__StreamList *list)
{
	return !list ? 0 : list->n_streams > 0 ? list->n_streams : list->n_stream_ids;
}

static void fill_traffic(struct row *row, const Introspection__Traffic *traffic)
{
	for (int out = 0; out < 2; out++) {
		row->rate[out] = traffic_gauge(traffic, out)->inst_bw;
		row->bytes[out] = traffic_gauge(traffic, out)->cum_bytes;
	}
}

struct row row_of_connection(const Introspection__Connection *c, uint64_t now)
{
	const Introspection__Connection__Timeline *t = c->timeline;
	struct row row = {.connection = c,
			  .id = c->id,
			  .streams = stream_count(c->streams),
			  .status = c->status,
			  .role = c->role,
			  .latency = c->latency_ns,
			  .age = t ? lifetime(t->open_ts, t->close_ts, now) : 0};

	fill_traffic(&row, c->traffic);
	return row;
}

struct row row_of_stream(const Introspection__Stream *s, uint64_t now)
{
	const Introspection__Stream__Timeline *t = s->timeline;
	struct row row = {.stream = s,
			  .id = s->id,
			  .status = s->status,
			  .role = s->role,
			  .latency = s->latency_ns,
			  .age = t ? lifetime(t->open_ts, t->close_ts, now) : 0};

	fill_traffic(&row, s->traffic);
	return row;
}

const char *status_text(Introspection__Status status)
{
	static const char *const names[] = {"active", "closed", "opening", "closing", "error"};

	return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

/* The value of the connection's tag KEY=VALUE; key ends with the '='. NULL: it has none. */
static const char *tag_value(const Introspection__Connection *c, const char *key)
{
	const size_t len = strlen(key);

	for (size_t i = 0; i < c->n_user_provided_tags; i++)
		if (strncmp(c->user_provided_tags[i], key, len) == 0)
			return c->user_provided_tags[i] + len;
	return NULL;
}

bool is_role_unknown(const struct row *row)
{
	const Introspection__Connection *c = row->connection;
	const Introspection__Stream *s = row->stream;
	const size_t count = c ? c->n_user_provided_tags : s ? s->n_user_provided_tags : 0;
	char *const *tags = c ? c->user_provided_tags : s ? s->user_provided_tags : NULL;

	for (size_t i = 0; i < count; i++)
		if (strcmp(tags[i], "role=unknown") == 0)
			return true;
	return false;
}

static const char *process(char out[CELL_MAX], const Introspection__Connection *c)
{
	const char *name = tag_value(c, "process="), *pid = tag_value(c, "pid=");

	snprintf(out, CELL_MAX, "%s%s%s", name ? name : "", name && pid ? " " : "", pid ? pid : "");
	return out;
}

/* The tags that no other cell shows. */
static const char *join_tags(char out[CELL_MAX], const Introspection__Connection *c)
{
	static const char *const shown[] = {"process=", "pid=", "role="};
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < c->n_user_provided_tags && used < CELL_MAX; i++) {
		const char *tag = c->user_provided_tags[i];
		size_t k = 0;

		while (k < sizeof shown / sizeof *shown &&
		       strncmp(tag, shown[k], strlen(shown[k])) != 0)
			k++;
		if (k == sizeof shown / sizeof *shown)
			used += (size_t)snprintf(out + used, CELL_MAX - used, "%s%s",
						 used > 0 ? " " : "", tag);
	}
	return out;
}

/* A piece of a multiaddr. */
struct part {
	const char *at;
	int len;
};

/* Finds the host and the port of a multiaddr. False: it does not have both. */
static bool find_socket(const char *multiaddr, struct part *host, struct part *port)
{
	*host = *port = (struct part){0};
	for (const char *at = multiaddr; *at == '/' && !port->at;) {
		const char *name = at + 1;
		size_t name_len = strcspn(name, "/");
		const char *value = name + name_len + (name[name_len] == '/');
		int len = (int)strcspn(value, "/");

		if (!host->at && (strncmp(name, "ip4/", 4) == 0 || strncmp(name, "ip6/", 4) == 0 ||
				  strncmp(name, "dns", 3) == 0))
			*host = (struct part){value, len};
		else if (host->at &&
			 (strncmp(name, "tcp/", 4) == 0 || strncmp(name, "udp/", 4) == 0))
			*port = (struct part){value, len};
		at = value + len;
	}
	return port->at != NULL;
}

const char *brief_address(char out[CELL_MAX], const char *multiaddr)
{
	struct part host, port;

	if (!find_socket(multiaddr, &host, &port))
		return multiaddr;
	const bool v6 = memchr(host.at, ':', (size_t)host.len) != NULL;

	snprintf(out, CELL_MAX, "%s%s%.*s%s:%.*s", strstr(port.at, "/p2p-circuit") ? "relay " : "",
		 v6 ? "[" : "", host.len, host.at, v6 ? "]" : "", port.len, port.at);
	return out;
}

/* An address without the /p2p/PEER at its end, which the cell PEER has. */
static const char *without_peer(char out[CELL_MAX], const char *multiaddr, const char *peer_id)
{
	static const char tag[] = "/p2p/";
	const size_t len = strlen(multiaddr), tail = strlen(peer_id) + sizeof tag - 1;

	if (len < tail || len - tail >= CELL_MAX ||
	    memcmp(multiaddr + len - tail, tag, sizeof tag - 1) != 0 ||
	    strcmp(multiaddr + len - strlen(peer_id), peer_id) != 0)
		return multiaddr;
	memcpy(out, multiaddr, len - tail);
	out[len - tail] = '\0';
	return out;
}

/* Some nodes give bytes here that say nothing to people. */
static const char *transport(char out[CELL_MAX], const ProtobufCBinaryData *id)
{
	size_t len = id->len < CELL_MAX ? id->len : CELL_MAX - 1;

	for (size_t i = 0; i < len; i++)
		if (id->data[i] < ' ' || id->data[i] > '~')
			len = 0;
	if (len > 0)
		memcpy(out, id->data, len);
	out[len] = '\0';
	return out;
}

const char *row_text(char out[CELL_MAX], const struct row *row, enum cell cell)
{
	const Introspection__Connection *c = row->connection;

	switch (cell) {
	case PEER:
		return *c->peer_id || !c->unlisted ? c->peer_id : "unlisted";
	case ADDRESS:
		return c->endpoints ? without_peer(out, c->endpoints->dst_multiaddr, c->peer_id) : "";
	case LOCAL:
		return c->endpoints ? c->endpoints->src_multiaddr : "";
	case PROCESS:
		return process(out, c);
	case AGENT:
		return c->agent_version;
	case TAGS:
		return join_tags(out, c);
	case TRANSPORT:
		return transport(out, &c->transport_id);
	case GROUP:
		snprintf(out, CELL_MAX, "%.*s%s%s", row->name_len > 0 ? (int)row->name_len : CELL_MAX,
			 row->name_len > 0 ? row->name : "(not known)", *row->detail ? " " : "",
			 row->detail);
		return out;
	case PROTOCOL:
		return row->stream->protocol;
	case STATUS:
		return status_text(row->status);
	case DIRECTION:
		return is_role_unknown(row)                          ? "?"
		       : row->role == INTROSPECTION__ROLE__RESPONDER ? "in"
								     : "out";
	default:
		return "";
	}
}

/* The peer of a connection, or its host. */
static struct part peer(const Introspection__Connection *c)
{
	struct part host = {"", 0}, port;

	if (*c->peer_id)
		return (struct part){c->peer_id, (int)strlen(c->peer_id)};
	if (c->endpoints && !find_socket(c->endpoints->dst_multiaddr, &host, &port))
		host = (struct part){"", 0};
	return host;
}

void row_begin_sum(struct row *row, bool by_process)
{
	const Introspection__Connection *c = row->connection;
	const char *process = tag_value(c, "process="), *pid = tag_value(c, "pid=");
	struct part name = peer(c);

	if (by_process)
		name = (struct part){process ? process : "", process ? (int)strlen(process) : 0};
	row->name = name.at;
	row->name_len = (size_t)name.len;
	row->detail = by_process && pid ? pid : "";
	row->id = (ProtobufCBinaryData){row->name_len, (uint8_t *)name.at};
	if (*row->detail)
		row->id = (ProtobufCBinaryData){strlen(pid), (uint8_t *)pid};
	row->members = row->status != INTROSPECTION__STATUS__CLOSED;
	row->status = INTROSPECTION__STATUS__ACTIVE;
	row->connection = NULL;
}

void row_add(struct row *sum, const struct row *row)
{
	for (int out = 0; out < 2; out++) {
		sum->rate[out] += row->rate[out];
		sum->bytes[out] += row->bytes[out];
	}
	sum->streams += row->streams;
	sum->members += row->members;
	if (row->latency > 0 && (row->latency < sum->latency || sum->latency == 0))
		sum->latency = row->latency;
	if (row->age > sum->age)
		sum->age = row->age;
}

int row_compare_names(const struct row *a, const struct row *b)
{
	const size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = memcmp(a->name, b->name, len);

	if (order == 0)
		order = (a->name_len > b->name_len) - (a->name_len < b->name_len);
	return order != 0 ? order : strcmp(a->detail, b->detail);
}

uint64_t row_number(const struct row *row, enum cell cell)
{
	switch (cell) {
	case STREAMS:
		return row->streams;
	case MEMBERS:
		return row->members;
	case RATE_IN:
	case RATE_OUT:
		return row->rate[cell == RATE_OUT];
	case BYTES_IN:
	case BYTES_OUT:
		return row->bytes[cell == BYTES_OUT];
	case LATENCY:
		return row->latency;
	case AGE:
		return row->age;
	default:
		return 0;
	}
}
