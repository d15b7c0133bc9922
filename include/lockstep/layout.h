/* The parameter layout: one float arena that holds every tensor of a model. Weights, gradients,
 * optimizer state, reduction slices and checkpoints all use the same layout, so a slice is a range.
 *
 * Parameters come first, frozen or not, running statistics (batch norm) last. In a gradient arena
 * the place of a running statistic holds this step's increment, so statistics travel through the
 * same reduction tree as gradients. Every tensor starts at a multiple of 16 floats (64 bytes) and
 * is followed by zeros up to the next; the zeros stay zero in every arena.
 *
 * Blocks: a tensor is cut into blocks of 4,096 floats from its own start. Slices are runs of whole
 * blocks, norms are block sums added in block order, and neither moves when the rank count
 * changes. */
#ifndef LOCKSTEP_LAYOUT_H
#define LOCKSTEP_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_ALIGN 16   /* floats */
#define LAYOUT_BLOCK 4096 /* floats */
#define LAYOUT_MAX_DIMS 4

enum LayoutFlags {
    LAYOUT_DECAY = 1,      /* weight decay applies (default: tensors of two and more dimensions) */
    LAYOUT_ADAPT = 2,      /* layer-wise trust ratios apply (same default) */
    LAYOUT_STATISTIC = 4,  /* a running statistic: w = keep * w + g, no optimizer */
    LAYOUT_FROZEN = 8,     /* keeps its start values: no optimizer, its gradient means nothing */
    LAYOUT_NORM_BIAS = 16, /* the bias of a normalisation, for optimizer.norm_bias_lr_factor */
};

typedef struct LayoutTensor {
    char name[96]; /* "stem.weight": unique */
    int ndim, shape[LAYOUT_MAX_DIMS];
    size_t offset, n; /* floats; n = product of shape */
    size_t padded;    /* n rounded up to LAYOUT_ALIGN */
    unsigned flags;
    int first_block, blocks; /* its blocks are first_block .. first_block + blocks - 1 */
    float keep;              /* LAYOUT_STATISTIC: 1 - momentum */
    double lr_factor;        /* its lr is the schedule's times this; 1 unless somebody changes it */
} LayoutTensor;

typedef struct Layout {
    LayoutTensor *tensors;
    int count;
    size_t capacity;
    size_t n;          /* floats in the arena, with padding */
    size_t trained;    /* floats of trained parameters, without padding and frozen ones */
    size_t total;      /* floats of all tensors, without padding */
    int blocks;        /* blocks in all */
    int *block_tensor; /* (blocks): whose tensor; made by layout_seal */
    bool sealed;
} Layout;

typedef struct LayoutBlock {
    int index, tensor;
    size_t offset, n; /* in the arena, floats; n is a multiple of LAYOUT_ALIGN (padding included) */
} LayoutBlock;

/* Adds a tensor and returns its index. ndim 1..4. Call before layout_seal. */
int layout_add(Layout *layout, const char *name, int ndim, const int *shape, unsigned flags);

/* Assigns offsets: parameters first, statistics last, each in the order added. Tensor
 * indices do not change. */
void layout_seal(Layout *layout);
void layout_free(Layout *layout);

int layout_find(const Layout *layout, const char *name); /* index, or -1 */
LayoutBlock layout_block(const Layout *layout, int block);
size_t layout_statistics(const Layout *layout); /* offset of the first statistic, or n */

/* A slice of the arena: whole blocks [first_block, last_block), floats [lo, hi). May be empty. */
typedef struct Slice {
    int first_block, last_block;
    size_t lo, hi;
} Slice;

/* Slice number `part` of `parts`, cut so that floats are balanced to within one block. */
Slice layout_slice(const Layout *layout, int part, int parts);
/* The slice of the blocks [first, last). */
Slice layout_blocks(const Layout *layout, int first, int last);

/* For every block of the slice: sums[block] = sum of squares of x over the block (float squares,
 * summed in double, fixed order). `sums` is indexed by block number over the whole arena. */
void layout_block_squares(const Layout *layout, Slice slice, const float *x, double *sums);

/* The sum of sums[] over one tensor's blocks, in block order. */
double layout_tensor_sum(const Layout *layout, int tensor, const double *sums);

/* 64-bit digest (XXH3) of a block of the arena x over the tensor's own floats, padding left out; of
 * every block of the slice. */
uint64_t layout_block_digest(const Layout *layout, LayoutBlock block, const float *x);
void layout_block_digests(const Layout *layout, Slice slice, const float *x, uint64_t *digests);

/* Digest of a whole arena from all its block digests: names, shapes and values. */
uint64_t layout_digest(const Layout *layout, const uint64_t *digests);

/* Digest of names and shapes alone: equal for equal networks. */
uint64_t layout_names_digest(const Layout *layout);

/* The gradient of a slice, block by block: a sum over lanes may be finished only when somebody asks
 * for it, while it is in the cache for whoever uses it. */
typedef struct Gradient {
    float *sums; /* whole arena, inside the slice */
    /* NULL: `sums` is complete. Otherwise finishes one block of the slice and returns it: written
     * to its place in `sums` if `keep`, else anywhere, and valid until the next call. */
    const float *(*finish)(void *context, LayoutBlock block, bool keep);
    void *context;
    /* NULL, or to be told of every block whose weights are about to get new values, with its
     * gradient as it is then; and of every block whose weights have got them. Each once a step,
     * while the block is in the cache. */
    void (*updating)(void *listener, LayoutBlock block, const float *g);
    void (*updated)(void *listener, LayoutBlock block);
    void *listener;
} Gradient;
Gradient gradient_at(float *sums); /* that is complete */
const float *gradient_block(Gradient gradient, LayoutBlock block, bool keep);
void gradient_updating(Gradient gradient, LayoutBlock block, const float *g);
void gradient_updated(Gradient gradient, LayoutBlock block);

/* Statistics inside the slice: w = keep * w + increment. */
void layout_update_statistics(const Layout *layout, Slice slice, float *w, Gradient increment);

/* Completes an array with one element of `bytes` per block: on entry each rank has filled the
 * elements of its own slice, on return every rank has all of them. Collective. A NULL function
 * means the slice is the whole layout and nothing has to be done. */
typedef struct Exchange {
    void (*complete)(void *context, void *array, size_t bytes);
    void *context;
} Exchange;
void exchange_complete(Exchange exchange, void *array, size_t bytes);

#endif
