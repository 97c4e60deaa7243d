/* lws BYTES: the pull protocol with libwebsockets, a new frame each 10 ms. */

#include <libwebsockets.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { INTERVAL_US = 10000 };

struct client {
	bool ready;
	uint64_t sent;
};

static uint8_t *frame;
static size_t frame_len;
static uint64_t latest = 1;
static bool taking;
static lws_usec_t next_take;
static lws_sorted_usec_list_t timer;
static struct lws_context *context;
static const struct lws_protocols *protocol;

static void take(lws_sorted_usec_list_t *t)
{
	(void)t;
	taking = false;
	latest++;
	next_take = lws_now_usecs() + INTERVAL_US;
	lws_callback_on_writable_all_protocol(context, protocol);
}

static void ready(struct lws *wsi, struct client *c)
{
	c->ready = true;
	if (latest > c->sent) {
		lws_callback_on_writable(wsi);
	} else if (!taking) {
		lws_usec_t left = next_take - lws_now_usecs();

		taking = true;
		lws_sul_schedule(context, 0, &timer, take, left > 0 ? left : 1);
	}
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
	struct client *c = user;

	(void)in;
	(void)len;
	if (reason == LWS_CALLBACK_ESTABLISHED) {
		*c = (struct client){0};
		ready(wsi, c);
	} else if (reason == LWS_CALLBACK_RECEIVE) {
		ready(wsi, c);
	} else if (reason == LWS_CALLBACK_SERVER_WRITEABLE && c->ready && latest > c->sent) {
		c->ready = false;
		c->sent = latest;
		return lws_write(wsi, frame + LWS_PRE, frame_len, LWS_WRITE_BINARY) < 0 ? -1 : 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct lws_protocols protocols[] = {
		{.name = "", .callback = on_event, .per_session_data_size = sizeof(struct client)},
		{0},
	};
	struct lws_context_creation_info info = {
		.iface = "127.0.0.1", .protocols = protocols, .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS};

	frame_len = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	frame = calloc(1, LWS_PRE + frame_len);
	protocol = protocols;
	lws_set_log_level(LLL_ERR, NULL);
	context = lws_create_context(&info);
	struct lws_vhost *host = context ? lws_create_vhost(context, &info) : NULL;
	if (frame_len == 0 || !frame || !host)
		return 1;
	protocol = lws_vhost_name_to_protocol(host, "");
	printf("listening url=http://127.0.0.1:%d/\n", lws_get_vhost_listen_port(host));
	fflush(stdout);
	while (lws_service(context, 0) >= 0)
		;
	return 1;
}
