/* Golden models: small networks trained for some steps with model, loss and optimizer together.
 * Losses and final weights: 20 times the error of the float32 reference + 1e-6 of the largest
 * value; first gradient and running statistics, for which no such error is given: 1e-5 of the
 * largest value.
 *
 * A case of P ranks with local batch norm is run twice: as P ghost batches of one lane, and as P
 * lanes. */
#include "golden.h"

#include "lockstep/lanes.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/optimizer.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the network that a case describes ---- */

typedef struct Network {
    char yaml[4096]; /* "{layers: [...]}" */
    int vocabulary;  /* of its tokens; 0: its input is numbers */
} Network;

static const char *find_activation(const char *description)
{
    static const struct {
        const char *word, *layer;
    } known[] = {
        { "ReLU", "relu" }, { "tanh", "tanh" }, { "GELU", "gelu" }, { "sigmoid", "sigmoid" }
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(description, known[i].word))
            return known[i].layer;
    return NULL;
}

/* fc0, fc1, ...: dense layers with an activation between them. */
static bool mlp(Network *network, const FlatTensors *flat, const char *description)
{
    const char *activation = find_activation(description);
    char name[64];
    snprintf(network->yaml, sizeof network->yaml, "{layers: [");
    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "fc%d.weight", i);
        int weight = layout_find(&flat->layout, name);
        if (weight < 0)
            break;
        snprintf(name, sizeof name, "fc%d.bias", i);
        bool bias = layout_find(&flat->layout, name) >= 0;
        text_append(network->yaml, sizeof network->yaml,
                    "%s%s%sdense: {units: %d, bias: %s, name: fc%d}", i ? ", " : "",
                    i && activation ? activation : "", i && activation ? ", " : "",
                    flat->layout.tensors[weight].shape[0], bias ? "true" : "false", i);
    }
    text_append(network->yaml, sizeof network->yaml, "]}");
    return activation && layout_find(&flat->layout, "fc0.weight") >= 0;
}

static int channels(const FlatTensors *flat, const char *tensor)
{
    int index = layout_find(&flat->layout, tensor);
    return index < 0 ? 0 : flat->layout.tensors[index].shape[0];
}

/* stem -> bn0 -> relu -> [conv1 -> bn1 -> relu -> conv2 -> bn2] + skip -> relu -> global average ->
 * fc */
static bool resblock(Network *network, const FlatTensors *flat, int ghost)
{
    static const char *const tensors[] = { "stem.weight", "conv1.weight", "conv2.weight",
                                           "bn0.weight",  "bn1.weight",   "bn2.weight",
                                           "fc.weight" };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        if (channels(flat, tensors[i]) == 0)
            return false;
    snprintf(network->yaml, sizeof network->yaml,
             "{layers: ["
             "conv2d: {channels: %d, kernel: 3, padding: 1, bias: false, name: stem}, "
             "batchnorm: {ghost: %d, name: bn0}, relu, "
             "residual: {body: ["
             "conv2d: {channels: %d, kernel: 3, padding: 1, bias: false, name: conv1}, "
             "batchnorm: {ghost: %d, name: bn1}, relu, "
             "conv2d: {channels: %d, kernel: 3, padding: 1, bias: false, name: conv2}, "
             "batchnorm: {ghost: %d, name: bn2}]}, "
             "relu, global_avgpool, dense: {units: %d, name: fc}]}",
             channels(flat, "stem.weight"), ghost, channels(flat, "conv1.weight"), ghost,
             channels(flat, "conv2.weight"), ghost, channels(flat, "fc.weight"));
    return true;
}

/* The number of "N heads" in a description; 0 if there is none. */
static int head_count(const char *description)
{
    const char *word = strstr(description, " heads");
    while (word && word > description && word[-1] >= '0' && word[-1] <= '9')
        word--;
    return word ? (int)strtol(word, NULL, 10) : 0;
}

/* A block of a GPT: attention and two dense layers, each behind a layernorm and beside a shortcut.
 * False if the case has no such block. */
static bool gpt_block(Network *network, const FlatTensors *flat, int number, int heads)
{
    char fc[32], out[32];
    snprintf(fc, sizeof fc, "h%d.fc.weight", number);
    snprintf(out, sizeof out, "h%d.out.weight", number);
    if (channels(flat, fc) == 0 || channels(flat, out) == 0)
        return false;
    text_append(network->yaml, sizeof network->yaml,
                ", residual: {body: [layernorm: {name: h%d.ln1}, "
                "attention: {heads: %d, causal: true, name: h%d.attention}]}"
                ", residual: {body: [layernorm: {name: h%d.ln2}, dense: {units: %d, name: h%d.fc}, "
                "gelu: tanh, dense: {units: %d, name: h%d.out}]}",
                number, heads, number, number, channels(flat, fc), number, channels(flat, out),
                number);
    return true;
}

