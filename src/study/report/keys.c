/* What the colours and marks of a picture mean: as a line of a page, where a browser lays it out,
 * and as SVG above a picture that stands alone. */
#include "picture.h"

#include "lockstep/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLE = 26, LETTER = 8, GAP = 18, LINE = 22 }; /* pixels */

void color_name(int color, char *buffer, size_t size)
{
    if (color >= COLOR_RAMP)
        snprintf(buffer, size, "--r%d", color - COLOR_RAMP);
    else if (color < COLOR_AXIS)
        snprintf(buffer, size, "--c%d", color);
    else
        snprintf(buffer, size, "--%s",
                 color == COLOR_AXIS   ? "ink"
                 : color == COLOR_GRID ? "grid"
                                       : "muted");
}

/* In a box of 26 x 12 pixels. */
static void put_sample(Page *page, const Key *key)
{
    char name[16];
    bool dots = key->mark == MARK_DOTS, bars = key->mark == MARK_BARS;
    color_name(key->color, name, sizeof name);
    if (key->mark == MARK_CROSSES)
        page_add(page, "<path d=\"M9 2l8 8M17 2l-8 8\" stroke=\"var(%s)\" stroke-width=\"2\"/>",
                 name);
    else if (!dots)
        page_add(page, "<path d=\"M1 6H25\" stroke=\"var(%s)\" stroke-width=\"2\"%s/>", name,
                 key->mark == MARK_DASHES   ? " stroke-dasharray=\"6 4\""
                 : key->mark == MARK_DOTTED ? " stroke-dasharray=\"2 3\""
                                            : "");
    if (dots || bars || key->mark == MARK_POINTS)
        page_add(page, "<circle cx=\"13\" cy=\"6\" r=\"4\" fill=\"var(%s)\"/>", name);
}

void keys_put(const Picture *picture, Page *page)
{
    if (picture->key_count == 0)
        return;
    page_add(page, "<div class=\"keys\">");
    for (size_t i = 0; i < picture->key_count; i++) {
        page_add(page, "<span>");
        if (picture->keys[i].mark != MARK_NONE) {
            page_add(page, "<svg viewBox=\"0 0 26 12\" aria-hidden=\"true\">");
            put_sample(page, &picture->keys[i]);
            page_add(page, "</svg>");
        }
        page_text(page, picture->keys[i].text);
        page_add(page, "</span>\n");
    }
    page_add(page, "</div>\n");
}

/* Characters, as far as it is UTF-8. */
static int letters(const char *text)
{
    int count = 0;
    uint32_t code;
    for (size_t bytes = strlen(text), at = 0; at < bytes; count++) {
        size_t length = text_utf8(text + at, bytes - at, &code);
        at += length > 0 ? length : 1;
    }
    return count;
}

int keys_svg(const Picture *picture, Page *svg, int width)
{
    Page keys = { 0 };
    int x = 14, y = 0;
    for (size_t i = 0; i < picture->key_count; i++) {
        const Key *key = &picture->keys[i];
        int sample = key->mark == MARK_NONE ? 0 : SAMPLE + 6;
        int wide = sample + LETTER * letters(key->text);
        if (x > 14 && x + wide > width) {
            x = 14;
            y += LINE;
        }
        page_add(&keys, "<g transform=\"translate(%d,%d)\">", x, y);
        if (sample > 0)
            put_sample(&keys, key);
        page_add(&keys, "<text x=\"%d\" y=\"11\" font-size=\"14\" fill=\"var(--ink)\">", sample);
        page_text(&keys, key->text);
        page_add(&keys, "</text></g>\n");
        x += wide + GAP;
    }
    int height = 34 + (picture->key_count > 0 ? y + LINE : 0);
    page_add(svg,
             "<g transform=\"translate(0,%d)\"><text x=\"14\" y=\"22\" font-size=\"16\" "
             "font-weight=\"600\" fill=\"var(--ink)\">",
             -height);
    page_text(svg, picture->title);
    page_add(svg, "</text>\n<g transform=\"translate(0,34)\">%s</g></g>\n",
             keys.text ? keys.text : "");
    page_free(&keys);
    return height;
}
