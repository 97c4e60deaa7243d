#include "guard/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/net.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__)
#define ARCH AUDIT_ARCH_ARM
#elif defined(__mips__)
/* _MIPS_SIM is 1 for o32 and 2 for n32; musl has no names for these. */
#define ARCH                                                                                       \
	(EM_MIPS | (_MIPS_SIM == 1 ? 0 : __AUDIT_ARCH_64BIT) |                               \
	 (_MIPS_SIM == 2 ? __AUDIT_ARCH_CONVENTION_MIPS64_N32 : 0) |                         \
	 (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __AUDIT_ARCH_LE : 0))
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

static int become(const char *name)
{
	errno = 0;
	const struct passwd *user = getpwnam(name);

	if (!user) {
		log_event("error user=%s reason=\"%s\"", name, errno ? strerror(errno) : "no such user");
		return -1;
	}
	if (initgroups(name, user->pw_gid) == 0 && setgid(user->pw_gid) == 0 &&
	    setuid(user->pw_uid) == 0)
		return 0;
	log_event("error user=%s reason=\"%s\"", name, strerror(errno));
	return -1;
}

/* Keeps these capabilities and gives up the others. The inheritable set is emptied: it matters to
 * execve() only, which is never called. 0, or -1 with errno. */
static int keep_capabilities(uint64_t kept)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
	uint32_t more = 0;

	if (syscall(SYS_capget, &header, sets) != 0)
		return -1;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		const uint32_t mask = (uint32_t)(kept >> 32 * i);

		more |= (sets[i].permitted & ~mask) | sets[i].inheritable;
		sets[i].permitted &= mask;
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0;
	}
	return more ? (int)syscall(SYS_capset, &header, sets) : 0;
}

int sandbox_drop(const struct sandbox *needs)
{
	const uint64_t kept = needs->user ? 0 : needs->capabilities;

	/* Without CAP_SETPCAP the bounding set cannot be made smaller. That is no error: a process
	 * gains from this set by execve() only. */
	for (unsigned long i = 0; i < 64; i++)
		if (!(kept >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0)
			break;
	if (needs->user && become(needs->user) != 0)
		return -1;
	if (keep_capabilities(kept) == 0)
		return 0;
	log_event("error capabilities=\"%s\"", strerror(errno));
	return -1;
}

/* landlock_ruleset_attr as of Landlock's version 6. Older headers lack its last two members. */
struct ruleset {
	uint64_t files, network, scopes;
};

/* Allows this access to all files in the folder of the file. A folder that the process cannot
 * open now, by EACCES or ENOENT, is left out: it could not open files there anyway. 0, or -1
 * with errno. */
static int allow_folder(int ruleset, const char *file, uint64_t access)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(file, '/');

	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - file) + 1 : 1, slash ? file : ".");
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access,
		.parent_fd = open(folder, O_PATH | O_CLOEXEC),
	};
	if (rule.parent_fd < 0)
		return errno == EACCES || errno == ENOENT ? 0 : -1;
	long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	close(rule.parent_fd);
	return (int)result;
}

/* For reading, both the folder of the file and, as certificates are often symbolic links, the
 * folder that the link leads to. 0, or -1 with errno. */
static int allow_files(int ruleset, const struct sandbox *needs)
{
	char target[PATH_MAX];

	for (size_t i = 0; i < needs->read_count; i++)
		if (allow_folder(ruleset, needs->reads[i], LANDLOCK_ACCESS_FS_READ_FILE) != 0 ||
		    (realpath(needs->reads[i], target) &&
		     allow_folder(ruleset, target, LANDLOCK_ACCESS_FS_READ_FILE) != 0))
			return -1;
	for (size_t i = 0; i < needs->remove_count; i++)
		if (allow_folder(ruleset, needs->removes[i], LANDLOCK_ACCESS_FS_REMOVE_FILE) != 0)
			return -1;
	return 0;
}

/* Forbids every kind of access that this kernel's Landlock knows, but for the rules of
 * allow_files. Version 1 has 13 kinds of access to files; versions 2, 3 and 5 add one each,
 * version 4 adds the network and version 6 scopes. 0, or -1 with errno. */
static int confine(const struct sandbox *needs)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (version < 1)
		return 0; /* a kernel before 5.13, or one without it */
	const int kinds = 13 + (version >= 2) + (version >= 3) + (version >= 5);
	const struct ruleset all = {
		.files = (UINT64_C(1) << kinds) - 1,
		.network = version >= 4 ? 3 : 0,
		.scopes = version >= 6 ? 3 : 0,
	};
	long fd = syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
	if (fd < 0)
		return -1;
	int result = allow_files((int)fd, needs);
	if (result == 0)
		result = (int)syscall(SYS_landlock_restrict_self, fd, 0);
	close((int)fd);
	return result;
}

