#ifndef WISHES_H
#define WISHES_H

#include "base/parts.h"

/* Gives clients of the pull protocol the form of a snapshot that their binary ready asks for (the message
 * Ready of the schema): the difference to the snapshot that they hold, or the totals. */
extern const struct forms wishes_forms;

#endif
