/* The loader's parts that live in files of their own. */
#ifndef LOCKSTEP_DATA_PARTS_H
#define LOCKSTEP_DATA_PARTS_H

#include "lockstep/loader.h"

/* What a shift brings in at the border: zeros, or the image reflected without its border pixels. */
typedef enum Fill { FILL_ZERO, FILL_REFLECT } Fill;

/* An image x (C, H, W): left and right, or top and bottom, change places. */
void image_mirror(float *x, Shape shape);
void image_turn_over(float *x, Shape shape);

/* x[c, i, j] = x[c, i + down, j + right], also for negative numbers; scratch is as large as x. A
 * reflected shift must be smaller than both sides. */
void image_shift(float *x, Shape shape, int down, int right, Fill fill, float *scratch);

/* Mean and standard deviation of the training set into loader->mean and ->std. Bytes are summed in
 * integers, so the result does not depend on order; floats in doubles, first to last. */
void normalize_measure(Loader *loader);

/* By loader->mean and ->std: fills loader->table, or changes the values of both sets in place. */
void normalize_prepare(Loader *loader);

/* Reads the list `node` (NULL: none) into loader->augment. */
bool augment_read(Loader *loader, const Config *config, ConfigNode *node, Err *err);

/* Once the sample's shape is known: every augmentation can do its work. */
bool augment_check(const Loader *loader, const Config *config, Err *err);
void augment_free(Loader *loader);

#endif
