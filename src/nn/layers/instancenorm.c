/* Instance normalisation: each channel of each image by itself, a groupnorm with as many groups as
 * channels. Without running statistics: evaluation does what training does. */
#include "../groupnorm.h"
#include "lockstep/cpu.h"

typedef struct InstanceNormOptions {
    double eps;
    bool affine;
} InstanceNormOptions;

static const Option options[] = {
    { "eps", OPTION_FLOAT, OPTION_AT(InstanceNormOptions, eps), 0, 1, NULL, "1e-5",
      "added to the variance" },
    { "affine", OPTION_BOOL, OPTION_AT(InstanceNormOptions, affine), 0, 0, NULL, "false",
      "learn a gain and a bias per channel" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const InstanceNormOptions *norm = layer->options;
    if (layer->in.ndim != 3)
        return err_set(err, "it needs an image (C, H, W)");
    return groupnorm_plan(layer, layout, layer->in.dim[0], norm->affine, err);
}

static void allocate(Layer *layer, int max_batch)
{
    const InstanceNormOptions *norm = layer->options;
    groupnorm_allocate(layer, layer->in.dim[0], norm->eps, max_batch);
}

extern const LayerType ISA_NAME(layer_instancenorm);
const LayerType ISA_NAME(layer_instancenorm) = {
    .name = "instancenorm",
    .help = "normalises each channel of each image",
    .formula = "y = g (x - mean) / sqrt(var + eps) + b, over each channel",
    .source = "Ulyanov et al. 2016",
    .options = options,
    .options_bytes = sizeof(InstanceNormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = groupnorm_release,
    .forward = groupnorm_forward,
    .backward = groupnorm_backward,
    .keep_x = true,
    .normalizes = NORMALIZES_CHANNELS,
};
