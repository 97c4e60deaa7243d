/* The content of an event: any bytes are JSON or not, and space around does not matter. */

#include "fuzz.h"
#include "endpoint/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = copy_of(data, size), *spaced = malloc(size + 2);

	CHECK(spaced);
	spaced[0] = '\t';
	memcpy(spaced + 1, data, size);
	spaced[size + 1] = '\n';
	CHECK(json_is_valid(text, size) == json_is_valid(spaced, size + 2));
	free(spaced);
	free(text);
	return 0;
}
