#include "screen.h"

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

enum {
	TEXT_MAX = 1024, /* characters of one text that are looked at */
	MARKS_MAX = 4,   /* combining marks that one of them may have */
};

/* ECMA-48 and the private modes of xterm: alternate screen, autowrap, cursor. */
static const char enter[] = "\x1b[?1049h\x1b[?7l\x1b[?25l";
static const char leave[] = "\x1b[0m\x1b[?25h\x1b[?7h\x1b[?1049l";

static int write_all(const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);

		if (n < 0 && errno == EAGAIN) /* another program has made the terminal non-blocking */
			poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -1;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int screen_enter(struct screen *s)
{
	struct termios raw;
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	if (!s->on && tcgetattr(STDIN_FILENO, &s->saved) < 0)
		return -1;
	raw = s->saved;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return -1;
	s->on = true;
	s->color = !no_color || !*no_color;
	s->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	/* The console of Linux has a font of 512 characters at most. */
	s->glyphs = s->utf8 && (!term || strncmp(term, "linux", 5) != 0);
	screen_resize(s);
	if (write_all(enter, sizeof enter - 1) == 0)
		return 0;
	const int why = errno;
	screen_leave(s);
	errno = why;
	return -1;
}

void screen_leave(struct screen *s)
{
	if (!s->on)
		return;
	s->on = false;
	write_all(leave, sizeof leave - 1);
	tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
}

static int within(int n, int max)
{
	return n < 1 ? 1 : n > max ? max : n;
}

void screen_resize(struct screen *s)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
		size = (struct winsize){.ws_row = 24, .ws_col = 80};
	s->rows = within(size.ws_row, SCREEN_ROWS_MAX);
	s->cols = within(size.ws_col, SCREEN_COLS_MAX);
	s->known = false;
}

static void put_bytes(struct screen *s, const char *bytes, size_t len)
{
	struct screen_line *line = &s->now[s->row];

	if (len > sizeof line->text - line->len)
		return;
	memcpy(line->text + line->len, bytes, len);
	line->len += len;
}

static void set_style(struct screen *s, unsigned style)
{
	char text[32];

	if (style & REVERSE)
		style &= ~(unsigned)DIM;
	if (style == s->style)
		return;
	const char *color = !s->color         ? ""
			    : style & ALARM   ? ";31"
			    : style & WARNING ? ";33"
			    : style & ACCENT  ? ";36"
					      : "";
	int n = snprintf(text, sizeof text, "\x1b[0%s%s%s%s%sm", style & BOLD ? ";1" : "",
			 style & DIM ? ";2" : "", style & UNDERLINE ? ";4" : "",
			 style & REVERSE ? ";7" : "", color);
	put_bytes(s, text, (size_t)n);
	s->style = style;
}

static void put_char(struct screen *s, wchar_t c, int cells)
{
	char bytes[16]; /* MB_LEN_MAX */
	mbstate_t state = {0};
	size_t n = wcrtomb(bytes, c, &state);
	struct screen_line *line = &s->now[s->row];

	/* A line too long in bytes ends early, with room for its last style. */
	if (n == (size_t)-1 || line->len + n + SCREEN_LINE_EXTRA > sizeof line->text)
		return;
	put_bytes(s, bytes, n);
	line->cells += cells;
}

static void put_spaces(struct screen *s, int n)
{
	while (n-- > 0)
		put_char(s, L' ', 1);
}

/* The characters of a text that may be shown, and their cells. */
struct shown {
	wchar_t c[TEXT_MAX];
	unsigned char cells[TEXT_MAX];
	size_t len;
	int width;
	bool marks; /* there are combining ones */
};

/* Is it one of the marks that the character before it may have? */
static bool is_mark(const struct shown *out, wchar_t c)
{
	const wctype_t combining = wctype("combining"); /* 0: the C library has no such class */
	size_t marks = 0;

	while (marks < out->len && out->cells[out->len - 1 - marks] == 0)
		marks++;
	return out->len > marks && marks < MARKS_MAX && out->c[out->len - 1 - marks] != L'\xfffd' &&
	       combining && iswctype((wint_t)c, combining);
}

