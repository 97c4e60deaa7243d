#include "guard/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if TLS

#include <arpa/inet.h>
#include <fcntl.h>
#include <mbedtls/asn1.h>
#include <mbedtls/cipher.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/oid.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if MBEDTLS_VERSION_MAJOR >= 3 && defined(MBEDTLS_PSA_CRYPTO_C)
#include <psa/crypto.h>
#endif

enum {
	SOCKET_CALLS_MAX = 64,    /* recv() and send() in one tls_recv or tls_send; a record takes two */
	RECORDS_MAX = 16,         /* written in one tls_send, of at most 16 KB each */
	SAMPLE_BYTES = 4096,      /* encrypted SAMPLE_TRIES times to time a cipher */
	SAMPLE_TRIES = 6,
	TAG_BYTES = 16,
	CONTENT_TYPE_FIRST = 20,  /* range of the first byte of a record (RFC 5246 section 6.2.1) */
	CONTENT_TYPE_LAST = 23,
};

static const char system_ca[] = "/etc/ssl/certs/ca-certificates.crt";

struct tls {
	mbedtls_ssl_context ssl;
	mbedtls_net_context socket;
	struct tls_config *config;
	const char *name;    /* client: name of the server, borrowed from the caller; else NULL */
	uint8_t address[16]; /* client: the name as an IP address, if it is one */
	size_t address_len;  /* 4, 16, or 0: the name is a DNS name or NULL */
	int error;           /* what mbedtls returned last, if it was an error; else 0 */
	size_t unfinished;   /* bytes given to mbedtls for a record that the socket took a part of; 0: none */
	bool reading;        /* within mbedtls_ssl_read() */
	int calls_left;      /* recv() and send() that mbedtls may still make in this tls_ call */
	bool heard;          /* the peer has sent its first byte */
	bool not_tls;        /* the first byte of the peer cannot begin a TLS record */
	bool ended;          /* recv() has returned 0 */
	bool read;           /* tls_recv has returned data */
};

/* The suites of each cipher: only those with ephemeral keys and authenticated encryption. mbedtls
 * ignores suites of a TLS version that it was built without. */
enum { AES_256, CHACHA20, AES_128, CIPHERS };
enum { SUITES_EACH = 3 };
static const int suites[CIPHERS][SUITES_EACH] = {
	[AES_256] = {
#if MBEDTLS_VERSION_MAJOR >= 3
		MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
#endif
		MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	},
	[CHACHA20] = {
#if MBEDTLS_VERSION_MAJOR >= 3
		MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
#endif
		MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	},
	[AES_128] = {
#if MBEDTLS_VERSION_MAJOR >= 3
		MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
#endif
		MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	},
};

struct tls_config {
	mbedtls_ssl_config ssl;
	mbedtls_x509_crt cert, ca;
	mbedtls_pk_context key;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	int suites[CIPHERS * SUITES_EACH + 1];   /* in the order of preference; ends with 0 */
	bool client;
	unsigned users;          /* the owner, until tls_release, and each session */
	const struct tls *turn;  /* the session that called mbedtls last; check_address needs it */
};

/* Writes what mbedtls says is wrong with a file. Always false. */
static bool refuse(char why[TLS_WHY_MAX], const char *file, int error)
{
	char text[128];

	mbedtls_strerror(error, text, sizeof text);
	snprintf(why, TLS_WHY_MAX, "%s: %s", file, text);
	return false;
}

/* Can the file be read at all? Asked before mbedtls reads it, since mbedtls keeps no errno, and
 * would wait for somebody to write to a FIFO. */
static bool is_readable(const char *file, char why[TLS_WHY_MAX])
{
	char byte;
	const int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const bool readable = fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 && (read(fd, &byte, 1) >= 0 || errno == EINTR);

	if (!readable)
		snprintf(why, TLS_WHY_MAX, "%s: %s", file, strerror(errno));
	if (fd >= 0)
		close(fd);
	return readable;
}

/* The system's own list may hold certificates that mbedtls cannot read; any other file
 * may not. */
