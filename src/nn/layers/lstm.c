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

/* c = f c' + i g, h = o tanh(c), for units [k, k + part) of sample b */
static void cell_forward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t U = step->U, at = b * U + k;
    float *gates = step->gates + 4 * b * U + k;
    const float *recurrent = step->recurrent + 4 * b * U + k;
    Units i = units_load(gates, part), ri = units_load(recurrent, part),
          f = units_load(gates + U, part), rf = units_load(recurrent + U, part),
          g = units_load(gates + 2 * U, part), rg = units_load(recurrent + 2 * U, part),
          o = units_load(gates + 3 * U, part), ro = units_load(recurrent + 3 * U, part),
          c = units_load(step->kept_before + at, part), h;
    for (int j = 0; j < UNITS; j++) {
        i.at[j] = vmath_sigmoid(i.at[j] + ri.at[j]);
        f.at[j] = vmath_sigmoid(f.at[j] + rf.at[j]);
        g.at[j] = vmath_tanh(g.at[j] + rg.at[j]);
        o.at[j] = vmath_sigmoid(o.at[j] + ro.at[j]);
        c.at[j] = f.at[j] * c.at[j] + i.at[j] * g.at[j];
        h.at[j] = o.at[j] * vmath_tanh(c.at[j]);
    }
    units_store(gates, &i, part);
    units_store(gates + U, &f, part);
    units_store(gates + 2 * U, &g, part);
    units_store(gates + 3 * U, &o, part);
    units_store(step->kept + at, &c, part);
    units_store(step->h + at, &h, part);
}

/* With t = tanh(c): dc += dh o (1 - t^2), and what each gate's function makes of its gradient. */
static void cell_backward(const RecurrentStep *step, size_t b, size_t k, size_t part)
{
    const size_t U = step->U, at = b * U + k;
    const float *gates = step->gates + 4 * b * U + k;
    float *dgates = step->dgates + 4 * b * U + k;
    Units i = units_load(gates, part), f = units_load(gates + U, part),
          g = units_load(gates + 2 * U, part), o = units_load(gates + 3 * U, part),
          c = units_load(step->kept + at, part), before = units_load(step->kept_before + at, part),
          dh = units_load(step->dh + at, part), carry = units_load(step->carry + at, part);
    for (int j = 0; j < UNITS; j++) {
        float t = vmath_tanh(c.at[j]), dc = carry.at[j] + dh.at[j] * o.at[j] * (1 - t * t);
        carry.at[j] = dc * f.at[j];
        f.at[j] = dc * before.at[j] * (f.at[j] * (1 - f.at[j]));
        o.at[j] = dh.at[j] * t * (o.at[j] * (1 - o.at[j]));
        float di = dc * g.at[j] * (i.at[j] * (1 - i.at[j]));
        g.at[j] = dc * i.at[j] * (1 - g.at[j] * g.at[j]);
        i.at[j] = di;
    }
    units_store(dgates, &i, part);
    units_store(dgates + U, &f, part);
    units_store(dgates + 2 * U, &g, part);
    units_store(dgates + 3 * U, &o, part);
    units_store(step->carry + at, &carry, part);
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
