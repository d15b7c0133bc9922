/* From sums to what is written down of a probed step: values of the whole network and a row for
 * each tensor. Every rank makes the same, as the smoothed noise scale goes on from it. */
#include "probes_parts.h"

#include <math.h>

static void add_value(Probes *p, const char *key, double value)
{
    expect(p->record.value_count < PROBE_VALUES);
    p->values[p->record.value_count++] = (ProbeValue){ key, value };
}

static void add_row(Trainer *t, int tensor, const char *quantity, double value)
{
    Probes *p = t->probes;
    if (!p->settings->tensors)
        return;
    expect(p->record.row_count < t->model.layout.count * PROBE_ROWS);
    p->rows[p->record.row_count++] =
        (ProbeRow){ t->model.layout.tensors[tensor].name, quantity, value };
}

/* ---- sums ---- */

/* Blocks in order, as layout_tensor_sum does. */
static double tensor_sum(const Trainer *t, int tensor, ProbeSum sum)
{
    const LayoutTensor *shape = &t->model.layout.tensors[tensor];
    double total = 0;
    for (int block = shape->first_block; block < shape->first_block + shape->blocks; block++)
        total += t->probes->sums[block].of[sum];
    return total;
}

/* Over all probed tensors, in their order. */
static double total_sum(const Trainer *t, ProbeSum sum)
{
    double total = 0;
    for (int i = 0; i < t->model.layout.count; i++)
        if (is_probed(&t->model.layout, i))
            total += tensor_sum(t, i, sum);
    return total;
}

static double gradient_sum(const Trainer *t, int tensor)
{
    return layout_tensor_sum(&t->model.layout, tensor, optimizer_gradient_squares(&t->optimizer));
}

/* a b / (|a| |b|); nan if one of them is zero. */
static double cosine(double product, double a_sq, double b_sq)
{
    return product / (sqrt(a_sq) * sqrt(b_sq));
}

/* ---- noise ---- */

/* sum of n_i |g_i|^2: a lane's mean gradient g_i is N / n_i times its share h_i of the batch's. */
static double lane_sum(Trainer *t, int tensor, int samples)
{
    const double *squares = t->probes->lane_sq + tensor;
    double all = samples;
    for (int lane = 0; lane < t->lanes.count; lane++) {
        int n = lanes_samples(&t->lanes, lane, samples);
        double square = squares[(size_t)lane * (size_t)t->model.layout.count];
        t->lane_values[lane] = n > 0 ? all * all / n * square : 0;
    }
    return lanes_tree_sum(t->lane_values, t->lanes.count);
}

static int filled_lanes(const Trainer *t, int samples)
{
    int count = 0;
    for (int lane = 0; lane < t->lanes.count; lane++)
        count += lanes_samples(&t->lanes, lane, samples) > 0;
    return count;
}

static void add_noise_values(Probes *p, Noise noise, NoiseScale scale)
{
    double step = noise.grad_sq > 0 ? noise.trace / noise.grad_sq : (double)NAN;
    add_value(p, "noise_scale", scale.scale);
    add_value(p, "noise_scale_low", scale.low);
    add_value(p, "noise_scale_high", scale.high);
    add_value(p, "noise_scale_step", step);
    add_value(p, "noise_scale_biased", noise.trace / noise.mean_sq);
    add_value(p, "noise_trace", noise.trace);
    add_value(p, "noise_grad_sq", noise.grad_sq);
}

static NoiseScale add_to_mean(Probes *p, int number, Noise noise)
{
    NoiseMean *mean = &p->state->noise[number];
    noise_add(mean, noise, p->settings->smoothing);
    return noise_scale(mean);
}

/* The covariance of all tensors together has the trace of its parts. A short batch may leave one
 * lane alone: such a step says nothing. */
static void add_noise(Trainer *t)
{
    Probes *p = t->probes;
    int count = t->model.layout.count;
    int samples = loader_batch_size(&t->loader, t->step - 1), lanes = filled_lanes(t, samples);
    Noise all = { 0 };
    if (lanes < 2)
        return;
    for (int i = 0; i < count; i++) {
        if (!is_probed(&t->model.layout, i))
            continue;
        Noise noise = noise_estimate(lane_sum(t, i, samples), gradient_sum(t, i), lanes, samples);
        NoiseScale scale = add_to_mean(p, i, noise);
        all.trace += noise.trace;
        all.grad_sq += noise.grad_sq;
        all.mean_sq += noise.mean_sq;
        add_row(t, i, "noise_scale", scale.scale);
        add_row(t, i, "noise_trace", noise.trace);
        add_row(t, i, "noise_grad_sq", noise.grad_sq);
    }
    add_noise_values(p, all, add_to_mean(p, count, all));
}

/* ---- norms ---- */

