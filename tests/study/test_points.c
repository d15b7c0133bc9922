/* Quasi-random points: the published first elements, and what makes the sequences what they are. */
#include "support.h"

#include "lockstep/study.h"

#include <math.h>

/* Radical inverses in bases 2, 3 and 5 (Halton 1960). */
START_TEST(test_halton)
{
    static const double first[3][8] = {
        { 1. / 2, 1. / 4, 3. / 4, 1. / 8, 5. / 8, 3. / 8, 7. / 8, 1. / 16 },
        { 1. / 3, 2. / 3, 1. / 9, 4. / 9, 7. / 9, 2. / 9, 5. / 9, 8. / 9 },
        { 1. / 5, 2. / 5, 3. / 5, 4. / 5, 1. / 25, 6. / 25, 11. / 25, 16. / 25 },
    };
    for (int d = 0; d < 3; d++) {
        ck_assert(study_halton(0, d) == 0);
        for (int i = 0; i < 8; i++)
            ck_assert_double_eq(study_halton(i + 1, d), first[d][i]);
    }
}
END_TEST

/* The first eight points in ten dimensions that Joe and Kuo's program prints for new-joe-kuo-6. */
START_TEST(test_sobol)
{
    static const double first[8][10] = {
        { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
        { .5, .5, .5, .5, .5, .5, .5, .5, .5, .5 },
        { .75, .25, .25, .25, .75, .75, .25, .75, .75, .75 },
        { .25, .75, .75, .75, .25, .25, .75, .25, .25, .25 },
        { .375, .375, .625, .875, .375, .125, .375, .875, .875, .625 },
        { .875, .875, .125, .375, .875, .625, .875, .375, .375, .125 },
        { .625, .125, .875, .625, .625, .875, .125, .125, .125, .375 },
        { .125, .625, .375, .125, .125, .375, .625, .625, .625, .875 },
    };
    for (int i = 0; i < 8; i++)
        for (int d = 0; d < 10; d++)
            ck_assert_double_eq(study_sobol(i, d), first[i][d]);
}
END_TEST

/* The first 2^k points have one in each of 2^k equal parts, in every dimension. */
START_TEST(test_sobol_is_even)
{
    for (int d = 0; d < STUDY_MAX_DIMENSIONS; d++) {
        bool seen[1024] = { false };
        for (int i = 0; i < 1024; i++)
            seen[(int)(study_sobol(i, d) * 1024)] = true;
        for (int i = 0; i < 1024; i++)
            ck_assert_msg(seen[i], "dimension %d, part %d is empty", d, i);
    }
}
END_TEST

/* No two dimensions are the same, and each pair fills the quarters of the square evenly. */
START_TEST(test_pairs)
{
    for (int a = 0; a < STUDY_MAX_DIMENSIONS; a++)
        for (int b = 0; b < a; b++) {
            int quarter[4] = { 0 };
            for (int i = 0; i < 4096; i++)
                quarter[(study_sobol(i, a) >= 0.5) + 2 * (study_sobol(i, b) >= 0.5)]++;
            for (int q = 0; q < 4; q++)
                ck_assert_int_eq(quarter[q], 1024);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("points");
    add_test(suite, test_halton);
    add_test(suite, test_sobol);
    add_test(suite, test_sobol_is_even);
    add_test(suite, test_pairs);
    return run_suite(suite);
}
