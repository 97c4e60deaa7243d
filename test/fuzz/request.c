/* A request head, what is decided on it and what is answered. The first byte chooses
 * whether the client is on loopback and whether a token is needed. */

#include "fuzz.h"
#include "base/http.h"
#include "base/log.h"

static void check_within(struct ws_text text, const char *head, size_t len)
{
	CHECK(!text.at || (text.at >= head && text.at + text.len <= head + len));
}

static void check_answer(const struct http_answer *a, struct ws_text host)
{
	char out[WS_HEAD_MAX], escaped[LOG_ESCAPED_MAX];
	size_t len = http_head(out, a, host);

	CHECK(len <= sizeof out);
	if (a->option)
		CHECK(strlen(log_escape(escaped, a->value.at, a->value.len)) < sizeof escaped);
	if (a->status != 101)   /* a client reads the same status, whatever the request was */
		CHECK(ws_response(out, len, "AAAAAAAAAAAAAAAAAAAAAA==") == -a->status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const hosts[] = {"node.example"}, *const origins[] = {"http://page.example"};
	static const struct auth auth = {.token = "0123456789abcdef", .len = 16};
	struct input in = {data, size};
	uint8_t choice = take_byte(&in);
	struct http_policy policy = {hosts, 1, origins, 1, choice & 2 ? &auth : NULL, choice & 4};
	char *head = copy_of(in.at, in.left);
	struct ws_request r, shorter;
	struct http_answer a;

	int n = ws_request(&r, head, in.left);
	CHECK(n <= (int)in.left);
	if (n > 0) {
		for (int i = 0; i < n; i += 1 + n / 16)
			CHECK(ws_request(&shorter, head, (size_t)i) == 0);
		check_within(r.method, head, in.left);
		check_within(r.path, head, in.left);
		check_within(r.host, head, in.left);
		check_within(r.origin, head, in.left);
		http_decide(&a, &r, &policy, choice & 1);
		check_answer(&a, r.host);
	} else if (n < 0) {
		http_refuse(&a, n == -431 ? HTTP_HEAD_TOO_LONG : HTTP_MALFORMED);
		check_answer(&a, r.host);
	}
	ws_response(head, in.left, "AAAAAAAAAAAAAAAAAAAAAA==");
	free(head);
	return 0;
}
