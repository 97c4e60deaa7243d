#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/join.h"
#include "source/wire.h"

enum { LIMIT = 1 << 20, MOST = 4000 };

/* A State that is built piece by piece. */
struct built {
	Introspection__State state;
	Introspection__Subsystems subsystems;
	Introspection__Connection *list[MOST], connections[MOST];
	Introspection__EndpointPair ends[MOST];
	Introspection__Traffic traffic[MOST];
	Introspection__DataGauge in[MOST], out[MOST];
	char text[MOST][2][80];
};

static struct built node, kernel;
static struct join *j;
static uint8_t packed[LIMIT];
static Introspection__State *joined;

static void empty(struct built *b)
{
	introspection__state__init(&b->state);
	introspection__subsystems__init(&b->subsystems);
	b->state.subsystems = &b->subsystems;
	b->subsystems.connections = b->list;
}

static Introspection__Connection *add(struct built *b, const char *local, const char *remote)
{
	const size_t i = b->subsystems.n_connections++;
	Introspection__Connection *c = b->list[i] = &b->connections[i];

	introspection__connection__init(c);
	introspection__endpoint_pair__init(&b->ends[i]);
	introspection__traffic__init(&b->traffic[i]);
	introspection__data_gauge__init(&b->in[i]);
	introspection__data_gauge__init(&b->out[i]);
	b->ends[i].src_multiaddr = strcpy(b->text[i][0], local);
	b->ends[i].dst_multiaddr = strcpy(b->text[i][1], remote);
	b->traffic[i].traffic_in = &b->in[i];
	b->traffic[i].traffic_out = &b->out[i];
	c->endpoints = &b->ends[i];
	c->traffic = &b->traffic[i];
	return c;
}

static const char *join_all(size_t limit)
{
	struct snapshot_input out;
	struct wire_error error;
	const size_t len = introspection__state__pack(&node.state, packed);

	join_close(j);
	j = join_open(limit);
	assert_non_null(j);
	const char *wrong = join_states(j, packed, len, &kernel.state, &out);
	if (!wire_check(&introspection__state__descriptor, out.bytes, out.len, &error))
		fail_msg("%s at %zu", error.what, error.offset);
	if (joined)
		introspection__state__free_unpacked(joined, NULL);
	joined = introspection__state__unpack(NULL, out.len, out.bytes);
	assert_non_null(joined);
	return wrong;
}

static int begin(void **state)
{
	(void)state;
	empty(&node);
	empty(&kernel);
	return 0;
}

static int end(void **state)
{
	(void)state;
	join_close(j);
	introspection__state__free_unpacked(joined, NULL);
	j = NULL;
	joined = NULL;
	return 0;
}

static const Introspection__Connection *at(size_t i)
{
	assert_in_range(i, 0, joined->subsystems->n_connections - 1);
	return joined->subsystems->connections[i];
}

static void numbers_of_the_kernel_replace_the_nodes(void **state)
{
	(void)state;
	Introspection__Connection *c = add(&node, "/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.2/tcp/50000/p2p/Qm");
	Introspection__Connection *k = add(&kernel, "/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.2/tcp/50000");

	c->peer_id = "peer";
	c->traffic->traffic_in->cum_bytes = 7;
	c->traffic->traffic_in->inst_bw = 7;
	c->traffic->traffic_out->cum_packets = 7;
	c->latency_ns = 5;
	k->traffic->traffic_in->cum_bytes = UINT64_MAX;
	k->traffic->traffic_out->cum_bytes = 1000;
	k->traffic->traffic_out->inst_bw = 300;
	k->latency_ns = 12345678;
	k->retransmitted_bytes = 9;
	assert_null(join_all(LIMIT));
	assert_int_equal(joined->subsystems->n_connections, 1);
	assert_string_equal(at(0)->peer_id, "peer");
	assert_true(at(0)->traffic->traffic_in->cum_bytes == UINT64_MAX);
	assert_int_equal(at(0)->traffic->traffic_in->inst_bw, 0);
	assert_int_equal(at(0)->traffic->traffic_out->cum_bytes, 1000);
	assert_int_equal(at(0)->traffic->traffic_out->cum_packets, 0);
	assert_int_equal(at(0)->traffic->traffic_out->inst_bw, 300);
	assert_int_equal(at(0)->latency_ns, 12345678);
	assert_int_equal(at(0)->retransmitted_bytes, 9);
	assert_true(at(0)->kernel_traffic);
	assert_false(at(0)->unlisted);
}

