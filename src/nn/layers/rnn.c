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

static void tanh_forward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t at = b * step->U + k;
    Units h = units_load(step->gates + at, part), r = units_load(step->recurrent + at, part);
    for (int j = 0; j < UNITS; j++)
        h.at[j] = vmath_tanh(h.at[j] + r.at[j]);
    units_store(step->h + at, &h, part);
}

/* dh (1 - h^2) */
static void tanh_backward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t at = b * step->U + k;
    Units h = units_load(step->h + at, part), d = units_load(step->dh + at, part);
    for (int j = 0; j < UNITS; j++)
        d.at[j] = d.at[j] * (1 - h.at[j] * h.at[j]);
    units_store(step->dgates + at, &d, part);
}

static void relu_forward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t at = b * step->U + k;
    Units h = units_load(step->gates + at, part), r = units_load(step->recurrent + at, part);
    for (int j = 0; j < UNITS; j++) {
        float sum = h.at[j] + r.at[j];
        h.at[j] = sum < 0 ? 0 : sum; /* NaN stays NaN */
    }
    units_store(step->h + at, &h, part);
}

static void relu_backward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t at = b * step->U + k;
    Units h = units_load(step->h + at, part), d = units_load(step->dh + at, part);
    for (int j = 0; j < UNITS; j++)
        d.at[j] = h.at[j] <= 0 ? 0 : d.at[j];
    units_store(step->dgates + at, &d, part);
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