static bool read_certificates(mbedtls_x509_crt *into, const char *file, char why[TLS_WHY_MAX])
{
	if (!is_readable(file, why))
		return false;
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

/* TLS 1.3 of mbedtls 3 needs the PSA library started, as may the rest of such a build. */
static int start_psa(void)
{
#if MBEDTLS_VERSION_MAJOR >= 3 && defined(MBEDTLS_PSA_CRYPTO_C)
	return psa_crypto_init() == PSA_SUCCESS ? 0 : MBEDTLS_ERR_ERROR_GENERIC_ERROR;
#else
	return 0;
#endif
}

/* How many ns this build of mbedtls takes on this processor to encrypt a sample with a key of
 * 256 bits: the least of some tries, since others use the processor, too. INT64_MAX: it does
 * not have the cipher. */
static int64_t time_cipher(mbedtls_cipher_type_t type)
{
	static unsigned char key[32], nonce[12], in[SAMPLE_BYTES];   /* all zero, and no part of the file */
	unsigned char out[SAMPLE_BYTES + TAG_BYTES];
	mbedtls_cipher_context_t c;
	int64_t least = INT64_MAX;
	size_t n;

	mbedtls_cipher_init(&c);
	if (mbedtls_cipher_setup(&c, mbedtls_cipher_info_from_type(type)) != 0 ||
	    mbedtls_cipher_setkey(&c, key, 256, MBEDTLS_ENCRYPT) != 0) {
		mbedtls_cipher_free(&c);
		return least;
	}
	for (int i = 0; i < SAMPLE_TRIES; i++) {
		struct timespec begin = {0}, end = {0};

		clock_gettime(CLOCK_MONOTONIC, &begin);
		if (mbedtls_cipher_auth_encrypt_ext(&c, nonce, sizeof nonce, NULL, 0, in, sizeof in, out,
		                                    sizeof out, &n, TAG_BYTES) != 0)
			break;
		clock_gettime(CLOCK_MONOTONIC, &end);
		const int64_t ns = (end.tv_sec - begin.tv_sec) * INT64_C(1000000000) +
		                   (end.tv_nsec - begin.tv_nsec);
		least = ns < least ? ns : least;
	}
	mbedtls_cipher_free(&c);
	return least;
}

/* Of the two ciphers with keys of 256 bits, which are held to be equally good, the faster one
 * comes first: which that is depends on the processor and on how mbedtls uses it. */
static void order_suites(struct tls_config *c)
{
	const bool chacha20 = time_cipher(MBEDTLS_CIPHER_CHACHA20_POLY1305) <
	                      time_cipher(MBEDTLS_CIPHER_AES_256_GCM);
	const int order[CIPHERS] = {chacha20 ? CHACHA20 : AES_256, chacha20 ? AES_256 : CHACHA20,
	                            AES_128};
	size_t n = 0;

	for (size_t i = 0; i < CIPHERS; i++)
		for (size_t k = 0; k < SUITES_EACH && suites[order[i]][k]; k++)
			c->suites[n++] = suites[order[i]][k];
}

static struct tls_config *new_config(int endpoint, char why[TLS_WHY_MAX])
{
	struct tls_config *c = calloc(1, sizeof *c);

	if (!c) {
		snprintf(why, TLS_WHY_MAX, "%s", strerror(errno));
		return NULL;
	}
	c->users = 1;
	c->client = endpoint == MBEDTLS_SSL_IS_CLIENT;
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
	order_suites(c);
	mbedtls_ssl_conf_ciphersuites(&c->ssl, c->suites);
#if MBEDTLS_VERSION_MAJOR >= 3
	mbedtls_ssl_conf_min_tls_version(&c->ssl, MBEDTLS_SSL_VERSION_TLS1_2);
#else
	mbedtls_ssl_conf_min_version(&c->ssl, MBEDTLS_SSL_MAJOR_VERSION_3,
	                             MBEDTLS_SSL_MINOR_VERSION_3);
#endif
	return c;
}

/* Loads a certificate and its key. False, with why written: a file cannot be read, the two do not
 * belong together, or the certificate has expired. */
static bool load_identity(struct tls_config *c, const char *cert, const char *key,
                          char why[TLS_WHY_MAX])
{
	if (!read_certificates(&c->cert, cert, why) || !is_readable(key, why))
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

struct address_search {
	const uint8_t *address;
	size_t len;
	bool found;
};

/* Called by mbedtls for each GeneralName of a subjectAltName. */
static int compare_name(void *arg, int tag, unsigned char *at, size_t len)
{
	struct address_search *search = arg;
	enum { IP_ADDRESS = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7 };

	if (tag == IP_ADDRESS && len == search->len && memcmp(at, search->address, len) == 0)
		search->found = true;
	return 0;
}

/* Called by mbedtls for each Extension of a certificate: an OID, optionally a BOOLEAN, and the
 * value in an OCTET STRING (RFC 5280 section 4.1). */
static int search_extension(void *arg, int tag, unsigned char *at, size_t len)
{
	const unsigned char *end = at + len;
	size_t n;
	int critical;

	(void)tag;
	if (mbedtls_asn1_get_tag(&at, end, &n, MBEDTLS_ASN1_OID) != 0 ||
	    n != MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME) ||
	    memcmp(at, MBEDTLS_OID_SUBJECT_ALT_NAME, n) != 0)
		return 0;
	at += n;
	mbedtls_asn1_get_bool(&at, end, &critical);
	if (mbedtls_asn1_get_tag(&at, end, &n, MBEDTLS_ASN1_OCTET_STRING) != 0)
		return 0;
	return mbedtls_asn1_traverse_sequence_of(&at, at + n, 0, 0, 0, 0, compare_name, arg);
}

/* Is the session's address one of the iPAddress entries of the certificate's subjectAltName
 * (RFC 5280 section 4.2.1.6)? */
static bool is_for_address(const mbedtls_x509_crt *cert, const struct tls *t)
{
	struct address_search search = {t->address, t->address_len, false};
	const unsigned char *end = cert->v3_ext.p + cert->v3_ext.len;
	unsigned char *at = cert->v3_ext.p;

	if (at)
		mbedtls_asn1_traverse_sequence_of(&at, end, 0, 0, 0, 0, search_extension, &search);
	return search.found;
}

/* Called by mbedtls for each certificate of the server's chain; that of depth 0 is the server's
 * own. Needed since mbedtls compares DNS names, but addresses only since 3.5. */
static int check_address(void *arg, mbedtls_x509_crt *cert, int depth, uint32_t *flags)
{
	const struct tls *t = ((struct tls_config *)arg)->turn;

	if (depth == 0 && t->address_len > 0 && !is_for_address(cert, t))
		*flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	return 0;
}

struct tls_config *tls_client(const char *ca, bool insecure, const char *cert, const char *key,
                              char why[TLS_WHY_MAX])
{
	struct tls_config *c = new_config(MBEDTLS_SSL_IS_CLIENT, why);

	if (!c)
		return NULL;
	if ((cert && !load_identity(c, cert, key, why)) ||
	    (!insecure && !read_certificates(&c->ca, ca ? ca : system_ca, why))) {
		tls_release(c);
		return NULL;
	}
	if (insecure) {
		mbedtls_ssl_conf_authmode(&c->ssl, MBEDTLS_SSL_VERIFY_NONE);
		return c;
	}
	mbedtls_ssl_conf_ca_chain(&c->ssl, &c->ca, NULL);
	mbedtls_ssl_conf_authmode(&c->ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_verify(&c->ssl, check_address, c);
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

/* Tells a client that speaks plain HTTP on this port to use TLS. Reads, at most twice, what the
 * client has sent: the kernel resets a connection that is closed with unread bytes, and then the
 * client may never see the answer. Never waits. */
static void answer_in_http(const struct tls *t)
{
	static const char answer[] =
		"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
		"400 Bad Request: this port speaks TLS; use https:// and wss://\n";
	char rest[4096];

	for (int i = 0; i < 2 && recv(t->socket.fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++)
		;
	if (send(t->socket.fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		shutdown(t->socket.fd, SHUT_WR);
}

/* receive_some and send_some are how mbedtls reaches the socket. mbedtls_ssl_read() goes on as
 * long as records without data come, such as warnings: a peer that sends nothing else would keep
 * the loop in one call for ever, so calls_left bounds the system calls of each call. */
static int receive_some(void *arg, unsigned char *out, size_t len)
{
	struct tls *t = arg;

	if (t->calls_left-- <= 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	int n = mbedtls_net_recv(&t->socket, out, len);
	if (n > 0 && !t->heard) {
		t->heard = true;
		t->not_tls = out[0] < CONTENT_TYPE_FIRST || out[0] > CONTENT_TYPE_LAST;
		if (t->not_tls && !t->config->client && out[0] >= 'A' && out[0] <= 'Z')
			answer_in_http(t);
	}
	if (t->not_tls)
		return MBEDTLS_ERR_NET_RECV_FAILED; /* mbedtls would send an alert */
	t->ended |= n == 0;
	return n;
}

/* To a peer that renegotiates mbedtls_ssl_read() sends an alert, and before it the rest of a record
 * that tls_send did not finish; mbedtls_ssl_write() would then write that record a second time. Of
 * an alert that the socket took a part of, mbedtls_ssl_write() would take the rest for its own
 * record, and never write that. So mbedtls_ssl_read() sends nothing while a record is unfinished,
 * and an alert that the socket does not take whole ends the session. */
static int send_some(void *arg, const unsigned char *in, size_t len)
{
	struct tls *t = arg;
	const bool alert = t->reading && t->read;

	if (t->calls_left-- <= 0 || (alert && t->unfinished))
		return MBEDTLS_ERR_SSL_WANT_WRITE;
	const int n = mbedtls_net_send(&t->socket, in, len);
	return alert && n != (int)len ? MBEDTLS_ERR_NET_SEND_FAILED : n;
}

/* Sets address and address_len if the name is an IP address. The zone of an IPv6 address
 * ("fe80::1%eth0") is left out: it has a meaning on this machine only, so no certificate has it. */
static void read_address(struct tls *t, const char *name)
{
	char text[INET6_ADDRSTRLEN];
	const size_t len = strcspn(name, "%");

	if (len >= sizeof text)
		return;
	memcpy(text, name, len);
	text[len] = '\0';
	if (inet_pton(AF_INET, text, t->address) == 1)
		t->address_len = sizeof(struct in_addr);
	else if (inet_pton(AF_INET6, text, t->address) == 1)
		t->address_len = sizeof(struct in6_addr);
}

struct tls *tls_open(struct tls_config *config, int fd, const char *name)
{
	struct tls *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	mbedtls_ssl_init(&t->ssl);
	t->socket.fd = fd;
	t->config = config;
	t->name = name;
	config->users++;
	if (name)
		read_address(t, name);
	/* mbedtls sends the name to the server as SNI, in which addresses are not permitted (RFC 6066
	 * section 3). For an address mbedtls gets no name, and check_address compares it instead. */
	if (mbedtls_ssl_setup(&t->ssl, &config->ssl) != 0 ||
	    mbedtls_ssl_set_hostname(&t->ssl, t->address_len > 0 ? NULL : name) != 0) {
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

/* Must precede every call of mbedtls that may use the session's socket. */
static void begin_call(struct tls *t)
{
	t->calls_left = SOCKET_CALLS_MAX;
	t->config->turn = t;
}

void tls_bye(struct tls *t)
{
	begin_call(t);
	mbedtls_ssl_close_notify(&t->ssl);
}

/* What mbedtls returned, in the terms of recv() and send(). */
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
	errno = n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE   ? EAGAIN
	        : n == MBEDTLS_ERR_NET_CONN_RESET || n == MBEDTLS_ERR_SSL_CONN_EOF ? ECONNRESET
	                                                                           : EPROTO;
	return -1;
}

ssize_t tls_recv(struct tls *t, void *out, size_t len)
{
	int n;

	begin_call(t);
	/* 0 means an empty record, which is allowed (RFC 5246 section 6.2.1), unless the socket is at
	 * its end. The loop ends: each empty record uses up some of calls_left. */
	t->reading = true;
	do
		n = mbedtls_ssl_read(&t->ssl, out, len);
	while (n == 0 && !t->ended);
	t->reading = false;
	t->read |= n > 0;
	return result(t, n == MBEDTLS_ERR_SSL_CONN_EOF ? 0 : n);
}

/* mbedtls_ssl_write() writes one record. If the socket takes only a part of the record, mbedtls
 * keeps the rest and reports none of its bytes as written: the caller must call again with the
 * same bytes, but may offer more behind them. mbedtls then believes that it has written as many as
 * it is given now, so it must be given as many as before. */
ssize_t tls_send(struct tls *t, const void *in, size_t len)
{
	size_t sent = 0;
	int n;

	begin_call(t);
	for (int records = 0; records < RECORDS_MAX && sent < len; records++) {
		const size_t offered = t->unfinished ? t->unfinished : len - sent;

		n = mbedtls_ssl_write(&t->ssl, (const unsigned char *)in + sent, offered);
		t->unfinished = n == MBEDTLS_ERR_SSL_WANT_WRITE ? offered : 0;
		if (n <= 0) {
			const ssize_t failed = result(t, n);

			return sent > 0 ? (ssize_t)sent : failed;
		}
		sent += (size_t)n;
	}
	t->error = 0;
	return (ssize_t)sent;
}

bool tls_wants_write(const struct tls *t)
{
	return t->error == MBEDTLS_ERR_SSL_WANT_WRITE;
}

size_t tls_pending(const struct tls *t)
{
	return mbedtls_ssl_get_bytes_avail(&t->ssl);
}

/* What is wrong with the peer's certificate: the first reason that mbedtls has. */
static void certificate_error(const struct tls *t, char *out, size_t size)
{
	const uint32_t flags = mbedtls_ssl_get_verify_result(&t->ssl);

	if (flags == MBEDTLS_X509_BADCERT_CN_MISMATCH && t->name)
		snprintf(out, size, "the server's certificate is not for %s%s",
		         t->address_len > 0 ? "IP address " : "", t->name);
	else if (mbedtls_x509_crt_verify_info(out, size, "", flags) > 0)
		out[strcspn(out, "\n")] = '\0';
	else
		mbedtls_strerror(t->error, out, size);
}

bool tls_is_untrusted(const struct tls *t)
{
	return t->error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED &&
	       mbedtls_ssl_get_verify_result(&t->ssl) & MBEDTLS_X509_BADCERT_NOT_TRUSTED;
}

const char *tls_error(const struct tls *t, char why[TLS_WHY_MAX])
{
	const bool client = t->config->client;
	const int n = snprintf(why, TLS_WHY_MAX, "TLS: ");
	char *const out = why + n;
	const size_t size = TLS_WHY_MAX - (size_t)n;

	if (t->not_tls)
		snprintf(out, size, client ? "the server does not speak TLS here: use ws:// or http://"
		                           : "the client does not speak TLS: it must use wss:// or "
		                             "https://");
	else if (t->error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
		certificate_error(t, out, size);
	else if (t->error == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE)
		snprintf(out, size, "the client has no certificate, which --tls-client-ca asks for");
	else if (client && (t->error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE ||
	                    (t->error == MBEDTLS_ERR_SSL_INVALID_MAC && !t->read)))
		/* In TLS 1.3 the client has finished its handshake before the server judges the client's
		 * certificate. A server with mbedtls encrypts its alert with the keys of the handshake,
		 * so this client finds a wrong MAC in the first record after the handshake. */
		snprintf(out, size, "the server refused: it may want a certificate (--tls-cert)");
	else if (t->error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
		snprintf(out, size, "the client refused: it may not trust the certificate");
	else
		mbedtls_strerror(t->error, out, size);
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

struct tls_config *tls_client(const char *ca, bool insecure, const char *cert, const char *key,
                              char why[TLS_WHY_MAX])
{
	(void)ca, (void)insecure, (void)cert, (void)key;
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

bool tls_is_untrusted(const struct tls *session)
{
	(void)session;
	return false;
}

const char *tls_error(const struct tls *session, char why[TLS_WHY_MAX])
{
	(void)session;
	return strcpy(why, "built without TLS");
}

#endif
