#include "base/stream.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int plain_setup(const struct options *o)
{
	(void)o;
	return 1;
}

static void plain_release(void)
{
}

static int plain_open(struct stream *s)
{
	(void)s;
	return 0;
}

static ssize_t plain_recv(struct stream *s, void *out, size_t len)
{
	return recv(s->fd, out, len, MSG_DONTWAIT);
}

static ssize_t plain_send(struct stream *s, const void *in, size_t len)
{
	return send(s->fd, in, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static short plain_events(const struct stream *s, short wanted)
{
	(void)s;
	return wanted;
}

static size_t plain_pending(const struct stream *s)
{
	(void)s;
	return 0;
}

static const char *plain_error(const struct stream *s, int error, char why[STREAM_WHY_MAX])
{
	(void)s;
	(void)why;
	return strerror(error);
}

static void plain_bye(struct stream *s)
{
	shutdown(s->fd, SHUT_WR);
}

static void plain_close(struct stream *s)
{
	close(s->fd);
}

const struct stream_kind stream_plain = {
	.setup = plain_setup,
	.release = plain_release,
	.open = plain_open,
	.recv = plain_recv,
	.send = plain_send,
	.events = plain_events,
	.pending = plain_pending,
	.error = plain_error,
	.bye = plain_bye,
	.close = plain_close,
};
