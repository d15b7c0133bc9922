/* The registries, each as a count and a member by number. */
#include "families.h"
#include "lockstep/collective.h"
#include "lockstep/compress.h"
#include "lockstep/initializer.h"
#include "lockstep/loader.h"
#include "lockstep/model.h"
#include "lockstep/optimizer.h"
#include "lockstep/probe.h"
#include "lockstep/schedule.h"

/* What a list of layers may hold beside layers (model.h). */
static const Member containers[] = {
    { "repeat", "a list of layers several times: `repeat: {times, body, name}`",
      "y = body(body(... body(x)))", NULL, NULL },
    { "residual", "a residual block: `residual: {body, shortcut, name}`, both lists of layers",
      "y = body(x) + shortcut(x); without shortcut y = body(x) + x", "He et al. 2016", NULL },
};
enum { CONTAINERS = sizeof containers / sizeof *containers };

static int layer_count(void)
{
    int count;
    layer_all(&count);
    return count + CONTAINERS;
}

static Member layer_member(int index)
{
    int count;
    const LayerType *const *types = layer_all(&count);
    if (index >= count)
        return containers[index - count];
    const LayerType *type = types[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

static int loss_count(void)
{
    int count;
    loss_all(&count);
    return count;
}

static Member loss_member(int index)
{
    int count;
    const LossType *type = loss_all(&count)[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

static int optimizer_count(void)
{
    int count;
    optimizer_all(&count);
    return count;
}

static Member optimizer_member(int index)
{
    int count;
    const OptimizerType *type = optimizer_all(&count)[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

static int group_count(void)
{
    return 0;
}

static int wrapper_count(void)
{
    int count;
    wrapper_all(&count);
    return count;
}

static Member wrapper_member(int index)
{
    int count;
    const WrapperType *type = wrapper_all(&count)[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

static int schedule_count(void)
{
    int count;
    schedule_all(&count);
    return count;
}

static Member schedule_member(int index)
{
    int count;
    const ScheduleType *type = schedule_all(&count)[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

static int dataset_count(void)
{
    int count;
    dataset_all(&count);
    return count;
}

static Member dataset_member(int index)
{
    int count;
    const DatasetType *type = dataset_all(&count)[index];
    return (Member){ type->name, type->help, NULL, type->source, type->options };
}

static int augment_count(void)
{
    int count;
    augment_all(&count);
    return count;
}

static Member augment_member(int index)
{
    int count;
    const AugmentType *type = augment_all(&count)[index];
    return (Member){ type->name, type->help, NULL, type->source, type->options };
}

static int initializer_count(void)
{
    int count = 0;
    while (initializer_all()[count].name)
        count++;
    return count;
}

static Member initializer_member(int index)
{
    const InitializerInfo *info = &initializer_all()[index];
    return (Member){ info->name, info->help, NULL, NULL, NULL };
}

static int collective_count(void)
{
    int count;
    collective_all(&count);
    return count;
}

static Member collective_member(int index)
{
    int count;
    const CollectiveAlgorithm *algorithm = collective_all(&count)[index];
    return (Member){ algorithm->name, algorithm->help, algorithm->formula, algorithm->source,
                     NULL };
}

static int compressor_count(void)
{
    int count;
    compressor_all(&count);
    return count;
}

static Member compressor_member(int index)
{
    int count;
    const Compressor *type = compressor_all(&count)[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

static int probe_count(void)
{
    int count;
    probe_all(&count);
    return count;
}

static Member probe_member(int index)
{
    int count;
    const ProbeType *type = probe_all(&count)[index];
    return (Member){ type->name, type->help, type->formula, type->source, type->options };
}

const Family families[] = {
    { "layers", "layer", NULL,
      "Entries of `model.layers`: `- relu`, `- dense: 10`, `- dense: {units: 10, name: head}`.",
      layer_common_options, layer_count, layer_member },
    { "losses", "loss", "loss", "`loss: mse` or `loss: {type: mse}`.", loss_common_options,
      loss_count, loss_member },
    { "initializers", "initializer", NULL,
      "Values of `model.init` and of a layer's `init`; a factor may follow: `he_normal*0.5`.", NULL,
      initializer_count, initializer_member },
    { "optimizers", "optimizer", "optimizer", "`optimizer: {type: lars, lr: 2.0}`.",
      optimizer_common_options, optimizer_count, optimizer_member },
    { "groups", "group", NULL,
      "Entries of `optimizer.groups`: `- {match: \"*.bias\", weight_decay: 0}`. Beside the options "
      "below, those of the method.",
      optimizer_group_options, group_count, NULL },
    { "wrappers", "wrapper", NULL,
      "Entries of `optimizer.wrap`: `- ema`, `- ema: {decay: 0.99}`; they act in this order.", NULL,
      wrapper_count, wrapper_member },
    { "schedules", "schedule", "schedule", "`schedule: {type: cosine, warmup: 5ep}`.",
      schedule_common_options, schedule_count, schedule_member },
    { "datasets", "dataset", "data", "`data: {type: idx, folder: ...}`.", loader_common_options,
      dataset_count, dataset_member },
    { "augmentations", "augmentation", NULL,
      "Entries of `data.augment`: `- flip`, `- crop: {pad: 4}`.", NULL, augment_count,
      augment_member },
    { "collectives", "collective", NULL, "`comm: {algorithm: ring}`; see collectives.md.", NULL,
      collective_count, collective_member },
    { "compressors", "compressor", "comm.compress",
      "`comm: {compress: {type: topk, ratio: 0.01}}`; see compression.md.",
      compression_common_options, compressor_count, compressor_member },
    { "probes", "probe", NULL,
      "`lockstep probe runs/NAME hessian samples=1000`: not for configs; see landscape.md.",
      probe_common_options, probe_count, probe_member },
    { NULL, NULL, NULL, NULL, NULL, NULL, NULL },
};
