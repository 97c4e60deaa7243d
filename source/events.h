#ifndef EVENTS_H
#define EVENTS_H

/* Events that a source makes itself, of the differences between two snapshots. */

#include "source.h"

enum { EVENTS_TYPES = 2 };

/* What they look like, for Runtime.event_types: EVENTS_TYPES of them. */
extern Introspection__EventType *events_types[EVENTS_TYPES];

/* Passes on ConnectionOpened, or ConnectionClosed when the status of the
 * connection is CLOSED. ts: ms since the epoch; now: the loop's clock. */
void events_connection(const struct source *s, const Introspection__Connection *c, uint64_t ts,
                       int64_t now);

#endif
