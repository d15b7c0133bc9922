/* Dropout: in training each value is zeroed with probability p and the others are scaled by 1 /
 * (1-p), so evaluation has nothing to do ("inverted" dropout).
 *
 * The word that decides over a value is number (sample in the global batch) * values + (place in
 * plain order) of the stream (seed, dropout, step, layer): neither lanes, ranks nor channel blocks
 * can be seen in it. */
#include "../elementwise.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <string.h>

typedef struct DropoutOptions {
    double p;
} DropoutOptions;

typedef struct DropoutState {
    uint8_t *kept; /* (B, stored): 1 where a value passed; 0 in missing channels */
} DropoutState;

static const Option options[] = {
    { "p", OPTION_FLOAT, OPTION_AT(DropoutOptions, p), 0, 0.999, NULL, "0.5",
      "probability that a value is dropped" },
    OPTION_END,
};

static void allocate(Layer *layer, int max_batch)
{
    DropoutState *state = mem_new(DropoutState);
    size_t bytes = shape_stored(layer->in) * (size_t)max_batch;
    state->kept = mem_alloc(bytes);
    layer->state = state;
    layer->state_bytes_total = sizeof *state + bytes;
}

static void release(Layer *layer)
{
    DropoutState *state = layer->state;
    mem_free(state->kept);
    mem_free(state);
    layer->state = NULL;
}

/* Words below this value drop: P = threshold / 2^32. */
static uint32_t threshold(double p)
{
    return (uint32_t)(p * 0x1p32);
}

/* kept[i * stride] for n consecutive words of the stream. */
static void draw(RandomKey key, uint64_t first, size_t n, uint32_t limit, uint8_t *kept,
                 size_t stride)
{
    uint32_t words[256];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < 256 ? n - done : 256;
        random_fill_words(key, first + done, words, count);
        for (size_t i = 0; i < count; i++)
            kept[(done + i) * stride] = words[i] >= limit;
        done += count;
    }
}

static void draw_sample(RandomKey key, uint64_t first, Shape shape, uint32_t limit, uint8_t *kept)
{
    enum { BLOCK = 16 };
    if (shape.ndim < 3) {
        draw(key, first, shape_values(shape), limit, kept, 1);
        return;
    }
    size_t pixels = (size_t)shape.dim[1] * (size_t)shape.dim[2];
    memset(kept, 0, shape_stored(shape));
    for (size_t c = 0; c < (size_t)shape.dim[0]; c++)
        draw(key, first + c * pixels, pixels, limit, kept + c / BLOCK * BLOCK * pixels + c % BLOCK,
             BLOCK);
}

static void draw_batch(const Layer *layer, const Pass *pass)
{
    const DropoutOptions *dropout = layer->options;
    const DropoutState *state = layer->state;
    RandomKey key =
        random_key(pass->seed, RANDOM_DROPOUT, (uint64_t)pass->step, (uint64_t)layer->index);
    uint64_t values = shape_values(layer->in);
    for (int i = 0; i < pass->batch; i++)
        draw_sample(key, (uint64_t)(pass->first_sample + i) * values, layer->in,
                    threshold(dropout->p), state->kept + (size_t)i * shape_stored(layer->in));
}

/* y = x scaled where kept, else 0. NaN that is dropped is gone. */
static void apply(const Layer *layer, const Pass *pass, const float *x, float *y)
{
    const DropoutOptions *dropout = layer->options;
    const DropoutState *state = layer->state;
    const uint8_t *kept = state->kept;
    float scale = (float)(1 / (1 - dropout->p));
    size_t n = elementwise_floats(layer, pass);
    for (size_t i = 0; i < n; i++) {
        float scaled = x[i] * scale;
        y[i] = kept[i] ? scaled : 0;
    }
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    if (pass_drops(pass)) {
        draw_batch(layer, pass);
        apply(layer, pass, x, y);
    } else if (y != x)
        memcpy(y, x, elementwise_floats(layer, pass) * sizeof *y);
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    if (dx && pass_drops(pass))
        apply(layer, pass, dy, dx);
    else if (dx && dx != dy)
        memcpy(dx, dy, elementwise_floats(layer, pass) * sizeof *dx);
}

extern const LayerType ISA_NAME(layer_dropout);
const LayerType ISA_NAME(layer_dropout) = {
    .name = "dropout",
    .help = "zeroes values at random while training",
    .formula = "y = m x / (1 - p), m = 0 with probability p; evaluation: y = x",
    .source = "Srivastava et al. 2014",
    .options = options,
    .options_bytes = sizeof(DropoutOptions),
    .plan = elementwise_plan,
    .allocate = allocate,
    .release = release,
    .forward = forward,
    .backward = backward,
    .in_place = true,
    .homogeneous = true,
};
