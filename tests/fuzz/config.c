/* A configuration file as a run reads it: parsed, given to settings and to the families, the data
 * set's files aside. What is accepted must print as YAML that reads back as itself. */
#include "fuzz.h"

#include "../../src/data/parts.h"
#include "lockstep/cpu.h"
#include "lockstep/loss.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/optimizer.h"
#include "lockstep/schedule.h"
#include "lockstep/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Only this level is compiled with the sanitizers. */
static void start(void)
{
    Err err;
    expect(cpu_set_isa("v2", &err));
}

static bool read_data_options(const Config *config, ConfigNode *node, const DatasetType *type,
                              Err *err)
{
    const char *common[OPTIONS_MAX];
    void *options = mem_alloc(type->options_bytes);
    options_names(loader_common_options, common);
    bool ok = options_read(config, node, type->options, common, options, err);
    if (ok && type->check)
        ok = type->check(options, err);
    options_free(type->options, options);
    mem_free(options);
    return ok;
}

static bool read_data(const Settings *settings, Err *err)
{
    Loader loader = { 0 };
    const Config *config = &settings->config;
    config_as_map(settings->data, "type");
    const ConfigNode *name = config_get(settings->data, "type");
    const DatasetType *type = name && name->kind == CONFIG_SCALAR ? dataset_find(name->text) : NULL;
    ConfigNode *augment = config_get(settings->data, "augment");
    bool ok = (!type || read_data_options(config, settings->data, type, err)) &&
              (!augment || augment_read(&loader, config, augment, err));
    augment_free(&loader);
    return ok;
}

/* A network for images of 1 x 8 x 8 and ten classes, its optimizer and its schedule. */
static bool read_families(const Settings *settings, Err *err)
{
    const Config *config = &settings->config;
    const ScheduleRun run = {
        .steps = 100, .steps_per_epoch = 10, .batch = settings->train.batch, .base_lr = 0.1
    };
    Model model = { 0 };
    Optimizer optimizer = { 0 };
    Schedule schedule = { 0 };
    const ModelWish wish = { .input = { .ndim = 3, .dim = { 1, 8, 8 } },
                             .output = { .ndim = 1, .dim = { 10, 1, 1 } } };
    bool ok = schedule_init(&schedule, config, settings->schedule, &run, err);
    for (int64_t step = 0; ok && step < 200; step += 7)
        schedule_lr(&schedule, step);
    ok = ok && model_build(&model, config, settings->model, settings->loss, &wish, err);
    ok = ok && optimizer_init(&optimizer, config, settings->optimizer, &model.layout, err);
    schedule_free(&schedule);
    optimizer_free(&optimizer);
    model_free(&model);
    return ok;
}

static char *printed(const Config *config, size_t *bytes)
{
    char *text = NULL;
    FILE *memory = open_memstream(&text, bytes);
    expect(memory);
    config_print(config, memory, false);
    expect(fclose(memory) == 0);
    return text;
}

static void check_print(const Config *config)
{
    Config again;
    Err err = { .text = "" };
    size_t bytes = 0, bytes_again = 0;
    char *text = printed(config, &bytes);
    bool ok = config_parse(&again, "printed.yaml", text, bytes, &err);
    if (!ok)
        fprintf(stderr, "%s\n%s\n", err.text, text);
    expect(ok);
    char *text_again = printed(&again, &bytes_again);
    expect(bytes == bytes_again && memcmp(text, text_again, bytes) == 0);
    config_free(&again);
    free(text_again);
    free(text);
}

static void run(const uint8_t *data, size_t bytes)
{
    Settings settings = { 0 };
    Err err = { .text = "" };
    char *text = fuzz_text(data, bytes);
    bool parsed = fuzz_told(config_parse(&settings.config, "fuzz.yaml", text, bytes, &err), &err);
    if (parsed)
        check_print(&settings.config);
    if (parsed && fuzz_told(settings_read(&settings, &err), &err)) {
        fuzz_told(read_data(&settings, &err), &err);
        fuzz_told(read_families(&settings, &err), &err);
        check_print(&settings.config);
    }
    settings_free(&settings);
    mem_free(text);
}

const FuzzTarget fuzz_config = { .name = "config", .start = start, .run = run };
