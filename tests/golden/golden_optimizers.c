/* Golden optimizer cases: 20 steps over given gradients, whatever the weights have become.
 * Acceptance: |got - truth| <= suggested_f32_tol * max(0.1, largest |truth| of the element over the
 * recorded steps). Final states, whose truth is known after the last step only, are
 * scaled by the largest size that they had in our run at the recorded steps. */
#include "golden.h"
#include "references.h"

#include "lockstep/memory.h"
#include "lockstep/optimizer.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- per tensor ---- */

static bool in_skip_list(const json_t *skip_list, const char *tensor)
{
    for (size_t i = 0; i < json_array_size(skip_list); i++) {
        const char *entry = json_string_value(json_array_get(skip_list, i));
        if (entry && strstr(tensor, entry))
            return true;
    }
    return false;
}

/* The weight decay of the group a tensor is in; `otherwise` if it is in none. */
static double group_decay(const json_t *groups, const char *tensor, double otherwise)
{
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *group = json_array_get(groups, i);
        const json_t *members = json_object_get(group, "tensors");
        for (size_t k = 0; k < json_array_size(members); k++) {
            const char *member = json_string_value(json_array_get(members, k));
            if (member && strcmp(member, tensor) == 0)
                return key_number(group, "weight_decay", otherwise);
        }
    }
    return otherwise;
}

static bool groups_supported(const json_t *groups)
{
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const char *key;
        json_t *value;
        json_object_foreach (json_array_get(groups, i), key, value) {
            if (strcmp(key, "tensors") != 0 && strcmp(key, "weight_decay") != 0 &&
                strcmp(key, "name") != 0)
                return false;
        }
    }
    return true;
}

static void set_tensors(Optimizer *optimizer, const Translation *t, const json_t *json)
{
    const json_t *skip_list = json_object_get(json_object_get(json, "hyper"), "skip_list");
    for (int i = 0; i < optimizer->layout->count; i++) {
        const LayoutTensor *tensor = &optimizer->layout->tensors[i];
        double decay = group_decay(json_object_get(json, "groups"), tensor->name, t->weight_decay);
        bool in = t->policy == POLICY_MATRICES    ? tensor->ndim > 1
                  : t->policy == POLICY_SKIP_LIST ? !in_skip_list(skip_list, tensor->name)
                                                  : true;
        optimizer->tensor_decay[i] = in ? decay : 0;
        optimizer->tensor_adapt[i] = t->policy == POLICY_DECAYED ? decay != 0 || t->always_adapt
                                                                 : in && t->policy != POLICY_NONE;
    }
}

/* ---- the run ---- */

enum { PIECES_MAX = 128 };

typedef struct Run {
    Case *c;
    const Reference *reference;
    FlatTensors flat;
    Config config;
    Optimizer optimizer;
    Npy init, grads, norms, losses, hessian, distances;
    Npy truth[2];                /* of the weights; of what is evaluated, if the case has it */
    float *w, *g, *out, *h;      /* arenas; out: what is evaluated */
    double *tolerance[2];        /* per flat element of both truths */
    double *largest[PIECES_MAX]; /* of each piece: largest sizes at the recorded steps */
} Run;

static void run_free(Run *run)
{
    optimizer_free(&run->optimizer);
    config_free(&run->config);
    flat_free(&run->flat);
    npy_free(&run->init);
    npy_free(&run->grads);
    npy_free(&run->norms);
    npy_free(&run->losses);
    npy_free(&run->hessian);
    npy_free(&run->distances);
    for (int i = 0; i < 2; i++) {
        npy_free(&run->truth[i]);
        mem_free(run->tolerance[i]);
    }
    mem_free(run->w);
    mem_free(run->g);
    mem_free(run->out);
    mem_free(run->h);
    for (int i = 0; i < PIECES_MAX; i++)
        mem_free(run->largest[i]);
}

static bool make_optimizer(Run *run, const Translation *t)
{
    Err *why = &run->c->why;
    const json_t *json = run->c->json;
    if (!recipe_parse(&t->recipe, "optimizer", &run->config, why))
        return false;
    if (!optimizer_init(&run->optimizer, &run->config, config_get(run->config.root, "optimizer"),
                        &run->flat.layout, why))
        return false;
    optimizer_own(&run->optimizer, layout_slice(&run->flat.layout, 0, 1));
    set_tensors(&run->optimizer, t, json);
    return true;
}

