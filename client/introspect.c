/* introspect: shows the snapshots of a daemon on a terminal, prints them as JSON
 * or records them. One poll() loop over the connection and the terminal or standard output. The
 * client sends a ready when it has shown, printed or recorded the last snapshot. */

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "guard/auth.h"
#include "client/download.h"
#include "decode.h"
#include "client/events.h"
#include "client/json.h"
#include "link.h"
#include "record.h"
#include "source/complete.h"
#include "view.h"

enum {
	ESCAPE_MS = 100, /* without a further byte, after which an escape character counts as the key Esc */
	TICK_MS = 1000,  /* between two pictures in which only time has passed */
	RECORDING_RETENTION = 24 * 3600 * 1000, /* ms */
};

struct program {
	struct arguments arguments;
	bool done;
	int status, signal; /* with which the program ends; signal 0: none */

	struct link link;
	struct auth auth;        /* holds the token */
	bool greeted;            /* the daemon has answered a HELLO */
	bool lost;               /* standard error was told that there is no connection */
	Introspection__ServerMessage *message; /* with the last snapshot; NULL: none came */
	uint64_t received;       /* snapshots, or events */
	uint64_t sequence;       /* of the last snapshot on this connection; 0: none came */
	uint64_t skipped;        /* numbers of snapshots that are missing between those that came */
	size_t bytes;            /* of the last snapshot's message */
	int64_t now;             /* ms, monotonic, as all times here: read once in a turn of the loop */
	int64_t received_at;     /* when the last snapshot came */
	int64_t ready_at;        /* when a ready is to be sent; NEVER: a snapshot must come first */
	int64_t asked_at;        /* when a ready was sent that has no answer yet; NEVER: none was */
	bool held;               /* the link's message is a snapshot that came while the view was paused */
	int64_t end_at;          /* NEVER: no --duration */

	struct view view;
	int64_t tick_at;   /* when the picture is next drawn without a reason */
	int64_t escape_at; /* when an escape character will have been a key */

	struct record record;
	size_t past_at;   /* bytes of the answer to --past that were dealt with; 0: it has not come */

	char *line; /* JSON on its way to standard output, allocated */
	size_t line_len, line_at;
};

static struct screen screen;          /* large, so not on the stack */
static volatile sig_atomic_t signals; /* bit n: signal n came */

static void note_signal(int sig)
{
	signals |= 1 << sig;
}

