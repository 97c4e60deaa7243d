#ifndef REMEMBER_H
#define REMEMBER_H

#include "endpoint/endpoint.h"

/* With --remember the daemon takes a snapshot from time to time even if no client asks, and keeps a small form
 * of it, and Events (endpoint/past.h). GET /past answers with all of that as a recording, GET
 * /past?since=MS with what is not older than MS, in ms since the epoch. */
extern const struct endpoint remember_endpoint;

#endif
