/* make bench-serve: starts each contender in turn, loads it with clients and prints what that took,
 * beside the bare loop of the same round. Each figure is the median of the rounds. */

#include <endian.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "introspection.pb-c.h"
#include "load.h"
#include "source/wire.h"

enum {
	ROUNDS = 3,
	WARM_MS = 200,
	STEP_MS = 400,
	SPARSE_MS = 1000,
	STATES_MAX = 4000,          /* of a recording, 10 ms apart: longer than a round takes ... */
	RECORDING_MAX = 400 << 20,  /* ... as far as that many bytes go */
	BURST_MAX = 1 << 30,        /* bytes that go to all clients at once: sizes and clients beyond
	                               are left out */
	TLS_CLIENTS_MAX = 64,       /* with more, the handshakes take too long */
	MEMORY_CLIENTS = 5000,
};

struct contender {
	const char *name;
	const char *command;   /* for the shell; $B: the build folder, $D: bench's own, $S: bytes */
	bool tls;
	bool feed;             /* a node publishes at $D/node */
};

#define DAEMON "exec $B/introspectd --listen 127.0.0.1:0 --interval 10 --max-clients 10000 "
#define REPLAY DAEMON "--loop --replay $D/recording "

static const struct contender contenders[] = {
	{"poll", "exec $B/test/bench/bare poll $S", false, false},
	{"epoll", "exec $B/test/bench/bare epoll $S", false, false},
	{"introspectd", REPLAY, false, false},
	{"introspectd+feed", DAEMON "--feed $D/node", false, true},
	{"introspectd+tls", REPLAY "--tls-cert $D/cert.pem --tls-key $D/key.pem", true, false},
	{"ws", "exec $NODE test/bench/ws.mjs $S", false, false},
	{"ws+tls", "exec $NODE test/bench/ws.mjs $S $D/cert.pem $D/key.pem", true, false},
	{"libwebsockets", "exec $B/test/bench/lws $S", false, false},
};
enum { POLL, EPOLL, CONTENDERS = sizeof contenders / sizeof *contenders };

struct process {
	int pid;
	int port;
	int node;    /* pid of it; 0: none */
};

static char folder[] = "/tmp/introspectd-bench-XXXXXX";

static void clean_up(void)
{
	char command[64 + sizeof folder];

	snprintf(command, sizeof command, "rm -rf %s", folder);
	if (system(command) != 0)
		perror(folder);
}

static const char *setting(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value && *value ? value : otherwise;
}

static bool takes_part(const struct contender *c, const char *chosen, size_t clients)
{
	char padded[512], wanted[64];

	snprintf(padded, sizeof padded, " %s ", chosen);
	snprintf(wanted, sizeof wanted, " %s ", c->name);
	return strstr(padded, wanted) != NULL && (!c->tls || clients <= TLS_CLIENTS_MAX);
}

static Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;

/* A state with as many connections as make the given size becomes the message. */
static void make_message(size_t size)
{
	static Introspection__EndpointPair ends = INTROSPECTION__ENDPOINT_PAIR__INIT;
	static Introspection__Connection connection;
	static Introspection__Subsystems subsystems = INTROSPECTION__SUBSYSTEMS__INIT;
	static Introspection__State state = INTROSPECTION__STATE__INIT;

	ends.src_multiaddr = (char *)"/ip4/192.168.1.10/tcp/4001";
	ends.dst_multiaddr = (char *)"/ip4/203.0.113.77/tcp/34567";
	introspection__connection__init(&connection);
	connection.peer_id = (char *)"12D3KooWQ8wFnPdGyb1Zx9YxLwDHEq7JpMTS2TtRjMGkKwqo4Xrn";
	connection.endpoints = &ends;
	free(subsystems.connections);
	subsystems.n_connections = size / (introspection__connection__get_packed_size(&connection) + 2);
	subsystems.connections = calloc(subsystems.n_connections + 1, sizeof(void *));
	if (!subsystems.connections)
		fail("memory");
	for (size_t i = 0; i < subsystems.n_connections; i++)
		subsystems.connections[i] = &connection;
	state.subsystems = &subsystems;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;
	message.state = &state;
}

