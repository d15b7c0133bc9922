/* The gradient of every tensor by itself is shortened to a largest norm. After clip_norm, if that
 * is on too. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

typedef struct ClipLayerOptions {
    double max;
} ClipLayerOptions;

static const Option options[] = {
    { "max", OPTION_FLOAT, OPTION_AT(ClipLayerOptions, max), 1e-30, 1e30, NULL, "1",
      "largest norm of a tensor's gradient" },
    OPTION_END,
};

static unsigned needs(const void *options_pointer)
{
    (void)options_pointer;
    return OPTIMIZER_NORM_G;
}

static void tensor(const void *options_pointer, TensorStep *step)
{
    const ClipLayerOptions *o = options_pointer;
    if (step->norm_g <= o->max)
        return;
    step->scale *= o->max / step->norm_g;
    step->norm_g = o->max;
}

extern const WrapperType ISA_NAME(wrapper_clip_layer);
const WrapperType ISA_NAME(wrapper_clip_layer) = {
    .name = "clip_layer",
    .help = "a largest norm for the gradient of each tensor",
    .formula = "g *= min(1, max / |g|), tensor by tensor",
    .source = "Pascanu et al. 2013",
    .options = options,
    .options_bytes = sizeof(ClipLayerOptions),
    .needs = needs,
    .tensor = tensor,
};
