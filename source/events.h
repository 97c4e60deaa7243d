#ifndef EVENTS_H
#define EVENTS_H

/* Events that a source without a node makes itself, when a connection is new or has gone since
 * its last snapshot. */

#include "source.h"

struct kernel_events {
	/* What they look like, for Runtime.event_types. */
	Introspection__EventType **types;
	size_t type_count;

	/* Passes an Event on to source->event: ConnectionOpened, or ConnectionClosed when the
	 * status of the connection is CLOSED. ts: ms since the epoch; now: ms of the loop's clock. */
	void (*connection)(const struct source *source, const Introspection__Connection *c,
	                   uint64_t ts, int64_t now);
};

/* NULL: the daemon was linked without (base/parts.h). */
extern const struct kernel_events *const kernel_events;

#endif
