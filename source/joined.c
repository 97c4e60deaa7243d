/* The States of the feed, joined with what the kernel source counts for the node's process. There is a
 * State when the feed has one. While the kernel cannot answer, the feed's State is passed on alone. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "source/join.h"
#include "source/source.h"

struct joined {
	struct source source;   /* first, so that a pointer to it is one to all of this */
	struct source *feed, *kernel;
	struct join *join;
	bool too_big;           /* the last joined State was over the limit, which was logged */
};

/* Shows the feed's runtime, but for the fields that the daemon owns. */
static void show_runtime(struct joined *j)
{
	const Introspection__Runtime ours = j->source.runtime;

	j->source.runtime = j->feed->runtime;
	j->source.runtime_changes = j->feed->runtime_changes;
	j->source.runtime.source = ours.source;
	j->source.runtime.hostname = ours.hostname;
	j->source.runtime.interval_ms = ours.interval_ms;
}

/* Called by the feed, as event of struct source. */
static const char *joined_event(void *arg, const uint8_t *event, size_t len, int64_t now)
{
	struct joined *j = arg;

	show_runtime(j);
	return j->source.event ? j->source.event(j->source.event_arg, event, len, now) : NULL;
}

static nfds_t joined_poll(struct source *s, struct pollfd fds[SOURCE_FDS], int64_t *deadline)
{
	const struct joined *j = (struct joined *)s;
	const nfds_t n = j->feed->poll(j->feed, fds, deadline);

	/* The kernel source writes no descriptors, only a deadline. */
	j->kernel->poll(j->kernel, NULL, deadline);
	return n;
}

static void joined_serve(struct source *s, const struct pollfd *fds, nfds_t n, int64_t now)
{
	struct joined *j = (struct joined *)s;

	j->feed->serve(j->feed, fds, n, now);
	j->kernel->serve(j->kernel, NULL, 0, now);
	s->newest_until = j->feed->newest_until;
	show_runtime(j);
}

static int joined_take(struct source *s, int64_t now, struct snapshot_input *out)
{
	struct joined *j = (struct joined *)s;
	struct snapshot_input kernel;
	const int taken = j->feed->take(j->feed, now, out);

	s->newest_until = j->feed->newest_until;
	if (taken != 1 || j->kernel->take(j->kernel, now, &kernel) != 1)
		return taken;
	const char *wrong = join_states(j->join, out->bytes, out->len, kernel.state, out);
	if (wrong && !j->too_big)
		log_event("error source=join reason=\"%s\"", wrong);
	j->too_big = wrong != NULL;
	return 1;
}

static void joined_close(struct source *s)
{
	struct joined *j = (struct joined *)s;

	if (j->feed)
		j->feed->close(j->feed);
	if (j->kernel)
		j->kernel->close(j->kernel);
	join_close(j->join);
	free(j);
}

struct source *joined_open(struct source *feed, struct source *kernel, size_t max_message)
{
	struct joined *j = calloc(1, sizeof *j);

	if (!j || !feed || !kernel || !(j->join = join_open(max_message))) {
		if (feed && kernel)
			log_event("error source=join reason=\"%s\"", strerror(errno));
		if (feed)
			feed->close(feed);
		if (kernel)
			kernel->close(kernel);
		free(j);
		return NULL;
	}
	j->source.poll = joined_poll;
	j->source.serve = joined_serve;
	j->source.take = joined_take;
	j->source.close = joined_close;
	j->source.feed = feed->feed;
	j->source.capabilities = kernel->capabilities;
	j->source.sees_processes = kernel->sees_processes;
	j->feed = feed;
	j->kernel = kernel;
	feed->event = joined_event;
	feed->event_arg = j;
	show_runtime(j);
	return &j->source;
}
