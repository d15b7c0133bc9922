/* Golden layer cases: forward and every gradient of sum(y * dy), through the layer's and the loss's
 * public interface. Tolerance: 20 times the error of the float32 reference + 1e-6 of the largest
 * value. */
#include "golden.h"

#include "lockstep/layer.h"
#include "lockstep/loss.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static float *to_floats(const Npy *npy)
{
    float *values = mem_array(float, npy->count);
    for (size_t i = 0; i < npy->count; i++)
        values[i] = (float)npy->values[i];
    return values;
}

/* ---- from a reference layer to ours ---- */

typedef struct LayerRun {
    Case *c;
    Recipe recipe;
    bool train;
    bool image_of_signal; /* (N, C, L) is an image of height 1 */
    bool sequence;        /* (N, T, F) are samples of shape (T, F) */
    Npy input, upstream, weight;
    Config config;
    Layout layout;
    Layer *layer;
    int batch;
    float *x, *y, *dy, *dx; /* (B, stored); no x and dx if the input is tokens */
    int32_t *tokens;        /* (B, T), or NULL */
    float *w, *dw;          /* arenas */
    float *plain;           /* (B, values) of the larger side */
} LayerRun;

/* An attribute that is a number or a list of equal numbers. */
static void copy_square(LayerRun *run, const char *key)
{
    json_t *value = json_object_get(run->recipe.left, key);
    if (json_is_array(value)) {
        json_t *first = json_array_get(value, 0);
        for (size_t i = 1; i < json_array_size(value); i++)
            if (!json_equal(first, json_array_get(value, i)))
                recipe_unsupported(&run->recipe, "%s differs between height and width", key);
        json_incref(first);
        json_object_set_new(run->recipe.left, key, first ? first : json_null());
    }
    recipe_copy_number(&run->recipe, key, key);
}

static void as_it_is(LayerRun *run)
{
    (void)run;
}

static void linear(LayerRun *run)
{
    recipe_add(&run->recipe, "units: %zu", run->weight.shape[0]);
    recipe_copy_flag(&run->recipe, "bias", "bias");
}

static void conv2d(LayerRun *run)
{
    Recipe *r = &run->recipe;
    if (run->weight.ndim != 4) {
        recipe_unsupported(r, "the weight does not have 4 dimensions");
        return;
    }
    recipe_add(r, "channels: %zu, kernel: %zu, kernel_h: %zu, kernel_w: %zu", run->weight.shape[0],
               run->weight.shape[2], run->weight.shape[2], run->weight.shape[3]);
    copy_square(run, "stride");
    copy_square(run, "padding");
    copy_square(run, "dilation");
    recipe_copy_number(r, "groups", "groups");
    recipe_copy_flag(r, "bias", "bias");
}

static void pool(LayerRun *run)
{
    copy_square(run, "kernel");
    copy_square(run, "stride");
    copy_square(run, "padding");
    recipe_copy_flag(&run->recipe, "count_include_pad", "count_include_pad");
}

static void gelu_exact(LayerRun *run)
{
    recipe_add(&run->recipe, "approximate: none");
}

static void gelu_tanh(LayerRun *run)
{
    recipe_add(&run->recipe, "approximate: tanh");
}

static void batchnorm(LayerRun *run)
{
    Recipe *r = &run->recipe;
    run->train = recipe_flag(r, "train", true);
    run->image_of_signal = true;
    recipe_copy_number(r, "momentum", "momentum");
    recipe_copy_number(r, "eps", "eps");
    recipe_copy_flag(r, "affine", "affine");
}

static void ghost_batchnorm(LayerRun *run)
{
    double chunks = recipe_number(&run->recipe, "chunks", 1), B = (double)run->input.shape[0];
    batchnorm(run);
    if (chunks < 1 || fmod(B, chunks) != 0)
        recipe_unsupported(&run->recipe, "chunks does not divide the batch");
    else
        recipe_add(&run->recipe, "ghost: %g, running: sequential", B / chunks);
}

static void layernorm(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "eps", "eps");
    recipe_copy_flag(&run->recipe, "affine", "affine");
    recipe_drop(&run->recipe, "normalized_shape"); /* read by layernorm_dims */
}

static void leaky_relu(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "slope", "slope");
}

static void elu(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "alpha", "alpha");
}

