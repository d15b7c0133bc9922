/* The sum over lanes as products of thin matrices: PowerSGD (Vogels et al. 2019), with lanes in the
 * place of workers. For every matrix M of a lane's gradient and error:
 *
 *   a lane is there        M += gradient;           P_lane = Q M^T  -> a small lane tree
 *   all lanes are there    P = orthonormal(sum);    Q_lane = P M    -> a small lane tree
 *                          M -= P^T Q_lane, the lane's error
 *   everybody has Q        gradient = P^T Q, expanded block by block when the optimizer asks
 *
 * The small trees are reducers of their own, over layouts of thin matrices; what travels whole is
 * in the second. So it is they that talk to other hosts, and the bits depend on lanes alone. P and
 * Q are few enough for every rank to have all of them. */
#include "low_rank.h"
#include "feedback.h"
#include "world.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "lockstep/thin.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* A tensor as it travels: thin matrices, or whole (rank 0). */
typedef struct Travel {
    int tensor;
    Thin shape;
    size_t p, q; /* floats from the start of the arenas of P and Q */
    size_t n;    /* floats in Q's arena */
} Travel;

/* A small lane tree. */
typedef struct Tree {
    Layout layout;
    SliceExchange exchange;
    Reducer *reducer; /* NULL: nothing is in it */
} Tree;

struct LowRank {
    Comm *comm; /* borrowed, as are these three */
    const Lanes *lanes;
    const Layout *layout;
    const Compression *compression;

    Travel *travels;
    int travel_count;
    Tree ps, qs;
    float *p, *q, *sum; /* the arenas: orthonormal P; Q for the next step; the step's Q */
    float *errors;      /* (own lanes, layout->n); until a lane's Q is made, M, and what is whole */
    float *gradient;    /* (layout->n) */
    int *travel_of;     /* (tensors) index into travels, or -1: frozen */
    float *block;       /* (LAYOUT_BLOCK) */
};

/* ---- life ---- */

static Thin thin_shape(const Compression *compression, const LayoutTensor *tensor)
{
    Thin shape = { .rows = (size_t)tensor->shape[0], .rank = 0 };
    size_t rank = (size_t)compression->type->rank(compression->options);
    shape.columns = tensor->n / shape.rows;
    bool thin = tensor->ndim >= 2 && rank * (shape.rows + shape.columns) < tensor->n;
    if (thin && !compression_is_whole(compression, tensor))
        shape.rank = rank;
    return shape;
}

static int add_row(Layout *layout, char kind, size_t n)
{
    char name[32];
    int floats = (int)n;
    expect(n <= INT_MAX);
    snprintf(name, sizeof name, "%c%d", kind, layout->count);
    return layout_add(layout, name, 1, &floats, 0);
}

/* Offsets are known when both layouts are sealed; until then p and q are their tensors. */
static void plan_travels(LowRank *l)
{
    const Layout *layout = l->layout;
    l->travels = mem_array(Travel, layout->count);
    l->travel_of = mem_array(int, layout->count);
    for (int t = 0; t < layout->count; t++) {
        const LayoutTensor *tensor = &layout->tensors[t];
        l->travel_of[t] = -1;
        if (tensor->flags & LAYOUT_FROZEN)
            continue;
        Travel travel = { .tensor = t, .shape = thin_shape(l->compression, tensor) };
        const Thin *shape = &travel.shape;
        travel.n = shape->rank > 0 ? shape->rank * shape->columns : tensor->n;
        travel.q = (size_t)add_row(&l->qs.layout, 'q', travel.n);
        if (shape->rank > 0)
            travel.p = (size_t)add_row(&l->ps.layout, 'p', shape->rank * shape->rows);
        l->travel_of[t] = l->travel_count;
        l->travels[l->travel_count++] = travel;
    }
    layout_seal(&l->ps.layout);
    layout_seal(&l->qs.layout);
    for (int i = 0; i < l->travel_count; i++) {
        Travel *travel = &l->travels[i];
        travel->q = l->qs.layout.tensors[travel->q].offset;
        if (travel->shape.rank > 0)
            travel->p = l->ps.layout.tensors[travel->p].offset;
    }
}

