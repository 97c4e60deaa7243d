#include "client/download.h"

#include <endian.h>
#include <string.h>

#include "source/wire.h"

enum { FILE_VERSION = 1 };

static const size_t WORD = 4;   /* bytes of a uint32 */

static uint32_t word(const uint8_t *in)
{
	uint32_t n;

	memcpy(&n, in, sizeof n);
	return le32toh(n);
}

const char *download_next(const uint8_t *file, size_t file_len, size_t *at, const uint8_t **message,
			  size_t *len)
{
	*message = NULL;
	if (*at == 0) {
		if (file_len < WORD || word(file) != FILE_VERSION)
			return "is no recording of version 1";
		*at = WORD;
	}
	const size_t left = file_len - *at;
	if (left == 0)
		return NULL;
	if (left < 2 * WORD || word(file + *at + WORD) > left - 2 * WORD)
		return "ends within a message";
	*len = word(file + *at + WORD);
	if (word(file + *at) != wire_checksum(file + *at + 2 * WORD, *len))
		return "holds a message with a wrong checksum";
	*message = file + *at + 2 * WORD;
	*at += 2 * WORD + *len;
	return NULL;
}
