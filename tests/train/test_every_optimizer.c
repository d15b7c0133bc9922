/* Every optimizer and every wrapper of the registries trains a small network to the same bits on
 * any number of ranks.
 * ranks: 1 2 3 4 8
 *
 * Every rank trains alone (a Comm of one rank), then together with the others. A newcomer is
 * covered unedited; the lists here only make some do within four steps what they do seldom. */
#include "lockstep/cpu.h"
#include "lockstep/optimizer.h"
#include "lockstep/trainer.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

/* A kernel, a matrix that is cut into slices, vectors; statistics; eight lanes for eight ranks. */
static const char net[] =
    "data: {type: synthetic, shape: [3, 6, 6], classes: 5, train: 64, test: 16}\n"
    "model: {layers: [conv2d: {channels: 6, kernel: 3, padding: 1, bias: false}, batchnorm, relu,\n"
    "                 flatten, dense: 24, relu, dense: 5]}\n"
    "train: {batch: 16, lanes: 8, epochs: 1}\n"
    "optimizer: {%s}\n";

/* In place of the method's name alone. */
static const char *const methods[] = {
    "ademamix, alpha_warmup: 3, beta3_warmup: 3",
    "asgd, t0: 1",
    "entropy_sgd, inner_steps: 2",
    "rmsprop, centered: true, momentum: 0.9",
    "shampoo, start: 2, period: 2",
    "soap, period: 2",
    "sophia, period: 2",
    "stagewise, stage_steps: 2",
    NULL,
};

static const char *const wrappers[] = {
    "agc: {max: 0.1}",
    "clip_layer: {max: 0.1}",
    "lookahead: {k: 2}",
    "noise: {std: 0.1}",
    "perturb: {threshold: 1e9, wait: 2}",
    "swa: {every: 1st, start: 2st}",
    NULL,
};

/* Different methods in one network; everything that clips. */
static const char *const more[] = {
    "type: adamw, clip_norm: 0.1, groups: [{dims: 4, type: muon}, {match: '*.bias', type: lars}]",
    "type: lamb, clip_value: 0.01, wrap: [noise, adagc, larc, lookahead: {k: 2}, ema]",
    "type: l4, inner: adam, weight_decay: 0.01",
    "type: prodigy, clip_norm: 0.5, wrap: [centralize, swa: {every: 1st}]",
};

static Comm *world;

typedef struct Result {
    uint64_t digest, trajectory;
    Tally test; /* at the weights to evaluate */
} Result;

static Result train(Comm *comm, const char *optimizer)
{
    char config[1024];
    Settings settings = { 0 };
    Trainer trainer;
    Err err;
    int code;
    snprintf(config, sizeof config, net, optimizer);
    bool ok = config_parse(&settings.config, "test.yaml", config, strlen(config), &err) &&
              settings_read(&settings, &err) &&
              trainer_init(&trainer, &settings, comm, &code, &err);
    ck_assert_msg(ok, "%s: %s", optimizer, err.text);
    uint64_t start = trainer_digest(&trainer);
    while (trainer.step < trainer.steps)
        ck_assert_int_eq(trainer_step(&trainer), STEP_OK);
    Result result = { trainer.digest, trainer.trajectory, trainer_test(&trainer) };
    ck_assert_msg(result.digest != start, "%s moves nothing", optimizer);
    trainer_free(&trainer);
    settings_free(&settings);
    return result;
}

static void check(const char *optimizer)
{
    Comm *self = comm_split(world, comm_rank(world));
    Result alone = train(self, optimizer), together = train(world, optimizer);
    comm_free(self);
    bool same = alone.digest == together.digest && alone.trajectory == together.trajectory &&
                memcmp(&alone.test, &together.test, sizeof alone.test) == 0;
    if (!same && comm_rank(world) == 0)
        fprintf(stderr, "%s: %d ranks give other bits than one\n", optimizer, comm_size(world));
    assert_all(same);
}

/* The entry of `list` that begins with the name, or the name. */
static const char *busy(const char *const *list, const char *name)
{
    size_t length = strlen(name);
    for (; *list; list++)
        if (strncmp(*list, name, length) == 0 && strchr(",:", (*list)[length]))
            return *list;
    return name;
}

START_TEST(every_method)
{
    int count;
    const OptimizerType *const *all = optimizer_all(&count);
    for (int i = 0; i < count; i++) {
        char options[256];
        snprintf(options, sizeof options, "type: %s", busy(methods, all[i]->name));
        check(options);
    }
}
END_TEST

START_TEST(every_wrapper)
{
    int count;
    const WrapperType *const *all = wrapper_all(&count);
    for (int i = 0; i < count; i++) {
        char options[256];
        snprintf(options, sizeof options, "type: adam, wrap: [%s]", busy(wrappers, all[i]->name));
        check(options);
    }
}
END_TEST

START_TEST(several_at_once)
{
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        check(more[i]);
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("every optimizer");
    add_test(suite, every_method);
    add_test(suite, every_wrapper);
    add_test(suite, several_at_once);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
