#ifndef TABLE_H
#define TABLE_H

/* A sortable table of connections, streams or groups with a selected row, of which the
 * visible part is drawn. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "row.h"
#include "screen.h"

enum { TABLE_COLUMNS_MAX = 16 };

struct column {
	const char *title;
	char key;              /* that sorts by it */
	enum cell cell;
	unsigned char rank;    /* the highest is the first to be left out of a narrow screen */
	unsigned char width;   /* cells, at least */
	unsigned char most;    /* cells, at most, where there is room */
	enum fit fit;

	/* How a number is written; NULL: in decimal. */
	const char *(*format)(char out[FORMAT_MAX], uint64_t number);
};

struct table {
	const struct column *columns;
	size_t column_count;
	struct row *rows;      /* in the order shown; filled by the owner */
	size_t count, room;    /* rows there, rows allocated */
	size_t selected, top;  /* indices; top is the first row on the screen */
	size_t page;           /* rows shown last */
	size_t sort;           /* column */
	bool reverse;
	bool marked;           /* bytes that the kernel counted were in a row: such bytes get a mark */
	const char *group;     /* title of the column GROUP */
	unsigned average;      /* s over which the rates are; 0: as the node says */
	unsigned wanted, hidden;   /* columns that the user chose so, a bit each */
	unsigned seen;         /* columns in which anything ever was, a bit each */
	unsigned shown;        /* columns that the last picture had */
	unsigned char need[TABLE_COLUMNS_MAX];   /* cells of the widest value; at most most */
};

/* Empty tables, with their columns. */
void table_of_connections(struct table *t);
void table_of_streams(struct table *t);
void table_of_groups(struct table *t);

/* The title of a column, for as long as t->group and out stay. */
const char *table_title(const struct table *t, size_t column, char out[FORMAT_MAX]);

/* Takes a key of a column, and hides it if it is shown, or else has it shown. */
void table_choose(struct table *t, int key);

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
