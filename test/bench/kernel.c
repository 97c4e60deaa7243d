/* What a snapshot of the kernel source costs with many sockets, beside what the
 * kernel itself takes to list them, `ss -tin` and protobuf-c's own encoder. Real
 * connections, in a network namespace in which there are no others: run as root. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/options.h"
#include "sample.h"
#include "snapshot.h"
#include "source/source.h"
#include "source/tcpdiag.h"

enum {
	SOCKETS_PER_PROCESS = 10000,
	SNAPSHOT_MAX = DEFAULT_MAX_SNAPSHOT,
	SETTLED = 100000,   /* snapshots in which every process must have been found */
};

/* Of this process, whoever makes them. */
static unsigned long allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	allocations++;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	allocations++;
	return __libc_realloc(p, size);
}

static void enter_own_network(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	need(unshare(CLONE_NEWNET) == 0, "network namespace");
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	need(ioctl(fd, SIOCSIFFLAGS, &lo) == 0, "lo");
	close(fd);
}

/* A listener and connections to it, both ends, over each of which some bytes went. */
static void open_sockets(unsigned sockets, uint32_t host)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
	struct rlimit files = {sockets + 100, sockets + 100};
	socklen_t len = sizeof at;
	char bytes[1000] = {0};
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	need(setrlimit(RLIMIT_NOFILE, &files) == 0, "open files");
	need(bind(listener, (struct sockaddr *)&at, sizeof at) == 0, "bind");
	need(listen(listener, 16) == 0, "listen");
	need(getsockname(listener, (struct sockaddr *)&at, &len) == 0, "listener");
	for (unsigned i = 0; i < sockets / 2; i++) {
		int near = socket(AF_INET, SOCK_STREAM, 0);

		need(connect(near, (struct sockaddr *)&at, sizeof at) == 0, "connect");
		int far = accept(listener, NULL, NULL);
		need(write(near, bytes, 1 + i % sizeof bytes) > 0, "write");
		need(write(far, bytes, sizeof bytes) > 0, "write");
		need(read(near, bytes, sizeof bytes) > 0, "read");
		need(read(far, bytes, sizeof bytes) > 0, "read");
	}
}

/* Other processes hold them, until this one ends. */
static void add_sockets(unsigned sockets)
{
	static uint32_t host = INADDR_LOOPBACK;

	for (unsigned part; sockets > 0; sockets -= part) {
		int done[2];
		char byte;

		part = sockets < SOCKETS_PER_PROCESS ? sockets : SOCKETS_PER_PROCESS;
		host++;
		need(pipe(done) == 0, "pipe");
		pid_t pid = fork();
		need(pid >= 0, "fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			open_sockets(part, host);
			need(write(done[1], "", 1) == 1, "pipe");
			for (;;)
				pause();
		}
		close(done[1]);
		need(read(done[0], &byte, 1) == 1, "sockets");
		close(done[0]);
	}
}

struct bench {
	struct source *source;
	struct snapshot_store store;
	struct tcpdiag bare;
	uint8_t *packed;   /* by protobuf-c */
};

/* Asks as the source does, and looks at nothing but where the answer ends. */
static void dump_bare(struct bench *b)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req body;
	} request = {
		.header.nlmsg_len = sizeof request,
		.header.nlmsg_type = TCPDIAG_GETSOCK,
		.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		.body.idiag_family = AF_UNSPEC,
		.body.idiag_ext = 1 << (INET_DIAG_INFO - 1),
		.body.idiag_states = 0x1ffe & ~(1 << TCPDIAG_TIME_WAIT | 1 << TCPDIAG_CLOSE),
	};
	const struct nlmsghdr *first = (const void *)b->bare.answer;

	need(send(b->bare.fd, &request, sizeof request, 0) > 0, "netlink");
	do {
		need(recv(b->bare.fd, b->bare.answer, sizeof b->bare.answer, 0) > 0, "netlink");
	} while (first->nlmsg_type != NLMSG_DONE);
}

