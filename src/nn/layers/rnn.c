/* The simple recurrent layer: the state is a squashed sum of what comes in and of what it was. */
#include "../recurrent.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

enum { SQUASH_TANH, SQUASH_RELU };

typedef struct RnnOptions {
    RecurrentOptions base;
    int activation;
} RnnOptions;

static const Option options[] = {
    RECURRENT_OPTIONS(RnnOptions),
    { "activation", OPTION_CHOICE, OPTION_AT(RnnOptions, activation), 0, 0, "tanh|relu", "tanh",
      "what the sum goes through" },
    OPTION_END,
};

static void tanh_forward(const RecurrentStep *step)
{
    const float *restrict input = step->gates, *restrict recurrent = step->recurrent;
    float *restrict h = step->h;
    for (size_t b = 0; b < step->B; b++, input += step->U, recurrent += step->U, h += step->U)
        for (size_t i = 0; i < step->U; i++)
            h[i] = vmath_tanh(input[i] + recurrent[i]);
}

/* dh (1 - h^2) */
static void tanh_backward(const RecurrentStep *step)
{
    const float *restrict h = step->h, *restrict dh = step->dh;
    float *restrict d = step->dgates;
    for (size_t b = 0; b < step->B; b++, h += step->U, dh += step->U, d += step->U)
        for (size_t i = 0; i < step->U; i++)
            d[i] = dh[i] * (1 - h[i] * h[i]);
}

static void relu_forward(const RecurrentStep *step)
{
    const float *restrict input = step->gates, *restrict recurrent = step->recurrent;
    float *restrict h = step->h;
    for (size_t i = 0; i < step->B * step->U; i++) {
        float sum = input[i] + recurrent[i];
        h[i] = sum < 0 ? 0 : sum; /* NaN stays NaN */
    }
}

static void relu_backward(const RecurrentStep *step)
{
    const float *restrict h = step->h, *restrict dh = step->dh;
    float *restrict d = step->dgates;
    for (size_t i = 0; i < step->B * step->U; i++)
        d[i] = h[i] <= 0 ? 0 : dh[i];
}

static const RecurrentCell cells[] = {
    [SQUASH_TANH] = { .gates = 1, .forward = tanh_forward, .backward = tanh_backward },
    [SQUASH_RELU] = { .gates = 1, .forward = relu_forward, .backward = relu_backward },
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    const RnnOptions *rnn = layer->options;
    return recurrent_plan(layer, &cells[rnn->activation], layout, err);
}

extern const LayerType ISA_NAME(layer_rnn);
const LayerType ISA_NAME(layer_rnn) = {
    .name = "rnn",
    .help = "recurrent: reads a sequence step by step and keeps a state",
    .formula = "h_t = tanh(x_t W_ih^T + b_ih + h_(t-1) W_hh^T + b_hh), or relu of it",
    .source = "Elman 1990",
    .options = options,
    .options_bytes = sizeof(RnnOptions),
    .plan = plan,
    .allocate = recurrent_allocate,
    .release = recurrent_release,
    .scratch = recurrent_scratch,
    .begin_step = recurrent_begin_step,
    .forward = recurrent_forward,
    .backward = recurrent_backward,
    .keep_x = true,
};