/* Room for the message and what stands before it. */
static uint8_t *message_room(void)
{
	uint8_t *room = malloc(introspection__server_message__get_packed_size(&message) + 64);

	if (!room)
		fail("memory");
	return room;
}

static void write_recording(size_t size)
{
	char path[sizeof folder + 16];
	uint8_t *bytes = message_room();

	snprintf(path, sizeof path, "%s/recording", folder);
	FILE *f = fopen(path, "wb");
	if (!f)
		fail(path);
	fwrite(&(uint32_t){htole32(1)}, 4, 1, f);
	for (unsigned i = 0; i < STATES_MAX && i < RECORDING_MAX / size; i++) {
		message.state->instant_ts = 1700000000000 + 10 * i;
		size_t len = introspection__server_message__pack(&message, bytes);
		uint32_t header[] = {htole32(wire_checksum(bytes, len)), htole32((uint32_t)len)};
		fwrite(header, sizeof header, 1, f);
		fwrite(bytes, len, 1, f);
	}
	if (fclose(f) != 0)
		fail(path);
	free(bytes);
}

/* A node that publishes the message whenever it is asked. Returns its pid. */
static int start_node(void)
{
	struct sockaddr_un path = {.sun_family = AF_UNIX};
	int pid = fork();
	char asked;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path.sun_path, sizeof path.sun_path, "%s/node", folder);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	uint8_t *bytes = message_room();
	size_t len = introspection__server_message__get_packed_size(&message), n = 0;
	for (size_t left = len; left > 0; left >>= 7)
		bytes[n++] = (uint8_t)((left & 127) | (left > 127 ? 128 : 0));
	introspection__server_message__pack(&message, bytes + n);
	if (connect(fd, (struct sockaddr *)&path, sizeof path) != 0)
		_exit(1);
	while (read(fd, &asked, 1) == 1 && write(fd, bytes, n + len) == (ssize_t)(n + len))
		;
	_exit(0);
}

static void use_size(const char *bytes)
{
	setenv("S", bytes, 1);
	make_message(strtoul(bytes, NULL, 10));
	write_recording(strtoul(bytes, NULL, 10));
}

/* Starts it and reads where it listens from what it says. */
static struct process start(const struct contender *c)
{
	struct process p = {0};
	char line[1024];
	int out[2];

	if (pipe(out) != 0 || (p.pid = fork()) < 0)
		fail("fork");
	if (p.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		close(out[0]);
		execl("/bin/sh", "sh", "-c", c->command, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	FILE *f = fdopen(out[0], "r");
	while (p.port == 0 && f && fgets(line, sizeof line, f)) {
		const char *url = strstr(line, "://127.0.0.1:");

		if (url)
			p.port = atoi(url + 13);
		else
			fputs(line, stderr);
	}
	if (p.port == 0)
		fail(c->command);
	if (c->feed && (p.node = start_node()) < 0)
		fail("fork");
	return p;   /* the pipe stays open, for what it may still say */
}

static void stop(struct process p)
{
	kill(p.pid, SIGKILL);
	waitpid(p.pid, NULL, 0);
	if (p.node > 0)
		waitpid(p.node, NULL, 0);   /* it ends with its server */
}

/* A line of /proc/PID/status, in KB. */
static double memory_of(struct process p, const char *name)
{
	char path[64], line[256];
	double kb = 0;

	snprintf(path, sizeof path, "/proc/%d/status", p.pid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, name, strlen(name)) == 0)
			kb = strtod(line + strlen(name), NULL);
	if (f)
		fclose(f);
	return kb;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double values[ROUNDS])
{
	qsort(values, ROUNDS, sizeof *values, ascending);
	return values[ROUNDS / 2];
}

static struct figures medians(const struct figures f[ROUNDS])
{
	double rate[ROUNDS], cpu[ROUNDS], p50[ROUNDS], p99[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		rate[i] = f[i].rate;
		cpu[i] = f[i].cpu;
		p50[i] = f[i].p50;
		p99[i] = f[i].p99;
	}
	return (struct figures){median(rate), median(cpu), median(p50), median(p99)};
}

static struct figures measure(const struct contender *c, size_t clients, bool sparse)
{
	struct process p = start(c);
	struct load *l = load_open(p.port, clients, c->tls);

