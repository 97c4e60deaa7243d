/* The stream (base/stream.h) of a connection with TLS: glue between the loop and guard/tls.h. */

#include "guard/secure.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/options.h"
#include "guard/tls.h"

static struct tls_config *config;   /* for sessions that begin from now on */

static int secure_setup(const struct options *o)
{
	char why[TLS_WHY_MAX];

	if (!o->tls_cert)
		return 0;
	file_warn_readable(o->tls_key);
	struct tls_config *read = tls_server(o->tls_cert, o->tls_key, o->tls_client_ca, why);
	if (!read) {
		log_event("error tls=\"%s\"", why);
		return -1;
	}
	tls_release(config);
	config = read;
	return 1;
}

static void secure_release(void)
{
	tls_release(config);
	config = NULL;
}

static int secure_open(struct stream *s)
{
	s->session = tls_open(config, s->fd, NULL);
	return s->session ? 0 : -1;
}

static ssize_t secure_recv(struct stream *s, void *out, size_t len)
{
	return tls_recv(s->session, out, len);
}

static ssize_t secure_send(struct stream *s, const void *in, size_t len)
{
	return tls_send(s->session, in, len);
}

/* A session that wants to receive may have to send first, within the handshake. */
static short secure_events(const struct stream *s, short wanted)
{
	return (short)(wanted == POLLIN && tls_wants_write(s->session) ? POLLOUT : wanted);
}

static size_t secure_pending(const struct stream *s)
{
	return tls_pending(s->session);
}

static const char *secure_error(const struct stream *s, int error, char why[STREAM_WHY_MAX])
{
	return error == EPROTO ? tls_error(s->session, why) : strerror(error);
}

static void secure_bye(struct stream *s)
{
	tls_bye(s->session);
	shutdown(s->fd, SHUT_WR);
}

static void secure_close(struct stream *s)
{
	tls_close(s->session);
	close(s->fd);
}

const struct stream_kind stream_secure = {
	.setup = secure_setup,
	.release = secure_release,
	.open = secure_open,
	.recv = secure_recv,
	.send = secure_send,
	.events = secure_events,
	.pending = secure_pending,
	.error = secure_error,
	.bye = secure_bye,
	.close = secure_close,
	.secure = true,
};
