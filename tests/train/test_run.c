/* ranks: 1 3
 * A run folder from open to close: which files there are and what exactly they say, what happens to
 * an existing folder, and that a full disk costs records but neither the run nor a whole file. */
#include "support.h"

#include "../../src/train/run_parts.h"
#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/version.h"
#include "lockstep/weights.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static Comm *comm;
static int rank;
static char base[TEST_PATH]; /* the same on every rank */
static char wanted[2 * TEST_PATH];
static Settings settings;

static void setup(void)
{
    static char name[] = "x", config_text[] = "seed: 1\nmodel: {layers: [flatten]}\n";
    Err err;
    if (rank == 0)
        temp_create(base);
    comm_broadcast(comm, base, sizeof base, 0);
    settings = (Settings){ .name = name, .folder = base, .log = { .tensorboard = true } };
    assert_all(config_parse(&settings.config, "c.yaml", config_text, strlen(config_text), &err));
}

static void teardown(void)
{
    config_free(&settings.config);
    comm_barrier(comm);
    if (rank == 0)
        temp_remove(base);
}

static char *in_run(char path[TEST_PATH], const char *name)
{
    int length = snprintf(path, TEST_PATH, "%s/x/%s", base, name);
    ck_assert_int_lt(length, TEST_PATH);
    return path;
}

static bool exists(const char *name)
{
    char path[TEST_PATH];
    return access(in_run(path, name), F_OK) == 0;
}

/* Same text as in the file; shows both if not. */
static bool file_is(const char *name, const char *text)
{
    char path[TEST_PATH];
    char *found = read_text(in_run(path, name));
    bool same = strcmp(found, text) == 0;
    if (!same)
        fprintf(stderr, "%s holds\n%s\nand not\n%s\n", name, found, text);
    free(found);
    return same;
}

static bool file_begins(const char *name, const char *text)
{
    char path[TEST_PATH];
    char *found = read_text(in_run(path, name));
    bool same = strncmp(found, text, strlen(text)) == 0;
    if (!same)
        fprintf(stderr, "%s holds\n%s\nand does not begin with\n%s\n", name, found, text);
    free(found);
    return same;
}

static bool file_contains(const char *name, const char *text)
{
    char path[TEST_PATH];
    char *found = read_text(in_run(path, name));
    bool there = strstr(found, text) != NULL;
    if (!there)
        fprintf(stderr, "%s holds\n%s\nand not\n%s\n", name, found, text);
    free(found);
    return there;
}

/* Opens a run that must open, on every rank. */
static Run *open_run(bool force)
{
    Err err = { "" };
    Run *run = run_open(comm, &settings, force, &err);
    if (!run)
        fprintf(stderr, "%s\n", err.text);
    assert_all(run != NULL);
    return run;
}

/* ---- what a run leaves ---- */

static const StepRecord step = { .step = 7,
                                 .epoch = 0.5,
                                 .samples = 896,
                                 .seconds = 1.25,
                                 .loss = 0.1,
                                 .accuracy = 0.75,
                                 .lr = 1.0 / 3,
                                 .grad_norm = 2,
                                 .clip_factor = 1,
                                 .samples_per_second = 716.8,
                                 .comm = 0.03125,
                                 .digest = 0x12,
                                 .trajectory = 0xfedcba9876543210 };

static const EvalRecord eval = { .step = 7,
                                 .epoch = 0.5,
                                 .samples = 896,
                                 .seconds = 1.5,
                                 .loss = 0.2,
                                 .accuracy = 0.5,
                                 .count = 100 };

static const Summary summary = { .status = "completed",
                                 .test_loss = 0.2,
                                 .test_accuracy = 0.5,
                                 .best_accuracy = 0.625,
                                 .best_loss = 0.125,
                                 .train_loss = 0.1,
                                 .steps = 7,
                                 .samples = 896,
                                 .epochs = 0.5,
                                 .seconds = 1.5,
                                 .samples_per_second = 600,
                                 .global_batch = 128,
                                 .lanes = 8,
                                 .ranks = 3,
                                 .digest = 0x12,
                                 .trajectory = 0xfedcba9876543210,
                                 .optimizer = "sgd",
                                 .seed = 1,
                                 .diverged_step = -1,
                                 .parameters = 1234567 };

