/* The `data` section: options, loading, normalisation, buffers. */
#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "parts.h"

#include <string.h>

enum Normalize { NORMALIZE_AUTO, NORMALIZE_NONE };
enum LastBatch { LAST_BATCH_KEEP, LAST_BATCH_DROP };

typedef struct LoaderOptions {
    char *type;
    int normalize, last_batch;
    OptionFloats mean, std;
    bool shuffle;
    ConfigNode *augment;
    int64_t train_limit, test_limit;
} LoaderOptions;

const Option loader_common_options[] = {
    { "type", OPTION_STRING, OPTION_AT(LoaderOptions, type), 0, 0, NULL, NULL,
      "data set: one of `lockstep list datasets`" },
    { "normalize", OPTION_CHOICE, OPTION_AT(LoaderOptions, normalize), 0, 0, "auto|none", "auto",
      "auto: to mean 0, variance 1 per channel, by `mean` and `std` or as measured on the training "
      "set; none: bytes / 255" },
    { "mean", OPTION_FLOATS, OPTION_AT(LoaderOptions, mean), -1e30, 1e30, NULL, "",
      "per channel, of bytes / 255; empty: measured" },
    { "std", OPTION_FLOATS, OPTION_AT(LoaderOptions, std), 1e-12, 1e30, NULL, "",
      "per channel, of bytes / 255; empty: measured" },
    { "shuffle", OPTION_BOOL, OPTION_AT(LoaderOptions, shuffle), 0, 0, NULL, "true",
      "another order each epoch, a function of (seed, epoch); false: file order" },
    { "last_batch", OPTION_CHOICE, OPTION_AT(LoaderOptions, last_batch), 0, 0, "keep|drop", "keep",
      "the short batch at the end of an epoch: train on it or leave it out" },
    { "augment", OPTION_NODE, OPTION_AT(LoaderOptions, augment), 0, 0, NULL, "",
      "list applied in order, such as [flip, {crop: {pad: 4}}, {cutout: {size: 8}}]" },
    { "train_limit", OPTION_INT, OPTION_AT(LoaderOptions, train_limit), 0, 1e15, NULL, "0",
      "use only the first so many training samples; 0: all" },
    { "test_limit", OPTION_INT, OPTION_AT(LoaderOptions, test_limit), 0, 1e15, NULL, "0",
      "use only the first so many test samples; 0: all" },
    OPTION_END,
};

/* What loader_init works with. */
typedef struct Setup {
    const Config *config;
    ConfigNode *node;
    LoaderOptions common;
    void *options; /* of the data set type */
} Setup;

#define MAX_TYPES 64

static bool find_type(const Setup *setup, const DatasetType **type, Err *err)
{
    config_as_map(setup->node, "type");
    const ConfigNode *node = config_get(setup->node, "type");
    if (!node || node->kind != CONFIG_SCALAR)
        return config_error(setup->config, node ? node : setup->node, err,
                            "type: the name of a data set is wanted; see `lockstep list datasets`");
    *type = dataset_find(node->text);
    if (*type)
        return true;
    int count;
    const DatasetType *const *types = dataset_all(&count);
    const char *names[MAX_TYPES];
    expect(count <= MAX_TYPES);
    for (int i = 0; i < count; i++)
        names[i] = types[i]->name;
    return config_unknown(setup->config, node, false, "data set", "data sets", names, (size_t)count,
                          err);
}

static bool check_statistics(const Setup *setup, Err *err)
{
    const LoaderOptions *o = &setup->common;
    if (o->mean.count != o->std.count)
        return config_error(setup->config, setup->node, err,
                            "%d values of mean, %d of std; as many of both are wanted",
                            o->mean.count, o->std.count);
    if (o->mean.count > 0 && o->normalize == NORMALIZE_NONE)
        return config_error(setup->config, setup->node, err,
                            "mean and std are given, but normalize is none");
    return true;
}

static bool read_options(Loader *loader, Setup *setup, Err *err)
{
    if (!find_type(setup, &loader->type, err))
        return false;
    const char *theirs[OPTIONS_MAX], *common[OPTIONS_MAX];
    options_names(loader->type->options, theirs);
    options_names(loader_common_options, common);
    setup->options = mem_alloc(loader->type->options_bytes);
    if (!options_read(setup->config, setup->node, loader_common_options, theirs, &setup->common,
                      err) ||
        !options_read(setup->config, setup->node, loader->type->options, common, setup->options,
                      err))
        return false;
    Err why;
    if (loader->type->check && !loader->type->check(setup->options, &why))
        return config_error(setup->config, setup->node, err, "%s", why.text);
    return check_statistics(setup, err) &&
           augment_read(loader, setup->config, setup->common.augment, err);
}

/* What means nothing for tokens. */
static bool check_windows(const Loader *loader, const Setup *setup, Err *err)
{
    const LoaderOptions *o = &setup->common;
    if (!dataset_has_windows(&loader->train))
        return true;
    if (o->mean.count > 0)
        return config_error(setup->config, setup->node, err,
                            "mean and std are given, but data set %s has tokens, not numbers",
                            loader->type->name);
    if (loader->augment_count > 0)
        return config_error(setup->config, loader->augment[0].node, err,
                            "works on images (C, H, W), data set %s has tokens",
                            loader->type->name);
    if (!o->shuffle && !loader->train.windows.blocks)
        return config_error(setup->config, setup->node, err,
                            "shuffle: false wants windows: blocks; random windows have no order");
    return true;
}

static int64_t limit_or_all(int64_t limit)
{
    return limit > 0 ? limit : INT64_MAX;
}