/* Beyond a threshold of 20 PyTorch's softplus is linear; in float ours is there too. */
static void softplus(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "beta", "beta");
    if (recipe_number(&run->recipe, "threshold", 20) < 20)
        recipe_unsupported(&run->recipe, "a threshold below 20");
}

/* Over the last dimension: rows of features. */
static void softmax(LayerRun *run)
{
    int dims = run->input.ndim;
    double dim = recipe_number(&run->recipe, "dim", -1);
    if (dim != -1 && dim != dims - 1)
        recipe_unsupported(&run->recipe, "dim %g of %d", dim, dims);
}

static void groupnorm(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "groups", "groups");
    recipe_copy_number(&run->recipe, "eps", "eps");
    recipe_copy_flag(&run->recipe, "affine", "affine");
}

static void rmsnorm(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "eps", "eps");
}

static void adanorm(LayerRun *run)
{
    recipe_copy_number(&run->recipe, "C", "scale");
    recipe_copy_number(&run->recipe, "k", "k");
    recipe_copy_number(&run->recipe, "eps", "eps");
}

/* A dense layer with other weights: outputs are rows of dy, and there is no bias. */
static void units_of_upstream(LayerRun *run)
{
    recipe_add(&run->recipe, "units: %zu", run->upstream.shape[run->upstream.ndim - 1]);
}

static void weightnorm(LayerRun *run)
{
    units_of_upstream(run);
    recipe_add(&run->recipe, "bias: false");
    if (recipe_number(&run->recipe, "dim", 0) != 0)
        recipe_unsupported(&run->recipe, "a norm that is not per output");
}

static void spectralnorm(LayerRun *run)
{
    units_of_upstream(run);
    recipe_add(&run->recipe, "bias: false");
    recipe_copy_number(&run->recipe, "power_iterations", "power_iterations");
    recipe_copy_number(&run->recipe, "eps", "eps");
}

static void cosine(LayerRun *run)
{
    units_of_upstream(run);
    recipe_copy_number(&run->recipe, "eps", "eps");
}

static void embedding(LayerRun *run)
{
    if (run->weight.ndim != 2) {
        recipe_unsupported(&run->recipe, "the weight does not have 2 dimensions");
        return;
    }
    recipe_add(&run->recipe, "features: %zu", run->weight.shape[1]);
    recipe_copy_number(&run->recipe, "padding_idx", "padding");
}

static void attention(LayerRun *run)
{
    run->sequence = true;
    recipe_copy_number(&run->recipe, "heads", "heads");
    recipe_copy_flag(&run->recipe, "causal", "causal");
    recipe_drop(&run->recipe, "embed"); /* the last dimension of x */
}

/* Every sample has a start of its own: golden_recurrent.c. */
static const char *const recurrent[][2] = {
    { "rnn_tanh", "rnn" },
    { "gru", "gru" },
    { "lstm", "lstm" },
};

static const struct Reference {
    const char *layer, *type;
    void (*translate)(LayerRun *run);
} references[] = {
    { "linear", "dense", linear },
    { "conv2d", "conv2d", conv2d },
    { "relu", "relu", as_it_is },
    { "tanh", "tanh", as_it_is },
    { "sigmoid", "sigmoid", as_it_is },
    { "gelu_exact", "gelu", gelu_exact },
    { "gelu_tanh", "gelu", gelu_tanh },
    { "maxpool2d", "maxpool", pool },
    { "avgpool2d", "avgpool", pool },
    { "global_avgpool2d", "global_avgpool", as_it_is },
    { "flatten", "flatten", as_it_is },
    { "batchnorm1d", "batchnorm", batchnorm },
    { "batchnorm2d", "batchnorm", batchnorm },
    { "ghost_batchnorm2d", "batchnorm", ghost_batchnorm },
    { "layernorm", "layernorm", layernorm },
    { "leaky_relu", "leaky_relu", leaky_relu },
    { "elu", "elu", elu },
    { "silu", "silu", as_it_is },
    { "softplus", "softplus", softplus },
    { "softmax", "softmax", softmax },
    { "log_softmax", "log_softmax", softmax },
    { "groupnorm", "groupnorm", groupnorm },
    { "rmsnorm", "rmsnorm", rmsnorm },
    { "adanorm", "adanorm", adanorm },
    { "weightnorm_linear", "weightnorm_dense", weightnorm },
    { "spectralnorm_linear", "spectralnorm_dense", spectralnorm },
    { "cosine_linear", "cosine_dense", cosine },
    { "embedding", "embedding", embedding },
    { "multihead_self_attention", "attention", attention },
};

