#include "base/usage.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

void usage_refused(const char *program, int got, char **argv, const char *letters)
{
	const char letter[] = {'-', (char)optopt, '\0'};
	const char *argument = argv[optind - 1];
	const char *why = "takes no value";

	if (got == ':')
		why = "needs a value";
	else if (optopt == 0)
		why = "no such option, or more than one that begins so";
	else if (optopt < 256 && !strchr(letters, optopt))
		why = "no such option";
	/* Of letters in one argument the first may be wrong: argv does not tell which. */
	if (optopt > 0 && optopt < 256 && (strncmp(argument, "--", 2) != 0 || !strchr(letters, optopt)))
		argument = letter;
	fprintf(stderr, "%s: %s: %s: see --help\n", program, argument, why);
}
