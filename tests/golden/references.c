/* Golden optimizer cases: what the hyper-parameters of each reference mean here. Every key is
 * either translated or refused. */
#include "references.h"

#include <string.h>

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

/* ---- the relatives of Adam: decay is our method's default unless a key says otherwise ---- */

static void moments(Translation *t)
{
    take_common(t);
    take_betas(t);
    recipe_copy_flag(&t->recipe, "amsgrad", "amsgrad");
}

static void take_decoupled(Translation *t, const char *key, bool otherwise)
{
    recipe_add(&t->recipe, "decay: %s",
               recipe_flag(&t->recipe, key, otherwise) ? "decoupled" : "l2");
}

/* PyTorch up to 1.13 is not here: it counts a momentum twice. */
static void timm_nadam_legacy(Translation *t)
{
    moments(t);
    recipe_copy_number(&t->recipe, "schedule_decay", "momentum_decay");
}

static void official_radam(Translation *t)
{
    moments(t);
    recipe_add(&t->recipe, "decay: decoupled, below: %s",
               recipe_flag(&t->recipe, "degenerated_to_sgd", false) ? "momentum" : "skip");
}

static void official_adabound(Translation *t)
{
    moments(t);
    recipe_copy_number(&t->recipe, "final_lr", "final_lr");
    recipe_copy_number(&t->recipe, "gamma", "gamma");
    recipe_copy_flag(&t->recipe, "amsbound", "amsbound");
}

static void timm_adabelief(Translation *t)
{
    moments(t);
    recipe_add(&t->recipe, "below: %s",
               recipe_flag(&t->recipe, "degenerated_to_sgd", true) ? "momentum" : "skip");
    recipe_copy_flag(&t->recipe, "rectify", "rectify");
    bool fixed = recipe_flag(&t->recipe, "fixed_decay", false);
    bool decoupled = recipe_flag(&t->recipe, "decoupled_decay", true);
    recipe_add(&t->recipe, "decay: %s", !decoupled ? "l2" : fixed ? "direct" : "decoupled");
}

static void kozistr_yogi(Translation *t)
{
    moments(t);
    recipe_copy_number(&t->recipe, "initial_accumulator", "initial_accumulator");
    take_decoupled(t, "weight_decouple", true);
}

/* `count` numbers of an array under our names. */
static void take_numbers(Translation *t, const char *key, const char *const *names, size_t count)
{
    Recipe *r = &t->recipe;
    const json_t *numbers = json_object_get(r->left, key);
    if (json_array_size(numbers) != count)
        recipe_unsupported(r, "%s: %zu numbers wanted", key, count);
    for (size_t i = 0; i < count; i++)
        recipe_add(r, "%s: %.17g", names[i], json_number_value(json_array_get(numbers, i)));
    recipe_drop(r, key);
}

static const char *const beta_names[] = { "beta1", "beta2", "beta3" };

static void official_ademamix(Translation *t)
{
    take_common(t);
    take_numbers(t, "betas", beta_names, 3);
    recipe_copy_number(&t->recipe, "eps", "eps");
    recipe_copy_number(&t->recipe, "alpha", "alpha");
    recipe_copy_number(&t->recipe, "alpha_warmup", "alpha_warmup");
    recipe_copy_number(&t->recipe, "beta3_warmup", "beta3_warmup");
}

static void timm_adan(Translation *t)
{
    take_common(t);
    take_numbers(t, "betas", beta_names, 3);
    recipe_copy_number(&t->recipe, "eps", "eps");
    recipe_add(&t->recipe, "decay: %s",
               recipe_flag(&t->recipe, "no_prox", false) ? "decoupled" : "proximal");
}

/* ---- without moments ---- */

static void torch_adagrad(Translation *t)
{
    take_common(t);
    recipe_copy_number(&t->recipe, "lr_decay", "lr_decay");
    recipe_copy_number(&t->recipe, "initial_accumulator_value", "initial_accumulator");
    recipe_copy_number(&t->recipe, "eps", "eps");
}

static void torch_adadelta(Translation *t)
{
    take_common(t);
    recipe_copy_number(&t->recipe, "rho", "rho");
    recipe_copy_number(&t->recipe, "eps", "eps");
}

static void torch_rmsprop(Translation *t)
{
    take_common(t);
    recipe_copy_number(&t->recipe, "momentum", "momentum");
    recipe_copy_number(&t->recipe, "alpha", "alpha");
    recipe_copy_number(&t->recipe, "eps", "eps");
    recipe_copy_flag(&t->recipe, "centered", "centered");
}

static void timm_rmsprop_tf(Translation *t)
{
    torch_rmsprop(t);
    take_decoupled(t, "decoupled_decay", false);
    recipe_copy_flag(&t->recipe, "lr_in_momentum", "lr_in_momentum");
}

static void timm_madgrad(Translation *t)
{
    take_common(t);
    recipe_copy_number(&t->recipe, "momentum", "momentum");
    recipe_copy_number(&t->recipe, "eps", "eps");
    take_decoupled(t, "decoupled_decay", false);
}

static void torch_asgd(Translation *t)
{
    take_common(t);
    recipe_copy_number(&t->recipe, "lambd", "lambda");
    recipe_copy_number(&t->recipe, "alpha", "alpha");
    recipe_copy_number(&t->recipe, "t0", "t0");
}

static void torch_rprop(Translation *t)
{
    static const char *const etas[] = { "eta_minus", "eta_plus" };
    static const char *const sizes[] = { "step_min", "step_max" };
    take_common(t);
    take_numbers(t, "etas", etas, 2);
    take_numbers(t, "step_sizes", sizes, 2);
}

/* ---- trust ratios ---- */

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
    { "torch.optim.AdamW", NULL, "adamw", moments, 1 },
    { "torch.optim.Adam", NULL, "adam", moments, 1 },
    { "torch.optim.Adamax", NULL, "adamax", moments, 1 },
    { "torch.optim.RAdam", NULL, "radam", moments, 1 },
    { "RAdam", "LiyuanLucasLiu", "radam", official_radam, 1 },
    { "NAdamLegacy", "pytorch-image-models", "nadam", timm_nadam_legacy, 1 },
    { "NAdamW", "pytorch-image-models", "nadamw", moments, 1 },
    { "AdaBound", "Luolc", "adabound", official_adabound, 1 },
    { "AdaBoundW", "Luolc", "adaboundw", official_adabound, 1 },
    { "AdaBelief", "pytorch-image-models", "adabelief", timm_adabelief, 1 },
    { "Yogi", "pytorch_optimizer", "yogi", kozistr_yogi, 1 },
    { "AdEMAMix", "ml-ademamix", "ademamix", official_ademamix, 1 },
    { "Adan", "pytorch-image-models", "adan", timm_adan, 1 },
    { "torch.optim.Adagrad", NULL, "adagrad", torch_adagrad, 1 },
    { "torch.optim.Adadelta", NULL, "adadelta", torch_adadelta, 1 },
    { "torch.optim.RMSprop", NULL, "rmsprop", torch_rmsprop, 1 },
    { "RMSpropTF", "pytorch-image-models", "rmsprop_tf", timm_rmsprop_tf, 1 },
    { "MADGRAD", "pytorch-image-models", "madgrad", timm_madgrad, 1 },
    { "torch.optim.ASGD", NULL, "asgd", torch_asgd, 1 },
    { "torch.optim.Rprop", NULL, "rprop", torch_rprop, 1 },
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

const Reference *reference_find(const json_t *json)
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
