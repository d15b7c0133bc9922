/* Evaluation with and without test-time augmentation against a plain version written here: one
 * sample at a time, views made by indices, outputs averaged and losses taken in double.
 * ranks: 1 2 3 */
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/trainer.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { C = 2, H = 5, W = 6, N = C * H * W, K = 3, TEST = 21 };

static const char config[] =
    "data: {type: synthetic, shape: [2, 5, 6], classes: 3, train: 64, test: 21, noise: 3}\n"
    "model: {layers: [conv2d: {channels: 7, kernel: 3}, gelu, flatten, dense: 3]}\n"
    "train: {batch: 16, lanes: 4, epochs: 2}\n";

static Comm *world;

typedef struct Seen {
    bool mirror;
    int shift; /* along both sides */
    double weight;
} Seen;

static const Seen none[] = { { false, 0, 1 } };
static const Seen flip[] = { { false, 0, 0.5 }, { true, 0, 0.5 } };
static const Seen multicrop[] = { { false, 0, 0.25 },  { true, 0, 0.25 },   { false, -1, 0.125 },
                                  { true, -1, 0.125 }, { false, 1, 0.125 }, { true, 1, 0.125 } };

/* ... 2 1 | 0 1 2 ... n-1 | n-2 ... */
static int mirrored(int i, int n)
{
    i = i < 0 ? -i : i;
    return i < n ? i : 2 * (n - 1) - i;
}

static void see(const float *x, const Seen *seen, float *y)
{
    for (int k = 0; k < N; k++) {
        int row = mirrored(k / W % H + seen->shift, H), column = mirrored(k % W + seen->shift, W);
        column = seen->mirror ? W - 1 - column : column;
        y[k] = x[k / (H * W) * H * W + row * W + column];
    }
}

/* Mean outputs of one image over the views. */
static void mean_outputs(Trainer *t, const float *x, const Seen *views, int count, double mean[K])
{
    memset(mean, 0, K * sizeof *mean);
    for (int v = 0; v < count; v++) {
        float y[N];
        see(x, &views[v], y);
        Batch batch = { .count = 1, .x = y };
        Pass pass = { .batch = 1, .global_batch = 1, .lane_size = t->lanes.size };
        model_forward(&t->model, &batch, &pass);
        for (int k = 0; k < K; k++)
            mean[k] += views[v].weight * (double)model_output(&t->model)[k];
    }
}

static Tally naive(Trainer *t, const Seen *views, int count)
{
    Tally tally = { .count = TEST };
    model_bind(&t->model, t->w, NULL);
    model_begin_step(&t->model, 0);
    for (int i = 0; i < TEST; i++) {
        const Batch *chunk = loader_chunk(&t->loader, i / t->lanes.size);
        const float *x = chunk->x + i % t->lanes.size * N;
        int label = chunk->labels[i % t->lanes.size], best = 0;
        double y[K], sum = 0;
        mean_outputs(t, x, views, count, y);
        for (int k = 0; k < K; k++) {
            best = y[k] > y[best] ? k : best;
            sum += exp(y[k]);
        }
        tally.loss += log(sum) - y[label];
        tally.correct += best == label;
    }
    return tally;
}

static void check(const char *tta, const Seen *views, int count)
{
    Settings settings = { 0 };
    Trainer trainer;
    Err err;
    int code;
    bool ok = config_parse(&settings.config, "test.yaml", config, sizeof config - 1, &err) &&
              config_override(&settings.config, tta, &err) && settings_read(&settings, &err) &&
              trainer_init(&trainer, &settings, world, &code, &err);
    ck_assert_msg(ok, "%s", err.text);
    while (trainer.step < trainer.steps)
        ck_assert_int_eq(trainer_step(&trainer), STEP_OK);
    Tally plain = trainer_evaluate(&trainer), test = trainer_test(&trainer);
    Tally wanted_plain = naive(&trainer, none, 1), wanted = naive(&trainer, views, count);
    assert_all(plain.count == TEST && test.count == TEST);
    assert_all(plain.correct == wanted_plain.correct && test.correct == wanted.correct);
    assert_all(fabs(plain.loss - wanted_plain.loss) < 1e-5 * wanted_plain.loss);
    assert_all(fabs(test.loss - wanted.loss) < 1e-5 * wanted.loss);
    assert_all((count == 1) == (plain.loss == test.loss));
    trainer_free(&trainer);
    settings_free(&settings);
}

START_TEST(every_view_counts)
{
    check("eval.tta=none", none, 1);
    check("eval.tta=flip", flip, 2);
    check("eval.tta=multicrop", multicrop, 6);
}
END_TEST

START_TEST(images_only)
{
    static const char *const shapes[] = { "data.shape=[60]", "data.shape=[10, 1, 6]" };
    static const char *const layers[] = { "model.layers=[dense: 3]",
                                          "model.layers=[flatten, dense: 3]" };
    for (int i = 0; i < 2; i++) {
        Settings settings = { 0 };
        Trainer trainer;
        Err err;
        int code;
        bool ok = config_parse(&settings.config, "test.yaml", config, sizeof config - 1, &err) &&
                  config_override(&settings.config, shapes[i], &err) &&
                  config_override(&settings.config, layers[i], &err) &&
                  config_override(&settings.config, "eval.tta=multicrop", &err) &&
                  settings_read(&settings, &err);
        ck_assert_msg(ok, "%s", err.text);
        assert_all(!trainer_init(&trainer, &settings, world, &code, &err));
        assert_all(code == EXIT_USAGE);
        assert_all(strstr(err.text, "eval.tta=multicrop: test-time augmentation is for images, "
                                    "samples here have shape (") != NULL);
        trainer_free(&trainer);
        settings_free(&settings);
    }
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("evaluate");
    add_test(suite, every_view_counts);
    add_test(suite, images_only);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
