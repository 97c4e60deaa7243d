#include "base/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum {
	BACKLOG = 1024,
	PAUSE_MS = 1000,    /* ms without accept() after the system was out of descriptors or memory */
	FAILURES_MAX = 64,  /* failures of accept() in a row, after which it pauses, too */
};

const char *address_text(const struct sockaddr *address)
{
	static char out[INET6_ADDRSTRLEN + sizeof "[]:65535"];
	char host[INET6_ADDRSTRLEN];

	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)address;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
		snprintf(out, sizeof out, "%s:%u", host, ntohs(v4->sin_port));
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)address;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		snprintf(out, sizeof out, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		return "unix";
	}
	return out;
}

bool address_is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in6 *v6 = (const void *)address;

	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
		       IN_LOOPBACKNET;
	return address->sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
	        (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET));
}

/* Is somebody listening at the path? -1: it cannot be told, errno is set. */
static int in_use(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result = 0;

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN)
		result = 1;
	else if (errno != ECONNREFUSED && errno != ENOENT)
		result = -1;
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

/* Says what is in the way of a socket. Always -1. */
static int refuse(const char *option, const char *path, const char *reason)
{
	log_event("error %s=%s reason=\"%s\"", option, path, reason);
	return -1;
}

/* Removes a socket file that nobody listens at. -1: there is something that must stay. */
static int clear_path(const char *option, const char *path, const struct sockaddr_un *address)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return 0;
	if (S_ISDIR(st.st_mode))
		return refuse(option, path, "is a folder: name a socket in it");
	if (!S_ISSOCK(st.st_mode))
		return refuse(option, path, "exists and is not a socket");
	int used = in_use(address);
	if (used > 0)
		return refuse(option, path, "in use by another process");
	if (used < 0 || (unlink(path) != 0 && errno != ENOENT))
		return refuse(option, path, strerror(errno));
	return 0;
}

int listen_unix(const char *option, const char *path, mode_t mode, struct stat *file)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path) {
		log_event("error %s=%s reason=\"path over %zu bytes\"", option, path,
		          sizeof address.sun_path - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	if (clear_path(option, path, &address) != 0)
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0) {
		mode_t before = umask(0777 & ~mode);
		int bound = bind(fd, (struct sockaddr *)&address, sizeof address);

		umask(before);
		if (bound == 0 && listen(fd, BACKLOG) == 0 && lstat(path, file) == 0)
			return fd;
	}
	refuse(option, path,
	       errno == ENOENT   ? "its folder does not exist: make it first"
	       : errno == EACCES ? "this user may not make files in its folder"
	                         : strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

void listen_remove(const char *path, const struct stat *file)
{
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino)
		unlink(path);
}

void listen_close(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->addresses[i].ss_family == AF_UNIX)
			listen_remove(((const struct sockaddr_un *)&l->addresses[i])->sun_path,
			              &l->files[i]);
		close(l->fds[i]);
	}
	l->count = 0;
}

void listen_poll(struct listeners *l, struct pollfd fds[LISTENERS_MAX], int64_t now,
                 int64_t *deadline)
{
	if (l->again <= now)
		l->again = 0;
	else if (l->again < *deadline)
		*deadline = l->again;
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		fds[i] = (struct pollfd){.fd = i < l->count && l->again == 0 ? l->fds[i] : -1,
		                         .events = POLLIN};
}

int listen_accept(struct listeners *l, size_t i, struct sockaddr_in6 *peer, int64_t now)
{
	for (int failed = 0; failed < FAILURES_MAX; failed++) {
		socklen_t len = sizeof *peer;
		const int fd =
			accept4(l->fds[i], (struct sockaddr *)peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0 || errno == EAGAIN)
			return fd;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			break;
		/* Any other error is that of a single connection, which has ended already: on to the next. */
	}
	log_limited(&l->pauses, now, "accept_paused reason=\"%s\" ms=%d", strerror(errno), PAUSE_MS);
	l->again = now + PAUSE_MS;
	return -1;
}