static bool read_inputs(Run *run)
{
    char file[256];
    const char *set = key_text(run->c->json, "inputs", "");
    snprintf(file, sizeof file, "../inputs/%s/init.npy", set);
    if (!case_array(run->c, file, run->flat.total, &run->init))
        return false;
    snprintf(file, sizeof file, "../inputs/%s/grads.npy", set);
    if (!case_array(run->c, file, 0, &run->grads))
        return false;
    if (run->grads.ndim != 2 || run->grads.shape[1] != run->flat.total)
        return err_set(&run->c->why, "%s: (steps, %zu) expected", file, run->flat.total);
    run->w = mem_array(float, run->flat.layout.n);
    run->g = mem_array(float, run->flat.layout.n);
    run->out = mem_array(float, run->flat.layout.n);
    run->h = mem_array(float, run->flat.layout.n);
    flat_to_arena(&run->flat, run->init.values, run->w);
    return true;
}

/* The truth of the recorded steps and, from it, every element's tolerance. */
static bool read_trajectory(Run *run, const json_t *files, size_t rows, int number)
{
    size_t total = run->flat.total;
    const char *file = json_string_value(json_array_get(files, 0));
    double relative = key_number(run->c->json, "suggested_f32_tol", -1);
    if (rows == 0 || relative <= 0)
        return err_set(&run->c->why, "case.json lacks steps_recorded or suggested_f32_tol");
    Npy *truth = &run->truth[number];
    if (!case_array(run->c, file, rows * total, truth))
        return false;
    double *tolerance = run->tolerance[number] = mem_array(double, total);
    for (size_t i = 0; i < total; i++) {
        double scale = 0.1;
        for (size_t row = 0; row < rows; row++)
            scale = fmax(scale, fabs(truth->values[row * total + i]));
        tolerance[i] = relative * scale;
    }
    return true;
}

/* Under these names: where gradients are taken, and what is evaluated. */
static bool read_truth(Run *run, const json_t *recorded)
{
    static const char *const names[2][3] = { { "params", "y", "shifted" }, { "x", "true", "x" } };
    const json_t *all = json_object_get(run->c->json, "trajectories");
    for (int number = 0; number < 2; number++)
        for (int i = 0; i < 3; i++) {
            const json_t *files = json_object_get(all, names[number][i]);
            if (files && !run->truth[number].values &&
                !read_trajectory(run, files, json_array_size(recorded), number))
                return false;
        }
    return run->truth[0].values || err_set(&run->c->why, "case.json lacks the trajectory");
}

/* A number or a row of numbers for every step, if the case has it. */
static bool read_extra(Run *run, const char *key, size_t width, Npy *npy)
{
    const char *file = key_text(json_object_get(run->c->json, "extra_inputs"), key, NULL);
    return !file || case_array(run->c, file, run->grads.shape[0] * width, npy);
}

static bool read_extras(Run *run)
{
    return read_extra(run, "grad_norms_f64", 1, &run->norms) &&
           read_extra(run, "losses", 1, &run->losses) &&
           read_extra(run, "hessian", run->flat.total, &run->hessian) &&
           read_extra(run, "d_before_step_f64", 1, &run->distances);
}

static double piece_value(const OptimizerPiece *piece, size_t i)
{
    return piece->type == BUFFER_FLOAT ? (double)((const float *)piece->data)[i]
                                       : ((const double *)piece->data)[i];
}

static void remember_states(Run *run)
{
    OptimizerPiece piece;
    for (int i = 0; i < PIECES_MAX && optimizer_piece(&run->optimizer, i, &piece); i++) {
        if (piece.type == BUFFER_INT64)
            continue;
        if (!run->largest[i])
            run->largest[i] = mem_array(double, piece.count);
        for (size_t k = 0; k < piece.count; k++)
            run->largest[i][k] = fmax(run->largest[i][k], fabs(piece_value(&piece, k)));
    }
}

/* A scalar of the main method, by its name. */
static double method_scalar(Run *run, const char *name)
{
    char wanted[64];
    OptimizerPiece piece;
    snprintf(wanted, sizeof wanted, "method0/%s", name);
    for (int i = 0; optimizer_piece(&run->optimizer, i, &piece); i++)
        if (strcmp(piece.name, wanted) == 0)
            return piece_value(&piece, 0);
    return (double)NAN;
}

