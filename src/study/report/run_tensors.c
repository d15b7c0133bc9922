/* Pictures of what the probes saw of each tensor: probes.csv of a run. Only the ones that tell
 * layers apart, of a few weights between the first and the last; the rest is in the file. */
#include "parts.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 6 };
#define FILE_MAX ((size_t)256 << 20)

static const struct {
    const char *quantity, *title;
} pictures[] = {
    { "noise_scale", "Noise scale by tensor" },
    { "trust", "Trust ratio by tensor" },
    { "update_ratio", "Update ratio by tensor" },
    { "effective_lr", "Effective learning rate by tensor" },
};
enum { PICTURES = sizeof pictures / sizeof *pictures };

typedef struct Tensor {
    char *name;
    Frame seen[PICTURES]; /* columns step, value */
} Tensor;

typedef struct Tensors {
    Tensor *list;
    size_t count, capacity;
} Tensors;

static Tensor *tensor_of(Tensors *tensors, const char *name)
{
    for (size_t i = 0; i < tensors->count; i++)
        if (strcmp(tensors->list[i].name, name) == 0)
            return &tensors->list[i];
    mem_grow(&tensors->list, tensors->count, &tensors->capacity, sizeof *tensors->list);
    tensors->list[tensors->count] = (Tensor){ .name = mem_string(name) };
    return &tensors->list[tensors->count++];
}

/* "step,tensor,quantity,value": a line that is not of this form, the header for one, is passed
 * over. Names may hold commas, in quotes. */
static void take_line(Tensors *tensors, char *line)
{
    char *first = strchr(line, ','), *last = strrchr(line, ',');
    double step, value;
    if (!first || last <= first)
        return;
    *first = *last = '\0';
    char *middle = strrchr(first + 1, ',');
    if (!middle || !text_to_double(line, &step) || !text_to_double(last + 1, &value))
        return;
    *middle = '\0';
    char *name = first + 1;
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".bias") == 0)
        return;
    for (int i = 0; i < PICTURES; i++)
        if (strcmp(middle + 1, pictures[i].quantity) == 0)
            frame_add(&tensor_of(tensors, name)->seen[i], step, "value", value);
}

/* A file that is not there, or is too large to read, has no lines. */
static void read_tensors(Tensors *tensors, const char *folder)
{
    char *path = path_join(folder, "probes.csv"), *text;
    size_t bytes;
    if (file_text(path, FILE_MAX, &text, &bytes, NULL)) {
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));)
            if (rest) /* a last line without an end is cut */
                take_line(tensors, line);
        mem_free(text);
    }
    mem_free(path);
}

static void draw_picture(Album *album, const Scene *scene, const Tensors *tensors, int picture)
{
    size_t with = 0;
    for (size_t i = 0; i < tensors->count; i++)
        with += tensors->list[i].seen[picture].rows > 0;
    size_t shown = with < TENSORS ? with : TENSORS, number = 0, used = 0;
    if (with == 0)
        return;
    Line *lines = mem_array(Line, shown);
    for (size_t i = 0; i < tensors->count && used < shown; i++) {
        const Tensor *tensor = &tensors->list[i];
        if (tensor->seen[picture].rows == 0)
            continue;
        bool wanted = number++ == (shown > 1 ? used * (with - 1) / (shown - 1) : 0);
        if (wanted)
            lines[used] = (Line){
                &tensor->seen[picture], "value", 1, MARK_LINE, color_ramp((int)used, (int)shown),
                tensor->name,           false
            };
        used += wanted;
    }
    draw_lines(album, scene, pictures[picture].title, pictures[picture].quantity, SCALE_LOG, lines,
               used);
    mem_free(lines);
}

void draw_tensors(Album *album, const Scene *scene)
{
    Tensors tensors = { 0 };
    if (scene->count != 1)
        return;
    read_tensors(&tensors, scene->runs->folder);
    for (int i = 0; i < PICTURES; i++)
        draw_picture(album, scene, &tensors, i);
    for (size_t i = 0; i < tensors.count; i++) {
        for (int j = 0; j < PICTURES; j++)
            frame_free(&tensors.list[i].seen[j]);
        mem_free(tensors.list[i].name);
    }
    mem_free(tensors.list);
}
