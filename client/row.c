#include "row.h"

#include <stdio.h>
#include <string.h>

static uint64_t lifetime(uint64_t opened, uint64_t closed, uint64_t now)
{
	uint64_t end = closed > 0 ? closed : now;

	return opened > 0 && end > opened ? end - opened : 0;
}

struct row row_of_connection(const Introspection__Connection *c, uint64_t now)
{
	const Introspection__Connection__Timeline *t = c->timeline;

	return (struct row){.connection = c,
			    .id = &c->id,
			    .traffic = c->traffic,
			    .status = c->status,
			    .role = c->role,
			    .latency = c->latency_ns,
			    .age = t ? lifetime(t->open_ts, t->close_ts, now) : 0};
}

struct row row_of_stream(const Introspection__Stream *s, uint64_t now)
{
	const Introspection__Stream__Timeline *t = s->timeline;

	return (struct row){.stream = s,
			    .id = &s->id,
			    .traffic = s->traffic,
			    .status = s->status,
			    .role = s->role,
			    .latency = s->latency_ns,
			    .age = t ? lifetime(t->open_ts, t->close_ts, now) : 0};
}

const char *status_text(Introspection__Status status)
{
	static const char *const names[] = {"active", "closed", "opening", "closing", "error"};

	return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

const Introspection__DataGauge *traffic_gauge(const Introspection__Traffic *traffic, bool out)
{
	static const Introspection__DataGauge none;
	const Introspection__DataGauge *gauge = NULL;

	if (traffic)
		gauge = out ? traffic->traffic_out : traffic->traffic_in;
	return gauge ? gauge : &none;
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

bool is_role_unknown(const Introspection__Connection *c)
{
	const char *role = tag_value(c, "role=");

	return role && strcmp(role, "unknown") == 0;
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

const char *brief_address(char out[CELL_MAX], const char *multiaddr)
{
	const char *at = multiaddr, *host = NULL, *port = NULL;
	int host_len = 0, port_len = 0;

	while (*at == '/' && !port) {
		const char *name = at + 1;
		size_t name_len = strcspn(name, "/");
		const char *value = name + name_len + (name[name_len] == '/');
		int len = (int)strcspn(value, "/");

		if (!host && (strncmp(name, "ip4/", 4) == 0 || strncmp(name, "ip6/", 4) == 0 ||
			      strncmp(name, "dns", 3) == 0)) {
			host = value;
			host_len = len;
		} else if (host &&
			   (strncmp(name, "tcp/", 4) == 0 || strncmp(name, "udp/", 4) == 0)) {
			port = value;
			port_len = len;
		}
		at = value + len;
	}
	if (!port)
		return multiaddr;
	const bool v6 = memchr(host, ':', (size_t)host_len) != NULL;

	snprintf(out, CELL_MAX, "%s%s%.*s%s:%.*s", strstr(at, "/p2p-circuit") ? "relay " : "",
		 v6 ? "[" : "", host_len, host, v6 ? "]" : "", port_len, port);
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
		return c->endpoints ? c->endpoints->dst_multiaddr : "";
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
	case PROTOCOL:
		return row->stream->protocol;
	case STATUS:
		return status_text(row->status);
	case DIRECTION:
		return c && is_role_unknown(c)                       ? "?"
		       : row->role == INTROSPECTION__ROLE__RESPONDER ? "in"
								     : "out";
	default:
		return "";
	}
}

static uint64_t stream_count(const Introspection__StreamList *list)
{
	return !list ? 0 : list->n_streams > 0 ? list->n_streams : list->n_stream_ids;
}

uint64_t row_number(const struct row *row, enum cell cell)
{
	switch (cell) {
	case STREAMS:
		return stream_count(row->connection->streams);
	case RATE_IN:
	case RATE_OUT:
		return traffic_gauge(row->traffic, cell == RATE_OUT)->inst_bw;
	case BYTES_IN:
	case BYTES_OUT:
		return traffic_gauge(row->traffic, cell == BYTES_OUT)->cum_bytes;
	case LATENCY:
		return row->latency;
	case AGE:
		return row->age;
	default:
		return 0;
	}
}
