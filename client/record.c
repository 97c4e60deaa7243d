#include "record.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "source/wire.h"

enum { FILE_VERSION = 1 };

/* Writes head and body as a whole: if either fails, the file is cut to what it was before. */
static int append(struct record *r, const void *head, size_t head_len, const void *body,
		  size_t body_len)
{
	size_t done = 0, all = head_len + body_len;

	while (done < all) {
		size_t skip = done < head_len ? done : head_len;
		struct iovec parts[] = {
		    {(char *)head + skip, head_len - skip},
		    {(char *)body + (done - skip), body_len - (done - skip)},
		};
		ssize_t n = writev(r->fd, parts, 2);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int why = errno;

			/* A pipe cannot be truncated, and has its end here. */
			if (ftruncate(r->fd, r->end) == 0)
				lseek(r->fd, r->end, SEEK_SET);
			errno = why;
			return -1;
		}
		done += (size_t)n;
	}
	r->end += (off_t)all;
	return 0;
}

int record_open(struct record *r, const char *path, bool overwrite)
{
	uint32_t version = htole32(FILE_VERSION);

	*r = (struct record){.path = path, .fd = STDOUT_FILENO};
	if (strcmp(path, "-") != 0) {
		r->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (overwrite ? O_TRUNC : O_EXCL),
			     0666);
		r->created = r->fd >= 0 && !overwrite;
	}
	if (r->fd < 0)
		return -1;
	off_t at = lseek(r->fd, 0, SEEK_CUR);
	r->end = at < 0 ? 0 : at;
	if (append(r, &version, sizeof version, NULL, 0) == 0)
		return 0;
	int why = errno;
	record_close(r);
	errno = why;
	return -1;
}

int record_write(struct record *r, const uint8_t *message, size_t len)
{
	uint32_t head[2] = {htole32(wire_checksum(message, len)), htole32((uint32_t)len)};

	return append(r, head, sizeof head, message, len);
}

int record_close(struct record *r)
{
	if (r->created && r->messages == 0)
		unlink(r->path);
	return close(r->fd);
}
