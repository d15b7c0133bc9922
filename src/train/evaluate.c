/* Evaluation: every test sample once, the chunks shared out among the ranks and their sums added in
 * chunk order, so the result is the same bits for any rank count. With test-time augmentation the
 * network sees several views of each image and its outputs are averaged before the loss. */
#include "watch.h"

#include "lockstep/memory.h"
#include "lockstep/trainer.h"

#include <string.h>

/* ---- views ---- */

typedef struct WeightedView {
    View view;
    float weight;
} WeightedView;

typedef struct ViewList {
    const WeightedView *views;
    int count, shift; /* largest shift, pixels */
} ViewList;

static const WeightedView plain_views[] = { { { false, 0, 0 }, 1 } };

static const WeightedView flip_views[] = { { { false, 0, 0 }, 0.5f }, { { true, 0, 0 }, 0.5f } };

/* Both sides of the image where it is, and moved by a pixel to either end of the diagonal: half the
 * weight is on the image in its place (Jordan 2024, section 3.5). */
static const WeightedView multicrop_views[] = {
    { { false, 0, 0 }, 0.25f },   { { true, 0, 0 }, 0.25f },   { { false, -1, -1 }, 0.125f },
    { { true, -1, -1 }, 0.125f }, { { false, 1, 1 }, 0.125f }, { { true, 1, 1 }, 0.125f },
};

#define VIEWS(array) (int)(sizeof array / sizeof *array)

static const ViewList view_lists[] = {
    [TTA_NONE] = { plain_views, VIEWS(plain_views), 0 },
    [TTA_FLIP] = { flip_views, VIEWS(flip_views), 0 },
    [TTA_MULTICROP] = { multicrop_views, VIEWS(multicrop_views), 1 },
};

bool trainer_check_tta(const Trainer *t, Err *err)
{
    const Config *config = &t->settings->config;
    Shape shape = t->loader.shape;
    char text[48];
    int shift = view_lists[t->settings->eval.tta].shift;
    if (t->settings->eval.tta == TTA_NONE)
        return true;
    if (shape.ndim == 3 && shape.dim[1] > shift && shape.dim[2] > shift)
        return true;
    return config_error(config, config_get(config_get(config->root, "eval"), "tta"), err,
                        "test-time augmentation is for images, samples here have shape %s",
                        shape_text(shape, text, sizeof text));
}

/* ---- chunks ---- */

static Pass chunk_pass(const Trainer *t, const Batch *batch)
{
    return (Pass){ .batch = batch->count,
                   .seed = (uint64_t)t->settings->seed,
                   .step = t->step,
                   .global_batch = batch->count,
                   .lane_size = t->lanes.size,
                   .tokens = batch->tokens };
}

static Tally evaluate_chunk(Trainer *t, int64_t chunk)
{
    const Batch *batch = loader_chunk(&t->loader, chunk);
    Pass pass = chunk_pass(t, batch);
    return model_forward(&t->model, batch, &pass);
}

/* The loss of the mean of the outputs over the views. */
static Tally evaluate_views(Trainer *t, int64_t chunk, const ViewList *list)
{
    const Batch *batch = NULL;
    Pass pass = { .train = false };
    size_t n = 0;
    for (int v = 0; v < list->count; v++) {
        const WeightedView *view = &list->views[v];
        batch = loader_chunk_view(&t->loader, chunk, view->view);
        pass = chunk_pass(t, batch);
        Batch unlabelled = *batch;
        unlabelled.labels = NULL;
        unlabelled.targets = NULL;
        model_forward(&t->model, &unlabelled, &pass);
        const float *y = model_output(&t->model);
        n = shape_stored(t->model.output) * (size_t)batch->count;
        if (v == 0)
            memset(t->mean_output, 0, n * sizeof *y);
        for (size_t i = 0; i < n; i++)
            t->mean_output[i] += view->weight * y[i];
    }
    const Loss *loss = &t->model.loss;
    return loss->type->evaluate(loss, &pass, batch, t->mean_output, NULL);
}

static Tally add_chunks(const Trainer *t)
{
    Tally total = { 0 };
    for (int64_t c = 0; c < loader_chunks(&t->loader); c++) { /* in chunk order, for any P */
        total.loss += t->chunk_tallies[c].loss;
        total.correct += t->chunk_tallies[c].correct;
        total.count += t->chunk_tallies[c].count;
    }
    return total;
}

static Tally evaluate(Trainer *t, Tta tta)
{
    const size_t *bounds = t->chunk_bounds + comm_rank(t->comm);
    model_bind(&t->model, trainer_final_weights(t), NULL);
    model_begin_step(&t->model, 0);
    for (size_t c = bounds[0]; c < bounds[1]; c++) { /* this rank's chunks */
        watch_note(t->watch, t->step, WATCH_EVALUATE, (int)c);
        t->chunk_tallies[c] = tta == TTA_NONE ? evaluate_chunk(t, (int64_t)c)
                                              : evaluate_views(t, (int64_t)c, &view_lists[tta]);
    }
    comm_allgather(t->comm, t->chunk_tallies, t->chunk_bounds, sizeof *t->chunk_tallies);
    return add_chunks(t);
}

Tally trainer_evaluate(Trainer *t)
{
    return evaluate(t, TTA_NONE);
}

Tally trainer_test(Trainer *t)
{
    return evaluate(t, (Tta)t->settings->eval.tta);
}
