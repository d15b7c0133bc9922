/* The optimizer shared by all methods: options, per-tensor decay and adaptation, norms, clipping,
 * and the passes over a slice. */
#include "lockstep/optimizer.h"
#include "lockstep/cpu.h"
#include "lockstep/error.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the methods, at the ISA level in use ---- */

#define OPTIMIZER(name) extern const OptimizerType optimizer_##name##_v2;
#include "optimizers.def"
#undef OPTIMIZER
#define OPTIMIZER(name) &optimizer_##name##_v2,
static const OptimizerType *const methods_v2[] = {
#include "optimizers.def"
};
#undef OPTIMIZER

#ifdef __x86_64__
#define OPTIMIZER(name) extern const OptimizerType optimizer_##name##_v3, optimizer_##name##_v4;
#include "optimizers.def"
#undef OPTIMIZER
#define OPTIMIZER(name) &optimizer_##name##_v3,
static const OptimizerType *const methods_v3[] = {
#include "optimizers.def"
};
#undef OPTIMIZER
#define OPTIMIZER(name) &optimizer_##name##_v4,
static const OptimizerType *const methods_v4[] = {
#include "optimizers.def"
};
#undef OPTIMIZER
static const OptimizerType *const *const methods[ISA_COUNT] = { methods_v2, methods_v3,
                                                                methods_v4 };
#else
static const OptimizerType *const *const methods[ISA_COUNT] = { methods_v2 };
#endif

enum { METHOD_COUNT = sizeof methods_v2 / sizeof *methods_v2 };

const OptimizerType *const *optimizer_all(int *count)
{
    *count = METHOD_COUNT;
    return methods[cpu_isa()];
}

const OptimizerType *optimizer_find(const char *name)
{
    for (int i = 0; i < METHOD_COUNT; i++)
        if (strcmp(methods[cpu_isa()][i]->name, name) == 0)
            return methods[cpu_isa()][i];
    return NULL;
}

/* ---- options ---- */

typedef struct CommonOptions {
    char *type;
    double lr, weight_decay, clip_norm, clip_value, norm_bias_lr_factor;
    bool decay_all, adapt_all, maximize;
} CommonOptions;

enum { OPTION_LR = 1, OPTION_WEIGHT_DECAY = 2, OPTION_CLIP_NORM = 3 };

const Option optimizer_common_options[] = {
    { "type", OPTION_STRING, OPTION_AT(CommonOptions, type), 0, 0, NULL, "sgd",
      "the method: see `lockstep list optimizers`" },
    { "lr", OPTION_FLOAT, OPTION_AT(CommonOptions, lr), 0, 1e9, NULL, "the method's",
      "learning rate, before lr_scaling and the schedule" },
    { "weight_decay", OPTION_FLOAT, OPTION_AT(CommonOptions, weight_decay), 0, 1e9, NULL,
      "the method's", "weight decay; a tensor of one dimension has none unless decay_all" },
    { "clip_norm", OPTION_FLOAT, OPTION_AT(CommonOptions, clip_norm), 0, 1e30, NULL, "the method's",
      "largest norm of the whole gradient; 0: no clipping" },
    { "clip_value", OPTION_FLOAT, OPTION_AT(CommonOptions, clip_value), 0, 1e30, NULL, "0",
      "largest size of a gradient element, applied before clip_norm; 0: no clipping" },
    { "decay_all", OPTION_BOOL, OPTION_AT(CommonOptions, decay_all), 0, 0, NULL, "false",
      "decay every tensor; false: only those of two and more dimensions" },
    { "adapt_all", OPTION_BOOL, OPTION_AT(CommonOptions, adapt_all), 0, 0, NULL, "false",
      "trust ratios for every tensor; false: only those of two and more dimensions" },
    { "norm_bias_lr_factor", OPTION_FLOAT, OPTION_AT(CommonOptions, norm_bias_lr_factor), 1e-6, 1e6,
      NULL, "1",
      "the lr of the biases of normalisations is multiplied by this, their decay divided by it, so "
      "that a step's decay stays (Jordan 2024)" },
    { "maximize", OPTION_BOOL, OPTION_AT(CommonOptions, maximize), 0, 0, NULL, "false",
      "climb instead of descend: the gradient changes its sign" },
    OPTION_END,
};

