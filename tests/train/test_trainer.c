/* How a trainer starts and stops when not all goes well: ranks that disagree, a signal in the step
 * that diverges. What memory it takes.
 * ranks: 1 2 3 */
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/trainer.h"
#include "support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char config[] = "data: {type: synthetic, shape: [6], classes: 5, train: 32, test: 8}\n"
                             "model: {layers: [dense: 5]}\n"
                             "train: {batch: 16, lanes: 4, steps: 3}\n";

static Comm *world;

/* What the C library is asked for, by whomever. */
static size_t malloc_calls;

#ifdef __clang__
#define OWN_MALLOC !(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1
#endif

#if OWN_MALLOC /* a sanitizer brings its own */
extern void *__libc_malloc(size_t bytes);
void *malloc(size_t bytes)
{
    malloc_calls++;
    return __libc_malloc(bytes);
}
#endif

/* Of this process, as the kernel sees it. */
static size_t resident_bytes(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*d %lld", &pages), 1);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* `change`: an override, or NULL. */
static bool start(Trainer *trainer, Settings *settings, const char *change, int *code, Err *err)
{
    *settings = (Settings){ 0 };
    bool ok = config_parse(&settings->config, "test.yaml", config, sizeof config - 1, err) &&
              (!change || config_override(&settings->config, change, err)) &&
              settings_read(settings, err);
    ck_assert_msg(ok, "%s", err->text);
    return trainer_init(trainer, settings, world, code, err);
}

static void finish(Trainer *trainer, Settings *settings)
{
    trainer_free(trainer);
    settings_free(settings);
}

/* The last rank has another config: an error that only this rank would see must not leave the
 * others waiting. */
static void last_rank_differs(const char *change)
{
    int code, last = comm_size(world) - 1;
    Settings settings;
    Trainer trainer;
    Err err;
    bool ok = start(&trainer, &settings, comm_rank(world) == last ? change : NULL, &code, &err);
    char begin[64];
    snprintf(begin, sizeof begin, "rank %d on ", last);
    assert_all(!ok && code == EXIT_REPLICAS);
    assert_all(strncmp(err.text, begin, strlen(begin)) == 0);
    assert_all(strstr(err.text, ": config digest is '") != NULL);
    finish(&trainer, &settings);
}

START_TEST(ranks_that_disagree_stop_together)
{
    if (comm_size(world) == 1)
        return;
    last_rank_differs("seed=2");
    last_rank_differs("train.lanes=1");
    last_rank_differs("data.classes=4");
    last_rank_differs("model.layers=[nonsense]");
    last_rank_differs("optimizer.lr=x");
}
END_TEST

/* The same config, in another working folder, finds other files. */
START_TEST(ranks_with_other_data_stop_together)
{
    char folder[TEST_PATH], path[TEST_PATH];
    const int last = comm_size(world) - 1, rank = comm_rank(world);
    if (last == 0)
        return;
    temp_create(folder);
    for (int split = 0; split < 2; split++) {
        unsigned char samples[] = { 0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8 };
        unsigned char labels[] = { 0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 1 };
        labels[11] = rank == last ? 3 : 1; /* four classes: the network below would not fit */
        write_bytes(
            join_path(path, folder, split ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte"),
            samples, sizeof samples);
        write_bytes(
            join_path(path, folder, split ? "t10k-labels-idx1-ubyte" : "train-labels-idx1-ubyte"),
            labels, sizeof labels);
    }
    char here[TEST_PATH];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    ck_assert_int_eq(chdir(folder), 0);
    int code;
    Settings settings;
    Trainer trainer;
    Err err;
    bool ok = start(&trainer, &settings, "data={type: idx, folder: .}", &code, &err);
    ck_assert_int_eq(chdir(here), 0);
    assert_all(!ok && code == EXIT_REPLICAS);
    assert_all(strstr(err.text, ": training data digest is '") != NULL);
    finish(&trainer, &settings);
    temp_remove(folder);
}
END_TEST

/* Every rank sees it: no rank is named. */
START_TEST(ranks_that_agree_on_an_error_name_no_rank)
{
    int code;
    Settings settings;
    Trainer trainer;
    Err err;
    assert_all(!start(&trainer, &settings, "optimizer.lr=x", &code, &err));
    assert_all(code == EXIT_USAGE);
    assert_all(strcmp(err.text, "command line: optimizer.lr=x: \"x\" is not a number") == 0);
    finish(&trainer, &settings);
}
END_TEST

START_TEST(a_small_part_of_an_epoch_is_a_step)
{
    int code;
    Settings settings;
    Trainer trainer;
    Err err;
    assert_all(start(&trainer, &settings, "train.epochs=0.001", &code, &err));
    assert_all(trainer.steps == 1);
    finish(&trainer, &settings);
}
END_TEST

/* What trainer_init has left allocated with a network of some MB, momentum and batch norm; the
 * whole trainer is freed again. `steps`: to train after it, each of which must allocate nothing. */
static size_t memory_taken(bool dry_run, int steps, size_t *resident)
{
    static const char net[] =
        "model.layers=[conv2d: {channels: 33, kernel: 3, padding: 1}, batchnorm, relu, maxpool: 2, "
        "residual: {body: [conv2d: {channels: 33, kernel: 5, padding: 2}, batchnorm]}, relu, "
        "dropout, flatten, dense: 2100, gelu, dense: 5]";
    int code;
    Settings settings = { .dry_run = dry_run };
    Trainer trainer;
    Err err;
    size_t before = mem_use().bytes, pages = resident_bytes();
    bool ok = config_parse(&settings.config, "test.yaml", config, sizeof config - 1, &err) &&
              config_override(&settings.config, "data.shape=[3, 16, 16]", &err) &&
              config_override(&settings.config, "optimizer.type=lamb", &err) &&
              config_override(&settings.config, net, &err) && settings_read(&settings, &err);
    ck_assert_msg(ok, "%s", err.text);
    settings.dry_run = dry_run;
    assert_all(trainer_init(&trainer, &settings, world, &code, &err));
    size_t now = resident_bytes();
    *resident = now > pages ? now - pages : 0; /* MPI may have given some back */
    size_t taken = mem_use().bytes - before;
    for (int i = 0; i < steps; i++) {
        MemUse use = mem_use();
        size_t mallocs = malloc_calls;
        trainer_step(&trainer);
        mallocs = malloc_calls - mallocs;
        assert_all(mem_use().allocations == use.allocations);
        assert_all(i == 0 || comm_size(world) > 1 || mallocs == 0); /* MPI may */
    }
    assert_all(mem_use().peak_bytes == trainer.planned_bytes);
    finish(&trainer, &settings);
    return taken;
}

/* A dry run knows to the byte what a run takes, and does not take it; training takes no more. */
START_TEST(memory_is_what_the_dry_run_says)
{
    size_t pages, dry = memory_taken(true, 0, &pages);
    assert_all(dry > 10 << 20);
    assert_all(pages < dry / 2);
    size_t real = memory_taken(false, 4, &pages);
    assert_all(real == dry);
}
END_TEST

/* Training steps of `trainer` with the overrides in `changes` (ends with NULL). */
static void begin(Trainer *trainer, Settings *settings, const char *const *changes)
{
    int code;
    Err err;
    *settings = (Settings){ 0 };
    bool ok = config_parse(&settings->config, "test.yaml", config, sizeof config - 1, &err);
    for (; ok && *changes; changes++)
        ok = config_override(&settings->config, *changes, &err);
    ok = ok && settings_read(settings, &err) && trainer_init(trainer, settings, world, &code, &err);
    ck_assert_msg(ok, "%s", err.text);
}

/* Epochs of 48; 4 lanes, then 8, then 32 in the middle of the second epoch: the new reducer is
 * within what was planned, and the samples are counted. */
START_TEST(a_batch_that_grows)
{
    static const int lanes[] = { 4, 4, 4, 8, 32, 32 };
    Settings settings;
    Trainer trainer;
    begin(&trainer, &settings,
          (const char *const[]){ "train.grow=[{at: 1ep, batch: 32}, {at: 4st, batch: 128}]",
                                 "data.train=48", "train.steps=6", NULL });
    int64_t samples = 0;
    for (int t = 0; t < 6; t++) {
        samples += loader_batch_size(&trainer.loader, t);
        assert_all(trainer_step(&trainer) == STEP_OK);
        assert_all(trainer.lanes.count == lanes[t]);
        assert_all(trainer.lanes.size == 4 && trainer.samples == samples);
    }
    assert_all(mem_use().peak_bytes == trainer.planned_bytes);
    finish(&trainer, &settings);
}
END_TEST

/* Running statistics that `steps` steps without a learning rate leave, all batches being the same;
 * the averaged weights' own if `average`. */
static void statistics_after(int steps, const char *optimizer, const char *anew, float *out)
{
    char length[32];
    Settings settings;
    Trainer trainer;
    snprintf(length, sizeof length, "train.steps=%d", steps);
    begin(&trainer, &settings,
          (const char *const[]){ "model.layers=[dense: 7, batchnorm, dense: 5]", "train.batch=32",
                                 "data.shuffle=false", "train.lanes=4", length, optimizer, anew,
                                 NULL });
    for (int t = 0; t < steps; t++)
        assert_all(trainer_step(&trainer) == STEP_OK);
    const float *w = trainer_final_weights(&trainer);
    assert_all(trainer_final_weights(&trainer) == w); /* not once more */
    const Layout *layout = &trainer.model.layout;
    int mean = 0;
    while (!(layout->tensors[mean].flags & LAYOUT_STATISTIC))
        mean++;
    memcpy(out, w + layout->tensors[mean].offset, 7 * sizeof *out);
    comm_barrier(world);
    finish(&trainer, &settings);
}

START_TEST(averaged_weights_get_statistics_of_their_own)
{
    const char *average = "optimizer={type: sgd, lr: 0, wrap: [ema]}";
    const char *plain = "optimizer={type: sgd, lr: 0}";
    float wanted[7], stale[7], got[7];
    statistics_after(5, plain, "eval.statistics_steps=100", stale);
    statistics_after(6, plain, "eval.statistics_steps=100", wanted); /* an epoch is one step */
    statistics_after(5, average, "eval.statistics_steps=100", got);
    for (int i = 0; i < 7; i++) {
        assert_all(fabsf(got[i] - wanted[i]) <= 1e-6f);
        assert_all(fabsf(got[i] - stale[i]) > 1e-5f);
    }
    statistics_after(5, average, "eval.statistics_steps=0", got);
    assert_all(memcmp(got, stale, sizeof got) == 0);
}
END_TEST

/* Last of all: the wish to stop stays. */
START_TEST(divergence_outlives_a_signal)
{
    static char name[] = "x";
    char base[TEST_PATH];
    int code;
    Settings settings;
    Trainer trainer;
    Summary summary;
    Err err;
    if (comm_rank(world) == 0)
        temp_create(base);
    comm_broadcast(world, base, sizeof base, 0);
    assert_all(start(&trainer, &settings, "model.init=normal(1e39)", &code, &err));
    Settings place = { .name = name, .folder = base };
    Run *run = run_open(world, &place, false, &err);
    assert_all(run != NULL);
    if (comm_rank(world) == comm_size(world) - 1)
        trainer_request_stop(SIGUSR1);
    assert_all(trainer_run(&trainer, run, &summary) == EXIT_DIVERGED);
    assert_all(strcmp(summary.status, "diverged") == 0);
    assert_all(summary.diverged_step == 1 && summary.steps == 0);
    assert_all(run_close(run, &err));
    finish(&trainer, &settings);
    if (comm_rank(world) == 0)
        temp_remove(base);
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    log_set_level(LOG_QUIET);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("trainer");
    add_test(suite, ranks_that_disagree_stop_together);
    add_test(suite, ranks_with_other_data_stop_together);
    add_test(suite, ranks_that_agree_on_an_error_name_no_rank);
    add_test(suite, a_small_part_of_an_epoch_is_a_step);
    add_test(suite, memory_is_what_the_dry_run_says);
    add_test(suite, a_batch_that_grows);
    add_test(suite, averaged_weights_get_statistics_of_their_own);
    add_test(suite, divergence_outlives_a_signal);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
