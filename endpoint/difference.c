#include "endpoint/difference.h"

#include <stdlib.h>
#include <string.h>

#include "base/setup.h"
#include "source/wire.h"

enum {
	TABLE_BITS = 16,
	WORTH = 8,   /* a difference that saves less than this part of the bytes is not made */
	FORM_AT = SNAPSHOT_HEADROOM + WIRE_PREFIX_MAX,   /* where a form's State begins */

	/* fields of the schema */
	READY_HAVE = 1,
	READY_DETAIL = 2,
	STATE_SUBSYSTEMS = 1,
	STATE_GONE_IDS = 107,
	SUBSYSTEMS_CONNECTIONS = 1,
	SUBSYSTEMS_DHT = 2,
	CONNECTION_ID = 1,
	CONNECTION_PEER = 2,
	CONNECTION_STATUS = 3,
	CONNECTION_ROLE = 7,
	CONNECTION_STREAMS = 11,
	STREAMLIST_STREAMS = 2,
	STREAM_STATUS = 7,
	DHT_BUCKETS = 5,
	BUCKET_PEERS = 2,

	PARTS = INTROSPECTION__STATE__PART__RESOURCES + 1,
};

/* A connection of the snapshot that was noted last. */
struct entry {
	struct entry *next;      /* with the same hash of its id, or the next free one */
	uint64_t key;            /* hash of its id */
	uint64_t hash;           /* of its encoded bytes */
	uint64_t changed;        /* sequence number of the last snapshot in which it was new or differed
	                            from the one before */
	uint64_t came;           /* sequence number of the first snapshot that had it */
	uint64_t seen;           /* and of the last one */
	uint8_t id_len;
	uint8_t id[DIFFERENCE_ID_MAX];
};

struct gone {
	uint64_t came;           /* sequence number of the first snapshot that had it */
	uint64_t sequence;       /* and of the first without it */
	uint64_t key;
	uint8_t id_len;
	uint8_t id[DIFFERENCE_ID_MAX];
};

struct form {
	struct snapshot snapshot;   /* sequence 0: the buffer was never used */
	uint64_t base;              /* 0: totals */
};

struct difference {
	size_t max;
	uint64_t seed;           /* of the hashes: peers choose some of what is hashed */
	uint64_t noted;          /* sequence number of the snapshot that was noted last */
	uint64_t from;           /* the first base to which there is a difference; 0: there is none */
	uint64_t wanted;         /* the last snapshot for which somebody wanted one; 0: nobody did */

	uint64_t part_hash[PARTS], part_changed[PARTS];   /* by number of the schema's Part */

	struct entry *table[1 << TABLE_BITS];
	struct entry all[DIFFERENCE_CONNECTIONS], *free;
	size_t used;             /* entries of all from here on were not used since the last forget_all */
	size_t known;            /* entries in the table */
	struct entry *order[DIFFERENCE_CONNECTIONS];      /* of the noted snapshot, as they stand in it */
	size_t count;            /* of order */
	size_t changed;          /* bytes of connections that were new or differed in the noted snapshot */

	struct gone gone[DIFFERENCE_GONE];                /* a ring; the one with number n is at n modulo
	                                                     DIFFERENCE_GONE */
	size_t gone_count;       /* connections that have gone since the last forget_all */

	uint64_t peers[2 * DIFFERENCE_CONNECTIONS];       /* hashes of ids, while totals are made */
	struct form forms[DIFFERENCE_FORMS];
};

struct difference *difference_open(size_t max)
{
	struct difference *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->max = max;
	d->seed = setup_seed();
	for (int i = 0; i < DIFFERENCE_FORMS; i++) {
		d->forms[i].snapshot.buffer = malloc(FORM_AT + max);
		if (!d->forms[i].snapshot.buffer) {
			difference_close(d);
			return NULL;
		}
	}
	return d;
}

void difference_close(struct difference *d)
{
	for (int i = 0; d && i < DIFFERENCE_FORMS; i++)
		free(d->forms[i].snapshot.buffer);
	free(d);
}

