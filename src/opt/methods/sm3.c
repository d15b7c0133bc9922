/* SM3: AdaGrad with one accumulator for every index of every dimension, Anil et al. 2019. In the
 * form of the PyTorch port: an element's second moment is the smallest accumulator of its indices
 * plus g^2, an accumulator becomes the largest of its elements; beta above 0 lets them fade. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"

#include <math.h>
#include <string.h>

typedef struct Sm3Options {
    double momentum, beta, eps;
} Sm3Options;

static const Option options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(Sm3Options, momentum), 0, 0.9999999, NULL, "0.9",
      "decay of the mean of steps; 0: none" },
    { "beta", OPTION_FLOAT, OPTION_AT(Sm3Options, beta), 0, 0.9999999, NULL, "0",
      "decay of the second moments; 0: they only grow, as in AdaGrad" },
    { "eps", OPTION_FLOAT, OPTION_AT(Sm3Options, eps), 1e-38, 1, NULL, "1e-30",
      "added under the root" },
    OPTION_END,
};

static unsigned state_mask(const void *options_pointer)
{
    const Sm3Options *o = options_pointer;
    return o->momentum > 0;
}

static int buffers(const void *options_pointer, const LayoutTensor *shape, OptimizerBuffer *list)
{
    static const char *const names[] = { "accumulator_0", "accumulator_1", "accumulator_2",
                                         "accumulator_3" };
    (void)options_pointer;
    for (int d = 0; d < shape->ndim; d++)
        list[d] = (OptimizerBuffer){ names[d], BUFFER_FLOAT, (size_t)shape->shape[d] };
    return shape->ndim;
}

static size_t scratch(const void *options_pointer, const LayoutTensor *shape)
{
    size_t n = 0;
    (void)options_pointer;
    for (int d = 0; d < shape->ndim; d++)
        n += (size_t)shape->shape[d];
    return n * sizeof(float);
}

/* Scalars of a step, and the step of one element. */
typedef struct Sm3Step {
    float scale, decay, lr, mu, gain, keep, take, eps;
} Sm3Step;

static inline float element(const Sm3Step *s, const OptimizerTensor *t, size_t i, float least)
{
    float d = s->scale * t->g[i] + s->decay * t->w[i];
    float second = s->keep * least + s->take * d * d;
    float u = d / sqrtf(second + s->eps);
    if (t->state[0])
        u = t->state[0][i] = s->mu * t->state[0][i] + s->gain * u;
    t->w[i] -= s->lr * u;
    return second;
}

static inline float smaller(float a, float b)
{
    return a < b ? a : b;
}

static inline void raise_to(float *to, float value)
{
    if (value > *to)
        *to = value;
}

/* All elements as (A, B, C, D): dimensions of 1 in front. */
static void all_elements(const Sm3Step *s, const OptimizerTensor *t, float *old[4], float *new[4],
                         const size_t size[4])
{
    size_t i = 0;
    for (size_t a = 0; a < size[0]; a++)
        for (size_t b = 0; b < size[1]; b++)
            for (size_t c = 0; c < size[2]; c++) {
                float least = smaller(smaller(old[0][a], old[1][b]), old[2][c]), largest = 0;
                for (size_t d = 0; d < size[3]; d++, i++) {
                    float second = element(s, t, i, smaller(least, old[3][d]));
                    raise_to(&new[3][d], second);
                    raise_to(&largest, second);
                }
                raise_to(&new[0][a], largest);
                raise_to(&new[1][b], largest);
                raise_to(&new[2][c], largest);
            }
}

static void update_tensor(const void *options_pointer, const TensorStep *step,
                          const OptimizerTensor *t)
{
    const Sm3Options *o = options_pointer;
    const Sm3Step s = { .scale = (float)step->scale,
                        .decay = (float)step->weight_decay,
                        .lr = (float)step->lr,
                        .mu = (float)o->momentum,
                        .gain = (float)(1 - o->momentum),
                        .keep = (float)(o->beta > 0 ? o->beta : 1),
                        .take = (float)(1 - o->beta),
                        .eps = (float)o->eps };
    float infinite = INFINITY, nowhere[4] = { 0 }, *old[4], *new[4], *free_scratch = t->scratch;
    size_t size[4] = { 1, 1, 1, 1 };
    int front = 4 - t->shape->ndim;
    for (int d = 0; d < 4; d++) {
        old[d] = d < front ? &infinite : t->buffer[d - front];
        new[d] = d < front ? &nowhere[d] : free_scratch;
        if (d < front)
            continue;
        size[d] = (size_t)t->shape->shape[d - front];
        free_scratch += size[d];
        for (size_t i = 0; i < size[d]; i++)
            new[d][i] = o->beta > 0 ? old[d][i] : 0;
    }
    all_elements(&s, t, old, new, size);
    for (int d = front; d < 4; d++)
        memcpy(old[d], new[d], size[d] * sizeof(float));
}

extern const OptimizerType ISA_NAME(optimizer_sm3);
const OptimizerType ISA_NAME(optimizer_sm3) = {
    .name = "sm3",
    .help = "AdaGrad with an accumulator for every row and column instead of every weight (lr 0.1, "
            "no weight_decay, no clip_norm)",
    .formula =
        "v = min over dimensions of the accumulators + g^2; each accumulator = max of its v; "
        "m = mu m + (1 - mu) g / sqrt(v + eps); w -= lr m",
    .source = "Anil et al. 2019",
    .options = options,
    .options_bytes = sizeof(Sm3Options),
    .flops = 10,
    .states = 1,
    .state_names = { "momentum" },
    .default_lr = 0.1,
    .clip_epsilon = 1e-6,
    .state_mask = state_mask,
    .update_tensor = update_tensor,
    .buffers = buffers,
    .scratch = scratch,
};