#define STEP_JSON                                                                                  \
    "{\"event\":\"step\",\"step\":7,\"epoch\":0.500000,\"samples\":896,\"time_s\":1.250000,"       \
    "\"loss\":0.1,\"accuracy\":0.75,\"lr\":0.33333333333333331,\"grad_norm\":2,\"clip\":1,"        \
    "\"samples_per_second\":716.8,\"comm\":0.0312,\"digest\":\"0000000000000012\","                \
    "\"trajectory\":\"fedcba9876543210\",\"loss_bits\":\"3fb999999999999a\"}\n"
#define EVAL_JSON                                                                                  \
    "{\"event\":\"eval\",\"step\":7,\"epoch\":0.500000,\"samples\":896,\"time_s\":1.500000,"       \
    "\"loss\":0.2,\"accuracy\":0.5,\"count\":100,\"loss_bits\":\"3fc999999999999a\"}\n"
#define END_JSON                                                                                   \
    "{\"event\":\"end\",\"status\":\"completed\",\"step\":7,\"epoch\":0.500000,"                   \
    "\"samples\":896,\"time_s\":1.500000,\"digest\":\"0000000000000012\","                         \
    "\"trajectory\":\"fedcba9876543210\"}\n"
#define CSV_HEAD                                                                                   \
    "event,step,epoch,samples,time_s,loss,accuracy,lr,grad_norm,clip,samples_per_second,comm,"     \
    "count,"                                                                                       \
    "digest,trajectory\n"
#define STEP_CSV                                                                                   \
    "step,7,0.500000,896,1.250000,0.1,0.75,0.33333333333333331,2,1,716.8,0.0312,,"                 \
    "0000000000000012,"                                                                            \
    "fedcba9876543210\n"
#define EVAL_CSV "eval,7,0.500000,896,1.500000,0.2,0.5,,,,,,100,,\n"

static bool metrics_are(const char *records)
{
    char path[TEST_PATH];
    char *found = read_text(in_run(path, "metrics.jsonl"));
    char *second = strchr(found, '\n');
    json_t *first = json_loads(found, JSON_DISABLE_EOF_CHECK, NULL);
    bool start = first &&
                 strcmp(json_string_value(json_object_get(first, "event")), "start") == 0 &&
                 strcmp(json_string_value(json_object_get(first, "name")), "x") == 0 &&
                 strlen(json_string_value(json_object_get(first, "time"))) == 20;
    bool same = start && second && strcmp(second + 1, records) == 0;
    if (!same)
        fprintf(stderr, "metrics.jsonl holds\n%s\nand not start and\n%s\n", found, records);
    json_decref(first);
    free(found);
    return same;
}

static bool summary_is_right(void)
{
    return file_is("summary.json", "{\n"
                                   "  \"status\": \"completed\",\n"
                                   "  \"test_loss\": 0.2,\n"
                                   "  \"test_accuracy\": 0.5,\n"
                                   "  \"best_accuracy\": 0.625,\n"
                                   "  \"best_loss\": 0.125,\n"
                                   "  \"train_loss\": 0.1,\n"
                                   "  \"steps\": 7,\n"
                                   "  \"epochs\": 0.5,\n"
                                   "  \"samples\": 896,\n"
                                   "  \"global_batch\": 128,\n"
                                   "  \"lanes\": 8,\n"
                                   "  \"ranks\": 3,\n"
                                   "  \"seconds\": 1.500000,\n"
                                   "  \"samples_per_second\": 600.0,\n"
                                   "  \"optimizer\": \"sgd\",\n"
                                   "  \"seed\": 1,\n"
                                   "  \"parameters\": 1234567,\n"
                                   "  \"digest\": \"0000000000000012\",\n"
                                   "  \"trajectory\": \"fedcba9876543210\"\n"
                                   "}\n");
}

static bool text_at(const json_t *object, const char *key, const char *text)
{
    const char *found = json_string_value(json_object_get(object, key));
    if (!found || strcmp(found, text) != 0)
        fprintf(stderr, "meta.json: %s is %s and not %s\n", key, found ? found : "missing", text);
    return found && strcmp(found, text) == 0;
}