static const struct Reference *find_reference(const char *layer)
{
    for (size_t i = 0; i < sizeof references / sizeof *references; i++)
        if (strcmp(layer, references[i].layer) == 0)
            return &references[i];
    return NULL;
}

/* ---- shapes ---- */

/* How many trailing dimensions of x make a sample; the rest is the batch. */
static int sample_dims(const LayerRun *run)
{
    const json_t *attrs = json_object_get(run->c->json, "attrs");
    size_t normalized = json_array_size(json_object_get(attrs, "normalized_shape"));
    if (normalized > 0)
        return (int)normalized;
    if (run->sequence)
        return 2;
    if (run->input.ndim == 4)
        return 3;
    return run->image_of_signal && run->input.ndim == 3 ? 2 : 1;
}

/* Token ids (B, T), all of them rows of the weights. */
static bool find_tokens(LayerRun *run, Shape *shape)
{
    const Npy *x = &run->input;
    if (x->ndim != 2 || x->count == 0 || x->count > INT32_MAX || run->weight.ndim != 2)
        return err_set(&run->c->why, "idx or weight: cannot use its shape");
    size_t V = run->weight.shape[0];
    run->batch = (int)x->shape[0];
    run->tokens = mem_array(int32_t, x->count);
    *shape = (Shape){ .ndim = 1, .dim = { (int)x->shape[1], 1, 1 }, .vocabulary = (int)V };
    for (size_t i = 0; i < x->count; i++) {
        double token = x->values[i];
        if (!(token >= 0 && token < (double)V))
            return err_set(&run->c->why, "idx: %g is not one of %zu tokens", token, V);
        run->tokens[i] = (int32_t)token;
    }
    return true;
}

static bool find_shape(LayerRun *run, bool tokens, Shape *shape)
{
    const Npy *x = &run->input;
    if (tokens)
        return find_tokens(run, shape);
    int dims = sample_dims(run);
    size_t batch = 1;
    *shape = (Shape){ .ndim = dims > 1 ? 3 : 1, .dim = { 1, 1, 1 } };
    if (x->count == 0 || x->count > INT32_MAX || dims > 3 || dims > x->ndim)
        return err_set(&run->c->why, "x: cannot use its shape");
    for (int i = 0; i < x->ndim - dims; i++)
        batch *= x->shape[i];
    run->batch = (int)batch;
    const size_t *sample = x->shape + x->ndim - dims;
    shape->dim[0] = (int)sample[0];
    if (dims == 3)
        shape->dim[1] = (int)sample[1];
    if (dims > 1)
        shape->dim[2] = (int)sample[dims - 1];
    if (run->sequence)
        *shape = (Shape){ .ndim = 2, .dim = { (int)sample[0], (int)sample[1], 1 } };
    return true;
}

static void pack_all(Shape shape, int batch, const float *plain, float *stored)
{
    for (int i = 0; i < batch; i++)
        shape_pack(shape, plain + (size_t)i * shape_values(shape),
                   stored + (size_t)i * shape_stored(shape));
}

/* Also checks that missing channels are zero: packing what was unpacked gives the same. */
static bool unpack_all(Shape shape, int batch, const float *stored, float *plain)
{
    float *again = mem_array(float, shape_stored(shape));
    bool zero = true;
    for (int i = 0; i < batch; i++) {
        const float *sample = stored + (size_t)i * shape_stored(shape);
        shape_unpack(shape, sample, plain + (size_t)i * shape_values(shape));
        shape_pack(shape, plain + (size_t)i * shape_values(shape), again);
        for (size_t k = 0; k < shape_stored(shape); k++)
            zero = zero && (again[k] != 0 || sample[k] == 0);
    }
    mem_free(again);
    return zero;
}

/* ---- the run ---- */

static void run_free(LayerRun *run)
{
    if (run->layer)
        layer_free(run->layer);
    layout_free(&run->layout);
    config_free(&run->config);
    recipe_free(&run->recipe);
    npy_free(&run->input);
    npy_free(&run->upstream);
    npy_free(&run->weight);
    float *buffers[] = { run->x, run->y, run->dy, run->dx, run->w, run->dw, run->plain };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        mem_free(buffers[i]);
    mem_free(run->tokens);
}

