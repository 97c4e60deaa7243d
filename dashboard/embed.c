/* Prints the C source that defines dashboard_files of dashboard.h.
 * embed DIR FILE...: DIR/FILE.gz holds the gzip-encoded FILE. */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *suffix;
	const char *type;
} types[] = {
	{ ".html", "text/html; charset=utf-8" },
	{ ".css", "text/css; charset=utf-8" },
	{ ".js", "text/javascript; charset=utf-8" },
	{ ".svg", "image/svg+xml" },
};

static const char *type_of(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		size_t suffix = strlen(types[i].suffix);

		if (len > suffix && !strcmp(name + len - suffix, types[i].suffix))
			return types[i].type;
	}
	return NULL;
}

/* Prints the bytes of a file as an array. False: it could not be read, errno
 * tells why. */
static bool print_bytes(const char *path, int number)
{
	FILE *f = fopen(path, "rb");
	int c;

	if (!f)
		return false;
	printf("static const unsigned char file_%d[] = {\n", number);
	for (unsigned column = 1; (c = getc(f)) != EOF; column++)
		printf("%d,%s", c, column % 24 ? "" : "\n");
	printf("};\n");
	bool whole = !ferror(f);
	fclose(f);
	return whole;
}

int main(int argc, char **argv)
{
	enum { FILES_MAX = 64 };

	if (argc < 3 || argc > FILES_MAX) {
		fprintf(stderr, "usage: embed DIR FILE... (at most %d files)\n", FILES_MAX - 2);
		return 1;
	}
	printf("#include \"dashboard.h\"\n\n");
	for (int i = 2; i < argc; i++) {
		char path[4096];
		int len = snprintf(path, sizeof path, "%s/%s.gz", argv[1], argv[i]);

		if (len < 0 || (size_t)len >= sizeof path || !type_of(argv[i])) {
			fprintf(stderr, "embed: no content type is known for %s\n", argv[i]);
			return 1;
		}
		if (!print_bytes(path, i)) {
			perror(path);
			return 1;
		}
	}
	printf("\nconst struct dashboard_file dashboard_files[] = {\n");
	for (int i = 2; i < argc; i++) {
		printf("\t{ \"/%s\", \"%s\", file_%d, sizeof file_%d },\n",
		       strcmp(argv[i], "index.html") ? argv[i] : "", type_of(argv[i]), i, i);
	}
	printf("};\nconst size_t dashboard_file_count = sizeof dashboard_files / sizeof *dashboard_files;\n");
	return fflush(stdout) != 0 || ferror(stdout);
}
