#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define URL_PORT "80"
#define SECURE_URL_PORT "443"

/* Takes what stands behind the host: nothing, or ":" and a port. */
static const char *read_port(struct address *a, const char *text, const char *fallback)
{
	const char *digits = *text == ':' ? text + 1 : fallback;
	char *end;
	unsigned long port = strtoul(digits, &end, 10);

	if ((*text != ':' && *text != '\0') || *digits < '0' || *digits > '9' || *end != '\0' ||
	    port < 1 || port > 65535)
		return "what follows the host is not a port from 1 to 65535";
	snprintf(a->port, sizeof a->port, "%lu", port);
	return NULL;
}

/* Is it an IPv6 address that was meant to have a port? ::1:4801 is a valid address, of a range
 * that nobody uses any more; others end by chance in the port that this project uses. */
static bool means_port(const char *text)
{
	struct in6_addr v6;

	return inet_pton(AF_INET6, text, &v6) == 1 &&
	       (IN6_IS_ADDR_V4COMPAT(&v6) || strcmp(strrchr(text, ':') + 1, DEFAULT_PORT) == 0);
}

/* HOST[:PORT], [V6][:PORT] or a bare V6. */
static const char *read_authority(struct address *a, const char *text, const char *port)
{
	const char *host = text;
	size_t len = strcspn(text, ":");

	if (strchr(text, '@'))
		return "user and password are not shown to a daemon: see --token-file";
	/* The C library takes a number for an address: 4801 for 0.0.18.193. */
	if (len > 0 && strspn(text, "0123456789") == len && strchr(text, ':') == strrchr(text, ':'))
		return "a number is no host: put 127.0.0.1: before a port";
	if (means_port(text))
		return "an IPv6 address with a port is written as [::1]:4801, one without as [::1]";
	if (text[0] == '[') {
		host++;
		len = strcspn(host, "]");
		if (host[len] != ']')
			return "the ']' is missing";
		text = host + len + 1;
	} else {
		if (strchr(text + len, ':') != strrchr(text, ':'))
			len = strlen(text);
		text += len;
	}
	if (len == 0)
		return "the host is missing";
	if (len >= sizeof a->host)
		return "the host is too long";
	for (size_t i = 0; i < len; i++)
		if (host[i] <= ' ' || host[i] > '~')
			return "the host has a character that no name has";
	memcpy(a->host, host, len);
	return read_port(a, text, port);
}

/* What stands behind ws://: the authority, and a target up to a '#'. */
static const char *read_url(struct address *a, const char *text)
{
	char authority[HOST_MAX + 8];
	size_t len = strcspn(text, "/?#");
	size_t target = strcspn(text + len, "#");
	size_t slash = text[len] == '?'; /* a query alone has the path "/" before it */

	if (len >= sizeof authority || slash + target >= sizeof a->target)
		return "the URL is too long";
	for (size_t i = 0; i < len + target; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return "the URL has a character that no URL has";
	memcpy(authority, text, len);
	authority[len] = '\0';
	char *zone = authority[0] == '[' ? strstr(authority, "%25") : NULL;
	if (zone) /* what stands for % in a URL (RFC 6874 section 2) */
		memmove(zone + 1, zone + 3, strlen(zone + 3) + 1);
	if (target > 0) {
		memcpy(a->target + slash, text + len, target);
		a->target[slash + target] = '\0';
	}
	return read_authority(a, authority, a->secure ? SECURE_URL_PORT : URL_PORT);
}

const char *address_read(struct address *a, const char *text)
{
	*a = (struct address){.port = DEFAULT_PORT, .target = "/"};
	if (!text)
		return NULL;
	if (strncasecmp(text, "ws://", 5) == 0)
		return read_url(a, text + 5);
	if (strncasecmp(text, "http://", 7) == 0)
		return read_url(a, text + 7);
	a->secure = strncasecmp(text, "wss://", 6) == 0 || strncasecmp(text, "https://", 8) == 0;
	if (a->secure)
		return read_url(a, strstr(text, "://") + 3);
	if (strstr(text, "://"))
		return "not a ws:// or wss:// URL";
	if (!strchr(text, '/'))
		return read_authority(a, text, DEFAULT_PORT);
	a->is_path = true;
	if (strlen(text) >= sizeof((struct sockaddr_un *)0)->sun_path)
		return "the path is too long for a Unix socket";
	memcpy(a->host, text, strlen(text) + 1);
	return NULL;
}

static size_t add_path(struct endpoint *out, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->at;

	*out = (struct endpoint){.len = sizeof *un, .host = "localhost"};
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	memcpy(out->name, path, strlen(path) + 1);
	return 1;
}

static size_t add_host(struct endpoint *out, size_t room, const char *host, const char *port,
		       int flags, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list;
	size_t n = 0;
	int error = getaddrinfo(host, port, &hints, &list);

	if (error != 0) {
		*why = error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
		return 0;
	}
	for (struct addrinfo *i = list; i && n < room; i = i->ai_next, n++) {
		/* A zone means something on this machine alone (RFC 6874 section 4). */
		int len = (int)strcspn(host, "%");

		out[n] = (struct endpoint){.len = i->ai_addrlen};
		memcpy(&out[n].at, i->ai_addr, i->ai_addrlen);
		snprintf(out[n].host, sizeof out[n].host,
			 strchr(host, ':') ? "[%.*s]:%s" : "%.*s:%s", len, host, port);
		memcpy(out[n].name, out[n].host, sizeof out[n].name);
	}
	freeaddrinfo(list);
	return n;
}

size_t address_resolve(const struct address *a, struct endpoint out[ENDPOINTS_MAX],
		       const char **why)
{
	if (a->is_path)
		return add_path(out, a->host);
	if (a->host[0] != '\0')
		return add_host(out, ENDPOINTS_MAX, a->host, a->port, 0, why);
	size_t n = add_host(out, 1, "127.0.0.1", DEFAULT_PORT, AI_NUMERICHOST, why);
	n += add_host(out + n, 1, "::1", DEFAULT_PORT, AI_NUMERICHOST, why);
	return n + add_path(out + n, DEFAULT_SOCKET);
}
