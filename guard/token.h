#ifndef TOKEN_H
#define TOKEN_H

#include "base/parts.h"

/* Who shows the token of --token-file; everybody, if there is none. Whoever does not is
 * answered with 401, later each time. */
extern const struct guard token_guard;

#endif