static float *filled(size_t n, float value)
{
    float *x = mem_array(float, n);
    for (size_t i = 0; i < n; i++)
        x[i] = value;
    return x;
}

static bool make_layer(LayerRun *run, const char *type, Shape in)
{
    Err *why = &run->c->why;
    if (!recipe_parse(&run->recipe, "layer", &run->config, why))
        return false;
    run->layer = layer_create(layer_find(type), &run->config, config_get(run->config.root, "layer"),
                              &(LayerPlace){ .name = "layer", .in = in }, &run->layout, why);
    if (!run->layer)
        return false;
    Layer *layer = run->layer;
    layout_seal(&run->layout);
    if (layer->type->check_lane && !layer->type->check_lane(layer, run->batch, why))
        return false;
    layer_allocate(layer, run->batch, NULL);
    run->w = mem_array(float, run->layout.n);
    run->dw = mem_array(float, run->layout.n);
    for (int i = 0; i < layer->tensor_count; i++) {
        const LayoutTensor *tensor = &run->layout.tensors[layer->tensors[i].index];
        layer->tensors[i].w = run->w + tensor->offset;
        layer->tensors[i].dw = run->dw + tensor->offset;
    }
    return true;
}

static int find_tensor(const LayerRun *run, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "layer.%s", name);
    return layout_find(&run->layout, full);
}

/* Parameters and buffers of the case into the weight arena; every tensor must get its values. */
static bool read_weights(LayerRun *run)
{
    for (int i = 0; i < run->layout.count; i++) {
        const LayoutTensor *tensor = &run->layout.tensors[i];
        Npy values;
        if (!case_input(run->c, tensor->name + strlen("layer."), &values))
            return false;
        bool fits = values.count == tensor->n;
        for (size_t k = 0; fits && k < tensor->n; k++) {
            run->w[tensor->offset + k] = (float)values.values[k];
            run->dw[tensor->offset + k] = NAN; /* to be overwritten */
        }
        npy_free(&values);
        if (!fits)
            return err_set(&run->c->why, "%s: %zu values expected", tensor->name, tensor->n);
    }
    return true;
}

static bool read_activations(LayerRun *run)
{
    Shape in = run->layer->in, out = run->layer->out;
    size_t B = (size_t)run->batch, values = B * shape_values(out);
    if (run->upstream.count != values)
        return err_set(&run->c->why, "dy has %zu values, this layer's output has %zu",
                       run->upstream.count, values);
    size_t larger = values > run->input.count ? values : run->input.count;
    run->plain = mem_array(float, larger);
    run->dy = mem_array(float, B *shape_stored(out));
    run->y = filled(B * shape_stored(out), NAN);
    float *plain = to_floats(&run->upstream);
    pack_all(out, run->batch, plain, run->dy);
    mem_free(plain);
    if (run->tokens)
        return true;
    run->x = mem_array(float, B *shape_stored(in));
    run->dx = filled(B * shape_stored(in), NAN);
    plain = to_floats(&run->input);
    pack_all(in, run->batch, plain, run->x);
    mem_free(plain);
    return true;
}

static void compute(LayerRun *run)
{
    Layer *layer = run->layer;
    Pass pass = { .train = run->train,
                  .batch = run->batch,
                  .global_batch = run->batch,
                  .lane_size = run->batch,
                  .tokens = run->tokens };
    if (layer->type->begin_step)
        layer->type->begin_step(layer, &run->layout, run->train ? run->batch : 0);
    layer->type->forward(layer, &pass, run->x, run->y);
    layer->type->backward(layer, &pass, run->x, run->y, run->dy, run->dx);
    if (run->train)
        layout_update_statistics(&run->layout, layout_slice(&run->layout, 0, 1), run->w,
                                 gradient_at(run->dw));
}

static bool compare_activation(LayerRun *run, const json_t *entry, Shape shape, const float *stored)
{
    if (!unpack_all(shape, run->batch, stored, run->plain))
        return err_set(&run->c->why, "%s: missing channels are not zero",
                       key_text(entry, "name", "?"));
    return case_expects(run->c, entry, run->plain, (size_t)run->batch * shape_values(shape));
}

