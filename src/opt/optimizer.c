/* One step of the optimizer: norms, clipping, and the passes over a slice. */
#include "lockstep/optimizer.h"
#include "lockstep/error.h"
#include "lockstep/kernels.h"
#include "optimizer_parts.h"

#include <math.h>
#include <string.h>

/* ---- views ---- */

OptimizerRange optimizer_range(const Optimizer *o, int block, float *w, const float *g)
{
    LayoutBlock b = layout_block(o->layout, block);
    OptimizerRange range = {
        .w = w + b.offset, .g = g, .n = b.n, .first = b.offset - o->layout->tensors[b.tensor].offset
    };
    for (int i = 0; i < OPTIMIZER_MAX_STATES; i++)
        if (has_state(method_of(o, b.tensor), i))
            range.state[i] = o->state[i] + o->state_at[i][block];
    return range;
}

/* Whatever a method has done to the padding behind a tensor, at most 15 floats. */
void optimizer_clear_padding(const Optimizer *o, int block, const OptimizerRange *range)
{
    const LayoutTensor *tensor = &o->layout->tensors[o->layout->block_tensor[block]];
    if (range->first + range->n <= tensor->n)
        return;
    size_t used = tensor->n - range->first, left = range->n - used;
    memset(range->w + used, 0, left * sizeof(float));
    for (int s = 0; s < OPTIMIZER_MAX_STATES; s++)
        if (range->state[s])
            memset(range->state[s] + used, 0, left * sizeof(float));
}

static OptimizerTensor whole_tensor(const Optimizer *o, int tensor, float *w, const float *g)
{
    const LayoutTensor *shape = &o->layout->tensors[tensor];
    OptimizerTensor view = {
        .shape = shape, .w = w + shape->offset, .g = g + shape->offset, .scratch = o->scratch
    };
    for (int i = 0; i < OPTIMIZER_MAX_STATES; i++)
        if (has_state(method_of(o, tensor), i))
            view.state[i] = o->state[i] + o->state_at[i][shape->first_block];
    for (int i = 0; i < OPTIMIZER_MAX_BUFFERS; i++)
        view.buffer[i] = o->buffers[tensor * OPTIMIZER_MAX_BUFFERS + i];
    return view;
}

/* ---- block sums ---- */

enum { SUM_ARRAYS = 2 + OPTIMIZER_MAX_SUMS };

/* Completes arrays with a number per block in one exchange. */
static void complete(Optimizer *o, Exchange exchange, double *const *arrays, int count)
{
    if (!exchange.complete || count == 0)
        return;
    double *all = o->exchanged; /* (blocks, count) */
    for (int block = o->slice.first_block; block < o->slice.last_block; block++)
        for (int i = 0; i < count; i++)
            all[block * count + i] = arrays[i][block];
    exchange_complete(exchange, all, (size_t)count * sizeof *all);
    for (int block = 0; block < o->layout->blocks; block++)
        for (int i = 0; i < count; i++)
            arrays[i][block] = all[block * count + i];
}

/* Norm over all trained tensors, from completed block squares: blocks in order within a tensor,
 * tensors in order, the same bits for every slice cut. */
static double global_norm(const Layout *layout, const double *squares)
{
    double sum = 0;
    for (int i = 0; i < layout->count; i++)
        if (!is_left_alone(layout, i))
            sum += layout_tensor_sum(layout, i, squares);
    return sqrt(sum);
}

static double tensor_norm(const Layout *layout, int tensor, const double *squares)
{
    return sqrt(layout_tensor_sum(layout, tensor, squares));
}

/* c = min(1, clip_norm / (norm + epsilon)): epsilon is 1e-6 in PyTorch; 0 is LAMB's
 * g / max(1, norm / clip_norm). */
static double clip_factor(const Optimizer *o, double norm)
{
    if (o->clip_norm <= 0)
        return 1;
    double factor = o->clip_norm / (norm + o->type->clip_epsilon);
    return factor < 1 ? factor : 1;
}

/* ---- the beginning of a step ---- */

/* States that do not start at zero; their padding does. */
static void start_block(Optimizer *o, int block, float *w)
{
    const OptimizerMethod *method = method_of(o, o->layout->block_tensor[block]);
    OptimizerRange range = optimizer_range(o, block, w, NULL);
    if (method->type->start) {
        method->type->start(method->options, &range);
        optimizer_clear_padding(o, block, &range);
    }
    for (int k = 0; k < o->wrapper_count; k++) {
        const OptimizerWrapper *wrapper = &o->wrappers[k];
        range = wrapper_range(o, wrapper, block, w);
        if (wrapper->type->start)
            wrapper->type->start(wrapper->options, &range);
    }
}

