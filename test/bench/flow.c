/* What counting UDP flows costs the kernel for each packet, and reading them the daemon.
 * Run as root. */

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/options.h"
#include "snapshot.h"
#include "source/flow.h"
#include "source/source.h"

enum { PACKETS = 50000, ROUNDS = 5, FLOWS = 10000, READS = 101 };

static struct flow flow;

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof *values, by_value);
	return values[n / 2];
}

/* CPU ns for a datagram over loopback, which passes the filter twice. */
static double flood(int from, const struct sockaddr_in *to)
{
	static const char payload[1200] = "\x40";
	const double begin = cpu_ns();

	for (int i = 0; i < PACKETS; i++)
		sendto(from, payload, sizeof payload, 0, (const struct sockaddr *)to, sizeof *to);
	return (cpu_ns() - begin) / PACKETS;
}

/* Both ends of each datagram are a flow. */
static void send_all(int from, struct sockaddr_in to)
{
	for (int i = 0; i < FLOWS / 2; i++) {
		to.sin_port = htons((uint16_t)(20000 + i));
		sendto(from, "x", 1, 0, (struct sockaddr *)&to, sizeof to);
	}
}

/* Networks of its own, where the other end of a veth pair takes what comes and drops it. */
static void enter_networks(void)
{
	if (unshare(CLONE_NEWNET) != 0 ||
	    system("ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v1 up && "
	           "ip addr add 10.78.0.1/24 dev v0 && ip link set v0 up && "
	           "ip neigh add 10.78.0.2 lladdr 02:00:00:00:00:02 dev v0") != 0) {
		perror("flow: a network namespace");
		exit(1);
	}
}

static void nothing(void *arg, const struct flow_key *keys, const struct flow_value *values, size_t n)
{
	(void)keys;
	for (size_t i = 0; i < n; i++)
		*(uint64_t *)arg += values[i].packets[0];
}

/* A datagram with and without the filter, in turns. seen: how often it passes the filter. */
static void compare(const char *where, int from, const struct sockaddr_in *to, int seen)
{
	double off[ROUNDS], on[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		flow_count(&flow, false);
		off[i] = flood(from, to);
		flow_count(&flow, true);
		on[i] = flood(from, to);
	}
	const double without = median(off, ROUNDS), with = median(on, ROUNDS);
	printf("a datagram over %s: %.0f ns of CPU, with flows counted %.0f, ratio %.2f,"
	       " %.0f ns each time it is seen\n",
	       where, without, with, with / without, (with - without) / seen);
}

static double read_flows(void)
{
	const double begin = cpu_ns();
	uint64_t packets = 0;

	if (flow_read(&flow, nothing, &packets) != 0)
		exit(1);
	return cpu_ns() - begin;
}

/* Snapshots of the kernel source, which has a map of its own, and bare reads of a map with the same
 * flows, in turns: as in a daemon that does it once a second, neither finds it in the caches. */
static void snapshots(int from, struct sockaddr_in to)
{
	static struct snapshot_store store;
	struct source *source = kernel_open(NULL, NULL, 0, true);
	struct snapshot_input in;
	double bare[READS], take[READS], encode[READS];
	int64_t now = 1000;

	if (!source || snapshot_open(&store, DEFAULT_MAX_SNAPSHOT) != 0 || source->take(source, now, &in) != 1)
		exit(1);
	send_all(from, to);
	for (int i = 0; i < READS; i++) {
		bare[i] = read_flows();
		double begin = cpu_ns();
		if (source->take(source, now += 1000, &in) != 1)
			exit(1);
		take[i] = cpu_ns() - begin;
		begin = cpu_ns();
		snapshot_take(&store, &in, &source->runtime, 0);
		encode[i] = cpu_ns() - begin;
	}
	const double b = median(bare, READS), t = median(take, READS), e = median(encode, READS);
	printf("reading %d flows: %.2f ms; a snapshot, %zu of them connections: take %.2f ms, ratio %.2f,"
	       " encode %.2f ms, ratio of both %.2f\n",
	       FLOWS, b / 1e6, in.state->subsystems->n_connections, t / 1e6, t / b, e / 1e6, (t + e) / b);
	source->close(source);
}

int main(void)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(9)};
	socklen_t len = sizeof loopback;
	const int sink = (enter_networks(), socket(AF_INET, SOCK_DGRAM, 0)), from = socket(AF_INET, SOCK_DGRAM, 0);
	const char *wrong = flow_open(&flow);

	if (wrong || from < 0 || bind(sink, (struct sockaddr *)&loopback, sizeof loopback) != 0 ||
	    getsockname(sink, (struct sockaddr *)&loopback, &len) != 0) {
		fprintf(stderr, "flow: %s: %s\n", wrong ? wrong : "socket", strerror(errno));
		return 1;
	}
	inet_pton(AF_INET, "10.78.0.2", &far.sin_addr);
	compare("loopback", from, &loopback, 2);
	compare("veth", from, &far, 1);
	send_all(from, loopback);
	snapshots(from, loopback);
	return 0;
}