/* tok + pos -> blocks -> lnf -> head */
static bool gpt(Network *network, const FlatTensors *flat, const char *description)
{
    int tokens = layout_find(&flat->layout, "tok"), heads = head_count(description);
    if (tokens < 0 || layout_find(&flat->layout, "pos") < 0 || channels(flat, "head.weight") == 0 ||
        heads == 0 || !layer_find("attention"))
        return false;
    network->vocabulary = flat->layout.tensors[tokens].shape[0];
    snprintf(network->yaml, sizeof network->yaml,
             "{layers: [embedding: {features: %d, name: tok}, positional: {name: pos}",
             flat->layout.tensors[tokens].shape[1]);
    for (int i = 0; gpt_block(network, flat, i, heads); i++)
        ;
    text_append(network->yaml, sizeof network->yaml,
                ", layernorm: {name: lnf}, dense: {units: %d, bias: false, name: head}]}",
                channels(flat, "head.weight"));
    return true;
}

/* What a tensor of the reference is called here. */
static int find_ours(const Layout *ours, const char *name)
{
    static const char *const ends[][2] = { { "tok", "tok.weight" },
                                           { "pos", "pos.weight" },
                                           { ".qkv.weight", ".attention.in_proj_weight" },
                                           { ".qkv.bias", ".attention.in_proj_bias" },
                                           { ".proj.weight", ".attention.out_proj_weight" },
                                           { ".proj.bias", ".attention.out_proj_bias" } };
    char full[256];
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i][0]);
        if (length < end || strcmp(name + length - end, ends[i][0]) != 0)
            continue;
        snprintf(full, sizeof full, "%.*s%s", (int)(length - end), name, ends[i][1]);
        return layout_find(ours, full);
    }
    return layout_find(ours, name);
}

/* ---- the optimizer ---- */

static bool translate_optimizer(Recipe *recipe, const json_t *optimizer)
{
    const char *name = key_text(optimizer, "name", "?");
    bool sgd = strcmp(name, "sgd") == 0, adamw = strcmp(name, "adamw") == 0;
    recipe_init(recipe, optimizer, adamw ? "adamw" : "sgd");
    recipe_drop(recipe, "name");
    if (!sgd && !adamw)
        recipe_unsupported(recipe, "optimizer %s", name);
    recipe_copy_number(recipe, "lr", "lr");
    recipe_copy_number(recipe, "weight_decay", "weight_decay");
    recipe_add(recipe, "decay_all: true"); /* as PyTorch does unless told otherwise */
    if (sgd)
        recipe_add(recipe, "momentum: %.17g", recipe_number(recipe, "momentum", 0));
    recipe_copy_flag(recipe, "nesterov", "nesterov");
    recipe_copy_number(recipe, "dampening", "dampening");
    recipe_copy_number(recipe, "eps", "eps");
    const json_t *betas = json_object_get(recipe->left, "betas");
    if (json_array_size(betas) == 2)
        recipe_add(recipe, "beta1: %.17g, beta2: %.17g",
                   json_number_value(json_array_get(betas, 0)),
                   json_number_value(json_array_get(betas, 1)));
    recipe_drop(recipe, "betas");
    return recipe_finish(recipe);
}

/* ---- a run ---- */

typedef struct ModelRun {
    Case *c;
    FlatTensors flat;
    Recipe recipe;
    Npy x, y, init, losses;
    int steps, ranks;
    size_t batch, row; /* samples a step, values a sample */
    Shape shape;
    bool labels; /* y holds classes */
    size_t rows; /* of the output: targets a sample, if they are labels */
    /* of one of the two runs */
    int lanes;
    Config config;
    Model model;
    Optimizer optimizer;
    float *w, *dw, *sum;
    int *tensor; /* per flat tensor: index in the model's layout */
} ModelRun;

static void run_end(ModelRun *run)
{
    optimizer_free(&run->optimizer);
    model_free(&run->model);
    config_free(&run->config);
    mem_free(run->w);
    mem_free(run->dw);
    mem_free(run->sum);
    mem_free(run->tensor);
    run->w = run->dw = run->sum = NULL;
    run->tensor = NULL;
}

