/* Golden cases of recurrent layers: x and y are (T, B, ...), and every sample starts in a state of
 * its own. Ours is a parameter (`initial: learned`), so samples are run one by one, and the
 * gradients of what they share are added up. */
#include "golden.h"

#include "lockstep/layer.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

/* A tensor of ours and of the case. */
typedef struct Part {
    const char *ours, *theirs;
    bool per_sample; /* theirs has a row for each sample */
    Npy values;
    size_t n;
    float *w, *dw; /* (n), in the arenas */
    float *sum;    /* as large as theirs: the gradient over all samples */
} Part;

static const Part parts[] = {
    { .ours = "layer.weight_ih", .theirs = "w_ih" },
    { .ours = "layer.weight_hh", .theirs = "w_hh" },
    { .ours = "layer.bias_ih", .theirs = "b_ih" },
    { .ours = "layer.bias_hh", .theirs = "b_hh" },
    { .ours = "layer.h0", .theirs = "h0", .per_sample = true },
    { .ours = "layer.c0", .theirs = "c0", .per_sample = true },
};
enum { PARTS = sizeof parts / sizeof *parts };

typedef struct RecurrentRun {
    Case *c;
    Recipe recipe;
    Config config;
    Layout layout;
    Layer *layer;
    Npy x, dy; /* (T, B, F), (T, B, U) */
    size_t T, B, F, U;
    Part parts[PARTS];
    float *w, *dw;               /* arenas */
    float *sample_x, *sample_dx; /* (T, F) */
    float *sample_y, *sample_dy; /* (T, U) */
    float *y, *dx;               /* (T, B, U), (T, B, F) */
} RecurrentRun;

static void run_free(RecurrentRun *run)
{
    layer_free(run->layer);
    layout_free(&run->layout);
    config_free(&run->config);
    recipe_free(&run->recipe);
    npy_free(&run->x);
    npy_free(&run->dy);
    for (int i = 0; i < PARTS; i++) {
        npy_free(&run->parts[i].values);
        mem_free(run->parts[i].sum);
    }
    float *arrays[] = { run->w,        run->dw,        run->sample_x, run->sample_dx,
                        run->sample_y, run->sample_dy, run->y,        run->dx };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
}

static bool read_shapes(RecurrentRun *run)
{
    if (!case_input(run->c, "x", &run->x) || !case_input(run->c, "dy", &run->dy))
        return false;
    const size_t *x = run->x.shape, *dy = run->dy.shape;
    if (run->x.ndim != 3 || run->dy.ndim != 3 || x[0] != dy[0] || x[1] != dy[1] ||
        run->x.count == 0 || run->x.count > INT32_MAX || run->dy.count > INT32_MAX)
        return err_set(&run->c->why, "x or dy: cannot use its shape");
    run->T = x[0];
    run->B = x[1];
    run->F = x[2];
    run->U = dy[2];
    return true;
}

static bool make_layer(RecurrentRun *run, const char *type)
{
    Shape in = { .ndim = 2, .dim = { (int)run->T, (int)run->F, 1 } };
    if (!recipe_parse(&run->recipe, "layer", &run->config, &run->c->why))
        return false;
    run->layer =
        layer_create(layer_find(type), &run->config, config_get(run->config.root, "layer"),
                     &(LayerPlace){ .name = "layer", .in = in }, &run->layout, &run->c->why);
    if (!run->layer)
        return false;
    layout_seal(&run->layout);
    layer_allocate(run->layer, 1, NULL);
    run->w = mem_array(float, run->layout.n);
    run->dw = mem_array(float, run->layout.n);
    for (int i = 0; i < run->layer->tensor_count; i++) {
        LayerTensor *tensor = &run->layer->tensors[i];
        tensor->w = run->w + run->layout.tensors[tensor->index].offset;
        tensor->dw = run->dw + run->layout.tensors[tensor->index].offset;
    }
    return true;
}

static bool read_part(RecurrentRun *run, Part *part)
{
    int index = layout_find(&run->layout, part->ours);
    if (index < 0)
        return true; /* c0 is an LSTM's; should it be missing there, d_c0 will not be found */
    const LayoutTensor *tensor = &run->layout.tensors[index];
    part->n = tensor->n;
    part->w = run->w + tensor->offset;
    part->dw = run->dw + tensor->offset;
    size_t wanted = part->n * (part->per_sample ? run->B : 1);
    if (!case_input(run->c, part->theirs, &part->values))
        return false;
    part->sum = mem_array(float, wanted);
    return part->values.count == wanted ||
           err_set(&run->c->why, "%s: %zu values expected", part->theirs, wanted);
}

