/* A data set of files, with options as a configuration would give them. */
#ifndef LOCKSTEP_TESTS_FUZZ_SETS_H
#define LOCKSTEP_TESTS_FUZZ_SETS_H

#include "fuzz.h"

#include "lockstep/dataset.h"

typedef struct FuzzSet {
    const DatasetType *type;
    void *options; /* stay until the program ends */
} FuzzSet;

/* `text` is the section `data` without its type, such as "{folder: /tmp/x}". */
FuzzSet fuzz_set(const char *type, const char *text);

/* Loads it; what is accepted must hold together. */
void fuzz_load(const FuzzSet *set);

#endif