static bool meta_is_right(void)
{
    char path[TEST_PATH];
    json_t *meta = json_load_file(in_run(path, "meta.json"), 0, NULL);
    const json_t *host = json_array_get(json_object_get(meta, "hosts"), 0);
    const json_t *command = json_object_get(meta, "command");
    const json_t *program = json_object_get(meta, "program"), *cpu = json_object_get(meta, "cpu");
    const json_t *digests = json_object_get(meta, "digests");
    const json_t *environment = json_object_get(meta, "environment");
    bool right =
        text_at(host, "name", comm_host(comm)) &&
        json_integer_value(json_object_get(host, "ranks")) == comm_size(comm) &&
        json_integer_value(json_object_get(meta, "ranks")) == comm_size(comm) &&
        json_array_size(command) == 3 &&
        strcmp(json_string_value(json_array_get(command, 2)), "caf??") == 0 &&
        text_at(program, "version", version_string()) && text_at(program, "git", version_git()) &&
        text_at(program, "mpi", comm_library()) &&
        json_string_value(json_object_get(program, "compiler")) &&
        json_string_value(json_object_get(program, "flags")) &&
        json_string_value(json_object_get(cpu, "model")) &&
        json_string_value(json_object_get(cpu, "isa")) &&
        json_string_value(json_object_get(cpu, "blas_core")) &&
        json_string_value(json_object_get(cpu, "blas_core_inherited")) &&
        text_at(digests, "train_data", "00000000000000ab") &&
        !json_object_get(digests, "test_data") && text_at(environment, "LOCKSTEP_TEST", "1") &&
        !json_object_get(environment, "SLURM_JWT") &&
        json_string_value(json_object_get(meta, "working_directory")) &&
        strlen(json_string_value(json_object_get(meta, "time"))) == 20;
    json_decref(meta);
    return right;
}

static bool weights_are(const Layout *layout, const float *arena)
{
    char path[TEST_PATH];
    Err err;
    float *found = mem_array(float, layout->n);
    bool same = weights_read(in_run(path, "ckpt/final.safetensors"), layout, found, NULL, &err) &&
                same_bits(found, arena, layout->n);
    mem_free(found);
    return same;
}

START_TEST(test_files)
{
    static char program[] = "lockstep", verb[] = "train", odd[] = "caf\xe9\xff";
    char *command[] = { program, verb, odd };
    float arena[16] = { 1, 2, 3 };
    Layout layout = { 0 };
    Err err;
    setup();
    setenv("LOCKSTEP_TEST", "1", 1);
    setenv("SLURM_JWT", "secret", 1);
    layout_add(&layout, "w", 1, (int[]){ 3 }, 0);
    layout_seal(&layout);
    Run *run = open_run(false);
    snprintf(wanted, sizeof wanted, "%s/x", base);
    assert_all(strcmp(run_folder(run), wanted) == 0);
    run_write_config(run, &settings);
    run_write_meta(run, 3, command, comm, &(RunFacts){ .train_data = 0xab });
    run_log_step(run, &step);
    assert_all(rank != 0 || metrics_are(STEP_JSON)); /* already there, before any close */
    run_log_eval(run, &eval);
    run_write_weights(run, &layout, arena, 7);
    run_write_summary(run, &summary);
    assert_all(run_close(run, &err));
    assert_all(rank != 0 || metrics_are(STEP_JSON EVAL_JSON END_JSON));
    assert_all(rank != 0 || file_is("metrics.csv", CSV_HEAD STEP_CSV EVAL_CSV));
    assert_all(rank != 0 || summary_is_right());
    assert_all(rank != 0 || meta_is_right());
    assert_all(rank != 0 || file_is("config.yaml", "seed: 1\nmodel:\n  layers: [flatten]\n"));
    assert_all(rank != 0 || weights_are(&layout, arena));
    assert_all(rank != 0 || (!exists("summary.json.tmp") && !exists("config.yaml.tmp")));
    layout_free(&layout);
    unsetenv("LOCKSTEP_TEST");
    unsetenv("SLURM_JWT");
    teardown();
}
END_TEST

#define STEP_NONE_JSON                                                                             \
    "{\"event\":\"step\",\"step\":7,\"epoch\":0.500000,\"samples\":896,\"time_s\":1.250000,"       \
    "\"loss\":null,\"accuracy\":null,\"lr\":0.33333333333333331,\"grad_norm\":null,\"clip\":1,"    \
    "\"samples_per_second\":716.8,\"comm\":0.0312,\"digest\":\"0000000000000012\","                \
    "\"trajectory\":\"fedcba9876543210\",\"loss_bits\":\"7ff8000000000000\"}\n"
