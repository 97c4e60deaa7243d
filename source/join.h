#ifndef JOIN_H
#define JOIN_H

/* Makes one State of the node's own and the kernel's: peers, agents and streams as the node
 * tells them, bytes, packets and round trips as the kernel counts them. No I/O. */

#include <stddef.h>
#include <stdint.h>

#include "introspection.pb-c.h"
#include "snapshot.h"

struct join;

/* Reserves memory for joined States of at most max bytes (untouched pages cost nothing). The caller owns
 * the result until join_close. NULL with errno. */
struct join *join_open(size_t max);
void join_close(struct join *j);

/* Joins two States. state: len bytes, the node's State as wire_check accepted it. kernel: the State of
 * the kernel source, whose connections are changed during the call and restored. *out becomes the
 * joined State, whose bytes belong to j until the next call:
 *
 * 1. A connection of the node and one of the kernel match when both have the same transport, remote
 *    address and remote port and, if the node tells its own end, the same own end. A closed or a
 *    relayed connection of the node matches none.
 * 2. If a connection of the node matches exactly one of the kernel's, which is not the only match of
 *    another connection of the node, it gets the traffic, latency and retransmissions of the
 *    kernel's, and kernel_traffic.
 * 3. A connection of the kernel that is not the only match of any connection of the node is added as
 *    unlisted, unless it is closed.
 * 4. Totals and resources come from the kernel, if the node's State has none at all.
 *
 * Takes time linear in the sizes of both. Returns NULL, or in words which limit was exceeded: then *out
 * is the node's State as it was. */
const char *join_states(struct join *j, const uint8_t *state, size_t len,
                        Introspection__State *kernel, struct snapshot_input *out);

#endif
