/* Golden schedules: row t of a CSV file is the learning rate used by step t. Relative tolerance
 * 1e-12, 1e-9 for PyTorch's recursive cosine. */
#include "golden.h"

#include "lockstep/schedule.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Translation {
    Recipe recipe;
    double base_lr;   /* optimizer.lr */
    double tolerance; /* relative */
} Translation;

typedef struct Reference {
    const char *name; /* `reference` is or ends with this */
    const char *type; /* our schedule */
    void (*translate)(Translation *t);
} Reference;

/* An absolute learning rate under `key`, as a fraction of the base. */
static double fraction(Translation *t, const char *key, double fallback)
{
    return recipe_number(&t->recipe, key, fallback) / t->base_lr;
}

static void add_milestones(Translation *t, const char *key, int shift)
{
    char text[2048] = "";
    const json_t *list = json_object_get(t->recipe.left, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        double moment = json_number_value(json_array_get(list, i)) + shift;
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%.17gst", i ? ", " : "", fmax(moment, 0));
    }
    recipe_drop(&t->recipe, key);
    recipe_add(&t->recipe, "milestones: [%s]", text);
}

static void torch_step(Translation *t)
{
    recipe_add(&t->recipe, "every: %.17gst", recipe_number(&t->recipe, "step_size", 0));
    recipe_add(&t->recipe, "gamma: %.17g", recipe_number(&t->recipe, "gamma", 0.1));
}

static void torch_multistep(Translation *t)
{
    add_milestones(t, "milestones", 0);
    recipe_add(&t->recipe, "gamma: %.17g", recipe_number(&t->recipe, "gamma", 0.1));
}

static void torch_exponential(Translation *t)
{
    recipe_add(&t->recipe, "every: 1st");
    recipe_copy_number(&t->recipe, "gamma", "gamma");
}

static void torch_polynomial(Translation *t)
{
    recipe_add(&t->recipe, "length: %.17gst", recipe_number(&t->recipe, "total_iters", 5));
    recipe_add(&t->recipe, "power: %.17g", recipe_number(&t->recipe, "power", 1));
}

static void torch_cosine(Translation *t)
{
    t->tolerance = 1e-9; /* recursive there */
    recipe_add(&t->recipe, "past_end: continue, min: %.17g", fraction(t, "eta_min", 0));
    recipe_add(&t->recipe, "length: %.17gst", recipe_number(&t->recipe, "T_max", 0));
}

/* A warm-up if it rises; if it falls, a linear decay. */
static void torch_linear(Translation *t)
{
    Recipe *r = &t->recipe;
    double start = recipe_number(r, "start_factor", 1.0 / 3),
           end = recipe_number(r, "end_factor", 1);
    double steps = recipe_number(r, "total_iters", 5);
    bool rises = end >= start;
    t->base_lr *= rises ? end : start;
    if (rises)
        recipe_add(r, "warmup: %.17gst, warmup_start: %.17g, warmup_count: from_zero, end: 1",
                   steps, start / end);
    else
        recipe_add(r, "length: %.17gst, end: %.17g, power: 1", steps, end / start);
}

static void torch_constant(Translation *t)
{
    Recipe *r = &t->recipe;
    recipe_add(r, "warmup_shape: constant");
    recipe_add(r, "warmup_start: %.17g", recipe_number(r, "factor", 1.0 / 3));
    recipe_add(r, "warmup: %.17gst", recipe_number(r, "total_iters", 5));
}

static void torch_sequential(Translation *t)
{
    Recipe *r = &t->recipe;
    if (!json_object_get(r->left, "warmup_iters") || !json_object_get(r->left, "T_max"))
        recipe_unsupported(r, "only a linear warm-up followed by a cosine");
    torch_cosine(t);
    recipe_add(r, "warmup_count: from_zero, warmup_start: %.17g",
               recipe_number(r, "start_factor", 1.0 / 3));
    recipe_add(r, "warmup: %.17gst", recipe_number(r, "warmup_iters", 0));
}

/* Warm-up from 0 at step 0, as Hugging Face and MLPerf count. */
static double warmup_from_zero(Translation *t, const char *key)
{
    double steps = recipe_number(&t->recipe, key, 0);
    recipe_add(&t->recipe, "warmup_count: from_zero, warmup: %.17gst", steps);
    return steps;
}

static void hf_constant(Translation *t)
{
    warmup_from_zero(t, "num_warmup_steps");
}

/* The shape fills what the warm-up leaves of the run. */
static void hf_length(Translation *t)
{
    double warmup = warmup_from_zero(t, "num_warmup_steps");
    double steps = recipe_number(&t->recipe, "num_training_steps", 0);
    recipe_add(&t->recipe, "length: %.17gst", fmax(steps - warmup, 1));
}

