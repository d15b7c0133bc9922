/* Local SGD: workers are lanes, so the rank count changes nothing, and with an average after every
 * step of plain SGD it is the training that everybody knows.
 * ranks: 1 2 3 5 8 */
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/trainer.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NETWORK                                                                                    \
    "data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 150, test: 40, augment: "        \
    "[flip]}\n"                                                                                    \
    "model:\n"                                                                                     \
    "  layers: [conv2d: {channels: 18, kernel: 3, padding: 1}, batchnorm: {ghost: 2}, relu,\n"     \
    "           global_avgpool, dropout: 0.2, spectralnorm_dense: 12, dense: 5]\n"
#define PLAIN                                                                                      \
    "data: {type: synthetic, shape: [20], classes: 5, train: 128, test: 40}\n"                     \
    "model: {layers: [dense: 30, gelu, dense: 5]}\n"                                               \
    "train: {batch: 64, lanes: 8, epochs: 4, local: {steps: %d}}\n"                                \
    "optimizer: {type: sgd, lr: 0.2}\n"

static Comm *world;

typedef struct Result {
    uint64_t digest, trajectory;
    Tally middle, end; /* tests between two averages, and after the last */
    float w[4096];
} Result;

static void open_trainer(Trainer *trainer, Settings *settings, Comm *comm, const char *config)
{
    Err err;
    int code;
    *settings = (Settings){ 0 };
    bool ok = config_parse(&settings->config, "test.yaml", config, strlen(config), &err) &&
              settings_read(settings, &err) && trainer_init(trainer, settings, comm, &code, &err);
    ck_assert_msg(ok, "%s", err.text);
}

static Result train(Comm *comm, const char *config)
{
    Settings settings;
    Trainer trainer;
    Result result = { 0 };
    open_trainer(&trainer, &settings, comm, config);
    while (trainer.step < trainer.steps) {
        ck_assert_int_eq(trainer_step(&trainer), STEP_OK);
        if (trainer.step == 5)
            result.middle = trainer_evaluate(&trainer);
    }
    result.end = trainer_evaluate(&trainer);
    result.digest = trainer.digest;
    result.trajectory = trainer.trajectory;
    ck_assert(trainer.digest == trainer_digest(&trainer));
    ck_assert(trainer.model.layout.n <= sizeof result.w / sizeof *result.w);
    memcpy(result.w, trainer.w, trainer.model.layout.n * sizeof *result.w);
    trainer_free(&trainer);
    settings_free(&settings);
    return result;
}

static Result train_alone(const char *config)
{
    Comm *alone = comm_split(world, comm_rank(world));
    Result result = train(alone, config);
    comm_free(alone);
    return result;
}

static void check(const Result *a, const Result *b)
{
    assert_all(a->digest == b->digest);
    assert_all(a->trajectory == b->trajectory);
    assert_all(memcmp(&a->middle, &b->middle, sizeof a->middle) == 0);
    assert_all(memcmp(&a->end, &b->end, sizeof a->end) == 0);
    assert_all(same_bits(a->w, b->w, 4096));
}

START_TEST(rank_count_changes_nothing)
{
    static const char *const tails[] = {
        "train: {batch: 64, lanes: 8, epochs: 4, local: {steps: 3}}\n"
        "optimizer: {type: sgd, lr: 0.1, momentum: 0.9}\n",
        "train: {batch: 64, lanes: 8, epochs: 4, local: {steps: 3, after: 4st, state: average}}\n"
        "optimizer: {type: adamw, lr: 0.01, clip_norm: 1}\n",
        "train: {batch: 64, lanes: 8, epochs: 4, local: {steps: 4, after: 1ep}}\n"
        "optimizer: {type: lamb, lr: 0.01}\n",
    };
    char config[2048];
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(config, sizeof config, "%s%s", NETWORK, tails[i]);
        Result alone = train_alone(config), together = train(world, config);
        check(&alone, &together);
        snprintf(config, sizeof config, "%s%s%s", NETWORK, tails[i], "comm: {memory: private}\n");
        together = train(world, config);
        check(&alone, &together);
        snprintf(config, sizeof config, "%s%scomm: {virtual_hosts: %d}\n", NETWORK, tails[i],
                 (comm_size(world) + 1) / 2);
        together = train(world, config);
        check(&alone, &together);
    }
}
END_TEST

/* The mean of w - lr g over lanes is w - lr times the mean of g. */
START_TEST(an_average_after_every_step_is_plain_sgd)
{
    char config[1024];
    snprintf(config, sizeof config, PLAIN, 1);
    Result local = train_alone(config);
    snprintf(config, sizeof config, PLAIN, 1000);
    Result apart = train_alone(config);
    char *local_option = strstr(config, ", local");
    memmove(local_option, strchr(local_option, '}') + 1, strlen(strchr(local_option, '}')));
    Result plain = train_alone(config);
    double near = 0, far = 0;
    for (int i = 0; i < 4096; i++) {
        near = fmax(near, fabs((double)local.w[i] - (double)plain.w[i]));
        far = fmax(far, fabs((double)apart.w[i] - (double)plain.w[i]));
    }
    ck_assert(near < 1e-6);
    ck_assert(far > 1e-3); /* which the bound could tell */
    ck_assert(local.digest != plain.digest);
}
END_TEST

static void refuses(const char *tail, const char *wanted)
{
    Settings settings = { 0 };
    Trainer trainer;
    Err err;
    int code;
    char config[1024];
    snprintf(config, sizeof config,
             "data: {type: synthetic, shape: [20], classes: 5, train: 128, test: 40}\n"
             "model: {layers: [dense: 5]}\n%s",
             tail);
    ck_assert(config_parse(&settings.config, "test.yaml", config, strlen(config), &err));
    ck_assert_msg(settings_read(&settings, &err), "%s", err.text);
    ck_assert(!trainer_init(&trainer, &settings, world, &code, &err));
    ck_assert_msg(strstr(err.text, wanted), "%s", err.text);
    trainer_free(&trainer);
    settings_free(&settings);
}

START_TEST(what_cannot_be_apart_is_refused)
{
#define LOCAL "train: {batch: 64, lanes: 8, epochs: 4, local: {steps: 3}"
    refuses(LOCAL "}\noptimizer: {type: muon}\n", "found muon");
    refuses(LOCAL "}\noptimizer: {type: sgd, wrap: [ema]}\n", "found ema");
    refuses(LOCAL "}\noptimizer: {type: schedulefree_sgd}\n", "found schedulefree_sgd");
    refuses(LOCAL ", reduce: adasum}\n", "found adasum");
    refuses(LOCAL ", grow: [{at: 1ep, batch: 128}]}\n", "train.grow");
    refuses("train: {batch: 64, epochs: 1, local: {after: 3st}}\n", "steps");
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("local");
    add_test(suite, rank_count_changes_nothing);
    add_test(suite, an_average_after_every_step_is_plain_sgd);
    add_test(suite, what_cannot_be_apart_is_refused);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
