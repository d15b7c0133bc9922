/* Where buffers and gradients live. One training step is walked through, forward and back; a slot
 * is taken for each array when it is first written and given back when nobody reads it any more.
 *
 *   forward   relu and its like write over their input where nobody else needs it
 *   backward  a join hands the same slot to both sides; a buffer with two readers gets a sum
 *
 * Arrays of every size share the slots: the smallest free slot that is large enough, else the
 * largest free one grown, else a new one. */
#include "lockstep/memory.h"
#include "lockstep/model.h"

#include <string.h>

typedef struct BufferUse {
    size_t floats; /* per sample */
    int last_use;  /* last node that reads it in forward; the output: beyond all */
    int kept_for;  /* first node whose backward reads it: it stays until then; -1: none does */
    int gradient;  /* slot, or -1 */
} BufferUse;

typedef struct Planner {
    Model *model;
    ModelPlan *plan;
    BufferUse *use;
} Planner;

/* ---- slots ---- */

static int take(Planner *p, size_t floats)
{
    ModelPlan *plan = p->plan;
    int best = -1;
    for (int i = 0; i < plan->slots; i++) {
        size_t size = plan->slot[i].floats, found = best < 0 ? 0 : plan->slot[best].floats;
        bool fits = size >= floats;
        if (plan->slot[i].users == 0 &&
            (best < 0 || (found >= floats ? fits && size < found : size > found)))
            best = i;
    }
    if (best < 0) {
        mem_grow(&plan->slot, (size_t)plan->slots, &plan->capacity, sizeof *plan->slot);
        best = plan->slots++;
    }
    if (plan->slot[best].floats < floats)
        plan->slot[best].floats = floats;
    plan->slot[best].users = 1;
    return best;
}

static void drop(Planner *p, int slot)
{
    expect(p->plan->slot[slot].users > 0);
    p->plan->slot[slot].users--;
}

/* ---- forward ---- */

static void keep(Planner *p, int buffer, int node)
{
    int *kept_for = &p->use[buffer].kept_for;
    if (*kept_for < 0 || node < *kept_for)
        *kept_for = node;
}

static void find_uses(Planner *p)
{
    const Model *model = p->model;
    for (int i = 0; i < model->buffers; i++)
        p->use[i] = (BufferUse){ .last_use = -1, .kept_for = -1, .gradient = -1 };
    p->use[0].floats = shape_stored(model->input);
    for (int i = 0; i < model->count; i++) {
        const ModelNode *node = &model->nodes[i];
        p->use[node->out].floats = shape_stored(node->shape);
        p->use[node->in].last_use = i;
        if (node->in2 >= 0)
            p->use[node->in2].last_use = i;
        if (node->layer && node->backward && node->layer->type->keep_x)
            keep(p, node->in, i);
        if (node->layer && node->backward && node->layer->type->keep_y)
            keep(p, node->out, i);
    }
    p->use[model->nodes[model->count - 1].out].last_use = model->count;
}

/* The loss may leave its gradient where the network's output was, unless that is the network's
 * input or backward reads it. */
static int loss_slot(Planner *p, int output)
{
    int slot = p->plan->activation[output];
    bool takes_output = p->model->loss.type->in_place && slot >= 0 && p->use[output].kept_for < 0;
    return takes_output ? slot : take(p, p->use[output].floats);
}

/* May node i write over buffer `in`? */
static bool may_overwrite(const Planner *p, int i, int in)
{
    return p->plan->activation[in] >= 0 && p->use[in].last_use == i && p->use[in].kept_for < 0;
}

/* The buffer that node i's result takes the place of, or -1. */
static int overwritten(const Planner *p, int i)
{
    const ModelNode *node = &p->model->nodes[i];
    if (node->layer)
        return node->layer->type->in_place && may_overwrite(p, i, node->in) ? node->in : -1;
    if (may_overwrite(p, i, node->in))
        return node->in;
    return may_overwrite(p, i, node->in2) ? node->in2 : -1;
}

static void drop_read(Planner *p, int i, int buffer)
{
    if (may_overwrite(p, i, buffer))
        drop(p, p->plan->activation[buffer]);
}

