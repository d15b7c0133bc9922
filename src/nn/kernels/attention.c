/* Attention of one head in blocks of 64 queries x 64 keys: see attention.h.
 *
 * Scores are kept transposed, (keys, queries): a vector holds neighbouring queries, so that the
 * softmax, which runs over keys, needs no sums across a vector. With S = K Q^T of a block,
 *
 *   forward    S = K Q^T,  P = exp(S - top),  out = out exp(old top - top) + P^T V
 *   backward   S = K Q^T,  P = exp(S - logsum),  dP = V dout^T,  dS = P (dP - delta)
 *              dv += P dout,  dk += dS Q,  dq += dS^T K       delta = sum of out dout of a query
 *
 * (Q is scaled by 1 / sqrt(D) when it is packed, and by 1 / ln 2 so that exp becomes a power of 2.)
 * Only Q and dout are ever transposed, once per block of queries. On the diagonal of a causal block
 * everything goes in steps of 16: keys of step i are seen by the queries from 16 i on, and nothing
 * else is computed there. */
#include "attention.h"
#include "../rows.h"
#include "lockstep/kernels.h"
#include "tiles.h"

#include <math.h>

enum {
    BLOCK = 64, /* queries and keys */
    STEP = 16,  /* on the diagonal; a multiple of VECTOR */
};

#define LN2 0.69314718055994530942
#define LOWEST (-1e30f) /* below every score, and finite: LOWEST - LOWEST is 0 */

/* Everything at head->scratch, rows of 64-byte multiples. */
typedef struct Room {
    float *k, *v;            /* (T, width) */
    float *dk, *dv;          /* (T, width) */
    float *q, *dout;         /* (BLOCK, width) */
    float *rows;             /* (BLOCK, width): out or dq */
    float *q_across;         /* (D, BLOCK) */
    float *dout_across;      /* (D, BLOCK) */
    float *p, *ds, *dropped; /* (BLOCK keys, BLOCK queries) */
} Room;

/* One block of queries against one block of keys. */
typedef struct Block {
    int first_query, queries, lanes; /* lanes: queries, rounded up to STEP */
    int first_key, keys;
    bool diagonal; /* of a causal head: first_query = first_key */
    Ahead ahead;   /* of the same queries of the next head */
} Block;

static size_t width_of(int D)
{
    return (size_t)(D + STEP - 1) / STEP * STEP;
}

static int round_up(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

size_t attention_scratch(int T, int D)
{
    return 4 * (size_t)T * width_of(D) + 3 * BLOCK * width_of(D) + 2 * BLOCK * (size_t)D +
           3 * BLOCK * BLOCK;
}

uint64_t attention_words(int T)
{
    return (uint64_t)T * (uint64_t)round_up(T, BLOCK);
}

static Room share_out(const AttentionHead *head)
{
    size_t width = width_of(head->D), all = (size_t)head->T * width;
    size_t across = (size_t)head->D * BLOCK;
    Room room = { .k = head->scratch };
    room.v = room.k + all;
    room.dk = room.v + all;
    room.dv = room.dk + all;
    room.q = room.dv + all;
    room.dout = room.q + BLOCK * width;
    room.rows = room.dout + BLOCK * width;
    room.q_across = room.rows + BLOCK * width;
    room.dout_across = room.q_across + across;
    room.p = room.dout_across + across;
    room.ds = room.p + BLOCK * BLOCK;
    room.dropped = room.ds + BLOCK * BLOCK;
    return room;
}

/* ---- packing ---- */

/* to (rows, width) = factor * from (rows, D); zeros behind. */
static void pack_rows(const float *from, size_t stride, int rows, int D, float factor, float *to)
{
    size_t width = width_of(D);
    for (int r = 0; r < rows; r++, from += stride, to += width) {
        for (int d = 0; d < D; d++)
            to[d] = factor * from[d];
        for (size_t d = (size_t)D; d < width; d++)
            to[d] = 0;
    }
}

/* to (rows, D) = factor * from (rows, width) */
static void unpack_rows(const float *from, int rows, int D, float factor, float *to, size_t stride)
{
    for (int r = 0; r < rows; r++, from += width_of(D), to += stride)
        for (int d = 0; d < D; d++)
            to[d] = factor * from[d];
}

#if VECTOR == 16
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VECTOR == 8
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#endif

/* VECTOR x VECTOR floats: log2(VECTOR) perfect shuffles of the rows. */
static void transpose_square(const float *from, size_t width, float *to)
{
    Vector x[VECTOR], y[VECTOR];
#pragma GCC unroll 16
    for (size_t i = 0; i < VECTOR; i++)
        x[i] = vector_load(from + i * width);
#pragma GCC unroll 4
    for (int round = 1; round < VECTOR; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTOR / 2; i++) {
            y[2 * i] = __builtin_shufflevector(x[i], x[i + VECTOR / 2], LOW_HALVES);
            y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + VECTOR / 2], HIGH_HALVES);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; i++)
            x[i] = y[i];
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < VECTOR; i++)
        vector_store(to + i * BLOCK, x[i]);
}

