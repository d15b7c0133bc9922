/* Golden optimizer cases: 20 steps over given gradients, whatever the weights have become.
 * Acceptance: |got - truth| <= suggested_f32_tol * max(0.1, largest |truth| of the element over the
 * recorded steps). Final states, whose truth is known after the last step only, are
 * scaled by the largest size that they had in our run at the recorded steps. */
#include "golden.h"

#include "lockstep/memory.h"
#include "lockstep/optimizer.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- from a reference's hyper-parameters to our options ---- */

/* Which tensors the reference decays and adapts. */
typedef enum Policy {
    POLICY_DECAYED,   /* adapts what it decays, or all if always_adapt */
    POLICY_ALL,       /* adapts all */
    POLICY_MATRICES,  /* decays and adapts tensors of two and more dimensions */
    POLICY_SKIP_LIST, /* decays and adapts all but names that contain an entry of skip_list */
    POLICY_NONE,      /* adapts none */
} Policy;

typedef struct Translation {
    Recipe recipe;
    double weight_decay;
    Policy policy;
    bool always_adapt;
} Translation;

typedef struct Reference {
    const char *name;       /* `reference` is or contains this */
    const char *repository; /* and reference_repo contains this; NULL: any */
    const char *type;       /* our optimizer */
    void (*translate)(Translation *t);
    double state_sign; /* of the momentum buffer relative to ours */
} Reference;

static void take_common(Translation *t)
{
    Recipe *r = &t->recipe;
    recipe_copy_number(r, "lr", "lr");
    recipe_copy_flag(r, "maximize", "maximize");
    t->weight_decay = recipe_number(r, "weight_decay", 0);
    recipe_drop(r, "foreach"); /* how, not what */
    recipe_drop(r, "fused");
    recipe_drop(r, "capturable");
    recipe_drop(r, "differentiable");
    if (json_object_get(r->left, "max_norm")) {
        recipe_copy_number(r, "max_norm", "clip_norm");
        if (recipe_number(r, "norm_type", 2) != 2)
            recipe_unsupported(r, "norm_type: only 2 is here");
    }
    recipe_copy_number(r, "clip_value", "clip_value");
}

static void take_momentum(Translation *t)
{
    Recipe *r = &t->recipe;
    recipe_add(r, "momentum: %.17g", recipe_number(r, "momentum", 0));
    recipe_copy_number(r, "dampening", "dampening");
    recipe_copy_flag(r, "nesterov", "nesterov");
}

static void take_betas(Translation *t)
{
    Recipe *r = &t->recipe;
    const json_t *betas = json_object_get(r->left, "betas");
    if (json_array_size(betas) != 2)
        recipe_unsupported(r, "betas: two numbers wanted");
    recipe_add(r, "beta1: %.17g, beta2: %.17g", json_number_value(json_array_get(betas, 0)),
               json_number_value(json_array_get(betas, 1)));
    recipe_drop(r, "betas");
    recipe_copy_number(r, "eps", "eps");
}

static void torch_sgd(Translation *t)
{
    take_common(t);
    take_momentum(t);
}

static void timm_sgdw(Translation *t)
{
    torch_sgd(t);
    recipe_add(&t->recipe, "decay: decoupled");
}

static void torch_adamw(Translation *t)
{
    take_common(t);
    take_betas(t);
}

static void torch_adam(Translation *t)
{
    torch_adamw(t);
    recipe_add(&t->recipe, "decay: l2");
}

static void timm_lars(Translation *t)
{
    Recipe *r = &t->recipe;
    torch_sgd(t);
    recipe_add(r, "variant: outside");
    recipe_add(r, "trust_coefficient: %.17g", recipe_number(r, "trust_coeff", 0.001));
    recipe_add(r, "eps: %.17g", recipe_number(r, "eps", 1e-8));
    recipe_add(r, "trust_clip: %s", recipe_flag(r, "trust_clip", false) ? "on" : "off");
    t->always_adapt = recipe_flag(r, "always_adapt", false);
    t->policy = POLICY_DECAYED;
}

static void moco_lars(Translation *t)
{
    Recipe *r = &t->recipe;
    torch_sgd(t);
    recipe_add(r, "variant: wd_in_norm");
    recipe_add(r, "trust_coefficient: %.17g", recipe_number(r, "trust_coefficient", 0.001));
    t->policy = POLICY_MATRICES;
}

static void mlperf_lars(Translation *t)
{
    Recipe *r = &t->recipe;
    recipe_copy_number(r, "learning_rate", "lr");
    t->weight_decay = recipe_number(r, "weight_decay", 1e-4);
    recipe_add(r, "variant: inside");
    recipe_add(r, "momentum: %.17g", recipe_number(r, "momentum", 0.9));
    recipe_copy_flag(r, "use_nesterov", "nesterov");
    recipe_add(r, "trust_coefficient: %.17g", recipe_number(r, "eeta", 0.001));
    double eps = recipe_number(r, "epsilon", 0);
    recipe_add(r, "eps: %.17g", eps == 0 ? 1e-7 : eps); /* 0 means the Keras default there */
    recipe_drop(r, "skip_list");
    t->policy = POLICY_SKIP_LIST;
}

