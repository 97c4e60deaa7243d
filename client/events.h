#ifndef EVENTS_CLIENT_H
#define EVENTS_CLIENT_H

/* The client side of the command protocol, as far as events need it. */

#include "decode.h"
#include "link.h"

/* Says HELLO and asks for events; to be called when the connection opened. */
void events_ask(struct link *l);

/* Checks a frame of the protocol (version, checksum and length stand before the
 * message) and decodes it, as decode does. */
Introspection__ServerMessage *events_decode(const uint8_t *frame, size_t len,
					    char why[DECODE_WHY_MAX]);

#endif