static void run_free(ModelRun *run)
{
    run_end(run);
    flat_free(&run->flat);
    recipe_free(&run->recipe);
    npy_free(&run->x);
    npy_free(&run->y);
    npy_free(&run->init);
    npy_free(&run->losses);
}

static bool read_case(ModelRun *run)
{
    Case *c = run->c;
    run->steps = (int)key_number(c->json, "steps", 0);
    run->ranks = (int)key_number(c->json, "ranks", 1);
    if (!flat_init(&run->flat, json_object_get(c->json, "tensors"), &c->why) ||
        !case_array(c, "init.npy", run->flat.total, &run->init) ||
        !case_array(c, key_text(c->json, "x", "x.npy"), 0, &run->x) ||
        !case_array(c, key_text(c->json, "y", "y.npy"), 0, &run->y) ||
        !case_array(c, "losses_f64.npy", 0, &run->losses))
        return false;
    const Npy *x = &run->x;
    if (run->steps < 1 || run->ranks < 1 || (x->ndim != 3 && x->ndim != 5) || x->count == 0 ||
        x->shape[0] < (size_t)run->steps || run->losses.count < (size_t)run->steps ||
        x->shape[1] % (size_t)run->ranks != 0 || run->y.ndim < 2 ||
        run->y.shape[0] != x->shape[0] || run->y.shape[1] != x->shape[1])
        return err_set(&c->why,
                       "steps, ranks and the shapes of x, y and losses do not fit together");
    run->batch = x->shape[1];
    run->row = x->count / x->shape[0] / run->batch;
    run->labels = run->y.is_integer;
    run->shape = (Shape){ .ndim = x->ndim - 2, .dim = { 1, 1, 1 } };
    for (int i = 0; i < run->shape.ndim; i++)
        run->shape.dim[i] = (int)x->shape[i + 2];
    return true;
}

static bool describe(ModelRun *run, Network *network)
{
    const char *description = key_text(run->c->json, "description", "");
    int ghost = run->lanes == 1 ? (int)(run->batch / (size_t)run->ranks) : 0;
    *network = (Network){ .yaml = "" };
    return resblock(network, &run->flat, ghost) || gpt(network, &run->flat, description) ||
           mlp(network, &run->flat, description);
}

/* Every tensor of the case must be one of the model's, and the other way round. */
static bool match_tensors(ModelRun *run)
{
    const Layout *ours = &run->model.layout;
    run->tensor = mem_array(int, run->flat.layout.count);
    size_t values = 0;
    for (int i = 0; i < run->flat.layout.count; i++) {
        const LayoutTensor *theirs = &run->flat.layout.tensors[i];
        run->tensor[i] = find_ours(ours, theirs->name);
        if (run->tensor[i] < 0 || ours->tensors[run->tensor[i]].n != theirs->n)
            return err_set(&run->c->why, "tensor %s: the model has none like it", theirs->name);
        values += theirs->n;
    }
    return values == ours->trained ||
           err_set(&run->c->why, "the model has more tensors than the case");
}

static bool are_below(const Npy *npy, const char *what, int limit, Err *why)
{
    for (size_t i = 0; i < npy->count; i++)
        if (!(npy->values[i] >= 0 && npy->values[i] < (double)limit))
            return err_set(why, "%s: %g is not one of %d", what, npy->values[i], limit);
    return true;
}

/* Labels must be classes of the network, targets as many as its outputs. */
static bool check_targets(ModelRun *run)
{
    Shape output = run->model.output;
    size_t targets = run->y.count / run->y.shape[0] / run->batch;
    run->rows = (size_t)shape_rows(output);
    size_t wanted = run->labels ? run->rows : shape_values(output);
    if (targets != wanted)
        return err_set(&run->c->why, "y: %zu values a sample, %zu expected", targets, wanted);
    return !run->labels || are_below(&run->y, "y", shape_features(output), &run->c->why);
}

/* Token ids must be of the network's vocabulary. */
static bool check_tokens(ModelRun *run, int vocabulary)
{
    run->shape.vocabulary = vocabulary;
    return vocabulary == 0 || (run->shape.ndim == 1 && run->x.is_integer &&
                               are_below(&run->x, "x", vocabulary, &run->c->why));
}

