#include "endpoint/totals.h"

#include <assert.h>
#include <string.h>

/* The kinds of messages whose fields are read. A record (STATE and after) has values of its own,
 * which are added up at its end. The other kinds set values of the record that holds them: since
 * protobuf allows an embedded message to come in several pieces, only the end of the record has
 * all of it. */
enum kind {
	MESSAGE,
	SUBSYSTEMS,
	STREAMS,
	DHT,
	BUCKET,
	QUERIES_IN,
	QUERIES_OUT,
	TRAFFIC,
	GAUGE_IN,
	GAUGE_OUT,
	STATE,   /* this and the following kinds are records */
	CONNECTION,
	STREAM,
	PEER,
	PROTOCOL,
	RESOURCE,
	KINDS,
};

enum { RULES_MAX = 5 };

/* Places in totals_values.numbers. Records of different kinds use the same places for different
 * numbers. */
enum number {
	BYTES_IN,
	BYTES_OUT,
	PACKETS_IN,
	PACKETS_OUT,
	QUERIES,       /* of the DHT, six: in succeeded, failed, timed out; out the same */
	ENABLED = QUERIES + 6,   /* the DHT */
	STATUS = 0,
	ROLE,
	OPEN = QUERIES,
	USED = 0,
	LIMIT,
};

enum text {
	NAME,
	SCOPE,
};

/* What is done with a field. NUMBER and TEXT keep its value in the place to; ENTER reads it as a
 * message of the kind to; STAND_IN counts it as a record of the kind to without fields, for an id
 * that stands for a stream. */
struct rule {
	uint8_t field;   /* number in the schema; 0: no more rules */
	enum { NUMBER, TEXT, ENTER, STAND_IN } how;
	uint8_t to;
};

static const struct rule rules[KINDS][RULES_MAX] = {
	[MESSAGE] = {{2, ENTER, STATE}},
	[STATE] = {{1, ENTER, SUBSYSTEMS}, {2, ENTER, TRAFFIC}, {103, ENTER, PROTOCOL},
	           {105, ENTER, RESOURCE}},
	[SUBSYSTEMS] = {{1, ENTER, CONNECTION}, {2, ENTER, DHT}},
	[CONNECTION] = {{3, NUMBER, STATUS}, {7, NUMBER, ROLE}, {4, TEXT, NAME},
	                {11, ENTER, STREAMS}},
	[STREAMS] = {{1, STAND_IN, STREAM}, {2, ENTER, STREAM}},
	[STREAM] = {{2, TEXT, NAME}, {7, NUMBER, STATUS}},
	[DHT] = {{2, NUMBER, ENABLED}, {5, ENTER, BUCKET}, {6, ENTER, QUERIES_IN}, {7, ENTER, QUERIES_OUT}},
	[BUCKET] = {{2, ENTER, PEER}},
	[PEER] = {{2, NUMBER, STATUS}},
	[QUERIES_IN] = {{1, NUMBER, QUERIES}, {2, NUMBER, QUERIES + 1}, {3, NUMBER, QUERIES + 2}},
	[QUERIES_OUT] = {{1, NUMBER, QUERIES + 3}, {2, NUMBER, QUERIES + 4},
	                 {3, NUMBER, QUERIES + 5}},
	[TRAFFIC] = {{1, ENTER, GAUGE_IN}, {2, ENTER, GAUGE_OUT}},
	[GAUGE_IN] = {{1, NUMBER, BYTES_IN}, {2, NUMBER, PACKETS_IN}},
	[GAUGE_OUT] = {{1, NUMBER, BYTES_OUT}, {2, NUMBER, PACKETS_OUT}},
	[PROTOCOL] = {{1, TEXT, NAME}, {2, ENTER, TRAFFIC}, {3, NUMBER, OPEN}},
	[RESOURCE] = {{1, TEXT, SCOPE}, {2, TEXT, NAME}, {3, NUMBER, USED}, {4, NUMBER, LIMIT}},
};

bool totals_name(char out[TOTALS_NAME_MAX], const uint8_t *name, size_t len)
{
	static const char unknown[] = "unknown";

	if (len == 0)
		return wire_text(out, TOTALS_NAME_MAX, unknown, strlen(unknown)) > 0;
	return wire_text(out, TOTALS_NAME_MAX, (const char *)name, len) == len;
}

/* The number of a name with a spelling that was not seen before. Spellings that print alike are
 * one name. 0: "other", since there are max names already. */
static size_t number_name(struct totals_names *names, size_t max, const struct totals_text *name)
{
	char text[TOTALS_NAME_MAX];
	size_t i = 0;

	totals_name(text, name->at, name->len);
	while (i < names->count && strcmp(text, names->text[i]) != 0)
		i++;
	if (i == max)
		return 0;
	if (i == names->count)
		strcpy(names->text[names->count++], text);
	return i;
}

/* The number of a name, by a hash table of its spellings. Half of the table stays free
 * (TOTALS_SPELLINGS), so that each search ends at a free place. */