struct wish difference_wish(const uint8_t *message, size_t len)
{
	struct wire_reader r = {.at = message, .end = message + len};
	struct wire_error ignored;
	struct wish wish = {0};
	struct wire_field f;

	if (!wire_check(&introspection__ready__descriptor, message, len, &ignored))
		return wish;
	while (r.at < r.end && wire_next(&r, &f)) {
		if (f.number == READY_HAVE)
			wish.have = f.value;
		else if (f.number == READY_DETAIL)
			wish.totals = f.value == INTROSPECTION__READY__DETAIL__TOTALS;
	}
	return wish;
}

/* The State in a snapshot's ServerMessage. */
static struct wire_reader state_of(const struct snapshot *s)
{
	struct wire_reader r = {.at = s->message, .end = s->message + s->len};
	struct wire_field f;

	while (r.at < r.end && wire_next(&r, &f))
		if (f.number == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE)
			return wire_inside(&r, &f);
	return (struct wire_reader){0};
}

/* The part of the schema that a field of a State belongs to; NONE: to none. */
static Introspection__State__Part part_of(uint32_t number)
{
	switch (number) {
	case 102:
		return INTROSPECTION__STATE__PART__ADDRESSES;
	case 103:
		return INTROSPECTION__STATE__PART__PROTOCOLS;
	case 104:
		return INTROSPECTION__STATE__PART__TOPICS;
	case 105:
		return INTROSPECTION__STATE__PART__RESOURCES;
	default:
		return INTROSPECTION__STATE__PART__NONE;
	}
}

static struct entry **bucket(struct difference *d, uint64_t key)
{
	return &d->table[key >> (64 - TABLE_BITS)];
}

static struct entry *find(struct difference *d, uint64_t key)
{
	struct entry *e = *bucket(d, key);

	while (e && e->key != key)
		e = e->next;
	return e;
}

/* Forgets all that was noted, so that everything in the next snapshot counts as new. */
static void forget_all(struct difference *d)
{
	memset(d->table, 0, sizeof d->table);
	d->free = NULL;
	d->used = d->known = d->count = d->gone_count = 0;
	d->from = 0;
}

/* Adds a connection to the table. NULL: the table is full, or the id is empty or too long. */
static struct entry *add(struct difference *d, uint64_t key, struct wire_reader id)
{
	struct entry *e = d->free, **list = bucket(d, key);
	const size_t len = (size_t)(id.end - id.at);

	if (len == 0 || len > DIFFERENCE_ID_MAX)
		return NULL;
	if (e)
		d->free = e->next;
	else if (d->used < DIFFERENCE_CONNECTIONS)
		e = &d->all[d->used++];
	else
		return NULL;
	*e = (struct entry){.next = *list, .key = key, .id_len = (uint8_t)len};
	memcpy(e->id, id.at, len);
	d->known++;
	return *list = e;
}

/* Notes a connection of the snapshot with this number. False: because of it there can be no difference to
 * this snapshot: its id is missing, too long or in the snapshot twice, or there are too many. */
static bool note_connection(struct difference *d, struct wire_reader c, uint64_t sequence)
{
	const size_t len = (size_t)(c.end - c.at);
	const uint64_t hash = wire_hash(d->seed, c.at, len);
	struct wire_reader id = {0};
	struct entry *e = NULL;
	struct wire_field f;
	uint64_t key = 0;

	/* If the id comes several times, the last one counts, so all fields are read. But once an id leads to
	 * an entry with the hash of these very bytes, they were read to the end before. Most connections
	 * have not changed and begin with their id, so for them one field is read. */
	while (c.at < c.end && (!e || e->hash != hash) && wire_next(&c, &f)) {
		if (f.number != CONNECTION_ID)
			continue;
		id = wire_inside(&c, &f);
		key = wire_hash(d->seed, id.at, (size_t)(id.end - id.at));
		e = find(d, key);
	}
	if (!e && (e = add(d, key, id)) != NULL)
		e->came = sequence;
	if (!e || e->seen == sequence || d->count == DIFFERENCE_CONNECTIONS)
		return false;
	if (e->hash != hash) {
		e->changed = sequence;
		d->changed += len;
	}
	e->hash = hash;
	e->seen = sequence;
	d->order[d->count++] = e;
	return true;
}

