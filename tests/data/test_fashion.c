/* Fashion-MNIST as Debian installs it (dataset-fashion-mnist): sums, statistics and first labels
 * known from independent programs. Skipped where the package is missing. */
#include "helpers.h"

#include <math.h>
#include <unistd.h>

#define FOLDER "/usr/share/datasets/fashion-mnist"

static uint64_t pixel_sum(const Dataset *set)
{
    uint64_t sum = 0;
    size_t n = (size_t)set->count * dataset_sample_size(set);
    for (size_t i = 0; i < n; i++)
        sum += set->bytes[i];
    return sum;
}

static void check_labels(const Dataset *set, int each, const int32_t first[10])
{
    int count[10] = { 0 };
    for (int64_t i = 0; i < set->count; i++)
        count[set->labels[i]]++;
    for (int c = 0; c < 10; c++) {
        ck_assert_int_eq(count[c], each);
        ck_assert_int_eq(set->labels[c], first[c]);
    }
}

START_TEST(fashion_mnist)
{
    Fixture f;
    fixture_must(&f, "data: idx\n", 1, 256, 4);
    const Dataset *train = &f.loader.train, *test = &f.loader.test;
    ck_assert_int_eq(train->count, 60000);
    ck_assert_int_eq(test->count, 10000);
    ck_assert_int_eq(train->classes, 10);
    ck_assert_int_eq(train->shape.dim[0], 1);
    ck_assert_int_eq(train->shape.dim[1], 28);
    ck_assert_int_eq(train->shape.dim[2], 28);
    ck_assert_uint_eq(pixel_sum(train), 3431114169u);
    ck_assert_uint_eq(pixel_sum(test), 573469082u);
    ck_assert_double_eq_tol((double)f.loader.mean[0], 0.286041, 5.1e-7);
    ck_assert_double_eq_tol((double)f.loader.std[0], 0.353024, 5.1e-7);
    check_labels(train, 6000, (int32_t[10]){ 9, 0, 0, 3, 0, 2, 7, 2, 5, 5 });
    check_labels(test, 1000, (int32_t[10]){ 9, 2, 1, 1, 6, 1, 4, 6, 5, 7 });
    ck_assert_int_eq(f.loader.steps_per_epoch, 235);
    ck_assert_int_eq(loader_batch_size(&f.loader, 234), 96);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    if (access(FOLDER, R_OK) != 0) {
        puts("dataset-fashion-mnist is not installed");
        return 77;
    }
    Suite *suite = suite_create("fashion");
    add_test(suite, fashion_mnist);
    return run_suite(suite);
}
