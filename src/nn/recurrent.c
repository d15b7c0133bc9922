/* Recurrent layers: everything but the arithmetic of their cells. Copies and sums here are plain;
 * products are those of linear.h, cells are in src/nn/layers. */
#include "recurrent.h"
#include "lockstep/initializer.h"
#include "lockstep/linear.h"
#include "lockstep/memory.h"

#include <limits.h>
#include <string.h>

enum { RESULT_SEQUENCE, RESULT_LAST };
enum { INITIAL_ZEROS, INITIAL_LEARNED };

/* Tensors: the weights, then those of BIAS_IH, BIAS_HH and of H0, C0 that the options ask for. */
enum { WEIGHT_IH, WEIGHT_HH, FIRST_OPTIONAL };

typedef struct RecurrentState {
    Linear input, recurrent; /* (F) -> (G U) and (U) -> (G U) */
    float *gates;            /* (T, B, G, U) */
    float *h;                /* (T + 1, B, U): row 0 is the start */
    float *kept;             /* (T + 1, B, U), or NULL */
} RecurrentState;

static const RecurrentOptions *options_of(const Layer *layer)
{
    return layer->options;
}

static size_t units(const Layer *layer)
{
    return (size_t)options_of(layer)->units;
}

static size_t steps(const Layer *layer)
{
    return (size_t)layer->in.dim[0];
}

static const RecurrentCell *cell_of(const Layer *layer)
{
    return options_of(layer)->cell;
}

static int gate_units(const Layer *layer)
{
    return cell_of(layer)->gates * options_of(layer)->units;
}

/* ---- plan ---- */

static bool check(const Layer *layer, Err *err)
{
    const RecurrentOptions *options = layer->options;
    Err reason;
    if (layer->in.ndim != 2)
        return err_set(err, "it needs a sequence (T, F)");
    double weights = ((double)layer->in.dim[1] + options->units) * gate_units(layer);
    if (weights > INT_MAX)
        return err_set(err, "%.3g weights are too many", weights);
    if (!initializer_check(options->recurrent_init, &reason))
        return err_set(err, "recurrent_init: %s", reason.text);
    return true;
}

static void add_vector(Layer *layer, Layout *layout, const char *name, int n)
{
    layer_add_tensor(layer, layout, name, 1, (int[]){ n }, 0, n, n, "zeros");
}

bool recurrent_plan(Layer *layer, const RecurrentCell *cell, Layout *layout, Err *err)
{
    RecurrentOptions *options = layer->options;
    options->cell = cell;
    if (!check(layer, err))
        return false;
    int T = layer->in.dim[0], F = layer->in.dim[1], U = options->units, GU = gate_units(layer);
    layer_add_tensor(layer, layout, "weight_ih", 2, (int[]){ GU, F }, 0, F, U, NULL);
    layer_add_tensor(layer, layout, "weight_hh", 2, (int[]){ GU, U }, 0, U, U,
                     options->recurrent_init);
    if (options->bias) {
        add_vector(layer, layout, "bias_ih", GU);
        add_vector(layer, layout, "bias_hh", GU);
    }
    if (options->initial == INITIAL_LEARNED)
        add_vector(layer, layout, "h0", U);
    if (options->initial == INITIAL_LEARNED && cell->carry == CARRY_KEPT)
        add_vector(layer, layout, "c0", U);
    layer->out = (Shape){ .ndim = 2, .dim = { T, U, 1 } };
    if (options->result == RESULT_LAST)
        layer->out = (Shape){ .ndim = 1, .dim = { U, 1, 1 } };
    layer->flops = 2.0 * T * GU * ((double)F + U);
    return true;
}

/* The biases of both products, or NULL. */
static const LayerTensor *biases(const Layer *layer)
{
    return options_of(layer)->bias ? &layer->tensors[FIRST_OPTIONAL] : NULL;
}

/* h0, behind it c0 of a cell that carries its kept state; or NULL */
static const LayerTensor *starts(const Layer *layer)
{
    const RecurrentOptions *options = layer->options;
    return options->initial == INITIAL_LEARNED
               ? &layer->tensors[FIRST_OPTIONAL + (options->bias ? 2 : 0)]
               : NULL;
}

/* ---- memory ---- */

void recurrent_allocate(Layer *layer, int max_batch)
{
    RecurrentState *state = mem_new(RecurrentState);
    int F = layer->in.dim[1], U = options_of(layer)->units, GU = gate_units(layer);
    size_t B = (size_t)max_batch, gates = steps(layer) * B * (size_t)GU,
           states = (steps(layer) + 1) * B * units(layer);
    linear_init(&state->input, F, GU, layer->precision, !layer->first);
    linear_init(&state->recurrent, U, GU, layer->precision, true);
    state->gates = mem_array(float, gates);
    state->h = mem_array(float, states);
    state->kept = cell_of(layer)->keeps ? mem_array(float, states) : NULL;
    layer->state = state;
    layer->state_bytes_total = sizeof *state +
                               (gates + (cell_of(layer)->keeps ? 2 : 1) * states) * sizeof(float) +
                               linear_bytes(&state->input) + linear_bytes(&state->recurrent);
}

