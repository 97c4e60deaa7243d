/* The whole daemon. */

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/parts.h"
#include "endpoint/deflate.h"
#include "endpoint/files.h"
#include "endpoint/introspect.h"
#include "endpoint/networks.h"
#include "endpoint/remember.h"
#include "endpoint/scrape.h"
#include "endpoint/wishes.h"
#include "guard/rights.h"
#include "guard/secure.h"
#include "guard/token.h"

const struct stream_kind *const parts_streams[] = {&stream_plain, &stream_secure, NULL};
const struct endpoint *const parts_endpoints[] = {
	&introspect_endpoint, &scrape_endpoint, &remember_endpoint, &networks_endpoint, NULL,
};
const struct guard *const parts_guard = &token_guard;
bool (*const parts_files)(struct http_answer *a, const struct ws_request *r) = files_answer;
int (*const parts_rights)(const struct daemon *d) = rights_give_up;

#if DEFLATE
const struct forms *const parts_forms = &deflate_forms;
const char *(*const parts_deflate)(const struct ws_request *r) = deflate_accept;
#else
const struct forms *const parts_forms = &wishes_forms;
const char *(*const parts_deflate)(const struct ws_request *r) = NULL;
#endif

static bool feed_wanted(const struct options *o)
{
	return o->feed;
}

static struct source *open_feed(const struct daemon *d)
{
	const struct options *o = &d->options;
	struct source *kernel = o->process ? parts_open_kernel(d) : NULL;
	struct source *feed = feed_open(o->feed,
	                                o->feed_mode == NOT_GIVEN ? DEFAULT_FEED_MODE : (mode_t)o->feed_mode,
	                                o->max_snapshot, o->interval);

	return o->process ? joined_open(feed, kernel, o->max_snapshot) : feed;
}

static bool replay_wanted(const struct options *o)
{
	return o->replay;
}

static struct source *open_replay(const struct daemon *d)
{
	return replay_open(d->options.replay, d->options.loop, d->options.max_snapshot);
}

const struct source_kind parts_sources[] = {
	{"feed", feed_wanted, open_feed},
	{"replay", replay_wanted, open_replay},
	{0},
};

/* A number and a unit (s, m, h or d), 1 s to 365 d; field: int64_t, ms. */
static bool read_duration(const char *text, void *field)
{
	int64_t *const ms = field;
	static const char units[] = "smhd";
	static const int seconds[] = {1, 60, 3600, 86400};
	char *end;

	errno = 0;
	const unsigned long long n = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	if (errno != 0 || *text < '0' || *text > '9' || n > 31536000 || !unit || end[1] != '\0')
		return false;
	*ms = (int64_t)n * seconds[unit - units] * 1000;
	return *ms >= 1000 && *ms <= INT64_C(31536000000);
}

void parts_read_again(const struct options *o)
{
	const char *token = o->token_file, *cert = o->tls_cert, *networks = o->networks;
	bool failed = !parts_read(o);

	for (size_t i = 0; parts_endpoints[i]; i++)
		if (parts_endpoints[i]->reload && parts_endpoints[i]->reload(o) != 0)
			failed = true;
	if (!token && !cert && !networks)
		log_event("reloaded nothing=\"there is none of --token-file, --tls-cert and --networks\"");
	else if (!failed)
		log_event("reloaded%s%s%s%s%s%s", token ? " token_file=" : "", token ? token : "",
		          cert ? " tls_cert=" : "", cert ? cert : "", networks ? " networks=" : "",
		          networks ? networks : "");
}

#define FIELD(field_name) .field = offsetof(struct options, field_name)
#define FILE_OPTION(name, field_name, help) \
	{name, "FILE", help, .kind = OPTION_TEXT, FIELD(field_name)}

