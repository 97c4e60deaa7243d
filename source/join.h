#ifndef JOIN_H
#define JOIN_H

/* The node's own view and the kernel's in one State: peers, agents and streams as the node
 * tells them, bytes, packets and round trips as the kernel counts them. No I/O. */

#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"
#include "snapshot.h"

struct join;

/* Reserves what is needed for States of at most max bytes (untouched pages cost nothing).
 * NULL with errno. */
struct join *join_open(size_t max);
void join_close(struct join *j);

/* state: the encoded State of the node, which wire_check accepted. kernel: the State of the
 * kernel source; its connections are changed for the call and as before after it. Fills *out
 * with bytes that are borrowed until the next call:
 *
 * 1. A connection of the node that is not closed and belongs to exactly one of the kernel's,
 *    to which no other belongs, gets its traffic, latency and retransmissions, and
 *    kernel_traffic. It belongs to it when both have the same transport, remote address and
 *    port and, where the node tells its own end, the same end. Relayed ones belong to none.
 * 2. The kernel's other connections are added as unlisted, closed ones left out.
 * 3. What the node does not tell at all is the kernel's: the totals, the resources.
 *
 * Linear in the sizes of both. NULL, or what was over a limit: then *out is the node's State
 * as it was. */
const char *join_states(struct join *j, const uint8_t *state, size_t len,
                        Introspection__State *kernel, struct snapshot_input *out);

#endif
