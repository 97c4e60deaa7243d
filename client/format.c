#include "format.h"

#include <inttypes.h>
#include <stdio.h>

static double scale(uint64_t bytes, int *unit, int *decimals)
{
	double value = (double)bytes;

	for (*unit = 0; value >= 1023.5; (*unit)++)
		value /= 1024;
	*decimals = *unit > 0 && value < 9.95 ? 1 : 0;
	return value;
}

const char *format_brief(char out[FORMAT_MAX], uint64_t bytes)
{
	int unit, decimals;
	double value = scale(bytes, &unit, &decimals);

	snprintf(out, FORMAT_MAX, "%.*f%.*s", decimals, value, unit > 0, &"BKMGTPE"[unit]);
	return out;
}

const char *format_bytes(char out[FORMAT_MAX], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	int unit, decimals;
	double value = scale(bytes, &unit, &decimals);

	snprintf(out, FORMAT_MAX, "%.*f %s", decimals, value, units[unit]);
	return out;
}

const char *format_latency(char out[FORMAT_MAX], uint64_t ns)
{
	double ms = (double)ns / 1e6;

	if (ms < 0.9995)
		snprintf(out, FORMAT_MAX, "%.0fus", ms * 1000);
	else if (ms < 999.5)
		snprintf(out, FORMAT_MAX, "%.*fms", ms < 9.95, ms);
	else if (ms < 999500)
		snprintf(out, FORMAT_MAX, "%.*fs", ms < 9950, ms / 1000);
	else
		format_age(out, (uint64_t)ms);
	return out;
}

const char *format_age(char out[FORMAT_MAX], uint64_t ms)
{
	const uint64_t s = ms / 1000, day = 86400;

	if (s < 60)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "m", s / 60);
	else if (s < day)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "h", s / 3600);
	else if (s < 1000 * day)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "d", s / day);
	else
		snprintf(out, FORMAT_MAX, "%" PRIu64 "y", s / (365 * day));
	return out;
}
