/* Wrappers at work: around the gradient, the scalars and the weights of a method. */
#include "optimizer_parts.h"

#include <string.h>

OptimizerRange wrapper_range(const Optimizer *o, const OptimizerWrapper *wrapper, int block,
                             float *w)
{
    LayoutBlock b = layout_block(o->layout, block);
    OptimizerRange range = { .w = w + b.offset,
                             .n = b.n,
                             .first = b.offset - o->layout->tensors[b.tensor].offset };
    for (int i = 0; i < wrapper->type->states; i++)
        range.state[i] = wrapper->state[i] + (b.offset - o->slice.lo);
    return range;
}

static OptimizerTensor wrapper_tensor(const Optimizer *o, const OptimizerWrapper *wrapper,
                                      int tensor, float *w)
{
    const LayoutTensor *shape = &o->layout->tensors[tensor];
    OptimizerTensor view = { .shape = shape, .w = w + shape->offset, .scratch = o->scratch };
    for (int i = 0; i < wrapper->type->states; i++)
        view.state[i] = wrapper->state[i] + (shape->offset - o->slice.lo);
    return view;
}

/* A tensor's step with a wrapper's scalars in place of the method's. */
static TensorStep wrapper_step(const Optimizer *o, const OptimizerWrapper *wrapper, int tensor)
{
    TensorStep step = o->steps[tensor];
    step.scalars =
        wrapper->tensor_scalars + (ptrdiff_t)tensor * scalar_count(wrapper->type->tensor_scalars);
    step.globals = wrapper->step.scalars;
    return step;
}

/* One wrapper on the part of a tensor that is in the slice. */
static void wrap_gradient(const Optimizer *o, const OptimizerWrapper *wrapper, int tensor, float *w,
                          float *g)
{
    const LayoutTensor *t = &o->layout->tensors[tensor];
    TensorStep step = wrapper_step(o, wrapper, tensor);
    if (wrapper->type->gradient_tensor) {
        OptimizerTensor view = wrapper_tensor(o, wrapper, tensor, w);
        view.g = g + t->offset;
        wrapper->type->gradient_tensor(wrapper->options, &step, &view, g + t->offset);
    }
    for (int block = t->first_block; wrapper->type->gradient && block < t->first_block + t->blocks;
         block++) {
        if (block < o->slice.first_block || block >= o->slice.last_block)
            continue;
        OptimizerRange range = wrapper_range(o, wrapper, block, w);
        float *g_block = g + layout_block(o->layout, block).offset;
        range.g = g_block;
        wrapper->type->gradient(wrapper->options, &step, &range, g_block);
        if (range.first + range.n > t->n)
            memset(g + t->offset + t->n, 0, (t->padded - t->n) * sizeof *g);
    }
}

bool wrappers_change_gradient(const Optimizer *o)
{
    bool changes = false;
    for (int k = 0; k < o->wrapper_count; k++)
        changes = changes || o->wrappers[k].type->gradient || o->wrappers[k].type->gradient_tensor;
    return changes;
}

void wrappers_gradient(Optimizer *o, int tensor, float *w, float *g)
{
    for (int k = 0; k < o->wrapper_count; k++)
        wrap_gradient(o, &o->wrappers[k], tensor, w, g);
}

void wrappers_decide(Optimizer *o)
{
    for (int k = 0; k < o->wrapper_count; k++) {
        OptimizerWrapper *wrapper = &o->wrappers[k];
        wrapper->step.norm = o->grad_norm;
        if (wrapper->type->decide)
            wrapper->type->decide(wrapper->options, &wrapper->step);
        for (int i = 0; wrapper->type->tensor && i < o->layout->count; i++) {
            if (is_left_alone(o->layout, i))
                continue;
            TensorStep step = wrapper_step(o, wrapper, i);
            wrapper->type->tensor(wrapper->options, &step);
            o->steps[i].scale = step.scale;
            o->steps[i].norm_g = step.norm_g;
            o->steps[i].lr = step.lr;
            o->steps[i].weight_decay = step.weight_decay;
        }
    }
}

void wrappers_weights(const Optimizer *o, int block, float *w, const float *before)
{
    int tensor = o->layout->block_tensor[block];
    for (int k = 0; k < o->wrapper_count; k++) {
        const OptimizerWrapper *wrapper = &o->wrappers[k];
        if (!wrapper->type->weights)
            continue;
        OptimizerRange range = wrapper_range(o, wrapper, block, w);
        TensorStep step = wrapper_step(o, wrapper, tensor);
        range.before = before;
        wrapper->type->weights(wrapper->options, &step, &range);
        optimizer_clear_padding(o, block, &range);
    }
}

/* ---- the weights to evaluate ---- */

bool optimizer_averages(const Optimizer *o)
{
    bool averages = false;
    for (int i = 0; i < o->method_count; i++)
        averages = averages || o->methods[i].type->evaluate;
    for (int k = 0; k < o->wrapper_count; k++)
        averages = averages || o->wrappers[k].type->evaluate;
    return averages;
}

/* The method's, then every wrapper's in turn: the last one has the word. */
static void evaluate_block(const Optimizer *o, int block, float *w, float *out)
{
    int tensor = o->layout->block_tensor[block];
    const OptimizerMethod *method = method_of(o, tensor);
    TensorStep step = { .t = o->t,
                        .scalars = o->tensor_scalars + (ptrdiff_t)tensor * OPTIMIZER_MAX_SCALARS,
                        .globals = method->step.scalars,
                        .tensor = tensor };
    OptimizerRange range = optimizer_range(o, block, w, NULL);
    if (method->type->evaluate)
        method->type->evaluate(method->options, &step, &range, out);
    for (int k = 0; k < o->wrapper_count; k++) {
        const OptimizerWrapper *wrapper = &o->wrappers[k];
        step.scalars = wrapper->tensor_scalars +
                       (ptrdiff_t)tensor * scalar_count(wrapper->type->tensor_scalars);
        step.globals = wrapper->step.scalars;
        range = wrapper_range(o, wrapper, block, w);
        if (wrapper->type->evaluate)
            wrapper->type->evaluate(wrapper->options, &step, &range, out);
    }
}

void optimizer_evaluated(const Optimizer *o, float *w, float *out)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        memcpy(out + b.offset, w + b.offset, b.n * sizeof *w);
        if (o->t > 0 && !is_left_alone(o->layout, b.tensor))
            evaluate_block(o, block, w, out + b.offset);
    }
}
