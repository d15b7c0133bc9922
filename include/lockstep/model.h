/* A network: the config's list of layers, made flat. `residual` becomes its body, its shortcut and
 * a join; `repeat` is unrolled. Buffers are planned once, before training.
 *
 *   model:
 *     init: he_normal
 *     zero_gamma: true
 *     layers:
 *       - conv2d: {channels: 32, kernel: 3, name: stem}
 *       - relu
 *       - repeat: {times: 2, body: [{residual: {body: [...], shortcut: [...]}}, relu]}
 *       - global_avgpool
 *       - dense: 10
 *
 * An entry is a layer's name or a map of one key: the layer and its options. A layer without `name`
 * is called by its path: "0.conv2d", "2.repeat.1.0.residual.body.3.batchnorm"; a name inside a
 * repeat gets the round: "conv.0", "conv.1". */
#ifndef LOCKSTEP_MODEL_H
#define LOCKSTEP_MODEL_H

#include "lockstep/layer.h"
#include "lockstep/loss.h"
#include "lockstep/timeline.h"

/* One operation: y = layer(x), or y = a + b when layer is NULL (the join of a residual block). A
 * buffer is written by one node and read by the nodes behind it. A layer with in2 has a join fused
 * to it: y = layer(x) + b (LayerEpilogue). */
typedef struct ModelNode {
    Layer *layer;
    int in, in2; /* buffers; in2 = -1 unless there is a join */
    int out;
    Shape shape;   /* of out */
    bool backward; /* there are parameters in it or before it */
    bool alias;    /* flattens the plain input: out is the input, nothing is computed */
    bool fused;    /* a neighbour does its work; it has no buffers */
} ModelNode;

/* How a gradient reaches a node's inputs: the node writes dx; if another reader's gradient is there
 * already, sum = old + dx, or the node that wrote the buffer takes both (dy2). Numbers are slots;
 * -1: none. For a join, dx is dy itself; for a fused one dx[1] is dz or dy. */
typedef struct ModelFlow {
    int dy, dy2, dz;
    int dx[2], old[2], sum[2];
} ModelFlow;

/* Where everything lives: buffers and gradients share slots of one arena, each slot used again as
 * soon as nobody reads its content any more. What backward reads stays until it has read it. */
typedef struct ModelPlan {
    int *activation;   /* per buffer: slot; -1: the network's input */
    ModelFlow *flow;   /* per node */
    int input;         /* slot of the packed input image; -1 if the input is used as it comes */
    int loss_gradient; /* slot */
    int slots;
    size_t capacity;
    struct ModelSlot {
        size_t floats; /* per sample */
        int users;     /* while planning */
    } * slot;
} ModelPlan;

typedef struct ModelOptions {
    char *init; /* default initialiser */
    bool zero_gamma;
    ConfigNode *layers; /* borrowed */
} ModelOptions;

/* Seconds that a node has taken so far; model_forward and model_backward add to them. */
typedef struct ModelTimes {
    double forward, backward;
} ModelTimes;

/* Training samples, for initialisers that look at the data. */
typedef struct SampleSource {
    /* Writes the values of a sample, (C, H, W) or (F), as the network sees it but not augmented. */
    void (*read)(void *context, int64_t sample, float *x);
    void *context;
    int64_t count; /* 0: there are none */
} SampleSource;

/* Somebody who is told of every node that backward has come past. */
typedef struct ModelWatcher {
    void (*passed)(void *context, int node); /* NULL: nobody */
    void *context;
} ModelWatcher;

typedef struct Model {
    ModelOptions options;
    ModelNode *nodes;
    int count;
    size_t capacity;
    int buffers; /* buffer 0 is the input */
    Shape input, output;
    bool input_packed; /* buffer 0 is a copy in stored order, not the batch's own memory */
    Loss loss;
    Layout layout;        /* sealed by model_build */
    SampleSource samples; /* set by the caller before model_initialize; borrowed */
    float *w, *dw;        /* arenas bound now; borrowed */
    ModelPlan plan;
    int max_batch;      /* from here on: set by model_allocate */
    void *memory;       /* the one arena behind the slots */
    float *scratch;     /* what all layers share, at the arena's end */
    float **slots;      /* slot -> memory */
    const float *x;     /* buffer 0 of the last forward */
    ModelTimes *times;  /* per node, if somebody wants them; borrowed */
    Timeline *timeline; /* a span per layer, or NULL; borrowed */
    ModelWatcher watcher;
    size_t activation_bytes;
} Model;