#ifdef ARCH

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW_HALF 0
#else
#define LOW_HALF 4
#endif

#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at))
#define ARGUMENT(n) LOAD(offsetof(struct seccomp_data, args[n]) + LOW_HALF)
#define HIGH_ARGUMENT(n) LOAD(offsetof(struct seccomp_data, args[n]) + 4 - LOW_HALF)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define UNLESS(value, steps) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (steps))
#define IF(value, steps) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (steps), 0)
#define IF_ANY(bits, steps) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), (steps), 0)
#define ALLOW(call) UNLESS(call, 1), RETURN(SECCOMP_RET_ALLOW)

/* Allows the call if argument n has none of these bits, or is this value. */
#define ALLOW_WITHOUT(call, n, bits)                                                               \
	UNLESS(call, 4), ARGUMENT(n), IF_ANY(bits, 1), RETURN(SECCOMP_RET_ALLOW),                  \
		RETURN(SECCOMP_RET_KILL_PROCESS)
#define ALLOW_WITH(call, n, value)                                                                 \
	UNLESS(call, 4), ARGUMENT(n), UNLESS(value, 1), RETURN(SECCOMP_RET_ALLOW),                 \
		RETURN(SECCOMP_RET_KILL_PROCESS)

/* Sending to an address connects a TCP socket (MSG_FASTOPEN), also a listening one after
 * shutdown(SHUT_RD), and reaches whomever a Unix or netlink socket can. */
#define ALLOW_WITHOUT_ADDRESS(call)                                                                \
	UNLESS(call, 8), ARGUMENT(3), IF_ANY(~(uint32_t)SEND_FLAGS, 5), ARGUMENT(4), UNLESS(0, 3), \
		HIGH_ARGUMENT(4), UNLESS(0, 1), RETURN(SECCOMP_RET_ALLOW),                         \
		RETURN(SECCOMP_RET_KILL_PROCESS)

/* What fdopendir(), fopen() and mbedtls do: not leases and locks, which make other processes
 * wait, nor signals, which would go to them. */
#define ALLOW_FCNTL(call)                                                                          \
	UNLESS(call, 6), ARGUMENT(1), IF(F_GETFD, 3), IF(F_SETFD, 2), IF(F_GETFL, 1),              \
		RETURN(SECCOMP_RET_KILL_PROCESS), RETURN(SECCOMP_RET_ALLOW)

/* bpf() to read maps that are open already, and nothing else. */
#define ALLOW_BPF                                                                                  \
	UNLESS(SYS_bpf, 5), ARGUMENT(0), IF(BPF_MAP_LOOKUP_ELEM, 2), IF(BPF_MAP_LOOKUP_BATCH, 1),  \
		RETURN(SECCOMP_RET_KILL_PROCESS), RETURN(SECCOMP_RET_ALLOW)

enum {
	WRITES = O_ACCMODE | O_CREAT | O_TRUNC,
	SEND_FLAGS = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE,
};

/* The same C function is another system call on another architecture or with another C library:
 * musl, for example, reads files with readv() and calls mprotect() in malloc(). */
