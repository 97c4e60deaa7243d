/* How fast the feed takes in what a node publishes, checks it and makes a snapshot
 * of it, beside a plain copy of the same bytes and a reader that checks nothing. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sample.h"
#include "snapshot.h"
#include "source/source.h"
#include "source/wire.h"

enum {
	MESSAGE_MAX = 16 << 20,
	STREAMS = 4,         /* of each connection */
	CYCLES = 20,         /* in one sample */
};

/* A busy node's State: connections with streams, as a delimited ServerMessage.
 * Returns its bytes. */
static size_t make_message(uint8_t *out, unsigned count)
{
	static char peer[] = "12D3KooWQ8wFnPdGyb1Zx9YxLwDHEq7JpMTS2TtRjMGkKwqo4Xrn";
	static uint8_t id[8] = "identity", transport[] = "ip4+tcp";
	Introspection__DataGauge gauge = INTROSPECTION__DATA_GAUGE__INIT;
	Introspection__Traffic traffic = INTROSPECTION__TRAFFIC__INIT;
	Introspection__EndpointPair ends = INTROSPECTION__ENDPOINT_PAIR__INIT;
	Introspection__Connection__Timeline timeline = INTROSPECTION__CONNECTION__TIMELINE__INIT;
	Introspection__Stream__Timeline opened = INTROSPECTION__STREAM__TIMELINE__INIT;
	Introspection__Stream stream = INTROSPECTION__STREAM__INIT, *streams[STREAMS];
	Introspection__StreamList list = INTROSPECTION__STREAM_LIST__INIT;
	Introspection__Connection connection, **connections = malloc(count * sizeof *connections);
	Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	Introspection__State state = INTROSPECTION__STATE__INIT;
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;

	need(connections, "memory");
	introspection__connection__init(&connection);
	gauge.cum_bytes = 123456789;
	gauge.cum_packets = 98765;
	gauge.inst_bw = 4321;
	traffic.traffic_in = traffic.traffic_out = &gauge;
	ends.src_multiaddr = (char *)"/ip4/192.168.100.101/tcp/4001";
	ends.dst_multiaddr = (char *)"/ip4/203.0.113.129/tcp/54321";
	timeline.open_ts = timeline.upgraded_ts = opened.open_ts = 1700000000000;
	stream.id = connection.id = (ProtobufCBinaryData){sizeof id, id};
	stream.protocol = (char *)"/ipfs/kad/1.0.0";
	stream.traffic = connection.traffic = &traffic;
	stream.timeline = &opened;
	for (int i = 0; i < STREAMS; i++)
		streams[i] = &stream;
	list.streams = streams;
	list.n_streams = STREAMS;
	connection.peer_id = peer;
	connection.transport_id = (ProtobufCBinaryData){sizeof transport - 1, transport};
	connection.endpoints = &ends;
	connection.timeline = &timeline;
	connection.latency_ns = 12345678;
	connection.streams = &list;
	for (unsigned i = 0; i < count; i++)
		connections[i] = &connection;
	subsystems.connections = connections;
	subsystems.n_connections = count;
	state.subsystems = &subsystems;
	state.instant_ts = 1700000000000;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
	message.state = &state;
	size_t len = introspection__server_message__get_packed_size(&message);
	size_t n = wire_put_varint(out, len);
	introspection__server_message__pack(&message, out + n);
	free(connections);
	return n + len;
}

/* Another process that sends the message for every byte that it gets, and ends
 * with this one. */
static void start_node(int fd, const uint8_t *message, size_t len)
{
	pid_t pid = fork();
	char asked;

	need(pid >= 0, "fork");
	if (pid > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, &asked, 1) == 1)
		for (size_t sent = 0; sent < len;) {
			ssize_t n = write(fd, message + sent, len - sent);

			if (n <= 0)
				_exit(1);
			sent += (size_t)n;
		}
	_exit(0);
}

