/* In place of libFuzzer: gives the files that are named as arguments to a target. */

#include <errno.h>
#include <stdio.h>

#include "fuzz.h"

enum { FILE_MAX = 1 << 20 };

int main(int argc, char **argv)
{
	static uint8_t bytes[FILE_MAX];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");

		if (!file) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			return 1;
		}
		size_t len = fread(bytes, 1, sizeof bytes, file);
		fclose(file);
		fprintf(stderr, "%s\n", argv[i]);
		uint8_t *exact = copy_of(bytes, len);
		LLVMFuzzerTestOneInput(exact, len);
		free(exact);
	}
	printf("%d inputs\n", argc - 1);
	return argc > 1 ? 0 : 1;
}
