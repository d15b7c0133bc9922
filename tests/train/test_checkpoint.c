/* Checkpoints that are damaged or cannot be written: 1,000 flipped bits, files cut off, missing or
 * made by hand, a full disk, a folder that cannot be written. None is ever taken for valid, the one
 * before is used, and the message names the file.
 * ranks: 1 3 */
#include "../../src/train/checkpoint_parts.h"
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static Comm *world;
static bool first; /* rank 0 */
static char base[TEST_PATH], run_path[TEST_PATH];
static uint64_t digest_3, digest_4;

static const char *const files[] = { "model.safetensors", "optimizer.safetensors", "state.json" };

/* ---- a run with two checkpoints, step-3 and step-4 ---- */

static void start(Trainer *trainer, Settings *settings, const char *change)
{
    static const char config[] =
        "data: {type: synthetic, shape: [6], classes: 5, train: 64, test: 16}\n"
        "model: {layers: [dense: 40, batchnorm, relu, dense: 120, dense: 5]}\n"
        "optimizer: {type: adamw}\n"
        "train: {batch: 16, lanes: 4, steps: 4}\n"
        "checkpoint: {every: 1, keep: 2, minutes: 0}\n"
        "name: x\n";
    int code;
    Err err;
    *settings = (Settings){ 0 };
    bool ok = config_parse(&settings->config, "test.yaml", config, sizeof config - 1, &err) &&
              (!change || config_override(&settings->config, change, &err)) &&
              settings_read(settings, &err) && trainer_init(trainer, settings, world, &code, &err);
    if (!ok)
        fprintf(stderr, "%s\n", err.text);
    assert_all(ok);
    mem_free(settings->folder);
    settings->folder = mem_string(base);
}

static void finish(Trainer *trainer, Settings *settings)
{
    trainer_free(trainer);
    settings_free(settings);
}

/* What run_close says. */
static bool train(Trainer *trainer, Settings *settings, Err *err)
{
    Summary summary;
    Run *run = run_open(world, settings, true, err);
    assert_all(run != NULL);
    assert_all(trainer_run(trainer, run, &summary) == EXIT_OK);
    bool ok = run_close(run, err);
    comm_barrier(world);
    return ok;
}

static void setup(void)
{
    Settings settings;
    Trainer trainer;
    Err err;
    CheckpointState state;
    char path[CHECKPOINT_PATH];
    if (first)
        temp_create(base);
    comm_broadcast(world, base, sizeof base, 0);
    join_path(run_path, base, "x");
    start(&trainer, &settings, NULL);
    assert_all(train(&trainer, &settings, &err));
    digest_4 = trainer.digest;
    finish(&trainer, &settings);
    assert_all(state_read(&state, checkpoint_path(path, run_path, 3), &err));
    digest_3 = state.digest;
    state_free(&state);
    comm_barrier(world);
}

static void teardown(void)
{
    comm_barrier(world);
    if (first)
        temp_remove(base);
    comm_barrier(world);
}

/* Resumes in `trainer`; true if it goes on from `step` with the right weights, or fails if `step`
 * is 0. `culprit`: what the message must name, if it fails. */
static bool resumes_from(Trainer *trainer, int64_t step, const char *culprit)
{
    Err err = { .text = "" };
    comm_barrier(world); /* rank 0 has damaged something */
    trainer->step = 0;
    ResumeOutcome outcome = checkpoint_resume(trainer, run_path, NULL, &err);
    comm_barrier(world);
    if (step == 0)
        return outcome == RESUME_FAILED && (!culprit || strstr(err.text, culprit));
    return outcome == RESUME_DONE && trainer->step == step &&
           trainer->digest == (step == 3 ? digest_3 : digest_4);
}

static char *file_of(char path[CHECKPOINT_PATH], int64_t step, const char *name)
{
    char folder[CHECKPOINT_PATH];
    snprintf(path, CHECKPOINT_PATH, "%.4000s/%s", checkpoint_path(folder, run_path, step), name);
    return path;
}

/* verify's message begins with the file that is damaged. */
static bool verify_blames(int64_t step, const char *name)
{
    char folder[CHECKPOINT_PATH], path[CHECKPOINT_PATH];
    CheckpointState state;
    Err err;
    if (checkpoint_verify(checkpoint_path(folder, run_path, step), &state, &err)) {
        state_free(&state);
        return false;
    }
    file_of(path, step, name);
    return strncmp(err.text, path, strlen(path)) == 0;
}

START_TEST(a_whole_one_is_used)
{
    Settings settings;
    Trainer trainer;
    setup();
    start(&trainer, &settings, NULL);
    assert_all(resumes_from(&trainer, 4, NULL));
    finish(&trainer, &settings);
    teardown();
}
END_TEST

/* ---- damage ---- */

static size_t size_of(const char *path)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    return (size_t)status.st_size;
}

static void flip(const char *path, uint64_t bit)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
    byte ^= (unsigned char)(1u << bit % 8);
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    close(fd);
}