static int64_t clock_ms(void)
{
	static struct timespec t; /* if the call fails, time stands still */

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("introspect: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

static void finish(struct program *p, int status)
{
	if (!p->done)
		p->status = status;
	p->done = true;
}

/* The output cannot be written, as errno says. A reader who has seen enough is no failure. */
static void output_failed(struct program *p, const char *name)
{
	const bool unread = errno == EPIPE || errno == ECONNRESET;

	if (!unread)
		complain("%s: %s", name, strerror(errno));
	finish(p, unread ? STATUS_DONE : STATUS_OUTPUT);
}

static void draw(struct program *p)
{
	struct view_status status = {
	    .link = &p->link,
	    .now = p->now,
	    .received = p->received_at,
	    .asked = p->asked_at,
	    .bytes = p->bytes,
	    .skipped = p->skipped,
	};

	if (view_draw(&p->view, &screen, &status) < 0)
		output_failed(p, "terminal");
	p->tick_at = view_ticks(&p->view, &status)   ? p->now + TICK_MS
		     : p->message && !p->view.paused ? p->received_at + VIEW_STALE_MS
						     : NEVER;
}

static void take_past(struct program *p);

static bool is_enough(const struct program *p)
{
	return p->arguments.count > 0 && p->received >= p->arguments.count;
}

/* The snapshot, or event, has been dealt with: goes on to the next, unless it was the last. */
static void processed(struct program *p)
{
	if (is_enough(p))
		finish(p, STATUS_DONE);
	else if (p->arguments.past)
		take_past(p);
	else
		p->ready_at = p->received_at + p->arguments.interval;
}

static void print_json(struct program *p, const ProtobufCMessage *message)
{
	FILE *f = open_memstream(&p->line, &p->line_len);

	if (f) {
		json_write(f, message);
		fputc('\n', f);
	}
	if (!f || fclose(f) != 0)
		output_failed(p, "JSON");
	p->line_at = 0;
}

/* Writes at most PIPE_BUF bytes of the line, which a pipe takes at once when poll() says that it is
 * writable: the answers to the daemon's pings must not wait for a slow reader. */
static void write_line(struct program *p)
{
	size_t left = p->line_len - p->line_at;
	ssize_t n = write(STDOUT_FILENO, p->line + p->line_at, left < PIPE_BUF ? left : PIPE_BUF);

	if (n < 0 && errno != EINTR && errno != EAGAIN)
		output_failed(p, "standard output");
	if (n > 0)
		p->line_at += (size_t)n;
	if (p->line_at < p->line_len)
		return;
	free(p->line);
	p->line = NULL;
	processed(p);
}

static int record_message(struct program *p, const Introspection__ServerMessage *message)
{
	size_t len = introspection__server_message__get_packed_size(message);
	uint8_t *bytes = malloc(len);
	int result = -1;

	if (bytes) {
		introspection__server_message__pack(message, bytes);
		result = record_write(&p->record, bytes, len);
	}
	free(bytes);
	return result;
}

/* A recording begins with the runtime, which every state carries, and a configuration,
 * without which the observer toolkit's UI ends. That UI drops what is older than the
 * retention period: a day is its own default. */
static int record_runtime(struct program *p)
{
	Introspection__ServerMessage message = INTROSPECTION__SERVER_MESSAGE__INIT;
	Introspection__Runtime none = INTROSPECTION__RUNTIME__INIT;
	Introspection__Configuration config = INTROSPECTION__CONFIGURATION__INIT;
	Introspection__CommandResponse response = INTROSPECTION__COMMAND_RESPONSE__INIT;

	message.version = p->message->version;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RUNTIME;
	message.runtime = p->message->state->runtime ? p->message->state->runtime : &none;
	config.retention_period_ms = RECORDING_RETENTION;
	config.state_snapshot_interval_ms = message.runtime->interval_ms;
	if (record_message(p, &message) < 0)
		return -1;
	response.effective_config = &config;
	message.payload_case = INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RESPONSE;
	message.response = &response;
	return record_message(p, &message);
}

/* Records the State with the fields that the observer toolkit's UI takes for granted. */
static int record_complete(struct program *p)
{
	const size_t max = p->arguments.max_message;
	size_t len = p->link.message_len;
	uint8_t *room = malloc(max);

	if (!room)
		return -1;
	const uint8_t *message = complete_message(room, max, p->link.message, &len);
	const int result = record_write(&p->record, message, len);
	free(room);
	return result;
}

static void record_state(struct program *p)
{
	if ((p->record.messages == 0 && record_runtime(p) < 0) || record_complete(p) < 0) {
		output_failed(p, p->record.path);
		return;
	}
	p->record.messages++;
	processed(p);
}

static void take_message(struct program *p)
{
	char why[DECODE_WHY_MAX];
	Introspection__ServerMessage *before = p->message;
	Introspection__ServerMessage *message = decode(p->link.message, p->link.message_len, why);

	if (message && message->payload_case != INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE) {
		decode_free(message);
		message = NULL;
		snprintf(why, sizeof why, "sent a message that holds no state");
	}
	const char *wrong = message ? decode_merge(message->state, before ? before->state : NULL,
	                                           p->arguments.max_message)
	                            : NULL;
	if (message && !wrong && p->arguments.totals && !decode_totals(message->state))
		wrong = "sent a snapshot that takes too much memory to decode";
	if (wrong) {
		decode_free(message);
		message = NULL;
		snprintf(why, sizeof why, "%s", wrong);
	}
	if (!message) {
		link_refuse(&p->link, WS_INVALID_DATA, why, p->now);
		return;
	}
	p->message = message;
	p->received++;
	p->received_at = p->now;
	p->asked_at = NEVER;
	p->bytes = p->link.message_len;
	uint64_t sequence = message->state->sequence;
	if (p->sequence > 0 && sequence > p->sequence)
		p->skipped += sequence - p->sequence - 1;
	p->sequence = sequence;

	if (p->arguments.mode == VIEW) {
		view_update(&p->view, message->state);
		draw(p);
		processed(p);
	} else if (p->arguments.mode == JSON) {
		print_json(p, &message->state->base);
	} else {
		record_state(p);
	}
	if (before)
		decode_free(before);
}

/* Takes a frame of the command protocol: an event, an answer to HELLO or PUSH_ENABLE, or a notice. */
static void take_frame(struct program *p)
{
	char why[DECODE_WHY_MAX];
	Introspection__ServerMessage *message =
	    events_decode(p->link.message, p->link.message_len, why);

	if (!message) {
		link_refuse(&p->link, WS_INVALID_DATA, why, p->now);
		return;
	}
	if (message->payload_case == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT) {
		p->received++;
		print_json(p, &message->event->base);
	} else if (message->payload_case == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_NOTICE) {
		complain("there were too many events: some have been dropped");
	} else if (message->payload_case == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_RESPONSE) {
		p->greeted = true;
		if (message->response->result != INTROSPECTION__COMMAND_RESPONSE__RESULT__OK) {
			complain("%s: a command was refused", link_name(&p->link));
			finish(p, STATUS_NO_CONNECTION);
		}
	}
	decode_free(message);
	link_ready(&p->link, NULL, 0);
}

/* Takes a message of --past: records it as it is, or prints its State or event. */
static void take_remembered(struct program *p, const Introspection__ServerMessage *m,
			    const uint8_t *bytes, size_t len)
{
	const bool is_state = m->payload_case == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_STATE;

	p->received += is_state;
	p->record.messages += is_state;
	if (p->arguments.mode == RECORD && record_write(&p->record, bytes, len) < 0)
		output_failed(p, p->record.path);
	else if (p->arguments.mode == JSON && is_state)
		print_json(p, &m->state->base);
	else if (p->arguments.mode == JSON &&
		 m->payload_case == INTROSPECTION__SERVER_MESSAGE__PAYLOAD_EVENT)
		print_json(p, &m->event->base);
}

/* Takes messages of --past, until one is to be printed. The link holds them all. */
static void take_past(struct program *p)
{
	char why[DECODE_WHY_MAX];
	const uint8_t *bytes;
	size_t len;

	while (!p->line && !p->done && p->now < p->end_at) {
		if (is_enough(p)) {
			finish(p, STATUS_DONE);
			return;
		}
		const char *wrong = download_next(p->link.message, p->link.message_len,
						  &p->past_at, &bytes, &len);
		Introspection__ServerMessage *m = wrong || !bytes ? NULL : decode(bytes, len, why);

		if (m) {
			take_remembered(p, m, bytes, len);
			decode_free(m);
		} else if (wrong || bytes) {
			complain("%s: %s", link_name(&p->link), wrong ? wrong : why);
			finish(p, STATUS_INCOMPLETE);
		} else {
			finish(p, STATUS_DONE);
		}
	}
}

/* Outside of the live view: says once that the connection was lost. If there never was one, ends
 * the program, unless it shall --wait. */
static void tell_failure(struct program *p)
{
	if (p->received == 0 && !p->greeted && !p->arguments.wait) {
		complain("no connection: %s", p->link.why);
		finish(p, STATUS_NO_CONNECTION);
	} else if (!p->lost) {
		complain("%s; trying again", p->link.why);
		p->lost = true;
	}
}

static void serve_link(struct program *p, short revents)
{
	enum link_state before = p->link.state;
	enum link_event event = link_serve(&p->link, revents, p->now);

	if (event == LINK_MESSAGE && p->arguments.mode == EVENTS)
		take_frame(p);
	else if (event == LINK_MESSAGE && p->arguments.past)
		take_past(p);
	else if (event == LINK_MESSAGE && p->view.paused)
		p->held = true;
	else if (event == LINK_MESSAGE)
		take_message(p);
	if (event == LINK_OPENED) {
		p->held = false;
		if (p->arguments.mode == EVENTS)
			events_ask(&p->link);
		p->sequence = 0;
		if (p->lost)
			complain("connected to %s", link_name(&p->link));
		p->lost = false;
	}
	if (event == LINK_FAILED || (p->link.state == LINK_WAITING && before != LINK_WAITING)) {
		p->ready_at = NEVER;
		p->held = false;
		if (p->arguments.mode != VIEW)
			tell_failure(p);
	}
	if (p->arguments.mode == VIEW && (event == LINK_FAILED || p->link.state != before))
		draw(p);
}

static void serve_keys(struct program *p, bool readable)
{
	bool any = false;
	int key;

	if (readable && !screen_read(&screen)) {
		output_failed(p, "terminal");
		return;
	}
	if (readable)
		p->escape_at = p->now + ESCAPE_MS;
	while (!p->done && (key = screen_key(&screen, p->now < p->escape_at)) != KEY_NONE) {
		any = true;
		if (key == ('L' & 0x1f))
			screen_resize(&screen);
		else if (!view_key(&p->view, key))
			finish(p, STATUS_DONE);
	}
	if (screen.keys_len == 0)
		p->escape_at = NEVER;
	if (p->held && !p->view.paused) {
		p->held = false;
		take_message(p);
	}
	if (any && !p->done)
		draw(p);
}

static void serve_signals(struct program *p)
{
	static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	int came = signals;

	signals = 0;
	for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
		if (came & 1 << fatal[i]) {
			p->signal = fatal[i];
			finish(p, STATUS_DONE);
			return;
		}
	}
	if (p->arguments.mode != VIEW || came == 0)
		return;
	if (came & 1 << SIGTSTP) {
		screen_leave(&screen);
		raise(SIGSTOP);
		p->now = clock_ms();
	}
	const bool stopped = came & (1 << SIGTSTP | 1 << SIGCONT);
	if (stopped && screen_enter(&screen) < 0) {
		output_failed(p, "terminal");
		return;
	}
	if (!stopped)
		screen_resize(&screen);
	draw(p);
}

/* Blocks the signals that are caught but while the loop sleeps, with the mask *sleeping. One that
 * was ignored when the program started, as by nohup(1), stays ignored. */
static void catch_signals(const struct arguments *a, sigset_t *sleeping)
{
	static const int caught[] = {SIGINT,  SIGTERM,  SIGHUP, SIGQUIT,
	                             SIGCONT, SIGWINCH, SIGTSTP /* these three for the live view */};
	size_t count = sizeof caught / sizeof *caught - (a->mode == VIEW ? 0 : 3);
	struct sigaction action = {.sa_handler = note_signal}, before;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++) {
		if (sigaction(caught[i], NULL, &before) < 0 || before.sa_handler == SIG_IGN)
			continue;
		sigaction(caught[i], &action, NULL);
		sigaddset(&set, caught[i]);
	}
	sigprocmask(SIG_BLOCK, &set, sleeping);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
	sigaction(SIGXFSZ, &action, NULL);
}

