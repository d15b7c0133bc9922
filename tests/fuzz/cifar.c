/* CIFAR-10 and CIFAR-100 in their binary version, plain or packed. The input is both splits; as a
 * record has 3 kB, a flag says that it is what stands at the beginning of so many records. */
#include "sets.h"

#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

#define RECORD_MAX 3074

static FuzzFile file;
static FuzzSet sets[3];

static void start(void)
{
    char text[FUZZ_PATH + 64];
    static const char *const names[] = { "data_batch_1.bin", "test_batch.bin", "train.bin",
                                         "test.bin" };
    file = fuzz_file();
    for (int i = 0; i < 4; i++)
        fuzz_link(&file, names[i]);
    snprintf(text, sizeof text, "{folder: %s}", fuzz_folder());
    sets[0] = fuzz_set("cifar10", text);
    sets[1] = fuzz_set("cifar100", text);
    snprintf(text, sizeof text, "{folder: %s, labels: coarse}", fuzz_folder());
    sets[2] = fuzz_set("cifar100", text);
}

/* The input's bytes are the labels of records, `odd` bytes too few at the end. */
static void fill_records(const uint8_t *data, size_t bytes, size_t record, size_t odd)
{
    size_t labels = record - RECORD_MAX + 2, count = bytes / labels < 4 ? bytes / labels : 4;
    uint8_t *records = mem_alloc(count * record + 1);
    for (size_t i = 0; i < count; i++)
        memcpy(records + i * record, data + i * labels, labels);
    fuzz_fill(&file, records, count > 0 ? count * record - odd : 0);
    mem_free(records);
}

static void run(const uint8_t *data, size_t bytes)
{
    uint8_t flags = fuzz_byte(&data, &bytes);
    int kind = flags % 3;
    if (flags < 128)
        fuzz_fill(&file, data, bytes);
    else
        fill_records(data, bytes, kind ? RECORD_MAX : RECORD_MAX - 1, flags / 3 % 3);
    fuzz_load(&sets[kind]);
}

const FuzzTarget fuzz_cifar = { .name = "cifar", .start = start, .run = run };