static const OptimizerType *read_type(const Config *config, ConfigNode *node, Err *err)
{
    config_as_map(node, "type");
    const ConfigNode *value = config_get(node, "type");
    bool given = value && value->kind == CONFIG_SCALAR && value->text;
    const OptimizerType *type =
        optimizer_find(given ? value->text : optimizer_common_options[0].def);
    if (type)
        return type;
    const char *names[METHOD_COUNT];
    for (int i = 0; i < METHOD_COUNT; i++)
        names[i] = methods[cpu_isa()][i]->name;
    config_unknown(config, value, false, "optimizer", "optimizers", names, METHOD_COUNT, err);
    return NULL;
}

/* The common options with the method's own defaults in place. */
static bool read_common(const Config *config, ConfigNode *node, const OptimizerType *type,
                        CommonOptions *common, Err *err)
{
    Option table[sizeof optimizer_common_options / sizeof *optimizer_common_options];
    memcpy(table, optimizer_common_options, sizeof table);
    char lr[32], weight_decay[32], clip_norm[32];
    snprintf(lr, sizeof lr, "%.15g", type->default_lr);
    snprintf(weight_decay, sizeof weight_decay, "%.15g", type->default_weight_decay);
    snprintf(clip_norm, sizeof clip_norm, "%.15g", type->default_clip_norm);
    table[OPTION_LR].def = lr;
    table[OPTION_WEIGHT_DECAY].def = weight_decay;
    table[OPTION_CLIP_NORM].def = clip_norm;
    const char *other[OPTIONS_MAX];
    options_names(type->options, other);
    return options_read(config, node, table, other, common, err);
}

static bool read_options(Optimizer *optimizer, const Config *config, ConfigNode *node,
                         CommonOptions *common, Err *err)
{
    const OptimizerType *type = read_type(config, node, err);
    if (!type || !read_common(config, node, type, common, err))
        return false;
    options_free(optimizer_common_options, common);
    const char *other[OPTIONS_MAX];
    options_names(optimizer_common_options, other);
    void *options = mem_alloc(type->options_bytes);
    if (!options_read(config, node, type->options, other, options, err)) {
        mem_free(options);
        return false;
    }
    optimizer->type = type;
    optimizer->options = options;
    Err problem;
    if (type->check && !type->check(options, &problem))
        return config_error(config, node, err, "%s", problem.text);
    return true;
}

/* ---- life ---- */

static void allocate(Optimizer *optimizer)
{
    const Layout *layout = optimizer->layout;
    for (int i = 0; i < optimizer->type->states; i++)
        optimizer->state[i] = mem_array(float, optimizer->slice.hi - optimizer->slice.lo);
    optimizer->squares_w = mem_array(double, layout->blocks);
    optimizer->squares_g = mem_array(double, layout->blocks);
    optimizer->squares_u = mem_array(double, layout->blocks);
    optimizer->squares_pairs = mem_array(double, 2 * layout->blocks);
    optimizer->tensor_lr = mem_array(double, layout->count);
    optimizer->tensor_decay = mem_array(double, layout->count);
    optimizer->tensor_adapt = mem_array(bool, layout->count);
    optimizer->trust = mem_array(double, layout->count);
    optimizer->steps = mem_array(TensorStep, layout->count);
}

static void set_tensor(Optimizer *optimizer, const CommonOptions *common, int tensor)
{
    unsigned flags = optimizer->layout->tensors[tensor].flags;
    bool decay = common->decay_all || flags & LAYOUT_DECAY;
    double factor = flags & LAYOUT_NORM_BIAS ? common->norm_bias_lr_factor : 1;
    optimizer->tensor_lr[tensor] = optimizer->layout->tensors[tensor].lr_factor * factor;
    optimizer->tensor_decay[tensor] = decay ? common->weight_decay / factor : 0;
    optimizer->tensor_adapt[tensor] = common->adapt_all || flags & LAYOUT_ADAPT;
    optimizer->trust[tensor] = 1;
}

