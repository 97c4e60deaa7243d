/* A node's State joined with what the kernel counts: what wire_check accepts once joined it accepts
 * again, whatever the node tells. The first two bytes are the most that it may have. */

#include <stdio.h>

#include "fuzz.h"
#include "source/join.h"
#include "source/wire.h"

enum { CONNECTIONS = 8 };

static Introspection__State state;
static Introspection__Subsystems subsystems;
static Introspection__Connection connections[CONNECTIONS], *list[CONNECTIONS];
static Introspection__EndpointPair ends[CONNECTIONS];
static Introspection__Traffic traffic;
static Introspection__DataGauge gauge;
static char remote[CONNECTIONS][80];

/* The kernel's view: TCP and QUIC with 10.0.0.0 to 10.0.0.3, each with two ports. */
static void init(void)
{
	introspection__state__init(&state);
	introspection__subsystems__init(&subsystems);
	introspection__traffic__init(&traffic);
	introspection__data_gauge__init(&gauge);
	gauge.cum_bytes = gauge.cum_packets = gauge.inst_bw = UINT64_MAX;
	traffic.traffic_in = traffic.traffic_out = &gauge;
	for (int i = 0; i < CONNECTIONS; i++) {
		const bool quic = i % 2;

		introspection__connection__init(list[i] = &connections[i]);
		introspection__endpoint_pair__init(&ends[i]);
		snprintf(remote[i], sizeof remote[i], "/ip4/10.0.0.%d/%s/%d%s", i / 2, quic ? "udp" : "tcp",
		         4001 + i % 3, quic ? "/quic-v1" : "");
		ends[i].src_multiaddr = (char *)(quic ? "/ip4/10.0.0.9/udp/4001/quic-v1" : "/ip4/10.0.0.9/tcp/4001");
		ends[i].dst_multiaddr = remote[i];
		connections[i].endpoints = &ends[i];
		connections[i].traffic = &traffic;
		connections[i].latency_ns = UINT64_MAX;
		connections[i].retransmitted_bytes = UINT64_MAX;
	}
	subsystems.connections = list;
	subsystems.n_connections = CONNECTIONS;
	state.subsystems = &subsystems;
	state.traffic = &traffic;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const size_t max = (size_t)take_byte(&in) << 8 | take_byte(&in);
	uint8_t *bytes = copy_of(in.at, in.left);
	struct wire_error error;
	struct snapshot_input out;

	if (!list[0])
		init();
	if (wire_check(&introspection__state__descriptor, bytes, in.left, &error)) {
		struct join *j = join_open(max);

		CHECK(j);
		const char *wrong = join_states(j, bytes, in.left, &state, &out);
		CHECK(wrong ? out.bytes == bytes && out.len == in.left : out.len <= max);
		CHECK(wire_check(&introspection__state__descriptor, out.bytes, out.len, &error));
		for (int i = 0; i < CONNECTIONS; i++)
			CHECK(!connections[i].unlisted && !connections[i].kernel_traffic);
		join_close(j);
	}
	free(bytes);
	return 0;
}
