#ifndef DEFLATE_H
#define DEFLATE_H

/* permessage-deflate (RFC 7692) for pull clients, in a build with DEFLATE=1: each form of a snapshot
 * is compressed once for all clients that are due it, without context takeover on either side, so
 * that nothing is kept for a client. No I/O, no allocation after the start. */

#include "base/parts.h"

enum {
	DEFLATE_FORMS = 8,           /* buffers, and so compressed forms that are there at a time */
	DEFLATE_MAX = 256 << 10,     /* bytes of a form; a longer one goes out as it is */
};

/* The field line that accepts the extension, if the opening handshake offers it with parameters that
 * all clients can have alike (section 5.1); else NULL. */
const char *deflate_accept(const struct ws_request *r);

/* The forms of endpoint/wishes.h, compressed for clients that agreed on the extension, unless the result
 * would not be smaller. Of a client's compressed messages only one as short as a Ready can be is
 * decompressed; any longer one is a plain ready, whatever it holds. */
extern const struct forms deflate_forms;

#endif
