/* Long short-term memory: beside its state h a cell c, which changes only by what the input gate
 * lets in and the forget gate lets go, so that gradients reach far back. Gates in PyTorch's order:
 * input, forget, candidate, output. */
#include "../recurrent.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef struct LstmOptions {
    RecurrentOptions base;
} LstmOptions;

static const Option options[] = {
    RECURRENT_OPTIONS(LstmOptions),
    OPTION_END,
};

/* c = f c' + i g, h = o tanh(c) */
static void forward_sample(size_t U, float *gates, const float *recurrent,
                           const float *restrict c_before, float *restrict c, float *restrict h)
{
    float *restrict i = gates, *restrict f = gates + U, *restrict g = gates + 2 * U,
                    *restrict o = gates + 3 * U;
    const float *restrict ri = recurrent, *restrict rf = recurrent + U,
                          *restrict rg = recurrent + 2 * U, *restrict ro = recurrent + 3 * U;
    for (size_t k = 0; k < U; k++) {
        i[k] = vmath_sigmoid(i[k] + ri[k]);
        f[k] = vmath_sigmoid(f[k] + rf[k]);
        g[k] = vmath_tanh(g[k] + rg[k]);
        o[k] = vmath_sigmoid(o[k] + ro[k]);
        c[k] = f[k] * c_before[k] + i[k] * g[k];
        h[k] = o[k] * vmath_tanh(c[k]);
    }
}

static void cell_forward(const RecurrentStep *step)
{
    size_t U = step->U;
    for (size_t b = 0; b < step->B; b++)
        forward_sample(U, step->gates + b * 4 * U, step->recurrent + b * 4 * U,
                       step->kept_before + b * U, step->kept + b * U, step->h + b * U);
}

/* With t = tanh(c): dc += dh o (1 - t^2), and what each gate's function makes of its gradient. */
static void backward_sample(const RecurrentStep *step, size_t b)
{
    size_t U = step->U;
    const float *gates = step->gates + b * 4 * U;
    const float *restrict i = gates, *restrict f = gates + U, *restrict g = gates + 2 * U,
                          *restrict o = gates + 3 * U, *restrict c = step->kept + b * U,
                          *restrict c_before = step->kept_before + b * U,
                          *restrict dh = step->dh + b * U;
    float *dgates = step->dgates + b * 4 * U;
    float *restrict di = dgates, *restrict df = dgates + U, *restrict dg = dgates + 2 * U,
                    *restrict d_o = dgates + 3 * U, *restrict carry = step->carry + b * U;
    for (size_t k = 0; k < U; k++) {
        float t = vmath_tanh(c[k]), dc = carry[k] + dh[k] * o[k] * (1 - t * t);
        di[k] = dc * g[k] * (i[k] * (1 - i[k]));
        df[k] = dc * c_before[k] * (f[k] * (1 - f[k]));
        dg[k] = dc * i[k] * (1 - g[k] * g[k]);
        d_o[k] = dh[k] * t * (o[k] * (1 - o[k]));
        carry[k] = dc * f[k];
    }
}

static void cell_backward(const RecurrentStep *step)
{
    for (size_t b = 0; b < step->B; b++)
        backward_sample(step, b);
}

static const RecurrentCell cell = {
    .gates = 4,
    .keeps = true,
    .carry = CARRY_KEPT,
    .forward = cell_forward,
    .backward = cell_backward,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    return recurrent_plan(layer, &cell, layout, err);
}

extern const LayerType ISA_NAME(layer_lstm);
const LayerType ISA_NAME(layer_lstm) = {
    .name = "lstm",
    .help = "long short-term memory: recurrent, with a cell that gates write and forget",
    .formula = "c_t = f c_(t-1) + i g, h_t = o tanh(c_t); i, f, o = sigmoid and g = tanh of "
               "x_t W_ih^T + b_ih + h_(t-1) W_hh^T + b_hh",
    .source = "Hochreiter and Schmidhuber 1997, Gers et al. 2000",
    .options = options,
    .options_bytes = sizeof(LstmOptions),
    .plan = plan,
    .allocate = recurrent_allocate,
    .release = recurrent_release,
    .scratch = recurrent_scratch,
    .begin_step = recurrent_begin_step,
    .forward = recurrent_forward,
    .backward = recurrent_backward,
    .keep_x = true,
};
