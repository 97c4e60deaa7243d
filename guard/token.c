#include "guard/token.h"

#include "base/file.h"
#include "base/listen.h"
#include "base/log.h"
#include "guard/auth.h"

static struct auth own;

/* The memory of a connection whose request did not show the token: the answer, held back. */
struct denial {
	int64_t until;   /* ms, monotonic; when the answer is sent */
	size_t len;
	char answer[WS_HEAD_MAX];
};

static int token_setup(const struct options *o)
{
	const char *wrong = NULL;

	if (!o->token_file) {
		own.len = 0;
		return 0;
	}
	file_warn_readable(o->token_file);
	if ((wrong = auth_read(&own, o->token_file)) != NULL)
		log_event("error token_file=%s reason=\"%s\"", o->token_file, wrong);
	return wrong ? -1 : 0;
}

/* One line with the client's address, in a form that fail2ban can match. */
static void log_wrong_token(const struct sockaddr *peer, int64_t now, int status)
{
	static struct log_limit limit;

	log_limited(&limit, now, "wrong_token peer=%s status=%d", address_text(peer), status);
}

static int64_t token_wait(const struct ws_request *r, const struct sockaddr *peer, int64_t now)
{
	int64_t wait = auth_is_offered(&own, r) ? auth_book(&own, peer, now) : 0;

	if (wait < 0)
		log_wrong_token(peer, now, http_reasons[HTTP_TOO_MANY_TOKENS].status);
	return wait;
}

static void token_judged(const struct ws_request *r, const struct sockaddr *peer, int64_t now,
                         int status)
{
	if (!auth_is_offered(&own, r))
		return;
	if (auth_shown(&own, r))
		auth_right(&own, peer, now);
	else
		log_wrong_token(peer, now, status);
}

static bool token_admits(const struct ws_request *r)
{
	return auth_shown(&own, r);
}

static void denied_open(struct daemon *d, struct connection *c, const struct ws_request *r,
                        const struct http_answer *a)
{
	struct denial *denial = c->memory;

	(void)r;
	denial->len = http_head(denial->answer, a, (time_t)(d->clock_ms(CLOCK_REALTIME) / 1000));
	denial->until = d->now + auth_delay(&own, c->peer, d->now);
}

static int denied_next(struct daemon *d, struct connection *c, struct message *m)
{
	const struct denial *denial = c->memory;

	m->head = (const uint8_t *)denial->answer;
	m->head_len = denial->len;
	m->last = true;
	return d->now >= denial->until;
}

static int64_t denied_due(const struct daemon *d, const struct connection *c)
{
	(void)d;
	return ((const struct denial *)c->memory)->until;
}

static const struct endpoint denied = {
	.size = sizeof(struct denial),
	.open = denied_open,
	.next = denied_next,
	.due = denied_due,
};

const struct guard token_guard = {token_setup, token_wait, token_admits, token_judged, &denied};
