/* Counter-based random numbers: pinned values, moments, bijections. */
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"
#include "lockstep/random.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The Random123 known-answer vector for philox4x32-10 with all-ones counter and key is checked by
 * the library's own tests; what is pinned here is our derivation of streams, which no release may
 * change. */
START_TEST(streams_are_pinned)
{
    uint32_t words[4];
    random_words(random_key(1, RANDOM_TEST, 2, 3), 4, words);
    static const uint32_t pinned[4] = { 0x4a12aa29u, 0xa6bcbc1cu, 0xcc7a0a0bu, 0x252f093eu };
    ck_assert_mem_eq(words, pinned, sizeof pinned);
}
END_TEST

/* Every length and start, also where the upper half of a counter changes, at every level. */
START_TEST(words_agree_with_fill)
{
    enum { MOST = 150 };
    static const uint64_t starts[] = { 0, 5, (1ull << 34) - 30, (1ull << 34) - 3 };
    static const char *const levels[] = { "v2", "v3", "v4" };
    RandomKey key = random_key(7, RANDOM_TEST, 1, 2);
    uint32_t filled[MOST + 1];
    for (int level = 0; level < 3 && cpu_set_isa(levels[level], NULL); level++)
        for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
            for (size_t n = 0; n <= MOST; n++) {
                filled[n] = 42;
                random_fill_words(key, starts[s], filled, n);
                for (size_t i = 0; i < n; i++)
                    ck_assert_uint_eq(filled[i], random_word(key, starts[s] + i));
                ck_assert_uint_eq(filled[n], 42);
            }
    ck_assert(cpu_set_isa("auto", NULL));
}
END_TEST

/* Both quotients of the quantile, and its ends, at every level. */
START_TEST(normals_agree_with_fill)
{
    enum { N = 100000 };
    static const char *const levels[] = { "v2", "v3", "v4" };
    RandomKey key = random_key(7, RANDOM_TEST, 1, 2);
    float *normal = malloc(N * sizeof *normal);
    for (int level = 0; level < 3 && cpu_set_isa(levels[level], NULL); level++) {
        random_fill_normal(key, 11, normal, N);
        for (uint64_t i = 0; i < N; i++)
            ck_assert(normal[i] == (float)random_normal(key, 11 + i));
        for (size_t n = 0; n < 40; n++) {
            normal[n] = 42;
            random_fill_normal(key, 3, normal, n);
            ck_assert(normal[n] == 42.0f);
            ck_assert(n == 0 || normal[n - 1] == (float)random_normal(key, 2 + n));
        }
    }
    ck_assert(cpu_set_isa("auto", NULL));
    float sum[2] = { 1, 2 };
    random_fill_normal(key, 9, normal, 2);
    random_add_normal(key, 9, 0.5f, sum, 2);
    ck_assert(sum[0] == 1 + 0.5f * normal[0] && sum[1] == 2 + 0.5f * normal[1]);
    free(normal);
}
END_TEST

/* The words that give the largest numbers, and those on both sides of where the quotients meet. */
START_TEST(normals_of_words_at_the_ends)
{
    static const uint32_t words[] = { 0u,          1u,          0xffffffffu, 0xfffffffeu,
                                      0x7fffffffu, 0x80000000u, 322122546u,  322122547u,
                                      322122548u,  3972844747u, 3972844748u, 3972844749u };
    static const char *const levels[] = { "v2", "v3", "v4" };
    enum { N = sizeof words / sizeof *words };
    float x[3][N] = { { 0 } };
    for (int level = 0; level < 3 && cpu_set_isa(levels[level], NULL); level++) {
        kernels()->normals(words, x[level], N);
        ck_assert(same_bits(x[level], x[0], N));
    }
    ck_assert_double_eq_tol((double)x[0][0], -6.3379, 1e-4); /* Phi(x) = 2^-33 */
    ck_assert(x[0][0] == -x[0][2] && x[0][1] == -x[0][3] && x[0][4] == -x[0][5]);
    for (int i = 6; i < N; i++) /* Phi(x) = 0.075 */
        ck_assert_double_eq_tol(fabs((double)x[0][i]), 1.4395315, 1e-7);
    ck_assert(cpu_set_isa("auto", NULL));
}
END_TEST