static bool build(ModelRun *run)
{
    Network network;
    Err *why = &run->c->why;
    describe(run, &network);
    if (!check_tokens(run, network.vocabulary))
        return err_set(why, "x: token ids (steps, B, T) are expected");
    char text[sizeof network.yaml + sizeof run->recipe.yaml + 128];
    snprintf(text, sizeof text, "model: %s\noptimizer: %s\nloss: %s\n", network.yaml,
             run->recipe.yaml, run->labels ? "softmax_cross_entropy" : "mse");
    if (!config_parse(&run->config, "case.json", text, strlen(text), why))
        return false;
    const ConfigNode *root = run->config.root;
    if (!model_build(&run->model, &run->config, config_get(root, "model"), config_get(root, "loss"),
                     &(ModelWish){ .input = run->shape }, why))
        return false;
    int lane_size = (int)run->batch / run->lanes;
    if (!check_targets(run) || !model_check_lanes(&run->model, lane_size, why) ||
        !match_tensors(run))
        return false;
    model_allocate(&run->model, lane_size);
    const Layout *layout = &run->model.layout;
    run->w = mem_array(float, layout->n);
    run->dw = mem_array(float, layout->n);
    run->sum = mem_array(float, layout->n);
    if (!model_initialize(&run->model, 1, run->w, why) ||
        !optimizer_init(&run->optimizer, &run->config, config_get(root, "optimizer"), layout, why))
        return false;
    optimizer_own(&run->optimizer, layout_slice(layout, 0, 1));
    for (int i = 0; i < run->flat.layout.count; i++) {
        const LayoutTensor *tensor = &layout->tensors[run->tensor[i]];
        for (size_t k = 0; k < tensor->n; k++)
            run->w[tensor->offset + k] = (float)run->init.values[run->flat.offset[i] + k];
    }
    model_bind(&run->model, run->w, run->dw);
    return true;
}

/* One lane of one step; its gradient is left in run->dw. */
static double run_lane(ModelRun *run, int step, int lane)
{
    size_t B = run->batch / (size_t)run->lanes, first = (size_t)lane * B;
    size_t from = ((size_t)step * run->batch + first) * run->row;
    size_t targets = run->y.count / run->y.shape[0] / run->batch;
    size_t from_y = ((size_t)step * run->batch + first) * targets;
    float *x = mem_array(float, B * run->row), *target = mem_array(float, B *targets);
    int32_t *label = mem_array(int32_t, B * targets);
    for (size_t i = 0; i < B * run->row; i++)
        x[i] = (float)run->x.values[from + i];
    for (size_t i = 0; i < B * targets; i++) {
        target[i] = (float)run->y.values[from_y + i];
        label[i] = (int32_t)run->y.values[from_y + i];
    }
    int32_t *token = mem_array(int32_t, B * run->row);
    for (size_t i = 0; i < B * run->row; i++)
        token[i] = (int32_t)run->x.values[from + i];
    bool tokens = run->shape.vocabulary > 0;
    Batch batch = { .count = (int)B, .x = tokens ? NULL : x, .tokens = tokens ? token : NULL };
    if (run->labels)
        batch.labels = label;
    else
        batch.targets = target;
    Pass pass = { .train = true,
                  .batch = (int)B,
                  .step = step,
                  .first_sample = (int)first,
                  .global_batch = (int)run->batch,
                  .global_targets = (int64_t)(run->batch * run->rows),
                  .lane_size = (int)B,
                  .tokens = batch.tokens };
    Tally tally = model_forward(&run->model, &batch, &pass);
    model_backward(&run->model, &batch, &pass);
    mem_free(x);
    mem_free(token);
    mem_free(target);
    mem_free(label);
    return tally.loss;
}

static double run_step(ModelRun *run, int step)
{
    const Layout *layout = &run->model.layout;
    double loss = 0;
    memset(run->sum, 0, layout->n * sizeof *run->sum);
    model_begin_step(&run->model, (int)run->batch);
    for (int lane = 0; lane < run->lanes; lane++) {
        loss += run_lane(run, step, lane);
        for (size_t i = 0; i < layout->n; i++)
            run->sum[i] += run->dw[i];
    }
    return loss / (double)(run->batch * run->rows);
}

/* ---- comparison ---- */

static double largest(const Npy *npy)
{
    double value = 0;
    for (size_t i = 0; i < npy->count; i++)
        value = fmax(value, fabs(npy->values[i]));
    return value;
}

