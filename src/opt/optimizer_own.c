/* Who owns what: the cut of the arena into slices, and the state of a slice. */
#include "lockstep/error.h"
#include "lockstep/memory.h"
#include "optimizer_parts.h"

/* ---- the cut ---- */

/* An element-wise update waits for memory: as long for a float as this many FLOPs take. */
#define FLOPS_PER_FLOAT 64.0

/* The block behind the unit that begins here: a whole tensor, or one block. */
static int unit_end(const Optimizer *o, int block)
{
    int tensor = o->layout->block_tensor[block];
    const LayoutTensor *t = &o->layout->tensors[tensor];
    return is_whole(o, tensor) ? t->first_block + t->blocks : block + 1;
}

static double unit_cost(const Optimizer *o, int block)
{
    int tensor = o->layout->block_tensor[block];
    const LayoutTensor *t = &o->layout->tensors[tensor];
    const OptimizerMethod *method = method_of(o, tensor);
    size_t n = is_whole(o, tensor) ? t->padded : layout_block(o->layout, block).n;
    double cost = FLOPS_PER_FLOAT * (double)n;
    if (is_whole(o, tensor) && method->type->cost)
        cost += method->type->cost(method->options, t);
    return cost;
}

/* Fills slices from the left up to `limit` each; the last takes the rest. Returns the largest. */
static double fill_slices(const Optimizer *o, int parts, double limit, size_t *bounds)
{
    double load = 0, largest = 0;
    int part = 0;
    bounds[0] = 0;
    for (int block = 0; block < o->layout->blocks; block = unit_end(o, block)) {
        double cost = unit_cost(o, block);
        if (load > 0 && load + cost > limit && part + 1 < parts) {
            bounds[++part] = (size_t)block;
            load = 0;
        }
        load += cost;
        largest = load > largest ? load : largest;
    }
    while (part < parts)
        bounds[++part] = (size_t)o->layout->blocks;
    return largest;
}

static bool any_whole(const Optimizer *o)
{
    for (int i = 0; i < o->layout->count; i++)
        if (is_whole(o, i))
            return true;
    return false;
}

void optimizer_cut(const Optimizer *o, int parts, size_t *bounds)
{
    if (!any_whole(o)) {
        bounds[0] = 0;
        for (int part = 0; part < parts; part++)
            bounds[part + 1] = (size_t)layout_slice(o->layout, part, parts).last_block;
        return;
    }
    double high = fill_slices(o, 1, 0, bounds), low = high / parts;
    for (int i = 0; i < 40; i++) { /* the smallest limit that all slices keep */
        double middle = 0.5 * (low + high);
        if (fill_slices(o, parts, middle, bounds) <= middle)
            high = middle;
        else
            low = middle;
    }
    fill_slices(o, parts, high, bounds);
}

/* ---- the state of a slice ---- */

/* Each state holds the slice's blocks whose method has so many states, one after the other; what
 * no method works on counts as the main method's. */
static void place_states(Optimizer *o)
{
    for (int s = 0; s < OPTIMIZER_MAX_STATES; s++) {
        size_t n = 0;
        o->state_at[s] = mem_array(size_t, o->layout->blocks);
        for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
            LayoutBlock b = layout_block(o->layout, block);
            o->state_at[s][block] = n;
            if (has_state(method_of(o, b.tensor), s))
                n += b.n;
        }
        if (n > 0)
            o->state[s] = mem_array(float, n);
    }
}

static size_t buffer_bytes(const OptimizerBuffer *buffer)
{
    static const size_t sizes[] = { [BUFFER_FLOAT] = sizeof(float),
                                    [BUFFER_DOUBLE] = sizeof(double),
                                    [BUFFER_INT64] = sizeof(int64_t) };
    return buffer->count * sizes[buffer->type];
}

int optimizer_buffers(const Optimizer *o, int tensor, OptimizerBuffer *buffers)
{
    const OptimizerMethod *method = method_of(o, tensor);
    if (!method->type->buffers || is_left_alone(o->layout, tensor))
        return 0;
    int count = method->type->buffers(method->options, &o->layout->tensors[tensor], buffers);
    expect(count <= OPTIMIZER_MAX_BUFFERS);
    return count;
}

