/* Does in the sandbox what SECURITY.md says cannot be done there, each in a process of its
 * own, and prints what came of it: "NAME killed", "NAME refused" or "NAME done". Arguments:
 * a folder with an empty one in it, "home", and "kernel" or "feed", as whose source it
 * behaves, or "free", which does without the sandbox. Then, as the kernel's, it makes every system call that there is, by every number and table, and prints those that
 * it came back from: "native NUMBER", "x32 NUMBER" or "i386 NUMBER". */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/sandbox.h"

enum { NUMBERS = 1024, X32 = 0x40000000 };

static struct sockaddr_in other;   /* another service, which listens */
static int other_fd;
static int parent;                 /* a process that is not in the sandbox */
static int others[2];              /* a connection of other processes */
static struct sockaddr_in other_ends[2];
static int listener, connected, netlink;   /* the daemon's own */
static char folder[200], file[220], sibling[220], token[220], endpoint[220];
static char page[4096] __attribute__((aligned(4096)));

static int tcp(struct sockaddr_in *address)
{
	socklen_t len = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (void *)address, sizeof *address) != 0 || listen(fd, 5) != 0 ||
	    getsockname(fd, (void *)address, &len) != 0) {
		perror("a listener");
		exit(1);
	}
	return fd;
}

/* Each returns -1 with errno if it was refused. */

static int by_execve(void)
{
	return execl("/bin/true", "true", (char *)0);
}

static int by_execveat(void)
{
	char *const arguments[] = {(char *)(uintptr_t)"true", NULL};

	return (int)syscall(SYS_execveat, AT_FDCWD, "/bin/true", arguments, arguments + 1, 0);
}

static int by_fork(void)
{
	int pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : 0;
}

