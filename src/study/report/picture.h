/* Pictures by gnuplot, as SVG that stands in the page and takes its colours from it. What they show
 * is collected first; then gnuplot runs once for all. Private to src/study/report. */
#ifndef LOCKSTEP_STUDY_REPORT_PICTURE_H
#define LOCKSTEP_STUDY_REPORT_PICTURE_H

#include "page.h"

#include "lockstep/error.h"

/* gnuplot draws in rgb(0, 0, NUMBER), which becomes a CSS variable. */
typedef enum Color {
    COLOR_SERIES = 1, /* to 8 */
    COLOR_AXIS = 16,
    COLOR_GRID,
    COLOR_MUTED,     /* reference lines */
    COLOR_RAMP = 32, /* to 39 */
} Color;
int color_series(int index);
int color_ramp(int index, int count);

typedef enum Mark {
    MARK_LINE,
    MARK_DASHES,
    MARK_DOTTED,
    MARK_DOTS,
    MARK_POINTS,
    MARK_BARS,
    MARK_STEPS,
    MARK_CROSSES,
    MARK_NONE /* of a key: words only */
} Mark;

/* A sample of a mark, and what it means. */
typedef struct Key {
    Mark mark;
    int color;
    char *text; /* owned */
} Key;

typedef struct Picture {
    char *title, *caption; /* owned; the caption may be "" */
    Page settings, data, plot;
    Key *keys;
    size_t key_count, key_capacity;
    char *svg; /* owned; NULL: not drawn */
    int blocks;
    bool wide;
} Picture;

typedef struct Album {
    Picture **pictures;
    size_t count, capacity;
} Album;

/* Owned by the album. caption: a sentence, or "". */
Picture *album_add(Album *album, const char *title, const char *caption);
void album_free(Album *album);

/* Draws all pictures. False: none is drawn and err says why. */
bool album_draw(Album *album, Err *err);

/* The figures, if they are drawn, in a grid. */
void album_put(const Album *album, Page *page);

/* Each picture as FOLDER/NAME.svg, which can stand alone; NAME from its title. */
bool album_save(const Album *album, const char *folder, Err *err);

/* Appends gnuplot's `text`, which has a character before it, as the page's picture `number`. */
void svg_copy(Page *svg, const char *text, size_t number);

/* ---- what a picture shows ---- */

/* Axis 'x' or 'y' from low to high; logarithmic ones must be positive. Values that are not finite
 * are made up for. */
void picture_axis(Picture *picture, char axis, const char *label, double low, double high,
                  bool logarithmic);

/* Names at places of the x axis. */
void picture_names(Picture *picture, const char *const *names, const double *places, int count);

/* The following rows belong to a new block, whose number is returned. A NAN is a gap. */
int picture_block(Picture *picture);
void picture_row(Picture *picture, int count, const double *values);

/* Draws a block: x:y, or x:y:low:high for bars. width in pixels, or size of the points. */
void picture_draw(Picture *picture, int block, Mark mark, int color, double width);

void picture_key(Picture *picture, Mark mark, int color, const char *text);

/* keys.c: the keys as a line of a page; title and keys as SVG in `width` pixels above y = 0, which
 * returns the height they take. */
void keys_put(const Picture *picture, Page *page);
int keys_svg(const Picture *picture, Page *svg, int width);
void color_name(int color, char *buffer, size_t size); /* "--c1" */

#endif
