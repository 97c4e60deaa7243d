#include "columns.h"

#include <stdio.h>
#include <string.h>

const char *column_status(Introspection__Status status)
{
	static const char *const names[] = {"active", "closed", "opening", "closing", "error"};

	return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

static unsigned status_style(Introspection__Status status)
{
	return status == INTROSPECTION__STATUS__ERROR    ? ALARM
	       : status == INTROSPECTION__STATUS__CLOSED ? DIM
	                                                 : PLAIN;
}

static const char *role_text(Introspection__Role role)
{
	return role == INTROSPECTION__ROLE__RESPONDER ? "in" : "out";
}

const Introspection__DataGauge *column_gauge(const Introspection__Traffic *traffic, bool out)
{
	static const Introspection__DataGauge none;

	return !traffic                        ? &none
	       : out && traffic->traffic_out   ? traffic->traffic_out
	       : !out && traffic->traffic_in   ? traffic->traffic_in
	                                       : &none;
}

static uint64_t lifetime(uint64_t opened, uint64_t closed, uint64_t now)
{
	uint64_t end = closed > 0 ? closed : now;

	return opened > 0 && end > opened ? end - opened : 0;
}

/* Columns of the connections. */

static const char *peer(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return ((const Introspection__Connection *)row)->peer_id;
}

static const char *remote(char out[TABLE_CELL_MAX], const void *row)
{
	const Introspection__Connection *c = row;

	(void)out;
	return c->endpoints ? c->endpoints->dst_multiaddr : "";
}

static const char *agent(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return ((const Introspection__Connection *)row)->agent_version;
}

/* Some nodes give a number here, which says nothing to people. */
const char *column_transport(char out[TABLE_CELL_MAX], const void *row)
{
	const ProtobufCBinaryData *id = &((const Introspection__Connection *)row)->transport_id;
	size_t len = id->len < TABLE_CELL_MAX ? id->len : TABLE_CELL_MAX - 1;

	for (size_t i = 0; i < len; i++)
		if (id->data[i] < ' ' || id->data[i] > '~')
			len = 0;
	if (len > 0)
		memcpy(out, id->data, len);
	out[len] = '\0';
	return out;
}

const char *column_tags(char out[TABLE_CELL_MAX], const void *row)
{
	const Introspection__Connection *c = row;
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < c->n_user_provided_tags && used < TABLE_CELL_MAX; i++)
		used += (size_t)snprintf(out + used, TABLE_CELL_MAX - used, "%s%s", i > 0 ? " " : "",
		                         c->user_provided_tags[i]);
	return out;
}

static const char *connection_role(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return role_text(((const Introspection__Connection *)row)->role);
}

static const char *connection_status(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return column_status(((const Introspection__Connection *)row)->status);
}

uint64_t column_streams(const void *row, const struct table_context *context)
{
	const Introspection__StreamList *list = ((const Introspection__Connection *)row)->streams;

	(void)context;
	return !list ? 0 : list->n_streams > 0 ? list->n_streams : list->n_stream_ids;
}

#define TRAFFIC_COLUMN(name, type, out, field)                                            \
	static uint64_t name(const void *row, const struct table_context *context)        \
	{                                                                                 \
		(void)context;                                                            \
		return column_gauge(((const type *)row)->traffic, out)->field;                   \
	}
TRAFFIC_COLUMN(connection_rate_in, Introspection__Connection, false, inst_bw)
TRAFFIC_COLUMN(connection_rate_out, Introspection__Connection, true, inst_bw)
TRAFFIC_COLUMN(connection_in, Introspection__Connection, false, cum_bytes)
TRAFFIC_COLUMN(connection_out, Introspection__Connection, true, cum_bytes)
TRAFFIC_COLUMN(stream_rate_in, Introspection__Stream, false, inst_bw)
TRAFFIC_COLUMN(stream_rate_out, Introspection__Stream, true, inst_bw)
TRAFFIC_COLUMN(stream_in, Introspection__Stream, false, cum_bytes)
TRAFFIC_COLUMN(stream_out, Introspection__Stream, true, cum_bytes)

static uint64_t connection_latency(const void *row, const struct table_context *context)
{
	(void)context;
	return ((const Introspection__Connection *)row)->latency_ns;
}

static uint64_t connection_age(const void *row, const struct table_context *context)
{
	const Introspection__Connection__Timeline *t = ((const Introspection__Connection *)row)->timeline;

	return t ? lifetime(t->open_ts, t->close_ts, context->now) : 0;
}