/* A row: what the node tells of a connection, what the kernel has, and whether they are one. */
static void which_belong_together(void **state)
{
	static const struct {
		const char *local, *remote, *kernel_local, *kernel_remote;
		bool one;
	} rows[] = {
		{"/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", true},
		{"", "/ip4/2.2.2.2/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", true},
		{"/ip4/0.0.0.0/udp/4001/quic-v1", "/ip4/2.2.2.2/udp/2/quic-v1", "/ip4/1.1.1.1/udp/4001/quic-v1", "/ip4/2.2.2.2/udp/2/quic-v1", true},
		{"/ip6/::/udp/4001/quic-v1", "/ip6/2::2/udp/2/quic-v1", "/ip6/1::1/udp/4001/quic-v1", "/ip6/2::2/udp/2/quic-v1", true},
		{"/ip6/0:0::1/tcp/1", "/ip6/2:0:0::2/tcp/2/ws", "/ip6/::1/tcp/1", "/ip6/2::2/tcp/2", true},
		{"/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2/p2p/Qm/p2p-circuit/p2p/Qn", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"/ip4/1.1.1.1/tcp/9", "/ip4/2.2.2.2/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"/ip4/9.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"/ip4/0.0.0.0/tcp/9", "/ip4/2.2.2.2/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/3", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.9/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"", "/ip4/2.2.2.2/udp/2/quic-v1", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"", "/dns4/example.org/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"", "/ip4/2.2.2.2/tcp/65538", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"", "/ip4/2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2.2/tcp/2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"", "/ip4/2.2.2.2", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
		{"", "", "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2", false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		begin(state);
		add(&node, rows[i].local, rows[i].remote);
		add(&kernel, rows[i].kernel_local, rows[i].kernel_remote);
		assert_null(join_all(LIMIT));
		if (at(0)->kernel_traffic != rows[i].one ||
		    joined->subsystems->n_connections != (rows[i].one ? 1 : 2))
			fail_msg("row %zu", i);
		assert_false(at(0)->unlisted);
		if (!rows[i].one)
			assert_true(at(1)->unlisted && at(1)->kernel_traffic);
	}
}

static void never_when_two_would_match(void **state)
{
	(void)state;
	/* two of the kernel's for one of the node's, which tells no end of its own */
	add(&node, "", "/ip4/2.2.2.2/tcp/2");
	add(&kernel, "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2");
	add(&kernel, "/ip4/1.1.1.1/tcp/3", "/ip4/2.2.2.2/tcp/2");
	/* two of the node's for one of the kernel's, as QUIC connections on one 5-tuple are */
	add(&node, "", "/ip4/2.2.2.2/udp/2/quic-v1");
	add(&node, "", "/ip4/2.2.2.2/udp/2/quic-v1");
	add(&kernel, "/ip4/1.1.1.1/udp/1/quic-v1", "/ip4/2.2.2.2/udp/2/quic-v1");
	assert_null(join_all(LIMIT));
	assert_int_equal(joined->subsystems->n_connections, 5);
	for (size_t i = 0; i < 3; i++)
		assert_false(at(i)->kernel_traffic || at(i)->unlisted);
	assert_true(at(3)->unlisted && at(4)->unlisted);
}

static void what_is_closed(void **state)
{
	(void)state;
	add(&node, "", "/ip4/2.2.2.2/tcp/2")->status = INTROSPECTION__STATUS__CLOSED;
	add(&node, "", "/ip4/2.2.2.2/tcp/2");
	add(&kernel, "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2");
	add(&kernel, "/ip4/1.1.1.1/tcp/1", "/ip4/3.3.3.3/tcp/2")->status = INTROSPECTION__STATUS__CLOSED;
	assert_null(join_all(LIMIT));
	assert_int_equal(joined->subsystems->n_connections, 2);
	assert_false(at(0)->kernel_traffic);
	assert_true(at(1)->kernel_traffic);
}

static void totals_are_the_nodes_if_it_tells_any(void **state)
{
	Introspection__Traffic traffic = INTROSPECTION__TRAFFIC__INIT;
	Introspection__DataGauge in = INTROSPECTION__DATA_GAUGE__INIT;
	Introspection__Traffic of_node = INTROSPECTION__TRAFFIC__INIT;
	Introspection__Resource memory = INTROSPECTION__RESOURCE__INIT, files = memory;
	Introspection__Resource *list[] = {&memory}, *node_list[] = {&files, &files};

	(void)state;
	in.cum_bytes = 99;
	traffic.traffic_in = &in;
	kernel.state.traffic = &traffic;
	kernel.state.resources = list;
	kernel.state.n_resources = 1;
	assert_null(join_all(LIMIT));
	assert_int_equal(joined->traffic->traffic_in->cum_bytes, 99);
	assert_int_equal(joined->n_resources, 1);
	node.state.traffic = &of_node;
	node.state.resources = node_list;
	node.state.n_resources = 2;
	assert_null(join_all(LIMIT));
	assert_null(joined->traffic->traffic_in);
	assert_int_equal(joined->n_resources, 2);
}

static void what_does_not_fit_leaves_the_node_alone(void **state)
{
	(void)state;
	add(&node, "", "/ip4/2.2.2.2/tcp/2");
	add(&kernel, "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2");
	add(&kernel, "/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/3");
	for (size_t limit = 0; limit < 1000; limit++) {
		const char *wrong = join_all(limit);

		assert_int_equal(joined->subsystems->n_connections, wrong ? 1 : 2);
		assert_true(at(0)->kernel_traffic == !wrong);
		if (limit == 0)
			assert_string_equal(wrong, "the joined state is over --max-snapshot");
		if (limit == 999)
			assert_null(wrong);
	}
	/* The kernel's messages are as they were. */
	assert_false(kernel.connections[1].unlisted || kernel.connections[1].kernel_traffic);
}

/* Every connection of the node is there as it was, in its order, whatever its size. */
static void many(void **state)
{
	char text[80];
	size_t both = 0, listed = 0;

	(void)state;
	for (int i = 0; i < MOST; i++) {
		snprintf(text, sizeof text, "/ip4/10.0.%d.%d/tcp/%d", i / 200, i % 200, 1000 + i);
		if (i % 3 != 0)
			add(&node, "/ip4/1.1.1.1/tcp/4001", text)->agent_version = i % 2 ? "" : "agent";
		both += i % 3 != 0 && i % 5 != 0;
		if (i % 5 != 0)
			add(&kernel, "/ip4/1.1.1.1/tcp/4001", text)->latency_ns = (uint64_t)i << i % 40;
	}
	assert_null(join_all(LIMIT));
	for (size_t i = 0; i < node.subsystems.n_connections; i++) {
		const Introspection__Connection *was = node.list[i];

		assert_string_equal(at(i)->endpoints->dst_multiaddr, was->endpoints->dst_multiaddr);
		assert_string_equal(at(i)->agent_version, was->agent_version);
		if (at(i)->kernel_traffic)
			listed++;
	}
	assert_int_equal(listed, both);
	assert_int_equal(joined->subsystems->n_connections,
	                 node.subsystems.n_connections + kernel.subsystems.n_connections - listed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(numbers_of_the_kernel_replace_the_nodes, begin, end),
		cmocka_unit_test_setup_teardown(which_belong_together, begin, end),
		cmocka_unit_test_setup_teardown(never_when_two_would_match, begin, end),
		cmocka_unit_test_setup_teardown(what_is_closed, begin, end),
		cmocka_unit_test_setup_teardown(totals_are_the_nodes_if_it_tells_any, begin, end),
		cmocka_unit_test_setup_teardown(what_does_not_fit_leaves_the_node_alone, begin, end),
		cmocka_unit_test_setup_teardown(many, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
