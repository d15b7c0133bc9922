/* The golden runner itself: it passes on the vectors in this folder, and it notices. A case whose
 * numbers are changed fails, a damaged case is a FAIL line with the reason and never a crash, and a
 * case that asks for what is not here is skipped. */
#include "support.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUTPUT_MAX = 1 << 16 };

/* Output of the runner, which is beside this program, on a folder; returns its exit code. */
static int run_golden(const char *folder, char output[OUTPUT_MAX])
{
    char program[PATH_MAX], command[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    ck_assert_int_gt((int)length, 0);
    program[length] = 0;
    *strrchr(program, '/') = 0;
    snprintf(command, sizeof command, "%s/golden %s 2>&1", program, folder);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    size_t bytes = fread(output, 1, OUTPUT_MAX - 1, pipe);
    output[bytes] = 0;
    int status = pclose(pipe);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "the runner crashed: %s", output);
    return WEXITSTATUS(status);
}

static void copy(const char *from, const char *to)
{
    char command[2 * TEST_PATH + 64];
    snprintf(command, sizeof command, "mkdir -p %s && cp -r %s/. %s && chmod -R u+w %s", to, from,
             to, to);
    ck_assert_int_eq(system(command), 0);
}

/* A folder with one case of each family that is a folder, and the inputs it needs. */
static void make_cases(char root[TEST_PATH])
{
    static const char *const cases[] = { "optimizers/lamb", "optimizers/inputs", "layers/linear",
                                         "models/mlp_sgd", "diagnostics" };
    temp_create(root);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[TEST_PATH], to[TEST_PATH];
        copy(join_path(from, "tests/golden", cases[i]), join_path(to, root, cases[i]));
    }
}

/* The last line is exactly the sums. */
static const char *last_line(char output[OUTPUT_MAX])
{
    size_t length = strlen(output);
    if (length > 0 && output[length - 1] == '\n')
        output[length - 1] = 0;
    char *line = strrchr(output, '\n');
    return line ? line + 1 : output;
}

START_TEST(test_vectors_of_this_folder)
{
    char *output = calloc(OUTPUT_MAX, 1);
    int code = run_golden("tests/golden", output);
    ck_assert_msg(code == 0, "%s", output);
    ck_assert_ptr_null(strstr(output, "FAIL"));
    int passed = 0, failed = -1, skipped = -1;
    const char *line = last_line(output);
    ck_assert_int_eq(sscanf(line, "%d passed, %d failed, %d skipped", &passed, &failed, &skipped),
                     3);
    ck_assert_int_ge(passed, 100);
    ck_assert_int_eq(failed, 0);
    free(output);
}
END_TEST

typedef enum Damage { TRUNCATE, EMPTY, REMOVE, REPLACE, FLIP } Damage;

static const struct {
    const char *file;
    Damage damage;
    const char *from, *to; /* REPLACE: in the text; FLIP: a bit of the first number changes */
    const char *line;      /* what the output must contain */
} damages[] = {
    { "optimizers/lamb/traj_f64.npy", TRUNCATE, NULL, NULL,
      "optimizers/lamb/traj_f64.npy: 6120 bytes of data expected, found 3060" },
    { "optimizers/lamb/traj_f64.npy", EMPTY, NULL, NULL,
      "traj_f64.npy: not an .npy file of version 1.0" },
    { "optimizers/lamb/traj_f64.npy", REMOVE, NULL, NULL, "traj_f64.npy: cannot be opened" },
    { "optimizers/lamb/traj_f64.npy", FLIP, NULL, NULL,
      "FAIL optimizers/lamb: weights after step 1, mat: element 0: got " },
    { "optimizers/lamb/state_exp_avg_sq_f64.npy", FLIP, NULL, NULL,
      "final state exp_avg_sq, mat: element 0: got " },
    { "optimizers/inputs/set_a/grads.npy", TRUNCATE, NULL, NULL,
      "grads.npy: 12240 bytes of data expected, found 6120" },
    { "optimizers/lamb/case.json", TRUNCATE, NULL, NULL, "FAIL optimizers/lamb: " },
    { "optimizers/lamb/case.json", REMOVE, NULL, NULL, "FAIL optimizers/lamb: " },
    { "optimizers/lamb/case.json", REPLACE, "\"shape\": [7, 5]", "\"shape\": [7, 6]",
      "tensors: mat: offset or size does not fit its shape" },
    { "optimizers/lamb/case.json", REPLACE, "\"shape\": [7, 5]", "\"shape\": []    ",
      "tensors: mat has 0 dimensions, 1 to 4 wanted" },
    { "optimizers/lamb/case.json", REPLACE, "[1, 2, 5, 10, 20]", "[1, 2, 5, 10, 30]",
      "steps_recorded goes beyond the gradients or lr_per_step" },
    { "optimizers/lamb/case.json", REPLACE, "[1, 2, 5, 10, 20]", "[1, 5, 2, 10, 20]",
      "steps_recorded is not in ascending order" },
    { "optimizers/lamb/case.json", REPLACE, "\"eps\": 1e-06", "\"eps\": \"one\"",
      "SKIP optimizers/lamb: eps is not a number" },
    { "optimizers/lamb/case.json", REPLACE, "\"eps\": 1e-06", "\"eqs\": 1e-06",
      "SKIP optimizers/lamb: eqs = 1e-6 has no equivalent" },
    { "optimizers/lamb/case.json", REPLACE, "\"eps\": 1e-06", "\"eps\": 9e+06",
      "optimizer.eps: 9000000 is out of range" },
    { "optimizers/lamb/case.json", REPLACE, "\"reference\": \"Lamb\"", "\"reference\": \"Lima\"",
      "SKIP optimizers/lamb: no optimizer for the reference Lima" },
    { "layers/linear/dy.npy", TRUNCATE, NULL, NULL, "dy.npy: 96 bytes of data expected, found 48" },
    { "layers/linear/d_weight_f64.npy", FLIP, NULL, NULL,
      "FAIL layers/linear: d_weight: element 0: got " },
    { "layers/linear/case.json", REPLACE, "\"layer\": \"linear\"", "\"layer\": \"limear\"",
      "SKIP layers/linear: no layer for limear" },
    { "layers/linear/case.json", REPLACE, "\"bias\": true", "\"bias\": null",
      "FAIL layers/linear: this layer has no d_bias" },
    { "layers/linear/weight.npy", REMOVE, NULL, NULL, "weight.npy: cannot be opened" },
    { "diagnostics/hessian_f64.npy", FLIP, NULL, NULL,
      "FAIL diagnostics/: Hessian: element 0: got " },
    { "diagnostics/lca_losses_f64.npy", TRUNCATE, NULL, NULL, "lca_losses_f64.npy: " },
    { "diagnostics/case.json", REPLACE, "\"n_params\": 43", "\"n_params\": 44",
      "n_params or n_examples: not those of this model" },
    { "models/mlp_sgd/x.npy", TRUNCATE, NULL, NULL, "x.npy: " },
    { "models/mlp_sgd/losses_f64.npy", FLIP, NULL, NULL, "loss by step: element 0: got " },
    { "models/mlp_sgd/final_params_f64.npy", FLIP, NULL, NULL,
      "final weights, fc0.weight: element 0: got " },
    { "models/mlp_sgd/case.json", REPLACE, "\"steps\": 10", "\"steps\": 90",
      "steps, ranks and the shapes of x, y and losses do not fit together" },
    { "models/mlp_sgd/case.json", REPLACE, "fc1.weight", "fd1.weight", "FAIL models/mlp_sgd: " },
};

