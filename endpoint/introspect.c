#include "endpoint/introspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "endpoint/command.h"
#include "source/complete.h"
#include "source/wire.h"

static struct commands all;
static struct client *readers;   /* clients that have something pushed or are being sent an item */
static size_t event_readers;     /* how many of them have events pushed */

/* A snapshot in the form that the observer toolkit needs, made when the first client is due it. */
static struct whole {
	uint64_t sequence;        /* of that snapshot; 0: there is none */
	uint8_t *buffer;          /* owned; NULL: the source's States lack nothing */
	const uint8_t *message;   /* in buffer, or the snapshot's */
	size_t len;
	uint32_t checksum;
} wholes[SNAPSHOT_BUFFERS];   /* of each snapshot of the store: it is kept while that is pinned */

/* The memory of a connection. */
struct client {
	struct command command;
	struct connection *connection;
	struct client *next, **link;   /* in the list of readers; link points to the pointer to this
	                                  client, NULL: it is not in the list */
	bool reads_events;             /* it is counted in event_readers */
	uint64_t reading;              /* number of the item that is being sent; 0: none */
};

/* Has the client's interval passed, so that a snapshot is due: to be pushed to it, to go to the
 * history, or for the source to notice events? */
static bool push_due(const struct daemon *d, const struct command *c)
{
	return command_due(c, d->source->events_when_taken) <= d->now;
}

/* Is a snapshot due for the client that is not to be pushed to it now? */
static bool watches(const struct daemon *d, const struct command *c)
{
	return push_due(d, c) && !command_pushes(c);
}

/* Is the latest snapshot to be sent to the client now? One that was requested must be fresh
 * (is_fresh). One that is pushed must not be older than the interval, unless it was taken after
 * the push was due. */
static bool state_due(const struct daemon *d, const struct connection *c)
{
	const struct command *command = &((const struct client *)c->memory)->command;
	const struct snapshot *latest = d->store.latest;

	if (!latest || latest->sequence <= c->sent)
		return false;
	if (command->requests > 0)
		return is_fresh(d, c->asked);
	return push_due(d, command) && command_pushes(command) &&
	       latest->taken >= earlier(command_due(command, false),
	                                d->now - d->options.interval);
}

/* As struct commands says of evict. */
static void evict(void *arg, uint64_t first)
{
	struct daemon *d = arg;

	for (struct client *c = readers; c; c = c->next) {
		if (c->reading > 0 && c->reading < first)
			d->drop(d, c->connection, "too slow for the history");
		else
			command_forget(&c->command, &all, first);
	}
}

static bool wants_events(void)
{
	return event_readers > 0;
}

/* Puts the client in the list of readers, or takes it out: only clients in the list cost anything
 * when an event comes or the history drops items. */
static void enlist(struct client *client)
{
	const struct command *c = &client->command;
	const bool reads = c->push_states || c->push_events || client->reading > 0;

	event_readers += c->push_events;
	event_readers -= client->reads_events;
	client->reads_events = client->connection->events = c->push_events;
	if (reads == (client->link != NULL))
		return;
	if (reads) {
		client->next = readers;
		client->link = &readers;
		if (readers)
			readers->link = &client->next;
		readers = client;
	} else {
		*client->link = client->next;
		if (client->next)
			client->next->link = client->link;
		client->link = NULL;
	}
}

/* Tells the source since when events are wanted: since the first client reads them, and always
 * with --remember. */
static void tell_source(struct daemon *d)
{
	if (!wants_events() && d->options.remember == 0)
		d->source->events_since = 0;
	else if (d->source->events_since == 0)
		d->source->events_since = d->now;
}

static const struct whole *whole_of(const struct daemon *d, const struct snapshot *s)
{
	struct whole *w = &wholes[s - d->store.all];

	if (w->sequence == s->sequence)
		return w;
	w->sequence = s->sequence;
	w->len = s->len;
	w->message = complete_message(w->buffer, d->store.max, s->message, &w->len);
	w->checksum = wire_checksum(w->message, w->len);
	return w;
}

/* Untouched pages cost nothing. */
static bool open_wholes(const struct options *o)
{
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++)
		if (!(wholes[i].buffer = malloc(o->max_snapshot)))
			return false;
	return true;
}

static int introspect_start(struct daemon *d)
{
	if (commands_open(&all, d->options.history) != 0 || !open_wholes(&d->options)) {
		log_event("error reason=\"%s\" history=%zu", strerror(errno), d->options.history);
		return -1;
	}
	all.interval = d->options.interval;
	all.evict = evict;
	all.evict_arg = d;
	return 0;
}

static void introspect_stop(void)
{
	commands_close(&all);
	memset(&all, 0, sizeof all);
	for (int i = 0; i < SNAPSHOT_BUFFERS; i++) {
		free(wholes[i].buffer);
		wholes[i] = (struct whole){0};
	}
}

