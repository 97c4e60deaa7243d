#include "guard/auth.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/head.h"
#include "base/peers.h"

enum {
	DELAY_FIRST = 250,       /* ms, doubled with each failure */
	DELAY_DOUBLINGS = 5,
	FORGET_MS = 60000,       /* after the last failure */
};

const char *auth_read(struct auth *a, const char *file)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "0123456789._~-";
	char line[AUTH_TOKEN_MAX + 2];
	const ssize_t got = file_read(file, line, sizeof line - 1);
	const char *wrong = got < 0 ? strerror(errno) : NULL;

	line[got < 0 ? 0 : got] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	size_t len = strlen(line);
	_Static_assert(AUTH_TOKEN_MIN == 16 && AUTH_TOKEN_MAX == 256, "what the words below say");
	if (!wrong && (len < AUTH_TOKEN_MIN || len > AUTH_TOKEN_MAX || strspn(line, allowed) != len))
		wrong = "its first line must be 16 to 256 letters, digits or . _ ~ -";
	if (!wrong) {
		explicit_bzero(a->token, sizeof a->token);
		memcpy(a->token, line, len + 1);
		a->len = len;
	}
	explicit_bzero(line, sizeof line);
	return wrong;
}

/* Takes the same time wherever the first difference is, so that nobody learns the token by its
 * beginning. */
static bool is_token(const struct auth *a, const char *text, size_t len)
{
	volatile unsigned char difference = len != a->len;

	for (size_t i = 0; i < a->len; i++)
		difference = (unsigned char)(difference | (a->token[i] ^ (len ? text[i % len] : 0)));
	return difference == 0;
}

/* Counts the tokens that a request offers, in Authorization and among its subprotocols, and
 * sets offer to the last of them. */
static unsigned offers_of(const struct ws_request *r, struct ws_text *offer)
{
	static const char bearer[] = "Bearer ";
	const size_t bearer_len = sizeof bearer - 1, prefix_len = sizeof AUTH_TOKEN_PREFIX - 1;
	struct ws_list list = r->protocols;
	struct ws_text item;
	unsigned count = 0;

	if (r->authorization.len > bearer_len &&
	    strncasecmp(r->authorization.at, bearer, bearer_len) == 0) {
		*offer = head_trim((struct ws_text){r->authorization.at + bearer_len,
		                                    r->authorization.len - bearer_len});
		count++;
	}
	while (ws_next_token(&list, &item)) {
		if (item.len > prefix_len && memcmp(item.at, AUTH_TOKEN_PREFIX, prefix_len) == 0) {
			*offer = (struct ws_text){item.at + prefix_len, item.len - prefix_len};
			count++;
		}
	}
	return count;
}

bool auth_is_offered(const struct auth *a, const struct ws_request *r)
{
	struct ws_text offer;

	return a->len > 0 && offers_of(r, &offer) > 0;
}

bool auth_shown(const struct auth *a, const struct ws_request *r)
{
	struct ws_text offer;

	return a->len == 0 || (offers_of(r, &offer) == 1 && is_token(a, offer.at, offer.len));
}

/* The entry of the peer's address. A new address takes the entry whose address was silent for
 * longest; entries of addresses that showed the right token are taken only if there is no other,
 * so that guesses from many addresses do not push out the operator. */
static struct auth_owner *find_owner(struct auth *a, const struct sockaddr *peer, int64_t now)
{
	struct auth_owner *oldest = a->owners;
	uint8_t address[PEERS_OWNER];

	peers_owner(address, peer);
	for (struct auth_owner *o = a->owners; o < a->owners + AUTH_OWNERS; o++) {
		if (o->last > 0 && memcmp(o->address, address, sizeof address) == 0) {
			if (now - o->last > FORGET_MS)
				o->failures = 0;
			o->last = now;
			return o;
		}
		if (o->known == oldest->known ? o->last < oldest->last : oldest->known)
			oldest = o;
	}
	*oldest = (struct auth_owner){.last = now};
	memcpy(oldest->address, address, sizeof address);
	return oldest;
}

/* In how many ms the comparison booked up to this time may be made: burst bookings may lie in
 * the future at once. */
static int64_t wait_for(int64_t booked, int64_t now, int64_t burst, int64_t period)
{
	int64_t wait = booked - burst * period - now;

	return wait > 0 ? wait : 0;
}

static int64_t book(int64_t booked, int64_t now, int64_t period)
{
	return (booked > now ? booked : now) + period;
}

int64_t auth_book(struct auth *a, const struct sockaddr *peer, int64_t now)
{
	struct auth_owner *o = find_owner(a, peer, now);
	int64_t booked = book(o->booked, now, AUTH_PERIOD_MS);
	int64_t all = book(a->booked, now, AUTH_PERIOD_ALL_MS);
	int64_t wait = wait_for(booked, now, AUTH_BURST, AUTH_PERIOD_MS);

	if (!o->known) {
		int64_t wait_all = wait_for(all, now, AUTH_BURST_ALL, AUTH_PERIOD_ALL_MS);

		wait = wait > wait_all ? wait : wait_all;
	}
	if (wait > AUTH_WAIT_MAX)
		return -1;
	o->booked = booked;
	if (!o->known)
		a->booked = all;
	return wait;
}

void auth_right(struct auth *a, const struct sockaddr *peer, int64_t now)
{
	struct auth_owner *o = find_owner(a, peer, now);

	o->booked -= AUTH_PERIOD_MS;
	if (!o->known)
		a->booked -= AUTH_PERIOD_ALL_MS;
	o->known = true;
}

int64_t auth_delay(struct auth *a, const struct sockaddr *peer, int64_t now)
{
	struct auth_owner *o = find_owner(a, peer, now);

	if (o->failures <= DELAY_DOUBLINGS)
		o->failures++;
	int64_t delay = (int64_t)DELAY_FIRST << (o->failures - 1);
	return delay < AUTH_DELAY_MAX ? delay : AUTH_DELAY_MAX;
}
