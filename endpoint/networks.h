#ifndef NETWORKS_H
#define NETWORKS_H

#include "endpoint/endpoint.h"

/* With --networks: GET /networks answers with the file, which names the networks of IP addresses.
 * The page looks addresses up in it; the daemon only checks the file's lines. Read at start and
 * on SIGHUP. */
extern const struct endpoint networks_endpoint;

#endif
