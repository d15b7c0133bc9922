/* Multi-head self-attention: every position of a sequence looks at the others (or, causal, at those
 * up to itself) and takes a weighted mean of what they hold. This file is the layer: options,
 * projections, which head lies where. The heads themselves are in src/nn/kernels/attention.c, and
 * docs/attention.md tells how they are computed.
 *
 * Tensors are those of torch.nn.MultiheadAttention: rows of in_proj_weight are those of the
 * queries, then keys, then values; head h owns columns h D .. of each, D = F / heads.
 *
 * The batch is cut into chunks of about CHUNK_ROWS positions, so that what a projection gives is
 * still in the cache when the heads read it. */
#include "../kernels/attention.h"
#include "../image.h"
#include "lockstep/layer.h"
#include "lockstep/linear.h"
#include "lockstep/memory.h"

#include <limits.h>
#include <string.h>

enum {
    CHUNK_ROWS = 256, /* positions */
    MAX_FEATURES = 1 << 14,
    IN_WEIGHT = 0, /* tensors */
    OUT_WEIGHT = 1,
    IN_BIAS = 2,
    OUT_BIAS = 3,
};

typedef struct AttentionOptions {
    int heads, padding;
    bool causal, bias;
    double dropout;
} AttentionOptions;

static const Option attention_options[] = {
    { "heads", OPTION_INT, OPTION_AT(AttentionOptions, heads), 1, 4096, NULL, NULL,
      "so many attentions side by side, each on its share of the features" },
    { "causal", OPTION_BOOL, OPTION_AT(AttentionOptions, causal), 0, 0, NULL, "false",
      "a position sees itself and what is before it" },
    { "bias", OPTION_BOOL, OPTION_AT(AttentionOptions, bias), 0, 0, NULL, "true",
      "both projections add a bias" },
    { "dropout", OPTION_FLOAT, OPTION_AT(AttentionOptions, dropout), 0, 0.999, NULL, "0",
      "probability that a position is not seen, while training" },
    { "padding", OPTION_INT, OPTION_AT(AttentionOptions, padding), -1, INT_MAX, NULL, "-1",
      "token id that nobody sees; -1: none" },
    OPTION_END,
};

typedef struct AttentionState {
    Linear in, out; /* the projections, (F) -> (3 F) and (F) -> (F) */
    float *qkv;     /* (B, T, 3 F) */
    float *mixed;   /* (B, T, F): the heads' results, before the output projection */
    float *logsum;  /* (B, heads, T) */
    bool *hidden;   /* (T): of one sample */
} AttentionState;

static size_t positions(const Layer *layer)
{
    return (size_t)layer->in.dim[0];
}

static size_t features(const Layer *layer)
{
    return (size_t)layer->in.dim[1];
}

static int head_features(const Layer *layer)
{
    const AttentionOptions *options = layer->options;
    return layer->in.dim[1] / options->heads;
}

static bool check(const Layer *layer, Err *err)
{
    const AttentionOptions *options = layer->options;
    if (layer->in.ndim != 2)
        return err_set(err, "it needs a sequence (T, F)");
    int T = layer->in.dim[0], F = layer->in.dim[1];
    if (F % options->heads != 0)
        return err_set(err, "heads: %d must divide the %d features", options->heads, F);
    if (F > MAX_FEATURES)
        return err_set(err, "%d features are too many, at most %d", F, MAX_FEATURES);
    if (options->padding >= 0 && layer->tokens != T)
        return err_set(err,
                       "padding: the network's input must be one token id for each of the %d "
                       "positions",
                       T);
    return true;
}

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const AttentionOptions *options = layer->options;
    if (!check(layer, err))
        return false;
    int T = layer->in.dim[0], F = layer->in.dim[1];
    layer_add_tensor(layer, layout, "in_proj_weight", 2, (int[]){ 3 * F, F }, 0, F, 3 * F, NULL);
    layer_add_tensor(layer, layout, "out_proj_weight", 2, (int[]){ F, F }, 0, F, F, NULL);
    if (options->bias) {
        layer_add_tensor(layer, layout, "in_proj_bias", 1, (int[]){ 3 * F }, 0, F, 3 * F, "zeros");
        layer_add_tensor(layer, layout, "out_proj_bias", 1, (int[]){ F }, 0, F, F, "zeros");
    }
    layer->out = layer->in;
    layer->flops = 8.0 * T * F * F + 4.0 * T * T * F;
    return true;
}

/* ---- memory ---- */

static void allocate(Layer *layer, int max_batch)
{
    const AttentionOptions *options = layer->options;
    AttentionState *state = mem_new(AttentionState);
    size_t T = positions(layer), rows = (size_t)max_batch * T, F = features(layer);
    size_t sums = rows * (size_t)options->heads;
    linear_init(&state->in, layer->in.dim[1], 3 * layer->in.dim[1], layer->precision,
                !layer->first);
    linear_init(&state->out, layer->in.dim[1], layer->in.dim[1], layer->precision, true);
    state->qkv = mem_array(float, rows * 3 * F);
    state->mixed = mem_array(float, rows *F);
    state->logsum = mem_array(float, sums);
    state->hidden = mem_array(bool, T);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + (rows * 4 * F + sums) * sizeof(float) + T +
                               linear_bytes(&state->in) + linear_bytes(&state->out);
}

