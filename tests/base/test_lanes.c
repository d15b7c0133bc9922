/* Lanes: every lane has one owner, every sample one lane, and subtrees follow the binary tree. */
#include "support.h"

#include "lockstep/lanes.h"

#include <stdlib.h>
#include <string.h>

START_TEST(test_owners_cover_lanes)
{
    for (int count = 1; count <= 64; count *= 2)
        for (int ranks = 1; ranks <= count; ranks++) {
            int next = 0;
            for (int rank = 0; rank < ranks; rank++) {
                Lanes lanes;
                ck_assert(lanes_init(&lanes, 3 * count, count, rank, ranks, NULL));
                ck_assert_int_eq(lanes.first, next);
                ck_assert_int_gt(lanes.last, lanes.first);
                ck_assert_int_le(lanes.last - lanes.first, (count + ranks - 1) / ranks);
                ck_assert_int_eq(lanes.size, 3);
                next = lanes.last;
            }
            ck_assert_int_eq(next, count);
        }
}
END_TEST

START_TEST(test_errors)
{
    Lanes lanes;
    Err err;
    ck_assert(!lanes_init(&lanes, 60, 6, 0, 1, &err));
    ck_assert_str_eq(err.text, "train.lanes: 6 found, a power of two wanted");
    ck_assert(!lanes_init(&lanes, 60, 0, 0, 1, &err));
    ck_assert_str_eq(err.text, "train.lanes: 0 found, a power of two wanted");
    ck_assert(!lanes_init(&lanes, 100, 8, 0, 1, &err));
    ck_assert_str_eq(err.text, "train.batch: 100 found, a multiple of the 8 lanes wanted");
    ck_assert(!lanes_init(&lanes, 0, 8, 0, 1, &err));
    ck_assert_str_eq(err.text, "train.batch: 0 found, a multiple of the 8 lanes wanted");
    ck_assert(!lanes_init(&lanes, 64, 4, 2, 5, &err));
    ck_assert_str_eq(err.text,
                     "5 ranks for 4 lanes: start at most 4 ranks, or set train.lanes to a power of "
                     "two of at least 5 (this changes the results)");
}
END_TEST

/* A batch of any length is dealt out in order: full lanes, one partial lane, empty lanes. */
START_TEST(test_short_batches)
{
    Lanes lanes;
    ck_assert(lanes_init(&lanes, 24, 8, 0, 1, NULL));
    for (int batch = 0; batch <= 24; batch++) {
        int total = 0;
        for (int lane = 0; lane < 8; lane++) {
            int samples = lanes_samples(&lanes, lane, batch);
            ck_assert_int_ge(samples, 0);
            ck_assert_int_le(samples, 3);
            if (samples > 0)
                ck_assert_int_eq(lanes_offset(&lanes, lane), total);
            total += samples;
        }
        ck_assert_int_eq(total, batch);
    }
}
END_TEST

/* Each subtree is aligned, the run is covered, and no two neighbours could still be joined. */
START_TEST(test_subtrees_are_maximal)
{
    for (int first = 0; first <= 64; first++)
        for (int last = first; last <= 64; last++) {
            Subtree subtrees[64];
            int count = lanes_subtrees(first, last, subtrees);
            int next = first;
            for (int i = 0; i < count; i++) {
                ck_assert_int_eq(subtrees[i].first, next);
                ck_assert_int_eq(subtrees[i].width & (subtrees[i].width - 1), 0);
                ck_assert_int_eq(subtrees[i].first % subtrees[i].width, 0);
                if (i > 0)
                    ck_assert(!lanes_siblings(subtrees[i - 1], subtrees[i]));
                next += subtrees[i].width;
            }
            ck_assert_int_eq(next, last);
        }
}
END_TEST

START_TEST(test_subtrees_of_the_picture)
{
    Subtree subtrees[64];
    ck_assert_int_eq(lanes_subtrees(0, 3, subtrees), 2); /* 01, 2 */
    ck_assert_int_eq(subtrees[0].width, 2);
    ck_assert_int_eq(lanes_subtrees(3, 5, subtrees), 2); /* 3, 4 */
    ck_assert_int_eq(subtrees[0].width, 1);
    ck_assert_int_eq(lanes_subtrees(5, 8, subtrees), 2); /* 5, 67 */
    ck_assert_int_eq(subtrees[1].first, 6);
    ck_assert_int_eq(subtrees[1].width, 2);
    ck_assert_int_eq(lanes_subtrees(0, 8, subtrees), 1);
}
END_TEST

/* The definition, recursively: a subtree is its left half plus its right half. */
static double tree(const double *values, int first, int width)
{
    if (width == 1)
        return values[first];
    return tree(values, first, width / 2) + tree(values, first + width / 2, width / 2);
}

START_TEST(test_tree_sum)
{
    int differs_from_running_sum = 0;
    for (int count = 1; count <= 64; count *= 2) {
        double values[64];
        double running = 0;
        for (int i = 0; i < count; i++) {
            values[i] = (i % 3 == 0 ? 1e9 : 1.0) / (i + 3) * (i % 2 ? -1 : 1);
            running += values[i];
        }
        double wanted = tree(values, 0, count);
        double got = lanes_tree_sum(values, count);
        ck_assert(memcmp(&got, &wanted, sizeof got) == 0);
        differs_from_running_sum += memcmp(&got, &running, sizeof got) != 0;
    }
    ck_assert_int_gt(differs_from_running_sum, 0);
}
END_TEST

/* Missing leaves are skipped, not added as zeros: -0 stays -0. */
START_TEST(test_tree_sum_of_some)
{
    double five[] = { 1e17, 3, -1e17, 5, 7 };
    ck_assert(lanes_tree_sum(five, 5) == ((1e17 + 3) + (-1e17 + 5)) + 7);
    double one[] = { -0.0 };
    double sum = lanes_tree_sum(one, 1);
    ck_assert(memcmp(&sum, one, sizeof sum) == 0 && 1 / sum < 0);
    ck_assert(lanes_tree_sum(NULL, 0) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lanes");
    add_test(suite, test_owners_cover_lanes);
    add_test(suite, test_errors);
    add_test(suite, test_short_batches);
    add_test(suite, test_subtrees_are_maximal);
    add_test(suite, test_subtrees_of_the_picture);
    add_test(suite, test_tree_sum);
    add_test(suite, test_tree_sum_of_some);
    return run_suite(suite);
}
