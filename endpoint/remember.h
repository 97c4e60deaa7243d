#ifndef REMEMBER_H
#define REMEMBER_H

#include "endpoint/endpoint.h"

/* With --remember: the daemon itself is ready for a snapshot at times, and keeps the small form of
 * it, and events. GET /past answers with all of it as a recording, /past?since=MS with what is
 * younger than that, in ms of the wall clock. */
extern const struct endpoint remember_endpoint;

#endif
