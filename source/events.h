#ifndef EVENTS_H
#define EVENTS_H

/* Events of the kernel source, which has no node to send it any: it makes one when a connection is new,
 * and one when a connection has gone, since the previous snapshot. */

#include "source.h"

struct kernel_events {
	/* The types of these Events, static, for Runtime.event_types. */
	Introspection__EventType **types;
	size_t type_count;

	/* Makes an Event and passes it to source->event, if that is not NULL: ConnectionClosed if the
	 * connection's status is CLOSED, else ConnectionOpened. ts: when it happened, ms since the
	 * epoch; now: ms of the loop's monotonic clock. */
	void (*connection)(const struct source *source, const Introspection__Connection *c,
	                   uint64_t ts, int64_t now);
};

/* NULL: the daemon was linked without Events of the kernel source (base/parts.h). */
extern const struct kernel_events *const kernel_events;

#endif