/* Notes the ids of connections that are no more. */
static void note_gone(struct difference *d, uint64_t sequence)
{
	for (struct entry *e = d->all; d->known > d->count && e < d->all + d->used; e++) {
		struct entry **link = bucket(d, e->key);

		if (e->seen == 0 || e->seen == sequence)
			continue;
		struct gone *g = &d->gone[d->gone_count++ % DIFFERENCE_GONE];
		/* The ring forgets a connection: a difference from a base that has it could not tell that
		 * it has gone. */
		if (g->sequence > d->from && d->gone_count > DIFFERENCE_GONE)
			d->from = g->sequence;
		*g = (struct gone){.came = e->came, .sequence = sequence, .key = e->key, .id_len = e->id_len};
		memcpy(g->id, e->id, e->id_len);
		while (*link != e)
			link = &(*link)->next;
		*link = e->next;
		*e = (struct entry){.next = d->free};
		d->free = e;
		d->known--;
	}
}

static bool note_subsystems(struct difference *d, struct wire_reader in, uint64_t sequence,
                            uint64_t part[PARTS])
{
	uint64_t *dht = &part[INTROSPECTION__STATE__PART__DHT];
	struct wire_field f;

	while (in.at < in.end && wire_next(&in, &f)) {
		if (f.number == SUBSYSTEMS_DHT)
			*dht = wire_hash(*dht ^ d->seed, f.start, (size_t)(in.at - f.start));
		else if (f.number == SUBSYSTEMS_CONNECTIONS &&
		         !note_connection(d, wire_inside(&in, &f), sequence))
			return false;
	}
	return true;
}

static bool note_state(struct difference *d, struct wire_reader state, uint64_t sequence)
{
	uint64_t part[PARTS] = {0};   /* hash of what it is now; 0: it is not there */
	struct wire_field f;

	d->count = d->changed = 0;
	while (state.at < state.end && wire_next(&state, &f)) {
		const Introspection__State__Part p = part_of(f.number);

		if (f.number == STATE_SUBSYSTEMS) {
			if (!note_subsystems(d, wire_inside(&state, &f), sequence, part))
				return false;
		} else if (p != INTROSPECTION__STATE__PART__NONE) {
			part[p] = wire_hash(part[p] ^ d->seed, f.start, (size_t)(state.at - f.start));
		}
	}
	for (int i = 0; i < PARTS; i++) {
		if (part[i] != d->part_hash[i])
			d->part_changed[i] = sequence;
		d->part_hash[i] = part[i];
	}
	note_gone(d, sequence);
	return true;
}

void difference_note(struct difference *d, const struct snapshot *latest)
{
	const uint64_t sequence = latest->sequence;

	if (d->wanted == 0 || sequence == d->noted)
		return;
	if (sequence != d->noted + 1 || d->from == 0)
		forget_all(d);
	if (sequence - d->wanted > DIFFERENCE_BASES) {
		d->wanted = 0;
		return;
	}
	d->noted = sequence;
	if (!note_state(d, state_of(latest), sequence)) {
		forget_all(d);
		return;
	}
	if (d->from == 0)
		d->from = sequence;
	if (sequence - d->from > DIFFERENCE_BASES)
		d->from = sequence - DIFFERENCE_BASES;
}

void difference_wanted(struct difference *d, const struct snapshot *latest, uint64_t have)
{
	if (!latest || have == 0)
		return;
	d->wanted = latest->sequence;
	if (have == latest->sequence)
		difference_note(d, latest);
}

/* Writes the connections of a Subsystems that are new or differ since base. *n: how many connections came in
 * earlier Subsystems of the State, which is counted on. */
static void write_changes(const struct difference *d, struct wire_writer *w, struct wire_reader in,
                          uint64_t base, size_t *n)
{
	uint8_t *body = wire_begin(w);
	struct wire_field f;

	while (in.at < in.end && wire_next(&in, &f)) {
		uint64_t changed = UINT64_MAX;

		if (f.number == SUBSYSTEMS_CONNECTIONS)
			changed = d->order[(*n)++]->changed;
		else if (f.number == SUBSYSTEMS_DHT)
			changed = d->part_changed[INTROSPECTION__STATE__PART__DHT];
		if (changed > base)
			wire_copy_field(w, &in, &f);
	}
	wire_end(w, body, STATE_SUBSYSTEMS);
}

