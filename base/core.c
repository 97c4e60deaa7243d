/* The core alone: the pull protocol and the kernel source. */

#include "base/log.h"
#include "base/parts.h"

const struct stream_kind *const parts_streams[] = {&stream_plain, NULL};
const struct endpoint *const parts_endpoints[] = {NULL};
const struct guard *const parts_guard = NULL;
bool (*const parts_files)(struct http_answer *a, const struct ws_request *r) = NULL;
int (*const parts_rights)(const struct daemon *d) = NULL;
const struct forms *const parts_forms = NULL;
const char *(*const parts_deflate)(const struct ws_request *r) = NULL;

/* Of source/kernel.h and source/events.h. */
extern const struct kernel_udp *const kernel_udp;
extern const struct kernel_events *const kernel_events;
const struct kernel_udp *const kernel_udp = NULL;
const struct kernel_events *const kernel_events = NULL;

const struct source_kind parts_sources[] = {{0}};

void parts_read_again(const struct options *o)
{
	(void)o;
	log_event("reloaded nothing=\"the core reads no files\"");
}

const struct option_row parts_options[] = {{0}};

const char *parts_conflict(const struct options *o)
{
	(void)o;
	return NULL;
}