/* to (D, BLOCK) from packed rows (lanes, width); rows that are there, a multiple of STEP. */
static void pack_across(const float *from, int lanes, int D, float *to)
{
    size_t width = width_of(D);
    int whole = D / VECTOR * VECTOR;
    for (int q = 0; q < lanes; q += VECTOR) {
        const float *rows = from + (size_t)q * width;
        for (int d = 0; d < whole; d += VECTOR)
            transpose_square(rows + d, width, to + (size_t)d * BLOCK + q);
        for (int d = whole; d < D; d++)
            for (int i = 0; i < VECTOR; i++)
                to[(size_t)d * BLOCK + (size_t)(q + i)] = rows[(size_t)i * width + (size_t)d];
    }
}

/* The block's rows of q or dout, both ways. Lanes without a query are zero. */
static void pack_queries(const float *from, size_t stride, const Block *block, int D, float factor,
                         float *rows, float *across)
{
    size_t width = width_of(D);
    pack_rows(from + (size_t)block->first_query * stride, stride, block->queries, D, factor, rows);
    memset(rows + (size_t)block->queries * width, 0,
           (size_t)(block->lanes - block->queries) * width * sizeof *rows);
    pack_across(rows, block->lanes, D, across);
}

/* ---- the three kinds of products, in steps of 16 on the diagonal ---- */

/* scores (keys, queries) = rows (keys, D) across (D, queries) */
static void multiply_scores(Block *block, const float *rows, int D, const float *across,
                            float *scores)
{
    size_t width = width_of(D);
    int step = block->diagonal ? STEP : block->keys;
    for (int key = 0; key < block->keys; key += step) {
        int lane = block->diagonal ? key : 0;
        tiles_multiply(&(Tiles){
            .rows = least(step, block->keys - key),
            .columns = block->lanes - lane,
            .K = D,
            .a = rows + (size_t)(block->first_key + key) * width,
            .a_stride = width,
            .b = across + lane,
            .b_stride = BLOCK,
            .c = scores + key * BLOCK + lane,
            .c_stride = BLOCK,
            .ahead = &block->ahead,
        });
    }
}

/* to (keys, width) += scores (keys, queries) rows (queries, width); = if it is the first block of
 * queries that these keys meet. */
static void add_to_keys(Block *block, bool first, const float *scores, const float *rows, int D,
                        float *to)
{
    size_t width = width_of(D);
    int step = block->diagonal ? STEP : block->keys;
    for (int key = 0; key < block->keys; key += step) {
        int query = block->diagonal ? key : 0;
        tiles_multiply(&(Tiles){
            .rows = least(step, block->keys - key),
            .columns = (int)width,
            .K = block->queries - query,
            .a = scores + key * BLOCK + query,
            .a_stride = BLOCK,
            .b = rows + (size_t)query * width,
            .b_stride = width,
            .c = to + (size_t)(block->first_key + key) * width,
            .c_stride = width,
            .add = !first,
            .ahead = &block->ahead,
        });
    }
}

/* to (queries, width) = to * keep + scores^T (queries, keys) rows (keys, width); without `to *
 * keep` for the first block of keys. */
