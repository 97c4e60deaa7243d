/* Enters the bridge's sandbox and tries one thing, named by the argument. Prints what came of it,
 * if it lives. */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bridge/confine.h"

static int tcp;

static long try_execute(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}

static long try_fork(void)
{
	return fork();
}

static long try_bind(void)
{
	const struct sockaddr_in any = {.sin_family = AF_INET};

	return bind(tcp, (const struct sockaddr *)&any, sizeof any);
}

static long try_listen(void)
{
	return listen(tcp, 1);
}

static long try_signal(void)
{
	return kill(getppid(), 0);
}

static long try_trace(void)
{
	return syscall(SYS_ptrace, 16, getppid(), 0, 0);
}

static long try_code(void)
{
	return mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static long try_late_code(void)
{
	return mprotect(mmap(NULL, 4096, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096, PROT_EXEC);
}

static long try_remove(void)
{
	return unlink("/nonexistent");
}

static long try_x32(void)
{
	return syscall(0x40000000 | 39);
}

static long try_write_file(void)
{
	return open("/tmp/introspect-bridge-trespass", O_WRONLY | O_CREAT, 0600);
}

static long try_read_file(void)
{
	return open("/proc/self/status", O_RDONLY);
}

static long try_read_hosts(void)
{
	return open("/etc/hosts", O_RDONLY);
}

static void *nothing(void *arg)
{
	return arg;
}

static long try_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL) ? -1 : 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		long (*try)(void);
	} all[] = {
		{"execute", try_execute}, {"fork", try_fork}, {"bind", try_bind}, {"listen", try_listen},
		{"signal", try_signal}, {"trace", try_trace}, {"code", try_code},
		{"late-code", try_late_code}, {"remove", try_remove}, {"x32", try_x32},
		{"write-file", try_write_file}, {"read-file", try_read_file},
		{"read-hosts", try_read_hosts}, {"thread", try_thread},
	};

	tcp = socket(AF_INET, SOCK_STREAM, 0);
	if (argc != 2 || confine() != 0)
		return 2;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (strcmp(all[i].name, argv[1]) == 0)
			puts(all[i].try() < 0 ? strerror(errno) : "done");
	return 0;
}