static void plan_forward(Planner *p)
{
    for (int i = 0; i < p->model->count; i++) {
        const ModelNode *node = &p->model->nodes[i];
        if (node->alias) {
            p->plan->activation[node->out] = -1;
            continue;
        }
        int over = overwritten(p, i);
        p->plan->activation[node->out] =
            over >= 0 ? p->plan->activation[over] : take(p, p->use[node->out].floats);
        if (over != node->in)
            drop_read(p, i, node->in);
        if (node->in2 >= 0 && over != node->in2 && node->in2 != node->in)
            drop_read(p, i, node->in2);
    }
}

/* ---- backward ---- */

/* The gradient of a layer's input: written where dy was if the layer can and nobody else holds dy.
 * */
static void flow_through_layer(Planner *p, int i)
{
    const ModelNode *node = &p->model->nodes[i];
    ModelFlow *flow = &p->plan->flow[i];
    int *gradient = &p->use[node->in].gradient;
    if (node->layer->first)
        return;
    if (node->layer->type->in_place && p->plan->slot[flow->dy].users == 1) {
        flow->dx[0] = flow->dy;
        p->plan->slot[flow->dy].users++;
    } else
        flow->dx[0] = take(p, p->use[node->in].floats);
    if (*gradient >= 0) {
        flow->old[0] = *gradient;
        flow->sum[0] = flow->dx[0];
        drop(p, *gradient);
    }
    *gradient = flow->dx[0];
}

/* dy goes to both inputs as it is; where a gradient is waiting already, it is added. */
static void flow_through_join(Planner *p, int i, int side, int buffer)
{
    ModelFlow *flow = &p->plan->flow[i];
    int *gradient = &p->use[buffer].gradient;
    flow->dx[side] = flow->dy;
    if (*gradient < 0) {
        p->plan->slot[flow->dy].users++;
        *gradient = flow->dy;
        return;
    }
    flow->old[side] = *gradient;
    bool alone = p->plan->slot[*gradient].users == 1;
    flow->sum[side] = alone ? *gradient : take(p, p->use[buffer].floats);
    if (!alone)
        drop(p, *gradient);
    *gradient = flow->sum[side];
}

/* Does anything before a buffer have parameters? Node i writes buffer i + 1. */
static bool wants_gradient(const Model *model, int buffer)
{
    return buffer > 0 && model->nodes[buffer - 1].backward;
}

static void plan_node_backward(Planner *p, int i)
{
    const Model *model = p->model;
    const ModelNode *node = &model->nodes[i];
    ModelFlow *flow = &p->plan->flow[i];
    flow->dy = p->use[node->out].gradient;
    expect(flow->dy >= 0);
    if (node->layer)
        flow_through_layer(p, i);
    else {
        if (wants_gradient(model, node->in))
            flow_through_join(p, i, 0, node->in);
        if (wants_gradient(model, node->in2))
            flow_through_join(p, i, 1, node->in2);
    }
    drop(p, flow->dy);
}

static void plan_backward(Planner *p)
{
    const Model *model = p->model;
    int output = model->nodes[model->count - 1].out;
    p->plan->loss_gradient = loss_slot(p, output);
    p->use[output].gradient = p->plan->loss_gradient;
    for (int i = model->count - 1; i >= 0; i--) {
        p->plan->flow[i] = (ModelFlow){ -1, { -1, -1 }, { -1, -1 }, { -1, -1 } };
        if (!model->nodes[i].backward)
            continue;
        plan_node_backward(p, i);
        for (int buffer = 1; buffer < model->buffers; buffer++)
            if (p->use[buffer].kept_for == i && buffer != output &&
                p->plan->activation[buffer] >= 0)
                drop(p, p->plan->activation[buffer]);
    }
}

void model_plan(Model *model)
{
    ModelPlan *plan = &model->plan;
    plan->activation = mem_array(int, model->buffers);
    plan->flow = mem_array(ModelFlow, model->count);
    Planner planner = { model, plan, mem_array(BufferUse, model->buffers) };
    find_uses(&planner);
    plan->activation[0] = -1;
    plan->input = model->input_packed ? take(&planner, shape_stored(model->input)) : -1;
    plan_forward(&planner);
    plan_backward(&planner);
    mem_free(planner.use);
}

void model_plan_free(Model *model)
{
    mem_free(model->plan.activation);
    mem_free(model->plan.flow);
    mem_free(model->plan.slot);
    model->plan = (ModelPlan){ 0 };
}
