/* Fuzz targets: readers of what comes from outside, fed with anything. A target is one file; it is
 * linked with libFuzzer into a program of its own (tests/fuzz/run), and test_corpus gives all of
 * them the inputs kept in tests/fuzz/corpus.
 *
 * A target fails by a crash, a sanitizer's report, a broken `expect`, memory that is not given
 * back, or an error without a message that can be shown. */
#ifndef LOCKSTEP_TESTS_FUZZ_H
#define LOCKSTEP_TESTS_FUZZ_H

#include "lockstep/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct FuzzTarget {
    const char *name;
    void (*start)(void); /* once; NULL: nothing to do */
    void (*run)(const uint8_t *data, size_t bytes);
} FuzzTarget;

extern const FuzzTarget fuzz_cifar, fuzz_config, fuzz_idx, fuzz_override, fuzz_records,
    fuzz_safetensors, fuzz_state, fuzz_table, fuzz_tokens, fuzz_vocabulary, fuzz_watch;

/* Once, then for every input: calls the target. Memory of mem_alloc must balance. */
void fuzz_start(const FuzzTarget *target);
void fuzz_run(const FuzzTarget *target, const uint8_t *data, size_t bytes);

/* Returns ok. An error must have a message: UTF-8, and of control characters only line ends. */
bool fuzz_told(bool ok, const Err *err);

/* A file in memory, under a path that anybody may open. */
typedef struct FuzzFile {
    int fd;
    char path[32];
} FuzzFile;
FuzzFile fuzz_file(void);
void fuzz_fill(const FuzzFile *file, const void *data, size_t bytes);

/* A folder below TMPDIR that stays until the program ends, and a name in it for a file in
 * memory. */
#define FUZZ_PATH 256
const char *fuzz_folder(void);
void fuzz_link(const FuzzFile *file, const char *name);

/* A copy that ends with NUL, mem_alloc'ed. */
char *fuzz_text(const uint8_t *data, size_t bytes);

/* Takes the first byte of the input away; 0 if there is none. */
uint8_t fuzz_byte(const uint8_t **data, size_t *bytes);

#endif