START_TEST(streams_differ_in_every_argument)
{
    uint32_t base = random_word(random_key(1, RANDOM_TEST, 2, 3), 0);
    ck_assert(base != random_word(random_key(2, RANDOM_TEST, 2, 3), 0));
    ck_assert(base != random_word(random_key(1, RANDOM_INIT, 2, 3), 0));
    ck_assert(base != random_word(random_key(1, RANDOM_TEST, 3, 3), 0));
    ck_assert(base != random_word(random_key(1, RANDOM_TEST, 2, 4), 0));
    ck_assert(base != random_word(random_key(1ull << 40, RANDOM_TEST, 2, 3), 0));
    ck_assert(base != random_word(random_key(1, RANDOM_TEST, 2, 3), 1));
}
END_TEST

START_TEST(normal_moments)
{
    enum { N = 400000 };
    RandomKey key = random_key(3, RANDOM_TEST, 0, 0);
    double sum = 0, sum2 = 0, sum4 = 0;
    int beyond = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = random_normal(key, i);
        sum += x;
        sum2 += x * x;
        sum4 += x * x * x * x;
        beyond += fabs(x) > 1.959963984540054;
    }
    ck_assert_double_eq_tol(sum / N, 0, 5 / sqrt(N));
    ck_assert_double_eq_tol(sum2 / N, 1, 5 * sqrt(2.0 / N));
    ck_assert_double_eq_tol(sum4 / N, 3, 5 * sqrt(96.0 / N));
    ck_assert_double_eq_tol(beyond / (double)N, 0.05, 5 * sqrt(0.05 * 0.95 / N));
}
END_TEST

START_TEST(permutation_is_a_bijection)
{
    static const uint64_t sizes[] = { 1, 2, 3, 4, 5, 7, 16, 17, 60, 64, 65, 1000, 4096, 60000 };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t epoch = 0; epoch < 2; epoch++) {
            RandomKey key = random_key(9, RANDOM_ORDER, epoch, 0);
            char *seen = calloc(sizes[s], 1);
            for (uint64_t i = 0; i < sizes[s]; i++) {
                uint64_t to = random_permute(key, i, sizes[s]);
                ck_assert(to < sizes[s] && !seen[to]);
                seen[to] = 1;
            }
            free(seen);
        }
}
END_TEST

/* Each place of a small permutation is visited evenly over many keys: chi-square on position of
 * 0. */
START_TEST(permutation_is_even)
{
    enum { N = 10, KEYS = 20000 };
    int hits[N][N] = { { 0 } };
    for (uint64_t epoch = 0; epoch < KEYS; epoch++)
        for (uint64_t i = 0; i < N; i++)
            hits[i][random_permute(random_key(1, RANDOM_ORDER, epoch, 0), i, N)]++;
    for (int i = 0; i < N; i++) {
        double chi2 = 0, expected = (double)KEYS / N;
        for (int j = 0; j < N; j++)
            chi2 += (hits[i][j] - expected) * (hits[i][j] - expected) / expected;
        ck_assert_double_lt(chi2, 33.7); /* 9 degrees of freedom, p = 1e-4 */
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("random");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, streams_are_pinned);
    tcase_add_test(tests, words_agree_with_fill);
    tcase_add_test(tests, normals_agree_with_fill);
    tcase_add_test(tests, normals_of_words_at_the_ends);
    tcase_add_test(tests, streams_differ_in_every_argument);
    tcase_add_test(tests, normal_moments);
    tcase_add_test(tests, permutation_is_a_bijection);
    tcase_add_test(tests, permutation_is_even);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