/* Over all three files by their size, so that the large ones are not alone. */
START_TEST(a_flipped_bit_is_seen)
{
    uint64_t random = 88172645463325252u;
    Settings settings;
    Trainer trainer;
    setup();
    start(&trainer, &settings, NULL);
    for (int i = 0; i < 1000; i++) {
        char path[CHECKPOINT_PATH];
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const char *name = files[i % 3];
        file_of(path, 4, name);
        uint64_t bit = (random >> 8) % (8 * size_of(path));
        comm_barrier(world); /* everybody has read the size */
        if (first)
            flip(path, bit);
        comm_barrier(world);
        assert_all(verify_blames(4, name));
        assert_all(resumes_from(&trainer, 3, NULL));
        if (first)
            flip(path, bit);
        comm_barrier(world);
    }
    assert_all(resumes_from(&trainer, 4, NULL));
    finish(&trainer, &settings);
    teardown();
}
END_TEST

static void cut(const char *path, size_t bytes)
{
    ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
}

/* Shorter, down to nothing; longer by a byte; gone; a folder instead. */
START_TEST(a_file_of_another_length_is_seen)
{
    Settings settings;
    Trainer trainer;
    setup();
    start(&trainer, &settings, NULL);
    for (int i = 0; i < 3; i++) {
        char path[CHECKPOINT_PATH], kept[CHECKPOINT_PATH + 8];
        file_of(path, 4, files[i]);
        snprintf(kept, sizeof kept, "%s.kept", path);
        size_t bytes = size_of(path);
        char *whole = first ? mem_alloc(bytes) : NULL;
        FILE *file = first ? fopen(path, "rb") : NULL;
        ck_assert(!first || fread(whole, bytes, 1, file) == 1);
        if (first)
            fclose(file);
        const size_t lengths[] = { bytes + 1, bytes - 1, bytes / 2, 100, 8, 7, 1, 0 };
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            if (first) {
                write_bytes(path, whole, bytes);
                cut(path, lengths[k]);
            }
            comm_barrier(world);
            assert_all(verify_blames(4, files[i]));
            assert_all(resumes_from(&trainer, 3, NULL));
        }
        ck_assert(!first || unlink(path) == 0);
        comm_barrier(world);
        assert_all(verify_blames(4, files[i]));
        assert_all(resumes_from(&trainer, 3, NULL));
        ck_assert(!first || mkdir(path, 0777) == 0);
        comm_barrier(world);
        assert_all(verify_blames(4, files[i]));
        assert_all(resumes_from(&trainer, 3, NULL));
        ck_assert(!first || rmdir(path) == 0);
        if (first)
            write_bytes(path, whole, bytes);
        mem_free(whole);
        assert_all(resumes_from(&trainer, 4, NULL));
    }
    finish(&trainer, &settings);
    teardown();
}
END_TEST

/* A state.json that somebody has made: its checksum is right, its contents are not. */
static void forge(const char *path, const char *json)
{
    char text[4096];
    size_t length = strlen(json);
    snprintf(text, sizeof text, "%s,\n  \"checksum\": \"%016llx\"\n}\n", json,
             (unsigned long long)XXH3_64bits(json, length));
    write_text(path, text);
}

START_TEST(a_forged_state_is_refused)
{
    static const char *const texts[] = {
        "",
        "{",
        "{ \"a\": 1",
        "[",
        "{ \"format\": \"lockstep checkpoint\", \"format_version\": 1",
        "{ \"format\": \"lockstep checkpoint\", \"format_version\": 2",
        "{ \"format\": \"lockstep checkpoint\", \"format_version\": 1, \"config\": \"a: b\", "
        "\"files\": [], \"identity\": {}, \"progress\": 3",
        "{ \"format\": \"lockstep checkpoint\", \"format_version\": 1, \"config\": \"a: b\", "
        "\"files\": [1, [], {}], \"identity\": {}, \"progress\": {\"step\": -1}",
    };
    Settings settings;
    Trainer trainer;
    char path[CHECKPOINT_PATH];
    setup();
    start(&trainer, &settings, NULL);
    file_of(path, 4, "state.json");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (first)
            forge(path, texts[i]);
        comm_barrier(world);
        assert_all(verify_blames(4, "state.json"));
        assert_all(resumes_from(&trainer, 3, NULL));
    }
    finish(&trainer, &settings);
    teardown();
}
END_TEST

START_TEST(with_none_left_it_fails)
{
    Settings settings;
    Trainer trainer;
    char path[CHECKPOINT_PATH];
    setup();
    start(&trainer, &settings, NULL);
    for (int64_t step = 3; first && step <= 4; step++)
        cut(file_of(path, step, "model.safetensors"), 50);
    assert_all(resumes_from(&trainer, 0, "none of the 2 checkpoints can be used"));
    finish(&trainer, &settings);
    teardown();
}
END_TEST

