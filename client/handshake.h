#ifndef HANDSHAKE_H
#define HANDSHAKE_H

/* The client's side of the opening handshake of WebSocket (RFC 6455). Bytes in, bytes out. */

#include <stddef.h>
#include <stdint.h>

#include "ws.h"

/* Writes Sec-WebSocket-Key (section 4.1) for a nonce that the caller drew at random. */
void handshake_key(char out[WS_KEY_LEN + 1], const uint8_t nonce[16]);

/* Checks a response head against the key that was sent (section 4.1). Returns > 0: bytes of the
 * head, the connection is open; 0: the head is incomplete; < 0: refused, either the server's HTTP
 * status negated, or -WS_PROTOCOL_ERROR when the answer is not one of an RFC 6455 server. */
int handshake_response(const char *head, size_t len, const char key[WS_KEY_LEN + 1]);

/* The status of a whole response head of HTTP/1.x (RFC 9112 section 4); 0: it is none. */
int handshake_status(const char *head, size_t len);

/* The value of the first field of that name in a whole head, which handshake_response may have
 * refused. Its at is NULL: there is none. */
struct ws_text handshake_field(const char *head, size_t len, const char *name);

#endif