struct bench {
	struct source *feed;
	struct snapshot_store store;
	int bare;            /* leads to a node */
	uint8_t *message;
	size_t len;
	uint8_t *copy;
};

static void run_feed(struct bench *b)
{
	struct pollfd fds[SOURCE_FDS];
	struct snapshot_input in;
	int64_t deadline = INT64_MAX;

	while (b->feed->take(b->feed, 0, &in) == 0) {
		nfds_t n = b->feed->poll(b->feed, fds, &deadline);

		need(poll(fds, n, 10000) > 0, "poll");
		b->feed->serve(b->feed, fds, n, 0);
	}
	need(snapshot_take(&b->store, &in, &b->feed->runtime, 0) >= b->len / 2, "snapshot");
}

static void run_read(struct bench *b)
{
	need(write(b->bare, "r", 1) == 1, "write");
	for (size_t got = 0; got < b->len;) {
		ssize_t n = read(b->bare, b->copy + got, b->len - got);

		need(n > 0, "read");
		got += (size_t)n;
	}
}

static void run_check(struct bench *b)
{
	struct wire_error error;
	uint64_t len;
	size_t n = (size_t)wire_varint(b->message, b->len, &len);

	need(wire_check(&introspection__server_message__descriptor, b->message + n, len, &error),
	     "check");
}

static void run_copy(struct bench *b)
{
	memcpy(b->copy, b->message, b->len);
	__asm__ volatile("" : : "r"(b->copy) : "memory");   /* it is wanted, all the same */
}

/* Bytes per ns of CPU. */
static double speed(struct bench *b, void (*run)(struct bench *b))
{
	struct samples s;

	run(b);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = cpu_ns();

		for (int cycle = 0; cycle < CYCLES; cycle++)
			run(b);
		s.ns[i] = cpu_ns() - begin;
	}
	return (double)b->len * CYCLES / median(&s);
}

static void measure(const char *path, unsigned connections)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct bench b = {.message = malloc(MESSAGE_MAX), .copy = malloc(MESSAGE_MAX)};
	int pair[2], node = socket(AF_UNIX, SOCK_STREAM, 0);

	need(b.message && b.copy && snapshot_open(&b.store, MESSAGE_MAX) == 0, "memory");
	b.len = make_message(b.message, connections);
	b.feed = feed_open(path, 0600, MESSAGE_MAX, 1000);
	need(b.feed, "feed");
	strcpy(at.sun_path, path);
	need(connect(node, (struct sockaddr *)&at, sizeof at) == 0, "connect");
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	start_node(node, b.message, b.len);
	start_node(pair[1], b.message, b.len);
	close(node);
	close(pair[1]);
	b.bare = pair[0];

	double copy = speed(&b, run_copy), reads = speed(&b, run_read);
	double check = speed(&b, run_check), feed = speed(&b, run_feed);
	printf("%8.1f %8.0f %8.0f %8.0f %8.0f %8.3f %8.3f\n", (double)b.len / 1e3, copy * 1e3,
	       reads * 1e3, check * 1e3, feed * 1e3, feed / copy, feed / reads);
	b.feed->close(b.feed);
	snapshot_close(&b.store);
	close(b.bare);
	free(b.message);
	free(b.copy);
}

int main(void)
{
	static const unsigned connections[] = {15, 150, 1500};
	char folder[] = "/tmp/bench-XXXXXX", path[64];

	need(mkdtemp(folder), "folder");
	snprintf(path, sizeof path, "%s/feed", folder);
	printf("Feed: MB per second of CPU, median of %d. read: a reader that checks nothing;\n"
	       "check: wire_check alone; feed: read, checked and made a snapshot.\n"
	       "message KB     copy     read    check     feed    /copy    /read\n", ROUNDS);
	for (size_t i = 0; i < sizeof connections / sizeof *connections; i++)
		measure(path, connections[i]);
	rmdir(folder);
	return 0;
}
