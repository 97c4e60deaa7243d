#include "guard/rights.h"

#include <string.h>
#include <sys/un.h>

#include "guard/sandbox.h"

int rights_give_up(const struct daemon *d)
{
	const struct options *o = &d->options;
	const struct sockaddr_storage *own = d->listeners.addresses;
	const char *const read_again[] = {o->token_file, o->tls_cert, o->tls_key, o->tls_client_ca,
	                                  o->networks};
	struct sandbox needs = {
		.user = o->user,
		.capabilities = d->source->capabilities,
		.sees_processes = d->source->sees_processes,
	};

	for (size_t i = 0; i < sizeof read_again / sizeof *read_again; i++)
		if (read_again[i])
			needs.reads[needs.read_count++] = read_again[i];
	for (size_t i = 0; i < d->listeners.count; i++)
		if (own[i].ss_family == AF_UNIX)
			needs.removes[needs.remove_count++] = ((const struct sockaddr_un *)&own[i])->sun_path;
	if (o->feed && strcmp(o->feed, "-") != 0)
		needs.removes[needs.remove_count++] = o->feed;
	return sandbox_drop(&needs) != 0 || (!o->no_sandbox && sandbox_enter(&needs) != 0) ? -1 : 0;
}