static size_t find_name(struct totals_names *names, size_t max, struct totals_text name)
{
	static const struct totals_text unknown = {(const uint8_t *)"unknown", sizeof "unknown" - 1};
	const size_t places = sizeof names->spellings / sizeof *names->spellings;

	if (name.len >= TOTALS_NAME_MAX)
		return 0;
	if (name.len == 0)
		name = unknown;
	size_t i = wire_checksum(name.at, name.len) % places;
	struct totals_spelling *s = &names->spellings[i];
	while (s->len > 0 && (s->len != name.len || memcmp(s->at, name.at, name.len) != 0))
		s = &names->spellings[++i % places];
	if (s->len > 0)
		return s->number;
	if (names->spelling_count == TOTALS_SPELLINGS)
		return 0;
	names->spelling_count++;
	*s = (struct totals_spelling){name.at, name.len, number_name(names, max, &name)};
	return s->number;
}

/* If a resource is told twice, the last one counts. */
static void add_resource(struct totals *t, const struct totals_values *v)
{
	struct totals_resource *r = &t->resources[t->resource_count];
	const struct totals_text *scope = &v->texts[SCOPE], *name = &v->texts[NAME];

	if (t->resource_count == TOTALS_RESOURCES || !totals_name(r->scope, scope->at, scope->len) ||
	    !totals_name(r->name, name->at, name->len))
		return;
	struct totals_resource *same = t->resources;
	while (strcmp(same->scope, r->scope) != 0 || strcmp(same->name, r->name) != 0)
		same++;
	t->resource_count += same == r;
	same->used = v->numbers[USED];
	same->limit = v->numbers[LIMIT];
}

static size_t at_most(uint64_t value, size_t max)
{
	return value < max ? (size_t)value : max;
}

/* Adds the values of a record to the totals. */
static void add(struct totals *t, enum kind kind, const struct totals_values *v)
{
	const uint64_t *n = v->numbers;
	struct totals_text name = v->texts[NAME];
	size_t i;

	switch (kind) {
	case STATE:
		memcpy(t->bytes, n + BYTES_IN, sizeof t->bytes);
		memcpy(t->packets, n + PACKETS_IN, sizeof t->packets);
		memcpy(t->dht_queries, n + QUERIES, sizeof t->dht_queries);
		t->has_dht |= n[ENABLED] > 0;
		break;
	case CONNECTION:
		i = find_name(&t->transports, TOTALS_TRANSPORTS, name);
		t->connections[i][at_most(n[STATUS], TOTALS_STATUSES - 1)]
		              [at_most(n[ROLE], TOTALS_ROLES - 1)]++;
		break;
	case STREAM:
		if (n[STATUS] != INTROSPECTION__STATUS__CLOSED &&
		    n[STATUS] != INTROSPECTION__STATUS__ERROR)
			t->streams[find_name(&t->protocols, TOTALS_PROTOCOLS, name)]++;
		break;
	case PEER:
		t->has_dht = true;
		t->dht_peers[at_most(n[STATUS], TOTALS_STATUSES - 2)]++;
		break;
	case PROTOCOL:
		i = find_name(&t->protocols, TOTALS_PROTOCOLS, name);
		t->has_traffic[i] = true;
		t->protocol_bytes[i][0] += n[BYTES_IN];
		t->protocol_bytes[i][1] += n[BYTES_OUT];
		t->streams_told[i] += n[OPEN];
		break;
	default:   /* RESOURCE */
		add_resource(t, v);
	}
}

/* Begins to read a message within the current one. TOTALS_DEPTH levels suffice, since no rule
 * leads from a kind back to itself: the oneof relayed_over of a Connection has none. */
static void enter(struct totals *t, enum kind kind, const uint8_t *at, size_t len)
{
	struct totals_level *l = &t->levels[t->depth++];

	assert(t->depth <= TOTALS_DEPTH);
	l->reader = (struct wire_reader){.at = at, .end = at + len};
	l->kind = kind;
	l->values = kind < STATE && t->depth > 1 ? l[-1].values : &l->own;
	if (l->values == &l->own)
		memset(&l->own, 0, sizeof l->own);
}

static void take_field(struct totals *t, struct totals_level *l, const struct wire_field *f)
{
	const struct rule *rule = rules[l->kind];
	const uint8_t *end = l->reader.at;
	const size_t len = (size_t)f->value;   /* of a text or a message */

	while (rule->field > 0 && rule->field != f->number)
		rule++;
	if (rule->field == 0 || f->type != (rule->how == NUMBER ? WIRE_VARINT : WIRE_LEN))
		return;
	if (rule->how == NUMBER)
		l->values->numbers[rule->to] = f->value;
	else if (rule->how == TEXT)
		l->values->texts[rule->to] = (struct totals_text){end - len, len};
	else if (rule->how == ENTER)
		enter(t, rule->to, end - len, len);
	else
		enter(t, rule->to, end, 0);
}

void totals_begin(struct totals *t, const uint8_t *message, size_t len)
{
	memset(t, 0, sizeof *t);
	t->transports.count = t->protocols.count = 1;
	strcpy(t->transports.text[0], "other");
	strcpy(t->protocols.text[0], "other");
	enter(t, MESSAGE, message, len);
}

bool totals_count(struct totals *t, size_t fields)
{
	struct wire_field f;

	for (; t->depth > 0 && fields > 0; fields--) {
		struct totals_level *l = &t->levels[t->depth - 1];

		if (l->reader.at < l->reader.end && wire_next(&l->reader, &f)) {
			take_field(t, l, &f);
		} else {
			t->depth--;
			if (l->kind >= STATE)
				add(t, l->kind, l->values);
		}
	}
	return t->depth == 0;
}
