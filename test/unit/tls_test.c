#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard/tls.h"

#if TLS

#include <errno.h>
#include <limits.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#if defined(MBEDTLS_PSA_CRYPTO_C)
#include <psa/crypto.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context drbg;
static mbedtls_pk_context key;
static char folder[] = "/tmp/introspectd-XXXXXX";
static char key_file[64], cert_file[64];

static void write_file(const char *path, const unsigned char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs((const char *)text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* Gives the certificate a serial number. */
static void number(mbedtls_x509write_cert *cert)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
	unsigned char serial = 1;

	assert_int_equal(mbedtls_x509write_crt_set_serial_raw(cert, &serial, 1), 0);
#else
	mbedtls_mpi serial;

	mbedtls_mpi_init(&serial);
	assert_int_equal(mbedtls_mpi_lset(&serial, 1), 0);
	assert_int_equal(mbedtls_x509write_crt_set_serial(cert, &serial), 0);
	mbedtls_mpi_free(&serial);
#endif
}

/* A certificate with these bytes as its subjectAltName; it is its own authority. */
static void make_certificate(const unsigned char *names, size_t len)
{
	static unsigned char text[4096];
	mbedtls_x509write_cert cert;

	mbedtls_x509write_crt_init(&cert);
	number(&cert);
	mbedtls_x509write_crt_set_md_alg(&cert, MBEDTLS_MD_SHA256);
	mbedtls_x509write_crt_set_subject_key(&cert, &key);
	mbedtls_x509write_crt_set_issuer_key(&cert, &key);
	assert_int_equal(mbedtls_x509write_crt_set_subject_name(&cert, "CN=test"), 0);
	assert_int_equal(mbedtls_x509write_crt_set_issuer_name(&cert, "CN=test"), 0);
	assert_int_equal(mbedtls_x509write_crt_set_validity(&cert, "20200101000000", "20491231235959"),
	                 0);
	if (len > 0)
		assert_int_equal(mbedtls_x509write_crt_set_extension(
					 &cert, MBEDTLS_OID_SUBJECT_ALT_NAME,
					 MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0, names, len),
		                 0);
	assert_int_equal(mbedtls_x509write_crt_pem(&cert, text, sizeof text, mbedtls_ctr_drbg_random,
	                                           &drbg),
	                 0);
	mbedtls_x509write_crt_free(&cert);
	write_file(cert_file, text);
}

static int make_key(void **state)
{
	static unsigned char text[4096];

	(void)state;
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&drbg);
	mbedtls_pk_init(&key);
#if MBEDTLS_VERSION_MAJOR >= 3 && defined(MBEDTLS_PSA_CRYPTO_C)
	if (psa_crypto_init() != PSA_SUCCESS)
		return -1;
#endif
	if (!mkdtemp(folder) ||
	    mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0) != 0 ||
	    mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) != 0 ||
	    mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), mbedtls_ctr_drbg_random,
	                        &drbg) != 0 ||
	    mbedtls_pk_write_key_pem(&key, text, sizeof text) != 0)
		return -1;
	snprintf(key_file, sizeof key_file, "%s/key", folder);
	snprintf(cert_file, sizeof cert_file, "%s/cert", folder);
	write_file(key_file, text);
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	unlink(key_file);
	unlink(cert_file);
	mbedtls_pk_free(&key);
	mbedtls_ctr_drbg_free(&drbg);
	mbedtls_entropy_free(&entropy);
	return rmdir(folder);
}

/* Both ends of a connection. */
struct pair {
	struct tls_config *server_config, *client_config;
	struct tls *server, *client;
	int fds[2];
	char why[TLS_WHY_MAX];
};

static void open_server(struct pair *p)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fds), 0);
	p->server_config = tls_server(cert_file, key_file, NULL, p->why);
	assert_non_null(p->server_config);
	p->server = tls_open(p->server_config, p->fds[0], NULL);
	assert_non_null(p->server);
}

static void close_pair(struct pair *p)
{
	tls_close(p->server);
	tls_close(p->client);
	tls_release(p->server_config);
	tls_release(p->client_config);
	close(p->fds[0]);
	close(p->fds[1]);
}

/* Sends a byte from the client to the server. 0, or what was wrong. */
static const char *exchange(struct pair *p)
{
	for (int i = 0; i < 1000; i++) {
		char byte;
		ssize_t n;

		if (tls_send(p->client, "x", 1) < 0 && errno != EAGAIN)
			return tls_error(p->client, p->why);
		n = tls_recv(p->server, &byte, 1);
		if (n == 1)
			return NULL;
		if (n < 0 && errno != EAGAIN)
			return tls_error(p->server, p->why);
	}
	return "no end of the handshake";
}