#define EVAL_NONE_JSON                                                                             \
    "{\"event\":\"eval\",\"step\":7,\"epoch\":0.500000,\"samples\":896,\"time_s\":1.500000,"       \
    "\"loss\":null,\"accuracy\":null,\"count\":100,\"loss_bits\":\"fff0000000000000\"}\n"
#define DIVERGED_JSON                                                                              \
    "{\"event\":\"end\",\"status\":\"diverged\",\"step\":7,\"epoch\":0.500000,"                    \
    "\"samples\":896,\"time_s\":1.500000,\"digest\":\"0000000000000012\","                         \
    "\"trajectory\":\"fedcba9876543210\"}\n"
#define STEP_NONE_CSV                                                                              \
    "step,7,0.500000,896,1.250000,nan,,0.33333333333333331,inf,1,716.8,0.0312,,0000000000000012,"  \
    "fedcba9876543210\n"
#define EVAL_NONE_CSV "eval,7,0.500000,896,1.500000,-inf,,,,,,,100,,\n"

/* A regression that diverges: no accuracy, numbers that JSON does not have. */
START_TEST(test_numbers_that_are_none)
{
    StepRecord record = step;
    EvalRecord no_accuracy = eval;
    Summary diverged = summary;
    Err err;
    setup();
    Run *run = open_run(false);
    record.loss = (double)NAN;
    record.grad_norm = (double)INFINITY;
    record.accuracy = -1;
    no_accuracy.accuracy = -1;
    no_accuracy.loss = -(double)INFINITY;
    run_log_step(run, &record);
    run_log_eval(run, &no_accuracy);
    diverged.status = "diverged";
    diverged.diverged_step = 8;
    diverged.test_accuracy = -1;
    diverged.target_loss = 0.5;
    diverged.test_loss = (double)NAN;
    run_write_summary(run, &diverged);
    assert_all(run_close(run, &err));
    assert_all(rank != 0 || metrics_are(STEP_NONE_JSON EVAL_NONE_JSON DIVERGED_JSON));
    assert_all(rank != 0 || file_is("metrics.csv", CSV_HEAD STEP_NONE_CSV EVAL_NONE_CSV));
    assert_all(rank != 0 || file_begins("summary.json", "{\n"
                                                        "  \"status\": \"diverged\",\n"
                                                        "  \"diverged_step\": 8,\n"
                                                        "  \"test_loss\": null,\n"
                                                        "  \"best_loss\": 0.125,\n"
                                                        "  \"train_loss\": 0.1,\n"
                                                        "  \"target_loss\": 0.5,\n"
                                                        "  \"target_step\": null,\n"
                                                        "  \"target_samples\": null,\n"
                                                        "  \"target_seconds\": null,\n"));
    teardown();
}
END_TEST

#define STEP_TOKENS_JSON                                                                           \
    "{\"event\":\"step\",\"step\":7,\"epoch\":0.500000,\"samples\":896,\"time_s\":1.250000,"       \
    "\"loss\":0.1,\"accuracy\":0.75,\"lr\":0.33333333333333331,\"grad_norm\":2,\"clip\":1,"        \
    "\"samples_per_second\":716.8,\"tokens_per_second\":45875.2,\"comm\":0.0312,"                  \
    "\"digest\":\"0000000000000012\",\"trajectory\":\"fedcba9876543210\","                         \
    "\"loss_bits\":\"3fb999999999999a\"}\n"
#define EVAL_TOKENS_JSON                                                                           \
    "{\"event\":\"eval\",\"step\":7,\"epoch\":0.500000,\"samples\":896,\"time_s\":1.500000,"       \
    "\"loss\":0,\"accuracy\":0.5,\"perplexity\":1,\"bits_per_token\":0,\"count\":100,"             \
    "\"loss_bits\":\"0000000000000000\"}\n"

