/* IDX files, plain or packed: the input takes the place of one of the four files of a good set, or
 * of all, cut in four. */
#include "sets.h"

#include <stdio.h>

static FuzzFile files[4];
static FuzzSet set;

/* Two samples of 2 x 3 in each split. */
static const uint8_t good_images[] = { 0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2,  0,  0,
                                       0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
static const uint8_t good_labels[] = { 0, 0, 8, 1, 0, 0, 0, 2, 0, 1 };

static void fill_good(int i)
{
    if (i % 2 == 0)
        fuzz_fill(&files[i], good_images, sizeof good_images);
    else
        fuzz_fill(&files[i], good_labels, sizeof good_labels);
}

static void start(void)
{
    char text[512];
    for (int i = 0; i < 4; i++) {
        files[i] = fuzz_file();
        fill_good(i);
    }
    snprintf(text, sizeof text,
             "{train_images: %s, train_labels: %s, test_images: %s, test_labels: %s}",
             files[0].path, files[1].path, files[2].path, files[3].path);
    set = fuzz_set("idx", text);
}

static void run(const uint8_t *data, size_t bytes)
{
    int place = fuzz_byte(&data, &bytes) % 5;
    size_t part = bytes / 4;
    for (int i = 0; i < 4; i++) {
        if (place == 4)
            fuzz_fill(&files[i], data + (size_t)i * part, part);
        else if (place == i)
            fuzz_fill(&files[i], data, bytes);
    }
    fuzz_load(&set);
    for (int i = 0; i < 4; i++)
        if (place == 4 || place == i)
            fill_good(i);
}

const FuzzTarget fuzz_idx = { .name = "idx", .start = start, .run = run };
