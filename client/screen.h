#ifndef SCREEN_H
#define SCREEN_H

/* The terminal: its modes, keys, and a full-screen picture of which only the
 * lines that changed are sent, all in one write. Control characters, invalid
 * bytes and format characters in a text are shown as one replacement
 * character each, so that no text of a peer reaches the terminal as a command.
 * Combining marks stay with the character that they belong to.
 * What characters there are is the locale's say (LC_CTYPE). */

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

enum {
	SCREEN_ROWS_MAX = 256,    /* a larger terminal is used in part */
	SCREEN_COLS_MAX = 400,
	SCREEN_LINE_BYTES = 2048, /* of a line with its escape sequences */
	SCREEN_LINE_EXTRA = 32,   /* bytes that are sent before and behind a line, at most */
};

/* Styles of a text, to be combined by |. Of several colours the last one in this list is shown. */
enum style {
	PLAIN = 0,
	BOLD = 1,
	DIM = 2,
	UNDERLINE = 4,
	REVERSE = 8,
	ACCENT = 16,
	WARNING = 32,
	ALARM = 64,
};

/* Where a text is placed in its field, and where cut. */
enum fit { LEFT, RIGHT, MIDDLE };   /* MIDDLE: as LEFT, cut in the middle */

enum key {
	KEY_NONE = 0,
	/* 1 to 255: the byte itself */
	KEY_ESCAPE = 27,
	KEY_BACKSPACE = 127,
	KEY_UP = 256,
	KEY_DOWN,
	KEY_LEFT,
	KEY_RIGHT,
	KEY_PAGE_UP,
	KEY_PAGE_DOWN,
	KEY_HOME,
	KEY_END,
	KEY_OTHER,
};

struct screen_line {
	char text[SCREEN_LINE_BYTES];
	size_t len;
	int cells;
};

struct screen {
	/* for the owner to read */
	int rows, cols;
	bool utf8;      /* texts of peers may have characters beyond ASCII */
	bool glyphs;    /* so may the program's: the font has bars, arrows and combining marks */

	/* its own */
	bool on, color;
	struct termios saved;
	char keys[64];
	size_t keys_len;
	struct screen_line now[SCREEN_ROWS_MAX], then[SCREEN_ROWS_MAX];
	bool known;     /* then is what the terminal shows */
	int row;        /* of the line under way, -1 before the first */
	int above, height; /* while lines scroll: the row above them, and rows as it was */
	int limit;      /* cells of the line that may be used */
	unsigned base;  /* style that every text of the line has */
	unsigned style; /* in effect at the end of the line */
	char frame[SCREEN_ROWS_MAX * (SCREEN_LINE_BYTES + SCREEN_LINE_EXTRA)];
};

/* Takes the terminal over, also after it was left. 0, or -1 with errno. */
int screen_enter(struct screen *s);

/* Gives the terminal back as it was; harmless when it already was. */
void screen_leave(struct screen *s);

/* Asks the terminal for its size and forgets what it shows. */
void screen_resize(struct screen *s);

/* A picture is drawn from top to bottom: begin, line and its texts, ..., end.
 * end returns -1 with errno when the terminal is gone. */
void screen_begin(struct screen *s);
void screen_line(struct screen *s, unsigned style);
int screen_end(struct screen *s);

/* Lines below the one under way. */
int screen_left(const struct screen *s);

/* Lines that may be more than the screen has: between these two calls they are drawn, and of them
 * stay as many as lines says, from the one with the index top on. Returns how many were drawn. */
void screen_scroll_begin(struct screen *s);
int screen_scroll_end(struct screen *s, int top, int lines);

/* Appends a text in a field of this many cells; 0: as many as it takes. */
void screen_text(struct screen *s, unsigned style, int width, enum fit fit, const char *text);
void screen_printf(struct screen *s, unsigned style, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Ends what has been put on the line at the cell that leaves room for a text of
 * this many cells at its right end; the text comes next. */
void screen_align_right(struct screen *s, int width);

/* Keeps this many cells at the right end of the line free until screen_align_right. */
void screen_reserve(struct screen *s, int width);

/* Cells that a text takes. */
int screen_width(const struct screen *s, const char *text);

/* Reads what was typed. False, with errno: the terminal is gone. */
bool screen_read(struct screen *s);

/* The next key that was read, or KEY_NONE. A lone escape character may be the
 * beginning of a longer key: it is held back until patient is false. */
int screen_key(struct screen *s, bool patient);

#endif
