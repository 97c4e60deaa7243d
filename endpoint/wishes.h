#ifndef WISHES_H
#define WISHES_H

#include "base/parts.h"

/* What clients of the pull protocol wish for in a binary ready (section 2 of its schema: Ready): the
 * difference to the snapshot that they hold, or the totals. */
extern const struct forms wishes_forms;

#endif