static void add_to_queries(Block *block, const float *keep, const float *scores, const float *rows,
                           int D, float *to)
{
    size_t width = width_of(D);
    int step = block->diagonal ? STEP : block->queries;
    for (int query = 0; query < block->queries; query += step) {
        tiles_multiply(&(Tiles){
            .rows = least(step, block->queries - query),
            .columns = (int)width,
            .K = block->diagonal ? least(query + STEP, block->keys) : block->keys,
            .a = scores + query,
            .a_stride = BLOCK,
            .a_transposed = true,
            .b = rows + (size_t)block->first_key * width,
            .b_stride = width,
            .c = to + (size_t)query * width,
            .c_stride = width,
            .add = block->first_key > 0,
            .keep = keep ? keep + query : NULL,
            .ahead = &block->ahead,
        });
    }
}

/* ---- between the products: element by element, vectors of queries ---- */

/* Scores that do not count become -infinity. */
static void mask(const AttentionHead *head, const Block *block, float *scores)
{
    for (int key = 0; block->diagonal && key < block->keys; key++)
        for (int lane = key / STEP * STEP; lane < key; lane++)
            scores[key * BLOCK + lane] = -INFINITY;
    for (int key = 0; head->hidden && key < block->keys; key++)
        for (int lane = 0; head->hidden[block->first_key + key] && lane < block->lanes; lane++)
            scores[key * BLOCK + lane] = -INFINITY;
}

/* Keys whose rows hold something at this lane: the first so many of the block. */
static int keys_at(const Block *block, int lane)
{
    return block->diagonal ? least(block->keys, (lane / STEP + 1) * STEP) : block->keys;
}

typedef int32_t VectorBits __attribute__((vector_size(VECTOR * sizeof(int32_t))));

static inline Vector larger(Vector a, Vector b)
{
    const VectorBits mask = a > b;
    return (Vector)(((VectorBits)a & mask) | ((VectorBits)b & ~mask));
}

/* The largest of `top` and of every BLOCK-th vector from at to end. Four at a time: a comparison
 * takes its time. */
static inline Vector largest(const float *at, const float *end, Vector top)
{
    for (; at + 3 * BLOCK < end; at += 4 * BLOCK) {
        const Vector a = larger(vector_load(at), vector_load(at + BLOCK));
        const Vector b = larger(vector_load(at + 2 * BLOCK), vector_load(at + 3 * BLOCK));
        top = larger(larger(a, b), top);
    }
    for (; at < end; at += BLOCK)
        top = larger(vector_load(at), top);
    return top;
}

/* 2^x for x <= 0, to 1.2 ulp; 0 below -126. x = n + r, |r| <= 1/2; 2^r by a minimax polynomial. */
static inline Vector power_of_two(Vector x)
{
    const float round = 12582912.0f + 127.0f; /* adding it leaves n + 127 in the low bits */
    const Vector n = x + round, r = x - (n - round);
    Vector p = vector_fused(r, SPREAD(1.534581206063e-4f), SPREAD(1.339993136333e-3f));
    p = vector_fused(p, r, SPREAD(9.618488958173e-3f));
    p = vector_fused(p, r, SPREAD(5.550328776610e-2f));
    p = vector_fused(p, r, SPREAD(2.402264689061e-1f));
    p = vector_fused(p, r, SPREAD(6.931472057374e-1f));
    p = vector_fused(p, r, SPREAD(1.0f));
    const VectorBits y = (VectorBits)(p * (Vector)((VectorBits)n << 23));
    return (Vector)(y & ~(x < -126.0f));
}

/* Per query: the largest score so far, the sum of 2^(score - largest), and what the last block
 * changed: 2^(old largest - largest). */
typedef struct Running {
    float top[BLOCK], sum[BLOCK], keep[BLOCK];
} Running;

/* scores -> p = 2^(score - top) */
static void soften(const Block *block, Running *running, float *scores)
{
    for (int lane = 0; lane < block->lanes; lane += VECTOR) {
        const int end = keys_at(block, lane) * BLOCK + lane;
        const Vector before = vector_load(running->top + lane);
        const Vector top = largest(scores + lane, scores + end, before);
        Vector sum = { 0 };
        for (int at = lane; at < end; at += BLOCK) {
            const Vector p = power_of_two(vector_load(scores + at) - top);
            vector_store(scores + at, p);
            sum += p;
        }
        const Vector keep = power_of_two(before - top);
        vector_store(running->keep + lane, keep);
        vector_store(running->sum + lane,
                     vector_fused(vector_load(running->sum + lane), keep, sum));
        vector_store(running->top + lane, top);
    }
}

