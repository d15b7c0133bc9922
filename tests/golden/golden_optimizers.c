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

typedef struct Run {
    Case *c;
    const Reference *reference;
    FlatTensors flat;
    Config config;
    Optimizer optimizer;
    Npy init, grads, truth, norms;
    float *w, *g;
    double *tolerance;                    /* per flat element */
    float *largest[OPTIMIZER_MAX_STATES]; /* like the states: largest size at the recorded steps */
} Run;

static void run_free(Run *run)
{
    optimizer_free(&run->optimizer);
    config_free(&run->config);
    flat_free(&run->flat);
    npy_free(&run->init);
    npy_free(&run->grads);
    npy_free(&run->truth);
    npy_free(&run->norms);
    mem_free(run->w);
    mem_free(run->g);
    mem_free(run->tolerance);
    for (int i = 0; i < OPTIMIZER_MAX_STATES; i++)
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
    flat_to_arena(&run->flat, run->init.values, run->w);
    return true;
}

/* The truth of the recorded steps and, from it, every element's tolerance. */
static bool read_truth(Run *run, const json_t *recorded)
{
    const json_t *files = json_object_get(json_object_get(run->c->json, "trajectories"), "params");
    size_t rows = json_array_size(recorded), total = run->flat.total;
    const char *file = json_string_value(json_array_get(files, 0));
    double relative = key_number(run->c->json, "suggested_f32_tol", -1);
    if (rows == 0 || relative <= 0)
        return err_set(&run->c->why, "case.json lacks steps_recorded or suggested_f32_tol");
    if (!case_array(run->c, file, rows * total, &run->truth))
        return false;
    run->tolerance = mem_array(double, total);
    for (size_t i = 0; i < total; i++) {
        double scale = 0.1;
        for (size_t row = 0; row < rows; row++)
            scale = fmax(scale, fabs(run->truth.values[row * total + i]));
        run->tolerance[i] = relative * scale;
    }
    return true;
}

static bool read_norms(Run *run)
{
    const json_t *extra = json_object_get(run->c->json, "extra_inputs");
    const char *file = key_text(extra, "grad_norms_f64", NULL);
    return !file || case_array(run->c, file, run->grads.shape[0], &run->norms);
}

static void remember_states(Run *run)
{
    size_t n = run->flat.layout.n;
    for (int s = 0; s < run->optimizer.type->states; s++) {
        if (!run->optimizer.state[s])
            continue;
        if (!run->largest[s])
            run->largest[s] = mem_array(float, n);
        for (size_t i = 0; i < n; i++)
            run->largest[s][i] = fmaxf(run->largest[s][i], fabsf(run->optimizer.state[s][i]));
    }
}

static bool run_steps(Run *run, const json_t *recorded)
{
    const json_t *rates = json_object_get(run->c->json, "lr_per_step");
    size_t total = run->flat.total;
    size_t row = 0, rows = json_array_size(recorded);
    for (size_t t = 1; row < rows; t++) {
        if (t > run->grads.shape[0] || (rates && t > json_array_size(rates)))
            return err_set(&run->c->why, "steps_recorded goes beyond the gradients or lr_per_step");
        double lr = rates ? json_number_value(json_array_get(rates, t - 1)) : run->optimizer.lr;
        flat_to_arena(&run->flat, run->grads.values + (t - 1) * total, run->g);
        optimizer_step(&run->optimizer, &(Rates){ .lr = lr, .step = (int64_t)t - 1 }, run->w,
                       gradient_at(run->g), (Exchange){ NULL, NULL });
        if (run->norms.count)
            case_compare(run->c, "gradient norm before clipping", t, run->optimizer.grad_norm,
                         run->norms.values[t - 1], 1e-6 * run->norms.values[t - 1]);
        char what[64];
        snprintf(what, sizeof what, "weights after step %zu", t);
        for (; row < rows && json_integer_value(json_array_get(recorded, row)) == (json_int_t)t;
             row++) {
            flat_compare(run->c, what, &run->flat, run->w, 1, run->truth.values + row * total,
                         run->tolerance);
            remember_states(run);
        }
        if (row < rows && json_integer_value(json_array_get(recorded, row)) <= (json_int_t)t)
            return err_set(&run->c->why, "steps_recorded is not in ascending order");
    }
    return true;
}

/* Which of our states a reference means, by its name there. */
static int state_number(const OptimizerType *type, const char *key)
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
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int k = 0; k < type->states && strcmp(key, names[i].key) == 0; k++)
            if (strcmp(type->state_names[k], names[i].ours) == 0)
                return k;
    return -1;
}

static bool compare_state(Run *run, const json_t *entry)
{
    const char *key = key_text(entry, "key", "");
    int number = state_number(run->optimizer.type, key);
    Npy truth;
    if (number < 0 || !run->optimizer.state[number])
        return err_set(&run->c->why, "there is no state called %s", key);
    if (!case_array(run->c, key_text(entry, "file", NULL), run->flat.total, &truth))
        return false;
    double relative = key_number(run->c->json, "suggested_f32_tol", 0);
    for (int i = 0; i < run->flat.layout.count; i++) {
        const LayoutTensor *tensor = &run->flat.layout.tensors[i];
        for (size_t k = 0; k < tensor->n; k++)
            run->tolerance[run->flat.offset[i] + k] =
                relative * fmax(1e-30, (double)run->largest[number][tensor->offset + k]);
    }
    char what[128];
    snprintf(what, sizeof what, "final state %s", key);
    flat_compare(run->c, what, &run->flat, run->optimizer.state[number],
                 number == 0 ? run->reference->state_sign : 1, truth.values, run->tolerance);
    npy_free(&truth);
    return true;
}

static bool run_case(Run *run, const Translation *t)
{
    const json_t *json = run->c->json;
    const json_t *recorded = json_object_get(json, "steps_recorded");
    const json_t *states = json_object_get(json, "final_state");
    if (!flat_init(&run->flat, json_object_get(json, "tensors"), &run->c->why) ||
        !make_optimizer(run, t) || !read_inputs(run) || !read_truth(run, recorded) ||
        !read_norms(run) || !run_steps(run, recorded))
        return false;
    for (size_t i = 0; i < json_array_size(states); i++)
        if (!compare_state(run, json_array_get(states, i)))
            return false;
    return true;
}

Verdict golden_optimizer(Case *c)
{
    const Reference *reference = reference_find(c->json);
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