/* Buffers of the tensors in the slice, and scratch memory that is enough for each of them. */
static void allocate_whole(Optimizer *o)
{
    size_t scratch = 0, before = LAYOUT_BLOCK;
    OptimizerBuffer buffers[OPTIMIZER_MAX_BUFFERS];
    for (int i = 0; i < o->layout->count; i++) {
        const LayoutTensor *t = &o->layout->tensors[i];
        const OptimizerMethod *method = method_of(o, i);
        if (!is_whole(o, i) || !owns(o, i))
            continue;
        int count = optimizer_buffers(o, i, buffers);
        for (int k = 0; k < count; k++)
            o->buffers[i * OPTIMIZER_MAX_BUFFERS + k] = mem_alloc(buffer_bytes(&buffers[k]));
        if (method->type->scratch)
            scratch = larger(scratch, method->type->scratch(method->options, t));
        if (o->tensor_lazy[i])
            scratch = larger(scratch, lazy_scratch(t));
        if (method->type->update_tensor)
            before = larger(before, t->padded);
    }
    o->scratch = mem_alloc(scratch);
    bool wanted = false;
    for (int k = 0; k < o->wrapper_count; k++)
        wanted = wanted || o->wrappers[k].type->wants_before;
    if (wanted)
        o->before = mem_array(float, before);
}

static void allocate_wrapper(const Optimizer *o, OptimizerWrapper *wrapper)
{
    for (int i = 0; i < wrapper->type->states; i++)
        wrapper->state[i] = mem_array(float, o->slice.hi - o->slice.lo);
    wrapper->tensor_scalars =
        mem_array(double, o->layout->count *scalar_count(wrapper->type->tensor_scalars));
}

void optimizer_own(Optimizer *o, Slice slice)
{
    int blocks = o->layout->blocks, count = o->layout->count;
    o->slice = slice;
    o->buffers = mem_array(void *, count *OPTIMIZER_MAX_BUFFERS);
    o->tensor_scalars = mem_array(double, count *OPTIMIZER_MAX_SCALARS);
    o->squares_w = mem_array(double, blocks);
    o->squares_g = mem_array(double, blocks);
    o->squares_u = mem_array(double, blocks);
    o->squares_mean = mem_array(double, blocks);
    for (int i = 0; i < OPTIMIZER_MAX_SUMS; i++)
        o->sums[i] = mem_array(double, blocks);
    o->exchanged = mem_array(double, blocks *(2 + OPTIMIZER_MAX_SUMS));
    o->steps = mem_array(TensorStep, count);
    place_states(o);
    allocate_whole(o);
    for (int i = 0; i < o->method_count && !o->estimate; i++)
        if (o->methods[i].type->curvature) {
            o->probe_w = mem_array(float, slice.hi - slice.lo);
            o->probe_g = mem_array(float, slice.hi - slice.lo);
            o->estimate = mem_array(float, slice.hi - slice.lo);
        }
    for (int k = 0; k < o->wrapper_count; k++)
        allocate_wrapper(o, &o->wrappers[k]);
}

size_t optimizer_update_floats(const Optimizer *o)
{
    size_t floats = LAYOUT_BLOCK;
    for (int i = 0; i < o->layout->count; i++)
        if (is_whole(o, i) && owns(o, i))
            floats = larger(floats, o->layout->tensors[i].padded);
    return floats;
}

int optimizer_states(const Optimizer *o)
{
    int count = 0;
    for (int s = 0; s < OPTIMIZER_MAX_STATES; s++)
        count += has_state(&o->methods[0], s);
    return count;
}

int optimizer_passes(const Optimizer *o)
{
    bool before = o->needs != 0 || o->methods[0].type->sums > 0 || o->clip_norm > 0;
    return before ? 2 : 1;
}

int optimizer_floats(const Optimizer *o)
{
    int states = optimizer_states(o);
    int norm_w = (o->needs & OPTIMIZER_NORM_W) != 0;
    int norm_g = (o->needs & OPTIMIZER_NORM_G) != 0 || o->clip_norm > 0;
    if (o->methods[0].type->floats > 0)
        return o->methods[0].type->floats + norm_g;
    if (o->needs & OPTIMIZER_NORM_U) /* the direction's pass, with the norm of w; the update's */
        return (2 + 2 * states) + (2 + states) + norm_g;
    return 3 + 2 * states + norm_w + norm_g;
}

size_t optimizer_bytes(const Optimizer *o)
{
    size_t bytes = 0;
    OptimizerBuffer buffers[OPTIMIZER_MAX_BUFFERS];
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        for (int s = 0; s < OPTIMIZER_MAX_STATES; s++)
            bytes += has_state(method_of(o, b.tensor), s) ? b.n * sizeof(float) : 0;
        for (int k = 0; k < o->wrapper_count; k++)
            bytes += (size_t)o->wrappers[k].type->states * b.n * sizeof(float);
    }
    for (int i = 0; i < o->layout->count; i++) {
        int count = owns(o, i) ? optimizer_buffers(o, i, buffers) : 0;
        for (int k = 0; k < count; k++)
            bytes += buffer_bytes(&buffers[k]);
    }
    return bytes;
}
