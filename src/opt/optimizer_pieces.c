/* The list of all that has to be saved to go on bit for bit. */
#include "optimizer_parts.h"

#include <stdarg.h>
#include <stdio.h>

/* Counts down to the piece that is wanted. */
typedef struct Search {
    Optimizer *o;
    OptimizerPiece *piece;
    int left;
} Search;

/* True if this is the one. */
__attribute__((format(printf, 3, 4))) static bool found(Search *search, OptimizerPiece piece,
                                                        const char *format, ...)
{
    if (search->left-- > 0)
        return false;
    *search->piece = piece;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(search->piece->name, sizeof search->piece->name, format, arguments);
    va_end(arguments);
    return true;
}

static OptimizerPiece scalar(int tensor, double *value)
{
    return (OptimizerPiece){ .type = BUFFER_DOUBLE,
                             .tensor = tensor,
                             .total = 1,
                             .count = 1,
                             .data = value,
                             .replicated = true };
}

/* The part of a tensor's state that is in the slice; `at` is the state of its first block there. */
static OptimizerPiece floats(const Optimizer *o, int tensor, float *at)
{
    const LayoutTensor *t = &o->layout->tensors[tensor];
    size_t from = larger(t->offset, o->slice.lo), end = t->offset + t->n;
    size_t to = end < o->slice.hi ? end : o->slice.hi;
    OptimizerPiece piece = { .type = BUFFER_FLOAT, .tensor = tensor, .total = t->n };
    if (from < to) {
        piece.first = from - t->offset;
        piece.count = to - from;
        piece.data = at;
    }
    return piece;
}

/* The tensor's first block in the slice; any block of the arena if it has none there. */
static int first_here(const Optimizer *o, int tensor)
{
    int first = o->layout->tensors[tensor].first_block;
    return first < o->slice.first_block && o->slice.first_block < o->layout->blocks
               ? o->slice.first_block
               : first;
}

static bool search_scalars(Search *search)
{
    Optimizer *o = search->o;
    for (int i = 0; i < o->method_count; i++) {
        OptimizerMethod *method = &o->methods[i];
        for (int k = 0; k < scalar_count(method->type->scalars); k++)
            if (found(search, scalar(-1, &method->step.scalars[k]), "method%d/%s", i,
                      method->type->scalars[k]))
                return true;
    }
    for (int i = 0; i < o->wrapper_count; i++) {
        OptimizerWrapper *wrapper = &o->wrappers[i];
        for (int k = 0; k < scalar_count(wrapper->type->scalars); k++)
            if (found(search, scalar(-1, &wrapper->step.scalars[k]), "wrap%d.%s/%s", i,
                      wrapper->type->name, wrapper->type->scalars[k]))
                return true;
    }
    return false;
}

static bool search_method(Search *search, int tensor)
{
    Optimizer *o = search->o;
    const OptimizerType *type = method_of(o, tensor)->type;
    const char *name = o->layout->tensors[tensor].name;
    OptimizerBuffer buffers[OPTIMIZER_MAX_BUFFERS];
    for (int k = 0; k < scalar_count(type->tensor_scalars); k++)
        if (found(search, scalar(tensor, &o->tensor_scalars[tensor * OPTIMIZER_MAX_SCALARS + k]),
                  "%s/%s", name, type->tensor_scalars[k]))
            return true;
    for (int s = 0; s < type->states; s++) {
        if (!has_state(method_of(o, tensor), s))
            continue;
        float *at = o->state[s] ? o->state[s] + o->state_at[s][first_here(o, tensor)] : NULL;
        if (found(search, floats(o, tensor, at), "%s/%s", name, type->state_names[s]))
            return true;
    }
    int count = optimizer_buffers(o, tensor, buffers);
    for (int k = 0; k < count; k++) {
        bool here = owns(o, tensor);
        OptimizerPiece piece = { .type = buffers[k].type,
                                 .tensor = tensor,
                                 .total = buffers[k].count,
                                 .count = here ? buffers[k].count : 0,
                                 .data = o->buffers[tensor * OPTIMIZER_MAX_BUFFERS + k] };
        if (found(search, piece, "%s/%s", name, buffers[k].name))
            return true;
    }
    return false;
}

static bool search_wrappers(Search *search, int tensor)
{
    Optimizer *o = search->o;
    const LayoutTensor *t = &o->layout->tensors[tensor];
    for (int i = 0; i < o->wrapper_count; i++) {
        OptimizerWrapper *wrapper = &o->wrappers[i];
        const WrapperType *type = wrapper->type;
        int scalars = scalar_count(type->tensor_scalars);
        for (int k = 0; k < scalars; k++)
            if (found(search, scalar(tensor, &wrapper->tensor_scalars[tensor * scalars + k]),
                      "%s/wrap%d.%s.%s", t->name, i, type->name, type->tensor_scalars[k]))
                return true;
        for (int s = 0; s < type->states; s++) {
            size_t from = larger(t->offset, o->slice.lo);
            float *at = from < o->slice.hi ? wrapper->state[s] + (from - o->slice.lo) : NULL;
            if (found(search, floats(o, tensor, at), "%s/wrap%d.%s.%s", t->name, i, type->name,
                      type->state_names[s]))
                return true;
        }
    }
    return false;
}

bool optimizer_piece(Optimizer *o, int index, OptimizerPiece *piece)
{
    Search search = { o, piece, index };
    OptimizerPiece steps = { .type = BUFFER_INT64,
                             .tensor = -1,
                             .total = 1,
                             .count = 1,
                             .data = &o->t,
                             .replicated = true };
    if (found(&search, steps, "steps") || search_scalars(&search))
        return true;
    for (int i = 0; i < o->layout->count; i++)
        if (!is_left_alone(o->layout, i) &&
            (search_method(&search, i) || search_wrappers(&search, i)))
            return true;
    return false;
}
