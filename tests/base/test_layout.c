/* The parameter layout: offsets, blocks, slices, norms and digests that do not depend on the
 * cut. */
#include "lockstep/layout.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "support.h"

#include <math.h>
#include <string.h>

static void make_layout(Layout *layout)
{
    *layout = (Layout){ 0 };
    layout_add(layout, "a.weight", 2, (int[]){ 100, 130 }, LAYOUT_DECAY | LAYOUT_ADAPT);
    layout_add(layout, "b.mean", 1, (int[]){ 5 }, LAYOUT_STATISTIC);
    layout_add(layout, "a.bias", 1, (int[]){ 3 }, 0);
    layout_add(layout, "c.weight", 4, (int[]){ 8, 4, 16, 16 }, LAYOUT_DECAY);
    layout_seal(layout);
}

static void fill(const Layout *layout, float *x, uint64_t stream)
{
    for (int t = 0; t < layout->count; t++)
        random_fill_normal(random_key(1, RANDOM_TEST, stream, (uint64_t)t), 0,
                           x + layout->tensors[t].offset, layout->tensors[t].n);
}

START_TEST(statistics_come_last)
{
    Layout layout;
    make_layout(&layout);
    ck_assert_int_eq(layout_find(&layout, "b.mean"), 1);
    ck_assert_int_eq(layout_find(&layout, "nothing"), -1);
    ck_assert_uint_eq(layout.tensors[0].offset, 0);
    ck_assert_uint_eq(layout.tensors[2].offset, 13008);
    ck_assert_uint_eq(layout.tensors[3].offset, 13024);
    ck_assert_uint_eq(layout.tensors[1].offset, 13024 + 8192);
    ck_assert_uint_eq(layout.n, 13024 + 8192 + 16);
    ck_assert_uint_eq(layout.trained, 13000 + 3 + 8192);
    ck_assert_uint_eq(layout.total, 13000 + 3 + 8192 + 5);
    ck_assert_int_eq(layout.blocks, 4 + 1 + 2 + 1);
    layout_free(&layout);
}
END_TEST

START_TEST(blocks_cover_the_arena)
{
    Layout layout;
    make_layout(&layout);
    size_t at = 0;
    for (int b = 0; b < layout.blocks; b++) {
        LayoutBlock block = layout_block(&layout, b);
        ck_assert_uint_eq(block.offset, at);
        ck_assert(block.n > 0 && block.n <= LAYOUT_BLOCK && block.n % LAYOUT_ALIGN == 0);
        at += block.n;
    }
    ck_assert_uint_eq(at, layout.n);
    layout_free(&layout);
}
END_TEST

START_TEST(slices_partition_the_arena)
{
    Layout layout;
    make_layout(&layout);
    for (int parts = 1; parts <= 20; parts++) {
        int block = 0;
        size_t at = 0;
        for (int part = 0; part < parts; part++) {
            Slice slice = layout_slice(&layout, part, parts);
            ck_assert_int_eq(slice.first_block, block);
            ck_assert_uint_eq(slice.lo, at);
            ck_assert(slice.hi <= slice.lo + layout.n / (size_t)parts + 2 * LAYOUT_BLOCK);
            block = slice.last_block;
            at = slice.hi;
        }
        ck_assert_int_eq(block, layout.blocks);
        ck_assert_uint_eq(at, layout.n);
    }
    layout_free(&layout);
}
END_TEST

START_TEST(norms_and_digests_do_not_depend_on_the_cut)
{
    Layout layout;
    make_layout(&layout);
    float *x = mem_array(float, layout.n);
    fill(&layout, x, 0);
    double whole[16], parts[16];
    uint64_t digests[16], other[16];
    layout_block_squares(&layout, layout_slice(&layout, 0, 1), x, whole);
    layout_block_digests(&layout, layout_slice(&layout, 0, 1), x, digests);
    for (int part = 0; part < 3; part++) {
        layout_block_squares(&layout, layout_slice(&layout, part, 3), x, parts);
        layout_block_digests(&layout, layout_slice(&layout, part, 3), x, other);
    }
    ck_assert_mem_eq(whole, parts, sizeof(double) * (size_t)layout.blocks);
    ck_assert_mem_eq(digests, other, sizeof(uint64_t) * (size_t)layout.blocks);
    double exact = 0;
    for (size_t i = 0; i < layout.tensors[0].n; i++)
        exact += (double)x[i] * (double)x[i];
    ck_assert_double_eq_tol(layout_tensor_sum(&layout, 0, whole), exact, 1e-9 * exact);
    uint64_t digest = layout_digest(&layout, digests);
    x[13000] += 1; /* the first padding float */
    layout_block_digests(&layout, layout_slice(&layout, 0, 1), x, digests);
    ck_assert(layout_digest(&layout, digests) == digest);
    x[12999] = nextafterf(x[12999], 10); /* the last float of the first tensor */
    layout_block_digests(&layout, layout_slice(&layout, 0, 1), x, digests);
    ck_assert(layout_digest(&layout, digests) != digest);
    mem_free(x);
    layout_free(&layout);
}
END_TEST

START_TEST(statistics_are_updated_alone)
{
    Layout layout;
    make_layout(&layout);
    float *w = mem_array(float, layout.n), *g = mem_array(float, layout.n);
    for (size_t i = 0; i < layout.n; i++)
        w[i] = 8, g[i] = 1;
    layout.tensors[1].keep = 0.75f;
    layout_update_statistics(&layout, layout_slice(&layout, 0, 1), w, gradient_at(g));
    for (size_t i = 0; i < layout.n; i++)
        ck_assert(w[i] == (i >= layout.tensors[1].offset ? 7.0f : 8.0f));
    mem_free(w);
    mem_free(g);
    layout_free(&layout);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layout");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, statistics_come_last);
    tcase_add_test(tests, blocks_cover_the_arena);
    tcase_add_test(tests, slices_partition_the_arena);
    tcase_add_test(tests, norms_and_digests_do_not_depend_on_the_cut);
    tcase_add_test(tests, statistics_are_updated_alone);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