/* sigma of a spectral norm is not kept anywhere, but y = x W^T / sigma tells it. */
static bool compare_sigma(LayerRun *run, const json_t *entry)
{
    const LayoutTensor *weight = &run->layout.tensors[find_tensor(run, "weight")];
    size_t F = shape_values(run->layer->in), units = shape_values(run->layer->out);
    double above = 0, below = 0;
    for (size_t i = 0; i < (size_t)run->batch * units; i++) {
        double plain = 0, y = (double)run->y[i];
        for (size_t k = 0; k < F; k++)
            plain += (double)run->x[i / units * F + k] *
                     (double)run->w[weight->offset + i % units * F + k];
        above += plain * y;
        below += y * y;
    }
    float sigma = (float)(above / below);
    return case_expects(run->c, entry, &sigma, 1);
}

static bool compare_one(LayerRun *run, const json_t *entry)
{
    const char *name = key_text(entry, "name", "?"), *after = strstr(name, "_after");
    char tensor[128];
    if (strcmp(name, "y") == 0)
        return compare_activation(run, entry, run->layer->out, run->y);
    if (strcmp(name, "d_x") == 0)
        return compare_activation(run, entry, run->layer->in, run->dx);
    if (strcmp(name, "sigma") == 0 && find_tensor(run, "weight") >= 0)
        return compare_sigma(run, entry);
    bool gradient = strncmp(name, "d_", 2) == 0;
    if (gradient)
        snprintf(tensor, sizeof tensor, "%s", name + 2);
    else
        snprintf(tensor, sizeof tensor, "%.*s", (int)(after ? after - name : 0), name);
    int index = find_tensor(run, tensor);
    if (index < 0)
        return err_set(&run->c->why, "this layer has no %s", name);
    const LayoutTensor *t = &run->layout.tensors[index];
    return case_expects(run->c, entry, (gradient ? run->dw : run->w) + t->offset, t->n);
}

static Verdict run_layer(LayerRun *run, const struct Reference *reference)
{
    Case *c = run->c;
    Shape in = { .ndim = 1 };
    bool has_weight = case_named(json_object_get(c->json, "inputs"), "weight");
    bool tokens = layer_find(reference->type)->takes_tokens;
    if (!case_input(c, tokens ? "idx" : "x", &run->input) || !case_input(c, "dy", &run->upstream) ||
        (has_weight && !case_input(c, "weight", &run->weight)))
        return FAILED;
    recipe_init(&run->recipe, json_object_get(c->json, "attrs"), NULL);
    reference->translate(run);
    if (!recipe_finish(&run->recipe))
        return case_skips(c, "%s", run->recipe.unsupported);
    if (!find_shape(run, tokens, &in) || !make_layer(run, reference->type, in) ||
        !read_weights(run) || !read_activations(run))
        return FAILED;
    compute(run);
    const json_t *expected = json_object_get(c->json, "expected");
    for (size_t i = 0; i < json_array_size(expected); i++)
        if (!compare_one(run, json_array_get(expected, i)))
            return FAILED;
    return case_verdict(c);
}

/* ---- losses ---- */

typedef struct LossRun {
    Case *c;
    Recipe recipe;
    Npy input, target, upstream;
    Config config;
    Loss loss;
    bool sum;        /* reduction: sum, not mean */
    float *x, *dx;   /* (B, F) */
    float *targets;  /* (B, F), or */
    int32_t *labels; /* (B) */
    int64_t counted; /* labels that are not ignored, or B */
} LossRun;

static void loss_run_free(LossRun *run)
{
    loss_free(&run->loss);
    config_free(&run->config);
    recipe_free(&run->recipe);
    npy_free(&run->input);
    npy_free(&run->target);
    npy_free(&run->upstream);
    mem_free(run->x);
    mem_free(run->dx);
    mem_free(run->targets);
    mem_free(run->labels);
}

static bool read_labels(LossRun *run, size_t B, int classes, double ignored)
{
    if (run->target.count != B)
        return err_set(&run->c->why, "target: %zu labels expected", B);
    run->labels = mem_array(int32_t, B);
    for (size_t i = 0; i < B; i++) {
        double label = run->target.values[i];
        run->labels[i] = LABEL_IGNORED;
        run->counted -= label == ignored;
        if (label == ignored)
            continue;
        if (!(label >= 0 && label < classes))
            return err_set(&run->c->why, "target: %g is not one of %d classes", label, classes);
        run->labels[i] = (int32_t)label;
    }
    return true;
}