static int by_mapping_code(void)
{
	return mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static int by_mapping_code_of_a_file(void)
{
	int fd = open("/bin/true", O_RDONLY);

	return mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0;
}

static int by_making_data_code(void)
{
	return mprotect(page, sizeof page, PROT_READ | PROT_EXEC);
}

static int by_memfd(void)
{
	return (int)syscall(SYS_memfd_create, "code", 0) < 0 ? -1 : 0;
}

static int by_connect(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? -1 : connect(fd, (void *)&other, sizeof other);
}

static int by_connecting_the_listener(void)
{
	shutdown(listener, SHUT_RD);
	return connect(listener, (void *)&other, sizeof other);
}

static int by_fastopen(void)
{
	shutdown(listener, SHUT_RD);
	return sendto(listener, "x", 1, MSG_FASTOPEN, (void *)&other, sizeof other) < 0 ? -1 : 0;
}

/* Refused for want of the shutdown(), were it not for the sandbox. */
static int by_fastopen_alone(void)
{
	return sendto(listener, "x", 1, MSG_FASTOPEN, (void *)&other, sizeof other) < 0 ? -1 : 0;
}

static int by_fastopen_message(void)
{
	struct iovec iov = {(void *)(uintptr_t)"x", 1};
	struct msghdr message = {.msg_name = &other, .msg_namelen = sizeof other, .msg_iov = &iov, .msg_iovlen = 1};

	shutdown(listener, SHUT_RD);
	return sendmsg(listener, &message, MSG_FASTOPEN) < 0 ? -1 : 0;
}

static int by_fastopen_flag(void)
{
	return send(connected, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int by_sending_to_an_address(void)
{
	return sendto(connected, "x", 1, MSG_NOSIGNAL, (void *)&other, sizeof other) < 0 ? -1 : 0;
}

static int by_stopping_the_listener(void)
{
	return shutdown(listener, SHUT_RDWR);
}

static int by_receiving_descriptors(void)
{
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	return recvmsg(connected, &message, MSG_DONTWAIT) < 0 && errno != EAGAIN ? -1 : 0;
}

static int by_signal(void)
{
	return kill(parent, 0);
}

static int by_signal_through_a_descriptor(void)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/%d", parent);
	int fd = open(path, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? -1 : (int)syscall(424 /* pidfd_send_signal, everywhere */, fd, 0, NULL, 0);
}

static int by_ordering_signals(void)
{
	return fcntl(listener, F_SETOWN, parent);
}

static int by_ordering_signals_for_a_thread(void)
{
	return fcntl(listener, F_SETOWN_EX, &(struct f_owner_ex){F_OWNER_TID, parent});
}

/* Looking a map up is allowed. */
static int by_loading_a_program(void)
{
	return syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, page, sizeof page) < 0 && errno != EINVAL && errno != E2BIG ? -1 : 0;
}

static int by_ptrace(void)
{
	return (int)ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static int by_open(void)
{
	return open(file, O_WRONLY) < 0 ? -1 : 0;
}

static int by_open_to_read_and_write(void)
{
	return open(file, O_RDWR) < 0 ? -1 : 0;
}

static int by_create(void)
{
	return open(sibling, O_RDONLY | O_CREAT, 0600) < 0 ? -1 : 0;
}

static int by_open_to_truncate(void)
{
	return open(file, O_RDONLY | O_TRUNC) < 0 ? -1 : 0;
}

static int by_unnamed_file(void)
{
	return open(folder, O_TMPFILE | O_RDWR, 0600) < 0 ? -1 : 0;
}

static int by_truncate(void)
{
	return truncate(file, 0);
}

static int by_lease(void)
{
	int fd = open(file, O_RDONLY);

	return fd < 0 ? -1 : fcntl(fd, F_SETLEASE, F_WRLCK);
}

static int by_lock(void)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int fd = open(file, O_RDONLY);

	return fd < 0 ? -1 : fcntl(fd, F_SETLK, &lock);
}

static int by_mode(void)
{
	return chmod(file, 0666);
}

static int by_unlink(void)
{
	return unlink(file);
}

static int by_unlinkat(void)
{
	return unlinkat(AT_FDCWD, file, 0);
}

static int by_removing_a_folder(void)
{
	return unlinkat(AT_FDCWD, sibling, AT_REMOVEDIR) != 0 && errno != ENOENT ? -1 : 0;
}

static int by_rename(void)
{
	return rename(file, sibling);
}

static int by_reading(void)
{
	return open(file, O_RDONLY) < 0 ? -1 : 0;
}

static int by_listing(void)
{
	return open(folder, O_RDONLY | O_DIRECTORY) < 0 ? -1 : 0;
}

static int by_reading_the_memory_of_others(void)
{
	char path[40], byte;

	snprintf(path, sizeof path, "/proc/%d/mem", parent);
	int fd = open(path, O_RDONLY);
	return fd < 0 || pread(fd, &byte, 1, (off_t)(uintptr_t)page) != 1 ? -1 : 0;
}

static int by_reading_the_token_again(void)
{
	return open(token, O_RDONLY) < 0 ? -1 : 0;
}

static int by_destroying(void)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} request = {
		.header = {sizeof request, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.body = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U},
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer = {0};

	request.body.id = (struct inet_diag_sockid){
		.idiag_sport = other_ends[0].sin_port,
		.idiag_dport = other_ends[1].sin_port,
		.idiag_src = {other_ends[0].sin_addr.s_addr},
		.idiag_dst = {other_ends[1].sin_addr.s_addr},
		.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE},
	};
	if (send(netlink, &request, sizeof request, 0) < 0 ||
	    recv(netlink, &answer, sizeof answer, MSG_TRUNC) < (ssize_t)sizeof answer)
		return -1;
	errno = -answer.error.error;
	return errno == 0 ? 0 : -1;
}

#ifdef __x86_64__
static long i386(long number, long a, long b, long c, long d, long e)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return result;
}

static int by_i386(void)
{
	return i386(20 /* getpid */, 0, 0, 0, 0, 0) > 0 ? 0 : -1;
}
#endif

#ifdef SYS_socketcall
static int by_socketcall(void)
{
	long arguments[] = {listener, (long)"x", 1, MSG_FASTOPEN, (long)&other, sizeof other};

	shutdown(listener, SHUT_RD);
	return (int)syscall(SYS_socketcall, 11 /* SYS_SENDTO */, arguments) < 0 ? -1 : 0;
}
#endif

