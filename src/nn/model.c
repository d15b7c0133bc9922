/* A network at work: memory, initial weights, forward and backward over the flat list of nodes. */
#include "lockstep/model.h"
#include "lockstep/clock.h"
#include "lockstep/initializer.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"
#include "whiten.h"

#include <string.h>

/* ---- memory ---- */

/* Floats of a slot, rounded up so that every slot starts on a cache line and whole lines may be
 * added. */
static size_t slot_floats(const Model *model, int slot, int max_batch)
{
    size_t floats = model->plan.slot[slot].floats * (size_t)max_batch;
    return (floats + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
}

static size_t arena_floats(const Model *model, int max_batch)
{
    size_t floats = 0;
    for (int i = 0; i < model->plan.slots; i++)
        floats += slot_floats(model, i, max_batch);
    return floats;
}

static size_t scratch_floats(const Model *model, int max_batch)
{
    size_t most = 0;
    for (int i = 0; i < model->count; i++) {
        const Layer *layer = model->nodes[i].layer;
        bool wants = layer && layer->type->scratch;
        size_t floats = wants ? layer->type->scratch(layer, max_batch) : 0;
        most = floats > most ? floats : most;
    }
    return most;
}

size_t model_plan_bytes(const Model *model, int max_batch)
{
    return (arena_floats(model, max_batch) + scratch_floats(model, max_batch)) * sizeof(float);
}

void model_allocate(Model *model, int max_batch)
{
    expect(!model->memory && max_batch >= 1);
    model->max_batch = max_batch;
    model->activation_bytes = model_plan_bytes(model, max_batch);
    model->memory = mem_alloc(model->activation_bytes);
    model->slots = mem_array(float *, model->plan.slots);
    float *next = model->memory;
    for (int i = 0; i < model->plan.slots; i++) {
        model->slots[i] = next;
        next += slot_floats(model, i, max_batch);
    }
    model->scratch = next;
    for (int i = 0; i < model->count; i++) {
        if (model->nodes[i].layer)
            layer_allocate(model->nodes[i].layer, max_batch, model->scratch);
    }
}

void model_free(Model *model)
{
    for (int i = 0; i < model->count; i++)
        layer_free(model->nodes[i].layer);
    mem_free(model->nodes);
    mem_free(model->memory);
    mem_free(model->slots);
    model_plan_free(model);
    layout_free(&model->layout);
    loss_free(&model->loss);
    options_free(model_options, &model->options);
    *model = (Model){ 0 };
}

/* ---- weights ---- */

/* Second moments of what a row of the tensor is multiplied with, or NULL: known for a convolution
 * of one group that reads the network's input. */
static double *input_moments(const Model *model, const ModelNode *node, const LayoutTensor *tensor)
{
    const int *shape = tensor->shape;
    bool image = node->in == 0 && model->input.ndim == 3 && tensor->ndim == 4 &&
                 shape[1] == model->input.dim[0] && shape[2] <= model->input.dim[1] &&
                 shape[3] <= model->input.dim[2];
    if (!image || model->samples.count == 0 || tensor->n / (size_t)shape[0] > WHITEN_MAX_VALUES)
        return NULL;
    return whiten_moments(&model->samples, model->input, shape[2], shape[3]);
}

static bool initialize_tensor(const Model *model, const ModelNode *node, const LayerTensor *tensor,
                              uint64_t seed, float *w, Err *err)
{
    const Layer *layer = node->layer;
    const LayoutTensor *place = &model->layout.tensors[tensor->index];
    const char *scheme = tensor->initializer;
    if (!scheme)
        scheme = layer->init ? layer->init : model->options.init;
    else if (layer->zero_init && !(place->flags & LAYOUT_STATISTIC))
        scheme = "zeros"; /* gain and bias of a norm */
    InitializerInput input = { .seed = seed,
                               .tensor = (uint64_t)tensor->index,
                               .fan_in = tensor->fan_in,
                               .fan_out = tensor->fan_out,
                               .rows = place->shape[0],
                               .columns = (int)(place->n / (size_t)place->shape[0]),
                               .kernel_h = place->ndim == 4 ? place->shape[2] : 1,
                               .kernel_w = place->ndim == 4 ? place->shape[3] : 1,
                               .groups = tensor->groups };
    double *moments = NULL;
    if (initializer_wants_moments(scheme))
        input.moments = moments = input_moments(model, node, place);
    bool ok = initializer_fill(scheme, &input, w + place->offset, err);
    mem_free(moments);
    return ok || err_prefix(err, "%s: ", place->name);
}

bool model_initialize(const Model *model, uint64_t seed, float *w, Err *err)
{
    memset(w, 0, model->layout.n * sizeof *w);
    for (int i = 0; i < model->count; i++) {
        const Layer *layer = model->nodes[i].layer;
        expect(!layer || !model->nodes[i].fused || layer->tensor_count == 0);
        for (int k = 0; layer && k < layer->tensor_count; k++)
            if (!layer->tensors[k].tied &&
                !initialize_tensor(model, &model->nodes[i], &layer->tensors[k], seed, w, err))
                return false;
    }
    return true;
}

void model_bind(Model *model, float *w, float *dw)
{
    model->w = w;
    model->dw = dw;
    for (int i = 0; i < model->count; i++) {
        Layer *layer = model->nodes[i].layer;
        for (int k = 0; layer && k < layer->tensor_count; k++) {
            size_t offset = model->layout.tensors[layer->tensors[k].index].offset;
            layer->tensors[k].w = w + offset;
            layer->tensors[k].dw = dw ? dw + offset : NULL;
        }
    }
}

void model_begin_step(Model *model, int global_batch)
{
    expect(model->w);
    for (int i = 0; i < model->count; i++) {
        Layer *layer = model->nodes[i].layer;
        if (layer && layer->type->begin_step)
            layer->type->begin_step(layer, &model->layout, global_batch);
    }
}

/* ---- a pass ---- */

static float *slot(const Model *model, int number)
{
    return number < 0 ? NULL : model->slots[number];
}

static const float *activation(const Model *model, int buffer)
{
    int number = model->plan.activation[buffer];
    return number < 0 ? model->x : model->slots[number];
}

int model_last_buffer(const Model *model)
{
    int last = model->count - 1;
    while (model->nodes[last].fused)
        last--;
    return model->nodes[last].out;
}

static void take_input(Model *model, const Batch *batch)
{
    model->x = batch->x;
    if (!model->input_packed)
        return;
    size_t plain = shape_values(model->input), stored = shape_stored(model->input);
    float *x = slot(model, model->plan.input);
    for (size_t i = 0; i < (size_t)batch->count; i++)
        shape_pack(model->input, batch->x + i * plain, x + i * stored);
    model->x = x;
}

/* y = a + b over B samples; slots end on whole lines, so the last line may be added whole. */
static void add(float *y, const float *a, const float *b, Shape shape, int batch)
{
    size_t n = shape_stored(shape) * (size_t)batch;
    kernels()->add(y, a, b, (n + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN);
}

static void node_forward(const Model *model, const ModelNode *node, const Pass *pass)
{
    const float *x = activation(model, node->in);
    float *y = slot(model, model->plan.activation[node->out]);
    if (!node->layer) {
        add(y, x, activation(model, node->in2), node->shape, pass->batch);
        return;
    }
    node->layer->epilogue.shortcut = node->in2 < 0 ? NULL : activation(model, node->in2);
    node->layer->type->forward(node->layer, pass, x, y);
}

/* For those who want to know how long nodes take. */
static double node_begins(const Model *model)
{
    return model->times || model->timeline ? clock_seconds() : 0;
}

static void node_ends(Model *model, int i, double start, bool backward)
{
    const Layer *layer = model->nodes[i].layer;
    if (!model->times && !model->timeline)
        return;
    double now = clock_seconds();
    if (model->times)
        *(backward ? &model->times[i].backward : &model->times[i].forward) += now - start;
    if (!model->nodes[i].fused)
        timeline_span(model->timeline, TRACK_LAYERS, layer ? layer->name : "join", backward, start,
                      now);
}

Tally model_forward(Model *model, const Batch *batch, const Pass *pass)
{
    expect(batch->count == pass->batch && pass->batch >= 1 && pass->batch <= model->max_batch);
    take_input(model, batch);
    for (int i = 0; i < model->count; i++) {
        double start = node_begins(model);
        if (!model->nodes[i].alias && !model->nodes[i].fused)
            node_forward(model, &model->nodes[i], pass);
        node_ends(model, i, start, false);
    }
    if (!batch->labels && !batch->targets)
        return (Tally){ .count = batch->count };
    float *dy = pass_keeps(pass) ? slot(model, model->plan.loss_gradient) : NULL;
    return model->loss.type->evaluate(&model->loss, pass, batch, model_output(model), dy);
}

static void layer_backward(const Model *model, const ModelNode *node, const ModelFlow *flow,
                           const Pass *pass)
{
    Layer *layer = node->layer;
    layer->epilogue.dy2 = slot(model, flow->dy2);
    layer->epilogue.dz = slot(model, flow->dz);
    layer->type->backward(layer, pass, layer->type->keep_x ? activation(model, node->in) : NULL,
                          layer_keeps_y(layer) ? activation(model, node->out) : NULL,
                          slot(model, flow->dy), slot(model, flow->dx[0]));
}

static void node_backward(const Model *model, int i, const Pass *pass)
{
    const ModelNode *node = &model->nodes[i];
    const ModelFlow *flow = &model->plan.flow[i];
    if (node->layer)
        layer_backward(model, node, flow, pass);
    for (int k = 0; k < 2;
         k++) { /* as the plan has it: a layer's shortcut comes before its input */
        int side = node->layer ? 1 - k : k;
        if (flow->old[side] < 0)
            continue;
        Shape shape = node->layer && side == 0 ? node->layer->in : node->shape;
        add(slot(model, flow->sum[side]), slot(model, flow->old[side]), slot(model, flow->dx[side]),
            shape, pass->batch);
    }
}

void model_backward(Model *model, const Batch *batch, const Pass *pass)
{
    expect(pass_keeps(pass) && model->dw && batch->count == pass->batch);
    for (int i = model->count - 1; i >= 0; i--) {
        double start = node_begins(model);
        if (model->nodes[i].backward && !model->nodes[i].fused)
            node_backward(model, i, pass);
        node_ends(model, i, start, true);
        if (model->watcher.passed)
            model->watcher.passed(model->watcher.context, i);
    }
}

/* Backward goes from the last node to the first; tied tensors belong to several. */
void model_last_nodes(const Model *model, int *nodes)
{
    for (int i = model->count - 1; i >= 0; i--) {
        const Layer *layer = model->nodes[i].layer;
        expect(!layer || !model->nodes[i].fused || layer->tensor_count == 0);
        for (int k = 0; layer && k < layer->tensor_count; k++)
            nodes[layer->tensors[k].index] = i;
    }
}

const float *model_output(const Model *model)
{
    return activation(model, model_last_buffer(model));
}

double model_flops(const Model *model)
{
    double flops = 0;
    for (int i = 0; i < model->count; i++)
        flops += model->nodes[i].layer ? model->nodes[i].layer->flops : 0;
    return flops;
}

size_t model_state_bytes(const Model *model)
{
    size_t bytes = 0;
    for (int i = 0; i < model->count; i++)
        bytes += model->nodes[i].layer ? model->nodes[i].layer->state_bytes_total : 0;
    return bytes;
}
