#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "bridge/bridge.h"
#include "source/wire.h"

/* Blocks that are freed together. */
static struct block {
	struct block *next;
	max_align_t bytes[];
} *blocks;

_Noreturn static void out_of_memory(void)
{
	fputs("introspect-bridge: out of memory\n", stderr);
	exit(1);
}

void *take_memory(size_t size)
{
	struct block *b = calloc(1, sizeof *b + size);

	if (!b)
		out_of_memory();
	b->next = blocks;
	blocks = b;
	return b->bytes;
}

char *take_text(const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	const int len = vsnprintf(NULL, 0, format, args);
	char *text = take_memory((size_t)len + 1);
	vsnprintf(text, (size_t)len + 1, format, again);
	va_end(again);
	va_end(args);
	return text;
}

char *take_escaped(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0);

	if (!escaped)
		out_of_memory();
	char *copy = take_text("%s", escaped);
	curl_free(escaped);
	return copy;
}

void *take_message(size_t size, const ProtobufCMessageDescriptor *type)
{
	void *message = take_memory(size);

	protobuf_c_message_init(type, message);
	return message;
}

void round_begin(struct round *r, struct node *node)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	*r = (struct round){
		.node = node,
		.now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000,
		.before = r->before,
		.current = json_object(),
		.counts = json_object(),
		.runtime = INTROSPECTION__RUNTIME__INIT,
		.state = INTROSPECTION__STATE__INIT,
		.subsystems = INTROSPECTION__SUBSYSTEMS__INIT,
	};
	if (!r->current || !r->counts)
		out_of_memory();
	r->state.subsystems = &r->subsystems;
	r->state.instant_ts = (uint64_t)r->now;
	r->state.resources = take_memory(RESOURCES_MAX * sizeof(void *));
	r->state.addresses = take_memory(ADDRESSES_MAX * sizeof(void *));
	node_begin(node, r->now);
}

void round_end(struct round *r)
{
	json_decref(r->counts);
	json_decref(r->before);
	r->before = r->current;
	r->counts = r->current = NULL;
	for (struct block *b = blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	blocks = NULL;
}

/* NULL: there is none, or of another type, which is noted. */
static const json_t *member(const struct round *r, const json_t *object, const char *key,
                            json_type type, const char *expected)
{
	const json_t *value = json_object_get(object, key);

	if (object && !json_is_object(object))
		node_wrong(r->node, "expected an object with \"%s\"", key);
	else if (value && !json_is_null(value) && json_typeof(value) != type)
		node_wrong(r->node, "\"%s\" is not %s", key, expected);
	else if (!json_is_null(value))
		return value;
	return NULL;
}

char *text_at(const struct round *r, const json_t *object, const char *key)
{
	const char *text = json_string_value(member(r, object, key, JSON_STRING, "a string"));

	return (char *)(text ? text : "");
}

char *text_of(const struct round *r, const json_t *element)
{
	const char *text = json_string_value(element);

	if (!text)
		node_wrong(r->node, "an element is not a string");
	return (char *)(text ? text : "");
}

uint64_t number_at(const struct round *r, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_real(value)) {
		const double real = json_real_value(value);
		return real <= 0 ? 0 : real < 0x1p63 ? (uint64_t)real : UINT64_MAX;
	}
	if (json_is_string(value)) {
		const char *text = json_string_value(value);
		return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : 0;
	}
	const json_int_t number = json_integer_value(member(r, object, key, JSON_INTEGER, "a number"));
	return number > 0 ? (uint64_t)number : 0;
}

const json_t *array_at(const struct round *r, const json_t *object, const char *key)
{
	return member(r, object, key, JSON_ARRAY, "an array");
}

const json_t *object_at(const struct round *r, const json_t *object, const char *key)
{
	return member(r, object, key, JSON_OBJECT, "an object");
}

/* How often this name came before in this round. */
static json_int_t count(struct round *r, const char *name)
{
	const json_int_t n = json_integer_value(json_object_get(r->counts, name));

	if (json_object_set_new(r->counts, name, json_integer(n + 1)) != 0)
		out_of_memory();
	return n;
}

uint64_t first_seen(struct round *r, const char *name)
{
	const json_t *before = json_object_get(r->before, name);
	const json_int_t since = before ? json_integer_value(before) : r->now;

	if (json_object_set_new(r->current, name, json_integer(since)) != 0)
		out_of_memory();
	return (uint64_t)since;
}

void begin_connections(struct round *r, size_t n)
{
	r->subsystems.connections = take_memory((n + 1) * sizeof(void *));
}

