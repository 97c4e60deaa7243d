/* What counting UDP flows costs the kernel for each packet, and reading them the daemon.
 * Needs the right to load eBPF programs. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "source/flow.h"

enum { PACKETS = 200000, ROUNDS = 9, FLOWS = 10000, READS = 21 };

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

static void nothing(void *arg, const struct flow_key *key, const struct flow_value *value)
{
	(void)key;
	*(uint64_t *)arg += value->packets[0];
}

int main(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof to;
	const int from = socket(AF_INET, SOCK_DGRAM, 0), sink = socket(AF_INET, SOCK_DGRAM, 0);
	double off[ROUNDS], on[ROUNDS], reads[READS];
	uint64_t packets = 0;
	const char *wrong = flow_open(&flow);

	if (wrong || from < 0 || bind(sink, (struct sockaddr *)&to, sizeof to) != 0 ||
	    getsockname(sink, (struct sockaddr *)&to, &len) != 0) {
		fprintf(stderr, "flow: %s: %s\n", wrong ? wrong : "socket", strerror(errno));
		return 1;
	}
	for (int i = 0; i < ROUNDS; i++) {
		flow_count(&flow, false);
		off[i] = flood(from, &to);
		flow_count(&flow, true);
		on[i] = flood(from, &to);
	}
	const double without = median(off, ROUNDS), with = median(on, ROUNDS);
	printf("a datagram over loopback: %.0f ns of CPU, with flows counted %.0f, ratio %.2f,"
	       " %.0f ns each time it is seen\n",
	       without, with, with / without, (with - without) / 2);
	for (int i = 0; i < FLOWS / 2; i++) {
		to.sin_port = htons((uint16_t)(20000 + i));
		sendto(from, "x", 1, 0, (struct sockaddr *)&to, sizeof to);
	}
	for (int i = 0; i < READS; i++) {
		const double begin = cpu_ns();

		if (flow_read(&flow, nothing, &packets) != 0)
			return 1;
		reads[i] = cpu_ns() - begin;
	}
	printf("reading %d flows: %.2f ms\n", FLOWS, median(reads, READS) / 1e6);
	return 0;
}