static void make_shown(const struct screen *s, struct shown *out, const char *text)
{
	mbstate_t state = {0};

	out->len = 0;
	out->width = 0;
	out->marks = false;
	for (size_t left = strlen(text); left > 0 && out->len < TEXT_MAX; out->len++) {
		wchar_t c;
		size_t n = mbrtowc(&c, text, left, &state);
		bool valid = n != (size_t)-1 && n != (size_t)-2;
		int cells = valid ? wcwidth(c) : -1;

		if (!valid) {
			n = 1;
			state = (mbstate_t){0};
		}
		/* Without UTF-8 no byte above ASCII has a meaning that is known here. */
		if (cells == 0 && s->glyphs && is_mark(out, c)) {
			out->marks = true;
			/* It asks for the picture of the character before, of two cells (UTS #51). Where
			 * the terminal draws one, what follows stands in its place all the same. */
			if (c == L'\xfe0f' && out->cells[out->len - 1] == 1) {
				out->cells[out->len - 1] = 2;
				out->width++;
			}
		} else if (cells < 1 || (!s->utf8 && c > 0x7f)) {
			c = s->glyphs ? L'\xfffd' : L'?';
			cells = 1;
		}
		out->c[out->len] = c;
		out->cells[out->len] = (unsigned char)cells;
		out->width += cells;
		text += n;
		left -= n;
	}
}

int screen_width(const struct screen *s, const char *text)
{
	struct shown shown;

	make_shown(s, &shown, text);
	return shown.width;
}

/* Shows a text that is wider than its field with an ellipsis in place of what is
 * missing: at the end, or behind head cells. */
static void put_cut(struct screen *s, const struct shown *text, int width, int head)
{
	size_t i = 0, tail = text->len;
	int used = 1, tail_cells = 0;

	while (tail > 0 && tail_cells + text->cells[tail - 1] <= width - 1 - head)
		tail_cells += text->cells[--tail];
	while (tail < text->len && text->cells[tail] == 0)
		tail++; /* a mark without its character */
	while (i < tail && used + tail_cells + text->cells[i] <= width &&
	       used + text->cells[i] <= head + 1) {
		put_char(s, text->c[i], text->cells[i]);
		used += text->cells[i++];
	}
	put_char(s, s->glyphs ? L'\x2026' : L'~', 1);
	for (; tail < text->len; tail++)
		put_char(s, text->c[tail], text->cells[tail]);
	put_spaces(s, width - used - tail_cells);
}

/* Terminals differ in the cells that a character with marks takes: what follows is put in its
 * place (ECMA-48 CHA). */
static void put_column(struct screen *s)
{
	struct screen_line *line = &s->now[s->row];
	char text[16];
	int n = snprintf(text, sizeof text, "\x1b[%dG", line->cells + 1);

	if (line->cells < s->cols && line->len + (size_t)n + SCREEN_LINE_EXTRA <= sizeof line->text)
		put_bytes(s, text, (size_t)n);
}

void screen_text(struct screen *s, unsigned style, int width, enum fit fit, const char *text)
{
	struct shown shown;
	int room = s->row < 0 || s->row >= s->rows ? 0 : s->limit - s->now[s->row].cells;

	if (room <= 0)
		return;
	make_shown(s, &shown, text);
	if (width == 0)
		width = shown.width;
	if (width > room)
		width = room;
	set_style(s, style | s->base);
	if (shown.width > width) {
		put_cut(s, &shown, width, fit == MIDDLE ? (width - 1) * 2 / 5 : width - 1);
		if (shown.marks)
			put_column(s);
		return;
	}
	if (fit == RIGHT)
		put_spaces(s, width - shown.width);
	for (size_t i = 0; i < shown.len; i++)
		put_char(s, shown.c[i], shown.cells[i]);
	if (shown.marks)
		put_column(s);
	if (fit != RIGHT)
		put_spaces(s, width - shown.width);
}

void screen_printf(struct screen *s, unsigned style, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	screen_text(s, style, 0, LEFT, text);
}

void screen_reserve(struct screen *s, int width)
{
	s->limit = width < s->cols ? s->cols - width : 0;
}

void screen_align_right(struct screen *s, int width)
{
	s->limit = s->cols;
	if (s->row < 0 || s->row >= s->rows)
		return;
	set_style(s, s->base);
	put_spaces(s, s->cols - width - s->now[s->row].cells);
}

/* Closes the line under way. */
static void end_line(struct screen *s)
{
	if (s->row < 0 || s->row >= s->rows)
		return;
	if (s->base & (REVERSE | UNDERLINE))
		screen_align_right(s, 0);
	set_style(s, PLAIN);
}

void screen_begin(struct screen *s)
{
	s->row = -1;
}

