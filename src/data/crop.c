/* Pad and crop: the image is padded on every side and a window of its own size is cut at a random
 * place (He et al. 2016, section 4.2: pad 4 on CIFAR-10). Zero fill is the channel's mean, since
 * samples are normalised already. */
#include "parts.h"

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

/* -pad .. pad, each equally likely */
static int draw_shift(uint32_t word, int pad)
{
    return (int)((uint64_t)word * (uint64_t)(2 * pad + 1) >> 32) - pad;
}

static void apply(const void *chosen, const AugmentSample *sample)
{
    const CropOptions *o = chosen;
    int down = draw_shift(sample->random[0], o->pad), right = draw_shift(sample->random[1], o->pad);
    if (down == 0 && right == 0)
        return;
    image_shift(sample->x, sample->shape, down, right, (Fill)o->fill, sample->scratch);
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
