/* Loaded before a program (LD_PRELOAD), makes library calls fail. A call site is a
 * place that calls a function: caller is the module and the offset of the return
 * address in it, and those of its callers as far as FAULT_DEPTH says.
 *
 * FAULT="FUNCTION CALLER FIRST LAST ACTION": calls FIRST to LAST of the site, from 1,
 * meet the action. FUNCTION may be several with commas between them; that and CALLER
 * may be *; then it is so at each such site.
 * ACTION > 0: an errno; 0: reads and writes of streams and files move one byte;
 * < 0: clocks jump ahead so many ms, once for each call.
 * FAULT_LOG: a file to which every site is written when it is first met, as
 * "FUNCTION CALLER", and "struck FUNCTION CALLER" when it first meets the action. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

enum { SITES = 1 << 14, DEPTH_MAX = 12, LOG_FD = 200, NAME_MAX_BYTES = 1024, NOTHING = INT_MIN };

struct site {
	uint64_t key;       /* 0: free */
	unsigned calls;
	bool exempt;        /* is not ours */
	bool chosen;
	bool struck;
};

static struct site sites[SITES];
static int depth = 1, log_fd = -1, action;
static unsigned first, last;
static char function_wanted[256], caller_wanted[NAME_MAX_BYTES];
static bool ready;
static int64_t ahead;   /* ms that the clocks were moved */

__attribute__((constructor)) static void prepare(void)
{
	const char *fault = getenv("FAULT"), *log = getenv("FAULT_LOG"), *deep = getenv("FAULT_DEPTH");

	if (deep)
		depth = atoi(deep) < DEPTH_MAX ? atoi(deep) : DEPTH_MAX;
	if (fault && sscanf(fault, "%255s %1023s %u %u %d", function_wanted, caller_wanted, &first, &last,
	                    &action) != 5)
		abort();
	int fd = log ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (fd >= 0) {
		log_fd = fcntl(fd, F_DUPFD_CLOEXEC, LOG_FD);
		close(fd);
	}
	ready = true;
}

