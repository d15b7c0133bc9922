/* Group normalisation: independent of the batch, so of lanes and ghosts too. Images and features;
 * the work is in groupnorm.h. */
#include "../groupnorm.h"
#include "lockstep/cpu.h"

typedef struct GroupNormOptions {
    int groups;
    double eps;
    bool affine;
} GroupNormOptions;

static const Option options[] = {
    { "groups", OPTION_INT, OPTION_AT(GroupNormOptions, groups), 1, 1 << 24, NULL, NULL,
      "groups of channels, each normalised by itself; must divide the channels" },
    { "eps", OPTION_FLOAT, OPTION_AT(GroupNormOptions, eps), 0, 1, NULL, "1e-5",
      "added to the variance" },
    { "affine", OPTION_BOOL, OPTION_AT(GroupNormOptions, affine), 0, 0, NULL, "true",
      "learn a gain and a bias per channel" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const GroupNormOptions *norm = layer->options;
    return groupnorm_plan(layer, layout, norm->groups, norm->affine, err);
}

static void allocate(Layer *layer, int max_batch)
{
    const GroupNormOptions *norm = layer->options;
    groupnorm_allocate(layer, norm->groups, norm->eps, max_batch);
}

extern const LayerType ISA_NAME(layer_groupnorm);
const LayerType ISA_NAME(layer_groupnorm) = {
    .name = "groupnorm",
    .help = "normalises groups of channels of each sample",
    .formula = "y = g (x - mean) / sqrt(var + eps) + b, over each group",
    .source = "Wu and He 2018",
    .options = options,
    .options_bytes = sizeof(GroupNormOptions),
    .plan = plan,
    .allocate = allocate,
    .release = groupnorm_release,
    .forward = groupnorm_forward,
    .backward = groupnorm_backward,
    .keep_x = true,
    .normalizes = NORMALIZES_SAMPLES,
};
