/* A network: the config's list of layers, made flat. `residual` becomes its body, its shortcut and a
 * join; `repeat` is unrolled. Buffers are planned once, before training. */
#ifndef LOCKSTEP_MODEL_H
#define LOCKSTEP_MODEL_H

#include "lockstep/layer.h"
#include "lockstep/loss.h"

/* One operation: y = layer(x), or y = a + b when layer is NULL (the join of a residual block). */
typedef struct ModelNode {
    Layer *layer;
    int in, in2; /* buffers; in2 = -1 unless it is a join */
    int out;
    Shape shape; /* of out */
} ModelNode;

typedef struct Model {
    ModelNode *nodes;
    int count;
    size_t capacity;
    int buffers; /* buffer 0 is the input */
    Shape input, output;
    Loss loss;
    Layout layout; /* sealed by model_build */
    int max_batch;
    float *w, *dw;                    /* arenas bound now; borrowed */
    float **activations, **gradients; /* per buffer; owned */
    void *memory;                     /* the one arena behind them */
    size_t activation_bytes;
    const char *init; /* default initialiser; borrowed from the config */
    bool zero_gamma;
} Model;

/* Builds from the map `model: {layers: [...], init: ..., zero_gamma: ...}` and `loss`. Infers and checks
 * every shape: an impossible net is an error that names the layer, its input shape and what it needs.
 * `classes` > 0: the output must have that many values; 0: any. */
bool model_build(Model *model, const Config *config, ConfigNode *node, ConfigNode *loss_node,
                 Shape input, int outputs, Err *err);

/* Plans buffers for micro-batches of up to max_batch samples. */
void model_allocate(Model *model, int max_batch);
void model_free(Model *model);

/* Fills w (layout.n floats): weights by their initialisers, keyed by seed; running statistics at their
 * start values. */
bool model_initialize(const Model *model, uint64_t seed, float *w, Err *err);

/* Points the layers at a weight arena and a gradient arena (dw may be NULL for evaluation). */
void model_bind(Model *model, float *w, float *dw);

/* Tells all layers that the weights are new and how many samples the coming step has in all (0: an
 * evaluation follows). Once per step, before its first lane. */
void model_begin_step(Model *model, int global_batch);

/* Runs one micro-batch. Returns the loss sums. With pass->train the layers keep what backward needs. */
Tally model_forward(Model *model, const Batch *batch, const Pass *pass);

/* After a training forward of the same batch: writes the lane's gradient (of the sum of the losses over
 * pass->global_batch) and statistic increments to the bound dw; padding is left alone. */
void model_backward(Model *model, const Batch *batch, const Pass *pass);

/* The outputs of the last forward: (B, F). Borrowed. */
const float *model_output(const Model *model);

/* Sum of the layers' flops; forward, per sample. */
double model_flops(const Model *model);

#endif