/* What was set aside is out of the way when the run comes to that step again. */
START_TEST(a_damaged_one_is_made_again)
{
    Settings settings;
    Trainer trainer;
    CheckpointState state;
    Summary summary;
    Err err;
    char path[CHECKPOINT_PATH];
    setup();
    if (first)
        cut(file_of(path, 4, "model.safetensors"), 50);
    start(&trainer, &settings, NULL);
    assert_all(resumes_from(&trainer, 3, NULL));
    Run *run = run_resume(world, &settings, trainer.step, trainer.history.resumes, 0, &err);
    assert_all(run != NULL);
    assert_all(trainer_run(&trainer, run, &summary) == EXIT_OK);
    assert_all(run_close(run, &err));
    comm_barrier(world);
    assert_all(trainer.digest == digest_4 && trainer.history.checkpoints == 4);
    assert_all(checkpoint_verify(checkpoint_path(path, run_path, 4), &state, &err));
    state_free(&state);
    finish(&trainer, &settings);
    teardown();
}
END_TEST

/* ---- no way to write ---- */

static int checkpoints(void)
{
    size_t count;
    mem_free(checkpoint_list(run_path, &count));
    return (int)count;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Files beyond 16 kB do not fit: the model's does not. */
START_TEST(a_full_disk_costs_the_checkpoint_alone)
{
    Settings settings;
    Trainer trainer;
    Err err = { .text = "" };
    setup();
    start(&trainer, &settings, NULL);
    signal(SIGXFSZ, SIG_IGN);
    limit_files(16384);
    bool ok = train(&trainer, &settings, &err);
    limit_files(RLIM_INFINITY);
    assert_all(trainer.step == 4 && trainer.digest == digest_4);
    assert_all(first ? !ok && strstr(err.text, "model.safetensors: cannot write: File too large")
                     : ok);
    assert_all(checkpoints() == 0);
    finish(&trainer, &settings);
    teardown();
}
END_TEST

static bool leftovers(void)
{
    char path[TEST_PATH];
    DIR *directory = opendir(join_path(path, run_path, "ckpt"));
    struct dirent *entry;
    bool found = false;
    while (directory && (entry = readdir(directory)) != NULL)
        found = found || strstr(entry->d_name, ".tmp");
    if (directory)
        closedir(directory);
    return found;
}

/* Root may write anywhere: somebody else takes the test. The old run's checkpoints stay valid. */
START_TEST(a_read_only_folder_keeps_what_it_has)
{
    Settings settings;
    Trainer trainer;
    Summary summary;
    Err err = { .text = "" };
    char path[TEST_PATH];
    setup();
    start(&trainer, &settings, NULL);
    assert_all(resumes_from(&trainer, 4, NULL));
    trainer.steps = 6;
    Run *run = run_resume(world, &settings, 4, 1, 0, &err);
    assert_all(run != NULL);
    ck_assert(!first || chmod(join_path(path, run_path, "ckpt"), 0555) == 0);
    comm_barrier(world);
    ck_assert_int_eq(seteuid(geteuid() == 0 ? 65534 : geteuid()), 0);
    assert_all(trainer_run(&trainer, run, &summary) == EXIT_OK);
    ck_assert_int_eq(seteuid(getuid()), 0);
    bool ok = run_close(run, &err);
    assert_all(trainer.step == 6);
    assert_all(first ? !ok && strstr(err.text, "cannot make the folder: Permission denied") : ok);
    ck_assert(!first || chmod(join_path(path, run_path, "ckpt"), 0777) == 0);
    comm_barrier(world);
    assert_all(checkpoints() == 2 && !leftovers());
    assert_all(resumes_from(&trainer, 4, NULL));
    finish(&trainer, &settings);
    teardown();
}
END_TEST

/* Whoever was killed while writing has left a folder without its name. */
START_TEST(what_was_not_finished_is_not_there)
{
    Settings settings;
    Trainer trainer;
    Err err;
    char path[TEST_PATH];
    setup();
    if (first) {
        ck_assert_int_eq(mkdir(join_path(path, run_path, "ckpt/step-9.tmp"), 0777), 0);
        write_text(join_path(path, run_path, "ckpt/step-9.tmp/model.safetensors"), "half");
        ck_assert_int_eq(mkdir(join_path(path, run_path, "ckpt/step-2.old"), 0777), 0);
    }
    start(&trainer, &settings, NULL);
    assert_all(checkpoints() == 2);
    assert_all(resumes_from(&trainer, 4, NULL));
    assert_all(leftovers());
    comm_barrier(world);
    Run *run = run_resume(world, &settings, 4, 1, 0, &err);
    assert_all(run != NULL);
    assert_all(!leftovers());
    assert_all(run_close(run, &err));
    finish(&trainer, &settings);
    teardown();
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    first = comm_rank(world) == 0;
    log_set_level(LOG_QUIET);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("checkpoint");
    add_test(suite, a_whole_one_is_used);
    add_test(suite, a_flipped_bit_is_seen);
    add_test(suite, a_file_of_another_length_is_seen);
    add_test(suite, a_forged_state_is_refused);
    add_test(suite, with_none_left_it_fails);
    add_test(suite, a_damaged_one_is_made_again);
    add_test(suite, a_full_disk_costs_the_checkpoint_alone);
    add_test(suite, a_read_only_folder_keeps_what_it_has);
    add_test(suite, what_was_not_finished_is_not_there);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
