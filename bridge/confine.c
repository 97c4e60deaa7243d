#include "bridge/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* A folder that is not there is nothing to allow. */
static void allow_reading(int rules, const char *folder)
{
	const struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
		.parent_fd = open(folder, O_PATH | O_CLOEXEC | O_DIRECTORY),
	};

	if (rule.parent_fd < 0)
		return;
	syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	close(rule.parent_fd);
}

/* Certificates are in /etc or where links from there lead, and so is resolv.conf; the libraries
 * are what the C library loads when it looks up a name. Of Landlock all that its first version
 * knows is handled, and in later ones truncating (the 3rd) and binding (the 4th). */
static int restrict_files(void)
{
	static const char *const folders[] = {"/etc", "/usr/share", "/usr/local/share", "/usr/lib",
	                                      "/usr/lib64", "/lib", "/lib64"};
	const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	const struct {
		uint64_t files, network;
	} all = {
		.files = (UINT64_C(1) << (13 + (version >= 2) + (version >= 3))) - 1,
		.network = version >= 4,
	};
	char resolv[PATH_MAX];

	if (version < 1)
		return 0;   /* a kernel before 5.13, or one without it */
	const int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
	if (rules < 0)
		return -1;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		allow_reading(rules, folders[i]);
	if (realpath("/etc/resolv.conf", resolv)) {
		*strrchr(resolv, '/') = '\0';
		allow_reading(rules, resolv);
	}
	const int result = (int)syscall(SYS_landlock_restrict_self, rules, 0);
	close(rules);
	return result;
}

/* libcurl, OpenSSL and the resolver make calls that differ from one version to the next, so what
 * is named here is what none of them needs. Calls of other architectures are all killed. */
static int filter_calls(void)
{
	static const int never[] = {
		SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(bind),
		SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(ptrace), SCMP_SYS(kill),
		SCMP_SYS(tkill), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal), SCMP_SYS(pidfd_getfd),
		SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(mount), SCMP_SYS(umount2),
		SCMP_SYS(chroot), SCMP_SYS(pivot_root), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf),
		SCMP_SYS(perf_event_open), SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd),
		SCMP_SYS(memfd_create), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(keyctl),
		SCMP_SYS(add_key), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename),
		SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(link),
		SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat), SCMP_SYS(mknod), SCMP_SYS(mknodat),
		SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(fchown),
		SCMP_SYS(fchownat), SCMP_SYS(truncate), SCMP_SYS(ftruncate),
	};
	scmp_filter_ctx calls = seccomp_init(SCMP_ACT_ALLOW);
	int result = calls ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof never / sizeof *never && result == 0; i++)
		result = seccomp_rule_add(calls, SCMP_ACT_KILL_PROCESS, never[i], 0);
	/* The resolver of libcurl is a thread. The flags of clone3() are in memory, where they
	 * cannot be seen: the C library then makes do with clone(). */
	if (result == 0)
		result = seccomp_rule_add(calls, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
		                          SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	if (result == 0)
		result = seccomp_rule_add(calls, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* Memory is for data or for code. */
	if (result == 0)
		result = seccomp_rule_add(calls, SCMP_ACT_KILL_PROCESS, SCMP_SYS(mmap), 1,
		                          SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE | PROT_EXEC,
		                                  PROT_WRITE | PROT_EXEC));
	if (result == 0)
		result = seccomp_rule_add(calls, SCMP_ACT_KILL_PROCESS, SCMP_SYS(mprotect), 1,
		                          SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
	if (result == 0)
		result = seccomp_load(calls);
	seccomp_release(calls);
	errno = -result;
	return result;
}

int confine(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	    restrict_files() == 0 && filter_calls() == 0)
		return 0;
	log_event("error sandbox=\"%s\" reason=\"start with --no-sandbox where it cannot be had\"",
	          strerror(errno));
	return -1;
}
