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

enum { BACKLOG = 1024 };

const char *address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr *address)
{
	char host[INET6_ADDRSTRLEN];

	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)address;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
		snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(v4->sin_port));
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)address;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		snprintf(out, ADDRESS_TEXT_MAX, "unix");
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

/* Removes a socket file that nobody listens at. False: there is something that
 * must stay; logged. */
static bool clear_path(const char *path, const struct sockaddr_un *address)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		log_event("error listen=%s reason=\"exists and is not a socket\"", path);
		return false;
	}
	int used = in_use(address);
	if (used > 0) {
		log_event("error listen=%s reason=\"in use by another process\"", path);
		return false;
	}
	if (used < 0 || (unlink(path) != 0 && errno != ENOENT)) {
		log_event("error listen=%s reason=\"%s\"", path, strerror(errno));
		return false;
	}
	return true;
}

int listen_unix(const char *path, mode_t mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path) {
		log_event("error listen=%s reason=\"path over %zu bytes\"", path,
		          sizeof address.sun_path - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	if (!clear_path(path, &address))
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0) {
		mode_t before = umask(0777 & ~mode);
		int bound = bind(fd, (struct sockaddr *)&address, sizeof address);

		umask(before);
		if (bound == 0 && listen(fd, BACKLOG) == 0)
			return fd;
	}
	log_event("error listen=%s reason=\"%s\"", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

void listen_close(struct listener list[LISTENERS_MAX], size_t *count)
{
	for (size_t i = 0; i < *count; i++) {
		if (list[i].address.ss_family == AF_UNIX)
			unlink(((const struct sockaddr_un *)&list[i].address)->sun_path);
		close(list[i].fd);
	}
	*count = 0;
}

static int listen_tcp(struct listener *l, const struct addrinfo *info)
{
	const int on = 1;
	socklen_t len = sizeof l->address;

	l->fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -1;
	/* Linux hands TCP_NODELAY on to what is accepted. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
	    (info->ai_family != AF_INET6 ||
	     setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
	    bind(l->fd, info->ai_addr, info->ai_addrlen) == 0 && listen(l->fd, BACKLOG) == 0 &&
	    getsockname(l->fd, (struct sockaddr *)&l->address, &len) == 0)
		return 0;
	int error = errno;
	close(l->fd);
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

int listen_on(struct listener list[LISTENERS_MAX], size_t *count, const char *text, bool optional)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found, *info;
	char copy[NI_MAXHOST], *host, *port;

	if (*count == LISTENERS_MAX) {
		log_event("error listen=%s reason=\"more than %d addresses\"", text, LISTENERS_MAX);
		return -1;
	}
	if (*text == '/') {
		int fd = listen_unix(text, 0666);

		if (fd < 0)
			return -1;
		list[*count].fd = fd;
		memset(&list[*count].address, 0, sizeof list[*count].address);
		list[*count].address.ss_family = AF_UNIX;
		strcpy(((struct sockaddr_un *)&list[*count].address)->sun_path, text);
		++*count;
		return 0;
	}
	if (strlen(text) >= sizeof copy || !(host = split_port(strcpy(copy, text), &port))) {
		log_event("error listen=%s reason=\"not HOST:PORT, [IPV6]:PORT or /PATH\"", text);
		return -1;
	}
	int error = getaddrinfo(host, port ? port : DEFAULT_PORT, &hints, &found);
	if (error != 0) {
		log_event("error listen=%s reason=\"%s\"", text,
		          error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
		return -1;
	}
	for (info = found; info; info = info->ai_next) {
		if (*count == LISTENERS_MAX) {
			log_event("error listen=%s reason=\"more than %d addresses\"", text, LISTENERS_MAX);
			break;
		}
		if (listen_tcp(&list[*count], info) != 0) {
			if (optional && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT))
				continue;
			log_event("error listen=%s reason=\"%s\"", text, strerror(errno));
			break;
		}
		++*count;
	}
	freeaddrinfo(found);
	return info ? -1 : 0;
}

void listen_announce(const struct listener *list, size_t count, bool tls, bool anybody)
{
	char text[ADDRESS_TEXT_MAX];

	for (const struct listener *l = list; l < list + count; l++) {
		const struct sockaddr *address = (const struct sockaddr *)&l->address;

		address_text(text, address);
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
