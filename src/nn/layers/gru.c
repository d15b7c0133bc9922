/* Gated recurrent unit: the state moves towards a candidate as far as the update gate lets it; the
 * reset gate says how much of the old state the candidate sees. Gates in PyTorch's order: reset,
 * update, candidate. As there, and in cuDNN, the reset gate is applied behind the product with
 * W_hh; Cho et al. 2014 apply it before. */
#include "../recurrent.h"
#include "lockstep/cpu.h"
#include "lockstep/vmath.h"

typedef struct GruOptions {
    RecurrentOptions base;
} GruOptions;

static const Option options[] = {
    RECURRENT_OPTIONS(GruOptions),
    OPTION_END,
};

/* h = (1 - z) n + z h', n = tanh(xn + r hn). hn, the candidate's recurrent product, is kept. */
static void forward_sample(const RecurrentStep *step, size_t b)
{
    size_t U = step->U;
    float *gates = step->gates + b * 3 * U;
    const float *recurrent = step->recurrent + b * 3 * U;
    float *restrict r = gates, *restrict z = gates + U, *restrict n = gates + 2 * U,
                    *restrict hn = step->kept + b * U, *restrict h = step->h + b * U;
    const float *restrict rr = recurrent, *restrict rz = recurrent + U,
                          *restrict rn = recurrent + 2 * U,
                          *restrict h_before = step->h_before + b * U;
    for (size_t k = 0; k < U; k++) {
        r[k] = vmath_sigmoid(r[k] + rr[k]);
        z[k] = vmath_sigmoid(z[k] + rz[k]);
        n[k] = vmath_tanh(n[k] + r[k] * rn[k]);
        hn[k] = rn[k];
        h[k] = (1 - z[k]) * n[k] + z[k] * h_before[k];
    }
}

static void cell_forward(const RecurrentStep *step)
{
    for (size_t b = 0; b < step->B; b++)
        forward_sample(step, b);
}

/* The candidate's part of the recurrent product is behind the reset gate: its gradient is r times
 * that of the input product. */
static void backward_sample(const RecurrentStep *step, size_t b)
{
    size_t U = step->U;
    const float *gates = step->gates + b * 3 * U;
    const float *restrict r = gates, *restrict z = gates + U, *restrict n = gates + 2 * U,
                          *restrict hn = step->kept + b * U,
                          *restrict h_before = step->h_before + b * U,
                          *restrict dh = step->dh + b * U;
    float *dgates = step->dgates + b * 3 * U, *drecurrent = step->drecurrent + b * 3 * U;
    float *restrict dr = dgates, *restrict dz = dgates + U, *restrict dn = dgates + 2 * U,
                    *restrict drr = drecurrent, *restrict drz = drecurrent + U,
                    *restrict drn = drecurrent + 2 * U, *restrict carry = step->carry + b * U;
    for (size_t k = 0; k < U; k++) {
        float candidate = dh[k] * (1 - z[k]) * (1 - n[k] * n[k]);
        float reset = candidate * hn[k] * (r[k] * (1 - r[k]));
        float update = dh[k] * (h_before[k] - n[k]) * (z[k] * (1 - z[k]));
        dr[k] = drr[k] = reset;
        dz[k] = drz[k] = update;
        dn[k] = candidate;
        drn[k] = candidate * r[k];
        carry[k] = dh[k] * z[k];
    }
}

static void cell_backward(const RecurrentStep *step)
{
    for (size_t b = 0; b < step->B; b++)
        backward_sample(step, b);
}

static const RecurrentCell cell = {
    .gates = 3,
    .keeps = true,
    .splits = true,
    .carry = CARRY_HIDDEN,
    .forward = cell_forward,
    .backward = cell_backward,
};

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    return recurrent_plan(layer, &cell, layout, err);
}

extern const LayerType ISA_NAME(layer_gru);
const LayerType ISA_NAME(layer_gru) = {
    .name = "gru",
    .help = "gated recurrent unit: recurrent, two gates and no second state",
    .formula = "h_t = (1 - z) n + z h_(t-1), n = tanh(x_t W_in^T + b_in + r (h_(t-1) W_hn^T + "
               "b_hn)); r, z = sigmoid of x_t W_ih^T + b_ih + h_(t-1) W_hh^T + b_hh",
    .source = "Cho et al. 2014",
    .options = options,
    .options_bytes = sizeof(GruOptions),
    .plan = plan,
    .allocate = recurrent_allocate,
    .release = recurrent_release,
    .scratch = recurrent_scratch,
    .begin_step = recurrent_begin_step,
    .forward = recurrent_forward,
    .backward = recurrent_backward,
    .keep_x = true,
};
