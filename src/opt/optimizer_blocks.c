/* An optimizer's state seen from outside, block by block: for workers that have one each and
 * average or hand on what is in it. */
#include "lockstep/error.h"
#include "optimizer_parts.h"

#include <string.h>

const char *optimizer_not_by_blocks(const Optimizer *o)
{
    for (int i = 0; i < o->method_count; i++) {
        const OptimizerType *type = o->methods[i].type;
        if (type->update_tensor || type->curvature || type->evaluate)
            return type->name;
    }
    return o->wrapper_count > 0 ? o->wrappers[0].type->name : NULL;
}

float *optimizer_state_block(Optimizer *o, int state, int block)
{
    int tensor = o->layout->block_tensor[block];
    if (is_left_alone(o->layout, tensor) || !has_state(method_of(o, tensor), state))
        return NULL;
    return o->state[state] + o->state_at[state][block];
}

void optimizer_copy_scalars(Optimizer *to, const Optimizer *from)
{
    expect(to->layout == from->layout && to->method_count == from->method_count);
    size_t count = (size_t)to->layout->count * OPTIMIZER_MAX_SCALARS;
    to->t = from->t;
    for (int i = 0; i < to->method_count; i++)
        to->methods[i].step = from->methods[i].step;
    memcpy(to->tensor_scalars, from->tensor_scalars, count * sizeof *to->tensor_scalars);
}
