#ifndef TABLE_H
#define TABLE_H

/* A sortable table with a selected row, of which the visible part is drawn. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "format.h"
#include "screen.h"

enum { TABLE_COLUMNS_MAX = 16, TABLE_CELL_MAX = 256 };

struct table_context {
	uint64_t now;   /* ms since the epoch, when the rows were true */
};

struct column {
	const char *title;
	char key;              /* that sorts by it */
	unsigned char rank;    /* the highest is the first to be left out of a narrow screen */
	unsigned char width;   /* cells, at least */
	unsigned char most;    /* cells, at most, where there is room */
	enum fit fit;

	/* One of them. A text may be the row's own, or be written to out. "" and 0
	 * stand for what is not known; a column in which nothing ever was is not
	 * shown. */
	const char *(*text)(char out[TABLE_CELL_MAX], const void *row);
	uint64_t (*number)(const void *row, const struct table_context *context);

	/* How a number is written; NULL: in decimal. */
	const char *(*format)(char out[FORMAT_MAX], uint64_t number);
};

struct table {
	/* set by the owner */
	const struct column *columns;
	size_t column_count;
	unsigned (*row_style)(const void *row);
	const ProtobufCBinaryData *(*id)(const void *row);
	struct table_context context;

	const void **rows;     /* in the order shown */
	size_t count, room;    /* rows there, rows allocated */
	size_t selected, top;  /* indices; top is the first row on the screen */
	size_t page;           /* rows shown last */
	size_t sort;           /* column */
	bool reverse;
	unsigned seen;         /* columns in which something was, a bit each */
	unsigned char need[TABLE_COLUMNS_MAX];   /* cells that the widest value took, at most most */
};

/* Makes room for rows. False: not enough memory; nothing changed. */
bool table_reserve(struct table *t, size_t rows);

/* To be called when the rows have been replaced: sorts them and selects the one
 * with this id, or when it is gone (or NULL) the one in the same place. */
void table_replaced(struct table *t, const ProtobufCBinaryData *selected);

/* Takes a key that moves in the table or sorts it. False: it is neither. */
bool table_key(struct table *t, int key);

/* Draws titles and rows on the next lines of the screen; mark: style of the
 * selected row, besides style. */
void table_draw(struct table *t, struct screen *s, int lines, unsigned style, unsigned mark);

void table_free(struct table *t);

#endif
