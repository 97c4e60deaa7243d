#ifndef HEAD_H
#define HEAD_H

/* The grammar of request and response heads (RFC 9112). Every text points into the head. */

#include <stddef.h>

#include "ws.h"

/* Length of the head, its blank line included; 0: it is not complete; -1: it has a byte that no
 * head may hold (sections 2.2 and 5.5), seen as soon as that comes. */
int head_length(const char *head, size_t len);

/* The text without white space at both ends. */
struct ws_text head_trim(struct ws_text text);

/* Cuts off what stands before the first mark, and the mark. */
struct ws_text head_cut(struct ws_text *rest, char mark);

/* Cuts a line off a head that head_length took. */
struct ws_text head_cut_line(struct ws_text *rest);

/* Cuts off the next field line (section 5). 1; 0: there are no more; -1: it is malformed. */
int head_cut_field(struct ws_text *rest, struct ws_text *name, struct ws_text *value);

/* Reads the request line (section 3): method, path, query and, from a target in absolute form,
 * host. NULL, or what is wrong. */
const char *head_request_line(struct ws_request *r, struct ws_text line);

#endif