/* Writes the fields that make a State a difference: base, the ids of connections that have gone, and the parts
 * that are the same as in base. */
static void write_base(struct difference *d, struct wire_writer *w, uint64_t base)
{
	Introspection__State state = INTROSPECTION__STATE__INIT;
	Introspection__State__Part same[PARTS];
	uint8_t packed[64];
	const size_t kept = d->gone_count < DIFFERENCE_GONE ? d->gone_count : DIFFERENCE_GONE;

	state.base_sequence = base;
	state.same = same;
	for (int i = INTROSPECTION__STATE__PART__DHT; i < PARTS; i++)
		if (d->part_changed[i] <= base)
			same[state.n_same++] = (Introspection__State__Part)i;
	wire_copy(w, packed, introspection__state__pack(&state, packed));
	for (size_t i = d->gone_count - kept; i < d->gone_count; i++) {
		const struct gone *g = &d->gone[i % DIFFERENCE_GONE];

		if (g->came > base || g->sequence <= base || find(d, g->key))
			continue;
		wire_copy_length(w, STATE_GONE_IDS, g->id_len);
		wire_copy(w, g->id, g->id_len);
	}
}

static void write_difference(struct difference *d, struct wire_writer *w, struct wire_reader state,
                             uint64_t base)
{
	struct wire_field f;
	size_t n = 0;

	while (state.at < state.end && wire_next(&state, &f)) {
		const Introspection__State__Part part = part_of(f.number);

		if (f.number == STATE_SUBSYSTEMS)
			write_changes(d, w, wire_inside(&state, &f), base, &n);
		else if (part == INTROSPECTION__STATE__PART__NONE || d->part_changed[part] > base)
			wire_copy_field(w, &state, &f);
	}
	write_base(d, w, base);
}

static bool is_open(uint64_t status)
{
	return status != INTROSPECTION__STATUS__CLOSED && status != INTROSPECTION__STATUS__ERROR;
}

/* Puts the id into the table of peers. False: it was there already. */
static bool is_new_peer(struct difference *d, struct wire_reader id)
{
	const size_t mask = sizeof d->peers / sizeof *d->peers - 1;
	const uint64_t key = wire_hash(d->seed, id.at, (size_t)(id.end - id.at));
	size_t i = key & mask;

	while (d->peers[i] != 0 && d->peers[i] != key)
		i = (i + 1) & mask;
	const bool is_new = d->peers[i] == 0;
	d->peers[i] = key;
	return is_new;
}

static uint32_t count_streams(struct wire_reader list)
{
	struct wire_field f;
	uint32_t n = 0;

	while (list.at < list.end && wire_next(&list, &f)) {
		uint64_t status = 0;

		if (f.number != STREAMLIST_STREAMS)
			continue;
		struct wire_reader stream = wire_inside(&list, &f);
		while (stream.at < stream.end && wire_next(&stream, &f))
			if (f.number == STREAM_STATUS)
				status = f.value;
		n += is_open(status);
	}
	return n;
}

static void count_connection(struct difference *d, struct wire_reader c,
                             Introspection__Counts *counts)
{
	uint64_t status = 0, role = 0;
	struct wire_reader peer = {0};
	struct wire_field f;
	uint32_t streams = 0;

	while (c.at < c.end && wire_next(&c, &f)) {
		if (f.number == CONNECTION_STATUS)
			status = f.value;
		else if (f.number == CONNECTION_ROLE)
			role = f.value;
		else if (f.number == CONNECTION_PEER)
			peer = wire_inside(&c, &f);
		else if (f.number == CONNECTION_STREAMS)
			streams += count_streams(wire_inside(&c, &f));
	}
	if (status == INTROSPECTION__STATUS__CLOSED)
		return;
	counts->connections++;
	counts->streams += streams;
	counts->inbound += role == INTROSPECTION__ROLE__RESPONDER;
	if (peer.at < peer.end && counts->peers < DIFFERENCE_CONNECTIONS)
		counts->peers += is_new_peer(d, peer);
}

