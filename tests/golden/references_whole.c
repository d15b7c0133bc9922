/* Golden optimizer cases: what the hyper-parameters of references mean whose methods work on whole
 * tensors, have sums over all tensors, or are evaluated elsewhere. */
#include "references.h"

#include <string.h>

static void copy_numbers(Translation *t, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        recipe_copy_number(&t->recipe, names[i], names[i]);
}
#define COPY_NUMBERS(t, ...)                                                                       \
    copy_numbers(t, (const char *const[]){ __VA_ARGS__ },                                          \
                 sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* ---- by tensors ---- */

static void timm_adafactor(Translation *t)
{
    Recipe *r = &t->recipe;
    if (json_is_null(json_object_get(r->left, "lr"))) {
        recipe_drop(r, "lr");
        recipe_add(r, "lr: 1");
    }
    take_common(t);
    recipe_drop(r, "betas"); /* beta1 is given */
    COPY_NUMBERS(t, "eps", "eps_scale", "clip_threshold", "beta1");
    recipe_add(r, "decay_rate: %.17g", -recipe_number(r, "decay_rate", -0.8));
    recipe_add(r, "min_dim: %.17g", recipe_number(r, "min_dim_size_to_factor", 16) + 1);
    recipe_add(r, "factor: kernel"); /* timm factors dimensions above the smallest size */
    recipe_copy_flag(r, "scale_parameter", "scale_parameter");
    recipe_copy_flag(r, "relative_step", "relative_step");
    recipe_copy_flag(r, "warmup_init", "warmup_init");
}

static void official_muon(Translation *t)
{
    static const char *const betas[] = { "aux_beta1", "aux_beta2" };
    Recipe *r = &t->recipe;
    take_common(t);
    COPY_NUMBERS(t, "momentum", "aux_lr", "aux_eps");
    recipe_copy_number(r, "ns_steps", "steps");
    take_numbers(t, "aux_betas", betas, 2);
    recipe_add(r, "scale: last_dims");
    if (recipe_number(r, "aux_weight_decay", 0) != t->weight_decay)
        recipe_unsupported(r, "aux_weight_decay differs from weight_decay");
}

static void kozistr_sm3(Translation *t)
{
    take_common(t);
    COPY_NUMBERS(t, "momentum", "beta", "eps");
}

static void timm_novograd(Translation *t)
{
    take_common(t);
    take_betas(t);
    recipe_copy_flag(&t->recipe, "grad_averaging", "grad_averaging");
    recipe_copy_flag(&t->recipe, "amsgrad", "amsgrad");
}

static void kozistr_shampoo(Translation *t)
{
    static const char *const betas[] = { "momentum", "beta2" };
    Recipe *r = &t->recipe;
    take_common(t);
    take_numbers(t, "betas", betas, 2);
    recipe_copy_number(r, "matrix_eps", "eps");
    recipe_copy_number(r, "start_preconditioning_step", "start");
    recipe_copy_number(r, "preconditioning_compute_steps", "period");
    recipe_copy_flag(r, "nesterov", "nesterov");
    recipe_copy_flag(r, "moving_average_for_momentum", "grad_averaging");
    recipe_add(r, "max_dim: 8192, decay: %s",
               recipe_flag(r, "decoupled_weight_decay", false) ? "decoupled" : "l2");
    if (!recipe_flag(r, "decoupled_learning_rate", true))
        recipe_unsupported(r, "decoupled_learning_rate = false puts lr into the buffer");
    const char *graft = key_text(r->left, "graft", "sgd");
    recipe_add(r, "graft: %s", graft);
    recipe_drop(r, "graft");
}

static void official_soap(Translation *t)
{
    Recipe *r = &t->recipe;
    take_common(t);
    take_betas(t);
    double shampoo_beta = recipe_number(r, "shampoo_beta", -1);
    if (shampoo_beta >= 0)
        recipe_add(r, "shampoo_beta: %.17g", shampoo_beta);
    recipe_copy_number(r, "precondition_frequency", "period");
    recipe_copy_number(r, "max_precond_dim", "max_dim");
    recipe_copy_flag(r, "precondition_1d", "vectors");
    recipe_copy_flag(r, "normalize_grads", "normalize");
    recipe_copy_flag(r, "correct_bias", "bias_correction");
}

/* ---- by all tensors, or evaluated elsewhere ---- */

static void official_prodigy(Translation *t)
{
    Recipe *r = &t->recipe;
    const json_t *growth = json_object_get(r->left, "growth_rate");
    if (json_is_string(growth)) /* "inf" */
        recipe_drop(r, "growth_rate");
    take_common(t);
    take_betas(t);
    COPY_NUMBERS(t, "beta3", "d0", "d_coef", "growth_rate");
    recipe_copy_flag(r, "use_bias_correction", "bias_correction");
    recipe_copy_flag(r, "safeguard_warmup", "safeguard_warmup");
    recipe_add(r, "decay: %s", recipe_flag(r, "decouple", true) ? "decoupled" : "l2");
}

static void schedule_free(Translation *t)
{
    take_common(t);
    COPY_NUMBERS(t, "momentum", "r", "warmup_steps");
    recipe_copy_number(&t->recipe, "weight_lr_power", "lr_power");
}

static void schedule_free_adamw(Translation *t)
{
    take_betas(t);
    schedule_free(t);
}

static void port_l4(Translation *t)
{
    Recipe *r = &t->recipe;
    recipe_add(r, "inner: %s",
               strcmp(key_text(r->left, "inner", ""), "adam") == 0 ? "adam" : "momentum");
    recipe_drop(r, "inner");
    COPY_NUMBERS(t, "alpha", "gamma", "tau", "eps", "inner_lr");
    recipe_copy_number(r, "inner_momentum", "momentum");
}

static void official_igt(Translation *t)
{
    take_common(t);
    take_momentum(t);
    recipe_copy_number(&t->recipe, "delta", "delta");
}

static void kozistr_sophia(Translation *t)
{
    Recipe *r = &t->recipe;
    take_common(t);
    take_betas(t);
    recipe_copy_number(r, "p", "bound");
    recipe_add(r, "period: %.17g", recipe_number(r, "update_period", 2)); /* as its input is */
    recipe_add(r, "decay: %s", recipe_flag(r, "weight_decouple", true) ? "decoupled" : "l2");
}

const Reference references_whole[] = {
    { "Adafactor", "pytorch-image-models", "adafactor", timm_adafactor, 1 },
    { "SingleDeviceMuonWithAuxAdam", "KellerJordan", "muon", official_muon, 1 },
    { "SM3", "pytorch_optimizer", "sm3", kozistr_sm3, 1 },
    { "NvNovoGrad", "pytorch-image-models", "novograd", timm_novograd, 1 },
    { "ScalableShampoo", "pytorch_optimizer", "shampoo", kozistr_shampoo, 1 },
    { "SOAP", "nikhilvyas", "soap", official_soap, 1 },
    { "Prodigy", "konstmish", "prodigy", official_prodigy, 1 },
    { "SGDScheduleFree", "schedule_free", "schedulefree_sgd", schedule_free, 1 },
    { "AdamWScheduleFree", "schedule_free", "schedulefree_adamw", schedule_free_adamw, 1 },
    { "L4 around torch.optim", "l4-pytorch", "l4", port_l4, 1 },
    { "MomentumIGT", "igt.pth", "igt", official_igt, 1 },
    { "SophiaH", "pytorch_optimizer", "sophia", kozistr_sophia, 1 },
    { NULL, NULL, NULL, NULL, 0 },
};
