/* The synthetic set: a pure function of the seed, prefixes do not depend on the count, classes can
 * be told apart, regression targets are what they say. */
#include "helpers.h"

#include <math.h>

static void open_set(Fixture *f, const char *options, uint64_t seed)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml, "data: {type: synthetic, normalize: none, %s}\n", options);
    fixture_must(f, yaml, seed, 1, 1);
}

static const char *const kinds[] = {
    "shape: [3, 6, 5], train: 20, test: 10",
    "shape: 13, train: 20, test: 10",
    "shape: 13, kind: linear, outputs: 3, train: 20, test: 10",
    "shape: 13, kind: teacher, outputs: 3, train: 20, test: 10",
};

/* The numbers of a seed are part of what a release promises. */
START_TEST(digests_are_pinned)
{
    static const uint64_t pinned[4][2] = {
        { 0x5da9e466edf7ccadull, 0x51bf6cad32c45704ull },
        { 0x1958e6cd914725fdull, 0x8d5faeb8b5d54caaull },
        { 0xe6b52b8b77556ad8ull, 0x6e732133cbe2df87ull },
        { 0xbf3975e2e60fe9c4ull, 0x0085be4e30913d6aull },
    };
    for (int k = 0; k < 4; k++) {
        Fixture f;
        open_set(&f, kinds[k], 1);
        ck_assert_msg(f.loader.train.digest == pinned[k][0] && f.loader.test.digest == pinned[k][1],
                      "%s: { 0x%016llx, 0x%016llx }", kinds[k],
                      (unsigned long long)f.loader.train.digest,
                      (unsigned long long)f.loader.test.digest);
        fixture_close(&f);
    }
}
END_TEST

START_TEST(seeds_and_splits_differ)
{
    for (int k = 0; k < 4; k++) {
        Fixture a, b;
        open_set(&a, kinds[k], 1);
        open_set(&b, kinds[k], 2);
        ck_assert(a.loader.train.digest != b.loader.train.digest);
        ck_assert(a.loader.test.digest != b.loader.test.digest);
        const Dataset *train = &a.loader.train, *test = &a.loader.test;
        size_t n = dataset_sample_size(train);
        if (train->bytes)
            ck_assert(memcmp(train->bytes, test->bytes, n) != 0);
        else
            ck_assert(memcmp(train->values, test->values, n * sizeof(float)) != 0);
        fixture_close(&a);
        fixture_close(&b);
    }
}
END_TEST

START_TEST(prefixes_do_not_depend_on_the_count)
{
    Fixture a, b;
    open_set(&a, "shape: [3, 6, 5], train: 20, test: 10", 3);
    open_set(&b, "shape: [3, 6, 5], train: 50, test: 3", 3);
    ck_assert_mem_eq(a.loader.train.bytes, b.loader.train.bytes, 20 * 90);
    ck_assert_mem_eq(a.loader.test.bytes, b.loader.test.bytes, 3 * 90);
    fixture_close(&b);
    open_set(&b, "shape: [3, 6, 5], train: 50, test: 30, train_limit: 20, test_limit: 10", 3);
    ck_assert(a.loader.train.digest == b.loader.train.digest);
    ck_assert(a.loader.test.digest == b.loader.test.digest);
    fixture_close(&a);
    fixture_close(&b);
}
END_TEST

/* A test sample is nearest to its class's mean over the training set. */
static int nearest_mean_hits(const char *options, int classes)
{
    Fixture f;
    open_set(&f, options, 7);
    const Dataset *train = &f.loader.train, *test = &f.loader.test;
    size_t n = dataset_sample_size(train);
    double *mean = calloc((size_t)classes * n, sizeof *mean);
    for (size_t i = 0; i < (size_t)train->count; i++)
        for (size_t k = 0; k < n; k++)
            mean[(size_t)train->labels[i] * n + k] +=
                train->bytes ? train->bytes[i * n + k] : (double)train->values[i * n + k];
    int hits = 0;
    for (size_t i = 0; i < (size_t)test->count; i++) {
        double best = HUGE_VAL;
        int choice = -1;
        for (int c = 0; c < classes; c++) {
            double distance = 0;
            for (size_t k = 0; k < n; k++) {
                double x = test->bytes ? test->bytes[i * n + k] : (double)test->values[i * n + k];
                double d = x - mean[(size_t)c * n + k] * classes / (double)train->count;
                distance += d * d;
            }
            if (distance < best) {
                best = distance;
                choice = c;
            }
        }
        hits += choice == test->labels[i];
    }
    free(mean);
    fixture_close(&f);
    return hits;
}