static bool is_skipped(const Optimizer *o, int block)
{
    return is_left_alone(o->layout, o->layout->block_tensor[block]);
}

static MethodStep method_step(const Optimizer *o, const Rates *rates, double lr,
                              const MethodStep *last)
{
    MethodStep step = *last;
    step.t = rates->step + 1;
    step.base_lr = lr;
    step.lr = o->lr > 0 ? rates->lr * (lr / o->lr) : rates->lr;
    step.loss = rates->loss;
    step.plan = rates->plan;
    return step;
}

static void begin_methods(Optimizer *o, const Rates *given)
{
    BatchPlan plain = batch_plan(1, 1);
    Rates rates_with_plan = *given;
    const Rates *rates = &rates_with_plan;
    if (!given->plan)
        rates_with_plan.plan = &plain;
    for (int i = 0; i < o->method_count; i++) {
        OptimizerMethod *method = &o->methods[i];
        method->step = method_step(o, rates, method->lr, &method->step);
        if (method->type->begin)
            method->type->begin(method->options, &method->step);
    }
    for (int k = 0; k < o->wrapper_count; k++) {
        OptimizerWrapper *wrapper = &o->wrappers[k];
        wrapper->step = method_step(o, rates, o->lr, &wrapper->step);
        if (wrapper->type->begin)
            wrapper->type->begin(wrapper->options, &wrapper->step);
    }
}

static void begin_tensors(Optimizer *o, const Rates *rates)
{
    for (int i = 0; i < o->layout->count; i++)
        o->steps[i] =
            (TensorStep){ .lr = rates->lr * o->tensor_lr[i],
                          .base_lr = o->lr * o->tensor_lr[i],
                          .momentum = rates->momentum,
                          .t = rates->step + 1,
                          .weight_decay = o->tensor_decay[i],
                          .adapt = o->tensor_adapt[i],
                          .scale = o->maximize ? -1 : 1,
                          .trust = 1,
                          .scalars = o->tensor_scalars + (ptrdiff_t)i * OPTIMIZER_MAX_SCALARS,
                          .globals = method_of(o, i)->step.scalars,
                          .tensor = i,
                          .seed = rates->seed };
}

static void begin(Optimizer *o, const Rates *rates, float *w)
{
    for (int block = o->slice.first_block; o->t == 0 && block < o->slice.last_block; block++)
        if (!is_skipped(o, block))
            start_block(o, block, w);
    begin_methods(o, rates);
    begin_tensors(o, rates);
    o->clip_factor = 1;
}

/* ---- changing the gradient ---- */

static bool changes_gradient(const Optimizer *o)
{
    return o->clip_value > 0 || wrappers_change_gradient(o);
}

/* Squares of the slice of g, which is complete in its arena from now on. */
static void square_gradient(Optimizer *o, Gradient *g)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++)
        if (!is_skipped(o, block)) {
            LayoutBlock b = layout_block(o->layout, block);
            o->squares_g[block] = kernels()->squares(gradient_block(*g, b, true), b.n);
        }
    g->finish = NULL;
}

bool optimizer_measure(Optimizer *o, Gradient *g, Exchange exchange)
{
    bool finite = true;
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        bool frozen = o->layout->tensors[b.tensor].flags & LAYOUT_FROZEN;
        o->squares_g[block] = frozen ? 0 : kernels()->squares(gradient_block(*g, b, true), b.n);
    }
    g->finish = NULL;
    complete(o, exchange, &o->squares_g, 1);
    for (int block = 0; block < o->layout->blocks; block++)
        finite = finite && isfinite(o->squares_g[block]);
    o->grad_norm = global_norm(o->layout, o->squares_g);
    o->hessian = NULL;
    o->measured = true;
    return finite && isfinite(o->grad_norm);
}

const double *optimizer_gradient_squares(const Optimizer *o)
{
    return changes_gradient(o) ? o->squares_mean : o->squares_g;
}

static void change_gradient(Optimizer *o, float *w, float *g)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        bool begins = block == o->slice.first_block ||
                      block == o->layout->tensors[b.tensor].first_block; /* of its part here */
        if (is_left_alone(o->layout, b.tensor))
            continue;
        if (begins)
            wrappers_gradient(o, b.tensor, w, g);
        if (o->clip_value > 0)
            kernels()->clamp(g + b.offset, (float)o->clip_value, b.n);
    }
}

/* ---- norms ---- */

static bool looks(const OptimizerMethod *method)
{
    return method->needs & OPTIMIZER_NORM_U || method->type->sums > 0;
}

