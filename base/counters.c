#include "base/counters.h"

#include <stddef.h>

#include "ws.h"

const unsigned counters_close_codes[COUNTERS_CLOSE_CODES] = {
	WS_PROTOCOL_ERROR, WS_INVALID_DATA, WS_TOO_BIG,
};
const double counters_bounds[COUNTERS_BUCKETS - 1] = {
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1,
};

void counters_built(struct counters *c, uint64_t ns)
{
	size_t i = 0;

	while (i < COUNTERS_BUCKETS - 1 && (double)ns > counters_bounds[i] * 1e9)
		i++;
	c->built[i]++;
	c->built_ns += ns;
	c->taken++;
}

void counters_closed(struct counters *c, unsigned code)
{
	for (size_t i = 0; i < COUNTERS_CLOSE_CODES; i++)
		c->closed[i] += counters_close_codes[i] == code;
}
