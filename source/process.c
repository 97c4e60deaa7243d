#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMM_MAX = 15 };   /* characters that the kernel keeps of a command name */

/* Reads the beginning of a file and ends it with a NUL. Returns its length, -1
 * with errno when it cannot be read. */
static ssize_t read_text(int dir, const char *path, char *text, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
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

static bool is_number(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

bool process_open(struct process *p, const char *pid)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/%.20s", pid);
	p->dir = is_number(pid) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	p->pid = (int)strtol(pid, NULL, 10);
	p->name[0] = '\0';
	return p->dir >= 0;
}

void process_close(struct process *p)
{
	if (p->dir >= 0)
		close(p->dir);
	p->dir = -1;
}

/* Fields 3 and 22 of stat. Field 2 is a name that may hold anything, the
 * characters that surround it included. start: clock ticks since boot. */
static bool read_stat(const struct process *p, char *state, unsigned long long *start)
{
	char text[1024];

	if (read_text(p->dir, "stat", text, sizeof text) < 0)
		return false;
	const char *behind = strrchr(text, ')');
	return behind && sscanf(behind,
	                        ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
	                        " %*s %*s %*s %*s %llu",
	                        state, start) == 2;
}

bool process_alive(const struct process *p)
{
	unsigned long long start;
	char state;

	if (!read_stat(p, &state, &start))
		return errno != ENOENT && errno != ESRCH;
	return state != 'Z' && state != 'X';
}

/* The program's name in an argument: behind the last slash, and before what
 * daemons append when they write a title there. */
static void base_name(char out[PROCESS_NAME_MAX], const char *arg)
{
	size_t len = strcspn(arg, " :");
	const char *slash = memrchr(arg, '/', len);
	const char *base = slash ? slash + 1 : arg;

	snprintf(out, PROCESS_NAME_MAX, "%.*s", (int)(arg + len - base), base);
}

void process_printable(char *name)
{
	for (; *name; name++)
		if (!isascii(*name) || !isprint(*name))
			*name = '?';
}

struct names {
	char comm[PROCESS_NAME_MAX];      /* empty: cannot be read */
	char program[PROCESS_NAME_MAX];   /* base name of argv[0]; empty: there is none */
	char script[PROCESS_NAME_MAX];    /* base name of argv[1], which is one for interpreters */
};

static void read_names(const struct process *p, struct names *n)
{
	char args[4096];
	ssize_t len = read_text(p->dir, "cmdline", args, sizeof args);
	const char *next = len > 0 ? args + strlen(args) + 1 : args;

	*n = (struct names){0};
	if (read_text(p->dir, "comm", n->comm, sizeof n->comm) > 0)
		n->comm[strcspn(n->comm, "\n")] = '\0';
	if (len > 0)
		base_name(n->program, args);
	if (next < args + len)
		base_name(n->script, next);
}

void process_name(struct process *p)
{
	struct names n;

	read_names(p, &n);
	size_t len = strlen(n.comm);
	bool own = strncmp(n.program, n.comm, len) == 0 || strncmp(n.script, n.comm, len) == 0;
	strcpy(p->name, n.comm[0] && (own || !n.program[0]) ? n.comm : n.program);
	process_printable(p->name);
}

bool process_find(struct process *p, const char *name, size_t *others)
{
	DIR *proc = opendir("/proc");
	unsigned long long start, first = 0;
	size_t count = 0;
	char state;

	p->dir = -1;
	for (struct dirent *e; proc && (e = readdir(proc));) {
		struct process candidate;
		struct names n;

		if (!process_open(&candidate, e->d_name))
			continue;
		read_names(&candidate, &n);
		if ((strncmp(n.comm, name, COMM_MAX) == 0 || strcmp(n.program, name) == 0) &&
		    read_stat(&candidate, &state, &start) && state != 'Z' && state != 'X' &&
		    (count++ == 0 || start < first)) {
			process_close(p);
			*p = candidate;
			first = start;
		} else {
			process_close(&candidate);
		}
	}
	if (proc)
		closedir(proc);
	*others = count - (count > 0);
	return count > 0;
}

bool process_elsewhere(const struct process *p)
{
	char theirs[64], ours[64];
	ssize_t their_len = readlinkat(p->dir, "ns/net", theirs, sizeof theirs);
	ssize_t our_len = readlinkat(AT_FDCWD, "/proc/self/ns/net", ours, sizeof ours);

	return their_len > 0 && our_len > 0 &&
	       (their_len != our_len || memcmp(theirs, ours, (size_t)our_len) != 0);
}

static DIR *open_descriptors(const struct process *p)
{
	int fd = openat(p->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		close(fd);
	return dir;
}

/* Linux 6.2 and later count them without a listing. */
static bool count_descriptors(const struct process *p, uint64_t *count)
{
	struct stat st;

	if (fstatat(p->dir, "fd", &st, 0) == 0 && st.st_size > 0) {
		*count = (uint64_t)st.st_size;
		return true;
	}
	DIR *dir = open_descriptors(p);
	if (!dir)
		return false;
	*count = 0;
	for (struct dirent *e; (e = readdir(dir));)
		*count += is_number(e->d_name);
	closedir(dir);
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
		    read_text(p->dir, "limits", text, sizeof text) < 0)
			return false;
		u->files_limit = number_after(text, "Max open files");
		if (read_text(p->dir, "statm", text, sizeof text) < 0 ||
		    sscanf(text, "%*s %llu", &resident) != 1)
			return false;
		u->memory = resident * (uint64_t)sysconf(_SC_PAGESIZE);
		return true;
	}
	unsigned long long files, limit;
	if (read_text(AT_FDCWD, "/proc/sys/fs/file-nr", text, sizeof text) < 0 ||
	    sscanf(text, "%llu %*s %llu", &files, &limit) != 2)
		return false;
	u->files = files;
	u->files_limit = limit < INT64_MAX ? limit : 0;
	if (read_text(AT_FDCWD, "/proc/meminfo", text, sizeof text) < 0)
		return false;
	u->memory_limit = number_after(text, "MemTotal:") * 1024;
	u->memory = u->memory_limit - number_after(text, "MemAvailable:") * 1024;
	return true;
}

static bool search_one(struct process *p, const struct process_search *search)
{
	DIR *dir = open_descriptors(p);
	bool readable = dir || errno != EACCES;

	for (struct dirent *e; dir && (e = readdir(dir));) {
		char link[32];
		unsigned long long inode;
		int fd = atoi(e->d_name);

		if (!is_number(e->d_name) || !search->wanted(search->arg, p->pid, fd))
			continue;
		ssize_t len = readlinkat(dirfd(dir), e->d_name, link, sizeof link - 1);
		if (len < 0) {
			readable = readable && errno != EACCES;
			continue;
		}
		link[len] = '\0';
		if (sscanf(link, "socket:[%llu]", &inode) == 1)
			search->found(search->arg, p, fd, inode);
	}
	if (dir)
		closedir(dir);
	return readable;
}

bool process_sockets(struct process *p, const struct process_search *search)
{
	if (p)
		return search_one(p, search);
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc && (e = readdir(proc));) {
		struct process each;

		if (!process_open(&each, e->d_name))
			continue;
		search_one(&each, search);
		process_close(&each);
	}
	if (proc)
		closedir(proc);
	return true;
}
