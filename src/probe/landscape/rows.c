/* Many vectors at once, each written by one rank, and all their products: what is asked of sums of
 * outer products of n gradients is in their n x n Gram matrix. */
#include "lockstep/landscape.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <string.h>

#define TOGETHER 16 /* rows that meet every other row in one go through memory */

bool rows_init(Rows *rows, Space *space, int count, Err *err)
{
    char text[2][32];
    double bytes = (double)count * (double)space->layout->n * sizeof(float);
    *rows = (Rows){ .space = space, .count = count };
    if (bytes > ROWS_MAX_BYTES)
        return err_set(err, "%d gradients of %zu floats take %s, more than %s: give fewer samples",
                       count, space->layout->n, text_bytes(text[0], sizeof text[0], bytes),
                       text_bytes(text[1], sizeof text[1], ROWS_MAX_BYTES));
    rows->shared = shared_alloc_one(space->comm, (size_t)bytes);
    rows->data = rows->shared ? shared_part(rows->shared, 0) : mem_alloc((size_t)bytes);
    return true;
}

void rows_free(Rows *rows)
{
    if (!rows->shared)
        mem_free(rows->data);
    shared_free(rows->shared);
    *rows = (Rows){ 0 };
}

int rows_first(const Rows *rows, int rank)
{
    return (int)((int64_t)rows->count * rank / comm_size(rows->space->comm));
}

float *rows_row(const Rows *rows, int index)
{
    return rows->data + (size_t)index * rows->space->layout->n;
}

/* first[rank] for every rank, and the end. */
static size_t *row_bounds(const Rows *rows)
{
    int ranks = comm_size(rows->space->comm);
    size_t *bounds = mem_array(size_t, ranks + 1);
    for (int rank = 0; rank <= ranks; rank++)
        bounds[rank] = (size_t)rows_first(rows, rank);
    return bounds;
}

void rows_complete(Rows *rows)
{
    if (rows->shared) {
        comm_barrier(rows->space->comm);
        return;
    }
    size_t *bounds = row_bounds(rows);
    comm_allgather(rows->space->comm, rows->data, bounds,
                   rows->space->layout->n * sizeof *rows->data);
    mem_free(bounds);
}

/* Rows [first, last) of `a` with all of `b`, block after block; of the same rows only one half. */
static void gram_part(const Rows *a, const Rows *b, int first, int last, double *gram)
{
    const Space *space = a->space;
    for (int number = 0; number < space->layout->blocks; number++) {
        LayoutBlock block = layout_block(space->layout, number);
        if (!space_trains(space, block.tensor))
            continue;
        for (int j = a == b ? first : 0; j < b->count; j++) {
            const float *row = rows_row(b, j) + block.offset;
            for (int i = first; i < last && (a != b || i <= j); i++)
                gram[(size_t)i * (size_t)b->count + (size_t)j] +=
                    kernels()->dot(rows_row(a, i) + block.offset, row, block.n);
        }
    }
}

void rows_gram(const Rows *a, const Rows *b, double *gram)
{
    Comm *comm = a->space->comm;
    int first = rows_first(a, comm_rank(comm)), last = rows_first(a, comm_rank(comm) + 1);
    memset(gram, 0, (size_t)a->count * (size_t)b->count * sizeof *gram);
    for (int i = first; i < last; i += TOGETHER)
        gram_part(a, b, i, i + TOGETHER < last ? i + TOGETHER : last, gram);
    size_t *bounds = row_bounds(a), n = (size_t)b->count;
    comm_allgather(comm, gram, bounds, n * sizeof *gram);
    mem_free(bounds);
    for (size_t i = 0; a == b && i < n; i++)
        for (size_t j = 0; j < i; j++)
            gram[i * n + j] = gram[j * n + i];
}

void gram_center(double *gram, int n)
{
    double *mean = mem_array(double, n), all = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            mean[i] += gram[i * n + j] / n;
    for (int i = 0; i < n; i++)
        all += mean[i] / n;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            gram[i * n + j] += all - mean[i] - mean[j];
    mem_free(mean);
}