/* Norms that are wanted before the pass of `look`, which takes those of w for its own methods. */
static unsigned early_needs(const Optimizer *o)
{
    unsigned needs = o->clip_norm > 0 ? OPTIMIZER_NORM_G : 0;
    for (int i = 0; i < o->method_count; i++)
        needs |= o->methods[i].needs & (looks(&o->methods[i]) ? OPTIMIZER_NORM_G : ~0U);
    for (int k = 0; k < o->wrapper_count; k++)
        if (o->wrappers[k].type->needs)
            needs |= o->wrappers[k].type->needs(o->wrappers[k].options);
    return needs;
}

/* Global norm and clip factor; norms of g, unless they are known, and w. */
static void measure(Optimizer *o, unsigned needs, const float *w, Gradient *g, bool known,
                    Exchange exchange)
{
    bool with_w = needs & OPTIMIZER_NORM_W;
    double *arrays[] = { o->squares_w, o->squares_g };
    if (!known)
        square_gradient(o, g);
    if (with_w)
        layout_block_squares(o->layout, o->slice, w, o->squares_w);
    complete(o, exchange, with_w ? arrays : arrays + 1, with_w + !known);
    double norm = global_norm(o->layout, o->squares_g);
    if (!changes_gradient(o))
        o->grad_norm = norm;
    o->clip_factor = clip_factor(o, norm);
    for (int i = 0; i < o->layout->count; i++) {
        o->steps[i].scale *= o->clip_factor;
        o->steps[i].norm_g = o->clip_factor * tensor_norm(o->layout, i, o->squares_g);
        if (with_w)
            o->steps[i].norm_w = tensor_norm(o->layout, i, o->squares_w);
    }
}

/* ---- the pass before the update ---- */

static bool any_looks(const Optimizer *o)
{
    bool any = false;
    for (int i = 0; i < o->method_count; i++)
        any = any || looks(&o->methods[i]);
    return any;
}

static void look_at_block(Optimizer *o, const OptimizerMethod *method, const TensorStep *step,
                          int block, const OptimizerRange *range)
{
    double sums[OPTIMIZER_MAX_SUMS] = { 0 };
    o->squares_w[block] = kernels()->squares(range->w, range->n);
    if (method->needs & OPTIMIZER_NORM_U)
        o->squares_u[block] = method->type->direction(method->options, step, range);
    if (method->type->sums > 0)
        method->type->gather(method->options, step, range, sums);
    for (int i = 0; i < method->type->sums; i++)
        o->sums[i][block] = sums[i];
}

static void sum_method(const Optimizer *o, int number, MethodStep *step)
{
    for (int k = 0; k < o->methods[number].type->sums; k++) {
        step->sums[k] = 0;
        for (int i = 0; i < o->layout->count; i++)
            if (o->tensor_method[i] == number && !is_left_alone(o->layout, i))
                step->sums[k] += layout_tensor_sum(o->layout, i, o->sums[k]);
    }
}

/* Moments, the norms of direction and weights, and sums, block by block while they are in cache. */
static void look(Optimizer *o, float *w, Gradient g, bool measured, Exchange exchange)
{
    bool sums = false;
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        const OptimizerMethod *method = method_of(o, b.tensor);
        if (is_left_alone(o->layout, b.tensor) || !looks(method))
            continue;
        OptimizerRange range = optimizer_range(o, block, w, gradient_block(g, b, true));
        if (!measured)
            o->squares_g[block] = kernels()->squares(range.g, range.n);
        look_at_block(o, method, &o->steps[b.tensor], block, &range);
    }
    for (int i = 0; i < o->method_count; i++)
        sums = sums || o->methods[i].type->sums > 0;
    complete(o, exchange, (double *const[]){ o->squares_w, o->squares_u, o->sums[0], o->sums[1] },
             sums ? SUM_ARRAYS : 2);
    for (int i = 0; i < o->method_count; i++)
        sum_method(o, i, &o->methods[i].step);
    for (int i = 0; i < o->layout->count; i++)
        if (looks(method_of(o, i))) {
            o->steps[i].norm_w = tensor_norm(o->layout, i, o->squares_w);
            o->steps[i].norm_u = tensor_norm(o->layout, i, o->squares_u);
        }
}

bool optimizer_has_trust(const Optimizer *o, int tensor)
{
    return !is_left_alone(o->layout, tensor) && method_of(o, tensor)->type->trust_ratio &&
           o->tensor_adapt[tensor];
}

static void decide_methods(Optimizer *o)
{
    for (int i = 0; i < o->method_count; i++) {
        OptimizerMethod *method = &o->methods[i];
        method->step.norm = o->grad_norm;
        if (method->type->decide)
            method->type->decide(method->options, &method->step);
    }
    for (int i = 0; i < o->layout->count; i++) {
        const OptimizerMethod *method = method_of(o, i);
        TensorStep *step = &o->steps[i];
        if (!is_left_alone(o->layout, i) && method->type->tensor)
            method->type->tensor(method->options, step);
        if (optimizer_has_trust(o, i))
            step->trust = method->type->trust_ratio(method->options, step, &step->clamped);
        o->trust[i] = step->trust;
    }
}

