/* The loader's parts that live in files of their own. */
#ifndef LOCKSTEP_DATA_PARTS_H
#define LOCKSTEP_DATA_PARTS_H

#include "lockstep/loader.h"

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
