/* Does one thing as often as it is told, for callgrind to count: count handshake|frame N */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	for (int n = atoi(argv[2]); n > 0; n--)
		strcmp(argv[1], "frame") == 0 ? frame() : handshake();
	return 0;
}