static int listen_tcp(struct listeners *l, const struct addrinfo *info)
{
	const int on = 1, unsent = LISTEN_UNSENT;
	struct sockaddr *const bound = (struct sockaddr *)&l->addresses[l->count];
	socklen_t len = sizeof *l->addresses;
	const int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	/* Linux hands these on to what is accepted. With TCP_NOTSENT_LOWAT a send tells how fast the
	 * peer takes what is sent: else the kernel keeps megabytes, and says nothing for seconds. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent) == 0 &&
	    (info->ai_family != AF_INET6 ||
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
	    bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0 &&
	    getsockname(fd, bound, &len) == 0) {
		l->fds[l->count++] = fd;
		return 0;
	}
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* Splits HOST:PORT, [V6]:PORT or HOST in place. NULL: malformed. */
static char *split_port(char *text, char **port)
{
	char *host = text, *colon;

	*port = NULL;
	if (*text == '[') {
		char *bracket = strchr(text, ']');

		if (!bracket || (bracket[1] != ':' && bracket[1] != '\0'))
			return NULL;
		host++;
		*bracket = '\0';
		colon = bracket[1] ? bracket + 1 : NULL;
	} else {
		colon = strchr(text, ':');
		if (colon && strchr(colon + 1, ':'))
			return NULL;
	}
	if (colon) {
		*colon = '\0';
		*port = colon + 1;
		if (**port == '\0' || strlen(*port) > 5 || strspn(*port, "0123456789") != strlen(*port) ||
		    atoi(*port) > UINT16_MAX)
			return NULL;
	}
	return *host ? host : NULL;
}

static int listen_at_path(struct listeners *l, const char *path)
{
	struct sockaddr_un *bound = (struct sockaddr_un *)&l->addresses[l->count];
	const int fd = listen_unix("listen", path, 0666, &l->files[l->count]);

	if (fd < 0)
		return -1;
	bound->sun_family = AF_UNIX;
	strcpy(bound->sun_path, path);
	l->fds[l->count++] = fd;
	return 0;
}

/* What is wrong with an address that cannot be read. */
static const char *form_of(const char *text)
{
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	const bool number = *port && strspn(port, "0123456789") == strlen(port);

	return number && port - text <= 1
	               ? "a port alone: put 127.0.0.1: before it or, to let others in, 0.0.0.0:"
	       : number && strtoull(port, NULL, 10) > UINT16_MAX ? "the port is over 65535"
	                                                         : "not HOST:PORT, [IPV6]:PORT or /PATH";
}

static int too_many(const char *text)
{
	log_event("error listen=%s reason=\"more than %d addresses\"", text, LISTENERS_MAX);
	return -1;
}

/* optional: an address that this machine does not have is no error. 0, or -1 with one line
 * logged. */
static int listen_on(struct listeners *l, const char *text, bool optional)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found, *info;
	char copy[NI_MAXHOST], *host, *port;

	if (l->count == LISTENERS_MAX)
		return too_many(text);
	if (*text == '/')
		return listen_at_path(l, text);
	/* A number alone would be taken for an address by the C library: 4801 for 0.0.18.193. */
	if (strlen(text) >= sizeof copy || !(host = split_port(strcpy(copy, text), &port)) ||
	    strchr(host, '/') || strspn(host, "0123456789") == strlen(host))
		return refuse("listen", text, form_of(text));
	int error = getaddrinfo(host, port ? port : DEFAULT_PORT, &hints, &found);
	if (error != 0)
		return refuse("listen", text,
		              error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
	for (info = found; info; info = info->ai_next) {
		if (l->count == LISTENERS_MAX) {
			too_many(text);
			break;
		}
		if (listen_tcp(l, info) == 0 ||
		    (optional && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT)))
			continue;
		refuse("listen", text, strerror(errno));
		break;
	}
	freeaddrinfo(found);
	return info ? -1 : 0;
}

int listen_all(struct listeners *l, const char *const *texts, size_t count)
{
	static const char *const standard[] = {DEFAULT_LISTEN, DEFAULT_LISTEN_6};
	const bool given = count > 0;

	for (size_t i = 0; i < (given ? count : 2); i++)
		if (listen_on(l, given ? texts[i] : standard[i], !given && i > 0) != 0)
			return -1;
	return 0;
}

void listen_announce(const struct listeners *l, bool tls, bool anybody)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct sockaddr *address = (const struct sockaddr *)&l->addresses[i];
		const char *text = address_text(address);

		if (address->sa_family == AF_UNIX) {
			log_event("listening path=%s", ((const struct sockaddr_un *)address)->sun_path);
			continue;
		}
		log_event("listening url=http%s://%s/", tls ? "s" : "", text);
		if (anybody && !address_is_loopback(address))
			log_event("warning address=%s reason=\"anybody who reaches it may watch: see "
			          "--token-file and --tls-client-ca\"", text);
	}
}