extern const Option model_options[]; /* {layers, init, zero_gamma} */

/* What the data set and the run want of a network. */
typedef struct ModelWish {
    Shape input;
    Shape output; /* ndim 0: any */
    Precision precision;
    bool apart; /* nothing is fused: every node is a pass of its own */
    bool sides; /* apart, and layers can keep sides (Pass.sides) */
} ModelWish;

/* Builds from the map `model: {layers: [...], init: ..., zero_gamma: ...}` and `loss`. Infers and
 * checks every shape: an impossible net is an error that names the layer, its input shape and what
 * it needs. config must outlive the model. After an error there is nothing to free. */
bool model_build(Model *model, const Config *config, ConfigNode *node, ConfigNode *loss_node,
                 const ModelWish *wish, Err *err);

/* Tells every layer the samples in a full lane; false if that does not suit one of them. After
 * model_build, before model_allocate. */
bool model_check_lanes(Model *model, int lane_size, Err *err);

/* Plans buffers for micro-batches of up to max_batch samples. */
void model_allocate(Model *model, int max_batch);
size_t model_plan_bytes(const Model *model, int max_batch); /* what its arena takes, in bytes */
void model_free(Model *model);                              /* of a zeroed model: nothing happens */

/* Fills w (layout.n floats, padding included): weights by their initialisers, keyed by seed (and by
 * model->samples for those that look at the data); running statistics at their start values. */
bool model_initialize(const Model *model, uint64_t seed, float *w, Err *err);

/* Points the layers at a weight arena and a gradient arena (dw may be NULL for evaluation). */
void model_bind(Model *model, float *w, float *dw);

/* Tells all layers that the weights are new and how many samples the coming step has in all (0: an
 * evaluation follows, -1: one with backward). Once per step, before its first lane, after
 * model_bind. */
void model_begin_step(Model *model, int global_batch);

/* Runs one micro-batch of pass->batch = batch->count >= 1 samples. Returns the loss sums (only the
 * count if the batch has neither labels nor targets). With pass->train or pass->backward the layers
 * keep what backward needs. */
Tally model_forward(Model *model, const Batch *batch, const Pass *pass);

/* After such a forward of the same batch, which must still be there: writes the lane's gradient
 * (of the sum of the losses over pass->global_targets) and statistic increments to the bound dw;
 * padding is left alone. Where two nodes read a buffer, the later node's gradient is the left
 * summand. */
void model_backward(Model *model, const Batch *batch, const Pass *pass);

/* nodes[t] of each tensor of the layout: when backward has passed this node, its gradient or
 * increment is complete. */
void model_last_nodes(const Model *model, int *nodes);

/* tensors[t] of each tensor of the layout: a weight in front of a normalisation, that may be
 * multiplied by a positive number without changing what the network computes (but for eps), so that
 * lr / |w|^2 is what its learning rate means (van Laarhoven 2017). */
void model_scale_invariant(const Model *model, bool *tensors);

/* The outputs of the last forward: (B, F), (B, T, F) or stored images. Valid until the next forward
 * or backward: a training forward with labels may have left the loss gradient there. */
const float *model_output(const Model *model);

/* Sum of the layers' flops; forward, per sample. */
double model_flops(const Model *model);

/* Memory of the layers' own state (saved values, packed weights), in bytes; after model_allocate.
 * */
size_t model_state_bytes(const Model *model);

/* ---- between the files of the model ---- */
void model_fuse(Model *model); /* before model_plan */
void model_plan(Model *model);
void model_plan_free(Model *model);
int model_last_buffer(const Model *model); /* the network's output */

#endif