static void release(Layer *layer)
{
    AttentionState *state = layer->state;
    if (!state)
        return;
    linear_free(&state->in);
    linear_free(&state->out);
    mem_free(state->qkv);
    mem_free(state->mixed);
    mem_free(state->logsum);
    mem_free(state->hidden);
    mem_free(state);
    layer->state = NULL;
}

static int chunk_samples(const Layer *layer)
{
    int samples = CHUNK_ROWS / layer->in.dim[0];
    return samples > 1 ? samples : 1;
}

/* What lies at layer->scratch. */
typedef struct Workspace {
    float *head;   /* attention_scratch; linear_scratch while no head is computed */
    float *dmixed; /* (chunk, T, F) */
    float *dqkv;   /* (B, T, 3 F) */
} Workspace;

static size_t whole_lines(size_t floats)
{
    return (floats + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
}

/* Heads and projections take turns. */
static size_t shared_floats(const Layer *layer, int max_batch)
{
    int rows = max_batch * layer->in.dim[0], F = layer->in.dim[1];
    size_t needs[] = { attention_scratch(layer->in.dim[0], head_features(layer)),
                       linear_scratch(F, 3 * F, layer->precision, rows),
                       linear_scratch(F, F, layer->precision, rows) };
    size_t most = 0;
    for (int i = 0; i < 3; i++)
        most = needs[i] > most ? needs[i] : most;
    return whole_lines(most);
}

static size_t chunk_floats(const Layer *layer)
{
    return whole_lines((size_t)chunk_samples(layer) * positions(layer) * features(layer));
}

static size_t scratch(const Layer *layer, int max_batch)
{
    size_t rows = (size_t)max_batch * positions(layer);
    return shared_floats(layer, max_batch) + chunk_floats(layer) + rows * 3 * features(layer);
}

static Workspace workspace(const Layer *layer)
{
    Workspace space = { .head = layer->scratch };
    space.dmixed = space.head + shared_floats(layer, layer->max_batch);
    space.dqkv = space.dmixed + chunk_floats(layer);
    return space;
}

/* ---- heads ---- */

/* Marks the padding among the keys of a sample; NULL if nothing is hidden. */
static const bool *hide(const Layer *layer, const Pass *pass, int sample)
{
    const AttentionOptions *options = layer->options;
    const AttentionState *state = layer->state;
    size_t T = positions(layer);
    if (options->padding < 0)
        return NULL;
    for (size_t t = 0; t < T; t++)
        state->hidden[t] = pass->tokens[(size_t)sample * T + t] == options->padding;
    return state->hidden;
}

/* Which of its probabilities a head drops: its own run of words of the stream (seed, dropout, step,
 * layer), by the sample's place in the global batch. */
static AttentionDropout dropout_of(const Layer *layer, const Pass *pass, int sample, int head)
{
    const AttentionOptions *options = layer->options;
    uint64_t number = (uint64_t)(pass->first_sample + sample) * (uint64_t)options->heads;
    return (AttentionDropout){
        .p = pass_drops(pass) ? options->dropout : 0,
        .key = random_key(pass->seed, RANDOM_DROPOUT, (uint64_t)pass->step, (uint64_t)layer->index),
        .first_word = (number + (uint64_t)head) * attention_words(layer->in.dim[0]),
    };
}

/* Floats from a head's first to the next head's, in (B, T, row); 0 behind the last one. */
static size_t next_head(const Layer *layer, const Pass *pass, int sample, int head, size_t row)
{
    const AttentionOptions *options = layer->options;
    size_t D = (size_t)head_features(layer);
    if (head + 1 < options->heads)
        return D;
    return sample + 1 < pass->batch ? positions(layer) * row + D - features(layer) : 0;
}

static AttentionHead head_of(const Layer *layer, const Pass *pass, int sample, int head)
{
    const AttentionOptions *options = layer->options;
    const AttentionState *state = layer->state;
    int D = head_features(layer);
    size_t T = positions(layer), F = features(layer);
    const float *q = state->qkv + (size_t)sample * T * 3 * F + (size_t)head * (size_t)D;
    return (AttentionHead){
        .T = layer->in.dim[0],
        .D = D,
        .causal = options->causal,
        .q = q,
        .k = q + F,
        .v = q + 2 * F,
        .row = 3 * F,
        .next = next_head(layer, pass, sample, head, 3 * F),
        .dropout = dropout_of(layer, pass, sample, head),
        .scratch = workspace(layer).head,
    };
}

/* Floats in (B, T, F) before a head's first. */
static size_t mixed_at(const Layer *layer, int sample, int head)
{
    return (size_t)sample * positions(layer) * features(layer) +
           (size_t)head * (size_t)head_features(layer);
}

static float *logsum_of(const Layer *layer, int sample, int head)
{
    const AttentionOptions *options = layer->options;
    const AttentionState *state = layer->state;
    return state->logsum +
           ((size_t)sample * (size_t)options->heads + (size_t)head) * positions(layer);
}

static void heads_forward(const Layer *layer, const Pass *pass, int sample)
{
    const AttentionOptions *options = layer->options;
    const AttentionState *state = layer->state;
    const bool *hidden = hide(layer, pass, sample);
    for (int h = 0; h < options->heads; h++) {
        AttentionHead head = head_of(layer, pass, sample, h);
        head.hidden = hidden;
        attention_forward(&head, state->mixed + mixed_at(layer, sample, h), features(layer),
                          logsum_of(layer, sample, h));
    }
}

/* dmixed (T, F) of this sample */
static void heads_backward(const Layer *layer, const Pass *pass, int sample, const float *dmixed)
{
    const AttentionOptions *options = layer->options;
    const AttentionState *state = layer->state;
    const bool *hidden = hide(layer, pass, sample);
    size_t F = features(layer);
    for (int h = 0; h < options->heads; h++) {
        AttentionHead head = head_of(layer, pass, sample, h);
        float *dq = workspace(layer).dqkv + (head.q - state->qkv);
        head.hidden = hidden;
        attention_backward(&head, &(AttentionGradient){
                                      .out = state->mixed + mixed_at(layer, sample, h),
                                      .dout = dmixed + mixed_at(layer, 0, h),
                                      .out_row = F,
                                      .next_out = next_head(layer, pass, sample, h, F),
                                      .logsum = logsum_of(layer, sample, h),
                                      .dq = dq,
                                      .dk = dq + F,
                                      .dv = dq + 2 * F,
                                  });
    }
}

/* ---- the layer ---- */

static void begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    AttentionState *state = layer->state;
    linear_weights(&state->in, layer->tensors[IN_WEIGHT].w);
    linear_weights(&state->out, layer->tensors[OUT_WEIGHT].w);
}

