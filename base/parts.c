#include "base/parts.h"

#include <string.h>
#include <sys/utsname.h>

#include "base/log.h"
#include "source/put.h"

int64_t parts_judge(const struct daemon *d, struct http_answer *a, const struct ws_request *r,
                    int got, const struct sockaddr *peer, bool again)
{
	const int64_t wait = parts_guard && got > 0 && !again ? parts_guard->wait(r, peer, d->now) : 0;

	if (wait > 0)
		return wait;
	if (wait < 0) {
		struct http_policy untried = d->policy;
		struct http_answer other;

		untried.admits = NULL;   /* the request's token is not compared */
		http_decide(&other, r, got, &untried);
		http_refuse(a, HTTP_TOO_MANY_TOKENS);
		a->no_body = other.no_body;
		a->origin = other.origin;
		return 0;
	}
	http_decide(a, r, got, &d->policy);
	if (parts_guard && got > 0)
		parts_guard->judged(r, peer, d->now, a->status);
	return 0;
}

const struct stream_kind *parts_read(const struct options *o)
{
	const struct stream_kind *tcp = NULL;
	bool failed = parts_guard && parts_guard->setup(o) != 0;

	for (size_t i = 0; parts_streams[i]; i++) {
		int got = parts_streams[i]->setup(o);

		failed |= got < 0;
		tcp = got > 0 ? parts_streams[i] : tcp;
	}
	return failed ? NULL : tcp;
}

int parts_start(struct daemon *d, const struct endpoint *pull, size_t *memory)
{
	const struct options *o = &d->options;
	size_t n = 1;

	*memory = parts_guard ? parts_guard->denied->size : 0;
	if (parts_forms && !(d->forms = parts_forms->open(o->max_snapshot))) {
		log_event("error reason=\"out of memory: --max-snapshot %zu\"", o->max_snapshot);
		return -1;
	}
	d->policy = (struct http_policy){
		.hosts = &o->allow_host,
		.origins = &o->allow_origin,
		.public_url = o->public_url,
		.admits = parts_guard ? parts_guard->admits : NULL,
		.files = parts_files,
		.endpoints = d->endpoints,
	};
	d->endpoints[0] = pull;
	for (size_t i = 0; parts_endpoints[i] && n < ENDPOINTS_MAX - 1; i++) {
		const struct endpoint *e = parts_endpoints[i];
		const int got = e->start ? e->start(d) : 0;

		if (got < 0)
			return -1;
		if (got > 0)
			continue;
		*memory = e->size > *memory ? e->size : *memory;
		d->endpoints[n++] = e;
	}
	return 0;
}

void parts_taken(struct daemon *d)
{
	if (parts_forms)
		parts_forms->note(d->forms, d->store.latest);
	for (const struct endpoint **e = d->endpoints; *e; e++)
		if ((*e)->taken)
			(*e)->taken(d);
}

/* Called by the source, as event of struct source: passes the Event on to every endpoint that takes Events. */
static const char *pass_on(void *arg, const uint8_t *event, size_t len, int64_t now)
{
	struct daemon *d = arg;
	const char *error = NULL;

	(void)now;
	for (const struct endpoint **e = d->endpoints; *e && !error; e++)
		if ((*e)->event)
			error = (*e)->event(d, event, len);
	d->event_came = true;
	return error;
}

struct source *parts_open_kernel(const struct daemon *d)
{
	return kernel_open(d->options.process, d->listeners.addresses, d->listeners.count,
	                   d->options.udp);
}

int parts_open_source(struct daemon *d)
{
	static const struct source_kind kernel = {.name = "kernel", .open = parts_open_kernel};
	static char shown[sizeof((struct utsname *)0)->nodename];
	struct utsname system = {0};
	const struct source_kind *kind = parts_sources;

	while (kind->name && !kind->wanted(&d->options))
		kind++;
	if (!kind->name)
		kind = &kernel;
	struct source *source = d->source = kind->open(d);
	if (!source)
		return -1;
	source->event = pass_on;
	source->event_arg = d;
	uname(&system);
	wire_text(shown, sizeof shown, system.nodename, strlen(system.nodename));
	source->runtime.source = (char *)(uintptr_t)kind->name;
	source->runtime.hostname = shown;
	source->runtime.interval_ms = (uint32_t)d->options.interval;
	return 0;
}

void parts_stop(struct daemon *d)
{
	if (parts_forms)
		parts_forms->close(d->forms);
	for (size_t i = 0; parts_streams[i]; i++)
		parts_streams[i]->release();
	for (size_t i = 0; parts_endpoints[i]; i++)
		if (parts_endpoints[i]->stop)
			parts_endpoints[i]->stop();
}
