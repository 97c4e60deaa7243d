/* The whole daemon. */

#include "base/parts.h"
#include "endpoint/introspect.h"
#include "endpoint/remember.h"
#include "endpoint/scrape.h"
#include "guard/secure.h"
#include "guard/token.h"

const struct stream_kind *const parts_streams[] = {&stream_plain, &stream_secure, NULL};
const struct endpoint *const parts_endpoints[] = {
	&introspect_endpoint, &scrape_endpoint, &remember_endpoint, NULL,
};
const struct guard *const parts_guard = &token_guard;

static const struct forms forms = {
	.open = difference_open,
	.close = difference_close,
	.read = difference_read,
	.wanted = difference_wanted,
	.note = difference_note,
	.form = difference_form,
};
const struct forms *const parts_forms = &forms;

static bool feed_wanted(const struct options *o)
{
	return o->feed;
}

static struct source *open_feed(const struct options *o, const struct sockaddr_storage *own,
                                size_t own_count)
{
	struct source *kernel =
		o->process ? kernel_open(o->process, own, own_count, o->udp) : NULL;
	struct source *feed = feed_open(o->feed, o->feed_mode, o->max_snapshot, o->interval);

	return o->process ? joined_open(feed, kernel, o->max_snapshot) : feed;
}

static bool replay_wanted(const struct options *o)
{
	return o->replay;
}

static struct source *open_replay(const struct options *o, const struct sockaddr_storage *own,
                                  size_t own_count)
{
	(void)own;
	(void)own_count;
	return replay_open(o->replay, o->loop, o->max_snapshot);
}

static bool kernel_wanted(const struct options *o)
{
	(void)o;
	return true;
}

static struct source *open_kernel(const struct options *o, const struct sockaddr_storage *own,
                                  size_t own_count)
{
	return kernel_open(o->process, own, own_count, o->udp);
}

const struct source_kind parts_sources[] = {
	{"feed", feed_wanted, open_feed},
	{"replay", replay_wanted, open_replay},
	{"kernel", kernel_wanted, open_kernel},
	{0},
};

const char *parts_missing(const struct options *o)
{
	(void)o;
	return NULL;
}
