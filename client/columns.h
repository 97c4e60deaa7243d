#ifndef COLUMNS_H
#define COLUMNS_H

/* What the tables show of connections and streams. Rows of the tables are
 * Introspection__Connection and Introspection__Stream. */

#include <stdbool.h>

#include "introspection.pb-c.h"
#include "table.h"

void columns_of_connections(struct table *t);
void columns_of_streams(struct table *t);

/* Single values, also of use elsewhere. out may be used for the result or not. */
const char *column_status(Introspection__Status status);
const char *column_transport(char out[TABLE_CELL_MAX], const void *connection);
const char *column_tags(char out[TABLE_CELL_MAX], const void *connection);
uint64_t column_streams(const void *connection, const struct table_context *unused);

/* One direction of a traffic, which may be NULL; all zero when it is not known. */
const Introspection__DataGauge *column_gauge(const Introspection__Traffic *traffic, bool out);

#endif