static void take_step(Run *run, size_t t, double lr)
{
    size_t total = run->flat.total;
    const OptimizerMethod *method = &run->optimizer.methods[0];
    Rates rates = { .lr = lr, .step = (int64_t)t - 1 };
    flat_to_arena(&run->flat, run->grads.values + (t - 1) * total, run->g);
    if (run->losses.count)
        rates.loss = run->losses.values[t - 1];
    if (run->hessian.count && method->type->curvature(method->options, (int64_t)t)) {
        flat_to_arena(&run->flat, run->hessian.values + (t - 1) * total, run->h);
        run->optimizer.hessian = run->h;
    }
    if (run->distances.count && t > 1)
        case_compare(run->c, "d before the step", t, method_scalar(run, "d"),
                     run->distances.values[t - 1], 1e-5 * run->distances.values[t - 1]);
    optimizer_step(&run->optimizer, &rates, run->w, gradient_at(run->g), (Exchange){ NULL, NULL });
    if (run->norms.count)
        case_compare(run->c, "gradient norm before clipping", t, run->optimizer.grad_norm,
                     run->norms.values[t - 1], 1e-6 * run->norms.values[t - 1]);
}

static void compare_row(Run *run, size_t t, size_t row)
{
    char what[64];
    snprintf(what, sizeof what, "weights after step %zu", t);
    flat_compare(run->c, what, &run->flat, run->w, 1, run->truth[0].values + row * run->flat.total,
                 run->tolerance[0]);
    remember_states(run);
    if (!run->truth[1].values)
        return;
    snprintf(what, sizeof what, "weights to evaluate after step %zu", t);
    optimizer_evaluated(&run->optimizer, run->w, run->out);
    flat_compare(run->c, what, &run->flat, run->out, 1,
                 run->truth[1].values + row * run->flat.total, run->tolerance[1]);
}

static bool run_steps(Run *run, const json_t *recorded)
{
    const json_t *rates = json_object_get(run->c->json, "lr_per_step");
    size_t row = 0, rows = json_array_size(recorded);
    for (size_t t = 1; row < rows; t++) {
        if (t > run->grads.shape[0] || (rates && t > json_array_size(rates)))
            return err_set(&run->c->why, "steps_recorded goes beyond the gradients or lr_per_step");
        take_step(run, t,
                  rates ? json_number_value(json_array_get(rates, t - 1)) : run->optimizer.lr);
        for (; row < rows && json_integer_value(json_array_get(recorded, row)) == (json_int_t)t;
             row++)
            compare_row(run, t, row);
        if (row < rows && json_integer_value(json_array_get(recorded, row)) <= (json_int_t)t)
            return err_set(&run->c->why, "steps_recorded is not in ascending order");
    }
    return true;
}

/* Our names of a reference's states: states, buffers and scalars of a tensor, of a wrapper. */
static bool is_called(const char *ours, const char *key)
{
    static const struct {
        const char *key, *ours;
    } names[] = {
        { "momentum_buffer", "momentum" },
        { "momentum", "momentum" },
        { "mu", "momentum" },
        { "exp_avg", "mean" },
        { "exp_avg_fast", "mean" },
        { "exp_avg_slow", "slow_mean" },
        { "exp_avg_sq", "square" },
        { "max_exp_avg_sq", "largest_square" },
        { "exp_inf", "largest" },
        { "exp_avg_var", "spread" },
        { "max_exp_avg_var", "largest_spread" },
        { "exp_avg_diff", "difference" },
        { "sum", "sum" },
        { "square_avg", "square" },
        { "acc_delta", "square_of_steps" },
        { "grad_avg", "mean" },
        { "s", "sum" },
        { "grad_sum_sq", "sum_of_squares" },
        { "x0", "start" },
        { "ax", "average" },
        { "prev", "previous" },
        { "step_size", "size" },
        { "slow_params", "wrap0.lookahead.slow" },
        { "slow_buffer", "wrap1.lookahead.slow" },
        { "igt_velocity", "mean" },
        { "true_params", "iterate" },
        { "momentum_velocity", "momentum" },
        { "z", "base" },
        { "exp_avg_sq_row", "row_square" },
        { "exp_avg_sq_col", "column_square" },
        { "accumulator_0", "accumulator_0" },
        { "accumulator_1", "accumulator_1" },
        { "accumulator_2", "accumulator_2" },
        { "accumulator_3", "accumulator_3" },
        { "p0", "start" },
        { "hessian_moment", "hessian" },
        { "momentum_buffer", "mean" },
        { "momentum", "mean" },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(key, names[i].key) == 0 && strcmp(ours, names[i].ours) == 0)
            return true;
    return false;
}

