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

/* The configuration of a server. client_ca NULL: clients need no certificate. Returns NULL if a
 * file is refused; why says which file is wrong and in what way. The configuration is freed after
 * tls_release and the end of its last session, whichever is later. */
struct tls_config *tls_server(const char *cert, const char *key, const char *client_ca,
                              char why[TLS_WHY_MAX]);

/* The configuration of a client. ca: the file of certificates that are trusted, NULL: those of
 * the system. insecure: the server's certificate is not checked. cert and key: shown to a server
 * that asks for a certificate; NULL: none. Returns as tls_server. */
struct tls_config *tls_client(const char *ca, bool insecure, const char *cert, const char *key,
                              char why[TLS_WHY_MAX]);

void tls_release(struct tls_config *config);

/* A session on a connected non-blocking socket; the caller keeps the socket and closes it. name:
 * for a client, the DNS name or the IP address that the server's certificate must be for, which
 * must live as long as the session; NULL for a server. Returns NULL: out of memory. */
struct tls *tls_open(struct tls_config *config, int fd, const char *name);

/* tls_bye sends close_notify (RFC 8446 section 6.1); tls_close frees the session without. */
void tls_close(struct tls *session);
void tls_bye(struct tls *session);

/* As recv() and send() of a non-blocking socket; the handshake happens within them. len must be
 * above 0. -1 with EAGAIN: the socket cannot go on now, or this call has made as many system calls
 * as one call may. -1 with EPROTO: tls_error says what went wrong. What tls_send did not take must
 * be what it is given next: as many bytes, or more. */
ssize_t tls_recv(struct tls *session, void *out, size_t len);
ssize_t tls_send(struct tls *session, const void *in, size_t len);

/* Does the session wait for the socket to be writable rather than readable? */
bool tls_wants_write(const struct tls *session);

/* Bytes that were taken from the socket and decrypted, but not yet read by tls_recv. poll() does
 * not report them, so the caller must. */
size_t tls_pending(const struct tls *session);

/* Did the handshake fail because no authority that is trusted signed the peer's certificate? */
bool tls_is_untrusted(const struct tls *session);

/* In words, what went wrong in the call that returned EPROTO. Returns why. */
const char *tls_error(const struct tls *session, char why[TLS_WHY_MAX]);

#endif
