#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard/auth.h"

#define TOKEN "0123456789abcdef"

/* A copy of its own size, so that a sanitizer sees reads beyond it. */
static char *text(struct ws_text *out, const char *s)
{
	size_t len = strlen(s);
	char *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, s, len);
	*out = (struct ws_text){copy, len};
	return copy;
}

/* NULL: the field is missing. */
static bool shown(const char *authorization, const char *protocols)
{
	static const struct auth a = {.token = TOKEN, .len = sizeof TOKEN - 1};
	struct ws_request r = {0};
	char *header = authorization ? text(&r.authorization, authorization) : NULL;
	char *offers = protocols ? text(&r.protocols.line, protocols) : NULL;
	bool result = auth_shown(&a, &r);

	free(header);
	free(offers);
	return result;
}

static void as_a_bearer_token(void **state)
{
	(void)state;
	assert_true(shown("Bearer " TOKEN, NULL));
	assert_true(shown("bEARER " TOKEN, NULL));
	assert_true(shown("Bearer   " TOKEN, NULL));   /* RFC 9110 section 11.4: 1*SP */
	static const char *const wrong[] = {
		"", "Bearer", "Bearer ", "Bearer 0", "Bearer 0123456789abcde", "Bearer 1123456789abcdef",
		"Bearer 0123456789abcdeg", "Bearer " TOKEN "0", "Bearer " TOKEN TOKEN, TOKEN,
		"Basic " TOKEN, "Bearer" TOKEN, "Bearer 0123456789ABCDEF",
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (shown(wrong[i], NULL))
			fail_msg("%s", wrong[i]);
	assert_false(shown(NULL, NULL));
}

/* A token of one character again and again: what repeats its beginning is no match. */
static void of_one_character(void **state)
{
	(void)state;
	const struct auth a = {.token = "aaaaaaaaaaaaaaaa", .len = 16};
	char header[] = "Bearer aaaaaaaaaaaaaaaaa";

	for (size_t len = 0; len <= 17; len++) {
		struct ws_request r = {.authorization = {header, 7 + len}};

		assert_int_equal(auth_shown(&a, &r), len == 16);
	}
}

static void as_a_subprotocol(void **state)
{
	(void)state;
	assert_true(shown(NULL, "introspect.token." TOKEN));
	assert_true(shown(NULL, "introspect, introspect.token." TOKEN));
	assert_true(shown("Basic wrong", "a, introspect.token ,introspect.token." TOKEN ", b"));
	static const char *const wrong[] = {
		"", ",,", TOKEN, "introspect", "introspect.token.", "introspect.token",
		"introspect.token.0123456789abcde", "introspect.token." TOKEN "0",
		"introspect.token.wrong,introspect.token." TOKEN, "introspect.token." TOKEN ",introspect.token.wrong",
		"introspect.token." TOKEN ",introspect.token." TOKEN, "introspect.token. " TOKEN, "Introspect.Token." TOKEN, "introspect.token.0123,456789abcdef",
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (shown(NULL, wrong[i]))
			fail_msg("%s", wrong[i]);
	assert_false(shown("Bearer wrong", "introspect.token." TOKEN));   /* one offer a request */
	assert_false(shown("Bearer " TOKEN, "introspect.token." TOKEN));
}

static void none_is_needed(void **state)
{
	(void)state;
	static const struct auth a;
	const struct ws_request r = {0};

	assert_true(auth_shown(&a, &r));
}

/* Reads a file of these bytes. The name has no use after. */
static int read_bytes(struct auth *a, const void *bytes, size_t len)
{
	char name[] = "/tmp/auth_test.XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	int result = auth_read(a, name) ? -1 : 0;
	unlink(name);
	return result;
}

static void from_a_file(void **state)
{
	(void)state;
	struct auth a = {0};
	char line[300];

	for (size_t len = 0; len < sizeof line; len++) {
		bool right = len >= AUTH_TOKEN_MIN && len <= AUTH_TOKEN_MAX;

		memset(line, 'x', sizeof line);
		assert_int_equal(read_bytes(&a, line, len), right ? 0 : -1);
		line[len < sizeof line - 1 ? len : 0] = '\n';
		if (len < sizeof line - 1)
			assert_int_equal(read_bytes(&a, line, len + 1), right ? 0 : -1);
		assert_true(!right || (a.len == len && strlen(a.token) == len));
	}
	assert_int_equal(a.len, AUTH_TOKEN_MAX); /* the last right one stays */
	assert_int_equal(read_bytes(&a, TOKEN "\r\nmore", sizeof TOKEN + 5), 0);
	assert_string_equal(a.token, TOKEN);
	assert_int_equal(a.len, sizeof TOKEN - 1);
	assert_int_equal(read_bytes(&a, "AZaz09._~-" TOKEN, 26), 0);
	for (int c = 1; c < 256; c++) {
		char bytes[] = TOKEN "0123456789abcdef";
		bool allowed = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		                               "._~-\r\n", c);

		bytes[20] = (char)c;
		assert_int_equal(read_bytes(&a, bytes, sizeof bytes - 1), allowed ? 0 : -1);
	}
	assert_string_equal(auth_read(&a, "/"), "Is a directory");
	assert_string_equal(auth_read(&a, "/nonexistent"), "No such file or directory");
}

static int64_t delay(struct auth *a, const char *address, int64_t now)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = (in_port_t)rand()};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = (in_port_t)rand()};

	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		return auth_delay(a, (const struct sockaddr *)&v4, now);
	assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
	return auth_delay(a, (const struct sockaddr *)&v6, now);
}