/* What follows a projection: its bias, if there is one. */
static ProductEnd add_bias(const Layer *layer, int tensor)
{
    return (ProductEnd){ .bias = layer->tensor_count > tensor ? layer->tensors[tensor].w : NULL };
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const AttentionState *state = layer->state;
    const ProductEnd in = add_bias(layer, IN_BIAS), out = add_bias(layer, OUT_BIAS);
    int chunk = chunk_samples(layer);
    for (int first = 0; first < pass->batch; first += chunk) {
        int samples = least(chunk, pass->batch - first), rows = samples * layer->in.dim[0];
        size_t at = mixed_at(layer, first, 0);
        linear_forward(&state->in, rows, x + at, &in, state->qkv + 3 * at, layer->scratch);
        for (int sample = first; sample < first + samples; sample++)
            heads_forward(layer, pass, sample);
        linear_forward(&state->out, rows, state->mixed + at, &out, y + at, layer->scratch);
    }
}

/* dw and db of both projections */
static void weight_gradients(const Layer *layer, int batch, const float *x, const float *dy)
{
    const AttentionState *state = layer->state;
    const LayerTensor *tensors = layer->tensors;
    const float *dqkv = workspace(layer).dqkv;
    int rows = batch * layer->in.dim[0], F = layer->in.dim[1];
    linear_weight_gradient(&state->out, rows, state->mixed, dy, false, tensors[OUT_WEIGHT].dw,
                           layer->scratch);
    linear_weight_gradient(&state->in, rows, x, dqkv, false, tensors[IN_WEIGHT].dw, layer->scratch);
    if (layer->tensor_count > IN_BIAS) {
        matmul_column_sums(rows, 3 * F, dqkv, false, tensors[IN_BIAS].dw);
        matmul_column_sums(rows, F, dy, false, tensors[OUT_BIAS].dw);
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)y;
    const AttentionState *state = layer->state;
    Workspace space = workspace(layer);
    int chunk = chunk_samples(layer);
    for (int first = 0; first < pass->batch; first += chunk) {
        int samples = least(chunk, pass->batch - first), rows = samples * layer->in.dim[0];
        size_t at = mixed_at(layer, first, 0);
        linear_data_gradient(&state->out, rows, dy + at, space.dmixed, layer->scratch);
        for (int i = 0; i < samples; i++)
            heads_backward(layer, pass, first + i, space.dmixed + mixed_at(layer, i, 0));
        if (dx)
            linear_data_gradient(&state->in, rows, space.dqkv + 3 * at, dx + at, layer->scratch);
    }
    weight_gradients(layer, pass->batch, x, dy);
}

extern const LayerType ISA_NAME(layer_attention);
const LayerType ISA_NAME(layer_attention) = {
    .name = "attention",
    .help = "multi-head self-attention over a sequence",
    .formula = "y = [softmax(Q K^T / sqrt(D)) V of each head] W_out^T + b_out, "
               "(Q, K, V) = x W_in^T + b_in",
    .source = "Vaswani et al. 2017",
    .options = attention_options,
    .options_bytes = sizeof(AttentionOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .scratch = scratch,
    .begin_step = begin_step,
    .forward = forward,
    .backward = backward,
    .keep_x = true,
};
