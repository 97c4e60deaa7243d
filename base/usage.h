#ifndef USAGE_H
#define USAGE_H

/* Says on stderr, in one line, why getopt_long() did not take an argument and where help
 * is. got: what it returned, '?' or ':'; letters: its short options, which begin with ':'.
 * opterr must be 0. */
void usage_refused(const char *program, int got, char **argv, const char *letters);

#endif