void recurrent_release(Layer *layer)
{
    RecurrentState *state = layer->state;
    linear_free(&state->input);
    linear_free(&state->recurrent);
    mem_free(state->gates);
    mem_free(state->h);
    mem_free(state->kept);
    mem_free(state);
    layer->state = NULL;
}

/* What lies at layer->scratch. */
typedef struct Workspace {
    float *linear;     /* linear_scratch of either product */
    float *x;          /* (T, B, F): x in the order of the steps; dx at the end */
    float *dgates;     /* (T, B, G, U); in forward the recurrent product of a step, (B, G, U) */
    float *drecurrent; /* (T, B, G, U); dgates if the cell does not split */
    float *dh, *carry; /* (B, U) */
    size_t floats;     /* of it all */
} Workspace;

static float *take(Workspace *space, float *from, size_t floats)
{
    float *at = from ? from + space->floats : NULL;
    space->floats += (floats + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
    return at;
}

/* For max_batch samples, cut out of `from`; NULL: only the size is wanted. */
static Workspace workspace(const Layer *layer, int max_batch, float *from)
{
    Workspace space = { .floats = 0 };
    int rows = max_batch * layer->in.dim[0], F = layer->in.dim[1], GU = gate_units(layer);
    size_t gates = (size_t)rows * (size_t)GU, states = (size_t)max_batch * units(layer);
    size_t input = linear_scratch(F, GU, layer->precision, rows),
           recurrent = linear_scratch(options_of(layer)->units, GU, layer->precision, rows);
    space.linear = take(&space, from, input > recurrent ? input : recurrent);
    space.x = take(&space, from, (size_t)rows * (size_t)F);
    space.dgates = take(&space, from, gates);
    space.drecurrent = cell_of(layer)->splits ? take(&space, from, gates) : space.dgates;
    space.dh = take(&space, from, states);
    space.carry = take(&space, from, states);
    return space;
}

size_t recurrent_scratch(const Layer *layer, int max_batch)
{
    return workspace(layer, max_batch, NULL).floats;
}

/* ---- between (B, T, width) and the order of the steps, (T, B, width) ---- */

/* The position that a step reads. */
static size_t position(const Layer *layer, size_t step)
{
    return options_of(layer)->reverse ? steps(layer) - 1 - step : step;
}

static void to_steps(const Layer *layer, size_t B, size_t width, const float *x, float *steps_x)
{
    size_t T = steps(layer);
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++)
            memcpy(steps_x + (t * B + b) * width, x + (b * T + position(layer, t)) * width,
                   width * sizeof *x);
}

static void from_steps(const Layer *layer, size_t B, size_t width, const float *steps_x, float *x)
{
    size_t T = steps(layer);
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++)
            memcpy(x + (b * T + position(layer, t)) * width, steps_x + (t * B + b) * width,
                   width * sizeof *x);
}

/* ---- forward ---- */

void recurrent_begin_step(Layer *layer, Layout *layout, int global_batch)
{
    (void)layout;
    (void)global_batch;
    RecurrentState *state = layer->state;
    linear_weights(&state->input, layer->tensors[WEIGHT_IH].w);
    linear_weights(&state->recurrent, layer->tensors[WEIGHT_HH].w);
}

/* Rows of a start, all the same. */
static void set_start(size_t B, size_t U, const LayerTensor *start, float *state)
{
    for (size_t b = 0; b < B; b++) {
        if (start)
            memcpy(state + b * U, start->w, U * sizeof *state);
        else
            memset(state + b * U, 0, U * sizeof *state);
    }
}

static void set_starts(const Layer *layer, size_t B)
{
    const RecurrentState *state = layer->state;
    const LayerTensor *start = starts(layer);
    set_start(B, units(layer), start, state->h);
    if (cell_of(layer)->carry == CARRY_KEPT)
        set_start(B, units(layer), start ? start + 1 : NULL, state->kept);
}

/* The arrays of step t. */
static RecurrentStep step_of(const Layer *layer, const Workspace *space, size_t B, size_t t)
{
    const RecurrentState *state = layer->state;
    size_t U = units(layer), states = B * U, gates = states * (size_t)cell_of(layer)->gates;
    RecurrentStep step = { .B = B,
                           .U = U,
                           .gates = state->gates + t * gates,
                           .recurrent = space->dgates,
                           .h_before = state->h + t * states,
                           .h = state->h + (t + 1) * states,
                           .dh = space->dh,
                           .carry = space->carry,
                           .dgates = space->dgates + t * gates,
                           .drecurrent = space->drecurrent + t * gates };
    if (state->kept) {
        step.kept_before = state->kept + t * states;
        step.kept = state->kept + (t + 1) * states;
    }
    return step;
}