/* scores -> p = 2^(score - logsum) */
static void recall(const Block *block, const float *logsum, float *scores)
{
    for (int lane = 0; lane < block->lanes; lane += VECTOR) {
        const int end = keys_at(block, lane) * BLOCK + lane;
        const Vector minus = vector_load(logsum + lane);
        for (int at = lane; at < end; at += BLOCK)
            vector_store(scores + at, power_of_two(vector_load(scores + at) - minus));
    }
}

/* dp -> ds = p (dp - delta) */
static void soften_gradient(const Block *block, const float *p, const float *delta, float *dp)
{
    for (int lane = 0; lane < block->lanes; lane += VECTOR) {
        const int end = keys_at(block, lane) * BLOCK + lane;
        const Vector minus = vector_load(delta + lane);
        for (int at = lane; at < end; at += BLOCK)
            vector_store(dp + at, vector_load(p + at) * (vector_load(dp + at) - minus));
    }
}

/* dropped = 1 / (1 - p) where a probability is kept, else 0. */
static void draw(const AttentionHead *head, const Block *block, float *dropped)
{
    const AttentionDropout *dropout = &head->dropout;
    const uint32_t limit = (uint32_t)(dropout->p * 0x1p32);
    const float scale = (float)(1 / (1 - dropout->p));
    const uint64_t row = (uint64_t)round_up(head->T, BLOCK);
    uint32_t words[BLOCK];
    for (int key = 0; key < block->keys; key++) {
        uint64_t first = dropout->first_word + (uint64_t)(block->first_key + key) * row +
                         (uint64_t)block->first_query;
        kernels()->random_groups(dropout->key, first / 4, words, (size_t)block->lanes / 4);
        for (int lane = 0; lane < block->lanes; lane++)
            dropped[key * BLOCK + lane] = words[lane] >= limit ? scale : 0;
    }
}

static void drop(const Block *block, const float *dropped, float *p)
{
    for (int lane = 0; lane < block->lanes; lane += VECTOR) {
        const int end = keys_at(block, lane) * BLOCK + lane;
        for (int at = lane; at < end; at += BLOCK)
            vector_store(p + at, vector_load(p + at) * vector_load(dropped + at));
    }
}

/* ---- a head ---- */

/* Of scores: 1 / sqrt(D), and in units of ln 2, because 2^x is cheaper than e^x. */
static float scale_of(const AttentionHead *head)
{
    return (float)(1 / (LN2 * sqrt((double)head->D)));
}

static Block queries_from(const AttentionHead *head, int first)
{
    int queries = least(BLOCK, head->T - first);
    return (Block){ .first_query = first, .queries = queries, .lanes = round_up(queries, STEP) };
}

static void add_ahead(Block *block, const float *at, size_t next, size_t stride)
{
    if (next > 0)
        block->ahead.arrays[block->ahead.count++] =
            (struct AheadArray){ at + next + (size_t)block->first_query * stride, stride };
}

/* What the next head will read (and write, with a gradient) of this block's positions. */
static void look_ahead(const AttentionHead *head, const AttentionGradient *gradient, Block *block)
{
    block->ahead.rows = block->queries;
    block->ahead.floats = head->D;
    add_ahead(block, head->q, head->next, head->row);
    add_ahead(block, head->k, head->next, head->row);
    add_ahead(block, head->v, head->next, head->row);
    if (gradient) {
        add_ahead(block, gradient->out, gradient->next_out, gradient->out_row);
        add_ahead(block, gradient->dq, head->next, head->row);
        add_ahead(block, gradient->dk, head->next, head->row);
        add_ahead(block, gradient->dv, head->next, head->row);
    }
}

/* The next block of keys that these queries see; false behind the last one. */
static bool next_keys(const AttentionHead *head, Block *block)
{
    int first = block->keys > 0 ? block->first_key + BLOCK : 0;
    int end = head->causal ? block->first_query + block->queries : head->T;
    if (first >= end)
        return false;
    block->first_key = first;
    block->keys = least(BLOCK, end - first);
    block->diagonal = head->causal && first == block->first_query;
    return true;
}

static void pack_keys(const AttentionHead *head, const Room *room)
{
    pack_rows(head->k, head->row, head->T, head->D, 1, room->k);
    pack_rows(head->v, head->row, head->T, head->D, 1, room->v);
}