/* Must the link wait until the line is written? Events are pushed, so they are not read meanwhile.
 * A lost connection is made again only afterwards: the first snapshot of a connection comes
 * without a ready, and would be a second line in the middle of this one. */
static bool link_rests(const struct program *p)
{
	return p->past_at > 0 ||
	       (p->line && (p->arguments.mode == EVENTS || p->link.state == LINK_WAITING));
}

/* Sleeps until the link, the terminal or the output can go on, a deadline has passed, or a signal
 * comes. */
static void wait_for_events(struct program *p, struct pollfd fds[2], const sigset_t *sleeping)
{
	int64_t deadline = p->line ? NEVER : p->end_at; /* pass_end() waits for the line */
	const int64_t others[] = {p->tick_at, p->escape_at, p->view.paused ? NEVER : p->ready_at};

	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (others[i] < deadline)
			deadline = others[i];
	if (link_rests(p))
		fds[0] = (struct pollfd){.fd = -1};
	else
		link_poll(&p->link, &fds[0], &deadline);
	if (p->arguments.mode == VIEW)
		fds[1] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	else if (p->arguments.mode == RECORD)
		fds[1] = (struct pollfd){.fd = p->record.fd};
	else
		fds[1] = (struct pollfd){.fd = STDOUT_FILENO, .events = p->line ? POLLOUT : 0};
	int64_t left = deadline > p->now ? deadline - p->now : 0;
	struct timespec timeout = {.tv_sec = (time_t)(left / 1000),
	                           .tv_nsec = (long)(left % 1000) * 1000000};

	/* A signal has interrupted the call, which then reports nothing else. */
	if (ppoll(fds, 2, &timeout, sleeping) < 0)
		fds[0].revents = fds[1].revents = 0;
	p->now = clock_ms();
}