static void add_norms(Trainer *t)
{
    double gradient = 0;
    for (int i = 0; i < t->model.layout.count; i++) {
        if (!is_probed(&t->model.layout, i))
            continue;
        gradient += gradient_sum(t, i);
        add_row(t, i, "grad_norm", sqrt(gradient_sum(t, i)));
        add_row(t, i, "weight_norm", sqrt(tensor_sum(t, i, SUM_WW)));
    }
    add_value(t->probes, "grad_norm", sqrt(gradient));
    add_value(t->probes, "weight_norm", sqrt(total_sum(t, SUM_WW)));
}

static void add_trust(Trainer *t)
{
    const Optimizer *o = &t->optimizer;
    double low = (double)INFINITY, high = 0;
    int count = 0, clamped = 0;
    for (int i = 0; i < t->model.layout.count; i++) {
        if (!optimizer_has_trust(o, i))
            continue;
        low = fmin(low, o->steps[i].trust);
        high = fmax(high, o->steps[i].trust);
        count++;
        clamped += o->steps[i].clamped;
        add_row(t, i, "trust", o->steps[i].trust);
        add_row(t, i, "trust_clamped", o->steps[i].clamped);
    }
    if (count == 0)
        return;
    add_value(t->probes, "trust_min", low);
    add_value(t->probes, "trust_max", high);
    add_value(t->probes, "trust_clamped", clamped);
}

static void add_update(Trainer *t)
{
    double update = total_sum(t, SUM_UU), weights = total_sum(t, SUM_WW);
    for (int i = 0; i < t->model.layout.count; i++)
        if (is_probed(&t->model.layout, i))
            add_row(t, i, "update_ratio",
                    sqrt(tensor_sum(t, i, SUM_UU)) / sqrt(tensor_sum(t, i, SUM_WW)));
    add_value(t->probes, "update_norm", sqrt(update));
    add_value(t->probes, "update_ratio", sqrt(update) / sqrt(weights));
}

/* A step of a layer in front of a normalisation turns its weights by about lr |g| / |w|, and |g|
 * goes with 1 / |w|: what counts is lr / |w|^2. A trust ratio is part of the rate. */
static void add_effective_lr(Trainer *t)
{
    double low = (double)INFINITY, high = 0;
    for (int i = 0; i < t->model.layout.count; i++) {
        const TensorStep *step = &t->optimizer.steps[i];
        if (!t->probes->invariant[i])
            continue;
        double rate = step->lr * step->trust / tensor_sum(t, i, SUM_WW);
        low = fmin(low, rate);
        high = fmax(high, rate);
        add_row(t, i, "effective_lr", rate);
    }
    if (high <= 0)
        return;
    add_value(t->probes, "effective_lr_min", low);
    add_value(t->probes, "effective_lr_max", high);
}

static void add_distance(Trainer *t)
{
    if (!t->probes->start_known)
        return;
    for (int i = 0; i < t->model.layout.count; i++)
        if (is_probed(&t->model.layout, i)) {
            add_row(t, i, "distance", sqrt(tensor_sum(t, i, SUM_DD)));
            add_row(t, i, "gradient_from_start", tensor_sum(t, i, SUM_GD));
        }
    add_value(t->probes, "distance", sqrt(total_sum(t, SUM_DD)));
    add_value(t->probes, "gradient_from_start", total_sum(t, SUM_GD));
}

static void add_cosine(Trainer *t)
{
    if (!t->probes->follows)
        return;
    for (int i = 0; i < t->model.layout.count; i++)
        if (is_probed(&t->model.layout, i)) {
            add_row(t, i, "update_cosine",
                    cosine(tensor_sum(t, i, SUM_U_U), tensor_sum(t, i, SUM_UU),
                           tensor_sum(t, i, SUM_UU_BEFORE)));
            add_row(t, i, "grad_cosine",
                    cosine(tensor_sum(t, i, SUM_G_G), tensor_sum(t, i, SUM_GG),
                           tensor_sum(t, i, SUM_GG_BEFORE)));
        }
    add_value(t->probes, "update_cosine",
              cosine(total_sum(t, SUM_U_U), total_sum(t, SUM_UU), total_sum(t, SUM_UU_BEFORE)));
    add_value(t->probes, "grad_cosine",
              cosine(total_sum(t, SUM_G_G), total_sum(t, SUM_GG), total_sum(t, SUM_GG_BEFORE)));
}

void probes_make_record(Trainer *t)
{
    Probes *p = t->probes;
    const ProbeSettings *s = p->settings;
    p->record = (ProbeRecord){ .step = t->step, .values = p->values, .rows = p->rows };
    if (s->noise)
        add_noise(t);
    if (s->norms)
        add_norms(t);
    if (s->trust)
        add_trust(t);
    if (s->update)
        add_update(t);
    if (s->effective_lr)
        add_effective_lr(t);
    if (s->distance)
        add_distance(t);
    if (s->cosine)
        add_cosine(t);
}
