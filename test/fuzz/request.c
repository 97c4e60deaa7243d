/* A request head, what is decided on it and what is answered. The first byte chooses
 * whether there is a proxy, whether a token is needed and whether there is TLS. */

#include "fuzz.h"
#include "base/http.h"
#include "client/handshake.h"
#include "endpoint/endpoint.h"
#include "endpoint/files.h"
#include "guard/auth.h"
#include "base/log.h"

static void check_within(struct ws_text text, const char *head, size_t len)
{
	CHECK(!text.at || (text.at >= head && text.at + text.len <= head + len));
}

/* Every element stands within the head, too. */
static void check_list(struct ws_list list, const char *head, size_t len)
{
	struct ws_text one;

	while (ws_next_token(&list, &one))
		check_within(one, head, len);
}

static void check_answer(const struct http_answer *a)
{
	char out[WS_HEAD_MAX];
	size_t len = http_head(out, a, 0);

	CHECK(len <= sizeof out);
	if (a->option) /* what is advised is accepted */
		CHECK(http_is_name(a->value) || http_is_origin(a->value));
	if (a->value.at)
		CHECK(strlen(log_escape(a->value.at, a->value.len)) < LOG_ESCAPED_MAX);
	if (a->status != 101)   /* a client reads the same status, whatever the request was */
		CHECK(handshake_response(out, len, "AAAAAAAAAAAAAAAAAAAAAA==") == -a->status);
}

static bool admits(const struct ws_request *r)
{
	static const struct auth auth = {.token = "0123456789abcdef", .len = 16};

	return auth_shown(&auth, r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct option_list hosts = {{"node.example"}, 1}, origins = {{"http://page.example"}, 1};
	static const struct endpoint pull = {.path = "/", .upgrade = true, .about = "snapshots"};
	static const struct endpoint metrics = {.path = "/metrics"};
	static const struct endpoint *const endpoints[] = {&pull, &metrics, NULL};
	struct input in = {data, size};
	uint8_t choice = take_byte(&in);
	struct http_policy policy = {&hosts, &origins, choice & 1 ? "https://proxy.example/x" : NULL,
	                             choice & 2 ? admits : NULL, files_answer, choice & 4, endpoints};
	char *head = copy_of(in.at, in.left);
	struct ws_request r, shorter;
	struct http_answer a;

	int n = ws_request(&r, head, in.left);
	CHECK(n <= (int)in.left);
	check_within(r.method, head, in.left);
	check_within(r.path, head, in.left);
	check_within(r.host, head, in.left);
	check_within(r.origin, head, in.left);
	if (n > 0) {
		for (int i = 0; i < n; i += 1 + n / 16)
			CHECK(ws_request(&shorter, head, (size_t)i) == 0);
		check_list(r.protocols, head, in.left);
		check_list(r.accept, head, in.left);
		check_list(r.accept_encoding, head, in.left);
	}
	if (n != 0) {
		http_decide(&a, &r, n, &policy);
		check_answer(&a);
	}
	handshake_response(head, in.left, "AAAAAAAAAAAAAAAAAAAAAA==");
	check_within(handshake_field(head, in.left, "Location"), head, in.left);
	free(head);
	return 0;
}
