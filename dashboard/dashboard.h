#ifndef DASHBOARD_H
#define DASHBOARD_H

/* The dashboard's files as make embedded them. */

#include <stddef.h>

struct dashboard_file {
	const char *path;            /* "/" is the page, the others as "/views/swarm.js" */
	const char *type;            /* value of Content-Type */
	const unsigned char *gzip;   /* the body, to be sent with Content-Encoding: gzip */
	size_t len;                  /* bytes of it */
};

extern const struct dashboard_file dashboard_files[];
extern const size_t dashboard_file_count;

#endif
