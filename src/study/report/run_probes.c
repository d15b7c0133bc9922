/* Pictures of what the probes of training steps saw. */
#include "parts.h"

#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

/* Is there a column of this name without its end, or with another one? Then it is drawn there. */
static bool has_other(const Frame *frame, const char *name, const char *end, const char *other)
{
    char base[128];
    size_t length = strlen(name), cut = strlen(end);
    if (length <= cut || length >= sizeof base - 8 || strcmp(name + length - cut, end) != 0)
        return false;
    snprintf(base, sizeof base, "%.*s%s", (int)(length - cut), name, other);
    return frame_column(frame, base) != NULL;
}

/* Places, what the steps tell too, and the ends of bands have no picture of their own. */
static bool is_drawn(const RunData *run, const char *name)
{
    static const char *const places[] = { "step", "epoch", "samples", "time_s" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(name, places[i]) == 0)
            return false;
    const Frame *probes = &run->probes;
    return !frame_column(&run->steps, name) && !has_other(probes, name, "_low", "") &&
           !has_other(probes, name, "_high", "") && !has_other(probes, name, "_max", "_min");
}

/* Has a run before this one the column too? */
static bool seen_before(const Scene *scene, size_t run, const char *name)
{
    for (size_t i = 0; i < run; i++)
        if (frame_column(&scene->runs[i].probes, name))
            return true;
    return false;
}

/* "noise_scale" -> "Noise scale" */
static void probe_title(const char *name, char *title, size_t size)
{
    snprintf(title, size, "%s", name);
    for (char *c = title; *c; c++)
        if (*c == '_')
            *c = ' ';
    if (title[0] >= 'a' && title[0] <= 'z')
        title[0] = (char)(title[0] - 'a' + 'A');
}

/* Names of up to three lines: a value and its band, smallest and largest, or the value alone. */
static int probe_names(const Frame *probes, const char *name, char names[3][128])
{
    size_t length = strlen(name);
    int count = 1;
    snprintf(names[0], sizeof names[0], "%s", name);
    if (has_other(probes, name, "_min", "_max")) {
        snprintf(names[count++], sizeof names[1], "%.*s_max", (int)length - 4, name);
        return count;
    }
    if (has_other(probes, name, "", "_low") && has_other(probes, name, "", "_high")) {
        snprintf(names[count++], sizeof names[1], "%s_low", name);
        snprintf(names[count++], sizeof names[2], "%s_high", name);
    }
    return count;
}

/* In the first run that has the column; its companions are drawn in each run's colour too. */
static void draw_probe(Album *album, const Scene *scene, const Frame *probes, const char *name)
{
    char title[128], names[3][128];
    int each = probe_names(probes, name, names);
    Line *lines = mem_array(Line, scene->count * (size_t)each);
    for (size_t i = 0; i < scene->count; i++)
        for (int j = 0; j < each; j++)
            lines[i * (size_t)each + (size_t)j] =
                (Line){ &scene->runs[i].probes,
                        names[j],
                        1,
                        j == 0 ? MARK_POINTS : MARK_DASHES,
                        color_series((int)i),
                        scene->count == 1 ? (each > 1 ? names[j] : NULL)
                        : j == 0          ? scene->runs[i].name
                                          : NULL,
                        diverged(&scene->runs[i]) };
    probe_title(name, title, sizeof title);
    draw_lines(album, scene, title, name, SCALE_LOG, lines, scene->count * (size_t)each);
    mem_free(lines);
}

void draw_probes(Album *album, const Scene *scene)
{
    for (size_t run = 0; run < scene->count; run++) {
        const Frame *probes = &scene->runs[run].probes;
        for (size_t i = 0; i < probes->count; i++) {
            const char *name = probes->columns[i].name;
            if (is_drawn(&scene->runs[run], name) && !seen_before(scene, run, name))
                draw_probe(album, scene, probes, name);
        }
    }
}