bool optimizer_init(Optimizer *optimizer, const Config *config, ConfigNode *node,
                    const Layout *layout, Slice slice, Err *err)
{
    CommonOptions common;
    *optimizer = (Optimizer){ .layout = layout, .slice = slice, .clip_factor = 1 };
    if (!read_options(optimizer, config, node, &common, err))
        return false;
    const OptimizerType *type = optimizer->type;
    expect(type->states <= OPTIMIZER_MAX_STATES);
    optimizer->lr = common.lr;
    optimizer->weight_decay = common.weight_decay;
    optimizer->clip_norm = common.clip_norm;
    optimizer->clip_value = common.clip_value;
    optimizer->maximize = common.maximize;
    optimizer->needs = type->needs ? type->needs(optimizer->options) : 0;
    allocate(optimizer);
    for (int i = 0; i < layout->count; i++)
        set_tensor(optimizer, &common, i);
    return true;
}

void optimizer_free(Optimizer *optimizer)
{
    if (optimizer->options)
        options_free(optimizer->type->options, optimizer->options);
    mem_free(optimizer->options);
    for (int i = 0; i < OPTIMIZER_MAX_STATES; i++)
        mem_free(optimizer->state[i]);
    mem_free(optimizer->squares_w);
    mem_free(optimizer->squares_g);
    mem_free(optimizer->squares_u);
    mem_free(optimizer->squares_pairs);
    mem_free(optimizer->tensor_lr);
    mem_free(optimizer->tensor_decay);
    mem_free(optimizer->tensor_adapt);
    mem_free(optimizer->trust);
    mem_free(optimizer->steps);
    *optimizer = (Optimizer){ 0 };
}

/* ---- norms ---- */

/* Running statistics and frozen tensors: no part of any norm, no update. */
static bool is_left_alone(const Layout *layout, int tensor)
{
    return layout->tensors[tensor].flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN);
}

/* Completes two arrays of block squares in one exchange. */
static void complete_pair(Optimizer *o, Exchange exchange, double *a, double *b)
{
    if (!exchange.complete)
        return;
    double *pairs = o->squares_pairs; /* (blocks, 2) */
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        pairs[2 * block] = a[block];
        pairs[2 * block + 1] = b[block];
    }
    exchange_complete(exchange, pairs, 2 * sizeof *pairs);
    for (int block = 0; block < o->layout->blocks; block++) {
        a[block] = pairs[2 * block];
        b[block] = pairs[2 * block + 1];
    }
}

/* Norm over all trained tensors, from completed block squares: blocks in order within a tensor,
 * tensors in order, the same bits for every slice cut. */
static double global_norm(const Layout *layout, const double *squares)
{
    double sum = 0;
    for (int i = 0; i < layout->count; i++)
        if (!is_left_alone(layout, i))
            sum += layout_tensor_sum(layout, i, squares);
    return sqrt(sum);
}

static double tensor_norm(const Layout *layout, int tensor, const double *squares)
{
    return sqrt(layout_tensor_sum(layout, tensor, squares));
}

/* c = min(1, clip_norm / (norm + epsilon)): epsilon is 1e-6 in PyTorch; 0 is LAMB's
 * g / max(1, norm / clip_norm). */
static double clip_factor(const Optimizer *o, double norm)
{
    if (o->clip_norm <= 0)
        return 1;
    double factor = o->clip_norm / (norm + o->type->clip_epsilon);
    return factor < 1 ? factor : 1;
}

/* ---- one step ---- */

static OptimizerRange block_range(const Optimizer *o, LayoutBlock block, float *w, const float *g)
{
    OptimizerRange range = { .w = w + block.offset, .g = g, .n = block.n };
    for (int i = 0; i < o->type->states; i++)
        range.state[i] = o->state[i] + (block.offset - o->slice.lo);
    return range;
}

/* Squares of the slice of g, which is complete in its arena from now on. */
static void square_gradient(Optimizer *o, Gradient *g)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        if (!is_left_alone(o->layout, b.tensor))
            o->squares_g[block] = kernels()->squares(gradient_block(*g, b, true), b.n);
    }
    g->finish = NULL;
}

static void clamp(Optimizer *o, float *g)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        if (!is_left_alone(o->layout, b.tensor))
            kernels()->clamp(g + b.offset, (float)o->clip_value, b.n);
    }
}

static void begin_steps(Optimizer *o, const Rates *rates)
{
    for (int i = 0; i < o->layout->count; i++)
        o->steps[i] = (TensorStep){ .lr = rates->lr * o->tensor_lr[i],
                                    .t = rates->step + 1,
                                    .weight_decay = o->tensor_decay[i],
                                    .adapt = o->tensor_adapt[i],
                                    .scale = o->maximize ? -1 : 1,
                                    .trust = 1 };
}