const struct option_row parts_options[] = {
	{.help = "Who may watch:"},
	FILE_OPTION("token-file", token_file, "clients must show the token on its first line"),
	FILE_OPTION("tls-cert", tls_cert, "speak TLS with this certificate (PEM, then its chain)"),
	FILE_OPTION("tls-key", tls_key, "... and this key"),
	FILE_OPTION("tls-client-ca", tls_client_ca, "... to clients with a certificate of these authorities"),
	{.help = "Other sources:"},
	{"udp", NULL, "with the flows of UDP that are not QUIC", .kind = OPTION_FLAG, FIELD(udp)},
	{"feed", "PATH|-", "what a libp2p node publishes on a Unix socket made at\n"
	 "PATH, or on standard input; with --pid, the kernel's\n"
	 "numbers on the node's names", "a path or -", .kind = OPTION_TEXT, FIELD(feed)},
	{"feed-mode", "MODE", "of that socket, octal (default: %04o)", "an octal mode such as 0660",
	 0, 0777, DEFAULT_FEED_MODE, .kind = OPTION_OCTAL, FIELD(feed_mode)},
	{"replay", "FILE", "a recording", "a file", .kind = OPTION_TEXT, FIELD(replay)},
	{"loop", NULL, "start the recording again at its end", .kind = OPTION_FLAG, FIELD(loop)},
	{.help = "What it keeps:"},
	{"history", "B", "bytes of states and events kept for clients of the\n"
	 "command protocol that paused, 131072 to 1073741824\n(default: %d)", "bytes",
	 128 << 10, 1 << 30, DEFAULT_HISTORY, .kind = OPTION_NUMBER, FIELD(history)},
	{"remember", "TIME", "remember that much of the past, such as 24h or 30m,\n"
	 "for GET /past and pages that are opened later\n(default: none)",
	 "a time from 1s to 365d, such as 90s, 30m, 24h or 7d", .kind = OPTION_OTHER, .read = read_duration,
	 FIELD(remember)},
	{"remember-every", "S", "seconds from one remembered snapshot to the next\n(default: %d)",
	 .shown = DEFAULT_REMEMBER_EVERY_MS / 1000, .kind = OPTION_SECONDS, FIELD(remember_every)},
	{"remember-bytes", "B", "for it, 131072 to 1073741824; when they are used up,\n"
	 "the oldest goes (default: %d)", "bytes",
	 128 << 10, 1 << 30, DEFAULT_REMEMBER_BYTES, .kind = OPTION_NUMBER, FIELD(remember_bytes)},
	FILE_OPTION("networks", networks, "the AS and country of networks, for the page"),
	{.help = "What it may do:"},
	{"user", "NAME", "become this user after start", .kind = OPTION_TEXT, FIELD(user)},
	{"no-sandbox", NULL, "do without seccomp and Landlock", .kind = OPTION_FLAG, FIELD(no_sandbox)},
	{0},
};

static bool has_tcp(const struct options *o)
{
	for (size_t i = 0; i < o->listen.count; i++)
		if (*o->listen.text[i] != '/')
			return true;
	return o->listen.count == 0;
}

const char *parts_conflict(const struct options *o)
{
	if (o->replay && (o->process || o->feed))
		return "--replay goes with neither --pid nor --feed";
	if (o->udp && (o->replay || (o->feed && !o->process)))
		return "--udp goes with --pid or with all connections of this machine";
	if (o->loop && !o->replay)
		return "--loop goes with --replay";
	if (o->feed_mode != NOT_GIVEN && (!o->feed || strcmp(o->feed, "-") == 0))
		return "--feed-mode goes with --feed PATH";
	if (!o->remember && (o->remember_every || o->remember_bytes))
		return "--remember-every and --remember-bytes go with --remember";
	if (!o->tls_cert != !o->tls_key)
		return "--tls-cert goes with --tls-key";
	if (o->tls_cert && !has_tcp(o))
		return "--tls-cert goes with a TCP address: Unix sockets have no TLS";
	if (o->tls_client_ca && !o->tls_cert)
		return "--tls-client-ca goes with --tls-cert";
	return NULL;
}
