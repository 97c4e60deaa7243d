#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

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

	if (len >= sizeof authority || slash + target >= TARGET_MAX)
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

static void add_path(struct resolved *r, const char *path)
{
	struct endpoint *out = &r->endpoints[r->count++];
	struct sockaddr_un *un = (struct sockaddr_un *)&out->at;

	*out = (struct endpoint){.len = sizeof *un, .host = "localhost"};
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	memcpy(out->name, path, strlen(path) + 1);
}

static void add_host(struct resolved *out, size_t room, const char *host, const char *port, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list;

	out->error = getaddrinfo(host, port, &hints, &list);
	out->system = errno;
	if (out->error != 0)
		return;
	for (struct addrinfo *i = list; i && room > 0; i = i->ai_next, room--) {
		struct endpoint *e = &out->endpoints[out->count++];
		/* A zone means something on this machine alone (RFC 6874 section 4). */
		int len = (int)strcspn(host, "%");

		*e = (struct endpoint){.len = i->ai_addrlen};
		memcpy(&e->at, i->ai_addr, i->ai_addrlen);
		snprintf(e->host, sizeof e->host, strchr(host, ':') ? "[%.*s]:%s" : "%.*s:%s", len,
			 host, port);
		memcpy(e->name, e->host, sizeof e->name);
	}
	freeaddrinfo(list);
}

bool address_is_known(const struct address *a, struct resolved *out)
{
	*out = (struct resolved){0};
	if (a->is_path) {
		add_path(out, a->host);
	} else if (a->host[0] != '\0') {
		add_host(out, ENDPOINTS_MAX, a->host, a->port, AI_NUMERICHOST);
		return out->count > 0;
	} else {
		add_host(out, 1, "127.0.0.1", DEFAULT_PORT, AI_NUMERICHOST);
		add_host(out, 1, "::1", DEFAULT_PORT, AI_NUMERICHOST);
		add_path(out, DEFAULT_SOCKET);
	}
	return true;
}

const char *resolved_error(const struct resolved *r)
{
	return r->error == EAI_SYSTEM ? strerror(r->system) : gai_strerror(r->error);
}

/* Runs in the child, which the kernel ends when its parent ends: looks the name up and writes the answer to
 * fd. */
__attribute__((noreturn)) static void look_up(const struct address *a, int fd)
{
	struct resolved found = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	add_host(&found, ENDPOINTS_MAX, a->host, a->port, 0);
	_exit(write(fd, &found, sizeof found) < 0);
}

bool lookup_start(struct lookup *l, const struct address *a)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	l->child = fork();
	if (l->child == 0)
		look_up(a, ends[1]);
	const int why = errno;
	close(ends[1]);
	l->fd = ends[0];
	if (l->child > 0)
		return true;
	lookup_stop(l);
	errno = why;
	return false;
}

void lookup_finish(struct lookup *l, struct resolved *out)
{
	size_t len = 0;
	ssize_t n;

	do {
		n = read(l->fd, (char *)out + len, sizeof *out - len);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (len < sizeof *out) /* the child was killed */
		*out = (struct resolved){.error = EAI_FAIL};
	lookup_stop(l);
}

void lookup_stop(struct lookup *l)
{
	if (l->fd < 0)
		return;
	close(l->fd);
	l->fd = -1;
	if (l->child <= 0)
		return;
	kill(l->child, SIGKILL);
	while (waitpid(l->child, NULL, 0) < 0 && errno == EINTR)
		;
}