static void hf_linear(Translation *t)
{
    hf_length(t);
    recipe_add(&t->recipe, "power: 1");
}

static void hf_cosine(Translation *t)
{
    hf_length(t);
    recipe_add(&t->recipe, "past_end: continue, cycles: %.17g",
               recipe_number(&t->recipe, "num_cycles", 0.5));
}

static void hf_poly(Translation *t)
{
    hf_length(t);
    recipe_add(&t->recipe, "end: %.17g", fraction(t, "lr_end", 1e-7));
    recipe_add(&t->recipe, "power: %.17g", recipe_number(&t->recipe, "power", 1));
}

static void timm_warmup(Translation *t)
{
    Recipe *r = &t->recipe;
    static const char *const ones[] = { "cycle_mul", "cycle_decay", "cycle_limit", "k_decay" };
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        if (recipe_number(r, ones[i], 1) != 1)
            recipe_unsupported(r, "%s other than 1", ones[i]);
    warmup_from_zero(t, "warmup_t");
    recipe_add(r, "warmup_start: %.17g", fraction(t, "warmup_lr_init", 0));
    recipe_add(r, "clock: %s", recipe_flag(r, "warmup_prefix", false) ? "after_warmup" : "run");
}

static void timm_cosine(Translation *t)
{
    timm_warmup(t);
    recipe_add(&t->recipe, "min: %.17g", fraction(t, "lr_min", 0));
    recipe_add(&t->recipe, "length: %.17gst", recipe_number(&t->recipe, "t_initial", 0));
}

static void timm_poly(Translation *t)
{
    timm_warmup(t);
    recipe_add(&t->recipe, "end: %.17g", fraction(t, "lr_min", 0));
    recipe_add(&t->recipe, "power: %.17g", recipe_number(&t->recipe, "power", 0.5));
    recipe_add(&t->recipe, "length: %.17gst", recipe_number(&t->recipe, "t_initial", 0));
}

/* Counts a milestone as passed one step early: bisect_right(decay_t, t + 1). */
static void timm_multistep(Translation *t)
{
    timm_warmup(t);
    add_milestones(t, "decay_t", -1);
    recipe_add(&t->recipe, "gamma: %.17g", recipe_number(&t->recipe, "decay_rate", 1));
}

static void mlperf_poly(Translation *t)
{
    Recipe *r = &t->recipe;
    double warmup = warmup_from_zero(t, "warmup_steps");
    double steps = recipe_number(r, "train_steps", 0);
    recipe_add(r, "length: %.17gst", recipe_number(r, "decay_steps", steps - warmup + 1));
    recipe_add(r, "end: %.17g", fraction(t, "end_lr", 1e-4));
    recipe_add(r, "power: %.17g", recipe_number(r, "power", 2));
}

static void torch_restarts(Translation *t)
{
    recipe_add(&t->recipe, "cycle: %.17gst", recipe_number(&t->recipe, "T_0", 0));
    recipe_add(&t->recipe, "growth: %.17g", recipe_number(&t->recipe, "T_mult", 1));
    recipe_add(&t->recipe, "min: %.17g", fraction(t, "eta_min", 0));
}

/* A key whose value is one of a few words, under our name for it. */
static void choose(Translation *t, const char *key, const char *option, const char *fallback,
                   const char *const *words, size_t count)
{
    const char *word = key_text(t->recipe.left, key, fallback);
    bool known = false;
    for (size_t i = 0; i < count; i++)
        known = known || strcmp(word, words[i]) == 0;
    if (!known)
        recipe_unsupported(&t->recipe, "%s = %s", key, word);
    recipe_add(&t->recipe, "%s: %s", option, word);
    recipe_drop(&t->recipe, key);
}

static void cycled_momentum(Translation *t, double base, double max)
{
    Recipe *r = &t->recipe;
    recipe_add(r, "cycle_momentum: %s", recipe_flag(r, "cycle_momentum", true) ? "true" : "false");
    recipe_add(r, "base_momentum: %.17g", recipe_number(r, "base_momentum", base));
    recipe_add(r, "max_momentum: %.17g", recipe_number(r, "max_momentum", max));
}

/* base_lr is the lowest; the optimizer's own lr plays no part. */
static void torch_cyclic(Translation *t)
{
    static const char *const modes[] = { "triangular", "triangular2", "exp_range" };
    Recipe *r = &t->recipe;
    double low = t->base_lr;
    t->base_lr = recipe_number(r, "max_lr", 0);
    recipe_drop(r, "optimizer_lr");
    recipe_add(r, "min: %.17g", low / t->base_lr);
    double up = recipe_number(r, "step_size_up", 2000);
    double down = recipe_number(r, "step_size_down", 0);
    recipe_add(r, "up: %.17gst, down: %.17gst", up, down);
    recipe_add(r, "gamma: %.17g", recipe_number(r, "gamma", 1));
    choose(t, "mode", "mode", "triangular", modes, 3);
    cycled_momentum(t, 0.8, 0.9);
}

