#include "endpoint/scrape.h"

#include "endpoint/metrics.h"

static struct metrics metrics;

/* The memory of a scrape. */
struct scrape {
	struct http_answer answer;   /* as it was judged; then with type and body */
	bool counting;    /* the snapshot that it pinned is being counted, or was */
	char head[WS_HEAD_MAX];
};

static void scrape_open(struct daemon *d, struct connection *c, const struct ws_request *r,
                        const struct http_answer *a)
{
	struct scrape *s = c->memory;

	(void)d;
	(void)r;
	s->answer = *a;
}

static bool scrape_waits(const struct daemon *d, const struct connection *c)
{
	const struct scrape *s = c->memory;

	return !s->counting && c->tx_left == 0 &&
	       (d->store.latest ? !is_fresh(d, c->asked) : d->now < c->asked + STALE_MS);
}

static void write_text(struct daemon *d, struct connection *c, struct message *m)
{
	struct scrape *s = c->memory;
	struct http_answer *a = &s->answer;
	const int64_t epoch = d->clock_ms(CLOCK_REALTIME);
	void *slow;

	metrics.counters = d->counters;
	metrics.counters.waiting -= c->waiting;
	metrics.max_clients = d->options.max_clients;
	metrics.cpu = d->clock_ms(CLOCK_PROCESS_CPUTIME_ID);
	metrics.epoch = epoch - d->now;
	/* By the time since the start, since the wall clock may have been set meanwhile. */
	metrics.started = epoch - (d->clock_ms(CLOCK_BOOTTIME) - d->started);
	metrics.runtime = &d->source->runtime;
	metrics.feed = d->source->feed;
	a->type = METRICS_TYPE;
	a->body = metrics_write(&metrics, c, &slow, &a->body_len);
	if (slow)
		d->drop(d, slow, "too slow: four other scrapes began since");
	m->head = (const uint8_t *)s->head;
	m->head_len = http_head(s->head, a, (time_t)(epoch / 1000));
	m->body = a->body;
	m->body_len = a->no_body ? 0 : a->body_len;
	m->last = true;
}

static int scrape_next(struct daemon *d, struct connection *c, struct message *m)
{
	struct scrape *s = c->memory;

	if (scrape_waits(d, c))
		return 0;
	if (!s->counting && d->store.latest) {
		connection_pin(c, d->store.latest);
		s->counting = true;
	}
	if (c->pinned && !metrics_count(&metrics, c->pinned, c))
		return 0;
	connection_pin(c, NULL);
	write_text(d, c, m);
	return 1;
}

static int64_t scrape_due(const struct daemon *d, const struct connection *c)
{
	return scrape_waits(d, c) ? c->asked + STALE_MS : d->now;
}

static void scrape_close(struct daemon *d, struct connection *c)
{
	(void)d;
	metrics_release(&metrics, c);
}

const struct endpoint scrape_endpoint = {
	.path = "/metrics",
	.about = "for Prometheus",
	.size = sizeof(struct scrape),
	.open = scrape_open,
	.next = scrape_next,
	.waits = scrape_waits,
	.due = scrape_due,
	.close = scrape_close,
};