struct trace {
	void *frames[DEPTH_MAX];   /* the nearest first; [0] is known */
	int found;                 /* 0: frames[0] was not met yet */
};

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *arg)
{
	struct trace *t = arg;
	void *at = (void *)_Unwind_GetIP(context);

	if (t->found > 0 || at == t->frames[0])
		t->frames[t->found++] = at;
	return t->found < depth ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Is it one of the names, which have commas between them, or are they *? */
static bool is_among(const char *names, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = names; (at = strstr(at, name)) != NULL; at += len)
		if ((at == names || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
			return true;
	return strcmp(names, "*") == 0;
}

/* The tools that look for errors; and the C library, which does not survive all of
 * this itself: that it fails is told by its functions, which fail here, too. */
static bool is_exempt(const char *module)
{
	return strncmp(module, "libasan", 7) == 0 || strncmp(module, "libubsan", 8) == 0 ||
	       strncmp(module, "libstdc++", 9) == 0 || strncmp(module, "libgcc", 6) == 0 ||
	       strncmp(module, "ld-linux", 8) == 0 || strncmp(module, "fault.so", 8) == 0 ||
	       strncmp(module, "libc.so", 7) == 0;
}

static void note(const char *what, const char *function, const char *caller)
{
	char line[NAME_MAX_BYTES + 128];
	int n = snprintf(line, sizeof line, "%s%s %s\n", what, function, caller);
	static ssize_t (*real)(int, const void *, size_t);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "write");
	if (log_fd >= 0 && real(log_fd, line, (size_t)n) < 0)
		abort();
}

static void name_callers(char name[NAME_MAX_BYTES], const struct trace *t, bool *exempt)
{
	size_t used = 0;

	for (int i = 0; i < t->found && used < NAME_MAX_BYTES; i++) {
		Dl_info info = {.dli_fname = "?"};
		const char *module;

		dladdr(t->frames[i], &info);
		module = strrchr(info.dli_fname, '/');
		module = module ? module + 1 : info.dli_fname;
		if (i == 0)
			*exempt = is_exempt(module);
		used += (size_t)snprintf(name + used, NAME_MAX_BYTES - used, "%s%s+%#tx", i ? "," : "",
		                         module, (char *)t->frames[i] - (char *)info.dli_fbase);
	}
}

static struct site *site_of(const char *function, void *caller)
{
	struct trace t = {.frames = {caller}};
	/* A factor over all bits: two addresses differ in few, which must not make up for those in
	 * which two callers differ. */
	uint64_t key = (uintptr_t)function * UINT64_C(0x9e3779b97f4a7c15);
	char name[NAME_MAX_BYTES];
	size_t i;

	if (depth > 1)
		_Unwind_Backtrace(on_frame, &t);
	t.found += t.found == 0;
	for (int f = 0; f < t.found; f++)
		key = (key ^ (uintptr_t)t.frames[f]) * UINT64_C(0x100000001b3);
	key |= 1;
	for (i = key >> 13 & (SITES - 1); sites[i].key != 0; i = (i + 1) & (SITES - 1))
		if (sites[i].key == key)
			return &sites[i];
	sites[i].key = key;
	name_callers(name, &t, &sites[i].exempt);
	if (sites[i].exempt)
		return &sites[i];
	sites[i].chosen = is_among(function_wanted, function) &&
	                  (strcmp(caller_wanted, "*") == 0 || strcmp(caller_wanted, name) == 0);
	note("", function, name);
	return &sites[i];
}

/* What this call meets. */
static int met(const char *function, void *caller)
{
	int before = errno;

	if (!ready)
		return NOTHING;
	ready = false;
	struct site *s = site_of(function, caller);
	bool strikes = s->chosen && ++s->calls >= first && s->calls <= last;
	if (strikes && !s->struck)
		note("struck ", function, "");
	s->struck |= strikes;
	ready = true;
	errno = before;
	return strikes ? action : NOTHING;
}

static bool fails(const char *function, void *caller)
{
	int error = met(function, caller);

	if (error > 0)
		errno = error;
	return error > 0;
}

/* Datagrams and what signalfd says come whole; and what is written to stderr: the log loses
 * what it has no room for, and each byte takes the room of a whole buffer in node's sockets. */
static size_t shortened(int fd, size_t len)
{
	struct stat st;
	int type, before = errno;
	socklen_t size = sizeof type;

	ready = false;
	if (len > 1 && fd != STDERR_FILENO && fstat(fd, &st) == 0 &&
	    (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) ||
	     (S_ISSOCK(st.st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	      type == SOCK_STREAM)))
		len = 1;
	ready = true;
	errno = before;
	return len;
}

#define CALLER __builtin_return_address(0)
#define FIND(name)                                                                                 \
	if (!real)                                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, #name)

/* A function that tells its failure by a value and errno. */
#define WRAP(type, name, failure, declared, passed)                                                \
	type name declared                                                                         \
	{                                                                                          \
		static type(*real) declared;                                                       \
		FIND(name);                                                                        \
		return fails(#name, CALLER) ? failure : real passed;                               \
	}

/* A function that moves up to len bytes. */
#define WRAP_IO(name, declared, passed)                                                            \
	ssize_t name declared                                                                      \
	{                                                                                          \
		static ssize_t(*real) declared;                                                    \
		FIND(name);                                                                        \
		int error = met(#name, CALLER);                                                    \
		if (error > 0) {                                                                   \
			errno = error;                                                             \
			return -1;                                                                 \
		}                                                                                  \
		len = error == 0 ? shortened(fd, len) : len;                                       \
		return real passed;                                                                \
	}

WRAP(void *, malloc, NULL, (size_t n), (n))
WRAP(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, NULL, (void *at, size_t n), (at, n))

WRAP_IO(read, (int fd, void *out, size_t len), (fd, out, len))
WRAP_IO(write, (int fd, const void *in, size_t len), (fd, in, len))
WRAP_IO(recv, (int fd, void *out, size_t len, int flags), (fd, out, len, flags))
WRAP_IO(send, (int fd, const void *in, size_t len, int flags), (fd, in, len, flags))
WRAP_IO(pread64, (int fd, void *out, size_t len, off64_t at), (fd, out, len, at))
WRAP(ssize_t, readlinkat, -1, (int dir, const char *path, char *out, size_t len), (dir, path, out, len))
WRAP(ssize_t, writev, -1, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP(ssize_t, getrandom, -1, (void *out, size_t len, unsigned flags), (out, len, flags))

WRAP(int, accept4, -1, (int fd, struct sockaddr *a, socklen_t *len, int flags), (fd, a, len, flags))
WRAP(int, bind, -1, (int fd, const struct sockaddr *a, socklen_t len), (fd, a, len))
WRAP(int, connect, -1, (int fd, const struct sockaddr *a, socklen_t len), (fd, a, len))
WRAP(int, listen, -1, (int fd, int n), (fd, n))
WRAP(int, socketpair, -1, (int domain, int type, int protocol, int pair[2]),
     (domain, type, protocol, pair))
WRAP(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, getsockname, -1, (int fd, struct sockaddr *a, socklen_t *len), (fd, a, len))
WRAP(int, getsockopt, -1, (int fd, int level, int name, void *v, socklen_t *len),
     (fd, level, name, v, len))
WRAP(int, setsockopt, -1, (int fd, int level, int name, const void *v, socklen_t len),
     (fd, level, name, v, len))
WRAP(int, shutdown, -1, (int fd, int how), (fd, how))
WRAP(int, poll, -1, (struct pollfd *fds, nfds_t n, int ms), (fds, n, ms))
WRAP(int, ppoll, -1, (struct pollfd *fds, nfds_t n, const struct timespec *t, const sigset_t *set),
     (fds, n, t, set))
WRAP(int, signalfd, -1, (int fd, const sigset_t *set, int flags), (fd, set, flags))
WRAP(int, sigprocmask, -1, (int how, const sigset_t *set, sigset_t *old), (how, set, old))

WRAP(int, fstat64, -1, (int fd, struct stat64 *st), (fd, st))
WRAP(int, lstat64, -1, (const char *path, struct stat64 *st), (path, st))
WRAP(int, fstatat64, -1, (int dir, const char *path, struct stat64 *st, int flags),
     (dir, path, st, flags))
WRAP(int, ftruncate64, -1, (int fd, off64_t len), (fd, len))
WRAP(off64_t, lseek64, -1, (int fd, off64_t at, int whence), (fd, at, whence))
WRAP(int, unlink, -1, (const char *path), (path))
WRAP(DIR *, opendir, NULL, (const char *path), (path))
WRAP(DIR *, fdopendir, NULL, (int fd), (fd))
WRAP(struct dirent64 *, readdir64, NULL, (DIR *d), (d))
WRAP(FILE *, fopen, NULL, (const char *path, const char *mode), (path, mode))
WRAP(FILE *, fopen64, NULL, (const char *path, const char *mode), (path, mode))
WRAP(int, fseek, -1, (FILE *f, long at, int whence), (f, at, whence))
WRAP(long, ftell, -1, (FILE *f), (f))
WRAP(FILE *, open_memstream, NULL, (char **at, size_t *len), (at, len))

WRAP(int, getrlimit64, -1, (__rlimit_resource_t what, struct rlimit64 *r), (what, r))
WRAP(int, setrlimit64, -1, (__rlimit_resource_t what, const struct rlimit64 *r), (what, r))
WRAP(int, uname, -1, (struct utsname *u), (u))
WRAP(struct passwd *, getpwnam, NULL, (const char *name), (name))
WRAP(int, initgroups, -1, (const char *name, gid_t group), (name, group))
WRAP(int, setgid, -1, (gid_t id), (id))
WRAP(int, setuid, -1, (uid_t id), (id))
WRAP(int, getaddrinfo, EAI_SYSTEM,
     (const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out),
     (host, port, hints, out))
/* MBEDTLS_ERR_ENTROPY_SOURCE_FAILED */
WRAP(int, mbedtls_entropy_func, -0x3c, (void *entropy, unsigned char *out, size_t len),
     (entropy, out, len))

/* These need more, or variable arguments. */

#define WRAP_OPEN(name, declared, passed)                                                          \
	int name declared                                                                          \
	{                                                                                          \
		static int(*real) declared;                                                        \
		FIND(name);                                                                        \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;            \
		va_end(args);                                                                      \
		return fails(#name, CALLER) ? -1 : real passed;                                    \
	}

WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

int fcntl64(int fd, int command, ...)
{
	static int (*real)(int, int, ...);
	FIND(fcntl64);
	va_list args;

	va_start(args, command);
	int value = va_arg(args, int);
	va_end(args);
	return fails("fcntl64", CALLER) ? -1 : real(fd, command, value);
}

/* The system has closed the descriptor whatever it says. */
int close(int fd)
{
	static int (*real)(int);
	FIND(close);
	int result = real(fd);
	return fails("close", CALLER) ? -1 : result;
}

/* What ferror() looks at. */
static void mark(FILE *f)
{
	f->_flags |= 0x20;
}

char *fgets(char *restrict out, int len, FILE *restrict f)
{
	static char *(*real)(char *, int, FILE *);
	FIND(fgets);
	if (!fails("fgets", CALLER))
		return real(out, len, f);
	mark(f);
	return NULL;
}

size_t fread(void *restrict out, size_t size, size_t n, FILE *restrict f)
{
	static size_t (*real)(void *, size_t, size_t, FILE *);
	FIND(fread);
	if (!fails("fread", CALLER))
		return real(out, size, n, f);
	mark(f);
	return 0;
}

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	FIND(syscall);
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	return fails("syscall", CALLER) ? -1 : real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int prctl(int what, ...)
{
	static int (*real)(int, ...);
	FIND(prctl);
	unsigned long a[4];
	va_list args;

	va_start(args, what);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);
	return fails("prctl", CALLER) ? -1 : real(what, a[0], a[1], a[2], a[3]);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	FIND(clock_gettime);
	int error = met("clock_gettime", CALLER);

	if (error > 0) {
		errno = error;
		return -1;
	}
	int result = real(clock, t);
	ahead += error < 0 && error != NOTHING ? -error : 0;
	t->tv_sec += ahead / 1000;
	t->tv_nsec += ahead % 1000 * 1000000;
	if (t->tv_nsec >= 1000000000) {
		t->tv_nsec -= 1000000000;
		t->tv_sec++;
	}
	return result;
}
