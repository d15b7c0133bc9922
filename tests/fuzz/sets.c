/* Data sets for fuzz targets: see sets.h. */
#include "sets.h"

#include "lockstep/memory.h"

#include <string.h>

FuzzSet fuzz_set(const char *type, const char *text)
{
    FuzzSet set = { .type = dataset_find(type) };
    Config config;
    Err err;
    expect(set.type);
    set.options = mem_alloc(set.type->options_bytes);
    expect(config_parse(&config, "data", text, strlen(text), &err));
    expect(options_read(&config, config.root, set.type->options, NULL, set.options, &err));
    config_free(&config);
    return set;
}

static void check_labels(const Dataset *set)
{
    for (int64_t i = 0; i < set->count; i++)
        expect(set->labels[i] >= 0 && set->labels[i] < set->classes);
}

void fuzz_load(const FuzzSet *set)
{
    const DatasetRequest request = { .seed = 1, .train_limit = 1, .test_limit = 1 };
    Dataset train = { 0 }, test = { 0 };
    Err err = { .text = "" };
    if (fuzz_told(set->type->load(set->options, &request, &train, &test, &err), &err)) {
        check_labels(&train);
        check_labels(&test);
        dataset_set_digest(&train); /* reads every byte */
        dataset_set_digest(&test);
    }
    dataset_free(&train);
    dataset_free(&test);
}
