/* Every input in tests/fuzz/corpus, and its beginnings, given to its target: what the fuzzer has
 * found once stays found. The fuzzer itself is `make fuzz`. */
#include "fuzz.h"
#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS "tests/fuzz/corpus"
#define CUTS 16

static const FuzzTarget *const targets[] = {
    &fuzz_cifar, &fuzz_config, &fuzz_idx,    &fuzz_override,   &fuzz_records, &fuzz_safetensors,
    &fuzz_state, &fuzz_table,  &fuzz_tokens, &fuzz_vocabulary, &fuzz_watch,
};
enum { TARGETS = sizeof targets / sizeof *targets };

static uint8_t *read_input(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file, "%s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*bytes + 1);
    ck_assert_uint_eq(fread(data, 1, *bytes, file), *bytes);
    fclose(file);
    return data;
}

/* Copies of exactly the length, so that a sanitizer sees the first byte behind it. */
static void run_cut(const FuzzTarget *target, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, data, bytes);
    fuzz_run(target, copy, bytes);
    free(copy);
}

static int run_folder(const FuzzTarget *target)
{
    char folder[TEST_PATH], path[2 * TEST_PATH];
    snprintf(folder, sizeof folder, CORPUS "/%s", target->name);
    DIR *directory = opendir(folder);
    int inputs = 0;
    ck_assert_msg(directory, "%s", folder);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        size_t bytes;
        if (*entry->d_name == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        uint8_t *data = read_input(path, &bytes);
        for (size_t cut = 0; cut <= CUTS; cut++)
            run_cut(target, data, bytes * cut / CUTS);
        free(data);
        inputs++;
    }
    closedir(directory);
    return inputs;
}

START_TEST(test_inputs)
{
    for (int i = 0; i < TARGETS; i++)
        ck_assert_int_gt(run_folder(targets[i]), 0);
}
END_TEST

int main(void)
{
    for (int i = 0; i < TARGETS; i++)
        fuzz_start(targets[i]);
    Suite *suite = suite_create("fuzz corpus");
    add_test(suite, test_inputs);
    return run_suite(suite);
}