/* The time of --duration is over. That is success if no number was asked for, something came and
 * the connection stands. */
static void pass_end(struct program *p)
{
	bool complete = p->arguments.count == 0 && !p->arguments.past &&
			(p->received > 0 || p->greeted) && p->link.state == LINK_OPEN;

	if (p->line)
		return; /* the line is written to its end first: half a line is of no use */
	if (!complete && p->arguments.mode != VIEW)
		complain("the time is over%s%s", p->lost ? ", and there is no connection: " : "",
			 p->lost ? p->link.why : "");
	finish(p, complete ? STATUS_DONE : STATUS_INCOMPLETE);
}

/* Serves standard output, or the file that is recorded to. */
static void serve_output(struct program *p, short revents)
{
	if (revents & (POLLERR | POLLHUP | POLLNVAL)) {
		errno = revents & POLLNVAL ? EBADF : EPIPE;
		output_failed(p, p->arguments.mode == RECORD ? p->record.path : "standard output");
	} else if (p->line && revents != 0) {
		write_line(p);
	}
}

/* Sends a ready, which asks for the difference to the last snapshot, or for totals. Snapshots that
 * are recorded are asked for whole, since a recording holds no differences. */
static void be_ready(struct program *p)
{
	Introspection__Ready ready = INTROSPECTION__READY__INIT;
	uint8_t wishes[32];

	if (p->arguments.totals)
		ready.detail = INTROSPECTION__READY__DETAIL__TOTALS;
	else if (p->arguments.mode != RECORD)
		ready.have = p->sequence;
	link_ready(&p->link, wishes, introspection__ready__pack(&ready, wishes));
	p->asked_at = p->now;
}