/* Sums and gradients come per target, over global_targets: 1 there makes a sum of the mean. */
static void compare_loss(LossRun *run, int B, int F)
{
    const json_t *expected = json_object_get(run->c->json, "expected");
    bool elements = !run->loss.type->wants_labels; /* PyTorch's sum is over elements */
    double scale = run->sum && elements ? F : 1, upstream = run->upstream.values[0];
    Batch batch = { .count = B, .labels = run->labels, .targets = run->targets };
    Pass pass = { .train = true, .batch = B, .lane_size = B };
    pass.global_targets = run->sum ? 1 : run->counted;
    Tally tally = run->loss.type->evaluate(&run->loss, &pass, &batch, run->x, run->dx);
    float y = (float)(tally.loss * scale / (double)pass.global_targets);
    for (int i = 0; i < B * F; i++)
        run->dx[i] *= (float)(scale * upstream);
    const json_t *loss = case_named(expected, "y"), *gradient = case_named(expected, "d_x");
    if (!loss || !gradient)
        err_set(&run->c->why, "y or d_x is not among the expected arrays");
    else if (tally.count != (double)run->counted)
        err_set(&run->c->why, "%g targets are counted, not %g", tally.count, (double)run->counted);
    else if (case_expects(run->c, loss, &y, 1))
        case_expects(run->c, gradient, run->dx, (size_t)B * (size_t)F);
}

static Verdict run_loss(LossRun *run, const char *type, const char *target)
{
    Case *c = run->c;
    Err *why = &c->why;
    recipe_init(&run->recipe, json_object_get(c->json, "attrs"), type);
    const char *reduction = key_text(run->recipe.left, "reduction", "mean");
    run->sum = strcmp(reduction, "sum") == 0;
    if (!run->sum && strcmp(reduction, "mean") != 0)
        recipe_unsupported(&run->recipe, "reduction %s", reduction);
    recipe_drop(&run->recipe, "reduction");
    recipe_copy_number(&run->recipe, "label_smoothing", "label_smoothing");
    double ignored = recipe_number(&run->recipe, "ignore_index", -100);
    if (!recipe_finish(&run->recipe))
        return case_skips(c, "%s", run->recipe.unsupported);
    if (!case_input(c, "x", &run->input) || !case_input(c, target, &run->target) ||
        !case_input(c, "dy", &run->upstream))
        return FAILED;
    const Npy *x = &run->input;
    if (x->ndim < 2 || x->count == 0 || x->count > INT32_MAX || run->upstream.count != 1)
        return case_fails(c, "x or dy: cannot use its shape");
    size_t F = x->shape[x->ndim - 1], B = x->count / F;
    if (!recipe_parse(&run->recipe, "loss", &run->config, why) ||
        !loss_init(&run->loss, &run->config, config_get(run->config.root, "loss"),
                   (Shape){ .ndim = 1, .dim = { (int)F, 1, 1 } }, why))
        return FAILED;
    run->counted = (int64_t)B;
    if (run->loss.type->wants_labels && !read_labels(run, B, (int)F, ignored))
        return FAILED;
    if (!run->loss.type->wants_labels && run->target.count != x->count)
        return case_fails(c, "%s: %zu targets expected", target, x->count);
    if (!run->loss.type->wants_labels)
        run->targets = to_floats(&run->target);
    run->x = to_floats(x);
    run->dx = filled(x->count, NAN);
    compare_loss(run, (int)B, (int)F);
    return why->text[0] ? FAILED : case_verdict(c);
}

Verdict golden_layer(Case *c)
{
    const char *name = key_text(c->json, "layer", "?");
    const LossType *loss = loss_find(name);
    if (loss) {
        LossRun run = { .c = c };
        Verdict verdict = run_loss(&run, name, loss->wants_labels ? "target" : "t");
        loss_run_free(&run);
        return verdict;
    }
    for (size_t i = 0; i < sizeof recurrent / sizeof *recurrent; i++)
        if (strcmp(name, recurrent[i][0]) == 0)
            return golden_recurrent(c, recurrent[i][1]);
    const struct Reference *reference = find_reference(name);
    if (!reference)
        return case_skips(c, "no layer for %s", name);
    LayerRun run = { .c = c, .train = true };
    Verdict verdict = run_layer(&run, reference);
    run_free(&run);
    return verdict;
}