/* A language model: perplexity and tokens a second in JSON, the table as ever. */
START_TEST(test_tokens)
{
    StepRecord record = step;
    EvalRecord evaluation = eval;
    Summary language = summary;
    Err err;
    setup();
    Run *run = open_run(false);
    record.tokens_per_second = 64 * 716.8;
    evaluation.per_token = language.per_token = true;
    evaluation.loss = 0;
    language.tokens_per_second = 64 * 600;
    language.test_loss = 2;
    language.target_accuracy = 0.25;
    language.target_step = 4;
    language.target_samples = 512;
    language.target_seconds = 0.5;
    language.best_loss = 1.5;
    run_log_step(run, &record);
    run_log_eval(run, &evaluation);
    run_write_summary(run, &language);
    assert_all(run_close(run, &err));
    assert_all(rank != 0 || metrics_are(STEP_TOKENS_JSON EVAL_TOKENS_JSON END_JSON));
    assert_all(rank != 0 || file_is("metrics.csv", CSV_HEAD STEP_CSV
                                    "eval,7,0.500000,896,1.500000,0,0.5,,,,,,100,,\n"));
    assert_all(rank != 0 ||
               file_begins("summary.json", "{\n"
                                           "  \"status\": \"completed\",\n"
                                           "  \"test_loss\": 2,\n"
                                           "  \"test_accuracy\": 0.5,\n"
                                           "  \"best_accuracy\": 0.625,\n"
                                           "  \"perplexity\": 7.38905609893065,\n"
                                           "  \"bits_per_token\": 2.8853900817779268,\n"
                                           "  \"best_loss\": 1.5,\n"
                                           "  \"train_loss\": 0.1,\n"
                                           "  \"target_accuracy\": 0.25,\n"
                                           "  \"target_step\": 4,\n"
                                           "  \"target_samples\": 512,\n"
                                           "  \"target_seconds\": 0.500000,\n"));
    assert_all(rank != 0 || file_contains("summary.json", "\"tokens_per_second\": 38400.0,\n"));
    teardown();
}
END_TEST

START_TEST(test_no_tensorboard)
{
    Err err;
    setup();
    settings.log.tensorboard = false;
    Run *run = open_run(false);
    run_log_step(run, &step);
    run_log_eval(run, &eval);
    assert_all(run_close(run, &err));
    assert_all(rank != 0 || !exists("tb"));
    teardown();
}
END_TEST

/* ---- folders that are there, or cannot be ---- */

/* All ranks get this message, with `base` in place of %s. */
static bool refused(bool force, const char *message)
{
    Err err = { "" };
    comm_barrier(comm); /* rank 0 prepares the folder */
    Run *run = run_open(comm, &settings, force, &err);
    const char *mark = strstr(message, "%s");
    snprintf(wanted, sizeof wanted, "%.*s%s%s", mark ? (int)(mark - message) : 0, message,
             mark ? base : "", mark ? mark + 2 : message);
    bool same = !run && strcmp(err.text, wanted) == 0;
    if (!same)
        fprintf(stderr, "%s\nand not\n%s\n", run ? "opened" : err.text, wanted);
    if (run)
        run_close(run, NULL);
    return same;
}

static void put(const char *name, const char *text)
{
    char path[TEST_PATH];
    if (rank == 0)
        write_text(in_run(path, name), text);
}

START_TEST(test_existing_folder)
{
    Err err;
    setup();
    Run *run = open_run(false);
    run_write_summary(run, &summary);
    assert_all(run_close(run, &err));
    put("notes.txt", "mine");
    put("tb/notes.txt", "mine");
    put("tb/events.out.tfevents.1.old", "old");
    put("ckpt/final.safetensors", "old");
    assert_all(refused(false, "%s/x: exists; use --force to replace it, or name=OTHER"));
    assert_all(rank != 0 || exists("summary.json"));
    run = open_run(true);
    assert_all(run_close(run, &err));
    assert_all(rank != 0 || metrics_are(""));
    assert_all(rank != 0 || (!exists("summary.json") && !exists("tb/events.out.tfevents.1.old") &&
                             !exists("ckpt/final.safetensors")));
    assert_all(rank != 0 || (file_is("notes.txt", "mine") && file_is("tb/notes.txt", "mine")));
    teardown();
}
END_TEST

/* --force on somebody's own folder must not take its config.yaml away. */
START_TEST(test_folder_that_is_no_run)
{
    char path[TEST_PATH];
    Err err;
    setup();
    assert_all(rank != 0 || mkdir(join_path(path, base, "x"), 0777) == 0);
    assert_all(refused(false, "%s/x: exists; use --force to replace it, or name=OTHER"));
    Run *run = open_run(true);
    assert_all(run_close(run, &err));
    assert_all(rank != 0 || unlink(in_run(path, "metrics.jsonl")) == 0);
    put("config.yaml", "mine");
    assert_all(refused(true, "%s/x: holds files but no run (no metrics.jsonl): not replaced; use "
                             "name=OTHER"));
    assert_all(rank != 0 || file_is("config.yaml", "mine"));
    teardown();
}
END_TEST