static const struct sock_filter filter[] = {
	LOAD(offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(offsetof(struct seccomp_data, nr)),

	/* waiting, and the sockets of clients */
#ifdef SYS_poll
	ALLOW(SYS_poll),
#endif
	ALLOW(SYS_ppoll),
#ifdef SYS_ppoll_time64
	ALLOW(SYS_ppoll_time64),
#endif
	ALLOW(SYS_epoll_ctl),
#ifdef SYS_epoll_wait
	ALLOW(SYS_epoll_wait),
#endif
	ALLOW(SYS_epoll_pwait),
	ALLOW(SYS_restart_syscall),
#ifdef SYS_socketcall
	/* i386 and s390x: the arguments are in memory, where they cannot be seen. None of
	 * these takes an address to send or connect to. */
	UNLESS(SYS_socketcall, 8),
	ARGUMENT(0),
	IF(SYS_ACCEPT4, 5),
	IF(SYS_BIND, 4),
	IF(SYS_SEND, 3),
	IF(SYS_RECV, 2),
	IF(SYS_SHUTDOWN, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	RETURN(SECCOMP_RET_ALLOW),
#endif
	ALLOW(SYS_accept4),
	ALLOW(SYS_recvfrom),
	ALLOW_WITHOUT_ADDRESS(SYS_sendto),
#ifdef SYS_recv
	ALLOW(SYS_recv),
#endif
#ifdef SYS_send
	ALLOW_WITHOUT(SYS_send, 3, ~(uint32_t)SEND_FLAGS),
#endif
	ALLOW_WITH(SYS_shutdown, 1, SHUT_WR),
	ALLOW(SYS_read),
	ALLOW(SYS_readv),
	ALLOW(SYS_write),
	ALLOW(SYS_close),

	/* the kernel source: reads the counts of UDP flows, and attaches and detaches the packet
	 * socket by bind(). bind() is no use with any other socket: all are bound already, and no
	 * socket can be made. */
	ALLOW_BPF,
	ALLOW(SYS_bind),

	/* the kernel source: /proc */
	ALLOW(SYS_readlinkat),
	ALLOW(SYS_getdents64),
#ifdef SYS_newfstatat
	ALLOW(SYS_newfstatat),
#endif
#ifdef SYS_fstat
	ALLOW(SYS_fstat),
#endif
#ifdef SYS_fstat64
	ALLOW(SYS_fstat64),
	ALLOW(SYS_fstatat64),
#endif
#ifdef SYS_statx
	ALLOW(SYS_statx),
#endif
	ALLOW(SYS_lseek),
#ifdef SYS__llseek
	ALLOW(SYS__llseek),
#endif

	/* opening, as long as it is for reading */
#ifdef SYS_open
	ALLOW_WITHOUT(SYS_open, 1, WRITES),
#endif
	ALLOW_WITHOUT(SYS_openat, 2, WRITES),

	/* memory, as long as it is not for code */
#ifdef SYS_mmap2
	ALLOW_WITHOUT(SYS_mmap2, 2, PROT_EXEC),
#elif defined(__s390x__) /* has its arguments in memory */
	ALLOW(SYS_mmap),
#else
	ALLOW_WITHOUT(SYS_mmap, 2, PROT_EXEC),
#endif
	ALLOW_WITHOUT(SYS_mprotect, 2, PROT_EXEC),
	ALLOW(SYS_brk),
	ALLOW(SYS_munmap),
	ALLOW(SYS_mremap),
	ALLOW(SYS_madvise),

	/* replay, TLS, time, the end */
	ALLOW(SYS_pread64),
	ALLOW_FCNTL(SYS_fcntl),
#ifdef SYS_fcntl64
	ALLOW_FCNTL(SYS_fcntl64),
#endif
	ALLOW(SYS_getrandom),
	ALLOW(SYS_rt_sigprocmask), /* within getrandom() of glibc 2.41 */
	ALLOW(SYS_getpid), /* mbedtls 3.6.6 looks whether it was forked */
	ALLOW(SYS_futex),
#ifdef SYS_futex_time64
	ALLOW(SYS_futex_time64),
#endif
#ifdef SYS_clock_gettime
	ALLOW(SYS_clock_gettime),
#else
	ALLOW(SYS_clock_gettime32), /* musl's name of it on 32 bits */
#endif
#ifdef SYS_clock_gettime64
	ALLOW(SYS_clock_gettime64),
#endif
#ifdef SYS_time
	ALLOW(SYS_time),
#endif
#ifdef SYS_gettimeofday
	ALLOW(SYS_gettimeofday),
#endif
	ALLOW(SYS_rt_sigreturn),
#ifdef SYS_unlink
	ALLOW(SYS_unlink),
#endif
	ALLOW_WITH(SYS_unlinkat, 2, 0),
#ifdef SYS_lstat
	ALLOW(SYS_lstat),
#endif
	ALLOW(SYS_exit),
	ALLOW(SYS_exit_group),
	RETURN(SECCOMP_RET_KILL_PROCESS),
};

static int install(const struct sock_filter *instructions, size_t bytes)
{
	const struct sock_fprog program = {
		.len = (unsigned short)(bytes / sizeof *instructions),
		.filter = (struct sock_filter *)(uintptr_t)instructions,
	};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Installs the filter, and one more before it that decides about removing files. */
static int filter_calls(bool removes)
{
	const uint32_t removal = removes ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS;
	const struct sock_filter narrower[] = {
		LOAD(offsetof(struct seccomp_data, nr)),
#ifdef SYS_unlink
		UNLESS(SYS_unlink, 1),
		RETURN(removal),
#endif
		UNLESS(SYS_unlinkat, 1),
		RETURN(removal),
		RETURN(SECCOMP_RET_ALLOW),
	};

	return install(narrower, sizeof narrower) != 0 ? -1 : install(filter, sizeof filter);
}

#else

static int filter_calls(bool removes)
{
	(void)removes;
	errno = ENOSYS;
	return -1;
}

#endif

int sandbox_enter(const struct sandbox *needs)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	    (needs->sees_processes || confine(needs) == 0) &&
	    filter_calls(needs->remove_count > 0) == 0)
		return 0;
	log_event("error sandbox=\"%s\" reason=\"start with --no-sandbox where it cannot be had\"",
	          strerror(errno));
	return -1;
}
