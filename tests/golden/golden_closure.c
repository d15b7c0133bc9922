/* Golden optimizer cases with an objective of their own: Entropy-SGD on f(w) = w^T A w / 2 - b^T w.
 * An outer step of the reference is `inner_steps` of ours. */
#include "golden.h"
#include "references.h"

#include "lockstep/memory.h"
#include "lockstep/optimizer.h"

#include <math.h>

typedef struct Closure {
    Case *c;
    Layout layout;
    Config config;
    Optimizer optimizer;
    Npy a, b, start, truth;
    float *w, *g;
} Closure;

static bool closure_init(Closure *run)
{
    Err *why = &run->c->why;
    const json_t *files = json_object_get(json_object_get(run->c->json, "trajectories"), "w");
    size_t rows = json_array_size(json_object_get(run->c->json, "steps_recorded"));
    if (!case_array(run->c, "w0.npy", 0, &run->start) ||
        !case_array(run->c, "b.npy", run->start.count, &run->b) ||
        !case_array(run->c, "A.npy", run->start.count * run->start.count, &run->a) ||
        !case_array(run->c, json_string_value(json_array_get(files, 0)), rows * run->start.count,
                    &run->truth))
        return false;
    layout_add(&run->layout, "w", 1, (int[]){ (int)run->start.count }, LAYOUT_DECAY);
    layout_seal(&run->layout);
    if (!optimizer_init(&run->optimizer, &run->config, config_get(run->config.root, "optimizer"),
                        &run->layout, why))
        return false;
    optimizer_own(&run->optimizer, layout_slice(&run->layout, 0, 1));
    run->w = mem_array(float, run->layout.n);
    run->g = mem_array(float, run->layout.n);
    for (size_t i = 0; i < run->start.count; i++)
        run->w[i] = (float)run->start.values[i];
    return true;
}

static void closure_step(Closure *run, int64_t step)
{
    size_t n = run->start.count;
    for (size_t i = 0; i < n; i++) {
        double sum = -run->b.values[i];
        for (size_t k = 0; k < n; k++)
            sum += run->a.values[i * n + k] * (double)run->w[k];
        run->g[i] = (float)sum;
    }
    optimizer_step(&run->optimizer, &(Rates){ .lr = run->optimizer.lr, .step = step }, run->w,
                   gradient_at(run->g), (Exchange){ NULL, NULL });
}

static void closure_run(Closure *run, int inner_steps)
{
    const json_t *recorded = json_object_get(run->c->json, "steps_recorded");
    double relative = key_number(run->c->json, "suggested_f32_tol", 0);
    size_t n = run->start.count, row = 0;
    for (int t = 1; row < json_array_size(recorded); t++) {
        for (int i = 0; i < inner_steps; i++)
            closure_step(run, (int64_t)(t - 1) * inner_steps + i);
        if (json_integer_value(json_array_get(recorded, row)) > t)
            continue;
        for (size_t i = 0; i < n; i++) {
            double wanted = run->truth.values[row * n + i];
            case_compare(run->c, "weights", i, (double)run->w[i], wanted,
                         relative * fmax(0.1, fabs(wanted)));
        }
        row++;
    }
}

static void closure_free(Closure *run)
{
    optimizer_free(&run->optimizer);
    config_free(&run->config);
    layout_free(&run->layout);
    npy_free(&run->a);
    npy_free(&run->b);
    npy_free(&run->start);
    npy_free(&run->truth);
    mem_free(run->w);
    mem_free(run->g);
}

Verdict golden_closure(Case *c)
{
    const json_t *langevin = json_object_get(c->json, "langevin");
    Closure run = { .c = c };
    Recipe r;
    recipe_init(&r, json_object_get(c->json, "hyper"), "entropy_sgd");
    int inner = (int)key_number(r.left, "L", 20);
    const char *const copied[][2] = { { "lr", "lr" },         { "momentum", "momentum" },
                                      { "L", "inner_steps" }, { "weight_decay", "weight_decay" },
                                      { "g0", "gamma" },      { "eps", "noise" } };
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        recipe_copy_number(&r, copied[i][0], copied[i][1]);
    recipe_copy_flag(&r, "nesterov", "nesterov");
    recipe_drop(&r, "g1"); /* the reference never counts its steps */
    recipe_add(&r, "scope: 0, inner_lr: %.17g, average: %.17g",
               key_number(langevin, "inner_lr", 0.1), key_number(langevin, "average_beta", 0.75));
    Verdict verdict;
    if (!recipe_finish(&r))
        verdict = case_skips(c, "%s", r.unsupported);
    else if (!recipe_parse(&r, "optimizer", &run.config, &c->why) || !closure_init(&run))
        verdict = FAILED;
    else {
        closure_run(&run, inner);
        verdict = case_verdict(c);
    }
    closure_free(&run);
    recipe_free(&r);
    return verdict;
}