void screen_line(struct screen *s, unsigned style)
{
	end_line(s);
	s->base = style;
	s->style = PLAIN;
	s->limit = s->cols;
	if (s->row < s->rows)
		s->row++;
	if (s->row < s->rows) {
		s->now[s->row].len = 0;
		s->now[s->row].cells = 0;
	}
}

int screen_left(const struct screen *s)
{
	return s->rows - 1 - s->row;
}

void screen_scroll_begin(struct screen *s)
{
	s->above = s->row;
	s->height = s->rows;
	s->rows = SCREEN_ROWS_MAX;
}

int screen_scroll_end(struct screen *s, int top, int lines)
{
	const int drawn = s->row - s->above;
	int stay = drawn - top < lines ? drawn - top : lines;

	end_line(s);
	stay = stay > 0 ? stay : 0;
	if (top > 0)
		memmove(&s->now[s->above + 1], &s->now[s->above + 1 + top],
			(size_t)stay * sizeof *s->now);
	s->rows = s->height;
	s->row = s->above + stay;
	s->base = s->style = PLAIN;
	return drawn;
}

int screen_end(struct screen *s)
{
	size_t len = 0;

	while (s->row < s->rows)
		screen_line(s, PLAIN);
	if (!s->known)
		len += (size_t)sprintf(s->frame, "\x1b[0m\x1b[2J");
	for (int i = 0; i < s->rows; i++) {
		struct screen_line *line = &s->now[i];

		if (s->known && line->len == s->then[i].len &&
		    memcmp(line->text, s->then[i].text, line->len) == 0)
			continue;
		len += (size_t)sprintf(s->frame + len, "\x1b[%d;1H", i + 1);
		memcpy(s->frame + len, line->text, line->len);
		len += line->len;
		/* Behind the last cell it would erase that cell. */
		if (line->cells < s->cols)
			len += (size_t)sprintf(s->frame + len, "\x1b[K");
		s->then[i] = *line;
	}
	s->known = true;
	return write_all(s->frame, len);
}

bool screen_read(struct screen *s)
{
	/* More than a screenful of keys at once is noise. */
	if (s->keys_len == sizeof s->keys)
		s->keys_len = 0;
	ssize_t n = read(STDIN_FILENO, s->keys + s->keys_len, sizeof s->keys - s->keys_len);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n == 0)
		errno = EIO; /* the other end of the terminal was closed */
	if (n <= 0)
		return false;
	s->keys_len += (size_t)n;
	return true;
}

/* Length of the escape sequence that begins at in[0]; 0: not all of it is there. */
static size_t sequence_length(const char *in, size_t len)
{
	if (len < 2)
		return 0;
	if (in[1] == 'O')
		return len < 3 ? 0 : 3;
	if (in[1] != '[')
		return 1; /* the escape key, and another one behind it */
	for (size_t i = 2; i < len; i++)
		if (in[i] >= '@' && in[i] <= '~')
			return i + 1;
	return 0;
}

static int sequence_key(const char *in, size_t len)
{
	static const struct {
		const char *sequence;
		int key;
	} known[] = {
	    {"[A", KEY_UP},       {"OA", KEY_UP},         {"[B", KEY_DOWN}, {"OB", KEY_DOWN},
	    {"[5~", KEY_PAGE_UP}, {"[6~", KEY_PAGE_DOWN}, {"[H", KEY_HOME}, {"OH", KEY_HOME},
	    {"[1~", KEY_HOME},    {"[7~", KEY_HOME},      {"[F", KEY_END},  {"OF", KEY_END},
	    {"[4~", KEY_END},     {"[8~", KEY_END},       {"[D", KEY_LEFT}, {"OD", KEY_LEFT},
	    {"[C", KEY_RIGHT},    {"OC", KEY_RIGHT},
	};

	if (len == 1)
		return KEY_ESCAPE;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strlen(known[i].sequence) == len - 1 &&
		    memcmp(known[i].sequence, in + 1, len - 1) == 0)
			return known[i].key;
	return KEY_OTHER;
}

int screen_key(struct screen *s, bool patient)
{
	size_t len = 1;
	int key;

	if (s->keys_len == 0)
		return KEY_NONE;
	if (s->keys[0] == KEY_ESCAPE) {
		len = sequence_length(s->keys, s->keys_len);
		if (len == 0 && patient)
			return KEY_NONE;
		if (len == 0)
			len = 1;
		key = sequence_key(s->keys, len);
	} else {
		key = (unsigned char)s->keys[0];
	}
	s->keys_len -= len;
	memmove(s->keys, s->keys + len, s->keys_len);
	return key;
}
