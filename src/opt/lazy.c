/* Lazy rows: rows of a tensor whose gradient is all zero keep their weights and states. For
 * embeddings, of which a batch uses few rows: moments do not fade and weights do not decay where
 * nothing was learned (SparseAdam of PyTorch, LazyAdam of TensorFlow). The mask comes from the
 * reduced gradient, so it is the same for every rank count. */
#include "optimizer_parts.h"

#include <string.h>

/* Copies of a block's w and states, then a flag for each row. */
size_t lazy_scratch(const LayoutTensor *tensor)
{
    return (1 + OPTIMIZER_MAX_STATES) * LAYOUT_BLOCK * sizeof(float) + (size_t)tensor->shape[0];
}

static void mark_rows(const LayoutTensor *tensor, const float *g, unsigned char *used)
{
    size_t rows = (size_t)tensor->shape[0], length = tensor->n / rows;
    for (size_t r = 0; r < rows; r++) {
        used[r] = 0;
        for (size_t i = r * length; i < (r + 1) * length; i++)
            used[r] |= !(g[i] == 0);
    }
}

static void copy_block(const OptimizerRange *range, float *saved)
{
    memcpy(saved, range->w, range->n * sizeof *saved);
    for (int s = 0; s < OPTIMIZER_MAX_STATES; s++)
        if (range->state[s])
            memcpy(saved + (s + 1) * LAYOUT_BLOCK, range->state[s], range->n * sizeof *saved);
}

static void restore_rows(const LayoutTensor *tensor, const OptimizerRange *range,
                         const float *saved, const unsigned char *used)
{
    size_t rows = (size_t)tensor->shape[0], length = tensor->n / rows;
    size_t end = range->first + range->n;
    for (size_t r = range->first / length; r < rows && r * length < end; r++) {
        size_t from = larger(r * length, range->first) - range->first;
        size_t to = ((r + 1) * length < end ? (r + 1) * length : end) - range->first;
        if (used[r])
            continue;
        memcpy(range->w + from, saved + from, (to - from) * sizeof *saved);
        for (int s = 0; s < OPTIMIZER_MAX_STATES; s++)
            if (range->state[s])
                memcpy(range->state[s] + from, saved + (s + 1) * LAYOUT_BLOCK + from,
                       (to - from) * sizeof *saved);
    }
}

void lazy_update(Optimizer *o, int tensor, float *w, Gradient g)
{
    const LayoutTensor *t = &o->layout->tensors[tensor];
    const OptimizerMethod *method = method_of(o, tensor);
    float *saved = o->scratch; /* (1 + states, LAYOUT_BLOCK) */
    unsigned char *used = (unsigned char *)(saved + (1 + OPTIMIZER_MAX_STATES) * LAYOUT_BLOCK);
    mark_rows(t, g.sums + t->offset, used);
    for (int block = t->first_block; block < t->first_block + t->blocks; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        OptimizerRange range = optimizer_range(o, block, w, g.sums + b.offset);
        copy_block(&range, saved);
        method->type->update(method->options, &o->steps[tensor], &range);
        optimizer_clear_padding(o, block, &range);
        restore_rows(t, &range, saved, used);
        wrappers_weights(o, block, w, saved);
        gradient_updated(g, b);
    }
}
