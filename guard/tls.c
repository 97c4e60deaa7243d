#include "guard/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if TLS

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#if MBEDTLS_VERSION_MAJOR >= 3 && defined(MBEDTLS_PSA_CRYPTO_C)
#include <psa/crypto.h>
#endif

enum { SOCKET_CALLS_MAX = 64 };   /* in one tls_recv or tls_send; a record takes two or more */

static const char system_ca[] = "/etc/ssl/certs/ca-certificates.crt";

struct tls_config {
	mbedtls_ssl_config ssl;
	mbedtls_x509_crt cert, ca;
	mbedtls_pk_context key;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	unsigned users;   /* the owner and the sessions */
};

struct tls {
	mbedtls_ssl_context ssl;
	mbedtls_net_context socket;
	struct tls_config *config;
	int error;   /* the last one of mbedtls; 0: none */
	int calls_left;
};

/* Ephemeral keys and authenticated encryption only. mbedtls leaves out those of a
 * version that it was built without. */
static const int suites[] = {
#if MBEDTLS_VERSION_MAJOR >= 3
	MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
#endif
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	0,
};

/* Says what is wrong with a file. Always false. */
static bool refuse(char why[TLS_WHY_MAX], const char *file, int error)
{
	char text[128];

	mbedtls_strerror(error, text, sizeof text);
	snprintf(why, TLS_WHY_MAX, "%s: %s", file, text);
	return false;
}

static bool read_certificates(mbedtls_x509_crt *into, const char *file, char why[TLS_WHY_MAX])
{
	int error = mbedtls_x509_crt_parse_file(into, file);

	if (error == 0)
		return true;
	if (error > 0)
		snprintf(why, TLS_WHY_MAX, "%s: %d certificates cannot be read", file, error);
	else
		refuse(why, file, error);
	return error > 0 && into->version > 0 && file == system_ca;
}

static int parse_key(struct tls_config *c, const char *file)
{
#if MBEDTLS_VERSION_MAJOR >= 3
	return mbedtls_pk_parse_keyfile(&c->key, file, NULL, mbedtls_ctr_drbg_random, &c->random);
#else
	return mbedtls_pk_parse_keyfile(&c->key, file, NULL);
#endif
}

static int check_pair(struct tls_config *c)
{
#if MBEDTLS_VERSION_MAJOR >= 3
	return mbedtls_pk_check_pair(&c->cert.pk, &c->key, mbedtls_ctr_drbg_random, &c->random);
#else
	return mbedtls_pk_check_pair(&c->cert.pk, &c->key);
#endif
}

/* mbedtls 3 has its TLS 1.3, and may have all of it, on top of PSA. */
static int start_psa(void)
{
#if MBEDTLS_VERSION_MAJOR >= 3 && defined(MBEDTLS_PSA_CRYPTO_C)
	return psa_crypto_init() == PSA_SUCCESS ? 0 : MBEDTLS_ERR_ERROR_GENERIC_ERROR;
#else
	return 0;
#endif
}

static struct tls_config *new_config(int endpoint, char why[TLS_WHY_MAX])
{
	struct tls_config *c = calloc(1, sizeof *c);

	if (!c) {
		snprintf(why, TLS_WHY_MAX, "%s", strerror(errno));
		return NULL;
	}
	c->users = 1;
	mbedtls_ssl_config_init(&c->ssl);
	mbedtls_x509_crt_init(&c->cert);
	mbedtls_x509_crt_init(&c->ca);
	mbedtls_pk_init(&c->key);
	mbedtls_entropy_init(&c->entropy);
	mbedtls_ctr_drbg_init(&c->random);
	int error = start_psa();
	if (error == 0)
		error = mbedtls_ctr_drbg_seed(&c->random, mbedtls_entropy_func, &c->entropy, NULL, 0);
	if (error == 0)
		error = mbedtls_ssl_config_defaults(&c->ssl, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
		                                    MBEDTLS_SSL_PRESET_DEFAULT);
	if (error != 0) {
		refuse(why, "TLS", error);
		tls_release(c);
		return NULL;
	}
	mbedtls_ssl_conf_rng(&c->ssl, mbedtls_ctr_drbg_random, &c->random);
	mbedtls_ssl_conf_ciphersuites(&c->ssl, suites);
#if MBEDTLS_VERSION_MAJOR >= 3
	mbedtls_ssl_conf_min_tls_version(&c->ssl, MBEDTLS_SSL_VERSION_TLS1_2);
#else
	mbedtls_ssl_conf_min_version(&c->ssl, MBEDTLS_SSL_MAJOR_VERSION_3,
	                             MBEDTLS_SSL_MINOR_VERSION_3);
#endif
	return c;
}

