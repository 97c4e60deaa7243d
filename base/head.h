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

/* Cuts what stands before the first mark off the beginning of *rest, and the mark with it; all of
 * *rest if there is no mark. Returns what stood before it. */
struct ws_text head_cut(struct ws_text *rest, char mark);

/* Cuts the first line off a head, or the rest of one, that head_length accepted: every line of it ends
 * with CR LF. */
struct ws_text head_cut_line(struct ws_text *rest);

/* Cuts the next field line (section 5) off *rest. 1: *name and *value are filled; 0: the blank line at
 * the end of the head came; -1: the line is malformed. */
int head_cut_field(struct ws_text *rest, struct ws_text *name, struct ws_text *value);

/* Reads the request line (section 3) into r: method, path, query and, from a target in absolute form,
 * host. NULL, or in words what is wrong. */
const char *head_request_line(struct ws_request *r, struct ws_text line);

#endif
