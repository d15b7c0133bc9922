/* Cutout (DeVries and Taylor 2017): a square whose centre is anywhere in the image is set to zero,
 * the mean of a normalised image, in all channels; what lies outside the image is lost. An odd size
 * is taken as it is, where the authors' code makes it even. */
#include "lockstep/loader.h"

#include <string.h>

typedef struct CutoutOptions {
    int size;
} CutoutOptions;

static const Option options[] = {
    { "size", OPTION_INT, OPTION_AT(CutoutOptions, size), 1, 65536, NULL, "8",
      "side of the square, pixels" },
    OPTION_END,
};

typedef struct Side {
    int first, last;
} Side;

static Side draw_side(uint32_t word, int size, int n)
{
    int first = (int)((uint64_t)word * (uint64_t)n >> 32) - size / 2, last = first + size;
    return (Side){ first < 0 ? 0 : first, last > n ? n : last };
}

static void apply(const void *chosen, const AugmentSample *sample)
{
    const CutoutOptions *o = chosen;
    int channels = sample->shape.dim[0], height = sample->shape.dim[1],
        width = sample->shape.dim[2];
    Side rows = draw_side(sample->random[0], o->size, height);
    Side columns = draw_side(sample->random[1], o->size, width);
    for (int c = 0; c < channels; c++)
        for (int i = rows.first; i < rows.last; i++) {
            size_t row = (size_t)c * (size_t)height + (size_t)i;
            memset(sample->x + row * (size_t)width + (size_t)columns.first, 0,
                   (size_t)(columns.last - columns.first) * sizeof(float));
        }
}

const AugmentType augment_cutout = {
    .name = "cutout",
    .help = "blanks a square at a random place",
    .source = "DeVries and Taylor 2017",
    .options = options,
    .options_bytes = sizeof(CutoutOptions),
    .apply = apply,
};
