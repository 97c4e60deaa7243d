/* The rules by which a snapshot goes to a client: one client that pulls, one that
 * states are pushed to, and clocks that may be as late as they like. What a socket
 * does is in it too: a client that reads slowly, or no more at all, keeps the
 * server from writing.
 *
 * Sequence numbers are left out: all that the rules ask is whether the latest
 * snapshot is newer than the last one sent. That none comes twice is seen by
 * marking one snapshot, any one, and counting it where it arrives. Those sent to
 * the pull client have a number of their own, which goes round: a ready may wish
 * for the difference to the one that the client holds, or for totals, to which
 * there is no difference.
 *
 * Without LIVE: no snapshot comes unasked, and none twice, and a difference is to
 * the snapshot that the client holds. With it: whoever is
 * ready gets one in the end. BUG=1 to 11 are mistakes that have to be found. */

#ifndef BUG
#define BUG 0
#endif

#define PULL 0
#define PUSH 1

mtype = { NONE, READY, ENABLE, DISABLE, PAUSE, RESUME, OK, STATE };

#define NUMBERS 3           /* of snapshots sent to the pull client; more than are under way */
#define NOTHING NUMBERS
#define TOTALS (NUMBERS + 1)

chan pull_up = [1] of { mtype, byte };     /* a READY wishes for the difference to this one */
chan push_up = [1] of { mtype };
chan pull_down = [1] of { mtype, bool, byte };   /* with a STATE: is it the marked one, and to
                                              which one is it the difference? */
chan push_down = [1] of { mtype, bool };

/* The server. */
bool first = true;         /* the pull client is owed a snapshot for connecting */
bool ready;                /* it has a credit for one, or for one more */
bool old;                  /* the latest was older than the interval when it asked */
bool pushes, paused;       /* what the push client wants */
byte sent = NOTHING;       /* the number of the last one sent to the pull client ... */
bool is_base;              /* ... of which it can make the whole of a difference */
byte wish = NOTHING;       /* what is sent to it next: the difference to that one, or TOTALS */
bool writing[2];           /* the last message is not yet on its way entirely */
bool newer[2];             /* there is a later snapshot than the one sent last */
bool waiting[2];           /* for the next snapshot: without that none is taken */
bool alarm;                /* the server looks again when the push interval is over */
bool held;                 /* a state is held back for the push client ... */
bool held_latest;          /* ... and it is the latest */
bool marked, held_marked;  /* the latest, and the one held back, is the marked one */
bool credit;               /* only for BUG 4 */

/* Time. */
bool interval_over;        /* the latest is old, and the source has another */
bool other_marked;         /* which is the marked one */
bool push_over;            /* the interval of the push client, since the last push */
bool taken_since;          /* the latest was taken after that */
bool tired;                /* the pull client has waited long enough for one that is not old */

#define has_credit (first || ready)
#define push_wanted (pushes && !paused && push_over)
#define holds (pushes && paused && push_over)

/* The time that it asked is the time from which on it waits: when it is ready, or when
 * the snapshot before is on its way. */
inline ask() {
	old = interval_over;
	tired = false
}

/* A difference can only be to what the client was sent last. */
inline note_wish(have) {
	wish = (have == TOTALS || (have == sent && is_base) || BUG == 10 -> have : NOTHING)
}

/* The wishes of a ready before the first snapshot are for the second. */
inline send_pull() {
	pull_down!STATE(marked, (first -> NOTHING : wish));
#ifndef LIVE
	sent = (sent == NOTHING -> 0 : (sent + 1) % NUMBERS);
	is_base = (first || wish != TOTALS || BUG == 11);
	wish = (first -> wish : NOTHING);
#endif
	writing[PULL] = true;
	newer[PULL] = (BUG == 3);
	ready = (BUG == 2) || (ready && first && BUG != 9);
	first = false
}

inline send_push() {
	push_down!STATE(marked);
	writing[PUSH] = true;
	newer[PUSH] = false;
	credit = false;
	push_over = false;
	taken_since = false
}

inline send_held() {
	push_down!STATE(held_marked);
	writing[PUSH] = true;
	held = (BUG == 6);
	held_marked = held_marked && held;
	newer[PUSH] = newer[PUSH] && !held_latest;
	held_latest = false
}

/* What is owed is begun when the writer is idle, and whether the client waits is
 * found out anew after whatever happened to it. */
inline settle_pull() {
	if
	:: !writing[PULL] && has_credit && newer[PULL] && (!old || tired) -> send_pull()
	:: else
	fi;
	waiting[PULL] = has_credit && !writing[PULL]
}

inline settle_push() {
	if
	:: BUG == 4 && push_wanted -> credit = true
	:: else
	fi;
	if
	:: !writing[PUSH] && pushes && !paused && held -> send_held()
	:: !writing[PUSH] && !(pushes && !paused && held) && newer[PUSH] &&
	   (credit || (push_wanted && ((taken_since && BUG != 8) || !interval_over))) -> send_push()
	:: else
	fi;
	waiting[PUSH] = (push_wanted && !writing[PUSH]) || holds;
	alarm = pushes && !push_over && !writing[PUSH]
}

inline obey(command) {
	if
	:: command == ENABLE ->
		if
		:: !pushes -> pushes = true; push_over = true; taken_since = false
		:: else
		fi
	:: command == DISABLE ->
		pushes = false; held = false; held_latest = false; held_marked = false;
		push_over = false; taken_since = false
	:: command == PAUSE -> paused = true
	:: command == RESUME -> paused = false
	fi;
	push_down!OK(false);
	writing[PUSH] = true
}