static void each_units(const RecurrentStep *step,
                       void (*function)(const RecurrentStep *step, size_t b, size_t k, size_t part))
{
    for (size_t b = 0; b < step->B; b++)
        for (size_t k = 0; k < step->U; k += UNITS)
            function(step, b, k, step->U - k < UNITS ? step->U - k : UNITS);
}

void recurrent_forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    const RecurrentState *state = layer->state;
    const Workspace space = workspace(layer, layer->max_batch, layer->scratch);
    const LayerTensor *bias = biases(layer);
    const ProductEnd input = { .bias = bias ? bias[0].w : NULL },
                     recurrent = { .bias = bias ? bias[1].w : NULL };
    size_t B = (size_t)pass->batch, U = units(layer), T = steps(layer);
    to_steps(layer, B, (size_t)layer->in.dim[1], x, space.x);
    linear_forward(&state->input, pass->batch * layer->in.dim[0], space.x, &input, state->gates,
                   space.linear);
    set_starts(layer, B);
    for (size_t t = 0; t < T; t++) {
        const RecurrentStep step = step_of(layer, &space, B, t);
        linear_forward(&state->recurrent, pass->batch, step.h_before, &recurrent, space.dgates,
                       space.linear);
        each_units(&step, cell_of(layer)->forward);
    }
    if (options_of(layer)->result == RESULT_LAST)
        memcpy(y, state->h + T * B * U, B * U * sizeof *y);
    else
        from_steps(layer, B, U, state->h + B * U, y);
}

/* ---- backward ---- */

static void add(float *to, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += x[i];
}

/* dh of a step += what the layer behind wants of it */
static void add_dy(const Layer *layer, size_t B, size_t t, const float *dy, float *dh)
{
    size_t U = units(layer), T = steps(layer);
    if (options_of(layer)->result == RESULT_SEQUENCE)
        for (size_t b = 0; b < B; b++)
            add(dh + b * U, dy + (b * T + position(layer, t)) * U, U);
    else if (t == T - 1)
        add(dh, dy, B * U);
}

/* All steps, last one first; leaves the gradients of the starts in dh and carry. */
static void through_time(const Layer *layer, const Workspace *space, int batch, const float *dy)
{
    const RecurrentState *state = layer->state;
    size_t B = (size_t)batch, n = B * units(layer);
    memset(space->dh, 0, n * sizeof *space->dh);
    memset(space->carry, 0, n * sizeof *space->carry);
    for (size_t t = steps(layer); t-- > 0;) {
        const RecurrentStep step = step_of(layer, space, B, t);
        add_dy(layer, B, t, dy, space->dh);
        each_units(&step, cell_of(layer)->backward);
        linear_data_gradient(&state->recurrent, batch, step.drecurrent, space->dh, space->linear);
        if (cell_of(layer)->carry == CARRY_HIDDEN)
            add(space->dh, space->carry, n);
    }
}

/* dw of a vector that was added to every row */
static void vector_gradient(const LayerTensor *tensor, int rows, size_t columns, const float *d)
{
    if (!tensor->frozen)
        matmul_column_sums(rows, (int)columns, d, false, tensor->dw);
}

static void gradients(const Layer *layer, const Workspace *space, int batch)
{
    const RecurrentState *state = layer->state;
    const LayerTensor *weights = layer->tensors, *bias = biases(layer), *start = starts(layer);
    int rows = batch * layer->in.dim[0];
    size_t GU = (size_t)state->recurrent.units;
    if (!weights[WEIGHT_IH].frozen) {
        linear_weight_gradient(&state->input, rows, space->x, space->dgates, false,
                               weights[WEIGHT_IH].dw, space->linear);
        linear_weight_gradient(&state->recurrent, rows, state->h, space->drecurrent, false,
                               weights[WEIGHT_HH].dw, space->linear);
    }
    if (bias) {
        vector_gradient(&bias[0], rows, GU, space->dgates);
        vector_gradient(&bias[1], rows, GU, space->drecurrent);
    }
    if (start)
        vector_gradient(&start[0], batch, units(layer), space->dh);
    if (start && cell_of(layer)->carry == CARRY_KEPT)
        vector_gradient(&start[1], batch, units(layer), space->carry);
}

void recurrent_backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                        const float *dy, float *dx)
{
    (void)y;
    const RecurrentState *state = layer->state;
    const Workspace space = workspace(layer, layer->max_batch, layer->scratch);
    size_t B = (size_t)pass->batch, F = (size_t)layer->in.dim[1];
    to_steps(layer, B, F, x, space.x);
    through_time(layer, &space, pass->batch, dy);
    gradients(layer, &space, pass->batch);
    if (!dx)
        return;
    linear_data_gradient(&state->input, pass->batch * layer->in.dim[0], space.dgates, space.x,
                         space.linear);
    from_steps(layer, B, F, space.x, dx);
}
