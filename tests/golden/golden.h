/* The golden runner: every case below a folder (optimizers, schedules, layers, models, init)
 * computed with the program's own code, through its public interfaces, and compared with reference
 * numbers. A case is known by what it says about itself (`reference`, `hyper`, `layer`, `attrs`),
 * never by its name. */
#ifndef LOCKSTEP_TESTS_GOLDEN_H
#define LOCKSTEP_TESTS_GOLDEN_H

#include "lockstep/config.h"
#include "lockstep/error.h"
#include "lockstep/layout.h"
#include "npy.h"

#include <jansson.h>

enum { GOLDEN_PATH = 1024 };

typedef enum Verdict { PASSED, FAILED, SKIPPED } Verdict;

/* One case in progress. `why` is the reason for FAILED and SKIPPED. */
typedef struct Case {
    char folder[GOLDEN_PATH];
    const json_t *json; /* its case.json, or its entry of an index; borrowed */
    Err why;
    double worst;   /* largest |got - wanted| / tolerance so far */
    char what[512]; /* the element where that was */
    size_t compared;
} Case;

/* Makes a verdict and its reason. */
Verdict case_fails(Case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
Verdict case_skips(Case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Compares one element; NaN never passes. */
void case_compare(Case *c, const char *what, size_t index, double got, double wanted,
                  double tolerance);
/* PASSED, or FAILED with the worst element; a case that compared nothing has failed. */
Verdict case_verdict(Case *c);

/* Reads an array that must have `count` elements (0: any). */
bool case_array(Case *c, const char *file, size_t count, Npy *npy);

/* Strings and numbers of an object, or the fallback. */
const char *key_text(const json_t *object, const char *key, const char *fallback);
double key_number(const json_t *object, const char *key, double fallback);

/* The object of a list that has this name, or NULL; one of the case's `inputs`; and `count` floats
 * against an array of its `expected`, within 20 times the error of the float32 reference + 1e-6 of
 * the largest value. */
const json_t *case_named(const json_t *list, const char *name);
bool case_input(Case *c, const char *name, Npy *npy);
bool case_expects(Case *c, const json_t *entry, const float *got, size_t count);

/* Hyper-parameters and attributes, translated into a YAML flow map of our own options. Every key is
 * taken out once it is understood; a key that is left over with a value that is not off (false,
 * null, 0) makes the case unsupported. */
typedef struct Recipe {
    json_t *left; /* a copy, owned */
    char yaml[4096];
    char unsupported[256];
} Recipe;
void recipe_init(Recipe *recipe, const json_t *keys, const char *type); /* type may be NULL */
void recipe_free(Recipe *recipe);
void recipe_add(Recipe *recipe, const char *format, ...) __attribute__((format(printf, 2, 3)));
void recipe_unsupported(Recipe *recipe, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes a key out. Missing: the fallback. null: 0 or false. A wrong type makes it unsupported. */
double recipe_number(Recipe *recipe, const char *key, double fallback);
bool recipe_flag(Recipe *recipe, const char *key, bool fallback);
void recipe_drop(Recipe *recipe, const char *key);
/* Takes a key out, if it is there, and adds it under our name. */
void recipe_copy_number(Recipe *recipe, const char *key, const char *option);
void recipe_copy_flag(Recipe *recipe, const char *key, const char *option);
/* Ends the map. False if the case is unsupported: the reason is in recipe->unsupported. */
bool recipe_finish(Recipe *recipe);
/* "section: {...}" parsed. */
bool recipe_parse(const Recipe *recipe, const char *section, Config *config, Err *err);

/* Tensors that are concatenated into flat vectors (the case's `tensors`): a sealed layout, and the
 * offset of each in the flat vector. */
typedef struct FlatTensors {
    Layout layout;
    size_t *offset; /* owned */
    size_t total;
} FlatTensors;
bool flat_init(FlatTensors *flat, const json_t *tensors, Err *err);
void flat_free(FlatTensors *flat);
void flat_to_arena(const FlatTensors *flat, const double *vector, float *arena);
void flat_compare(Case *c, const char *what, const FlatTensors *flat, const float *arena,
                  double sign, const double *wanted, const double *tolerance);

/* One function a family. */
Verdict golden_optimizer(Case *c);
Verdict golden_schedule(Case *c);
Verdict golden_layer(Case *c);
Verdict golden_recurrent(Case *c, const char *type);
Verdict golden_model(Case *c);
Verdict golden_init_row(Case *c, const char *header, const char *row);
Verdict golden_diagnostics(Case *c);
void golden_end(void); /* after the last case */

#endif
