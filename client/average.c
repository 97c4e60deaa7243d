#include "client/average.h"

#include <stdlib.h>
#include <string.h>

#include "client/row.h"
#include "source/wire.h"

static uint64_t key_of(const ProtobufCBinaryData *id)
{
	return wire_hash(0, id->data, id->len);
}

static int compare_keys(const void *a, const void *b)
{
	const struct past_bytes *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

static struct past_bytes *find(const struct averages *a, uint64_t key)
{
	const struct past_bytes wanted = {.key = key};

	return a->count == 0 ? NULL
	                     : bsearch(&wanted, a->all, a->count, sizeof wanted, compare_keys);
}

/* Remembers now as a moment, unless less than AVERAGE_STEP has passed since the last one. */
static void pass_time(struct averages *a, int64_t now)
{
	const int64_t last = a->moments > 0 ? a->at[(a->moments - 1) % AVERAGE_MOMENTS] : 0;

	if (a->moments > 0 && now < a->now) /* another node, or a recording begins again */
		averages_free(a);
	a->now = now;
	if (a->moments == 0 || now - last >= AVERAGE_STEP)
		a->at[a->moments++ % AVERAGE_MOMENTS] = now;
}

static void add(const struct averages *a, struct past_bytes *p, const ProtobufCBinaryData *id,
                const Introspection__Traffic *traffic)
{
	const struct past_bytes *before = find(a, key_of(id));
	const uint64_t last = a->moments - 1;
	bool begins = !before;

	if (before)
		*p = *before;
	p->key = key_of(id);
	for (int out = 0; out < 2; out++) {
		p->now[out] = traffic_gauge(traffic, out)->cum_bytes;
		begins |= before && p->now[out] < before->now[out]; /* another one with this id */
	}
	if (begins)
		p->first = last;
	if (begins || a->at[last % AVERAGE_MOMENTS] == a->now)
		memcpy(p->then[last % AVERAGE_MOMENTS], p->now, sizeof p->now);
}

/* Begins the State taken at now, ms since the epoch: returns memory for n connections or streams,
 * which replace() takes over. NULL: out of memory, and all is forgotten. */
static struct past_bytes *begin(struct averages *a, size_t n, uint64_t now)
{
	struct past_bytes *all = calloc(n + 1, sizeof *all);

	if (all)
		pass_time(a, (int64_t)now);
	else
		averages_free(a);
	return all;
}

static void replace(struct averages *a, struct past_bytes *all, size_t n)
{
	qsort(all, n, sizeof *all, compare_keys);
	free(a->all);
	a->all = all;
	a->count = n;
}

void averages_add(struct averages *a, const Introspection__State *state)
{
	const Introspection__Subsystems *s = state->subsystems;
	const size_t n = s ? s->n_connections : 0;
	struct past_bytes *all = begin(a, n, state->instant_ts);

	for (size_t i = 0; all && i < n; i++)
		add(a, &all[i], &s->connections[i]->id, s->connections[i]->traffic);
	if (all)
		replace(a, all, n);
}

void averages_add_streams(struct averages *a, const Introspection__Connection *c, uint64_t now)
{
	const size_t n = c->streams ? c->streams->n_streams : 0;
	const uint64_t of = key_of(&c->id);

	if (a->of != of)
		averages_free(a);
	struct past_bytes *all = begin(a, n, now);
	for (size_t i = 0; all && i < n; i++)
		add(a, &all[i], &c->streams->streams[i]->id, c->streams->streams[i]->traffic);
	if (all)
		replace(a, all, n);
	a->of = of;
}

bool averages_rate(const struct averages *a, const ProtobufCBinaryData *id, unsigned seconds,
                   uint64_t rate[2])
{
	const struct past_bytes *p = find(a, key_of(id));
	const int64_t begin = a->now - (int64_t)seconds * 1000;

	if (!p)
		return false;
	uint64_t n = a->moments > AVERAGE_MOMENTS ? a->moments - AVERAGE_MOMENTS : 0;
	n = n < p->first ? p->first : n;
	while (n + 1 < a->moments && a->at[(n + 1) % AVERAGE_MOMENTS] <= begin)
		n++;
	/* From moment n to the next one, or to now, the bytes are taken to grow evenly. */
	const bool newest = n + 1 == a->moments;
	const int64_t from = a->at[n % AVERAGE_MOMENTS];
	const int64_t to = newest ? a->now : a->at[(n + 1) % AVERAGE_MOMENTS];
	const int64_t start = from > begin ? from : begin;

	if (a->now <= start)
		return false;
	for (int out = 0; out < 2; out++) {
		const uint64_t low = p->then[n % AVERAGE_MOMENTS][out];
		const uint64_t high = newest ? p->now[out] : p->then[(n + 1) % AVERAGE_MOMENTS][out];
		const double at_start =
			(double)low + (double)(high - low) * (double)(start - from) / (double)(to - from);

		rate[out] = (uint64_t)(((double)p->now[out] - at_start) * 1000 /
		                       (double)(a->now - start) + 0.5);
	}
	return true;
}

void averages_free(struct averages *a)
{
	free(a->all);
	*a = (struct averages){0};
}
