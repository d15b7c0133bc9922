/* A trained network does not depend on the rank count; with a sum in another order it does.
 * ranks: 1 2 3 5 8
 *
 * Every rank trains the network alone (a Comm of one rank) and then together with the others. */
#include "lockstep/bf16.h"
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/trainer.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

static const char image_net[] =
    "data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 150, test: 40,\n"
    "       augment: [flip, crop: {pad: 1}]}\n"
    "model:\n"
    "  layers: [conv2d: {channels: 18, kernel: 3, padding: 1}, batchnorm: {ghost: 2}, relu,\n"
    "           global_avgpool, dropout: 0.2, dense: 5]\n"
    "train: {batch: 64, lanes: 8, epochs: 3}\n"
    "optimizer: {type: lars, lr: 1.0}\n";

/* What the CIFAR-10 recipe is made of: a whitened first convolution with frozen weights, identity
 * convolutions, norms without gain, flips in turns, test-time augmentation. */
static const char recipe[] =
    "data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 150, test: 40,\n"
    "       augment: [flip: {alternate: true}, crop: {pad: 1, fill: reflect}], last_batch: drop}\n"
    "model:\n"
    "  init: dirac\n"
    "  layers: [conv2d: {channels: 24, kernel: 2, init: whiten(1e-3), trainable: bias, name: "
    "first},\n"
    "           gelu, conv2d: {channels: 30, kernel: 3, padding: 1, bias: false}, maxpool: 2,\n"
    "           batchnorm: {affine: bias}, gelu, global_avgpool,\n"
    "           dense: {units: 5, init: torch, lr_factor: 2}, scale: 0.125]\n"
    "train: {batch: 64, lanes: 8, epochs: 3}\n"
    "optimizer: {type: sgd, lr: 0.1, nesterov: true, weight_decay: 1e-3, decay_all: true,\n"
    "            norm_bias_lr_factor: 8}\n"
    "eval: {tta: multicrop}\n";
#define PERCEPTRON                                                                                 \
    "data: {type: synthetic, shape: [50], classes: 5, train: 150, test: 40}\n"                     \
    "model: {layers: [dense: 37, gelu, dense: 70, relu, dense: 5]}\n"                              \
    "train: {batch: 64, lanes: 8, epochs: 3}\n"                                                    \
    "optimizer: {type: sgd, lr: 0.1}\n"
static const char fp32_net[] = PERCEPTRON;
static const char bf16_net[] = PERCEPTRON "compute: {precision: bf16}\n";

static Comm *world;

enum { FROZEN = 24 * 12 }; /* weights of "first" */

typedef struct Result {
    uint64_t digest, trajectory;
    Tally test;
} Result;

/* A tensor "first.weight" is not trained. */
static Result train(Comm *comm, const char *config, ReducerOrder order)
{
    Settings settings = { 0 };
    Trainer trainer;
    Err err;
    int code;
    bool ok = config_parse(&settings.config, "test.yaml", config, strlen(config), &err) &&
              settings_read(&settings, &err) &&
              trainer_init(&trainer, &settings, comm, &code, &err);
    ck_assert_msg(ok, "%s", err.text);
    reducer_set_order(trainer.reducer, order);
    float frozen[FROZEN];
    int index = layout_find(&trainer.model.layout, "first.weight");
    const float *weight =
        index < 0 ? frozen : trainer.w + trainer.model.layout.tensors[index].offset;
    memcpy(frozen, weight, index < 0 ? 0 : sizeof frozen);
    while (trainer.step < trainer.steps)
        ck_assert_int_eq(trainer_step(&trainer), STEP_OK);
    ck_assert(same_bits(frozen, weight, index < 0 ? 0 : FROZEN));
    Result result = { trainer.digest, trainer.trajectory, trainer_test(&trainer) };
    ck_assert(trainer.digest == trainer_digest(&trainer));
    trainer_free(&trainer);
    settings_free(&settings);
    return result;
}

static Result train_alone(const char *config, ReducerOrder order)
{
    Comm *alone = comm_split(world, comm_rank(world));
    Result result = train(alone, config, order);
    comm_free(alone);
    return result;
}

static void check_rank_count(const char *config)
{
    Result alone = train_alone(config, REDUCER_ORDER_TREE);
    Result together = train(world, config, REDUCER_ORDER_TREE);
    assert_all(alone.digest == together.digest);
    assert_all(alone.trajectory == together.trajectory);
    assert_all(memcmp(&alone.test, &together.test, sizeof alone.test) == 0);
}

START_TEST(rank_count_changes_nothing)
{
    check_rank_count(image_net);
    check_rank_count(fp32_net);
}
END_TEST

START_TEST(rank_count_changes_nothing_in_the_recipe)
{
    check_rank_count(recipe);
}
END_TEST

/* By every bf16 family of this CPU; and bf16 is not fp32. */
START_TEST(rank_count_changes_nothing_in_bf16)
{
    static const char *const families[] = { "portable", "avx512", "amx" };
    Err err;
    Result fp32 = train_alone(fp32_net, REDUCER_ORDER_TREE);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (bf16_set_kernel(families[i], &err)) {
            check_rank_count(bf16_net);
            assert_all(train_alone(bf16_net, REDUCER_ORDER_TREE).digest != fp32.digest);
        }
    assert_all(bf16_set_kernel("auto", &err));
}
END_TEST

/* The test above can fail: a running sum, the way programs without a tree add, gives other bits. */
START_TEST(another_order_gives_other_bits)
{
    Result alone = train_alone(image_net, REDUCER_ORDER_TREE);
    Result broken = train(world, image_net, REDUCER_ORDER_ARRIVAL);
    assert_all(alone.digest != broken.digest);
    assert_all(alone.trajectory != broken.trajectory);
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("trajectory");
    add_test(suite, rank_count_changes_nothing);
    add_test(suite, rank_count_changes_nothing_in_the_recipe);
    add_test(suite, rank_count_changes_nothing_in_bf16);
    add_test(suite, another_order_gives_other_bits);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
