/* What a picture shows, as a gnuplot script. No text of a user reaches gnuplot but as a label of
 * plain characters between single quotes. */
#include "picture.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SERIES = 8, RAMP = 8 };

int color_series(int index)
{
    return COLOR_SERIES + index % SERIES;
}

int color_ramp(int index, int count)
{
    return COLOR_RAMP + (count > 1 ? index * (RAMP - 1) / (count - 1) : RAMP / 2);
}

Picture *album_add(Album *album, const char *title, const char *caption)
{
    Picture *picture = mem_new(Picture);
    picture->title = mem_string(title);
    picture->caption = mem_string(caption);
    mem_grow(&album->pictures, album->count, &album->capacity, sizeof *album->pictures);
    album->pictures[album->count++] = picture;
    return picture;
}

void album_free(Album *album)
{
    for (size_t i = 0; i < album->count; i++) {
        Picture *picture = album->pictures[i];
        mem_free(picture->title);
        mem_free(picture->caption);
        mem_free(picture->svg);
        page_free(&picture->settings);
        page_free(&picture->data);
        page_free(&picture->plot);
        for (size_t j = 0; j < picture->key_count; j++)
            mem_free(picture->keys[j].text);
        mem_free(picture->keys);
        mem_free(picture);
    }
    mem_free(album->pictures);
    *album = (Album){ 0 };
}

/* ---- axes ---- */

/* `text` as a gnuplot string. */
static void put_label(Page *page, const char *text)
{
    page_add(page, "'");
    for (; *text; text++) {
        bool plain = isalnum((unsigned char)*text) || strchr(" .,:;_+-=*/()[]%<>", *text);
        page_add(page, "%c", plain ? *text : '?');
    }
    page_add(page, "'");
}

/* "0.05", "2,000", "16k", "3M", "1e-6": a place on an axis whose ticks are `step` apart, or on a
 * logarithmic one (step 0). */
static void tick_text(char *buffer, size_t size, double value, double step)
{
    double magnitude = fabs(value);
    int exponent = magnitude > 0 ? (int)floor(log10(magnitude) + 1e-9) : 0;
    if (magnitude >= 1e9 || (magnitude > 0 && magnitude < 1e-4))
        snprintf(buffer, size, "%.3ge%d", value / pow(10, exponent), exponent);
    else if (magnitude >= 1e6)
        snprintf(buffer, size, "%.4gM", value / 1e6);
    else if (magnitude >= 1e4)
        snprintf(buffer, size, "%.4gk", value / 1e3);
    else if (magnitude >= 1000)
        text_count(buffer, size, llround(value));
    else
        snprintf(buffer, size, "%.*f", step > 0 ? (int)fmax(0, ceil(-log10(step) - 1e-9)) : 0,
                 value);
    if (step == 0 && magnitude < 1000 && magnitude >= 1e-4)
        snprintf(buffer, size, "%.3g", value);
}

static void put_tick(Picture *picture, char axis, double place, double step, bool *first)
{
    char text[32];
    tick_text(text, sizeof text, place, step);
    if (*first)
        page_add(&picture->settings, "set %ctics (", axis);
    page_add(&picture->settings, "%s'%s' %.9g", *first ? "" : ", ", text, place);
    *first = false;
}

/* Places 1, 2 and 5 in each decade, fewer over many decades. */
static void put_log_ticks(Picture *picture, char axis, double low, double high)
{
    static const int digits[] = { 1, 2, 5 };
    double decades = log10(high / low);
    int used = decades > 3 ? 1 : 3, every = decades > 6 ? (int)ceil(decades / 6) : 1;
    bool first = true;
    for (int decade = (int)floor(log10(low)); decade <= (int)ceil(log10(high)); decade += every)
        for (int i = 0; i < used; i++) {
            double place = digits[i] * pow(10, decade);
            if (place >= low * 0.999 && place <= high * 1.001)
                put_tick(picture, axis, place, 0, &first);
        }
    page_add(&picture->settings, first ? "" : ")\n");
}

