/* A snapshot's bytes, well-formed or not, counted and told to Prometheus: every line is
 * one that it takes, and no name is more than a name. */

#include "fuzz.h"
#include "endpoint/metrics.h"

/* A sample: name, labels in which only escaped quotes stand, and a value. */
static void check_sample(const char *at, const char *end)
{
	bool quoted = false;

	while (at < end && ((*at >= 'a' && *at <= 'z') || *at == '_' || (*at >= '0' && *at <= '9')))
		at++;
	CHECK(at < end && (*at == ' ' || *at == '{'));
	for (; at < end && (quoted || *at != ' '); at++) {
		CHECK((unsigned char)*at >= ' ' && *at != 0x7f);
		if (quoted && *at == '\\') {
			at++;
			CHECK(*at == '\\' || *at == '"' || *at == 'n');
		} else if (*at == '"') {
			quoted = !quoted;
		}
	}
	CHECK(!quoted && at < end);
	for (at++; at < end; at++)
		CHECK((*at >= '0' && *at <= '9') || *at == '.');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct metrics m;
	static const char *const names[COUNTERS_STATES] = {"", "", "", "", "", "", ""};
	static uint64_t sequence;
	Introspection__Runtime runtime = INTROSPECTION__RUNTIME__INIT;
	uint8_t *bytes = copy_of(data, size);
	struct snapshot snapshot = {.sequence = ++sequence, .message = bytes, .len = size};
	char *text = copy_of("", 1);
	void *slow;
	size_t len;

	text = realloc(text, size + 1);
	CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	runtime.implementation = runtime.peer_id = text;
	memcpy(m.counters.names, names, sizeof names);
	m.runtime = &runtime;
	while (!metrics_count(&m, &snapshot, text))
		;
	const char *out = (const char *)metrics_write(&m, text, &slow, &len);
	CHECK(len > 0 && len < METRICS_MAX && out[len - 1] == '\n');
	for (const char *at = out, *end; at < out + len; at = end + 1) {
		end = memchr(at, '\n', (size_t)(out + len - at));
		if (*at != '#')
			check_sample(at, end);
	}
	metrics_release(&m, text);
	free(text);
	free(bytes);
	return 0;
}