START_TEST(classes_can_be_told_apart)
{
    ck_assert_int_ge(nearest_mean_hits("shape: [3, 8, 8], classes: 5, train: 500, test: 200", 5),
                     195);
    ck_assert_int_ge(nearest_mean_hits("shape: 64, classes: 5, train: 500, test: 200", 5), 195);
    int hits = nearest_mean_hits("shape: 64, classes: 5, train: 500, test: 200, noise: 1000", 5);
    ck_assert_int_ge(hits, 15); /* chance is 40, standard deviation 5.7 */
    ck_assert_int_le(hits, 65);
}
END_TEST

/* Without noise a linear target is additive: y of a combination of inputs is the same combination
 * of y, so four points in three dimensions determine each other. Solved by Cramer's rule. */
static double determinant(double m[3][3])
{
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
           m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

START_TEST(linear_targets_are_linear)
{
    Fixture f;
    open_set(&f, "shape: 3, kind: linear, outputs: 2, noise: 0, train: 40, test: 9", 5);
    const Dataset *train = &f.loader.train, *test = &f.loader.test;
    ck_assert_int_eq(train->classes, 0);
    ck_assert_int_eq(train->target_size, 2);
    double basis[3][3];
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            basis[k][i] = (double)train->values[i * 3 + k];
    double whole = determinant(basis);
    ck_assert_double_gt(fabs(whole), 0.05);
    for (int s = 0; s < 9; s++) {
        double y[2] = { 0, 0 };
        for (int i = 0; i < 3; i++) {
            double changed[3][3];
            memcpy(changed, basis, sizeof changed);
            for (int k = 0; k < 3; k++)
                changed[k][i] = (double)test->values[s * 3 + k];
            for (int j = 0; j < 2; j++)
                y[j] += determinant(changed) / whole * (double)train->targets[i * 2 + j];
        }
        for (int j = 0; j < 2; j++)
            ck_assert_double_eq_tol((double)test->targets[s * 2 + j], y[j], 1e-4);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(noise_has_the_size_asked_for)
{
    static const char *const regressions[] = { "linear", "teacher" };
    for (int k = 0; k < 2; k++) {
        char options[256];
        Fixture clean, noisy;
        snprintf(options, sizeof options,
                 "shape: 8, kind: %s, outputs: 2, noise: 0, train: 2000, test: 5", regressions[k]);
        open_set(&clean, options, 5);
        snprintf(options, sizeof options,
                 "shape: 8, kind: %s, outputs: 2, noise: 0.3, train: 2000, test: 5",
                 regressions[k]);
        open_set(&noisy, options, 5);
        ck_assert_mem_eq(clean.loader.train.values, noisy.loader.train.values, 16000 * 4);
        double squares = 0, size = 0;
        for (int i = 0; i < 4000; i++) {
            double y = (double)clean.loader.train.targets[i];
            double d = (double)noisy.loader.train.targets[i] - y;
            squares += d * d;
            size += y * y;
        }
        ck_assert_double_eq_tol(sqrt(squares / 4000), 0.3, 5 * 0.3 / sqrt(2 * 4000));
        ck_assert_double_gt(size / 4000, 0.05);
        const Batch *batch = loader_chunk(&noisy.loader, 4);
        ck_assert(batch->labels == NULL);
        ck_assert(same_bits(batch->targets, noisy.loader.test.targets + 8, 2));
        fixture_close(&clean);
        fixture_close(&noisy);
    }
}
END_TEST

START_TEST(labels_are_balanced)
{
    Fixture f;
    int count[7] = { 0 };
    open_set(&f, "shape: 4, classes: 7, train: 700, test: 5", 5);
    for (int i = 0; i < 700; i++)
        count[f.loader.train.labels[i]]++;
    for (int c = 0; c < 7; c++)
        ck_assert_int_eq(count[c], 100);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("synthetic");
    add_test(suite, digests_are_pinned);
    add_test(suite, seeds_and_splits_differ);
    add_test(suite, prefixes_do_not_depend_on_the_count);
    add_test(suite, classes_can_be_told_apart);
    add_test(suite, linear_targets_are_linear);
    add_test(suite, noise_has_the_size_asked_for);
    add_test(suite, labels_are_balanced);
    return run_suite(suite);
}