	load_run(l, p.pid, sparse, sparse ? 3 * THINK_MS / 2 : WARM_MS);
	struct figures f = load_run(l, p.pid, sparse, sparse ? SPARSE_MS : STEP_MS);
	load_close(l);
	stop(p);
	return f;
}

/* One size, one number of clients, one shape: all contenders. Ratios are to the bare loop
 * that is the limit of the shape. */
static void compare(const char *size, size_t clients, bool sparse, const char *chosen)
{
	static struct figures all[CONTENDERS][ROUNDS];

	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < CONTENDERS; i++)
			if (takes_part(&contenders[i], chosen, clients))
				all[i][round] = measure(&contenders[i], clients, sparse);
	const struct figures base = medians(all[sparse ? EPOLL : POLL]);
	for (int i = 0; i < CONTENDERS; i++) {
		if (!takes_part(&contenders[i], chosen, clients))
			continue;
		struct figures f = medians(all[i]);
		printf("%-7s %7s %6zu  %-16s%10.0f %5.2f %9.1f %6.2f %8.2f %8.2f %6.2f\n",
		       sparse ? "sparse" : "in step", size, clients, contenders[i].name, f.rate,
		       f.rate / base.rate, f.cpu, f.cpu / base.cpu, f.p50, f.p99, f.p99 / base.p99);
	}
	fflush(stdout);
}

/* With no client, and for each of many that are silent. Anonymous memory is the process's
 * own; the rest are pages of files, which others share. */
static void memory(const struct contender *c, size_t clients)
{
	struct process p = start(c);
	double none = memory_of(p, "VmRSS:"), own = memory_of(p, "RssAnon:");
	struct load *one = load_open(p.port, 1, c->tls);

	load_run(one, p.pid, false, WARM_MS);
	double before = memory_of(p, "RssAnon:");
	struct load *l = load_open(p.port, clients, c->tls);
	double each = (memory_of(p, "RssAnon:") - before) * 1024 / (double)clients;
	load_close(l);
	load_close(one);
	stop(p);
	printf("%-16s%16.0f%16.0f%16.0f\n", c->name, none, own, each);
	fflush(stdout);
}

static void each_size(const char *sizes, const char *counts, const char *chosen, bool sparse)
{
	char size_list[256], count_list[256], *next_size, *next_count;

	snprintf(size_list, sizeof size_list, "%s", sizes);
	for (char *s = strtok_r(size_list, " ", &next_size); s; s = strtok_r(NULL, " ", &next_size)) {
		use_size(s);
		snprintf(count_list, sizeof count_list, "%s", counts);
		for (char *n = strtok_r(count_list, " ", &next_count); n; n = strtok_r(NULL, " ", &next_count))
			if (strtoul(s, NULL, 10) * strtoul(n, NULL, 10) <= BURST_MAX)
				compare(s, strtoul(n, NULL, 10), sparse, chosen);
	}
}

int main(void)
{
	static const char heading[] = "shape     bytes clients  contender     snapshots/s ratio"
	                              "    cpu us  ratio   p50 ms   p99 ms  ratio\n";
	const char *chosen = setting("CONTENDERS", "poll epoll introspectd introspectd+feed");

	if (!mkdtemp(folder))
		fail(folder);
	atexit(clean_up);
	setenv("D", folder, 1);
	if (system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
	           "-subj /CN=localhost -keyout $D/key.pem -out $D/cert.pem 2> /dev/null") != 0)
		fail("openssl");
	printf("%s", heading);
	each_size(setting("SIZES", "1000 10000 100000 1000000"), setting("CLIENTS", "1 64 1000 5000"),
	          chosen, false);
	each_size(setting("SPARSE_SIZES", "1000"), setting("SPARSE_CLIENTS", "1000 5000"), chosen, true);
	use_size("1000");
	printf("\n%-16s%16s%16s%16s\n", "no client:", "KB resident", "KB anonymous", "bytes a client");
	for (int i = 0; i < CONTENDERS; i++)
		if (takes_part(&contenders[i], chosen, MEMORY_CLIENTS))
			memory(&contenders[i], MEMORY_CLIENTS);
	return 0;
}