/* The piece of a tensor that the reference calls `key`; -1: none. */
static int find_piece(Run *run, const char *key, int tensor, OptimizerPiece *piece)
{
    for (int i = 0; optimizer_piece(&run->optimizer, i, piece); i++) {
        const char *slash = strchr(piece->name, '/');
        if (slash && piece->tensor == tensor && is_called(slash + 1, key))
            return i;
    }
    return -1;
}

/* One tensor's state; `truth` is its own. Lookahead's is scaled like weights. */
static bool compare_tensor(Run *run, const char *key, int tensor, const double *truth, size_t count)
{
    OptimizerPiece piece;
    char what[256];
    double relative = key_number(run->c->json, "suggested_f32_tol", 0);
    int number = find_piece(run, key, tensor, &piece);
    if (number < 0)
        return err_set(&run->c->why, "there is no state called %s", key);
    bool weights = strncmp(key, "slow_", 5) == 0, brief = count != piece.count;
    double sign = strncmp(key, "momentum", 8) == 0 ? run->reference->state_sign : 1;
    if (brief && count != 1) /* all zero may be kept as one zero */
        return err_set(&run->c->why, "%s: %zu elements found, %zu wanted", key, piece.count, count);
    snprintf(what, sizeof what, "final state %s, %s", key, run->flat.layout.tensors[tensor].name);
    for (size_t k = 0; k < piece.count; k++) {
        double wanted = truth[brief ? 0 : k];
        double size = weights ? fmax(0.1, fabs(wanted)) : fmax(1e-30, run->largest[number][k]);
        case_compare(run->c, what, k, sign * piece_value(&piece, k), wanted, relative * size);
    }
    return true;
}

static bool compare_state(Run *run, const json_t *entry)
{
    const char *key = key_text(entry, "key", ""), *only = key_text(entry, "tensor", NULL);
    const Layout *layout = &run->flat.layout;
    int tensor = only ? layout_find(layout, only) : 0;
    Npy truth;
    if (tensor < 0)
        return err_set(&run->c->why, "there is no tensor called %s", only);
    if (!case_array(run->c, key_text(entry, "file", NULL), only ? 0 : run->flat.total, &truth))
        return false;
    bool ok = !only || compare_tensor(run, key, tensor, truth.values, truth.count);
    for (int i = 0; ok && !only && i < layout->count; i++)
        ok = compare_tensor(run, key, i, truth.values + run->flat.offset[i], layout->tensors[i].n);
    npy_free(&truth);
    return ok;
}

/* Scalars of tensors: {"exp_avg_sq": {"mat": 1881.4, ...}}. */
static bool compare_scalars(Run *run, json_t *scalars)
{
    const char *key, *name;
    json_t *value, *number;
    json_object_foreach (scalars, key, value)
        json_object_foreach (value, name, number) {
            double wanted = json_number_value(number);
            int tensor = layout_find(&run->flat.layout, name);
            if (tensor < 0 || !compare_tensor(run, key, tensor, &wanted, 1))
                return false;
        }
    return true;
}

static bool run_case(Run *run, const Translation *t)
{
    const json_t *json = run->c->json;
    const json_t *recorded = json_object_get(json, "steps_recorded");
    const json_t *states = json_object_get(json, "final_state");
    if (!flat_init(&run->flat, json_object_get(json, "tensors"), &run->c->why) ||
        !make_optimizer(run, t) || !read_inputs(run) || !read_truth(run, recorded) ||
        !read_extras(run) || !run_steps(run, recorded))
        return false;
    for (size_t i = 0; i < json_array_size(states); i++)
        if (!compare_state(run, json_array_get(states, i)))
            return false;
    return compare_scalars(run, json_object_get(json, "final_state_scalars"));
}

Verdict golden_optimizer(Case *c)
{
    const Reference *reference = reference_find(c->json);
    if (strcmp(key_text(c->json, "reference", ""), "EntropySGD") == 0)
        return golden_closure(c);
    if (!reference)
        return case_skips(c, "no optimizer for the reference %s",
                          key_text(c->json, "reference", "?"));
    if (!groups_supported(json_object_get(c->json, "groups")))
        return case_skips(c, "groups that differ in more than weight_decay");
    Translation t = { .policy = POLICY_NONE };
    recipe_init(&t.recipe, json_object_get(c->json, "hyper"), reference->type);
    reference->translate(&t);
    Run run = { .c = c, .reference = reference };
    Verdict verdict;
    if (!recipe_finish(&t.recipe))
        verdict = case_skips(c, "%s", t.recipe.unsupported);
    else
        verdict = run_case(&run, &t) ? case_verdict(c) : FAILED;
    run_free(&run);
    recipe_free(&t.recipe);
    return verdict;
}
