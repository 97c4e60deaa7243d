#include "base/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

void setup_no_core(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
}

int setup_standard(void)
{
	int fd;

	tzset(); /* reads a file; without it the first gmtime_r() would, and the sandbox forbid it */
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0) {
		log_event("error open=/dev/null reason=\"%s\"", strerror(errno));
		return -1;
	}
	close(fd);
	log_open();
	return 0;
}

int setup_descriptors(size_t *clients, size_t others)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	rlim_t wanted = *clients + others;
	if (limit.rlim_cur >= wanted)
		return 0;
	struct rlimit raised = {wanted, limit.rlim_max < wanted ? wanted : limit.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		return 0;
	raised = (struct rlimit){limit.rlim_max, limit.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		limit = raised;
	if (limit.rlim_cur >= wanted)
		return 0;
	if (limit.rlim_cur <= others) {
		log_event("error open_files=%ju reason=\"too few to serve anybody\"",
		          (uintmax_t)limit.rlim_cur);
		return -1;
	}
	*clients = (size_t)(limit.rlim_cur - others);
	log_event("max_clients_reduced to=%zu reason=\"limit on open files is %ju\"", *clients,
	          (uintmax_t)limit.rlim_cur);
	return 0;
}

int setup_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	int fd = sigprocmask(SIG_BLOCK, &set, NULL);
	if (fd == 0)
		fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		log_event("error signals=\"%s\"", strerror(errno));
	return fd;
}

int setup_next_signal(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof info) == (ssize_t)sizeof info)
		return (int)info.ssi_signo;
	return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

uint64_t setup_seed(void)
{
	uint64_t seed;

	/* Early after boot the kernel may have no random bytes yet. Then the address of this function serves: the
	 * kernel loads the program at a random place. */
	return getrandom(&seed, sizeof seed, GRND_NONBLOCK) == sizeof seed ? seed : (uintptr_t)setup_seed;
}