inline take() {
	interval_over = false;
	newer[PULL] = true;
	newer[PUSH] = true;
	old = false;
	tired = false;
	marked = other_marked;
	other_marked = false;
	held_latest = false;
	taken_since = push_over;
	if
	:: holds ->
		held = true; held_latest = true; held_marked = marked;
		push_over = false; taken_since = false
	:: else
	fi;
	settle_pull();
	settle_push()
}

#define pull_sent (writing[PULL] && len(pull_down) == 0)
#define push_sent (writing[PUSH] && len(push_down) == 0)
#define command_came (!writing[PUSH] && len(push_up) > 0)   /* read when the last is answered */
#define push_due (alarm && push_over)
#define tired_due (waiting[PULL] && newer[PULL] && tired)
#define take_due ((waiting[PULL] || waiting[PUSH]) && interval_over)

/* Sleeps until there is something to do, then looks at everything in turn. */
active proctype server() {
	mtype command;
	byte have = NOTHING;

	settle_pull();
	do
	:: d_step { len(pull_up) > 0 || pull_sent || push_sent || command_came || push_due ||
	            tired_due || take_due ->
		if
		:: pull_sent ->
			writing[PULL] = false;
			ask();
			if
			:: BUG == 5
			:: else -> settle_pull()
			fi
		:: !pull_sent && tired_due -> settle_pull()
		:: else
		fi;
		if
		:: len(pull_up) > 0 ->
			pull_up?READY(have);
			if
			:: !has_credit -> ask()
			:: else
			fi;
			if
			:: BUG == 1 && writing[PULL]
			:: else -> ready = true
			fi;
			note_wish(have);
			have = NOTHING;
			settle_pull()
		:: else
		fi;
		if
		:: push_sent ->
			writing[PUSH] = false;
			if
			:: BUG == 7
			:: else -> settle_push()
			fi
		:: !push_sent && push_due -> settle_push()
		:: else
		fi;
		if
		:: command_came ->
			push_up?command;
			obey(command);
			command = NONE;
			settle_push()
		:: else
		fi;
		if
		:: take_due -> take()
		:: else
		fi }
	od
}

active proctype interval() {
	bool used;

	do
	:: atomic { !interval_over ->
		interval_over = true;
#ifndef LIVE
		if
		:: !used -> other_marked = true; used = true
		:: true
		fi
#endif
		}
	od
}

active proctype patience() {
	do
	:: old && has_credit && !tired -> tired = true
	od
}

active proctype push_interval() {
	do
	:: pushes && !push_over -> push_over = true
	od
}

#ifdef LIVE
bool pull_beat, push_beat;   /* change with each state that arrives */
bool stalled;
#endif

/* Says ready for each state: when the one before has come, or while that is on its way,
 * the one for connecting not even taken. In the first case twice if it likes, which
 * counts as once. */
active proctype pull_client() {
	bool ahead, connected;
	byte to_say;
#ifndef LIVE
	bool is_marked, got;
	byte owed = 1;   /* at most */
	byte mine = NOTHING, base = NOTHING;   /* the one that it holds */
	bool whole;      /* and that is no totals */
#endif

	do
	:: atomic { to_say > 0 || (!ahead && (!connected || len(pull_down) > 0)) ->
		if
		:: to_say > 0 -> to_say--
		:: else -> ahead = true
		fi;
#ifndef LIVE
		owed++;
		if
		:: pull_up!READY(NOTHING)
		:: pull_up!READY(mine)
		:: pull_up!READY(TOTALS)
		fi }
#else
		pull_up!READY(NOTHING) }
#endif
#ifdef LIVE
	:: atomic { pull_down?STATE(_, _) ->
		connected = true;
		pull_beat = !pull_beat;
		if
		:: ahead -> ahead = false
		:: !ahead -> to_say = 1
		:: !ahead -> to_say = 2
		fi }
#else
	:: atomic { pull_down?STATE(is_marked, base) ->
		connected = true;
		assert(owed > 0);
		owed--;
		assert(base == NOTHING || base == TOTALS || (base == mine && whole));
		mine = (mine == NOTHING -> 0 : (mine + 1) % NUMBERS);
		whole = (base != TOTALS);
		base = NOTHING;
		assert(!(got && is_marked));
		got = got || is_marked;
		is_marked = false;
		to_say = (ahead -> 0 : 1);
		ahead = false }
#endif
	od
}

/* Says whatever it likes, one command at a time. */
active proctype push_client() {
	mtype command = NONE;
#ifndef LIVE
	bool on, quiet, is_marked, got;
#endif

	do
	:: atomic { command == NONE ->
		if
		:: command = ENABLE
		:: command = DISABLE
		:: command = PAUSE
		:: command = RESUME
		fi;
#ifndef LIVE
		on = on || command == ENABLE;
		quiet = quiet && command != RESUME;
#endif
		push_up!command }
#ifdef LIVE
	:: atomic { push_down?STATE(_) -> push_beat = !push_beat }
	:: atomic { push_down?OK(_) -> command = NONE }
	:: atomic { len(push_down) > 0 -> stalled = true; break }
#else
	:: atomic { push_down?STATE(is_marked) ->
		assert(on && !quiet);
		assert(!(got && is_marked));
		got = got || is_marked;
		is_marked = false }
	:: atomic { push_down?OK(is_marked) ->
		on = on && command != DISABLE;
		quiet = quiet || command == PAUSE;
		command = NONE }
#endif
	od
}

#ifdef LIVE

/* Snapshots keep coming to a client that keeps asking, whatever the other does. */
ltl pull_is_answered { [] <> pull_beat && [] <> !pull_beat }

/* And to one that they are pushed to, for as long as it wants them and reads. */
ltl push_goes_on {
	(<> [] (pushes && !paused) && [] !stalled) -> ([] <> push_beat && [] <> !push_beat)
}

#endif