static void plant(LowRank *l, Comm *group, Tree *tree)
{
    if (tree->layout.n == 0)
        return;
    slice_exchange_init(&tree->exchange, group, &tree->layout, NULL);
    tree->reducer = reducer_init(l->comm, l->lanes, &tree->layout, &tree->exchange);
}

static void fell(Tree *tree)
{
    if (tree->reducer) {
        reducer_free(tree->reducer);
        slice_exchange_free(&tree->exchange);
    }
    layout_free(&tree->layout);
}

static bool is_zero(const float *x, size_t n)
{
    size_t i = 0;
    while (i < n && !(x[i] > 0 || x[i] < 0) && x[i] == x[i]) /* nan is not zero */
        i++;
    return i == n;
}

/* Rows of Q that are zero find nothing in any M: they start anew, at random. */
static void fill_zero_rows(LowRank *l)
{
    for (int i = 0; i < l->travel_count; i++) {
        const Travel *travel = &l->travels[i];
        const Thin *shape = &travel->shape;
        /* No initialiser makes that many attempts. */
        RandomKey key =
            random_key(l->compression->seed, RANDOM_INIT, UINT64_MAX, (uint64_t)travel->tensor);
        for (size_t k = 0; k < shape->rank; k++) {
            float *row = l->q + travel->q + k * shape->columns;
            if (is_zero(row, shape->columns))
                random_fill_normal(key, k * shape->columns, row, shape->columns);
        }
    }
}

LowRank *low_rank_init(Comm *comm, Comm *group, const Lanes *lanes, const Layout *layout)
{
    LowRank *l = mem_new(LowRank);
    l->comm = comm;
    l->lanes = lanes;
    l->layout = layout;
    l->compression = comm->compression;
    plan_travels(l);
    comm_set_compression(comm, NULL); /* thin matrices travel as they are */
    plant(l, group, &l->ps);
    plant(l, group, &l->qs);
    comm_set_compression(comm, l->compression);
    l->p = mem_array(float, l->ps.layout.n);
    l->q = mem_array(float, l->qs.layout.n);
    l->sum = mem_array(float, l->qs.layout.n);
    l->errors = mem_array(float, (size_t)(lanes->last - lanes->first) * layout->n);
    l->gradient = mem_array(float, layout->n);
    l->block = mem_array(float, LAYOUT_BLOCK);
    if (!mem_reserving())
        fill_zero_rows(l);
    return l;
}

void low_rank_free(LowRank *l)
{
    if (!l)
        return;
    fell(&l->ps);
    fell(&l->qs);
    mem_free(l->travels);
    mem_free(l->travel_of);
    mem_free(l->p);
    mem_free(l->q);
    mem_free(l->sum);
    mem_free(l->errors);
    mem_free(l->gradient);
    mem_free(l->block);
    mem_free(l);
}

/* ---- a step ---- */

float *low_rank_errors(const LowRank *l, int lane)
{
    bool mine = lane >= l->lanes->first && lane < l->lanes->last;
    return mine ? l->errors + (size_t)(lane - l->lanes->first) * l->layout->n : NULL;
}

float *low_rank_lane(LowRank *l)
{
    return l->gradient;
}

void low_rank_add_lane(LowRank *l, int lane, bool learns)
{
    bool sends = learns && l->ps.reducer;
    float *p = sends ? reducer_lane(l->ps.reducer) : NULL;
    for (int i = 0; i < l->travel_count; i++) {
        const Travel *travel = &l->travels[i];
        const LayoutTensor *tensor = &l->layout->tensors[travel->tensor];
        float *m = low_rank_errors(l, lane) + tensor->offset;
        const float *g = l->gradient + tensor->offset;
        if (travel->shape.rank == 0 || learns)
            kernels()->add(m, m, g, tensor->padded);
        if (travel->shape.rank > 0 && sends)
            thin_kernels()->times(&travel->shape, m, l->q + travel->q, p + travel->p);
    }
    if (sends)
        reducer_add_lane(l->ps.reducer, lane);
}