static bool load_sets(Loader *loader, const Setup *setup, Err *err)
{
    DatasetRequest request = { .seed = loader->seed,
                               .train_limit = limit_or_all(setup->common.train_limit),
                               .test_limit = limit_or_all(setup->common.test_limit) };
    if (!loader->type->load(setup->options, &request, &loader->train, &loader->test, err) ||
        !dataset_check_pair(&loader->train, &loader->test, err))
        return false;
    dataset_limit(&loader->train, request.train_limit);
    dataset_limit(&loader->test, request.test_limit);
    expect(loader->train.count > 0 && loader->test.count > 0);
    dataset_set_digest(&loader->train);
    dataset_set_digest(&loader->test);
    loader->shape = loader->train.shape;
    loader->sample_size = dataset_sample_size(&loader->train);
    loader->channels = loader->shape.ndim == 3 ? loader->shape.dim[0] : 1;
    return true;
}

static bool set_normalization(Loader *loader, const Setup *setup, Err *err)
{
    const OptionFloats *mean = &setup->common.mean, *std = &setup->common.std;
    if (dataset_has_windows(&loader->train))
        return true;
    loader->normalize = setup->common.normalize == NORMALIZE_AUTO;
    if (mean->count > 0 && mean->count != loader->channels)
        return config_error(setup->config, setup->node, err,
                            "%d values of mean and std, samples have %d channel%s", mean->count,
                            loader->channels, loader->channels == 1 ? "" : "s");
    for (int c = 0; c < loader->channels; c++) {
        loader->mean[c] = mean->count > 0 ? (float)mean->value[c] : 0;
        loader->std[c] = mean->count > 0 ? (float)std->value[c] : 1;
    }
    if (loader->normalize && mean->count == 0)
        normalize_measure(loader);
    normalize_prepare(loader);
    return true;
}

static bool set_epoch(Loader *loader, const Setup *setup, Err *err)
{
    int64_t count = loader->train.count, batch = loader->lanes->batch;
    loader->shuffle = setup->common.shuffle;
    loader->drop_last = setup->common.last_batch == LAST_BATCH_DROP;
    loader->epoch_samples = loader->drop_last ? count / batch * batch : count;
    if (loader->epoch_samples == 0)
        return config_error(setup->config, setup->node, err,
                            "last_batch: drop leaves nothing of %lld samples in batches of %lld",
                            (long long)count, (long long)batch);
    loader->plan = batch_plan(loader->epoch_samples, loader->lanes->batch);
    loader->steps_per_epoch = loader->plan.stages[0].per_epoch;
    return true;
}

static void allocate_batch(Loader *loader)
{
    size_t batch = (size_t)loader->lanes->size;
    loader->max_batch = loader->lanes->size;
    loader->index = mem_array(int64_t, batch);
    if (dataset_has_windows(&loader->train)) {
        loader->tokens = mem_array(int32_t, batch * loader->sample_size);
        loader->labels = mem_array(int32_t, batch * loader->sample_size);
        return;
    }
    loader->x = mem_array(float, batch * loader->sample_size);
    loader->scratch = mem_array(float, loader->sample_size);
    loader->labels = mem_array(int32_t, batch);
    loader->targets = mem_array(float, batch *(size_t)loader->train.target_size);
}

static bool set_up(Loader *loader, Setup *setup, Err *err)
{
    if (!read_options(loader, setup, err))
        return false;
    if (!load_sets(loader, setup, err)) {
        loader->data_error = true;
        return false;
    }
    if (!check_windows(loader, setup, err) || !augment_check(loader, setup->config, err) ||
        !set_epoch(loader, setup, err) || !set_normalization(loader, setup, err))
        return false;
    allocate_batch(loader);
    return true;
}

bool loader_init(Loader *loader, const Config *config, ConfigNode *node, uint64_t seed,
                 const Lanes *lanes, Err *err)
{
    Setup setup = { .config = config, .node = node };
    *loader = (Loader){ .seed = seed, .lanes = lanes };
    bool ok = set_up(loader, &setup, err);
    if (setup.options)
        options_free(loader->type->options, setup.options);
    mem_free(setup.options);
    options_free(loader_common_options, &setup.common);
    if (!ok) {
        bool data_error = loader->data_error;
        loader_free(loader);
        loader->data_error = data_error;
    }
    return ok;
}

void loader_free(Loader *loader)
{
    dataset_free(&loader->train);
    dataset_free(&loader->test);
    augment_free(loader);
    mem_free(loader->table);
    mem_free(loader->x);
    mem_free(loader->scratch);
    mem_free(loader->tokens);
    mem_free(loader->labels);
    mem_free(loader->index);
    mem_free(loader->targets);
    *loader = (Loader){ 0 };
}

static void append_numbers(char *buffer, size_t size, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        text_append(buffer, size, " %.6f", (double)x[i]);
}

static char *windows_text(const Windows *windows, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s of %d tokens, ", windows->blocks ? "blocks" : "random windows",
             windows->length);
    if (windows->masks > 0)
        text_append(buffer, size, "%d of them masked", windows->masks);
    else
        text_append(buffer, size, "each predicts the next");
    return buffer;
}

char *loader_text(const Loader *loader, char *buffer, size_t size)
{
    if (dataset_has_windows(&loader->train))
        return windows_text(&loader->train.windows, buffer, size);
    snprintf(buffer, size, "normalize %s", loader->normalize ? "mean" : "none");
    if (loader->normalize) {
        append_numbers(buffer, size, loader->mean, loader->channels);
        text_append(buffer, size, ", std");
        append_numbers(buffer, size, loader->std, loader->channels);
    }
    for (int i = 0; i < loader->augment_count; i++)
        text_append(buffer, size, "%s%s", i ? ", " : "; augment ", loader->augment[i].type->name);
    return buffer;
}