static void introspect_open(struct daemon *d, struct connection *c, const struct ws_request *r,
                            const struct http_answer *a)
{
	struct client *client = c->memory;

	(void)d;
	(void)r;
	(void)a;
	client->connection = c;
}

static int introspect_input(struct daemon *d, struct connection *c, const struct ws_decoder *ws)
{
	(void)d;
	command_input(&((struct client *)c->memory)->command, ws->data, ws->data_len,
	              ws->event == WS_MESSAGE);
	return 0;
}

static bool introspect_pauses(const struct connection *c)
{
	return ((const struct client *)c->memory)->command.complete;
}

static void put_frame(struct client *client, const struct command_frame *frame, struct message *m)
{
	m->head = frame->at;
	m->head_len = frame->len;
	m->body = frame->body;
	m->body_len = frame->body_len;
	m->sequence = frame->sequence;
	client->reading = frame->number;
}

static void put_state(struct daemon *d, struct client *client, struct message *m)
{
	struct command *command = &client->command;
	struct snapshot *latest = d->store.latest;
	const struct whole *whole = whole_of(d, latest);
	const struct command_frame frame = command_state(command, whole->len, whole->checksum);

	put_frame(client, &frame, m);
	m->body = whole->message;
	m->body_len = whole->len;
	m->snapshot = latest;
	m->sequence = latest->sequence;
	command->requests -= command->requests > 0;
	client->connection->ready = command->requests > 0;
	if (push_due(d, command) && command_pushes(command))
		command->pushed_at = command->state_at = d->now;
}

/* The order of a client's messages: first what is pushed from the history, then the state that is
 * due, then the answer to the command that came. Such a command may request a state, which is
 * then due in the next round. */
static int next_message(struct daemon *d, struct connection *c, struct message *m)
{
	struct client *client = c->memory;
	struct command *command = &client->command;
	struct command_frame frame = {0};
	int got = 0;

	client->reading = 0;
	for (;;) {
		if (got > 0 || command_push(command, &all, c->sent, &frame)) {
			put_frame(client, &frame, m);
			return 1;
		}
		if (state_due(d, c)) {
			put_state(d, client, m);
			return 1;
		}
		if (!command->complete)
			return 0;
		all.runtime_changes = &d->source->runtime_changes;
		got = command_answer(command, &all, &d->source->runtime, d->now, &frame);
		if (got < 0)
			return got;
		if (command->requests > 0 && !c->ready) {
			c->ready = true;
			c->asked = d->now;
		}
	}
}

static int introspect_next(struct daemon *d, struct connection *c, struct message *m)
{
	const int got = next_message(d, c, m);

	enlist(c->memory);
	tell_source(d);
	return got;
}

static bool introspect_waits(const struct daemon *d, const struct connection *c)
{
	const struct command *command = &((const struct client *)c->memory)->command;

	return (c->tx_left == 0 &&
	        (command->requests > 0 || (push_due(d, command) && command_pushes(command)))) ||
	       watches(d, command);
}

static int64_t introspect_due(const struct daemon *d, const struct connection *c)
{
	const struct command *command = &((const struct client *)c->memory)->command;
	int64_t due = command->requests > 0 && d->store.sequence > c->sent ? c->asked + STALE_MS
	                                                                   : NEVER;

	return push_due(d, command) ? due
	                            : earlier(due, command_due(command, d->source->events_when_taken));
}

static void introspect_close(struct daemon *d, struct connection *c)
{
	struct client *client = c->memory;

	client->command.push_states = client->command.push_events = false;
	client->reading = 0;
	enlist(client);
	tell_source(d);
}

static const char *introspect_event(struct daemon *d, const uint8_t *event, size_t len)
{
	all.visit = d->source->feed ? d->source->feed->connections : 0;
	return commands_event(&all, event, len, &d->source->runtime,
	                      wants_events() && !d->source->late, d->now);
}

/* Puts the snapshot in the history if a paused client has states pushed: once for all of them. */
static void introspect_taken(struct daemon *d)
{
	bool held = false;

	for (struct client *c = readers; c; c = c->next) {
		if (!watches(d, &c->command))
			continue;
		c->command.pushed_at = d->now;
		if (c->command.push_states && !held) {
			const struct whole *w = whole_of(d, d->store.latest);

			commands_state(&all, w->message, w->len, w->checksum, w->sequence, d->now);
		}
		held |= c->command.push_states;
	}
}

const struct endpoint introspect_endpoint = {
	.path = "/introspect",
	.upgrade = true,
	.size = sizeof(struct client),
	.start = introspect_start,
	.stop = introspect_stop,
	.open = introspect_open,
	.input = introspect_input,
	.pauses = introspect_pauses,
	.next = introspect_next,
	.waits = introspect_waits,
	.due = introspect_due,
	.close = introspect_close,
	.event = introspect_event,
	.taken = introspect_taken,
};
