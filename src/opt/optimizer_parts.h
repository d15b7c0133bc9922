/* What the files of the optimizer share. */
#ifndef LOCKSTEP_OPTIMIZER_PARTS_H
#define LOCKSTEP_OPTIMIZER_PARTS_H

#include "lockstep/optimizer.h"

/* Running statistics and frozen tensors: no part of any norm, no update. */
static inline bool is_left_alone(const Layout *layout, int tensor)
{
    return layout->tensors[tensor].flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN);
}

static inline const OptimizerMethod *method_of(const Optimizer *o, int tensor)
{
    return &o->methods[o->tensor_method[tensor]];
}

/* Does the method use this state, with its options? */
static inline bool has_state(const OptimizerMethod *method, int state)
{
    return state < method->type->states && method->states & 1U << state;
}

/* Has the tensor to belong to one rank? */
static inline bool is_whole(const Optimizer *o, int tensor)
{
    bool whole = method_of(o, tensor)->type->update_tensor || o->tensor_lazy[tensor];
    for (int k = 0; k < o->wrapper_count; k++)
        whole = whole || o->wrappers[k].type->gradient_tensor;
    return whole && !is_left_alone(o->layout, tensor);
}

static inline bool owns(const Optimizer *o, int tensor)
{
    const LayoutTensor *t = &o->layout->tensors[tensor];
    return t->first_block >= o->slice.first_block &&
           t->first_block + t->blocks <= o->slice.last_block;
}

static inline int scalar_count(const char *const names[OPTIMIZER_MAX_SCALARS])
{
    int count = 0;
    while (count < OPTIMIZER_MAX_SCALARS && names[count])
        count++;
    return count;
}

static inline size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Lists the buffers of a tensor and returns how many there are. */
int optimizer_buffers(const Optimizer *optimizer, int tensor, OptimizerBuffer *buffers);

/* A tensor's `update` that leaves rows without gradient as they are. g is complete. Bytes of
 * scratch memory that it wants. */
void lazy_update(Optimizer *optimizer, int tensor, float *w, Gradient g);
size_t lazy_scratch(const LayoutTensor *tensor);

/* A block as its method sees it. */
OptimizerRange optimizer_range(const Optimizer *optimizer, int block, float *w, const float *g);

void optimizer_clear_padding(const Optimizer *optimizer, int block, const OptimizerRange *range);

/* Around the method: wrappers on the slice of g, their scalars once norms are known, and what they
 * do with the new weights of a block (`before` may be NULL). */
bool wrappers_change_gradient(const Optimizer *optimizer);
void wrappers_gradient(Optimizer *optimizer, int tensor, float *w, float *g);
void wrappers_decide(Optimizer *optimizer);
void wrappers_weights(const Optimizer *optimizer, int block, float *w, const float *before);
OptimizerRange wrapper_range(const Optimizer *optimizer, const OptimizerWrapper *wrapper, int block,
                             float *w);

/* Reading {groups, wrap}: which method, lr and decay each tensor has; what is around all of
 * them. */
bool groups_read(Optimizer *optimizer, const Config *config, ConfigNode *groups,
                 const ConfigNode *main, Err *err);
bool wrappers_read(Optimizer *optimizer, const Config *config, ConfigNode *wrap, Err *err);

/* A method by name: value of option `type`, or NULL for the default. NULL after an error. */
const OptimizerType *optimizer_read_type(const Config *config, ConfigNode *node, const char *def,
                                         Err *err);
/* Adds a method whose options are read from node; names in `other` are somebody else's. Options
 * that are missing get the value that `main` has, or their default if main is NULL. */
bool optimizer_add_method(Optimizer *optimizer, const OptimizerType *type, const Config *config,
                          ConfigNode *node, const char *const *other, const ConfigNode *main,
                          Err *err);

#endif