START_TEST(test_not_a_folder)
{
    char path[TEST_PATH];
    static char deep[] = "file/deep", empty[] = "", dots[] = "..";
    static char too_long[300];
    setup();
    if (rank == 0) {
        write_text(join_path(path, base, "file"), "");
        write_text(join_path(path, base, "x"), "");
    }
    assert_all(refused(true, "%s/x: exists and is not a folder; use name=OTHER"));
    settings.name = deep;
    assert_all(refused(false, "%s/file: cannot make the folder: Not a directory"));
    settings.name = empty;
    assert_all(refused(false, "name: '' cannot name a run folder"));
    settings.name = dots;
    assert_all(refused(true, "name: '..' cannot name a run folder"));
    memset(too_long, 'n', sizeof too_long - 1);
    settings.name = too_long;
    snprintf(path, sizeof path, "%%s/%s: cannot make the folder: File name too long", too_long);
    assert_all(refused(false, path));
    teardown();
}
END_TEST

/* ---- a full disk ---- */

/* No file of this process may grow beyond `bytes`, as on a full disk; 0: no limit again. */
static void limit_files(size_t bytes)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes ? bytes : limit.rlim_max;
    signal(SIGXFSZ, bytes ? SIG_IGN : SIG_DFL);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* How often the file repeats `line` behind its first line; 0 if it holds anything else. */
static size_t repeats(const char *name, const char *line)
{
    char path[TEST_PATH];
    char *text = read_text(in_run(path, name));
    size_t count = 0, length = strlen(line);
    const char *next = strchr(text, '\n');
    for (next = next ? next + 1 : text; strncmp(next, line, length) == 0; next += length)
        count++;
    count = *next ? 0 : count;
    free(text);
    return count;
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        count++;
    return count;
}

/* 100 records against a limit that the metrics reach, then 10 with room again. What is on stderr in
 * between goes to `said`. */
static void fill_disk(Run *run, char *said, size_t size)
{
    char path[TEST_PATH];
    int log = open(join_path(path, base, "log"), O_CREAT | O_WRONLY, 0666), saved = dup(2);
    dup2(log, 2);
    limit_files(10000);
    for (int i = 0; i < 100; i++)
        run_log_step(run, &step);
    limit_files(0);
    for (int i = 0; i < 10; i++)
        run_log_step(run, &step);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    close(log);
    char *text = read_text(path);
    snprintf(said, size, "%s", text);
    free(text);
}

/* Rank 0 after fill_disk and run_close: whole lines only, the last ten among them, and as many
 * missing as the message says. */
static bool disk_was_full(const char *said, const char *message)
{
    size_t lines = repeats("metrics.jsonl", STEP_JSON), rows = repeats("metrics.csv", STEP_CSV);
    snprintf(wanted, sizeof wanted, "%s/x/metrics.jsonl: File too large; %zu records are missing",
             base, 110 - lines);
    bool right = lines > 20 && lines < 60 && rows > lines && strcmp(message, wanted) == 0 &&
                 count_of(said, "metrics.jsonl: File too large; training goes on") == 1 &&
                 count_of(said, "metrics.csv: File too large; training goes on") == 1;
    if (!right)
        fprintf(stderr, "%zu lines, %zu rows; said\n%s\n%s\nand not\n%s\n", lines, rows, said,
                message, wanted);
    return right;
}

START_TEST(test_full_disk)
{
    char said[4096];
    Err err;
    setup();
    Run *run = open_run(false);
    if (rank == 0)
        fill_disk(run, said, sizeof said);
    bool closed = run_close(run, &err);
    assert_all(closed == (rank != 0));
    assert_all(rank != 0 || disk_was_full(said, err.text));
    teardown();
}
END_TEST

