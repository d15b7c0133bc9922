/* Random mirroring, each direction with probability 1/2 (Krizhevsky et al. 2012, section 4.1). */
#include "lockstep/loader.h"

typedef struct FlipOptions {
    bool horizontal, vertical;
} FlipOptions;

static const Option options[] = {
    { "horizontal", OPTION_BOOL, OPTION_AT(FlipOptions, horizontal), 0, 0, NULL, "true",
      "left and right, with probability 1/2" },
    { "vertical", OPTION_BOOL, OPTION_AT(FlipOptions, vertical), 0, 0, NULL, "false",
      "top and bottom, with probability 1/2" },
    OPTION_END,
};

static void swap(float *a, float *b)
{
    float kept = *a;
    *a = *b;
    *b = kept;
}

static void mirror_row(float *row, int width)
{
    for (int j = 0; j < width / 2; j++)
        swap(&row[j], &row[width - 1 - j]);
}

static void mirror_plane(float *plane, int height, int width)
{
    for (int i = 0; i < height / 2; i++)
        for (int j = 0; j < width; j++)
            swap(&plane[i * width + j], &plane[(height - 1 - i) * width + j]);
}

static void apply(const void *chosen, const AugmentSample *sample)
{
    const FlipOptions *o = chosen;
    int channels = sample->shape.dim[0], height = sample->shape.dim[1],
        width = sample->shape.dim[2];
    if (o->horizontal && sample->random[0] >> 31)
        for (int row = 0; row < channels * height; row++)
            mirror_row(sample->x + (size_t)row * (size_t)width, width);
    if (o->vertical && sample->random[1] >> 31)
        for (int c = 0; c < channels; c++)
            mirror_plane(sample->x + (size_t)c * (size_t)height * (size_t)width, height, width);
}

const AugmentType augment_flip = {
    .name = "flip",
    .help = "mirrors an image at random",
    .source = "Krizhevsky et al. 2012",
    .options = options,
    .options_bytes = sizeof(FlipOptions),
    .apply = apply,
};
