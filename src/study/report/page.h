/* Text that grows, and the parts of a page: escaped text, tables, lists, hidden details. Private to
 * src/study/report. */
#ifndef LOCKSTEP_STUDY_REPORT_PAGE_H
#define LOCKSTEP_STUDY_REPORT_PAGE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Page {
    char *text; /* NUL-terminated, owned; NULL: nothing yet */
    size_t used, capacity;
} Page;

void page_add(Page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void page_put(Page *page, const char *text, size_t bytes);
void page_free(Page *page);

/* Text as it is to be read: characters with a meaning in HTML are escaped, bytes that are not UTF-8
 * and control characters become "?". */
void page_text(Page *page, const char *text);

/* A line of CSV cells: quoted where it must be. `first`: no comma before it. */
void page_csv(Page *page, const char *text, bool first);

/* ---- tables: numbers to the right, words to the left ---- */

/* Column heads: words, separated by "|"; a leading "#" makes a column of numbers. */
void page_table(Page *page, const char *heads);
void page_row(Page *page, const char *class); /* begins a row; class may be NULL */
void page_word(Page *page, const char *text);
void page_number(Page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void page_table_end(Page *page);

/* <h2>, and a part that opens on demand; a long one is not printed. */
void page_head(Page *page, const char *title);
void page_details(Page *page, const char *title, bool is_long);
void page_details_end(Page *page);
void page_code(Page *page, const char *text);

/* Everything up to <main>, and from </main> on. */
void page_begin(Page *page, const char *title);
void page_end(Page *page);

/* Colours as CSS variables, light and dark; also for pictures that stand alone. */
extern const char page_colors[];

#endif
