#ifndef SCRAPE_H
#define SCRAPE_H

#include "endpoint/endpoint.h"

/* GET /metrics: waits for a fresh snapshot as a client would, but no longer than STALE_MS,
 * and answers with its totals. */
extern const struct endpoint scrape_endpoint;

#endif