/* About six places, 1, 2 or 5 times a power of ten apart. */
static void put_plain_ticks(Picture *picture, char axis, double low, double high)
{
    double rough = (high - low) / 6, unit = pow(10, floor(log10(rough)));
    double step = unit * (rough <= unit ? 1 : rough <= 2 * unit ? 2 : rough <= 5 * unit ? 5 : 10);
    bool first = true;
    for (double i = ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
        put_tick(picture, axis, i == 0 ? 0 : i * step, step, &first);
    page_add(&picture->settings, first ? "" : ")\n");
}

/* Room beside the data, and around a single value. */
static void widen(double *low, double *high, bool logarithmic)
{
    if (!isfinite(*low) || !isfinite(*high) || (logarithmic && *low <= 0)) {
        *low = logarithmic ? 0.1 : 0;
        *high = 1;
    }
    if (logarithmic) {
        double room = fmax(pow(*high / *low, 0.05), *high > *low ? 1.05 : 2);
        *low /= room;
        *high *= room;
        return;
    }
    double room = fmax(0.04 * (*high - *low), *high > *low ? 0 : fmax(0.1 * fabs(*high), 1e-9));
    *low = *low >= 0 && *low - room < 0 ? 0 : *low - room;
    *high += room;
}

void picture_axis(Picture *picture, char axis, const char *label, double low, double high,
                  bool logarithmic)
{
    logarithmic = logarithmic && (axis == 'x' || high > 3 * low);
    widen(&low, &high, logarithmic);
    page_add(&picture->settings, "set %clabel ", axis);
    put_label(&picture->settings, label);
    page_add(&picture->settings, "\nset %crange [%.9g:%.9g]\n", axis, low, high);
    if (!logarithmic) {
        put_plain_ticks(picture, axis, low, high);
        return;
    }
    page_add(&picture->settings, "set logscale %c\n", axis);
    put_log_ticks(picture, axis, low, high);
}

/* As many as there is room for. */
void picture_names(Picture *picture, const char *const *names, const double *places, int count)
{
    int every = (count + 9) / 10;
    page_add(&picture->settings, "set xtics (");
    for (int i = 0; i < count; i += every) {
        page_add(&picture->settings, "%s", i ? ", " : "");
        put_label(&picture->settings, names[i]);
        page_add(&picture->settings, " %.9g", places[i]);
    }
    page_add(&picture->settings, ")\n");
}

/* ---- data ---- */

int picture_block(Picture *picture)
{
    if (picture->blocks > 0)
        page_add(&picture->data, "EOD\n");
    page_add(&picture->data, "$d%d << EOD\n", picture->blocks);
    return picture->blocks++;
}

void picture_row(Picture *picture, int count, const double *values)
{
    for (int i = 0; i < count; i++)
        if (isfinite(values[i]))
            page_add(&picture->data, "%.9g%c", values[i], i + 1 < count ? ' ' : '\n');
        else
            page_add(&picture->data, "NaN%c", i + 1 < count ? ' ' : '\n');
}

void picture_draw(Picture *picture, int block, Mark mark, int color, double width)
{
    static const char *const styles[] = {
        [MARK_LINE] = "1:2 with lines lw",
        [MARK_DASHES] = "1:2 with lines dt (9,6) lw",
        [MARK_DOTTED] = "1:2 with lines dt (2,5) lw",
        [MARK_DOTS] = "1:2 with points pt 7 ps",
        [MARK_POINTS] = "1:2 with linespoints pt 7 ps 0.55 lw",
        [MARK_BARS] = "1:2:3:4 with yerrorbars pt 7 ps 0.7 lw",
        [MARK_STEPS] = "1:2 with steps lw",
        [MARK_CROSSES] = "1:2 with points pt 2 lw 1.5 ps",
    };
    page_add(&picture->plot, "%s$d%d using %s %g lc rgb '#0000%02x'",
             picture->plot.used ? ", " : "", block, styles[mark], width, (unsigned)color);
}

void picture_key(Picture *picture, Mark mark, int color, const char *text)
{
    mem_grow(&picture->keys, picture->key_count, &picture->key_capacity, sizeof *picture->keys);
    picture->keys[picture->key_count++] = (Key){ mark, color, mem_string(text) };
}
