/* Arrays in NumPy's .npy format 1.0, as the golden vectors use it: little-endian, C order, <f4, <f8
 * or <i4. */
#ifndef LOCKSTEP_TESTS_NPY_H
#define LOCKSTEP_TESTS_NPY_H

#include "lockstep/error.h"

#include <stddef.h>

#define NPY_MAX_DIMS 8

typedef struct Npy {
    int ndim;
    size_t shape[NPY_MAX_DIMS];
    size_t count;   /* product of shape */
    double *values; /* every element type is widened without loss; owned */
    bool is_integer;
} Npy;

/* Errors name the file and what is wrong with it: cannot be read, magic, header, length. After an
 * error there is nothing to free. */
bool npy_read(const char *path, Npy *npy, Err *err);
void npy_free(Npy *npy);

/* "(2, 3)" into buffer; returns buffer. */
char *npy_shape(const Npy *npy, char *buffer, size_t size);

#endif