static void delays_grow_to_5_s(void **state)
{
	(void)state;
	static const int64_t expected[] = {250, 500, 1000, 2000, 4000, 5000, 5000, 5000};
	struct auth a = {0};

	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		assert_int_equal(delay(&a, "192.0.2.1", 1000), expected[i]);
	for (int i = 0; i < 100; i++)
		assert_int_equal(delay(&a, "192.0.2.1", 1000), AUTH_DELAY_MAX);
	assert_int_equal(delay(&a, "192.0.2.2", 1000), 250);
}

static void forgotten_after_a_minute(void **state)
{
	(void)state;
	struct auth a = {0};

	assert_int_equal(delay(&a, "192.0.2.1", 1000), 250);
	assert_int_equal(delay(&a, "192.0.2.1", 61000), 500);
	assert_int_equal(delay(&a, "192.0.2.1", 121000), 1000); /* counted from the last */
	assert_int_equal(delay(&a, "192.0.2.1", 181001), 250);
	assert_int_equal(delay(&a, "192.0.2.1", 181002), 500);
}

static void one_owner_of_a_network(void **state)
{
	(void)state;
	struct auth a = {0};

	assert_int_equal(delay(&a, "2001:db8:1:2::1", 1), 250);
	assert_int_equal(delay(&a, "2001:db8:1:2:ffff::2", 1), 500);
	assert_int_equal(delay(&a, "2001:db8:1:3::1", 1), 250);
	assert_int_equal(delay(&a, "192.0.2.1", 1), 250);
	assert_int_equal(delay(&a, "::ffff:192.0.2.1", 1), 500); /* the same, mapped */
	assert_int_equal(delay(&a, "::ffff:192.0.2.2", 1), 250);
	assert_int_equal(delay(&a, "::1", 1), 250);
	const struct sockaddr_un un = {.sun_family = AF_UNIX};
	assert_true(auth_delay(&a, (const struct sockaddr *)&un, 1) >= 250);
}

/* When more fail than there is room for, the one that has been quiet for longest
 * is forgotten. */
static void more_than_there_is_room_for(void **state)
{
	(void)state;
	struct auth a = {0};
	char address[32];

	for (int i = 0; i <= AUTH_OWNERS; i++) {
		snprintf(address, sizeof address, "192.0.2.%d", i);
		assert_int_equal(delay(&a, address, 1000 + i), 250);
	}
	for (int i = 1; i <= AUTH_OWNERS; i++) {
		snprintf(address, sizeof address, "192.0.2.%d", i);
		assert_int_equal(delay(&a, address, 2000 + i), 500);
	}
	assert_int_equal(delay(&a, "192.0.2.0", 3000), 250);
	assert_int_equal(delay(&a, "192.0.2.1", 3001), 250);
	assert_int_equal(delay(&a, "192.0.2.3", 3002), 1000);
}

static int64_t book(struct auth *a, int address, int64_t now)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000200U + (unsigned)address)};

	return auth_book(a, (const struct sockaddr *)&v4, now);
}

/* The burst at once, then one each period in the order in which they came, then no more. */
static void booked_one_behind_the_other(void **state)
{
	(void)state;
	struct auth a = {0};
	int64_t wait, before = 0;

	for (int i = 0; i < AUTH_BURST; i++)
		assert_int_equal(book(&a, 1, 1000), 0);
	while ((wait = book(&a, 1, 1000)) >= 0) {
		assert_int_equal(wait, before + AUTH_PERIOD_MS);
		before = wait;
	}
	assert_int_equal(before, AUTH_WAIT_MAX);
	assert_int_equal(book(&a, 2, 1000), 0); /* others do not wait */
	assert_int_equal(book(&a, 1, 1999), -1);
	assert_int_equal(book(&a, 1, 2000), AUTH_WAIT_MAX);
	assert_int_equal(book(&a, 1, 1000 + 3600000), 0);
}

/* However many addresses somebody has: who showed the right token before does not wait. */
static void booked_of_all(void **state)
{
	(void)state;
	const struct sockaddr_in known = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc6336401U)};
	struct auth a = {0};
	int compared = 0;

	for (int i = 0; i < 1000; i++) {   /* many right ones at once are not many */
		assert_int_equal(auth_book(&a, (const struct sockaddr *)&known, 1000), 0);
		auth_right(&a, (const struct sockaddr *)&known, 1000);
	}
	for (int64_t now = 1000; now < 61000; now++)
		compared += book(&a, (int)(now * 7919 % 60000), now) >= 0;
	assert_in_range(compared, 60000 / AUTH_PERIOD_ALL_MS,
	                AUTH_BURST_ALL + (60000 + AUTH_WAIT_MAX) / AUTH_PERIOD_ALL_MS);
	assert_int_equal(auth_book(&a, (const struct sockaddr *)&known, 61000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_a_bearer_token),
		cmocka_unit_test(of_one_character),
		cmocka_unit_test(as_a_subprotocol),
		cmocka_unit_test(none_is_needed),
		cmocka_unit_test(from_a_file),
		cmocka_unit_test(delays_grow_to_5_s),
		cmocka_unit_test(forgotten_after_a_minute),
		cmocka_unit_test(one_owner_of_a_network),
		cmocka_unit_test(more_than_there_is_room_for),
		cmocka_unit_test(booked_one_behind_the_other),
		cmocka_unit_test(booked_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
