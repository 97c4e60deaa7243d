#ifndef INTROSPECT_H
#define INTROSPECT_H

#include "endpoint/endpoint.h"

/* /introspect: the command protocol of endpoint/command.h over WebSocket. */
extern const struct endpoint introspect_endpoint;

#endif
