/* Vectors over the trained parameters, each rank working on its slice. Products are sums over
 * blocks of 4,096 floats, added in block order, so they do not depend on who owns a block. */
#include "lockstep/landscape.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <string.h>

void space_init(Space *space, Comm *comm, const Layout *layout)
{
    *space = (Space){ .comm = comm, .layout = layout };
    slice_exchange_init(&space->exchange, comm, layout, NULL);
    space->slice = layout_slice(layout, comm_rank(comm), comm_size(comm));
}

void space_free(Space *space)
{
    if (space->layout)
        slice_exchange_free(&space->exchange);
    mem_free(space->sums);
    *space = (Space){ 0 };
}

bool space_trains(const Space *space, int tensor)
{
    return !(space->layout->tensors[tensor].flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN));
}

float *space_vector(const Space *space)
{
    return mem_array(float, space->layout->n);
}

/* Room for `count` sums of each block; what was in it is gone. */
static double *block_sums(Space *space, int count)
{
    size_t needed = (size_t)count * (size_t)space->layout->blocks;
    if (needed > space->capacity) {
        mem_free(space->sums);
        space->sums = mem_array(double, needed);
        space->capacity = needed;
    }
    return space->sums;
}

static double block_dot(const Space *space, int number, const float *a, const float *b)
{
    LayoutBlock block = layout_block(space->layout, number);
    if (!space_trains(space, block.tensor))
        return 0;
    return kernels()->dot(a + block.offset, b + block.offset, block.n);
}

/* One sum of every block of the slice, then of every block. */
static const double *complete_dots(Space *space, const float *a, const float *b)
{
    double *sums = block_sums(space, 1);
    for (int i = space->slice.first_block; i < space->slice.last_block; i++)
        sums[i] = block_dot(space, i, a, b);
    exchange_complete(slice_exchange(&space->exchange), sums, sizeof *sums);
    return sums;
}

double space_dot(Space *space, const float *a, const float *b)
{
    const double *sums = complete_dots(space, a, b);
    double total = 0;
    for (int i = 0; i < space->layout->blocks; i++)
        total += sums[i];
    return total;
}

double space_own_dot(const Space *space, const float *a, const float *b)
{
    double total = 0;
    for (int i = 0; i < space->layout->blocks; i++)
        total += block_dot(space, i, a, b);
    return total;
}

void space_tensor_dots(Space *space, const float *a, const float *b, double *out)
{
    const double *sums = complete_dots(space, a, b);
    for (int t = 0; t < space->layout->count; t++)
        out[t] = layout_tensor_sum(space->layout, t, sums);
}

void space_copy(const Space *space, float *y, const float *x)
{
    Slice slice = space->slice;
    memcpy(y + slice.lo, x + slice.lo, (slice.hi - slice.lo) * sizeof *y);
}

void space_add(const Space *space, float *y, double factor, const float *x)
{
    Slice slice = space->slice;
    kernels()->blend(y + slice.lo, 1, y + slice.lo, (float)factor, x + slice.lo,
                     slice.hi - slice.lo);
}

void space_scale(const Space *space, float *y, double factor)
{
    Slice slice = space->slice;
    kernels()->scale(y + slice.lo, (float)factor, slice.hi - slice.lo);
}

void space_share(Space *space, float *x)
{
    comm_publish(&space->exchange, x);
}

/* A stream a tensor, so that an element's number depends on nothing but its place. */
static void fill_random(const Space *space, uint64_t seed, uint64_t number, float *x)
{
    for (int t = 0; t < space->layout->count; t++) {
        const LayoutTensor *tensor = &space->layout->tensors[t];
        RandomKey key = random_key(seed, RANDOM_LANDSCAPE, number, (uint64_t)t);
        if (space_trains(space, t))
            random_fill_normal(key, 0, x + tensor->offset, tensor->n);
        else
            memset(x + tensor->offset, 0, tensor->n * sizeof *x);
    }
}

void space_random_normal(const Space *space, uint64_t seed, uint64_t number, float *x)
{
    fill_random(space, seed, number, x);
}

void space_random_signs(const Space *space, uint64_t seed, uint64_t number, float *x)
{
    fill_random(space, seed, number, x);
    for (size_t i = 0; i < space->layout->n; i++)
        x[i] = (float)((x[i] > 0) - (x[i] < 0));
}

/* ---- slices of many vectors ---- */

void basis_init(Basis *basis, Space *space, int capacity)
{
    *basis = (Basis){ .space = space, .capacity = capacity };
    basis->rows = mem_array(float *, capacity);
}

void basis_free(Basis *basis)
{
    for (int i = 0; i < basis->count; i++)
        mem_free(basis->rows[i]);
    mem_free(basis->rows);
    *basis = (Basis){ 0 };
}

void basis_add(Basis *basis, const float *x)
{
    expect(basis->count < basis->capacity);
    Slice slice = basis->space->slice;
    float *row = mem_array(float, slice.hi - slice.lo);
    memcpy(row, x + slice.lo, (slice.hi - slice.lo) * sizeof *row);
    basis->rows[basis->count++] = row;
}

void basis_dots(const Basis *basis, const float *x, double *out)
{
    Space *space = basis->space;
    const Layout *layout = space->layout;
    int count = basis->count;
    double *sums = block_sums(space, count);
    for (int b = space->slice.first_block; b < space->slice.last_block; b++) {
        LayoutBlock block = layout_block(layout, b);
        bool trains = space_trains(space, block.tensor);
        for (int i = 0; i < count; i++) {
            const float *row = basis->rows[i] + (block.offset - space->slice.lo);
            sums[b * count + i] = trains ? kernels()->dot(row, x + block.offset, block.n) : 0;
        }
    }
    exchange_complete(slice_exchange(&space->exchange), sums, (size_t)count * sizeof *sums);
    for (int i = 0; i < count; i++)
        out[i] = 0;
    for (int b = 0; b < layout->blocks; b++)
        for (int i = 0; i < count; i++)
            out[i] += sums[b * count + i];
}

void basis_combine(const Basis *basis, const double *factors, float *y)
{
    Slice slice = basis->space->slice;
    for (size_t at = slice.lo; at < slice.hi; at += LAYOUT_BLOCK) { /* y stays in the cache */
        size_t n = slice.hi - at < LAYOUT_BLOCK ? slice.hi - at : LAYOUT_BLOCK;
        for (int i = 0; i < basis->count; i++)
            kernels()->blend(y + at, 1, y + at, (float)factors[i], basis->rows[i] + (at - slice.lo),
                             n);
    }
}

void basis_reject(const Basis *basis, float *x, double *first)
{
    double *factors = mem_array(double, basis->count);
    for (int round = 0; round < 2; round++) {
        basis_dots(basis, x, factors);
        for (int i = 0; i < basis->count; i++) {
            if (round == 0 && first)
                first[i] = factors[i];
            factors[i] = -factors[i];
        }
        basis_combine(basis, factors, x);
    }
    mem_free(factors);
}
