/* Command line arguments and LOCKSTEP_ variables, a line each, over a small configuration. */
#include "fuzz.h"

#include "lockstep/memory.h"
#include "lockstep/settings.h"

#include <string.h>

#define LINES_MAX 16

static const char base[] = "data: {type: synthetic}\nmodel:\n  layers:\n    - flatten\n    - relu\n"
                           "    - dense: 10\noptimizer: sgd\ntrain:\n  batch: 8\n  epochs: 1\n";

static char **known;
static size_t known_count;

/* The paths stay until the program ends. */
static void start(void)
{
    known = settings_paths(&known_count);
}

static bool apply(Config *config, char *line, Err *err)
{
    char *variables[2] = { line, NULL };
    if (strncmp(line, "LOCKSTEP_", 9) != 0)
        return config_override(config, line, err);
    return config_environment(config, variables, (const char *const *)known, known_count, NULL,
                              err);
}

static void run(const uint8_t *data, size_t bytes)
{
    Settings settings = { 0 };
    Err err = { .text = "" };
    char *text = fuzz_text(data, bytes), *rest = NULL, *line = strtok_r(text, "\n", &rest);
    bool ok = config_parse(&settings.config, "base.yaml", base, sizeof base - 1, &err);
    expect(ok);
    for (int i = 0; ok && line && i < LINES_MAX; i++, line = strtok_r(NULL, "\n", &rest))
        ok = fuzz_told(apply(&settings.config, line, &err), &err);
    if (ok)
        fuzz_told(settings_read(&settings, &err), &err);
    settings_free(&settings);
    mem_free(text);
}

const FuzzTarget fuzz_override = { .name = "override", .start = start, .run = run };