static void start_sample(RecurrentRun *run, size_t b)
{
    for (Part *part = run->parts; part < run->parts + PARTS; part++)
        for (size_t i = 0; i < part->n; i++)
            part->w[i] = (float)part->values.values[(part->per_sample ? b * part->n : 0) + i];
    for (size_t t = 0; t < run->T; t++) {
        for (size_t i = 0; i < run->F; i++)
            run->sample_x[t * run->F + i] = (float)run->x.values[(t * run->B + b) * run->F + i];
        for (size_t i = 0; i < run->U; i++)
            run->sample_dy[t * run->U + i] = (float)run->dy.values[(t * run->B + b) * run->U + i];
    }
}

static void end_sample(RecurrentRun *run, size_t b)
{
    for (Part *part = run->parts; part < run->parts + PARTS; part++)
        for (size_t i = 0; i < part->n; i++)
            part->sum[(part->per_sample ? b * part->n : 0) + i] += part->dw[i];
    for (size_t t = 0; t < run->T; t++) {
        memcpy(run->y + (t * run->B + b) * run->U, run->sample_y + t * run->U,
               run->U * sizeof *run->y);
        memcpy(run->dx + (t * run->B + b) * run->F, run->sample_dx + t * run->F,
               run->F * sizeof *run->dx);
    }
}

static void compute(RecurrentRun *run)
{
    const LayerType *type = run->layer->type;
    Pass pass = { .train = true, .batch = 1, .global_batch = 1, .lane_size = 1 };
    run->sample_x = mem_array(float, run->T * run->F);
    run->sample_dx = mem_array(float, run->T * run->F);
    run->sample_y = mem_array(float, run->T * run->U);
    run->sample_dy = mem_array(float, run->T * run->U);
    run->y = mem_array(float, run->dy.count);
    run->dx = mem_array(float, run->x.count);
    for (size_t b = 0; b < run->B; b++) {
        start_sample(run, b);
        type->begin_step(run->layer, &run->layout, 1);
        type->forward(run->layer, &pass, run->sample_x, run->sample_y);
        type->backward(run->layer, &pass, run->sample_x, NULL, run->sample_dy, run->sample_dx);
        end_sample(run, b);
    }
}

static bool compare(RecurrentRun *run, const json_t *entry)
{
    const char *name = key_text(entry, "name", "?");
    if (strcmp(name, "y") == 0)
        return case_expects(run->c, entry, run->y, run->dy.count);
    if (strcmp(name, "d_x") == 0)
        return case_expects(run->c, entry, run->dx, run->x.count);
    for (const Part *part = run->parts; part < run->parts + PARTS; part++)
        if (part->sum && strncmp(name, "d_", 2) == 0 && strcmp(name + 2, part->theirs) == 0)
            return case_expects(run->c, entry, part->sum, part->values.count);
    return err_set(&run->c->why, "this layer has no %s", name);
}

static Verdict run_case(RecurrentRun *run, const char *type)
{
    Case *c = run->c;
    const json_t *expected = json_object_get(c->json, "expected");
    recipe_init(&run->recipe, json_object_get(c->json, "attrs"), NULL);
    recipe_copy_number(&run->recipe, "hidden", "units");
    recipe_add(&run->recipe, "initial: learned");
    if (!recipe_finish(&run->recipe))
        return case_skips(c, "%s", run->recipe.unsupported);
    if (!read_shapes(run) || !make_layer(run, type))
        return FAILED;
    if (shape_values(run->layer->out) != run->T * run->U)
        return case_fails(c, "dy does not have the shape of y");
    for (int i = 0; i < PARTS; i++)
        if (!read_part(run, &run->parts[i]))
            return FAILED;
    compute(run);
    for (size_t i = 0; i < json_array_size(expected); i++)
        if (!compare(run, json_array_get(expected, i)))
            return FAILED;
    return case_verdict(c);
}

Verdict golden_recurrent(Case *c, const char *type)
{
    RecurrentRun run = { .c = c };
    memcpy(run.parts, parts, sizeof parts);
    Verdict verdict = run_case(&run, type);
    run_free(&run);
    return verdict;
}
