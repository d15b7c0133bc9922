/* state.json of a checkpoint. With the flag the checksum in its last line is made right. */
#include "fuzz.h"

#include "../../src/train/checkpoint_parts.h"
#include "../../src/train/diff_parts.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const char settings[] = "train: {batch: 8, steps: 4}\noptimizer: {type: sgd, lr: 0.1}\n";
static Config config;

static void start(void)
{
    Err err;
    expect(config_parse(&config, "now.yaml", settings, sizeof settings - 1, &err));
}

static void count_leaf(void *context, const char *path, const char *a, const char *b)
{
    size_t *count = context;
    expect(*path && (a || b));
    *count += 1;
}

static void use(const CheckpointState *state)
{
    Err err = { .text = "" };
    uint64_t digest;
    size_t differ = 0;
    expect(state->step >= 0 && state->samples >= 0 && state->number >= 0);
    for (int i = 0; i < CHECKPOINT_FILES; i++) {
        const json_t *record = state_file(state, checkpoint_files[i]);
        state_hex(record, "header", &digest);
        state_hex(json_object_get(record, "tensors"), "a.weight", &digest);
    }
    fuzz_told(leaves_compare(state->config, &config, count_leaf, &differ, &err), &err);
}

static void run(const uint8_t *data, size_t bytes)
{
    bool mends = fuzz_byte(&data, &bytes) % 2 == 1;
    char tail[64] = "", *text;
    CheckpointState state;
    Err err = { .text = "" };
    if (mends)
        snprintf(tail, sizeof tail, ",\n  \"checksum\": \"%016llx\"\n}\n",
                 (unsigned long long)XXH3_64bits(data, bytes));
    size_t tail_bytes = strlen(tail);
    text = mem_alloc(bytes + tail_bytes);
    if (bytes > 0)
        memcpy(text, data, bytes);
    memcpy(text + bytes, tail, tail_bytes);
    if (fuzz_told(state_parse(&state, "state.json", text, bytes + tail_bytes, &err), &err)) {
        use(&state);
        state_free(&state);
    }
    mem_free(text);
}

const FuzzTarget fuzz_state = { .name = "state", .start = start, .run = run };
