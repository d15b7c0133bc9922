/* Random mirroring, each direction with probability 1/2 (Krizhevsky et al. 2012, section 4.1); or
 * in turns: mirrored at random in the first epoch, and from then on every epoch the other way than
 * the one before, so that two epochs show both sides of every image (Jordan 2024, section 3.6). */
#include "parts.h"

typedef struct FlipOptions {
    bool horizontal, vertical, alternate;
} FlipOptions;

static const Option options[] = {
    { "horizontal", OPTION_BOOL, OPTION_AT(FlipOptions, horizontal), 0, 0, NULL, "true",
      "left and right, with probability 1/2" },
    { "vertical", OPTION_BOOL, OPTION_AT(FlipOptions, vertical), 0, 0, NULL, "false",
      "top and bottom, with probability 1/2" },
    { "alternate", OPTION_BOOL, OPTION_AT(FlipOptions, alternate), 0, 0, NULL, "false",
      "random in the first epoch only; then every epoch the other way than the one before" },
    OPTION_END,
};

/* Is the image mirrored in direction 0 or 1? */
static bool draw(const FlipOptions *o, const AugmentSample *sample, int direction)
{
    if (o->alternate)
        return (sample->steady[direction] >> 31) ^ (sample->epoch & 1);
    return sample->random[direction] >> 31;
}

static void apply(const void *chosen, const AugmentSample *sample)
{
    const FlipOptions *o = chosen;
    if (o->horizontal && draw(o, sample, 0))
        image_mirror(sample->x, sample->shape);
    if (o->vertical && draw(o, sample, 1))
        image_turn_over(sample->x, sample->shape);
}

const AugmentType augment_flip = {
    .name = "flip",
    .help = "mirrors an image at random",
    .source = "Krizhevsky et al. 2012; alternate: Jordan 2024",
    .options = options,
    .options_bytes = sizeof(FlipOptions),
    .apply = apply,
};
