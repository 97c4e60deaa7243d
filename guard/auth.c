#include "guard/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"

enum {
	DELAY_FIRST = 250,       /* ms, doubled with each failure */
	DELAY_DOUBLINGS = 5,
	FORGET_MS = 60000,       /* after the last failure */
	NETWORK_BYTES = 8,       /* what one owner has of an IPv6 address at least */
};

/* Reads the beginning of a file and ends it with a NUL, past no buffer that would keep it.
 * 0, or -1 with errno. */
static int read_beginning(const char *file, char *text, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	while (fd >= 0 && len < size - 1 && (n > 0 || (n < 0 && errno == EINTR))) {
		n = read(fd, text + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
	int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return n < 0 ? -1 : 0;
}

int auth_read(struct auth *a, const char *file)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "0123456789._~-";
	char line[AUTH_TOKEN_MAX + 2];
	int result = read_beginning(file, line, sizeof line);

	if (result != 0)
		log_event("error token_file=%s reason=\"%s\"", file, strerror(errno));
	line[strcspn(line, "\r\n")] = '\0';
	size_t len = strlen(line);
	if (result == 0 &&
	    (len < AUTH_TOKEN_MIN || len > AUTH_TOKEN_MAX || strspn(line, allowed) != len)) {
		log_event("error token_file=%s reason=\"its first line must be %d to %d letters, digits "
		          "or . _ ~ -\"",
		          file, AUTH_TOKEN_MIN, AUTH_TOKEN_MAX);
		result = -1;
	}
	if (result == 0) {
		explicit_bzero(a->token, sizeof a->token);
		memcpy(a->token, line, len + 1);
		a->len = len;
	}
	explicit_bzero(line, sizeof line);
	return result;
}

/* Takes the same time wherever the first difference is. */
static bool is_token(const struct auth *a, const char *text, size_t len)
{
	volatile unsigned char difference = len != a->len;

	for (size_t i = 0; i < a->len; i++)
		difference = (unsigned char)(difference | (a->token[i] ^ (len ? text[i % len] : 0)));
	return difference == 0;
}

bool auth_shown(const struct auth *a, const struct ws_request *r)
{
	static const char bearer[] = "Bearer ";
	const size_t bearer_len = sizeof bearer - 1, prefix_len = sizeof AUTH_TOKEN_PREFIX - 1;
	struct ws_list offers = r->protocols;
	struct ws_text offer;

	if (a->len == 0)
		return true;
	if (r->authorization.len > bearer_len &&
	    strncasecmp(r->authorization.at, bearer, bearer_len) == 0 &&
	    is_token(a, r->authorization.at + bearer_len, r->authorization.len - bearer_len))
		return true;
	while (ws_next_token(&offers, &offer))
		if (offer.len > prefix_len && memcmp(offer.at, AUTH_TOKEN_PREFIX, prefix_len) == 0 &&
		    is_token(a, offer.at + prefix_len, offer.len - prefix_len))
			return true;
	return false;
}

static void owner_of(uint8_t out[16], const struct sockaddr *peer)
{
	memset(out, 0, 16);
	if (peer->sa_family == AF_INET) {
		memset(out + 10, 0xff, 2);
		memcpy(out + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
	} else if (peer->sa_family == AF_INET6) {
		const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;

		memcpy(out, v6, IN6_IS_ADDR_V4MAPPED(v6) ? 16 : NETWORK_BYTES);
	}
}

int64_t auth_delay(struct auth *a, const struct sockaddr *peer, int64_t now)
{
	struct auth_failure *oldest = a->failures, *f = NULL;
	uint8_t owner[16];

	owner_of(owner, peer);
	for (size_t i = 0; i < AUTH_FAILURES && !f; i++) {
		if (a->failures[i].count > 0 && memcmp(a->failures[i].address, owner, sizeof owner) == 0)
			f = &a->failures[i];
		else if (a->failures[i].last < oldest->last)
			oldest = &a->failures[i];
	}
	if (!f || now - f->last > FORGET_MS) {
		f = f ? f : oldest;
		f->count = 0;
		memcpy(f->address, owner, sizeof owner);
	}
	f->last = now;
	if (f->count <= DELAY_DOUBLINGS)
		f->count++;
	int64_t delay = (int64_t)DELAY_FIRST << (f->count - 1);
	return delay < AUTH_DELAY_MAX ? delay : AUTH_DELAY_MAX;
}
