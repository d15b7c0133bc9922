/* Which nodes do their neighbours' work in their own pass over memory:
 *
 *   batchnorm, relu            one pass writes relu(f(x))
 *   batchnorm, join[, relu]    one pass writes f(x) + shortcut, or relu of it
 *   batchnorm, relu, join      relu(f(x)) + shortcut
 *   relu, maxpool              the pool takes the relu of its maxima, which is the maximum of relus
 *   batchnorm, maxpool         planes go to the pool from the cache
 *
 * and, generally, what a type says that it fuses (layer.h). A join is fused with the node right
 * before it, so that the other side is there when that node runs. A node whose work is done
 * elsewhere stays in the list for its name, without buffers. */
#include "lockstep/model.h"

static int readers(const Model *model, int buffer)
{
    int count = 0;
    for (int i = 0; i < model->count; i++)
        count += (model->nodes[i].in == buffer) + (model->nodes[i].in2 == buffer);
    return count;
}

static void give_up(ModelNode *node)
{
    node->fused = true;
    node->in = node->in2 = node->out = -1;
}

/* `node` does what `next` did to its result. */
static void absorb(ModelNode *node, ModelNode *next)
{
    node->out = next->out;
    node->shape = next->shape;
    give_up(next);
}

static bool is_relu(const ModelNode *node)
{
    return node->layer && node->layer->type->is_relu;
}

static bool fuse_join(ModelNode *node, ModelNode *join)
{
    LayerEpilogue *epilogue = &node->layer->epilogue;
    bool reads = (join->in == node->out) != (join->in2 == node->out);
    if (join->layer || !reads || !node->layer->type->fuses_add || epilogue->add ||
        join->backward != node->backward) /* only the shortcut is trained */
        return false;
    node->in2 = join->in == node->out ? join->in2 : join->in;
    epilogue->add = true;
    if (epilogue->relu == RECTIFY_LAST)
        epilogue->relu = RECTIFY_FIRST;
    absorb(node, join);
    return true;
}

static bool fuse_relu(ModelNode *node, ModelNode *relu)
{
    LayerEpilogue *epilogue = &node->layer->epilogue;
    if (!is_relu(relu) || relu->in != node->out || !node->layer->type->fuses_relu ||
        epilogue->relu != RECTIFY_NONE)
        return false;
    epilogue->relu = RECTIFY_LAST;
    absorb(node, relu);
    return true;
}

static bool fuse_pool(ModelNode *node, ModelNode *pool)
{
    LayerEpilogue *epilogue = &node->layer->epilogue;
    if (!pool->layer || !pool->layer->type->forward_plane || pool->in != node->out ||
        !node->layer->type->fuses_pool || epilogue->relu != RECTIFY_NONE || epilogue->add)
        return false;
    epilogue->pool = pool->layer;
    absorb(node, pool);
    return true;
}

/* Nodes follow one another in the list: what reads node i alone and can be fused is next. */
static void fuse_behind(Model *model, int i)
{
    ModelNode *node = &model->nodes[i];
    for (int k = i + 1; k < model->count && readers(model, node->out) == 1; k++) {
        ModelNode *next = &model->nodes[k];
        bool left = next->fused; /* a relu that its pool has taken */
        if (!left && !fuse_join(node, next) && !fuse_relu(node, next) && !fuse_pool(node, next))
            return;
        if (node->layer->epilogue.pool)
            return;
    }
}

/* A relu that only a pool of maxima reads: there it is taken of fewer values. */
static void fuse_before(Model *model, int i)
{
    ModelNode *relu = &model->nodes[i], *next = relu + 1;
    if (i + 1 == model->count || !is_relu(relu) || readers(model, relu->out) != 1 ||
        next->in != relu->out || !next->layer || !next->layer->type->relu_commutes)
        return;
    next->layer->epilogue.relu = RECTIFY_LAST;
    next->in = relu->in;
    give_up(relu);
}

void model_fuse(Model *model)
{
    for (int i = 0; i < model->count; i++)
        fuse_before(model, i);
    for (int i = 0; i < model->count; i++)
        if (model->nodes[i].layer && !model->nodes[i].fused && !model->nodes[i].alias)
            fuse_behind(model, i);
}