/* The components of a multiaddr that say by which transport, such as ip4+udp+quic-v1. */
static char *transport_of(const char *multiaddr)
{
	static const char valued[] = "/ip4/ip6/dns/dns4/dns6/dnsaddr/tcp/udp/p2p/certhash/sni/ip6zone/";
	static const char hidden[] = "/p2p/certhash/sni/ip6zone/";
	char *out = take_memory(strlen(multiaddr) + 1), *end = out;
	size_t len;

	for (const char *at = multiaddr; *at == '/'; at += len) {
		len = 1 + strcspn(at + 1, "/");
		char *name = take_text("%.*s/", (int)len, at);
		if (!strstr(hidden, name))
			end += sprintf(end, "%s%.*s", end > out ? "+" : "", (int)len - 1, at + 1);
		if (strstr(valued, name) && at[len] == '/')
			len += 1 + strcspn(at + len + 1, "/");
	}
	return out;
}

Introspection__Connection *add_connection(struct round *r, const char *name, const char *remote)
{
	Introspection__Connection *c = NEW(connection, Connection);
	const json_int_t same = count(r, name);
	const char *unique = same > 0 ? take_text("%s #%" JSON_INTEGER_FORMAT, name, same) : name;

	c->id.data = (uint8_t *)take_text("%016" PRIx64, wire_hash(0, unique, strlen(unique)));
	c->id.len = 16;
	c->transport_id.data = (uint8_t *)transport_of(remote);
	c->transport_id.len = strlen((char *)c->transport_id.data);
	c->endpoints = NEW(endpoint_pair, EndpointPair);
	c->endpoints->dst_multiaddr = (char *)remote;
	c->timeline = NEW(connection__timeline, Connection__Timeline);
	c->timeline->open_ts = first_seen(r, unique);
	r->subsystems.connections[r->subsystems.n_connections++] = c;
	return c;
}

void begin_streams(Introspection__Connection *c, size_t n)
{
	c->streams = NEW(stream_list, StreamList);
	c->streams->streams = take_memory((n + 1) * sizeof(void *));
}

char *role_unknown[1] = {(char *)"role=unknown"};

void add_stream(struct round *r, Introspection__Connection *c, const char *protocol)
{
	Introspection__Stream *s = NEW(stream, Stream);
	const char *name = take_text("%.16s %s", (char *)c->id.data, protocol);

	s->id.data = (uint8_t *)take_text("%s %" JSON_INTEGER_FORMAT, name, count(r, name));
	s->id.len = strlen((char *)s->id.data);
	s->protocol = (char *)protocol;
	s->user_provided_tags = role_unknown;
	s->n_user_provided_tags = 1;
	c->streams->streams[c->streams->n_streams++] = s;
}

void add_addresses(struct round *r, const json_t *list,
                   Introspection__OwnAddress__Reachability reachability)
{
	Introspection__OwnAddress **all = r->state.addresses;

	for (size_t i = 0; i < json_array_size(list) && r->state.n_addresses < ADDRESSES_MAX; i++) {
		char *multiaddr = text_of(r, json_array_get(list, i));
		size_t k = 0;

		while (k < r->state.n_addresses && strcmp(all[k]->multiaddr, multiaddr) != 0)
			k++;
		if (k < r->state.n_addresses || !multiaddr[0])
			continue;
		all[k] = NEW(own_address, OwnAddress);
		all[k]->multiaddr = multiaddr;
		all[k]->reachability = reachability;
		r->state.n_addresses++;
	}
}

void add_resource(struct round *r, const char *scope, const char *name, uint64_t used,
                  uint64_t limit)
{
	if (r->state.n_resources == RESOURCES_MAX)
		return;
	Introspection__Resource *resource = NEW(resource, Resource);
	resource->scope = (char *)scope;
	resource->name = (char *)name;
	resource->used = used;
	resource->limit = limit;
	r->state.resources[r->state.n_resources++] = resource;
}

Introspection__Traffic *new_traffic(uint64_t in, uint64_t out, uint64_t rate_in, uint64_t rate_out)
{
	Introspection__Traffic *t = NEW(traffic, Traffic);

	t->traffic_in = NEW(data_gauge, DataGauge);
	t->traffic_out = NEW(data_gauge, DataGauge);
	t->traffic_in->cum_bytes = in;
	t->traffic_out->cum_bytes = out;
	t->traffic_in->inst_bw = rate_in;
	t->traffic_out->inst_bw = rate_out;
	return t;
}
