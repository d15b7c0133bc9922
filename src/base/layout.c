/* The parameter layout: offsets, blocks, slices, and what is computed block by block. */
#include "lockstep/layout.h"
#include "lockstep/error.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

int layout_add(Layout *layout, const char *name, int ndim, const int *shape, unsigned flags)
{
    expect(!layout->sealed && ndim >= 1 && ndim <= LAYOUT_MAX_DIMS);
    expect(strlen(name) < sizeof layout->tensors->name && layout_find(layout, name) < 0);
    mem_grow(&layout->tensors, (size_t)layout->count, &layout->capacity, sizeof *layout->tensors);
    LayoutTensor *tensor = &layout->tensors[layout->count];
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->ndim = ndim;
    tensor->flags = flags;
    tensor->keep = 1;
    tensor->lr_factor = 1;
    tensor->n = 1;
    for (int i = 0; i < ndim; i++) {
        expect(shape[i] > 0);
        tensor->shape[i] = shape[i];
        tensor->n *= (size_t)shape[i];
    }
    tensor->padded = (tensor->n + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
    tensor->blocks = (int)((tensor->n + LAYOUT_BLOCK - 1) / LAYOUT_BLOCK);
    return layout->count++;
}

static void place(Layout *layout, bool statistics)
{
    for (int i = 0; i < layout->count; i++) {
        LayoutTensor *tensor = &layout->tensors[i];
        if (((tensor->flags & LAYOUT_STATISTIC) != 0) != statistics)
            continue;
        tensor->offset = layout->n;
        tensor->first_block = layout->blocks;
        layout->n += tensor->padded;
        layout->total += tensor->n;
        layout->trained += tensor->flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN) ? 0 : tensor->n;
        layout->blocks += tensor->blocks;
    }
}

void layout_seal(Layout *layout)
{
    expect(!layout->sealed);
    place(layout, false);
    place(layout, true);
    layout->sealed = true;
    layout->block_tensor = mem_array(int, layout->blocks);
    for (int i = 0; i < layout->count; i++)
        for (int k = 0; k < layout->tensors[i].blocks; k++)
            layout->block_tensor[layout->tensors[i].first_block + k] = i;
}

void layout_free(Layout *layout)
{
    mem_free(layout->tensors);
    mem_free(layout->block_tensor);
    *layout = (Layout){ 0 };
}

size_t layout_statistics(const Layout *layout)
{
    size_t start = layout->n;
    for (int i = 0; i < layout->count; i++)
        if (layout->tensors[i].flags & LAYOUT_STATISTIC && layout->tensors[i].offset < start)
            start = layout->tensors[i].offset;
    return start;
}

int layout_find(const Layout *layout, const char *name)
{
    for (int i = 0; i < layout->count; i++)
        if (strcmp(layout->tensors[i].name, name) == 0)
            return i;
    return -1;
}

LayoutBlock layout_block(const Layout *layout, int block)
{
    expect(block >= 0 && block < layout->blocks);
    int index = layout->block_tensor[block];
    const LayoutTensor *tensor = &layout->tensors[index];
    size_t from = (size_t)(block - tensor->first_block) * LAYOUT_BLOCK;
    size_t left = tensor->padded - from;
    return (LayoutBlock){ .index = block,
                          .tensor = index,
                          .offset = tensor->offset + from,
                          .n = left < LAYOUT_BLOCK ? left : LAYOUT_BLOCK };
}

/* Where a block starts in the arena; the end of the arena for block == blocks. */
static size_t block_offset(const Layout *layout, int block)
{
    return block < layout->blocks ? layout_block(layout, block).offset : layout->n;
}