static void run(struct program *p, const sigset_t *sleeping)
{
	struct pollfd fds[2];

	while (!p->done) {
		wait_for_events(p, fds, sleeping);
		serve_signals(p);
		if (p->done)
			break;
		if (!link_rests(p))
			serve_link(p, fds[0].revents);
		if (p->arguments.mode == VIEW) {
			serve_keys(p, fds[1].revents != 0);
			if (!p->done && p->now >= p->tick_at)
				draw(p);
		} else {
			serve_output(p, fds[1].revents);
		}
		if (p->now >= p->ready_at && !p->view.paused) {
			p->ready_at = NEVER;
			be_ready(p);
		}
		if (p->now >= p->end_at)
			pass_end(p);
	}
}

/* Reads the token and the certificates. False: the user was told what is wrong. */
static bool open_keys(struct program *p)
{
	char why[TLS_WHY_MAX];
	const struct arguments *a = &p->arguments;
	const char *file = a->token_file, *wrong;

	p->status = STATUS_USAGE;
	if (file && (wrong = auth_read(&p->auth, file)) != NULL) {
		complain("%s: %s", file, wrong);
		return false;
	}
	p->link.token = file ? p->auth.token : NULL;
	p->link.pushed = a->mode == EVENTS;
	p->link.get = a->past;
	if (a->address.secure) {
		p->link.tls_config = tls_client(a->ca, a->insecure, a->cert, a->key, why);
		if (!p->link.tls_config) {
			complain("%s", why);
			return false;
		}
	}
	p->status = STATUS_DONE;
	return true;
}

/* Opens the terminal, or the file to record to. False: the user was told what is wrong. */
static bool open_output(struct program *p)
{
	const char *file = p->arguments.file;

	if (p->arguments.mode == VIEW) {
		view_init(&p->view);
		if (screen_enter(&screen) == 0)
			return true;
		complain("terminal: %s", strerror(errno));
	} else if (p->arguments.mode == RECORD) {
		if (record_open(&p->record, file, p->arguments.force) == 0)
			return true;
		complain("%s: %s%s", file, strerror(errno),
			 errno == EEXIST ? " (--force overwrites it)" : "");
	} else {
		return true;
	}
	p->status = STATUS_OUTPUT;
	return false;
}

static void close_output(struct program *p)
{
	if (p->arguments.mode == VIEW) {
		screen_leave(&screen);
		view_free(&p->view);
	} else if (p->arguments.mode == RECORD) {
		if (record_close(&p->record) < 0) {
			complain("%s: %s", p->record.path, strerror(errno));
			p->status = STATUS_OUTPUT;
		}
		complain("snapshots recorded: %" PRIu64, p->record.messages);
	}
	free(p->line);
}

int main(int argc, char **argv)
{
	static struct program p;
	sigset_t sleeping;
	int status = arguments_read(&p.arguments, argc, argv);

	if (status >= 0)
		return status;
	setlocale(LC_CTYPE, "");
	p.now = clock_ms();
	p.ready_at = p.asked_at = p.tick_at = p.escape_at = NEVER;
	p.end_at = p.arguments.duration == NEVER ? NEVER : p.now + p.arguments.duration;
	link_init(&p.link, &p.arguments.address, p.arguments.max_message);
	catch_signals(&p.arguments, &sleeping);
	if (open_keys(&p) && open_output(&p)) {
		run(&p, &sleeping);
		link_close(&p.link);
		close_output(&p);
	}
	tls_release(p.link.tls_config);
	if (p.message)
		decode_free(p.message);
	if (p.signal != 0) {
		signal(p.signal, SIG_DFL);
		sigprocmask(SIG_SETMASK, &sleeping, NULL);
		raise(p.signal);
	}
	return p.status;
}