static unsigned connection_style(const void *row)
{
	return status_style(((const Introspection__Connection *)row)->status);
}

static const ProtobufCBinaryData *connection_id(const void *row)
{
	return &((const Introspection__Connection *)row)->id;
}

/* Columns of the streams. */

static const char *stream_protocol(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return ((const Introspection__Stream *)row)->protocol;
}

static const char *stream_role(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return role_text(((const Introspection__Stream *)row)->role);
}

static const char *stream_status(char out[TABLE_CELL_MAX], const void *row)
{
	(void)out;
	return column_status(((const Introspection__Stream *)row)->status);
}

static uint64_t stream_latency(const void *row, const struct table_context *context)
{
	(void)context;
	return ((const Introspection__Stream *)row)->latency_ns;
}

static uint64_t stream_age(const void *row, const struct table_context *context)
{
	const Introspection__Stream__Timeline *t = ((const Introspection__Stream *)row)->timeline;

	return t ? lifetime(t->open_ts, t->close_ts, context->now) : 0;
}

static unsigned stream_style(const void *row)
{
	return status_style(((const Introspection__Stream *)row)->status);
}

static const ProtobufCBinaryData *stream_id(const void *row)
{
	return &((const Introspection__Stream *)row)->id;
}

/* title, key, rank, width, most, fit, text, number, format */
static const struct column connection_columns[] = {
	{"PEER", 'p', 1, 12, 52, MIDDLE, peer, NULL, NULL},
	{"ADDRESS", 'd', 0, 18, 60, LEFT, remote, NULL, NULL},
	{"AGENT", 'n', 7, 10, 28, LEFT, agent, NULL, NULL},
	{"TAGS", 'm', 8, 12, 40, LEFT, column_tags, NULL, NULL},
	{"TRANSPORT", 't', 12, 9, 16, LEFT, column_transport, NULL, NULL},
	{"STATUS", 'x', 11, 7, 7, LEFT, connection_status, NULL, NULL},
	{"DIR", 'c', 6, 3, 3, LEFT, connection_role, NULL, NULL},
	{"STRM", 's', 5, 4, 4, RIGHT, NULL, column_streams, NULL},
	{"IN/S", 'i', 2, 5, 5, RIGHT, NULL, connection_rate_in, format_brief},
	{"OUT/S", 'o', 2, 5, 5, RIGHT, NULL, connection_rate_out, format_brief},
	{"IN", 'I', 9, 5, 5, RIGHT, NULL, connection_in, format_brief},
	{"OUT", 'O', 9, 5, 5, RIGHT, NULL, connection_out, format_brief},
	{"RTT", 'l', 4, 5, 5, RIGHT, NULL, connection_latency, format_latency},
	{"AGE", 'a', 3, 4, 4, RIGHT, NULL, connection_age, format_age},
};

static const struct column stream_columns[] = {
	{"PROTOCOL", 'p', 0, 20, 60, LEFT, stream_protocol, NULL, NULL},
	{"STATUS", 'x', 6, 7, 7, LEFT, stream_status, NULL, NULL},
	{"DIR", 'c', 3, 3, 3, LEFT, stream_role, NULL, NULL},
	{"IN/S", 'i', 1, 5, 5, RIGHT, NULL, stream_rate_in, format_brief},
	{"OUT/S", 'o', 1, 5, 5, RIGHT, NULL, stream_rate_out, format_brief},
	{"IN", 'I', 5, 5, 5, RIGHT, NULL, stream_in, format_brief},
	{"OUT", 'O', 5, 5, 5, RIGHT, NULL, stream_out, format_brief},
	{"RTT", 'l', 4, 5, 5, RIGHT, NULL, stream_latency, format_latency},
	{"AGE", 'a', 2, 4, 4, RIGHT, NULL, stream_age, format_age},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

void columns_of_connections(struct table *t)
{
	*t = (struct table){.columns = connection_columns,
	                    .column_count = COUNT(connection_columns),
	                    .row_style = connection_style,
	                    .id = connection_id,
	                    .sort = 8};
}

void columns_of_streams(struct table *t)
{
	*t = (struct table){.columns = stream_columns,
	                    .column_count = COUNT(stream_columns),
	                    .row_style = stream_style,
	                    .id = stream_id,
	                    .sort = 3};
}
