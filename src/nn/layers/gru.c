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

/* h = (1 - z) n + z h', n = tanh(xn + r hn), for units [k, k + part) of sample b. hn, the
 * candidate's recurrent product, is kept. */
static void cell_forward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t U = step->U, at = b * U + k;
    float *gates = step->gates + 3 * b * U + k;
    const float *recurrent = step->recurrent + 3 * b * U + k;
    Units r = units_load(gates, part), rr = units_load(recurrent, part),
          z = units_load(gates + U, part), rz = units_load(recurrent + U, part),
          n = units_load(gates + 2 * U, part), hn = units_load(recurrent + 2 * U, part),
          h = units_load(step->h_before + at, part);
    for (int j = 0; j < UNITS; j++) {
        r.at[j] = vmath_sigmoid(r.at[j] + rr.at[j]);
        z.at[j] = vmath_sigmoid(z.at[j] + rz.at[j]);
        n.at[j] = vmath_tanh(n.at[j] + r.at[j] * hn.at[j]);
        h.at[j] = (1 - z.at[j]) * n.at[j] + z.at[j] * h.at[j];
    }
    units_store(gates, &r, part);
    units_store(gates + U, &z, part);
    units_store(gates + 2 * U, &n, part);
    units_store(step->kept + at, &hn, part);
    units_store(step->h + at, &h, part);
}

/* The candidate's recurrent product is behind the reset gate: its gradient is r times that of the
 * input product. */
static void cell_backward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t U = step->U, at = b * U + k;
    const float *gates = step->gates + 3 * b * U + k;
    float *dgates = step->dgates + 3 * b * U + k, *drecurrent = step->drecurrent + 3 * b * U + k;
    Units r = units_load(gates, part), z = units_load(gates + U, part),
          n = units_load(gates + 2 * U, part), hn = units_load(step->kept + at, part),
          before = units_load(step->h_before + at, part), dh = units_load(step->dh + at, part),
          carry, dn;
    for (int j = 0; j < UNITS; j++) {
        dn.at[j] = dh.at[j] * (1 - z.at[j]) * (1 - n.at[j] * n.at[j]);
        carry.at[j] = dh.at[j] * z.at[j];
        z.at[j] = dh.at[j] * (before.at[j] - n.at[j]) * (z.at[j] * (1 - z.at[j]));
        n.at[j] = dn.at[j] * r.at[j];
        r.at[j] = dn.at[j] * hn.at[j] * (r.at[j] * (1 - r.at[j]));
    }
    units_store(dgates, &r, part);
    units_store(dgates + U, &z, part);
    units_store(dgates + 2 * U, &dn, part);
    units_store(drecurrent, &r, part);
    units_store(drecurrent + U, &z, part);
    units_store(drecurrent + 2 * U, &n, part);
    units_store(step->carry + at, &carry, part);
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
