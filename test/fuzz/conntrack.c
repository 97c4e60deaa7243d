/* What the kernel says of its connection tracking: two bytes of length, so much of a netlink answer
 * on the addresses of this machine, then the table as text. */

#include "fuzz.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "source/conntrack.h"

enum { NOW = 1000000000 };

static const uint8_t *answer;
static size_t answer_len;

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	(void)fd, (void)bytes, (void)flags;
	return (ssize_t)len;
}

ssize_t recv(int fd, void *out, size_t size, int flags)
{
	const size_t n = answer_len < size ? answer_len : size;

	(void)fd, (void)flags;
	if (answer_len == 0) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(out, answer, n);
	answer_len = 0;
	return (ssize_t)n;
}

static void on_flow(void *arg, const struct flow_key *key, const struct flow_value *value, size_t n)
{
	const struct conntrack *c = arg;
	bool own = IN6_IS_ADDR_V4MAPPED(&value->local) && value->local.s6_addr[12] == IN_LOOPBACKNET;

	CHECK(n == 1 && key->interface == 0);
	CHECK((value->initial[0] == 0) != (value->initial[1] == 0));
	CHECK((value->packets[0] | value->packets[1]) != 0);
	CHECK((int64_t)value->last <= NOW && value->seen == FLOW_OTHER);
	for (size_t i = 0; i < c->own_count; i++)
		own = own || IN6_ARE_ADDR_EQUAL(&c->own[i], &value->local);
	CHECK(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conntrack c;
	struct input in = {data, size};
	const int file = memfd_create("conntrack", MFD_CLOEXEC);
	const size_t len = (size_t)take_byte(&in) << 8 | take_byte(&in);
	uint8_t *bytes = copy_of(in.at, len < in.left ? len : in.left);

	answer = bytes;
	answer_len = len < in.left ? len : in.left;
	in.at += answer_len;
	in.left -= answer_len;
	c = (struct conntrack){.file = file, .all = size % 2, .timeout = {30, 120}};
	CHECK(file >= 0 && write(file, in.at, in.left) == (ssize_t)in.left);
	conntrack_read(&c, NOW, on_flow, &c);
	close(file);
	free(bytes);
	return 0;
}