/* A file that is written in one piece is named too, and the others go on. */
START_TEST(test_summary_cannot_be_written)
{
    char path[TEST_PATH];
    Err err;
    setup();
    Run *run = open_run(false);
    assert_all(rank != 0 || mkdir(in_run(path, "summary.json"), 0777) == 0);
    int saved = dup(2), nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, 2); /* the warning */
    run_write_summary(run, &summary);
    run_write_config(run, &settings);
    dup2(saved, 2);
    close(saved);
    close(nothing);
    bool closed = run_close(run, &err);
    assert_all(closed == (rank != 0));
    snprintf(wanted, sizeof wanted, "%s/x/summary.json: cannot write: Is a directory", base);
    assert_all(rank != 0 || strcmp(err.text, wanted) == 0);
    assert_all(rank != 0 || exists("config.yaml"));
    teardown();
}
END_TEST

/* ---- numbers and text ---- */

/* Law: what is written reads back as the same double. Mantissas from a multiplicative generator. */
START_TEST(test_numbers_read_back)
{
    uint64_t bits = 1;
    char text[TEXT_NUMBER_SIZE];
    for (int i = 0; i < 20000; i++) {
        double value;
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            ck_assert(double_bits(strtod(text_number(text, value), NULL)) == bits);
    }
    ck_assert_str_eq(text_number(text, 0.1), "0.1");
    ck_assert_str_eq(text_number(text, -0.0), "-0");
    ck_assert_str_eq(text_number(text, 1e-320), "9.99988867182683e-321");
    ck_assert_str_eq(text_number(text, 1.7976931348623157e308), "1.7976931348623157e+308");
}
END_TEST

START_TEST(test_json_text)
{
    char text[256], small[16];
    JsonText json;
    json_start(&json, text, sizeof text, false);
    json_add_text(&json, "a", "q\"b\\n\n\x01 \xc3\xa9");
    json_add_text(&json, "b", "\xc3(");
    json_add_number(&json, "c", (double)NAN);
    json_add_fixed(&json, "d", 1e300, 2);
    json_add_fixed(&json, "e", -(double)INFINITY, 2);
    json_add_integer(&json, "f", INT64_MIN);
    json_finish(&json);
    ck_assert_str_eq(text, "{\"a\":\"q\\\"b\\\\n\\u000a\\u0001 \xc3\xa9\",\"b\":\"?(\",\"c\":null,"
                           "\"d\":1e+300,\"e\":null,\"f\":-9223372036854775808}\n");
    json_start(&json, small, sizeof small, false);
    json_add_text(&json, "key", "longer than that");
    ck_assert(json.full && strlen(small) < sizeof small);
}
END_TEST

START_TEST(test_time)
{
    char text[32];
    ck_assert_str_eq(time_text(text, sizeof text, 0), "1970-01-01T00:00:00Z");
    ck_assert_str_eq(time_text(text, sizeof text, 1700000000), "2023-11-14T22:13:20Z");
}
END_TEST

/* A sync or a reopened file for each record would cost milliseconds; the best of 20 tries counts,
 * since the machine may be busy. docs/formats.md has the measured cost. */
START_TEST(test_records_are_cheap)
{
    Err err;
    double best = 1;
    setup();
    Run *run = open_run(false);
    for (int try = 0; try < 20; try++) {
        double start = clock_seconds();
        for (int i = 0; i < 50; i++)
            run_log_step(run, &step);
        best = fmin(best, (clock_seconds() - start) / 50);
    }
    assert_all(run_close(run, &err));
    log_verbose("a step record costs %.2f us", best * 1e6);
    assert_all(best < 200e-6);
    teardown();
}
END_TEST

int main(int argc, char **argv)
{
    comm = comm_init(&argc, &argv);
    rank = comm_rank(comm);
    if (getenv("VERBOSE"))
        log_set_level(LOG_VERBOSE);
    Suite *suite = suite_create("run");
    add_test(suite, test_files);
    add_test(suite, test_numbers_that_are_none);
    add_test(suite, test_tokens);
    add_test(suite, test_no_tensorboard);
    add_test(suite, test_existing_folder);
    add_test(suite, test_folder_that_is_no_run);
    add_test(suite, test_not_a_folder);
    add_test(suite, test_full_disk);
    add_test(suite, test_summary_cannot_be_written);
    add_test(suite, test_numbers_read_back);
    add_test(suite, test_json_text);
    add_test(suite, test_time);
    add_test(suite, test_records_are_cheap);
    int code = run_suite(suite);
    comm_free(comm);
    return code;
}
