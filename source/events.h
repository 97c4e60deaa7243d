#ifndef EVENTS_H
#define EVENTS_H

/* Events that a source without a node makes itself, when a connection is new or has gone since
 * its last snapshot. */

#include "source.h"

enum { EVENTS_TYPES = 2 };

/* Their types, for Runtime.event_types. */
extern Introspection__EventType *events_types[EVENTS_TYPES];

/* Calls s->event with ConnectionClosed if the connection's status is CLOSED, else with
 * ConnectionOpened. ts: ms since the epoch. now: ms, monotonic. */
void events_connection(const struct source *s, const Introspection__Connection *c, uint64_t ts,
                       int64_t now);

#endif
