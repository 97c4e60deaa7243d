#ifndef VIEW_H
#define VIEW_H

/* The live view: what a State looks like on a screen, and what keys do to it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "average.h"
#include "introspection.pb-c.h"
#include "link.h"
#include "screen.h"
#include "table.h"

enum {
	VIEW_FILTER_MAX = 128,
	VIEW_HISTORY = 60,      /* snapshots whose rates are remembered */
	VIEW_STALE_MS = 3000,   /* after the last snapshot its age is shown */
};

/* How the data came; ms are those of the monotonic clock. */
struct view_status {
	const struct link *link;
	int64_t now;
	int64_t received;    /* when the last snapshot came */
	int64_t asked;       /* when the daemon was asked for the next; INT64_MAX: it was not */
	size_t bytes;        /* of its message */
	uint64_t skipped;    /* snapshots that the daemon took and did not send */
};

/* Sums over all connections; [0]: in, [1]: out. */
struct view_totals {
	uint64_t rate[2];     /* bytes per second */
	uint64_t bytes[2];
	size_t status[5];     /* connections, by enum Introspection__Status */
	size_t inbound, unknown, limited; /* unknown: who dialled */
	uint64_t streams;
};

enum grouping { BY_NOTHING = 0, BY_PEER, BY_PROCESS };

struct view {
	const Introspection__State *state;   /* NULL: none has come; owned by the caller */
	struct table connections;
	struct table streams;                /* of the selected connection */
	struct table groups;                 /* sums of the connections in their table */
	enum grouping grouping;
	struct averages averages, stream_averages;   /* the latter of the selected connection */
	struct view_totals totals;
	uint64_t history[2][VIEW_HISTORY];   /* rates, as in totals; the last one is the newest */
	char filter[VIEW_FILTER_MAX];        /* connections without this text are hidden; "": none */
	enum grouping opened_by;             /* connections of other groups are hidden; BY_NOTHING: none */
	char opened_group[CELL_MAX];         /* cell GROUP of the group whose connections are shown */
	bool filtering;                      /* keys go to the filter */
	bool help;                           /* keys scroll the help, or close it */
	bool choosing;                       /* keys scroll the list of columns, or choose them */
	size_t help_top, help_lines, help_page;   /* of either: first line shown, lines, lines shown */
	bool opened;                         /* keys go to the streams */
	bool paused;
};

void view_init(struct view *v);

/* Shows another state. The one before must still be there during the call. */
void view_update(struct view *v, const Introspection__State *state);

/* The connection whose streams are shown; NULL: there is none. */
const struct row *view_selected(const struct view *v);

/* The table that the keys go to. */
struct table *view_table(struct view *v);

/* Takes a key. False: to quit. */
bool view_key(struct view *v, int key);

/* Draws everything (draw.c). -1 with errno when the terminal is gone. */
int view_draw(struct view *v, struct screen *s, const struct view_status *status);

/* True when the picture changes as time passes, without a key or a snapshot. */
bool view_ticks(const struct view *v, const struct view_status *status);

void view_free(struct view *v);

#endif
