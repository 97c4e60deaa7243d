#ifndef EVENTS_CLIENT_H
#define EVENTS_CLIENT_H

/* The client side of the command protocol, as far as events need it. */

#include "decode.h"
#include "link.h"

/* Sends HELLO with id 1 and PUSH_ENABLE for events with id 2; to be called when the connection has
 * opened. */
void events_ask(struct link *l);

/* Checks a frame of the protocol, in which version, checksum and length stand before the message,
 * and decodes the message. Returns what decode returns: the message, to be freed with decode_free, or
 * NULL and why. */
Introspection__ServerMessage *events_decode(const uint8_t *frame, size_t len,
					    char why[DECODE_WHY_MAX]);

#endif