/* What the client says of the certificate if it wants to reach the server by this name. */
static const char *reach(const char *name)
{
	static char why[TLS_WHY_MAX];
	struct pair p = {0};

	open_server(&p);
	p.client_config = tls_client(cert_file, false, NULL, NULL, p.why);
	assert_non_null(p.client_config);
	p.client = tls_open(p.client_config, p.fds[1], name);
	assert_non_null(p.client);
	const char *wrong = exchange(&p);
	if (wrong)
		snprintf(why, sizeof why, "%s", wrong);
	close_pair(&p);
	return wrong ? why : NULL;
}

static void assert_wrong_name(const char *name, const char *text)
{
	char expected[TLS_WHY_MAX];

	snprintf(expected, sizeof expected, "TLS: the server's certificate is not for %s", text);
	const char *why = reach(name);
	assert_non_null(why);
	assert_string_equal(why, expected);
}

static void addresses_are_compared_byte_by_byte(void **state)
{
	static const unsigned char names[] = {
		0x30, 35,                                   /* SEQUENCE */
		0x82, 9, '1', '0', '.', '0', '.', '0', '.', '1', '1', /* dNSName */
		0x87, 4, 10, 0, 0, 1,                       /* iPAddress */
		0x87, 16, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
	};

	(void)state;
	make_certificate(names, sizeof names);
	assert_null(reach("10.0.0.1"));
	assert_null(reach("fe80::7"));
	assert_null(reach("fe80:0:0:0::0007%eth0"));
	assert_wrong_name("10.0.0.2", "IP address 10.0.0.2");
	assert_wrong_name("10.0.0.11", "IP address 10.0.0.11");
	assert_wrong_name("fe80::8", "IP address fe80::8");
	assert_wrong_name("::ffff:10.0.0.1", "IP address ::ffff:10.0.0.1");
	assert_wrong_name("test", "test");
}

/* mbedtls 3 does not even read a certificate with such names. */
static void assert_no_address(const unsigned char *names, size_t len)
{
	struct tls_config *config;
	char why[TLS_WHY_MAX];

	make_certificate(names, len);
	config = tls_server(cert_file, key_file, NULL, why);
	if (config)
		assert_wrong_name("127.0.0.1", "IP address 127.0.0.1");
	tls_release(config);
}

/* Whatever stands there instead of addresses, none is found and nothing is read beyond it. */
static void a_damaged_list_of_names_holds_no_address(void **state)
{
	static const unsigned char longer[] = {0x30, 7, 0x87, 5, 127, 0, 0, 1, 0};
	static const unsigned char empty[] = {0x30, 2, 0x87, 0};
	static const unsigned char no_names[] = {0x30, 0};

	(void)state;
	make_certificate(NULL, 0);
	assert_wrong_name("127.0.0.1", "IP address 127.0.0.1");
	assert_no_address(longer, sizeof longer);
	assert_no_address(empty, sizeof empty);
	assert_no_address(no_names, sizeof no_names);
}

/* A client made of mbedtls alone, for what tls_send does not do. */
struct bare_client {
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config config;
	mbedtls_net_context socket;
};

