#ifndef TLS_H
#define TLS_H

/* TLS 1.2 and, where mbedtls has it, 1.3 over non-blocking sockets, for both
 * ends. mbedtls allocates what a session needs; it is freed with the session.
 * Built with TLS=0 there is none, and opening a configuration says so. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { TLS_WHY_MAX = 256 };

struct tls_config;
struct tls;

/* The configuration of a server. client_ca NULL: clients need no certificate.
 * NULL: refused, and why says which file is wrong and in what way. Freed when
 * the owner and the last session let go of it. */
struct tls_config *tls_server(const char *cert, const char *key, const char *client_ca,
                              char why[TLS_WHY_MAX]);

/* The configuration of a client. ca: a file of certificates that are trusted, NULL:
 * those of the system; insecure: no certificate is checked. cert and key: what it shows to a
 * server that asks for a certificate, NULL: nothing. */
struct tls_config *tls_client(const char *ca, bool insecure, const char *cert, const char *key,
                              char why[TLS_WHY_MAX]);

void tls_release(struct tls_config *config);

/* A session on a connected non-blocking socket, which stays the caller's. name: for a client,
 * the DNS name or the IP address that the server's certificate must be for; it must live as
 * long as the session. NULL for a server. Returns NULL: out of memory. */
struct tls *tls_open(struct tls_config *config, int fd, const char *name);

/* Frees the session. Its last words (close_notify) are tls_bye. */
void tls_close(struct tls *session);
void tls_bye(struct tls *session);

/* As recv() and send() of a non-blocking socket, the handshake included: -1 with
 * EAGAIN until the socket can go on, or when it was used often enough for one call.
 * EPROTO: tls_error says what went wrong. len: above 0. */
ssize_t tls_recv(struct tls *session, void *out, size_t len);
ssize_t tls_send(struct tls *session, const void *in, size_t len);

/* Does the session wait for the socket to be writable rather than readable? */
bool tls_wants_write(const struct tls *session);

/* Bytes that were received and not read: poll() knows nothing of them. */
size_t tls_pending(const struct tls *session);

/* What went wrong, in words. */
const char *tls_error(const struct tls *session, char why[TLS_WHY_MAX]);

#endif
