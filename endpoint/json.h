#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

enum { JSON_DEPTH_MAX = 64 };   /* arrays and objects within one another */

/* Is the text, which must be UTF-8, one JSON value (RFC 8259), nested at most JSON_DEPTH_MAX
 * deep? */
bool json_is_valid(const char *text, size_t len);

#endif