static void find_p(LowRank *l)
{
    Gradient sum = reducer_reduce_all(l->ps.reducer);
    memcpy(l->p, sum.sums, l->ps.layout.n * sizeof *l->p);
    for (int i = 0; i < l->travel_count; i++) {
        const Travel *travel = &l->travels[i];
        if (travel->shape.rank > 0)
            thin_orthonormal(l->p + travel->p, travel->shape.rank, travel->shape.rows);
    }
}

/* What a lane sends; what is left of it stays. */
static void send_lane(LowRank *l, int lane, bool learns)
{
    float *q = reducer_lane(l->qs.reducer);
    for (int i = 0; i < l->travel_count; i++) {
        const Travel *travel = &l->travels[i];
        float *m = low_rank_errors(l, lane) + l->layout->tensors[travel->tensor].offset;
        float *to = q + travel->q;
        if (travel->shape.rank == 0) {
            memcpy(to, m, travel->n * sizeof *m);
            memset(m, 0, travel->n * sizeof *m);
        } else if (learns) {
            thin_kernels()->turned(&travel->shape, m, l->p + travel->p, to);
            thin_kernels()->subtract(&travel->shape, m, l->p + travel->p, to);
        }
    }
    reducer_add_lane(l->qs.reducer, lane);
}

/* Floats [first, first + n) of a tensor of the sum; padding may be among them. */
static void expand(const LowRank *l, int t, size_t first, size_t n, float *y)
{
    const LayoutTensor *tensor = &l->layout->tensors[t];
    size_t end = first + n < tensor->n ? first + n : tensor->n;
    size_t values = l->travel_of[t] < 0 || end < first ? 0 : end - first;
    memset(y + values, 0, (n - values) * sizeof *y);
    if (values == 0)
        return;
    const Travel *travel = &l->travels[l->travel_of[t]];
    if (travel->shape.rank == 0)
        memcpy(y, l->sum + travel->q + first, values * sizeof *y);
    else
        thin_kernels()->expand(&travel->shape, l->p + travel->p, l->sum + travel->q, first, values,
                               y);
}

/* Gradient.finish */
static const float *expand_block(void *context, LayoutBlock block, bool keep)
{
    LowRank *l = context;
    float *y = keep ? l->gradient + block.offset : l->block;
    expand(l, block.tensor, block.offset - l->layout->tensors[block.tensor].offset, block.n, y);
    return y;
}

Gradient low_rank_reduce(LowRank *l, bool learns)
{
    if (learns && l->ps.reducer)
        find_p(l);
    for (int lane = l->lanes->first; lane < l->lanes->last && l->qs.reducer; lane++)
        send_lane(l, lane, learns);
    if (l->qs.reducer) {
        Gradient sum = reducer_reduce_all(l->qs.reducer);
        memcpy(l->sum, sum.sums, l->qs.layout.n * sizeof *l->sum);
    }
    if (learns) {
        memcpy(l->q, l->sum, l->qs.layout.n * sizeof *l->q);
        fill_zero_rows(l);
    }
    Gradient gradient = gradient_at(l->gradient);
    gradient.finish = expand_block;
    gradient.context = l;
    return gradient;
}

Gradient low_rank_whole(LowRank *l)
{
    for (int block = 0; block < l->layout->blocks; block++)
        expand_block(l, layout_block(l->layout, block), true);
    return gradient_at(l->gradient);
}

ReducerState low_rank_state(LowRank *l)
{
    return (ReducerState){
        .name = "compress/q", .n = l->qs.layout.n, .everywhere = true, .data = l->q
    };
}

static size_t tree_bytes(const Tree *tree)
{
    return tree->reducer ? reducer_bytes(tree->reducer) : 0;
}

size_t low_rank_bytes(const LowRank *l)
{
    size_t lanes = (size_t)(l->lanes->last - l->lanes->first);
    size_t floats = (lanes + 1) * l->layout->n + l->ps.layout.n + 2 * l->qs.layout.n + LAYOUT_BLOCK;
    return tree_bytes(&l->ps) + tree_bytes(&l->qs) + floats * sizeof(float);
}

double low_rank_step_bytes(const LowRank *l)
{
    return (l->ps.reducer ? reducer_step_bytes(l->ps.reducer) : 0) +
           (l->qs.reducer ? reducer_step_bytes(l->qs.reducer) : 0);
}
