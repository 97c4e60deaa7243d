/* A file that may be a recording. First byte: bit 0, loop; bit 1, put in the checksums
 * that its messages should have, which nobody guesses. */

#include <endian.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "source/source.h"
#include "source/wire.h"

enum { LIMIT = 4096, TURNS = 64, STEP = 700, FILE_HEADER = 4, HEADER = 8 };

static void put_checksums(uint8_t *file, size_t size)
{
	uint32_t len, sum;

	for (size_t at = FILE_HEADER; at <= size && size - at > HEADER; at += HEADER + len) {
		memcpy(&len, file + at + 4, sizeof len);
		len = le32toh(len);
		if (len > size - at - HEADER)
			return;
		sum = htole32(wire_checksum(file + at + HEADER, len));
		memcpy(file + at, &sum, sizeof sum);
	}
}

static const char *take_event(void *arg, const uint8_t *event, size_t len, int64_t now)
{
	struct wire_error error;

	(void)arg;
	CHECK(wire_check(&introspection__event__descriptor, event, len, &error));
	return now % 2 ? NULL : "refused";
}

static void play(struct source *replay)
{
	for (int64_t now = 1; now < TURNS * STEP; now += STEP) {
		struct snapshot_input got = {0};
		int64_t deadline = INT64_MAX;

		if (replay->take(replay, now, &got) == 1) {
			Introspection__State *state =
				introspection__state__unpack(NULL, got.len, got.bytes);
			CHECK(got.len <= LIMIT && state && !state->runtime && state->sequence == 0);
			introspection__state__free_unpacked(state, NULL);
		}
		replay->events_since = now % 3 ? 0 : now;
		CHECK(replay->poll(replay, NULL, &deadline) == 0);
		replay->serve(replay, NULL, 0, now);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t choice = take_byte(&in);
	uint8_t *bytes = copy_of(in.at, in.left);
	char path[64];
	int fd = memfd_create("recording", MFD_CLOEXEC);

	if (choice & 2)
		put_checksums(bytes, in.left);
	CHECK(fd >= 0 && write(fd, bytes, in.left) == (ssize_t)in.left);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct source *replay = replay_open(path, choice & 1, LIMIT);
	if (replay) {
		replay->event = take_event;
		play(replay);
		replay->close(replay);
	}
	close(fd);
	free(bytes);
	return 0;
}