/* ---- the update ---- */

/* All blocks of a tensor in g's arena, on their way into the update. */
static void complete_tensor(Optimizer *o, const LayoutTensor *t, Gradient g, bool measured)
{
    for (int block = t->first_block; block < t->first_block + t->blocks; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        const float *g_block = gradient_block(g, b, true);
        if (!measured)
            o->squares_g[block] = kernels()->squares(g_block, b.n);
        gradient_updating(g, b, g_block);
    }
}

/* A tensor that this rank has whole. */
static void update_whole(Optimizer *o, int tensor, float *w, Gradient g, bool measured)
{
    const LayoutTensor *t = &o->layout->tensors[tensor];
    const OptimizerMethod *method = method_of(o, tensor);
    expect(owns(o, tensor));
    complete_tensor(o, t, g, measured);
    if (o->tensor_lazy[tensor]) {
        lazy_update(o, tensor, w, g);
        return;
    }
    if (o->before)
        memcpy(o->before, w + t->offset, t->padded * sizeof *w);
    OptimizerTensor view = whole_tensor(o, tensor, w, g.sums);
    method->type->update_tensor(method->options, &o->steps[tensor], &view);
    int last = t->first_block + t->blocks - 1;
    OptimizerRange end = optimizer_range(o, last, w, NULL);
    optimizer_clear_padding(o, last, &end);
    for (int block = t->first_block; block <= last; block++) {
        size_t at = layout_block(o->layout, block).offset - t->offset;
        wrappers_weights(o, block, w, o->before ? o->before + at : NULL);
        gradient_updated(g, layout_block(o->layout, block));
    }
}

static void update_block(Optimizer *o, int block, float *w, Gradient g, bool measured)
{
    LayoutBlock b = layout_block(o->layout, block);
    const OptimizerMethod *method = method_of(o, b.tensor);
    const float *g_block = looks(method) ? g.sums + b.offset : gradient_block(g, b, false);
    OptimizerRange range = optimizer_range(o, block, w, g_block);
    range.hessian = o->hessian ? o->hessian + (b.offset - o->slice.lo) : NULL;
    if (!measured && !looks(method))
        o->squares_g[block] = kernels()->squares(range.g, range.n);
    gradient_updating(g, b, range.g);
    if (o->before)
        memcpy(o->before, range.w, range.n * sizeof *w);
    method->type->update(method->options, &o->steps[b.tensor], &range);
    optimizer_clear_padding(o, block, &range);
    wrappers_weights(o, block, w, o->before);
    gradient_updated(g, b);
}

static void update(Optimizer *o, float *w, Gradient g, bool measured)
{
    for (int block = o->slice.first_block; block < o->slice.last_block;) {
        int tensor = o->layout->block_tensor[block];
        const LayoutTensor *t = &o->layout->tensors[tensor];
        if (is_left_alone(o->layout, tensor))
            block++;
        else if (method_of(o, tensor)->type->update_tensor || o->tensor_lazy[tensor]) {
            update_whole(o, tensor, w, g, measured);
            block = t->first_block + t->blocks;
        } else
            update_block(o, block++, w, g, measured);
    }
}

bool optimizer_step(Optimizer *o, const Rates *rates, float *w, Gradient g, Exchange exchange)
{
    bool changed = changes_gradient(o), known = o->measured;
    unsigned early = early_needs(o);
    bool measured = changed || early || known;
    o->measured = false;
    begin(o, rates, w);
    if (changed) { /* the norm that is reported is the one before any change */
        if (!known) {
            square_gradient(o, &g);
            complete(o, exchange, &o->squares_g, 1);
            o->grad_norm = global_norm(o->layout, o->squares_g);
        }
        memcpy(o->squares_mean, o->squares_g, (size_t)o->layout->blocks * sizeof(double));
        change_gradient(o, w, g.sums);
    }
    if (early)
        measure(o, early, w, &g, known && !changed, exchange);
    wrappers_decide(o);
    if (any_looks(o))
        look(o, w, g, measured, exchange);
    decide_methods(o);
    update(o, w, g, measured);
    if (!measured) {
        complete(o, exchange, &o->squares_g, 1);
        o->grad_norm = global_norm(o->layout, o->squares_g);
    }
    o->t = rates->step + 1;
    o->hessian = NULL;
    return isfinite(o->grad_norm);
}