/* False, and why is written: the files do not make an identity that clients take. */
static bool load_identity(struct tls_config *c, const char *cert, const char *key,
                          char why[TLS_WHY_MAX])
{
	if (!read_certificates(&c->cert, cert, why))
		return false;
	int error = parse_key(c, key);
	if (error != 0)
		return refuse(why, key, error);
	error = check_pair(c);
	if (error == MBEDTLS_ERR_MPI_ALLOC_FAILED || error == MBEDTLS_ERR_ECP_ALLOC_FAILED)
		return refuse(why, key, error);
	if (error != 0) {
		snprintf(why, TLS_WHY_MAX, "%s is not the key of %s", key, cert);
		return false;
	}
	if (mbedtls_x509_time_is_past(&c->cert.valid_to)) {
		snprintf(why, TLS_WHY_MAX, "%s expired on %04d-%02d-%02d", cert, c->cert.valid_to.year,
		         c->cert.valid_to.mon, c->cert.valid_to.day);
		return false;
	}
	error = mbedtls_ssl_conf_own_cert(&c->ssl, &c->cert, &c->key);
	return error == 0 || refuse(why, cert, error);
}

struct tls_config *tls_server(const char *cert, const char *key, const char *client_ca,
                              char why[TLS_WHY_MAX])
{
	struct tls_config *c = new_config(MBEDTLS_SSL_IS_SERVER, why);

	if (!c)
		return NULL;
	if (!load_identity(c, cert, key, why) ||
	    (client_ca && !read_certificates(&c->ca, client_ca, why))) {
		tls_release(c);
		return NULL;
	}
	if (client_ca) {
		mbedtls_ssl_conf_ca_chain(&c->ssl, &c->ca, NULL);
		mbedtls_ssl_conf_authmode(&c->ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
	}
	return c;
}

struct tls_config *tls_client(const char *ca, bool insecure, char why[TLS_WHY_MAX])
{
	struct tls_config *c = new_config(MBEDTLS_SSL_IS_CLIENT, why);

	if (!c)
		return NULL;
	if (insecure) {
		mbedtls_ssl_conf_authmode(&c->ssl, MBEDTLS_SSL_VERIFY_NONE);
		return c;
	}
	if (!read_certificates(&c->ca, ca ? ca : system_ca, why)) {
		tls_release(c);
		return NULL;
	}
	mbedtls_ssl_conf_ca_chain(&c->ssl, &c->ca, NULL);
	mbedtls_ssl_conf_authmode(&c->ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
	return c;
}

void tls_release(struct tls_config *c)
{
	if (!c || --c->users > 0)
		return;
	mbedtls_ssl_config_free(&c->ssl);
	mbedtls_x509_crt_free(&c->cert);
	mbedtls_x509_crt_free(&c->ca);
	mbedtls_pk_free(&c->key);
	mbedtls_ctr_drbg_free(&c->random);
	mbedtls_entropy_free(&c->entropy);
	free(c);
}

/* mbedtls goes on by itself as long as records come that it passes over, as it does
 * with warnings: a peer that sends nothing else would keep it to itself. */
static int receive_some(void *arg, unsigned char *out, size_t len)
{
	struct tls *t = arg;

	return t->calls_left-- > 0 ? mbedtls_net_recv(&t->socket, out, len)
	                           : MBEDTLS_ERR_SSL_WANT_READ;
}

static int send_some(void *arg, const unsigned char *in, size_t len)
{
	struct tls *t = arg;

	return t->calls_left-- > 0 ? mbedtls_net_send(&t->socket, in, len)
	                           : MBEDTLS_ERR_SSL_WANT_WRITE;
}

struct tls *tls_open(struct tls_config *config, int fd, const char *name)
{
	struct tls *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	mbedtls_ssl_init(&t->ssl);
	t->socket.fd = fd;
	t->config = config;
	config->users++;
	if (mbedtls_ssl_setup(&t->ssl, &config->ssl) != 0 ||
	    (name && mbedtls_ssl_set_hostname(&t->ssl, name) != 0)) {
		tls_close(t);
		return NULL;
	}
	mbedtls_ssl_set_bio(&t->ssl, t, send_some, receive_some, NULL);
	return t;
}

void tls_close(struct tls *t)
{
	if (!t)
		return;
	mbedtls_ssl_free(&t->ssl);
	tls_release(t->config);
	free(t);
}

void tls_bye(struct tls *t)
{
	t->calls_left = SOCKET_CALLS_MAX;
	mbedtls_ssl_close_notify(&t->ssl);
}

/* What mbedtls answered, in the terms of the socket calls. */
static ssize_t result(struct tls *t, int n)
{
	t->error = n < 0 ? n : 0;
	if (n >= 0)
		return n;
	if (n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		return 0;
#if MBEDTLS_VERSION_MAJOR >= 3 && defined(MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
	if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
		n = t->error = MBEDTLS_ERR_SSL_WANT_READ;
#endif
	errno = n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE ? EAGAIN : EPROTO;
	return -1;
}

ssize_t tls_recv(struct tls *t, void *out, size_t len)
{
	t->calls_left = SOCKET_CALLS_MAX;
	return result(t, mbedtls_ssl_read(&t->ssl, out, len));
}

ssize_t tls_send(struct tls *t, const void *in, size_t len)
{
	t->calls_left = SOCKET_CALLS_MAX;
	return result(t, mbedtls_ssl_write(&t->ssl, in, len));
}

bool tls_wants_write(const struct tls *t)
{
	return t->error == MBEDTLS_ERR_SSL_WANT_WRITE;
}

size_t tls_pending(const struct tls *t)
{
	return mbedtls_ssl_get_bytes_avail(&t->ssl);
}

const char *tls_error(const struct tls *t, char why[TLS_WHY_MAX])
{
	int n = snprintf(why, TLS_WHY_MAX, "TLS: ");
	uint32_t flags = mbedtls_ssl_get_verify_result(&t->ssl);

	/* -1: there is no result yet. */
	if (flags != 0 && flags != UINT32_MAX &&
	    mbedtls_x509_crt_verify_info(why + n, TLS_WHY_MAX - (size_t)n, "", flags) > 0)
		why[strcspn(why, "\n")] = '\0';
	else
		mbedtls_strerror(t->error, why + n, TLS_WHY_MAX - (size_t)n);
	return why;
}

#else

static struct tls_config *without(char why[TLS_WHY_MAX])
{
	snprintf(why, TLS_WHY_MAX, "built without TLS");
	return NULL;
}

struct tls_config *tls_server(const char *cert, const char *key, const char *client_ca,
                              char why[TLS_WHY_MAX])
{
	(void)cert, (void)key, (void)client_ca;
	return without(why);
}

struct tls_config *tls_client(const char *ca, bool insecure, char why[TLS_WHY_MAX])
{
	(void)ca, (void)insecure;
	return without(why);
}

void tls_release(struct tls_config *config)
{
	(void)config;
}

struct tls *tls_open(struct tls_config *config, int fd, const char *name)
{
	(void)config, (void)fd, (void)name;
	return NULL;
}

void tls_close(struct tls *session)
{
	(void)session;
}

void tls_bye(struct tls *session)
{
	(void)session;
}

ssize_t tls_recv(struct tls *session, void *out, size_t len)
{
	(void)session, (void)out, (void)len;
	return -1;
}

ssize_t tls_send(struct tls *session, const void *in, size_t len)
{
	(void)session, (void)in, (void)len;
	return -1;
}

bool tls_wants_write(const struct tls *session)
{
	(void)session;
	return false;
}

size_t tls_pending(const struct tls *session)
{
	(void)session;
	return 0;
}

const char *tls_error(const struct tls *session, char why[TLS_WHY_MAX])
{
	(void)session;
	return strcpy(why, "built without TLS");
}

#endif
