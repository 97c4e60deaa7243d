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

static const char *join_tags(char out[CELL_MAX], const Introspection__Connection *c)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < c->n_user_provided_tags && used < CELL_MAX; i++)
		used += (size_t)snprintf(out + used, CELL_MAX - used, "%s%s", i > 0 ? " " : "",
					 c->user_provided_tags[i]);
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
		return c->peer_id;
	case ADDRESS:
		return c->endpoints ? c->endpoints->dst_multiaddr : "";
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
		return row->role == INTROSPECTION__ROLE__RESPONDER ? "in" : "out";
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