/* Byte 6 of the first double: its exponent, so that the number is far off. */
static void flip_number(const char *path)
{
    unsigned char header[10];
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(header, 1, sizeof header, file), sizeof header);
    long place = 10 + header[8] + 256 * header[9] + 6;
    fseek(file, place, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, place, SEEK_SET);
    fputc(byte ^ 0x20, file);
    fclose(file);
}

static void replace(const char *path, const char *from, const char *to)
{
    char *text = read_text(path), *place = strstr(text, from);
    ck_assert_msg(place != NULL, "%s does not contain %s", path, from);
    ck_assert_uint_eq(strlen(from), strlen(to));
    memcpy(place, to, strlen(to));
    write_text(path, text);
    free(text);
}

static void damage(const char *path, Damage kind, const char *from, const char *to)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    char header[10] = { 0 };
    if (kind == TRUNCATE && status.st_size > 128 && strstr(path, ".npy")) {
        FILE *file = fopen(path, "rb");
        ck_assert_uint_eq(fread(header, 1, sizeof header, file), sizeof header);
        fclose(file);
        long data = 10 + (unsigned char)header[8] + 256 * (unsigned char)header[9];
        ck_assert_int_eq(truncate(path, data + (status.st_size - data) / 2), 0);
    } else if (kind == TRUNCATE)
        ck_assert_int_eq(truncate(path, status.st_size / 2), 0);
    else if (kind == EMPTY)
        ck_assert_int_eq(truncate(path, 0), 0);
    else if (kind == REMOVE)
        ck_assert_int_eq(unlink(path), 0);
    else if (kind == REPLACE)
        replace(path, from, to);
    else
        flip_number(path);
}

START_TEST(test_damage_is_noticed)
{
    char *output = calloc(OUTPUT_MAX, 1);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char root[TEST_PATH], path[TEST_PATH];
        make_cases(root);
        damage(join_path(path, root, damages[i].file), damages[i].damage, damages[i].from,
               damages[i].to);
        int code = run_golden(root, output);
        ck_assert_msg(strstr(output, damages[i].line) != NULL, "%s: \"%s\" expected in\n%s",
                      damages[i].file, damages[i].line, output);
        ck_assert_int_eq(code, strstr(output, "FAIL ") != NULL);
        temp_remove(root);
    }
    free(output);
}
END_TEST

START_TEST(test_empty_folder)
{
    char root[TEST_PATH], *output = calloc(OUTPUT_MAX, 1);
    temp_create(root);
    ck_assert_int_eq(run_golden(root, output), 1);
    ck_assert_ptr_nonnull(strstr(output, "no golden cases found"));
    ck_assert_str_eq(last_line(output), "0 passed, 1 failed, 0 skipped");
    temp_remove(root);
    free(output);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden");
    add_test(suite, test_vectors_of_this_folder);
    add_test(suite, test_damage_is_noticed);
    add_test(suite, test_empty_folder);
    return run_suite(suite);
}
