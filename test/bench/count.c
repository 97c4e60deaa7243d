/* Does one thing as often as it is told, for callgrind to count:
 * count handshake|frame|take|difference|totals|past N */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/difference.h"
#include "endpoint/past.h"
#include "snapshot.h"
#include "ws.h"

/* As a browser asks. */
static void handshake(void)
{
	static const char head[] =
		"GET / HTTP/1.1\r\n"
		"Host: 127.0.0.1:4801\r\n"
		"Connection: Upgrade\r\n"
		"Pragma: no-cache\r\n"
		"Cache-Control: no-cache\r\n"
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
		"Chrome/140.0.0.0 Safari/537.36\r\n"
		"Upgrade: websocket\r\n"
		"Origin: http://127.0.0.1:4801\r\n"
		"Sec-WebSocket-Version: 13\r\n"
		"Accept-Encoding: gzip, deflate, br, zstd\r\n"
		"Accept-Language: en-US,en;q=0.9\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
		"\r\n";
	struct ws_request r;
	char accept[WS_ACCEPT_LEN + 1];

	if (ws_request(&r, head, sizeof head - 1) != sizeof head - 1 || !r.upgrade)
		abort();
	ws_accept(accept, r.key);
	if (strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != 0)
		abort();
}

/* A client is ready: a masked text frame "r". */
static void frame(void)
{
	static const uint8_t ready[] = {0x81, 0x81, 1, 2, 3, 4, 'r' ^ 1};
	static struct ws_decoder d = {.max_message = 4096};
	uint8_t in[sizeof ready];

	memcpy(in, ready, sizeof in);
	if (ws_decode(&d, in, sizeof in) != sizeof in || d.event != WS_MESSAGE || *d.data != 'r')
		abort();
}

/* A node of 1,000 connections, of which 20 change from one snapshot to the next. */
enum { CONNECTIONS = 1000, CHANGES = 20, MAX = 1 << 20 };

static struct snapshot_store store;
static struct difference *forms;
static struct past past;

static void take(void)
{
	static Introspection__Connection all[CONNECTIONS], *list[CONNECTIONS];
	static Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	static Introspection__State state = INTROSPECTION__STATE__INIT;
	static Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
	static char ids[CONNECTIONS][16];
	const struct snapshot_input input = {.state = &state};

	for (int i = 0; i < CONNECTIONS && !state.subsystems; i++) {
		introspection__connection__init(list[i] = &all[i]);
		all[i].id.data = (uint8_t *)ids[i];
		all[i].id.len = (size_t)snprintf(ids[i], sizeof ids[i], "connection-%04d", i);
		all[i].peer_id = (char *)"12D3KooWAYNoYCVRyAvvkWpJXNWFFa8Y5yXsxjYwLSBQGTZZFAKE";
		all[i].agent_version = (char *)"kubo/0.30.0/desktop";
	}
	subsystems.connections = list;
	subsystems.n_connections = CONNECTIONS;
	state.subsystems = &subsystems;
	for (size_t i = 0; i < CHANGES; i++)
		all[(store.sequence * CHANGES + i) % CONNECTIONS].latency_ns++;
	if (snapshot_take(&store, &input, &runtime, 0) > MAX)
		abort();
}

/* Taken, and given to a client as a difference to the one before. */
static void take_difference(void)
{
	take();
	difference_note(forms, store.latest);
	if (store.sequence > 2 && !difference_form(forms, store.latest, store.sequence - 1))
		abort();
	difference_wanted(forms, store.latest, store.sequence);
}

static void take_totals(void)
{
	take();
	if (!difference_form(forms, store.latest, 0))
		abort();
}

/* ... and remembered. */
static void remember(void)
{
	take_totals();
	past_state(&past, (int64_t)store.sequence * 10000, difference_form(forms, store.latest, 0),
	           store.latest);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*call)(void);
	} all[] = {
		{"handshake", handshake}, {"frame", frame},        {"take", take},
		{"difference", take_difference}, {"totals", take_totals}, {"past", remember},
	};

	if (argc != 3 || snapshot_open(&store, MAX) != 0 || !(forms = difference_open(MAX)) ||
	    past_open(&past, MAX, PAST_DAY_MS) != 0)
		return 2;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		for (int n = strcmp(argv[1], all[i].name) == 0 ? atoi(argv[2]) : 0; n > 0; n--)
			all[i].call();
	past_close(&past);
	difference_close(forms);
	snapshot_close(&store);
	return 0;
}
