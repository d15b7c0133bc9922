/* Where buffers and gradients live. One training step is walked through, forward and back; a slot
 * is taken for each array when it is first written and given back when nobody reads it any more.
 *
 *   forward   relu and its like write over their input where nobody else needs it, a join over
 *             either side
 *   backward  a join hands the same slot to both sides; a buffer with two readers gets a sum,
 *             unless the layer that wrote it takes two gradients (fuses_dy2)
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
    int writer;    /* node, -1: the input */
    int awaited;   /* gradients still to come from its readers */
    int gradient;  /* slot, or -1 */
    int second;    /* slot of a gradient that the writer is to add, or -1 */
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

static void find_node_uses(Planner *p, int i)
{
    const ModelNode *node = &p->model->nodes[i];
    p->use[node->out].floats = shape_stored(node->shape);
    p->use[node->out].writer = i;
    p->use[node->in].last_use = i;
    p->use[node->in].awaited += node->backward;
    if (node->in2 >= 0) {
        p->use[node->in2].last_use = i;
        p->use[node->in2].awaited += node->backward;
    }
    if (node->layer && node->backward && node->layer->type->keep_x)
        keep(p, node->in, i);
    if (node->layer && node->backward && layer_keeps_y(node->layer))
        keep(p, node->out, i);
}

static void find_uses(Planner *p)
{
    const Model *model = p->model;
    for (int i = 0; i < model->buffers; i++)
        p->use[i] = (BufferUse){
            .last_use = -1, .kept_for = -1, .writer = -1, .gradient = -1, .second = -1
        };
    p->use[0].floats = shape_stored(model->input);
    for (int i = 0; i < model->count; i++)
        if (!model->nodes[i].fused)
            find_node_uses(p, i);
    p->use[model_last_buffer(model)].last_use = model->count;
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
    if ((!node->layer || node->layer->type->in_place) && may_overwrite(p, i, node->in))
        return node->in;
    return node->in2 >= 0 && may_overwrite(p, i, node->in2) ? node->in2 : -1;
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
        if (node->fused)
            continue;
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

/* Does anything before a buffer have parameters? Node i writes buffer i + 1. */
static bool wants_gradient(const Model *model, int buffer)
{
    return buffer > 0 && model->nodes[buffer - 1].backward;
}

/* May the writer of a buffer take the gradient that comes now beside the one that is there? */
static bool leaves_second(Planner *p, BufferUse *use)
{
    const Layer *writer = use->writer < 0 ? NULL : p->model->nodes[use->writer].layer;
    return use->gradient >= 0 && use->awaited == 0 && writer && writer->type->fuses_dy2 &&
           !writer->epilogue.pool;
}

/* A layer's dx, which nobody else holds, reaches its input. */
static void arrive_alone(Planner *p, int i, int buffer)
{
    ModelFlow *flow = &p->plan->flow[i];
    BufferUse *use = &p->use[buffer];
    use->awaited--;
    if (leaves_second(p, use)) {
        use->second = flow->dx[0];
        return;
    }
    if (use->gradient >= 0) {
        flow->old[0] = use->gradient;
        flow->sum[0] = flow->dx[0];
        drop(p, use->gradient);
    }
    use->gradient = flow->dx[0];
}

/* The gradient of a join reaches one of its sides as it is, in a slot that others may hold too;
 * where a gradient is waiting already, it is added. */
static void arrive_shared(Planner *p, int i, int side, int buffer, int slot)
{
    ModelFlow *flow = &p->plan->flow[i];
    BufferUse *use = &p->use[buffer];
    flow->dx[side] = slot;
    use->awaited--;
    if (use->gradient < 0 || leaves_second(p, use)) {
        p->plan->slot[slot].users++;
        *(use->gradient < 0 ? &use->gradient : &use->second) = slot;
        return;
    }
    flow->old[side] = use->gradient;
    bool alone = p->plan->slot[use->gradient].users == 1;
    flow->sum[side] = alone ? use->gradient : take(p, use->floats);
    if (!alone)
        drop(p, use->gradient);
    use->gradient = flow->sum[side];
}

/* Where a layer leaves the gradient of what its epilogue is computed from: over dy if nobody else
 * holds that. */
static int place_dz(Planner *p, int i)
{
    const ModelNode *node = &p->model->nodes[i];
    const ModelFlow *flow = &p->plan->flow[i];
    if (!layer_masks_by_y(node->layer) && flow->dy2 < 0)
        return -1;
    if (p->plan->slot[flow->dy].users > 1)
        return take(p, p->use[node->out].floats);
    p->plan->slot[flow->dy].users++;
    return flow->dy;
}

/* dx is written where dy was if the layer can and nobody reads that any more. */
static void flow_through_layer(Planner *p, int i)
{
    const ModelNode *node = &p->model->nodes[i];
    const LayerType *type = node->layer->type;
    ModelFlow *flow = &p->plan->flow[i];
    flow->dz = place_dz(p, i);
    int from = flow->dz >= 0 ? flow->dz : flow->dy;
    int own = flow->dz == flow->dy ? 2 : 1; /* holders of that slot that end with this node */
    if (node->in2 >= 0 && wants_gradient(p->model, node->in2))
        arrive_shared(p, i, 1, node->in2, from);
    if (!node->layer->first) {
        bool over = (type->in_place || type->dx_over_dy) && flow->dx[1] < 0 &&
                    !node->layer->epilogue.pool && p->plan->slot[from].users == own;
        if (over)
            p->plan->slot[from].users++;
        flow->dx[0] = over ? from : take(p, p->use[node->in].floats);
        arrive_alone(p, i, node->in);
    }
    if (flow->dz >= 0)
        drop(p, flow->dz);
}

static void plan_node_backward(Planner *p, int i)
{
    const Model *model = p->model;
    const ModelNode *node = &model->nodes[i];
    ModelFlow *flow = &p->plan->flow[i];
    flow->dy = p->use[node->out].gradient;
    flow->dy2 = p->use[node->out].second;
    expect(flow->dy >= 0);
    if (node->layer)
        flow_through_layer(p, i);
    else {
        if (wants_gradient(model, node->in))
            arrive_shared(p, i, 0, node->in, flow->dy);
        if (wants_gradient(model, node->in2))
            arrive_shared(p, i, 1, node->in2, flow->dy);
    }
    drop(p, flow->dy);
    if (flow->dy2 >= 0)
        drop(p, flow->dy2);
}

static void plan_backward(Planner *p)
{
    const Model *model = p->model;
    int output = model_last_buffer(model);
    p->plan->loss_gradient = loss_slot(p, output);
    p->use[output].gradient = p->plan->loss_gradient;
    for (int i = model->count - 1; i >= 0; i--) {
        p->plan->flow[i] = (ModelFlow){ -1, -1, -1, { -1, -1 }, { -1, -1 }, { -1, -1 } };
        if (!model->nodes[i].backward || model->nodes[i].fused)
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
