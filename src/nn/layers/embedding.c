/* Embedding: each token is the number of a row of the weights, its vector. Takes (T) token ids and
 * gives (T, F).
 *
 *   y_t = s w[token_t], dw[v] = s sum of dy_t over the positions with token_t = v
 *
 * backward sorts the positions of the batch by token, so a row of dw is written once, as a sum in
 * the order of positions, whatever the size of the vocabulary. Rows of tokens that do not occur
 * become zero; a tied head's part of dw (LayerTensor.shared) is added to instead. */
#include "lockstep/cpu.h"
#include "lockstep/layer.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

typedef struct EmbeddingOptions {
    int features, padding;
    bool scale;
} EmbeddingOptions;

typedef struct EmbeddingState {
    int *start;     /* (V + 1): of token v, positions[start[v]] .. positions[start[v + 1] - 1] */
    int *positions; /* (B T), sorted by token; in order for the same token */
} EmbeddingState;

static const Option options[] = {
    { "features", OPTION_INT, OPTION_AT(EmbeddingOptions, features), 1, 1 << 20, NULL, NULL,
      "F: numbers in a token's vector" },
    { "scale", OPTION_BOOL, OPTION_AT(EmbeddingOptions, scale), 0, 0, NULL, "false",
      "multiplies by sqrt(F) (Vaswani et al. 2017, section 3.4)" },
    { "padding", OPTION_INT, OPTION_AT(EmbeddingOptions, padding), -1, 1 << 24, NULL, "-1",
      "a token whose vector gets no gradient here; -1: none" },
    OPTION_END,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const EmbeddingOptions *embedding = layer->options;
    int T = layer->in.dim[0], V = layer->in.vocabulary, F = embedding->features;
    if (V == 0)
        return err_set(err, "it needs token ids, which a data set of text gives");
    if ((double)V * F > INT32_MAX)
        return err_set(err, "%.3g weights are too many", (double)V * F);
    if (embedding->padding >= V)
        return err_set(err, "padding: %d is not one of its %d tokens", embedding->padding, V);
    layer->out = (Shape){ .ndim = 2, .dim = { T, F, 1 } };
    layer_add_tensor(layer, layout, "weight", 2, (int[]){ V, F }, 0, F, F, NULL);
    return true;
}

static void allocate(Layer *layer, int max_batch)
{
    EmbeddingState *state = mem_new(EmbeddingState);
    size_t starts = (size_t)layer->in.vocabulary + 1;
    size_t positions = (size_t)layer->in.dim[0] * (size_t)max_batch;
    state->start = mem_array(int, starts);
    state->positions = mem_array(int, positions);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + (starts + positions) * sizeof(int);
}

static void release(Layer *layer)
{
    EmbeddingState *state = layer->state;
    mem_free(state->start);
    mem_free(state->positions);
    mem_free(state);
    layer->state = NULL;
}

static float factor(const Layer *layer)
{
    const EmbeddingOptions *embedding = layer->options;
    return embedding->scale ? (float)sqrt((double)embedding->features) : 1;
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    (void)x;
    int V = layer->in.vocabulary, positions = pass->batch * layer->in.dim[0];
    size_t F = (size_t)shape_features(layer->out);
    float s = factor(layer);
    for (int t = 0; t < positions; t++, y += F) {
        int token = pass->tokens[t];
        expect(token >= 0 && token < V);
        const float *w = layer->tensors[0].w + (size_t)token * F;
        for (size_t i = 0; i < F; i++)
            y[i] = s * w[i];
    }
}

/* Counting sort: with start[v] the end of token v's run, filling from the last position on leaves
 * it at the run's start. */
static void sort_positions(const Layer *layer, const int32_t *tokens, int count)
{
    const EmbeddingState *state = layer->state;
    int V = layer->in.vocabulary, *start = state->start;
    memset(start, 0, (size_t)(V + 1) * sizeof *start);
    for (int t = 0; t < count; t++)
        start[tokens[t]]++;
    for (int v = 1; v <= V; v++)
        start[v] += start[v - 1];
    for (int t = count - 1; t >= 0; t--)
        state->positions[--start[tokens[t]]] = t;
}

/* dw (F) = or += s times the sum of `count` rows of dy, added in double. */
static void add_rows(const float *dy, size_t F, const int *positions, int count, float s,
                     bool shared, float *dw)
{
    enum { WIDTH = 64 };
    for (size_t first = 0; first < F; first += WIDTH) {
        double sum[WIDTH] = { 0 };
        size_t width = F - first < WIDTH ? F - first : WIDTH;
        for (int k = 0; k < count; k++) {
            const float *row = dy + (size_t)positions[k] * F + first;
            for (size_t i = 0; i < width; i++)
                sum[i] += (double)row[i];
        }
        for (size_t i = 0; i < width; i++)
            dw[first + i] = s * (float)sum[i] + (shared ? dw[first + i] : 0);
    }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    (void)dx;
    const EmbeddingOptions *embedding = layer->options;
    const EmbeddingState *state = layer->state;
    const LayerTensor *weight = &layer->tensors[0];
    size_t F = (size_t)shape_features(layer->out);
    float s = factor(layer);
    sort_positions(layer, pass->tokens, pass->batch * layer->in.dim[0]);
    for (int v = 0; v < layer->in.vocabulary; v++) {
        int first = state->start[v], count = state->start[v + 1] - first;
        if (v == embedding->padding)
            count = 0;
        if (count > 0 || !weight->shared)
            add_rows(dy, F, state->positions + first, count, s, weight->shared,
                     weight->dw + (size_t)v * F);
    }
}

extern const LayerType ISA_NAME(layer_embedding);
const LayerType ISA_NAME(layer_embedding) = {
    .name = "embedding",
    .help = "a learned vector for each token",
    .formula = "y_t = s w[token_t]",
    .source = "Bengio et al. 2003",
    .options = options,
    .options_bytes = sizeof(EmbeddingOptions),
    .plan = plan,
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .takes_tokens = true,
    .shares = true,
};