/* Returns the CPU time that it took, in ns. */
static uint64_t run_ss(void)
{
	static char *arguments[] = {(char *)"ss", (char *)"-tin", NULL};
	posix_spawn_file_actions_t quiet;
	struct rusage usage;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	need(posix_spawnp(&pid, "ss", &quiet, NULL, arguments, environ) == 0, "ss");
	need(wait4(pid, &status, 0, &usage) == pid && status == 0, "ss");
	posix_spawn_file_actions_destroy(&quiet);
	return 1000 * (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) +
	       1000000000 * (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
}

/* Takes a State, and returns the CPU time of that. */
static uint64_t take_state(struct bench *b, struct snapshot_input *in)
{
	static int64_t now = 1000;
	uint64_t begin = cpu_ns();

	need(b->source->take(b->source, now += 1000, in) == 1, "take");
	return cpu_ns() - begin;
}

static bool all_named(const Introspection__State *state)
{
	for (size_t i = 0; i < state->subsystems->n_connections; i++)
		if (state->subsystems->connections[i]->n_user_provided_tags == 0)
			return false;
	return true;
}

static void measure(struct bench *b)
{
	struct samples bare, take, encode, pack, ss;
	struct snapshot_input in = {0};
	unsigned long allocated = 0, taken = 0;

	do {
		take_state(b, &in);
		need(++taken < SETTLED, "processes");
	} while (!all_named(in.state));
	for (int i = 0; i < ROUNDS; i++) {
		unsigned long before = allocations;
		take.ns[i] = take_state(b, &in);
		uint64_t begin = cpu_ns();
		need(snapshot_take(&b->store, &in, &b->source->runtime, 0) <= SNAPSHOT_MAX, "encode");
		encode.ns[i] = cpu_ns() - begin;
		allocated = allocations - before;

		take_state(b, &in);   /* so that it meets the same caches */
		begin = cpu_ns();
		introspection__state__pack(in.state, b->packed);
		pack.ns[i] = cpu_ns() - begin;

		begin = cpu_ns();
		dump_bare(b);
		bare.ns[i] = cpu_ns() - begin;
		ss.ns[i] = run_ss();
	}
	size_t n = in.state->subsystems->n_connections;
	double snapshot = median(&take) + median(&encode);
	printf("%7zu %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %6.2f %6.2f %6.2f %7.2f %8lu\n", n,
	       median(&bare) / 1e6, median(&ss) / 1e6, median(&take) / 1e6, median(&encode) / 1e6,
	       median(&pack) / 1e6, snapshot / 1e6, snapshot / median(&bare),
	       snapshot / median(&ss), median(&encode) / median(&pack), snapshot / 1e3 / (double)n,
	       allocated);
}

int main(void)
{
	static const unsigned sizes[] = {100, 1000, 10000, 50000};
	static struct bench b;
	unsigned held = 0;

	enter_own_network();
	b.source = kernel_open(NULL, NULL, 0, false);
	b.packed = malloc(SNAPSHOT_MAX);
	need(b.source && b.packed && snapshot_open(&b.store, SNAPSHOT_MAX) == 0, "source");
	need(tcpdiag_open(&b.bare, NETLINK_SOCK_DIAG) == 0, "netlink");
	printf("Kernel source: ms of CPU, median of %d. dump: a bare netlink dump; pack:\n"
	       "protobuf-c's encoder without its pass for sizes; snapshot = take + encode.\n"
	       "Goals: /dump at most 2, /ss below 1, encode/pack at most 1, no malloc.\n"
	       "sockets     dump   ss -ti     take   encode     pack snapshot  /dump    /ss "
	       "/pack us/sock mallocs\n",
	       ROUNDS);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		add_sockets(sizes[i] - held);
		held = sizes[i];
		measure(&b);
	}
	snapshot_close(&b.store);
	b.source->close(b.source);
	return 0;
}