/* out = rows / sum */
static void finish_queries(const Block *block, const Running *running, const float *rows, int D,
                           float *out, size_t out_row, float *logsum)
{
    for (int q = 0; q < block->queries; q++) {
        float sum = running->sum[q], factor = sum == 0 ? 0 : 1 / sum;
        float *to = out + (size_t)(block->first_query + q) * out_row;
        const float *from = rows + (size_t)q * width_of(D);
        for (int d = 0; d < D; d++)
            to[d] = from[d] * factor;
        logsum[block->first_query + q] =
            sum == 0 ? INFINITY : running->top[q] + vmath_log(sum) * (float)(1 / LN2);
    }
}

void attention_forward(const AttentionHead *head, float *out, size_t out_row, float *logsum)
{
    Room room = share_out(head);
    Running running;
    pack_keys(head, &room);
    for (int first = 0; first < head->T; first += BLOCK) {
        Block block = queries_from(head, first);
        look_ahead(head, NULL, &block);
        pack_queries(head->q, head->row, &block, head->D, scale_of(head), room.q, room.q_across);
        for (int lane = 0; lane < BLOCK; lane++) {
            running.top[lane] = LOWEST;
            running.sum[lane] = 0;
        }
        while (next_keys(head, &block)) {
            multiply_scores(&block, room.k, head->D, room.q_across, room.p);
            mask(head, &block, room.p);
            soften(&block, &running, room.p);
            if (head->dropout.p > 0) {
                draw(head, &block, room.dropped);
                drop(&block, room.dropped, room.p);
            }
            add_to_queries(&block, running.keep, room.p, room.v, head->D, room.rows);
        }
        finish_queries(&block, &running, room.rows, head->D, out, out_row, logsum);
    }
}

/* logsum and delta of the block's queries; what is behind them is finite. */
static void fetch_queries(const AttentionGradient *gradient, const Block *block, int D,
                          float logsum[BLOCK], float delta[BLOCK])
{
    for (int q = 0; q < BLOCK; q++)
        logsum[q] = delta[q] = 0;
    for (int q = 0; q < block->queries; q++) {
        size_t at = (size_t)(block->first_query + q);
        logsum[q] = gradient->logsum[at];
        delta[q] = (float)row_dot(gradient->out + at * gradient->out_row,
                                  gradient->dout + at * gradient->out_row, (size_t)D);
    }
}

void attention_backward(const AttentionHead *head, const AttentionGradient *gradient)
{
    Room room = share_out(head);
    float logsum[BLOCK], delta[BLOCK], scale = scale_of(head);
    int D = head->D;
    pack_keys(head, &room);
    for (int first = 0; first < head->T; first += BLOCK) {
        Block block = queries_from(head, first);
        look_ahead(head, gradient, &block);
        pack_queries(head->q, head->row, &block, D, scale, room.q, room.q_across);
        pack_queries(gradient->dout, gradient->out_row, &block, D, 1, room.dout, room.dout_across);
        fetch_queries(gradient, &block, D, logsum, delta);
        while (next_keys(head, &block)) {
            bool first_meeting = head->causal ? block.diagonal : first == 0;
            multiply_scores(&block, room.k, D, room.q_across, room.p);
            mask(head, &block, room.p);
            recall(&block, logsum, room.p);
            multiply_scores(&block, room.v, D, room.dout_across, room.ds);
            if (head->dropout.p > 0) {
                draw(head, &block, room.dropped);
                drop(&block, room.dropped, room.ds);
            }
            soften_gradient(&block, room.p, delta, room.ds);
            if (head->dropout.p > 0)
                drop(&block, room.dropped, room.p);
            add_to_keys(&block, first_meeting, room.p, room.dout, D, room.dv);
            add_to_keys(&block, first_meeting, room.ds, room.q, D, room.dk);
            add_to_queries(&block, NULL, room.ds, room.k, D, room.rows);
        }
        unpack_rows(room.rows, block.queries, D, scale * (float)LN2,
                    gradient->dq + (size_t)first * head->row, head->row);
    }
    unpack_rows(room.dk, head->T, D, (float)LN2, gradient->dk, head->row);
    unpack_rows(room.dv, head->T, D, 1, gradient->dv, head->row);
}