/* A flat vector of the case with a model arena. */
static bool compare_flat(ModelRun *run, const char *what, const char *file, const float *arena,
                         double absolute, double relative)
{
    Npy truth;
    if (!case_array(run->c, file, run->flat.total, &truth))
        return false;
    double tolerance = absolute + relative * largest(&truth);
    for (int i = 0; i < run->flat.layout.count; i++) {
        char name[256];
        const LayoutTensor *tensor = &run->model.layout.tensors[run->tensor[i]];
        snprintf(name, sizeof name, "%s, %s", what, tensor->name);
        for (size_t k = 0; k < tensor->n; k++)
            case_compare(run->c, name, k, (double)arena[tensor->offset + k],
                         truth.values[run->flat.offset[i] + k], tolerance);
    }
    npy_free(&truth);
    return true;
}

/* Running statistics have one row per rank; ours is their mean, since the update is linear. */
static bool compare_statistic(ModelRun *run, const char *name, const char *file)
{
    int index = layout_find(&run->model.layout, name);
    Npy truth;
    if (index < 0)
        return err_set(&run->c->why, "the model has no %s", name);
    const LayoutTensor *tensor = &run->model.layout.tensors[index];
    if (!case_array(run->c, file, 0, &truth))
        return false;
    size_t rows = truth.count / tensor->n;
    bool fits = rows >= 1 && rows * tensor->n == truth.count;
    double tolerance = 1e-5 * largest(&truth);
    for (size_t k = 0; fits && k < tensor->n; k++) {
        double mean = 0;
        for (size_t row = 0; row < rows; row++)
            mean += truth.values[row * tensor->n + k] / (double)rows;
        case_compare(run->c, name, k, (double)run->w[tensor->offset + k], mean, tolerance);
    }
    npy_free(&truth);
    return fits || err_set(&run->c->why, "%s: rows of %zu values expected", file, tensor->n);
}

static bool compare_statistics(ModelRun *run)
{
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(run->c->json, "running_stats"), name, value) {
        char file[256]; /* "FILE (one row per rank)" */
        snprintf(file, sizeof file, "%s", json_is_string(value) ? json_string_value(value) : "");
        file[strcspn(file, " ")] = 0;
        if (!compare_statistic(run, name, file))
            return false;
    }
    return true;
}

static bool train(ModelRun *run, int lanes)
{
    const json_t *json = run->c->json;
    const Layout *layout = &run->model.layout;
    run->lanes = lanes;
    if (!build(run))
        return false;
    double loss_error = 20 * key_number(json, "f32_max_abs_diff_loss", 0);
    double weight_error = 20 * key_number(json, "f32_max_abs_diff_params", 0);
    for (int t = 0; t < run->steps; t++) {
        double loss = run_step(run, t);
        case_compare(run->c, "loss by step", (size_t)t, loss, run->losses.values[t],
                     loss_error + 1e-6 * largest(&run->losses));
        if (t == 0 && !compare_flat(run, "first gradient", "grad_step1_f64.npy", run->sum, 0, 1e-5))
            return false;
        Rates rates = { .lr = run->optimizer.lr, .step = t };
        optimizer_step(&run->optimizer, &rates, run->w, gradient_at(run->sum),
                       (Exchange){ NULL, NULL });
        layout_update_statistics(layout, layout_slice(layout, 0, 1), run->w, gradient_at(run->sum));
    }
    return compare_flat(run, "final weights", "final_params_f64.npy", run->w, weight_error, 1e-6) &&
           compare_statistics(run);
}

Verdict golden_model(Case *c)
{
    Network network;
    ModelRun run = { .c = c, .lanes = 1 };
    Verdict verdict = FAILED;
    if (!translate_optimizer(&run.recipe, json_object_get(c->json, "optimizer")))
        verdict = case_skips(c, "%s", run.recipe.unsupported);
    else if (!flat_init(&run.flat, json_object_get(c->json, "tensors"), &c->why))
        verdict = FAILED;
    else if (run.batch = 1, run.ranks = 1, !describe(&run, &network))
        verdict =
            case_skips(c, "no network for \"%.60s...\"", key_text(c->json, "description", "?"));
    else {
        flat_free(&run.flat);
        bool ok = read_case(&run) && train(&run, 1);
        if (ok && run.ranks > 1) {
            run_end(&run);
            ok = train(&run, run.ranks);
        }
        verdict = ok ? case_verdict(c) : FAILED;
    }
    run_free(&run);
    return verdict;
}
