/* The CPU: levels, and OpenBLAS's kernel family corrected in process. */
#include "lockstep/cpu.h"
#include "lockstep/gemm.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

START_TEST(levels)
{
    Err err;
    ck_assert(cpu_set_isa("auto", &err));
    ck_assert_int_eq(cpu_isa(), cpu_isa_best());
    ck_assert(cpu_set_isa("v2", &err));
    ck_assert_int_eq(cpu_isa(), ISA_V2);
    ck_assert(!cpu_set_isa("v9", &err));
    ck_assert_str_eq(err.text, "compute.isa: \"v9\" is not one of auto, v2, v3, v4");
    ck_assert(cpu_set_isa("auto", &err));
}
END_TEST

/* A family far weaker than the CPU is taken on request, and put right by `auto`. */
START_TEST(blas_core_is_corrected)
{
    Err err;
    if (cpu_isa_best() == ISA_V2)
        return;
    ck_assert_msg(cpu_blas_setup("Nehalem", &err), "%s", err.text);
    ck_assert_str_eq(cpu_blas_core(), "Nehalem");
    ck_assert(cpu_blas_setup("keep", &err));
    ck_assert_str_eq(cpu_blas_core(), "Nehalem");
    ck_assert_msg(cpu_blas_setup("auto", &err), "%s", err.text);
    ck_assert_str_ne(cpu_blas_core(), "Nehalem");
    if (cpu_isa_best() == ISA_V4)
        ck_assert_msg(strcmp(cpu_blas_core(), "SkylakeX") == 0 ||
                          strcmp(cpu_blas_core(), "Cooperlake") == 0 ||
                          strcmp(cpu_blas_core(), "SapphireRapids") == 0,
                      "%s", cpu_blas_core());
    ck_assert(!cpu_blas_setup("Nonsense", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "OpenBLAS does not know \"Nonsense\""));
    ck_assert(cpu_blas_setup("auto", &err));
}
END_TEST

START_TEST(gemm_small)
{
    static const float a[6] = { 1, 2, 3, 4, 5, 6 }; /* (2, 3) */
    static const float b[6] = { 1, 0, 2, 1, 0, 3 }; /* (3, 2) */
    float c[4] = { 100, 100, 100, 100 };
    gemm(false, false, 2, 2, 3, 1, a, 3, b, 2, 0, c, 2);
    static const float want[4] = { 5, 11, 14, 23 };
    ck_assert_mem_eq(c, want, sizeof want);
    gemm(true, true, 3, 3, 2, 1, a, 3, b, 2, 0, (float[9]){ 0 }, 3);
    gemm(false, false, 0, 2, 3, 1, a, 3, b, 2, 0, c, 2);
    ck_assert_mem_eq(c, want, sizeof want);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, levels);
    tcase_add_test(tests, blas_core_is_corrected);
    tcase_add_test(tests, gemm_small);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
