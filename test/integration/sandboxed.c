/* Enters the sandbox and makes the C library do what the loop makes it do. Argument:
 * a folder. Prints "done" at the end: a call that is not allowed ends it before. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "guard/sandbox.h"
#include "source/holders.h"
#include "source/process.h"

#define MUST(condition) ((condition) ? (void)0 : fail(#condition))

static void fail(const char *what)
{
	char text[200];
	int len = snprintf(text, sizeof text, "%s: %s\n", what, strerror(errno));

	_exit(write(STDOUT_FILENO, text, (size_t)len) == len ? 1 : 2);
}

static void use_sockets(int listener, int client, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct sockaddr_un peer;
	socklen_t len = sizeof peer;
	char text[8];
	struct pollfd fd = {.fd = listener, .events = POLLIN};

	MUST(poll(&fd, 1, 1000) == 1);
	MUST(poll(NULL, 0, 1) == 0);
	int server = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	MUST(server >= 0);
	MUST(send(server, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1);
	MUST(recv(client, text, sizeof text, MSG_DONTWAIT) == 1);
	MUST(send(client, "x", 1, 0) == 1 && recv(server, text, 1, MSG_DONTWAIT | MSG_TRUNC) == 1);
	MUST(write(client, "x", 1) == 1 && read(server, text, 1) == 1);   /* as mbedtls does */
	MUST(fcntl(server, F_GETFL) & O_NONBLOCK);
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event) == 0);
	MUST(epoll_wait(epoll, &event, 1, 0) == 0);
	MUST(epoll_ctl(epoll, EPOLL_CTL_DEL, server, NULL) == 0);
	MUST(shutdown(server, SHUT_WR) == 0);
	MUST(read(client, text, sizeof text) == 0);
	MUST(close(server) == 0);
}

static void use_files(const char *token, const char *path)
{
	char line[64], all[4096];
	struct stat st;
	FILE *f = fopen(token, "re");

	MUST(f && fgets(line, sizeof line, f));
	MUST(fseek(f, 0, SEEK_END) == 0 && ftell(f) > 0);
	rewind(f);
	MUST(fread(all, 1, sizeof all, f) > 0);
	fclose(f);
	int fd = open(token, O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, line, 1, 1) == 1);
	close(fd);
	MUST(lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(path) == 0);
}

static void found(void *arg, struct holder *h, struct process *p)
{
	MUST(h->pid == p->pid);
	++*(size_t *)arg;
}

/* The process that holds a socket, all of them asked, and this one. */
static void use_holders(struct process *own, int fd)
{
	static struct holders all, one;
	size_t count = 0;
	struct stat st;

	MUST(fstat(fd, &st) == 0);
	for (int i = 0; i < 2; i++) {
		struct holders *h = i ? &one : &all;
		struct holder wanted = {.inode = (uint32_t)st.st_ino};

		h->only = i ? own : NULL;
		h->found = found;
		h->arg = &count;
		holders_begin(h);
		holders_want(h, &wanted);
		for (int tries = 0; holders_are_missing(&wanted) && tries < 1000; tries++)
			MUST(holders_search(h, 100000000));
		MUST(wanted.fd == fd);
		holders_stop(h);
	}
	MUST(count == 2);
}

static void use_processes(int socket)
{
	struct process_search search = {0};
	struct process own;
	struct process_usage usage;
	size_t others;

	MUST(process_find(&search, "sandboxed", INT64_MAX / 2, &own, &others) == 1);
	MUST(process_alive(&own));
	process_name(&own);
	MUST(!process_elsewhere(&own) && process_usage(&own, &usage) && process_usage(NULL, &usage));
	use_holders(&own, socket);
	process_close(&own);
}

static void use_memory(void)
{
	static char *blocks[2000];

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 2000; i++)
			MUST(blocks[i] = realloc(blocks[i], 1 + (i * 7919 << round) % 300000));
		for (size_t i = 0; i < 2000; i += 2) {
			free(blocks[i]);
			blocks[i] = NULL;
		}
	}
	for (size_t i = 1; i < 2000; i += 2)
		free(blocks[i]);
}

static void use_clocks(void)
{
	struct timespec t;
	struct tm tm;
	time_t now = time(NULL);
	char nonce[16];

	MUST(clock_gettime(CLOCK_MONOTONIC, &t) == 0 && clock_gettime(CLOCK_REALTIME, &t) == 0);
	MUST(gmtime_r(&now, &tm) && getrandom(nonce, sizeof nonce, 0) == sizeof nonce);
	MUST(sigprocmask(SIG_BLOCK, NULL, NULL) == 0);   /* within getrandom() of glibc 2.41 */
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char token[sizeof address.sun_path];
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	MUST(argc == 2);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", argv[1]);
	snprintf(token, sizeof token, "%s/token", argv[1]);
	MUST(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
	MUST(listen(listener, 1) == 0);
	MUST(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
	const struct sandbox needs = {.sees_processes = true, .removes = {address.sun_path}, .remove_count = 1};
	MUST(sandbox_enter(&needs) == 0);
	use_sockets(listener, client, epoll);
	use_files(token, address.sun_path);
	use_processes(client);
	use_memory();
	use_clocks();
	MUST(write(STDOUT_FILENO, "done\n", 5) == 5);
	return 0;
}
