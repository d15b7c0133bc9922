/* Which weights have no scale: those whose product goes into a normalisation and nowhere else, as
 * it comes or through layers that pass a factor on (a relu, a pool). */
#include "lockstep/model.h"

static int readers(const Model *model, int buffer)
{
    int count = 0;
    for (int i = 0; i < model->count; i++)
        count += (model->nodes[i].in == buffer) + (model->nodes[i].in2 == buffer);
    return count;
}

/* The node that writes a buffer which one node alone reads, or NULL. */
static const ModelNode *only_writer(const Model *model, int buffer)
{
    for (int i = 0; i < model->count; i++)
        if (model->nodes[i].out == buffer && !model->nodes[i].fused && model->nodes[i].layer)
            return readers(model, buffer) == 1 ? &model->nodes[i] : NULL;
    return NULL;
}

/* A bias is a factor's business too, unless the normalisation takes it out again: what is added to
 * a channel, right in front of it. */
static bool has_no_scale(const Layer *layer, Normalizes how, bool direct)
{
    const LayerTensor *w = layer->tensors;
    bool plain = layer->tensor_count == 1 || (direct && how == NORMALIZES_CHANNELS);
    return layer->type->linear && plain && !w->frozen && !w->tied && !w->shared;
}

/* Backward from a normalisation. */
static void mark_behind(const Model *model, const ModelNode *norm, bool *tensors)
{
    const ModelNode *node = only_writer(model, norm->in);
    bool direct = true;
    while (node && node->layer->type->homogeneous && !node->layer->epilogue.add) {
        node = only_writer(model, node->in);
        direct = false;
    }
    if (node && has_no_scale(node->layer, norm->layer->type->normalizes, direct))
        tensors[node->layer->tensors[0].index] = true;
}

void model_scale_invariant(const Model *model, bool *tensors)
{
    for (int i = 0; i < model->layout.count; i++)
        tensors[i] = false;
    for (int i = 0; i < model->count; i++) {
        const ModelNode *node = &model->nodes[i];
        if (node->layer && !node->fused && node->layer->type->normalizes != NORMALIZES_NOTHING)
            mark_behind(model, node, tensors);
    }
}