static void torch_onecycle(Translation *t)
{
    static const char *const ways[] = { "cos", "linear" };
    Recipe *r = &t->recipe;
    t->base_lr = recipe_number(r, "max_lr", t->base_lr);
    double epochs = recipe_number(r, "epochs", 0), each = recipe_number(r, "steps_per_epoch", 0);
    double total = recipe_number(r, "total_steps", 0);
    recipe_add(r, "length: %.17gst", total > 0 ? total : epochs * each);
    recipe_add(r, "pct_start: %.17g", recipe_number(r, "pct_start", 0.3));
    recipe_add(r, "div_factor: %.17g", recipe_number(r, "div_factor", 25));
    recipe_add(r, "final_div_factor: %.17g", recipe_number(r, "final_div_factor", 1e4));
    recipe_add(r, "three_phase: %s", recipe_flag(r, "three_phase", false) ? "true" : "false");
    choose(t, "anneal_strategy", "anneal", "cos", ways, 2);
    cycled_momentum(t, 0.85, 0.95);
}

/* Looks once a row. */
static void torch_plateau(Translation *t)
{
    static const char *const modes[] = { "min", "max" }, *const thresholds[] = { "rel", "abs" };
    Recipe *r = &t->recipe;
    recipe_add(r, "every: 1st, factor: %.17g", recipe_number(r, "factor", 0.1));
    recipe_add(r, "patience: %.17g", recipe_number(r, "patience", 10));
    recipe_add(r, "cooldown: %.17g", recipe_number(r, "cooldown", 0));
    recipe_add(r, "threshold: %.17g", recipe_number(r, "threshold", 1e-4));
    recipe_add(r, "min_lr: %.17g", recipe_number(r, "min_lr", 0));
    choose(t, "mode", "mode", "min", modes, 2);
    choose(t, "threshold_mode", "threshold_mode", "rel", thresholds, 2);
}

static void hf_restarts(Translation *t)
{
    hf_length(t);
    recipe_add(&t->recipe, "cycles: %.17g", recipe_number(&t->recipe, "num_cycles", 1));
}

static void hf_inverse_sqrt(Translation *t)
{
    double warmup = warmup_from_zero(t, "num_warmup_steps");
    double fallback = warmup > 0 ? warmup : 10000;
    double timescale = recipe_number(&t->recipe, "timescale", fallback);
    recipe_add(&t->recipe, "timescale: %.17gst", timescale > 0 ? timescale : fallback);
}

/* Its cosine has a number of half periods, one here; its 1 - sqrt falls to 0 whatever the minimum,
 * which is a sequence of two here. */
static void kozistr_wsd(Translation *t)
{
    Recipe *r = &t->recipe;
    bool cosine = strcmp(key_text(r->left, "cooldown_type", "1-sqrt"), "1-sqrt") != 0;
    double cycles = recipe_number(r, "num_cycles", 0.5), min = recipe_number(r, "min_lr_ratio", 0);
    double stable = recipe_number(r, "num_stable_steps", 0);
    double decay = recipe_number(r, "num_decay_steps", 0);
    double warmup = recipe_number(r, "num_warmup_steps", 0);
    recipe_drop(r, "cooldown_type");
    if (cosine && cycles != 0.5)
        recipe_unsupported(r, "a cosine with num_cycles other than 0.5");
    char part[512];
    snprintf(
        part, sizeof part,
        "type: wsd, warmup_count: from_zero, warmup: %.17gst, stable: %.17gst, decay: %.17gst, "
        "cooldown: %s, min: %.17g, length: %.17gst",
        warmup, stable, decay, cosine ? "cosine" : "sqrt", cosine ? min : 0, stable + decay);
    recipe_add(r, "parts: [{%s}, {warmup_shape: constant, warmup_start: %.17g, warmup: 1e9st}]",
               part, min);
}

