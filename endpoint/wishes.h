#ifndef WISHES_H
#define WISHES_H

#include "base/parts.h"
#include "endpoint/difference.h"

/* Gives clients of the pull protocol the form of a snapshot that their binary ready asks for (the message
 * Ready of the schema): the difference to the snapshot that they hold, or the totals. */
extern const struct forms wishes_forms;

/* Takes in the part of a message that ws has decoded (its event is WS_DATA or WS_MESSAGE) and keeps it in
 * *begun. Returns the wishes, once a binary message is complete; else none. */
struct wish wishes_read(struct ready_bytes *begun, const struct ws_decoder *ws);

#endif
