#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Waits until read() would not block, but not beyond end (ms, monotonic). 0, or -1 with errno;
 * ENODATA: nothing came in time. */
static int wait_until(int fd, int64_t end)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	const int64_t left = end - clock_ms(CLOCK_MONOTONIC);
	const int n = poll(&p, 1, left > 0 ? (int)left : 0);

	if (n == 0)
		errno = ENODATA;
	return n > 0 ? 0 : -1;
}

ssize_t file_read(const char *file, void *into, size_t size)
{
	const int64_t end = clock_ms(CLOCK_MONOTONIC) + FILE_WAIT_MS;
	const int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	while (fd >= 0 && len < size && (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))) {
		n = wait_until(fd, end);
		if (n == 0)
			n = read(fd, (char *)into + len, size - len);
		len += n > 0 ? (size_t)n : 0;
	}
	const int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return n < 0 ? -1 : (ssize_t)len;
}

void file_warn_readable(const char *file)
{
	struct stat st;

	if (stat(file, &st) == 0 && st.st_mode & (S_IROTH | S_IWOTH))
		log_event("warning file=%s mode=%04o reason=\"it is a secret that every user of this "
		          "machine may read: chmod 600\"",
		          file, (unsigned)st.st_mode & 07777);
}
