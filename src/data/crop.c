/* Pad and crop: the image is padded on every side and a window of its own size is cut at a random
 * place (He et al. 2016, section 4.2: pad 4 on CIFAR-10). Zero fill is the channel's mean, since
 * samples are normalised already. */
#include "lockstep/loader.h"

#include <string.h>

enum Fill { FILL_ZERO, FILL_REFLECT };

typedef struct CropOptions {
    int pad, fill;
} CropOptions;

static const Option options[] = {
    { "pad", OPTION_INT, OPTION_AT(CropOptions, pad), 1, 4096, NULL, "4", "pixels on every side" },
    { "fill", OPTION_CHOICE, OPTION_AT(CropOptions, fill), 0, 0, "zero|reflect", "zero",
      "zero (the mean after normalisation) or the image mirrored at its border" },
    OPTION_END,
};

static bool check(const void *chosen, Shape shape, Err *err)
{
    const CropOptions *o = chosen;
    int smaller = shape.dim[1] < shape.dim[2] ? shape.dim[1] : shape.dim[2];
    if (o->fill == FILL_REFLECT && o->pad >= smaller)
        return err_set(err, "pad: %d is too much to reflect a side of %d", o->pad, smaller);
    if (o->pad > smaller)
        return err_set(err, "pad: %d is more than a side of %d", o->pad, smaller);
    return true;
}

/* 0 1 2 3 seen beyond its ends: 2 1 | 0 1 2 3 | 2 1 */
static int reflect(int i, int n)
{
    if (i < 0)
        return -i;
    return i < n ? i : 2 * n - 2 - i;
}

/* y[j] = x[j + shift], and nothing where that is outside */
static void shift_row(const float *x, float *y, int width, int shift)
{
    int first = shift < 0 ? -shift : 0, last = shift > 0 ? width - shift : width;
    for (int j = 0; j < first; j++)
        y[j] = 0;
    for (int j = first; j < last; j++)
        y[j] = x[j + shift];
    for (int j = last; j < width; j++)
        y[j] = 0;
}

static void crop_plane(const float *x, float *y, Shape shape, int down, int right, int fill)
{
    int height = shape.dim[1], width = shape.dim[2];
    for (int i = 0; i < height; i++) {
        float *row = y + (size_t)i * (size_t)width;
        int from = fill == FILL_REFLECT ? reflect(i + down, height) : i + down;
        if (from < 0 || from >= height)
            memset(row, 0, (size_t)width * sizeof *row);
        else if (fill == FILL_ZERO)
            shift_row(x + (size_t)from * (size_t)width, row, width, right);
        else
            for (int j = 0; j < width; j++)
                row[j] = x[(size_t)from * (size_t)width + (size_t)reflect(j + right, width)];
    }
}

/* -pad .. pad, each equally likely */
static int draw_shift(uint32_t word, int pad)
{
    return (int)((uint64_t)word * (uint64_t)(2 * pad + 1) >> 32) - pad;
}

static void apply(const void *chosen, const AugmentSample *sample)
{
    const CropOptions *o = chosen;
    size_t plane = (size_t)sample->shape.dim[1] * (size_t)sample->shape.dim[2];
    size_t n = (size_t)sample->shape.dim[0] * plane;
    int down = draw_shift(sample->random[0], o->pad), right = draw_shift(sample->random[1], o->pad);
    if (down == 0 && right == 0)
        return;
    memcpy(sample->scratch, sample->x, n * sizeof(float));
    for (size_t at = 0; at < n; at += plane)
        crop_plane(sample->scratch + at, sample->x + at, sample->shape, down, right, o->fill);
}

const AugmentType augment_crop = {
    .name = "crop",
    .help = "pads an image and cuts a window of the old size at a random place",
    .source = "He et al. 2016",
    .options = options,
    .options_bytes = sizeof(CropOptions),
    .check = check,
    .apply = apply,
};