static const struct attempt {
	const char *name;
	int (*make)(void);
} attempts[] = {
	{"execute", by_execve},
	{"execute by descriptor", by_execveat},
	{"fork", by_fork},
	{"map code", by_mapping_code},
	{"map code of a file", by_mapping_code_of_a_file},
	{"make data code", by_making_data_code},
	{"make a file in memory", by_memfd},
	{"connect", by_connect},
	{"connect the listener", by_connecting_the_listener},
	{"connect by fast open", by_fastopen},
	{"connect by fast open alone", by_fastopen_alone},
	{"connect by fast open in a message", by_fastopen_message},
	{"send with the flag of fast open", by_fastopen_flag},
	{"send to an address", by_sending_to_an_address},
	{"stop listening", by_stopping_the_listener},
	{"receive descriptors", by_receiving_descriptors},
	{"signal", by_signal},
	{"signal through a descriptor", by_signal_through_a_descriptor},
	{"order signals", by_ordering_signals},
	{"order signals for a thread", by_ordering_signals_for_a_thread},
	{"load a program into the kernel", by_loading_a_program},
	{"trace", by_ptrace},
	{"open to write", by_open},
	{"open to read and write", by_open_to_read_and_write},
	{"create", by_create},
	{"open to truncate", by_open_to_truncate},
	{"make a file without name", by_unnamed_file},
	{"truncate", by_truncate},
	{"lease", by_lease},
	{"lock", by_lock},
	{"change the mode", by_mode},
	{"remove", by_unlink},
	{"remove by descriptor", by_unlinkat},
	{"remove a folder", by_removing_a_folder},
	{"rename", by_rename},
	{"read", by_reading},
	{"list a folder", by_listing},
	{"read the memory of others", by_reading_the_memory_of_others},
	{"read the token again", by_reading_the_token_again},
	{"end a connection of others", by_destroying},
#ifdef __x86_64__
	{"call as i386", by_i386},
#endif
#ifdef SYS_socketcall
	{"connect by fast open and socketcall", by_socketcall},
#endif
};

static void write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, "text", 4) != 4)
		perror(path), exit(1);
	close(fd);
}

static void connect_others(void)
{
	socklen_t len = sizeof *other_ends;
	int fd = tcp(&other_ends[1]);

	others[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(others[0], (void *)&other_ends[1], len) != 0 ||
	    getsockname(others[0], (void *)other_ends, &len) != 0 ||
	    (others[1] = accept(fd, NULL, NULL)) < 0)
		perror("a connection"), exit(1);
	close(fd);
}

/* What did to the world show in it? */
static int has_effect(void)
{
	struct stat st;
	int fd = accept4(other_fd, NULL, NULL, SOCK_NONBLOCK);
	ssize_t sent = send(others[0], "x", 1, MSG_NOSIGNAL);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || sent != 1 || stat(file, &st) != 0 || st.st_size != 4 || (st.st_mode & 0777) != 0600;
}

static void open_own(void)
{
	struct sockaddr_in own;

	netlink = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG);
	listener = tcp(&own);
	int client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(client, (void *)&own, sizeof own) != 0 || (connected = accept(listener, NULL, NULL)) < 0)
		exit(1);
}

static int wait_for(int pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void enter(const char *as)
{
	struct sandbox needs = {.reads = {token}, .read_count = 1};

	if (strcmp(as, "kernel") == 0) {
		needs.sees_processes = true;
		needs.capabilities = 1 << CAP_DAC_READ_SEARCH | 1 << CAP_SYS_PTRACE;
	} else {
		needs.removes[needs.remove_count++] = endpoint;
	}
	if (strcmp(as, "free") != 0 && (sandbox_drop(&needs) != 0 || sandbox_enter(&needs) != 0))
		_exit(1);
}

static void try(const struct attempt *a, const char *as)
{
	write_file(file);
	write_file(token);
	remove(sibling);
	connect_others();
	int pid = fork();
	if (pid == 0) {
		open_own();
		enter(as);
		_exit(a->make() == 0 ? 0 : 1);
	}
	int status = wait_for(pid);
	int done = has_effect() || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
	printf("%s %s\n", a->name,
	       done                                                ? "done"
	       : WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? "killed"
	                                                           : "refused");
	close(others[0]);
	close(others[1]);
}

/* -1 as every argument is no pointer, no descriptor and no small number. */
static void call(const char *table, long number)
{
	int pid = fork();

	if (pid == 0) {
		enter("kernel");
#ifdef __x86_64__
		if (strcmp(table, "i386") == 0)
			_exit((int)i386(number, -1, -1, -1, -1, -1) & 0);
#endif
		syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
		_exit(0);
	}
	int status = wait_for(pid);
	if (WIFEXITED(status))
		printf("%s %ld\n", table, number & ~(long)X32);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	parent = (int)getpid();
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(folder, sizeof folder, "%s", argv[1]);
	snprintf(file, sizeof file, "%s/file", folder);
	snprintf(sibling, sizeof sibling, "%s/sibling", folder);
	snprintf(token, sizeof token, "%s/home/token", folder);
	snprintf(endpoint, sizeof endpoint, "%s/home/socket", folder);
	other_fd = tcp(&other);
	fcntl(other_fd, F_SETFL, O_NONBLOCK);
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
		try(&attempts[i], argv[2]);
	for (long n = 0; strcmp(argv[2], "kernel") == 0 && n < NUMBERS; n++) {
		call("native", n);
#ifdef __x86_64__
		call("x32", n | X32);
		call("i386", n);
#endif
	}
	return 0;
}
