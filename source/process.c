#include "source/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	COMM_MAX = 15,         /* bytes that the kernel keeps of a command name */
	SMALLEST_ENTRY = 24,   /* bytes of what getdents64() tells of a file */
};

/* Reads the beginning of an open file, at most size - 1 bytes, puts a NUL behind it and closes the file.
 * Returns the bytes read, or -1 with errno; fd below 0: an open() that failed. */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	do {
		n = read(fd, text + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && len < size - 1) || (n < 0 && errno == EINTR));
	close(fd);
	text[len] = '\0';
	return n < 0 ? -1 : (ssize_t)len;
}

/* Opens a file of the process or, if its main thread has exited, that of the chosen thread. */
static int open_in(const struct process *p, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "%s%s", p->thread, name);
	return openat(p->dir, path, flags | O_RDONLY | O_CLOEXEC);
}

bool process_open(struct process *p, int pid)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", pid);
	*p = (struct process){.pid = pid, .dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC)};
	return p->dir >= 0;
}

bool process_exists(int pid)
{
	return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

/* The first process runs as long as the machine, or the container, does. */
const char *process_hidden(void)
{
	if (access("/proc/self/stat", R_OK) != 0)
		return "/proc is not mounted: mount it, or bind it into the container";
	if (access("/proc/1/stat", R_OK) == 0)
		return NULL;
	return "/proc hides the processes of other users (hidepid=, ProtectProc=): run as its "
	       "user, or with CAP_SYS_PTRACE";
}

void process_close(struct process *p)
{
	if (p->dir >= 0)
		close(p->dir);
	p->dir = -1;
}

static ssize_t read_text(const struct process *p, const char *name, char *text, size_t size)
{
	return read_all(open_in(p, name, 0), text, size);
}

/* Fields of /proc/PID/stat, by their numbers in proc(5). Field 2 is the command name in parentheses, and may
 * have parentheses itself. */
struct stat_fields {
	char state;                 /* 3 */
	int threads;                /* 20 */
	unsigned long long start;   /* 22: clock ticks since boot */
};

static bool read_stat(const struct process *p, struct stat_fields *f)
{
	char text[1024];

	if (read_text(p, "stat", text, sizeof text) < 0)
		return false;
	const char *behind = strrchr(text, ')');
	return behind && sscanf(behind,
	                        ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
	                        " %*s %*s %d %*s %llu",
	                        &f->state, &f->threads, &f->start) == 3;
}

static bool has_ended(const struct stat_fields *f)
{
	return f->state == 'Z' || f->state == 'X';
}

/* Chooses a thread that runs, in place of the main thread, which has exited and has nothing open any more.
 * False: no thread runs. */
static bool choose_thread(struct process *p)
{
	struct stat_fields f;
	int numbers[PROCESS_NUMBERS], n;
	bool found = false;

	p->thread[0] = '\0';
	const int tasks = open_in(p, "task", O_DIRECTORY);
	while (tasks >= 0 && !found && (n = process_numbers(tasks, numbers)) > 0)
		for (int i = 0; i < n && !found; i++) {
			snprintf(p->thread, sizeof p->thread, "task/%d/", numbers[i]);
			found = read_stat(p, &f) && !has_ended(&f);
		}
	if (tasks >= 0)
		close(tasks);
	if (!found)
		p->thread[0] = '\0';
	return found;
}

/* Has the process threads besides the main one? This takes a single system call, so it is asked before the
 * main thread's state is read to see whether it has exited. */
static bool has_threads(const struct process *p)
{
	struct stat st;

	return fstatat(p->dir, "task", &st, 0) == 0 && st.st_nlink > 2 + 1;
}

/* Does any thread of the process run? *start is set as in struct stat_fields, if its stat can be read. */
static bool is_running(struct process *p, unsigned long long *start)
{
	struct stat_fields f = {0};

	p->thread[0] = '\0';
	if (!read_stat(p, &f))
		return errno != ESRCH;   /* any other error may mean that /proc hides the process */
	*start = f.start;
	return !has_ended(&f) || (f.threads > 1 && choose_thread(p));
}

bool process_alive(struct process *p)
{
	return is_running(p, &(unsigned long long){0});
}

/* Finds the whole of a command name, which the kernel cuts to COMM_MAX bytes, in the process's first
 * argument. Daemons write titles there, such as "nginx: worker process". False: the argument does not
 * have the name. */
static bool find_name(char out[PROCESS_NAME_MAX], const char *comm, const char *arg)
{
	const size_t len = strlen(comm);
	const char *name = NULL;

	for (const char *part = arg; part && len > 0;) {
		if (strncmp(part, comm, len) == 0)
			name = part;
		part = strchr(part, '/');
		part += part != NULL;
	}
	if (!name)
		return false;
	size_t more = len < COMM_MAX ? 0 : strcspn(name + len, " :/");
	snprintf(out, PROCESS_NAME_MAX, "%.*s", (int)(len + more), name);
	return true;
}

struct names {
	char comm[PROCESS_NAME_MAX];      /* as the kernel has it; empty: cannot be read */
	char program[PROCESS_NAME_MAX];   /* base name of argv[0]; empty: there is none */
	char shown[PROCESS_NAME_MAX];     /* see process_name */
};

static void read_names(struct process *p, struct names *n)
{
	char args[4096];
	ssize_t len = read_text(p, "cmdline", args, sizeof args);

	if (len <= 0 && has_threads(p) && choose_thread(p))
		len = read_text(p, "cmdline", args, sizeof args);
	*n = (struct names){0};
	if (read_text(p, "comm", n->comm, sizeof n->comm) > 0)
		n->comm[strcspn(n->comm, "\n")] = '\0';
	if (len <= 0)
		args[len = 0] = '\0';
	const char *next = args + strlen(args) + (len > 0), *slash = strrchr(args, '/');
	const char *program = slash ? slash + 1 : args;
	snprintf(n->program, sizeof n->program, "%.*s", PROCESS_NAME_MAX - 1, program);
	/* Where the first argument is an interpreter, the second is the script that gave the name. */
	if (find_name(n->shown, n->comm, args) ||
	    (next < args + len && find_name(n->shown, n->comm, next)))
		return;
	/* No argument has the command name: the main thread was given a name of its own, so the program's
	 * is shown. But an argument with a blank or a colon is a title, which may say anything. */
	const char *told = *program && args[strcspn(args, " :")] == '\0' ? program : n->comm;
	snprintf(n->shown, sizeof n->shown, "%.*s", PROCESS_NAME_MAX - 1, told);
}

void process_name(struct process *p)
{
	struct names n;

	read_names(p, &n);
	strcpy(p->name, n.shown[0] ? n.shown : "?");
}

static bool is_called(const struct names *n, const char *name)
{
	return strncmp(n->comm, name, COMM_MAX) == 0 || strcmp(n->program, name) == 0 ||
	       strcmp(n->shown, name) == 0;
}

/* Looks at one process for the search, and keeps the one that was started first. */
static void consider(struct process_search *s, int pid, const char *name)
{
	struct process candidate;
	struct names n;
	unsigned long long start = 0;

	if (!process_open(&candidate, pid))
		return;
	read_names(&candidate, &n);
	if (is_called(&n, name) && is_running(&candidate, &start) &&
	    (s->count++ == 0 || start < s->start)) {
		if (s->count > 1)
			process_close(&s->first);
		s->first = candidate;
		s->start = start;
	} else {
		process_close(&candidate);
	}
}

int process_find(struct process_search *s, const char *name, int64_t ns, struct process *p,
                 size_t *others)
{
	const int64_t end = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + ns;

	if (s->proc == 0)
		s->proc = open("/proc", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	for (;;) {
		if (s->looked_at == s->pid_count) {
			s->pid_count = s->proc > 0 ? process_numbers(s->proc, s->pids) : 0;
			s->looked_at = 0;
		}
		if (s->pid_count == 0)
			break;
		consider(s, s->pids[s->looked_at++], name);
		if (clock_ns(CLOCK_PROCESS_CPUTIME_ID) >= end)
			return -1;
	}
	const bool found = s->count > 0;
	*others = s->count - found;
	p->dir = -1;
	if (found)
		*p = s->first;
	s->count = 0;   /* so that process_stop leaves the process open that was found */
	process_stop(s);
	return found;
}

void process_stop(struct process_search *s)
{
	if (s->count > 0)
		process_close(&s->first);
	if (s->proc > 0)
		close(s->proc);
	*s = (struct process_search){0};
}

bool process_elsewhere(const struct process *p)
{
	char theirs[64], ours[64];
	ssize_t their_len = readlinkat(p->dir, "ns/net", theirs, sizeof theirs);
	ssize_t our_len = readlinkat(AT_FDCWD, "/proc/self/ns/net", ours, sizeof ours);

	return their_len > 0 && our_len > 0 &&
	       (their_len != our_len || memcmp(theirs, ours, (size_t)our_len) != 0);
}

/* Counts the descriptors of the process. Linux 6.2 and later tell the number as the size of their folder,
 * which else is listed. False: it cannot be read. */
static bool count_descriptors(const struct process *p, uint64_t *count)
{
	struct stat st;
	char path[64];
	int numbers[PROCESS_NUMBERS], n;

	snprintf(path, sizeof path, "%sfd", p->thread);
	if (fstatat(p->dir, path, &st, 0) == 0 && st.st_size > 0) {
		*count = (uint64_t)st.st_size;
		return true;
	}
	const int folder = process_descriptors(p);
	if (folder < 0)
		return false;
	for (*count = 0; (n = process_numbers(folder, numbers)) > 0;)
		*count += (unsigned)n;
	close(folder);
	return true;
}

/* The number behind a label, 0 when there is none, as in "unlimited". */
static uint64_t number_after(const char *text, const char *label)
{
	const char *at = strstr(text, label);

	return at ? strtoull(at + strlen(label), NULL, 10) : 0;
}

bool process_usage(const struct process *p, struct process_usage *u)
{
	char text[4096];

	*u = (struct process_usage){0};
	if (p) {
		unsigned long long resident;

		if (!count_descriptors(p, &u->files) ||
		    read_text(p, "limits", text, sizeof text) < 0)
			return false;
		u->files_limit = number_after(text, "Max open files");
		if (read_text(p, "statm", text, sizeof text) < 0 ||
		    sscanf(text, "%*s %llu", &resident) != 1)
			return false;
		u->memory = resident * (uint64_t)sysconf(_SC_PAGESIZE);
		return true;
	}
	unsigned long long files, limit;
	if (read_all(open("/proc/sys/fs/file-nr", O_RDONLY | O_CLOEXEC), text, sizeof text) < 0 ||
	    sscanf(text, "%llu %*s %llu", &files, &limit) != 2)
		return false;
	u->files = files;
	u->files_limit = limit < INT64_MAX ? limit : 0;
	if (read_all(open("/proc/meminfo", O_RDONLY | O_CLOEXEC), text, sizeof text) < 0)
		return false;
	u->memory_limit = number_after(text, "MemTotal:") * 1024;
	u->memory = u->memory_limit - number_after(text, "MemAvailable:") * 1024;
	return true;
}

int process_descriptors(const struct process *p)
{
	return open_in(p, "fd", O_DIRECTORY);
}

bool process_other_thread(struct process *p)
{
	struct stat_fields f;
	int error = errno;
	bool chosen = !p->thread[0] && has_threads(p) && read_stat(p, &f) && has_ended(&f) &&
	              choose_thread(p);

	errno = error;
	return chosen;
}

bool process_may_not(void)
{
	return errno == EACCES || errno == EPERM || errno == ENOENT;
}

int process_numbers(int folder, int numbers[PROCESS_NUMBERS])
{
	_Alignas(struct dirent) char entries[PROCESS_NUMBERS * SMALLEST_ENTRY];
	long len;
	int n = 0;

	do {
		len = syscall(SYS_getdents64, folder, entries, sizeof entries);
		for (long at = 0; at < len;) {
			const struct dirent *e = (const void *)(entries + at);

			if (e->d_name[strspn(e->d_name, "0123456789")] == '\0')
				numbers[n++] = atoi(e->d_name);
			at += e->d_reclen;
		}
	} while (len > 0 && n == 0);
	return n;
}

int process_socket(int descriptors, const char *name, uint32_t *inode)
{
	char link[32];

	ssize_t len = readlinkat(descriptors, name, link, sizeof link - 1);
	if (len < 0)
		return -1;
	link[len] = '\0';
	return sscanf(link, "socket:[%" SCNu32 "]", inode) == 1;
}