static void apex_larc(Translation *t)
{
    Recipe *r = &t->recipe;
    torch_sgd(t);
    recipe_add(r, "variant: larc");
    recipe_add(r, "trust_coefficient: %.17g", recipe_number(r, "trust_coefficient", 0.02));
    recipe_add(r, "eps: %.17g", recipe_number(r, "eps", 1e-8));
    recipe_add(r, "trust_clip: %s", recipe_flag(r, "clip", true) ? "on" : "off");
    t->policy = POLICY_ALL;
}

static void timm_lamb(Translation *t)
{
    Recipe *r = &t->recipe;
    take_common(t);
    take_betas(t);
    recipe_add(r, "clip_norm: %.17g", recipe_number(r, "max_grad_norm", 1));
    recipe_copy_flag(r, "bias_correction", "bias_correction");
    recipe_copy_flag(r, "grad_averaging", "grad_averaging");
    recipe_copy_flag(r, "trust_clip", "trust_clip");
    if (recipe_flag(r, "decoupled_decay", false))
        recipe_add(r, "decay: decoupled");
    t->always_adapt = recipe_flag(r, "always_adapt", false);
    t->policy = POLICY_DECAYED;
}

/* This port has no clip unless pre_norm is on (and that one amplifies), clamps |w|, and has eps in
 * the ratio. */
static void kozistr_lamb(Translation *t)
{
    Recipe *r = &t->recipe;
    double eps = key_number(r->left, "eps", 1e-6);
    take_common(t);
    take_betas(t);
    recipe_add(r, "clip_norm: 0, ratio_eps: %.17g", eps);
    recipe_add(r, "bias_correction: %s",
               recipe_flag(r, "bias_correction", false) ? "true" : "false");
    recipe_copy_flag(r, "grad_averaging", "grad_averaging");
    recipe_add(r, "norm_clamp: %.17g", recipe_number(r, "clamp", 10));
    recipe_drop(r, "max_grad_norm");
    if (recipe_flag(r, "weight_decouple", true))
        recipe_add(r, "decay: decoupled");
    else if (t->weight_decay != 0)
        recipe_unsupported(r, "weight_decouple = false has no equivalent");
    if (!recipe_flag(r, "adam_debias", false))
        recipe_unsupported(r, "adam_debias = false multiplies lr after the ratio");
    t->policy = recipe_flag(r, "adam", false) ? POLICY_NONE : POLICY_ALL;
}

/* The first that fits counts. */
static const Reference references[] = {
    { "LARC around torch.optim.SGD", NULL, "lars", apex_larc, 1 },
    { "torch.optim.SGD", NULL, "sgd", torch_sgd, 1 },
    { "torch.optim.AdamW", NULL, "adamw", torch_adamw, 1 },
    { "torch.optim.Adam", NULL, "adamw", torch_adam, 1 },
    { "SGDW", NULL, "sgd", timm_sgdw, 1 },
    { "LARSOptimizer", NULL, "lars", mlperf_lars, -1 },
    { "LARS", NULL, "lars", moco_lars, 1 },
    { "Lars", "pytorch-image-models", "lars", timm_lars, 1 },
    { "Lamb", "pytorch-image-models", "lamb", timm_lamb, 1 },
    { "Lamb", "pytorch_optimizer", "lamb", kozistr_lamb, 1 },
};

/* `name` is `text`, or its beginning up to a blank. */
static bool names(const char *text, const char *name)
{
    size_t length = strcspn(text, " ");
    size_t wanted = strlen(name);
    if (strchr(name, ' '))
        return strcmp(text, name) == 0;
    return length == wanted && memcmp(text, name, wanted) == 0;
}

/* A wrapper's reference does not say which torch.optim it wraps; its hyper-parameters do, but for
 * Adam and AdamW, which differ in weight decay only: there the case is asked for the word. */
static const char *find_wrapped(const json_t *json)
{
    const json_t *hyper = json_object_get(json, "hyper");
    if (json_object_get(hyper, "momentum"))
        return "torch.optim.SGD";
    if (!json_object_get(hyper, "betas"))
        return "torch.optim";
    if (key_number(hyper, "weight_decay", 0) == 0 || strstr(key_text(json, "case", ""), "adamw"))
        return "torch.optim.AdamW";
    return strstr(key_text(json, "case", ""), "adam") ? "torch.optim.Adam" : "torch.optim";
}

static const Reference *find_reference(const json_t *json)
{
    const char *reference = key_text(json, "reference", "");
    const char *repository = key_text(json, "reference_repo", "");
    static const char *const wrappers[] = { "torch.nn.utils.clip_grad_norm_ + ",
                                            "torch.nn.utils.clip_grad_value_ + " };
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (strncmp(reference, wrappers[i], strlen(wrappers[i])) == 0)
            reference += strlen(wrappers[i]);
    if (strcmp(reference, "torch.optim") == 0)
        reference = find_wrapped(json);
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        const Reference *r = &references[i];
        if (names(reference, r->name) && (!r->repository || strstr(repository, r->repository)))
            return r;
    }
    return NULL;
}

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

static int state_number(const char *key)
{
    static const char *const first[] = { "momentum_buffer", "momentum", "mu", "exp_avg" };
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (strcmp(key, first[i]) == 0)
            return 0;
    return strcmp(key, "exp_avg_sq") == 0 ? 1 : -1;
}

static bool compare_state(Run *run, const json_t *entry)
{
    const char *key = key_text(entry, "key", "");
    int number = state_number(key);
    Npy truth;
    if (number < 0 || number >= run->optimizer.type->states)
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
    const Reference *reference = find_reference(c->json);
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