static void open_bare_client(struct bare_client *c, struct pair *p)
{
	char byte;
	int n;

	mbedtls_ssl_init(&c->ssl);
	mbedtls_ssl_config_init(&c->config);
	c->socket.fd = p->fds[1];
	assert_int_equal(mbedtls_ssl_config_defaults(&c->config, MBEDTLS_SSL_IS_CLIENT,
	                                             MBEDTLS_SSL_TRANSPORT_STREAM,
	                                             MBEDTLS_SSL_PRESET_DEFAULT),
	                 0);
	mbedtls_ssl_conf_authmode(&c->config, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_rng(&c->config, mbedtls_ctr_drbg_random, &drbg);
	assert_int_equal(mbedtls_ssl_setup(&c->ssl, &c->config), 0);
	mbedtls_ssl_set_bio(&c->ssl, &c->socket, mbedtls_net_send, mbedtls_net_recv, NULL);
	while ((n = mbedtls_ssl_handshake(&c->ssl)) == MBEDTLS_ERR_SSL_WANT_READ)
		assert_int_equal(tls_recv(p->server, &byte, 1), -1);
	assert_int_equal(n, 0);
}

static void close_bare_client(struct bare_client *c, struct pair *p)
{
	mbedtls_ssl_free(&c->ssl);
	mbedtls_ssl_config_free(&c->config);
	close_pair(p);
}

static void an_empty_record_is_not_the_end(void **state)
{
	struct pair p = {0};
	struct bare_client c;
	char in[8];

	(void)state;
	make_certificate(NULL, 0);
	open_server(&p);
	open_bare_client(&c, &p);
	for (int records = 0; records < 4; records++) {
		for (int i = 0; i < records; i++)
			assert_int_equal(mbedtls_ssl_write(&c.ssl, NULL, 0), 0);
		if (records % 2 == 1) {
			assert_int_equal(tls_recv(p.server, in, sizeof in), -1);
			assert_int_equal(errno, EAGAIN);
		}
		assert_int_equal(mbedtls_ssl_write(&c.ssl, (const unsigned char *)"abc", 3), 3);
		assert_int_equal(tls_recv(p.server, in, sizeof in), 3);
	}
	shutdown(p.fds[1], SHUT_WR);
	assert_int_equal(tls_recv(p.server, in, sizeof in), 0);
	close_bare_client(&c, &p);
}

/* A peer that sends nothing but empty records is heard for a part of them in each call, however
 * many there are, or ended. */
static void empty_records_are_bounded_in_each_call(void **state)
{
	struct pair p = {0};
	struct bare_client c;
	int all, before, after;
	char in[8];

	(void)state;
	make_certificate(NULL, 0);
	open_server(&p);
	open_bare_client(&c, &p);
	while (mbedtls_ssl_write(&c.ssl, NULL, 0) == 0)
		;
	assert_int_equal(ioctl(p.fds[0], FIONREAD, &all), 0);
	assert_in_range(all, 200 * 20, INT_MAX);   /* some hundred records */
	for (before = all; before > 0; before = after) {
		assert_int_equal(tls_recv(p.server, in, sizeof in), -1);
		if (errno == EPROTO)
			break;
		assert_int_equal(errno, EAGAIN);
		assert_int_equal(ioctl(p.fds[0], FIONREAD, &after), 0);
		assert_in_range(before - after, 1, all / 4);
	}
	close_bare_client(&c, &p);
}

/* Bytes in which whatever is lost or comes twice shows: they repeat nowhere soon. */
static void fill(unsigned char *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (unsigned char)((uint32_t)i * 2654435761U >> 24);
}

/* As many records as the socket takes go out in one call, and what it took a part of goes on. */
static void one_call_writes_many_records(void **state)
{
	enum { BYTES = 600000 };
	static unsigned char out[BYTES], in[BYTES];
	struct pair p = {0};
	struct bare_client c;
	size_t sent = 0, got = 0;
	unsigned calls = 0;

	(void)state;
	make_certificate(NULL, 0);
	open_server(&p);
	open_bare_client(&c, &p);
	fill(out, BYTES);
	while (got < BYTES) {
		ssize_t n = sent < BYTES ? tls_send(p.server, out + sent, BYTES - sent) : 0;

		if (n > 0) {
			sent += (size_t)n;
			calls++;
		} else if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			assert_true(tls_wants_write(p.server));
		}
		int m = mbedtls_ssl_read(&c.ssl, in + got, BYTES - got);
		if (m > 0)
			got += (size_t)m;
		else
			assert_int_equal(m, MBEDTLS_ERR_SSL_WANT_READ);
	}
	assert_int_equal(sent, BYTES);
	assert_memory_equal(in, out, BYTES);
	assert_in_range(calls, 1, BYTES / 16384 - 1);
	close_bare_client(&c, &p);
}

/* A caller whose turn allows it a number of bytes offers more when the next one comes: of a record
 * that the socket took a part of, no byte is lost or comes twice. */
static void more_may_be_offered_later(void **state)
{
	enum { BYTES = 4 << 20 };
	static unsigned char out[BYTES], in[BYTES];
	struct pair p = {0};
	struct bare_client c;
	size_t sent = 0, got = 0, offered = 0;
	unsigned partly = 0, seed = 1;

	(void)state;
	make_certificate(NULL, 0);
	open_server(&p);
	open_bare_client(&c, &p);
	fill(out, BYTES);
	for (int turns = 0; got < BYTES; turns++) {
		ssize_t n = 1;

		assert_in_range(turns, 0, 100000);   /* else some were lost */
		while (n > 0 && sent < BYTES) {
			seed = seed * 1103515245 + 12345;
			offered = seed >> 8 & 1 ? 1 + (seed >> 16) % 20000 : 100000;
			offered = offered < BYTES - sent ? offered : BYTES - sent;
			n = tls_send(p.server, out + sent, offered);
			sent += n > 0 ? (size_t)n : 0;
		}
		if (n < 0) {
			partly++;
			offered = BYTES - sent < 100000 ? BYTES - sent : 100000;
			n = tls_send(p.server, out + sent, offered);
			sent += n > 0 ? (size_t)n : 0;
		}
		for (int m = 1; m > 0 && got < BYTES; got += m > 0 ? (size_t)m : 0)
			m = mbedtls_ssl_read(&c.ssl, in + got, BYTES - got);
	}
	assert_int_equal(sent, BYTES);
	assert_memory_equal(in, out, BYTES);
	assert_in_range(partly, 10, UINT_MAX);
	close_bare_client(&c, &p);
}