/* Global norm and clip factor; norms of g, and of w for methods without a direction pass. */
static void measure(Optimizer *o, const float *w, Gradient *g, Exchange exchange)
{
    bool with_w = o->needs & OPTIMIZER_NORM_W && !(o->needs & OPTIMIZER_NORM_U);
    square_gradient(o, g);
    if (with_w) {
        layout_block_squares(o->layout, o->slice, w, o->squares_w);
        complete_pair(o, exchange, o->squares_g, o->squares_w);
    } else
        exchange_complete(exchange, o->squares_g, sizeof *o->squares_g);
    double norm = global_norm(o->layout, o->squares_g);
    if (o->clip_value <= 0)
        o->grad_norm = norm;
    o->clip_factor = clip_factor(o, norm);
    for (int i = 0; i < o->layout->count; i++) {
        o->steps[i].scale *= o->clip_factor;
        o->steps[i].norm_g = o->clip_factor * tensor_norm(o->layout, i, o->squares_g);
        if (with_w)
            o->steps[i].norm_w = tensor_norm(o->layout, i, o->squares_w);
    }
}

/* Moments and the norms of direction and weights, block by block while they are in cache. */
static void direct(Optimizer *o, float *w, Gradient *g, bool measured, Exchange exchange)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        if (is_left_alone(o->layout, b.tensor))
            continue;
        OptimizerRange range = block_range(o, b, w, gradient_block(*g, b, true));
        if (!measured)
            o->squares_g[block] = kernels()->squares(range.g, range.n);
        o->squares_w[block] = kernels()->squares(range.w, range.n);
        o->squares_u[block] = o->type->direction(o->options, &o->steps[b.tensor], &range);
    }
    g->finish = NULL;
    complete_pair(o, exchange, o->squares_w, o->squares_u);
    for (int i = 0; i < o->layout->count; i++) {
        o->steps[i].norm_w = tensor_norm(o->layout, i, o->squares_w);
        o->steps[i].norm_u = tensor_norm(o->layout, i, o->squares_u);
    }
}

static void trust_ratios(Optimizer *o)
{
    for (int i = 0; i < o->layout->count; i++) {
        TensorStep *step = &o->steps[i];
        if (o->type->trust_ratio && step->adapt && !is_left_alone(o->layout, i))
            step->trust = o->type->trust_ratio(o->options, step);
        o->trust[i] = step->trust;
    }
}

static void update(Optimizer *o, float *w, Gradient g, bool measured)
{
    for (int block = o->slice.first_block; block < o->slice.last_block; block++) {
        LayoutBlock b = layout_block(o->layout, block);
        if (is_left_alone(o->layout, b.tensor))
            continue;
        OptimizerRange range = block_range(o, b, w, gradient_block(g, b, false));
        if (!measured)
            o->squares_g[block] = kernels()->squares(range.g, range.n);
        o->type->update(o->options, &o->steps[b.tensor], &range);
        gradient_updated(g, b);
    }
}

bool optimizer_step(Optimizer *o, const Rates *rates, float *w, Gradient g, Exchange exchange)
{
    bool has_direction = o->needs & OPTIMIZER_NORM_U;
    bool clips_value = o->clip_value > 0;
    bool early = o->clip_norm > 0 || o->needs & OPTIMIZER_NORM_G ||
                 (o->needs & OPTIMIZER_NORM_W && !has_direction);
    bool measured = early || clips_value;
    begin_steps(o, rates);
    o->clip_factor = 1;
    if (clips_value) { /* the norm that is reported is the one before any clipping */
        square_gradient(o, &g);
        exchange_complete(exchange, o->squares_g, sizeof *o->squares_g);
        o->grad_norm = global_norm(o->layout, o->squares_g);
        clamp(o, g.sums);
    }
    if (early)
        measure(o, w, &g, exchange);
    if (has_direction)
        direct(o, w, &g, measured, exchange);
    trust_ratios(o);
    update(o, w, g, measured || has_direction);
    if (!measured) {
        exchange_complete(exchange, o->squares_g, sizeof *o->squares_g);
        o->grad_norm = global_norm(o->layout, o->squares_g);
    }
    return isfinite(o->grad_norm);
}