/* The first block that starts at or behind `floats`. */
static int block_at(const Layout *layout, size_t floats)
{
    int low = 0, high = layout->blocks;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (block_offset(layout, middle) < floats)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

Slice layout_blocks(const Layout *layout, int first, int last)
{
    expect(layout->sealed && first >= 0 && first <= last && last <= layout->blocks);
    return (Slice){ .first_block = first,
                    .last_block = last,
                    .lo = block_offset(layout, first),
                    .hi = block_offset(layout, last) };
}

Slice layout_slice(const Layout *layout, int part, int parts)
{
    expect(layout->sealed && parts > 0 && part >= 0 && part < parts);
    size_t share = layout->n / (size_t)parts, rest = layout->n % (size_t)parts;
    int first = block_at(layout, share * (size_t)part + rest * (size_t)part / (size_t)parts);
    int last = part + 1 == parts ? layout->blocks
                                 : block_at(layout, share * (size_t)(part + 1) +
                                                        rest * (size_t)(part + 1) / (size_t)parts);
    return layout_blocks(layout, first, last);
}

void layout_block_squares(const Layout *layout, Slice slice, const float *x, double *sums)
{
    const Kernels *k = kernels();
    for (int block = slice.first_block; block < slice.last_block; block++) {
        LayoutBlock b = layout_block(layout, block);
        sums[block] = k->squares(x + b.offset, b.n);
    }
}

double layout_tensor_sum(const Layout *layout, int tensor, const double *sums)
{
    const LayoutTensor *t = &layout->tensors[tensor];
    double sum = 0;
    for (int block = t->first_block; block < t->first_block + t->blocks; block++)
        sum += sums[block];
    return sum;
}

uint64_t layout_block_digest(const Layout *layout, LayoutBlock block, const float *x)
{
    const LayoutTensor *t = &layout->tensors[block.tensor];
    size_t left = t->offset + t->n - block.offset;
    return kernels()->digest(x + block.offset, (left < block.n ? left : block.n) * sizeof *x);
}

void layout_block_digests(const Layout *layout, Slice slice, const float *x, uint64_t *digests)
{
    for (int block = slice.first_block; block < slice.last_block; block++)
        digests[block] = layout_block_digest(layout, layout_block(layout, block), x);
}

uint64_t layout_digest(const Layout *layout, const uint64_t *digests)
{
    return XXH3_64bits_withSeed(digests, (size_t)layout->blocks * sizeof *digests,
                                layout_names_digest(layout));
}

uint64_t layout_names_digest(const Layout *layout)
{
    uint64_t digest = 0;
    for (int i = 0; i < layout->count; i++) {
        const LayoutTensor *t = &layout->tensors[i];
        digest = XXH3_64bits_withSeed(t->name, strlen(t->name), digest);
        digest = XXH3_64bits_withSeed(t->shape, sizeof t->shape, digest);
    }
    return digest;
}

Gradient gradient_at(float *sums)
{
    return (Gradient){ .sums = sums };
}

const float *gradient_block(Gradient gradient, LayoutBlock block, bool keep)
{
    return gradient.finish ? gradient.finish(gradient.context, block, keep)
                           : gradient.sums + block.offset;
}

void gradient_updating(Gradient gradient, LayoutBlock block, const float *g)
{
    if (gradient.updating)
        gradient.updating(gradient.listener, block, g);
}

void gradient_updated(Gradient gradient, LayoutBlock block)
{
    if (gradient.updated)
        gradient.updated(gradient.listener, block);
}

void layout_update_statistics(const Layout *layout, Slice slice, float *w, Gradient increment)
{
    for (int block = slice.first_block; block < slice.last_block; block++) {
        LayoutBlock b = layout_block(layout, block);
        const LayoutTensor *t = &layout->tensors[b.tensor];
        if (!(t->flags & LAYOUT_STATISTIC))
            continue;
        kernels()->keep_add(w + b.offset, t->keep, gradient_block(increment, b, false), b.n);
        gradient_updated(increment, b);
    }
}

void exchange_complete(Exchange exchange, void *array, size_t bytes)
{
    if (exchange.complete)
        exchange.complete(exchange.context, array, bytes);
}