/* A client of TLS 1.2 renegotiates while the socket is full: of the record that waits, no byte is
 * lost or comes twice. */
static void a_renegotiation_breaks_no_record(void **state)
{
#ifdef MBEDTLS_SSL_RENEGOTIATION
	enum { BYTES = 4 << 20 };
	static unsigned char out[BYTES], in[BYTES];
	struct pair p = {0};
	struct bare_client c;
	size_t sent = 0, got = 0;
	unsigned char byte;
	int m = 0;

	(void)state;
	make_certificate(NULL, 0);
	open_server(&p);
	open_bare_client(&c, &p);
	if (strcmp(mbedtls_ssl_get_version(&c.ssl), "TLSv1.2") != 0) {   /* later ones have none */
		close_bare_client(&c, &p);
		skip();
	}
	mbedtls_ssl_conf_renegotiation(&c.config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
	mbedtls_ssl_conf_renegotiation_enforced(&c.config, MBEDTLS_SSL_RENEGOTIATION_NOT_ENFORCED);
	assert_int_equal(mbedtls_ssl_write(&c.ssl, (const unsigned char *)"r", 1), 1);
	assert_int_equal(tls_recv(p.server, &byte, 1), 1);
	fill(out, BYTES);
	for (ssize_t n = 1; n > 0; sent += n > 0 ? (size_t)n : 0)
		n = tls_send(p.server, out + sent, BYTES - sent);
	assert_in_range(sent, 1, BYTES - 1);
	assert_int_not_equal(mbedtls_ssl_renegotiate(&c.ssl), 0);   /* its ClientHello is sent */
	for (; got < sent / 2; got += (size_t)m)
		assert_in_range(m = mbedtls_ssl_read(&c.ssl, in + got, BYTES - got), 1, BYTES);
	assert_int_equal(tls_recv(p.server, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	for (int turns = 0; got < BYTES; turns++) {
		assert_in_range(turns, 0, 100000);
		const ssize_t n = sent < BYTES ? tls_send(p.server, out + sent, BYTES - sent) : 0;
		sent += n > 0 ? (size_t)n : 0;
		m = mbedtls_ssl_read(&c.ssl, in + got, BYTES - got);
		got += m > 0 ? (size_t)m : 0;
	}
	assert_int_equal(sent, BYTES);
	assert_memory_equal(in, out, BYTES);
	close_bare_client(&c, &p);
#else
	(void)state;
	skip();
#endif
}

/* Whichever of the two is faster here. */
static void a_client_that_takes_any_gets_a_key_of_256_bits(void **state)
{
	struct pair p = {0};
	struct bare_client c;

	(void)state;
	make_certificate(NULL, 0);
	open_server(&p);
	open_bare_client(&c, &p);
	const char *suite = mbedtls_ssl_get_ciphersuite(&c.ssl);
	assert_true(strstr(suite, "AES-256-GCM") || strstr(suite, "CHACHA20"));
	close_bare_client(&c, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_call_writes_many_records),
		cmocka_unit_test(more_may_be_offered_later),
		cmocka_unit_test(a_renegotiation_breaks_no_record),
		cmocka_unit_test(a_client_that_takes_any_gets_a_key_of_256_bits),
		cmocka_unit_test(addresses_are_compared_byte_by_byte),
		cmocka_unit_test(a_damaged_list_of_names_holds_no_address),
		cmocka_unit_test(an_empty_record_is_not_the_end),
		cmocka_unit_test(empty_records_are_bounded_in_each_call),
	};

	return cmocka_run_group_tests(tests, make_key, remove_files);
}

#else

static void without_tls_there_is_none(void **state)
{
	char why[TLS_WHY_MAX];

	(void)state;
	assert_null(tls_client(NULL, true, NULL, NULL, why));
	assert_string_equal(why, "built without TLS");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(without_tls_there_is_none)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
