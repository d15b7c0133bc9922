/* Estimates of the Hessian's diagonal for methods that want one: Hutchinson's, h = u * (H u) with
 * random signs u, where H u is found from two gradients of the same batch, (g(w + e u) - g(w)) / e.
 * One more gradient in each step that has an estimate, and three arrays over the slice. */
#include "lockstep/error.h"
#include "lockstep/random.h"
#include "optimizer_parts.h"

#include <string.h>

#define PROBE_STEP 1e-3f /* e: well above the rounding of weights, well below their size */

static bool wants(const OptimizerMethod *method, int64_t t)
{
    return method->type->curvature && method->type->curvature(method->options, t);
}

bool optimizer_wants_curvature(const Optimizer *o, int64_t t)
{
    for (int i = 0; i < o->method_count; i++)
        if (wants(&o->methods[i], t))
            return true;
    return false;
}

/* The signs of a block: bits of words that belong to (seed, step, tensor, element). */
static void random_signs(const Optimizer *o, const Rates *rates, LayoutBlock block, float *signs)
{
    uint32_t words[LAYOUT_BLOCK / 32];
    size_t first = block.offset - o->layout->tensors[block.tensor].offset;
    RandomKey key = random_key(rates->seed, RANDOM_NOISE, (uint64_t)rates->step,
                               (uint64_t)block.tensor | UINT64_C(1) << 32); /* not noise's stream */
    random_fill_words(key, first / 32, words, LAYOUT_BLOCK / 32);
    for (size_t i = 0; i < block.n; i++)
        signs[i] = words[i / 32] >> (i % 32) & 1 ? 1 : -1;
}

static bool is_probed(const Optimizer *o, int tensor, int64_t t)
{
    return !is_left_alone(o->layout, tensor) && wants(method_of(o, tensor), t);
}

void optimizer_probe(Optimizer *o, const Rates *rates, float *w, Gradient g)
{
    float signs[LAYOUT_BLOCK];
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        size_t at = b.offset - o->slice.lo, end = o->layout->tensors[b.tensor].offset +
                                                  o->layout->tensors[b.tensor].n - b.offset;
        memcpy(o->probe_g + at, gradient_block(g, b, true), b.n * sizeof *w);
        memcpy(o->probe_w + at, w + b.offset, b.n * sizeof *w);
        if (!is_probed(o, b.tensor, rates->step + 1))
            continue;
        random_signs(o, rates, b, signs);
        for (size_t i = 0; i < b.n && i < end; i++)
            w[b.offset + i] += PROBE_STEP * signs[i];
    }
}

Gradient optimizer_take_curvature(Optimizer *o, const Rates *rates, float *w, Gradient g)
{
    float signs[LAYOUT_BLOCK];
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        size_t at = b.offset - o->slice.lo;
        const float *probed = gradient_block(g, b, true);
        if (is_probed(o, b.tensor, rates->step + 1)) {
            random_signs(o, rates, b, signs);
            for (size_t i = 0; i < b.n; i++)
                o->estimate[at + i] = signs[i] * (probed[i] - o->probe_g[at + i]) / PROBE_STEP;
        }
        memcpy(g.sums + b.offset, o->probe_g + at, b.n * sizeof *w);
        memcpy(w + b.offset, o->probe_w + at, b.n * sizeof *w);
    }
    o->hessian = o->estimate;
    o->measured = false; /* what was measured last is the second gradient */
    g.finish = NULL;
    return g;
}