static const Reference references[] = {
    { "StepLR", "step", torch_step },
    { "MultiStepLR", "step", torch_multistep },
    { "ExponentialLR", "exponential", torch_exponential },
    { "PolynomialLR", "poly", torch_polynomial },
    { "CosineAnnealingLR", "cosine", torch_cosine },
    { "LinearLR", "poly", torch_linear },
    { "ConstantLR", "constant", torch_constant },
    { "SequentialLR", "cosine", torch_sequential },
    { "get_constant_warmup schedule", "constant", hf_constant },
    { "get_linear_warmup_linear_decay schedule", "poly", hf_linear },
    { "get_linear_warmup_cosine schedule", "cosine", hf_cosine },
    { "get_linear_warmup_poly schedule", "poly", hf_poly },
    { "CosineLRScheduler", "cosine", timm_cosine },
    { "PolyLRScheduler", "poly", timm_poly },
    { "MultiStepLRScheduler", "step", timm_multistep },
    { "PolynomialDecayWithWarmup", "poly", mlperf_poly },
    { "CosineAnnealingWarmRestarts", "sgdr", torch_restarts },
    { "CyclicLR", "cyclic", torch_cyclic },
    { "OneCycleLR", "onecycle", torch_onecycle },
    { "ReduceLROnPlateau", "plateau", torch_plateau },
    { "get_linear_warmup_cosine_restarts schedule", "sgdr", hf_restarts },
    { "get_inverse_sqrt schedule", "inverse_sqrt", hf_inverse_sqrt },
    { "get_wsd_schedule", "sequence", kozistr_wsd },
};

static const Reference *find_reference(const char *reference)
{
    const char *dot = strrchr(reference, '.');
    const char *name = dot ? dot + 1 : reference;
    for (size_t i = 0; i < sizeof references / sizeof *references; i++)
        if (strcmp(name, references[i].name) == 0)
            return &references[i];
    return NULL;
}

/* What the third column is. */
typedef enum Column { COLUMN_NONE, COLUMN_MOMENTUM, COLUMN_METRIC } Column;

static Column third_column(const char *header)
{
    if (strncmp(header, "step,lr,momentum", 16) == 0)
        return COLUMN_MOMENTUM;
    return strncmp(header, "step,lr,metric", 14) == 0 ? COLUMN_METRIC : COLUMN_NONE;
}

/* A metric is reported after the step of its row. */
static bool compare_rows(Case *c, FILE *file, Schedule *schedule, double tolerance)
{
    char line[512];
    if (!fgets(line, sizeof line, file) || strncmp(line, "step,lr", 7) != 0)
        return err_set(&c->why, "the file does not begin with step,lr");
    Column column = third_column(line);
    while (fgets(line, sizeof line, file)) {
        long long step;
        double wanted, third = 0;
        int read = sscanf(line, "%lld,%lf,%lf", &step, &wanted, &third);
        if (read != (column == COLUMN_NONE ? 2 : 3) || step < 0)
            return err_set(&c->why, "cannot read the row %.40s", line);
        double allowed = tolerance * fabs(wanted);
        case_compare(c, "lr by step", (size_t)step, schedule_lr(schedule, step), wanted, allowed);
        if (column == COLUMN_MOMENTUM)
            case_compare(c, "momentum by step", (size_t)step, schedule_momentum(schedule, step),
                         third, tolerance * fabs(third));
        if (column == COLUMN_METRIC)
            schedule_observe(schedule,
                             &(ScheduleNews){ .done = step + 1, .loss = third, .count = 1 });
    }
    return true;
}

static bool run_case(Case *c, const Translation *t, FILE *file)
{
    ScheduleRun run = { .steps = 1, .steps_per_epoch = 1, .batch = 1, .base_lr = t->base_lr };
    Config config = { .root = NULL };
    Schedule schedule = { .type = NULL };
    bool ok =
        recipe_parse(&t->recipe, "schedule", &config, &c->why) &&
        schedule_init(&schedule, &config, config_get(config.root, "schedule"), &run, &c->why) &&
        compare_rows(c, file, &schedule, t->tolerance);
    schedule_free(&schedule);
    config_free(&config);
    return ok;
}

Verdict golden_schedule(Case *c)
{
    const char *name = key_text(c->json, "reference", "?");
    const Reference *reference = find_reference(name);
    if (!reference)
        return case_skips(c, "no schedule for the reference %s", name);
    Translation t = { .tolerance = 1e-12 };
    recipe_init(&t.recipe, json_object_get(c->json, "hyper"), reference->type);
    t.base_lr = recipe_number(&t.recipe, "base_lr", 0);
    if (t.base_lr > 0)
        reference->translate(&t);
    else
        recipe_unsupported(&t.recipe, "base_lr is not above 0");
    char path[2 * GOLDEN_PATH];
    snprintf(path, sizeof path, "%s/%s", c->folder, key_text(c->json, "file", "?"));
    FILE *file = fopen(path, "r");
    Verdict verdict;
    if (!recipe_finish(&t.recipe))
        verdict = case_skips(c, "%s", t.recipe.unsupported);
    else if (!file)
        verdict = case_fails(c, "%s: cannot be opened", path);
    else
        verdict = run_case(c, &t, file) ? case_verdict(c) : FAILED;
    if (file)
        fclose(file);
    recipe_free(&t.recipe);
    return verdict;
}