/* Writes a DHT without its buckets, whose peers are counted. */
static void write_dht(struct wire_writer *w, struct wire_reader dht, Introspection__Counts *counts)
{
	uint8_t *body = wire_begin(w);
	struct wire_field f;

	while (dht.at < dht.end && wire_next(&dht, &f)) {
		if (f.number != DHT_BUCKETS) {
			wire_copy_field(w, &dht, &f);
			continue;
		}
		struct wire_reader b = wire_inside(&dht, &f);
		while (b.at < b.end && wire_next(&b, &f))
			counts->dht_peers += f.number == BUCKET_PEERS;
	}
	wire_end(w, body, SUBSYSTEMS_DHT);
}

static void write_totals(struct difference *d, struct wire_writer *w, struct wire_reader state)
{
	Introspection__Counts counts = INTROSPECTION__COUNTS__INIT;
	Introspection__State totals = INTROSPECTION__STATE__INIT;
	uint8_t packed[64];
	struct wire_field f;

	memset(d->peers, 0, sizeof d->peers);
	while (state.at < state.end && wire_next(&state, &f)) {
		if (f.number != STATE_SUBSYSTEMS) {
			wire_copy_field(w, &state, &f);
			continue;
		}
		struct wire_reader in = wire_inside(&state, &f);
		uint8_t *body = wire_begin(w);
		while (in.at < in.end && wire_next(&in, &f)) {
			if (f.number == SUBSYSTEMS_CONNECTIONS)
				count_connection(d, wire_inside(&in, &f), &counts);
			else if (f.number == SUBSYSTEMS_DHT)
				write_dht(w, wire_inside(&in, &f), &counts);
			else
				wire_copy_field(w, &in, &f);
		}
		wire_end(w, body, STATE_SUBSYSTEMS);
	}
	totals.counts = &counts;
	wire_copy(w, packed, introspection__state__pack(&totals, packed));
}

/* The form if there is one, else a buffer to make it in, with sequence 0; NULL: no buffer is free. */
static struct form *find_form(struct difference *d, uint64_t sequence, uint64_t base)
{
	struct form *room = NULL;

	for (struct form *f = d->forms; f < d->forms + DIFFERENCE_FORMS; f++) {
		if (f->snapshot.sequence == sequence && f->base == base)
			return f;
		if (f->snapshot.pins == 0 && f->snapshot.sequence != sequence)
			room = f;
	}
	if (room)
		room->snapshot.sequence = 0;
	return room;
}

struct snapshot *difference_form(struct difference *d, const struct snapshot *latest,
                                 uint64_t base)
{
	if (base > 0 && (latest->sequence != d->noted || d->from == 0 || base < d->from ||
	                 base >= latest->sequence || d->changed > latest->len - latest->len / WORTH))
		return NULL;
	struct form *form = find_form(d, latest->sequence, base);
	if (!form)
		return NULL;
	struct snapshot *s = &form->snapshot;
	if (s->sequence == 0) {
		struct wire_writer w = {.at = s->buffer + FORM_AT, .end = s->buffer + FORM_AT + d->max};
		uint8_t prefix[WIRE_PREFIX_MAX];

		if (base > 0)
			write_difference(d, &w, state_of(latest), base);
		else
			write_totals(d, &w, state_of(latest));
		const size_t len = (size_t)(w.at - s->buffer - FORM_AT);
		const size_t n = wire_put_prefix(prefix, INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE, len);
		s->message = s->buffer + FORM_AT - n;
		memcpy(s->message, prefix, n);
		/* A form that is not smaller than the snapshot gets the length 0, by which later calls know
		 * that without making it again. */
		s->len = w.over || n + len >= latest->len ? 0 : n + len;
		s->sequence = latest->sequence;
		s->taken = latest->taken;
		s->frame = NULL;
		form->base = base;
	}
	return s->len > 0 ? s : NULL;
}
