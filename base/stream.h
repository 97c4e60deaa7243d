#ifndef STREAM_H
#define STREAM_H

/* A connected socket as the loop uses it. Plain sockets are one kind of stream, TLS is the
 * other; the loop does not know which it has.
 *
 * 1. No function waits. recv and send do what those of a non-blocking socket do: -1 with
 *    EAGAIN means that nothing could be done yet; any other errno is the end of the stream,
 *    and error says in words what went wrong.
 * 2. After EAGAIN the same call may succeed when poll() finds one of the events that
 *    events names for it. It may say EAGAIN again.
 * 3. A send that said EAGAIN is repeated with the same bytes, or with more behind them.
 * 4. recv returns 0 when the peer sends no more, and never for another reason.
 * 5. What pending counts was received and not yet read. poll() does not know of it, so the
 *    loop calls recv without waiting.
 * 6. open takes over the socket, also when it fails; close closes it and frees all there is.
 * 7. bye tells the peer that nothing more is sent. It is called once, when all was sent;
 *    recv may still be called after it. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct options;

enum { STREAM_WHY_MAX = 256 };

/* All zero is none. */
struct stream {
	const struct stream_kind *kind;
	int fd;
	void *session;   /* what the kind keeps for it; NULL: nothing */
};

struct stream_kind {
	/* Reads the files that the options name, at start and again on SIGHUP. 1: TCP
	 * connections are to be of this kind; 0: the options do not ask for it; -1: refused
	 * with one line logged, and what was read before stays in force. */
	int (*setup)(const struct options *o);
	void (*release)(void);

	/* 0; or -1: there is no memory for it. s->fd and s->kind are set. */
	int (*open)(struct stream *s);
	ssize_t (*recv)(struct stream *s, void *out, size_t len);
	ssize_t (*send)(struct stream *s, const void *in, size_t len);
	/* The events of struct pollfd that recv (POLLIN) or send (POLLOUT) waits for. */
	short (*events)(const struct stream *s, short wanted);
	size_t (*pending)(const struct stream *s);
	/* error: an errno that recv or send left. Returns why, or a static text. */
	const char *(*error)(const struct stream *s, int error, char why[STREAM_WHY_MAX]);
	void (*bye)(struct stream *s);
	void (*close)(struct stream *s);

	/* Encrypted. Until the request has come, recv may cost as much as a thousand messages,
	 * for asymmetric cryptography. */
	bool secure;
};

extern const struct stream_kind stream_plain;

#endif
