/* Largest errors of the vector mathematics against double, and the values at the ends of the range.
 * */
#include "lockstep/vmath.h"

#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define STRIDE 163 /* of all floats; prime, so every exponent and low bit is met */

static float apply_exp(float x)
{
    return vmath_exp(x);
}
static float apply_log(float x)
{
    return vmath_log(x);
}
static float apply_tanh(float x)
{
    return vmath_tanh(x);
}
static float apply_normal(float x)
{
    float density;
    return vmath_normal(x, &density);
}
static float apply_density(float x)
{
    float density;
    vmath_normal(x, &density);
    return density;
}
static float apply_sigmoid(float x)
{
    return vmath_sigmoid(x);
}
static float apply_softplus(float x)
{
    return vmath_softplus(x);
}
static float apply_expm1_negative(float x)
{
    return vmath_expm1_negative(-vmath_abs(x));
}
static float apply_cbrt(float x)
{
    return vmath_cbrt(vmath_abs(x));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double normal(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}
static double density(double x)
{
    return exp(-0.5 * x * x) / sqrt(2 * acos(-1));
}
static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}
static double expm1_negative(double x)
{
    return expm1(-fabs(x));
}

static double cbrt_of_size(double x)
{
    return cbrt(fabs(x));
}

/* Error in units of the last place of the true value; results that must be 0, infinite or NaN count
 * as 0 if they are, as infinite if not. */
static double error_in_ulp(float got, double wanted)
{
    if (isnan(wanted))
        return isnan(got) ? 0 : (double)INFINITY;
    if (fabs(wanted) >= 0x1.ffffffp127)
        return (double)got == copysign((double)INFINITY, wanted) ? 0 : (double)INFINITY;
    double ulp = ldexp(1.0, fabs(wanted) < (double)FLT_MIN ? -149 : ilogb(wanted) - 23);
    return fabs((double)got - wanted) / ulp;
}

/* Over the floats with low <= |x| <= high of both signs. */
static double largest_error(float (*f)(float), double (*reference)(double), float low, float high,
                            float *where)
{
    VmathBits from = { .f = low }, to = { .f = high };
    double largest = 0;
    for (uint64_t u = from.u; u <= to.u; u += STRIDE) {
        for (uint32_t sign = 0; sign < 2; sign++) {
            VmathBits x = { .u = (uint32_t)u | sign << 31 };
            double error = error_in_ulp(f(x.f), reference((double)x.f));
            if (!(error <= largest)) {
                largest = error;
                *where = x.f;
            }
        }
    }
    return largest;
}

static void assert_error(const char *name, float (*f)(float), double (*reference)(double),
                         float low, float high, double limit)
{
    float where = 0;
    double error = largest_error(f, reference, low, high, &where);
    printf("vmath_%-14s |x| in [%.3g, %.3g]: %.3f ulp at %.9g\n", name, (double)low, (double)high,
           error, (double)where);
    ck_assert_msg(error <= limit, "vmath_%s(%.9g): %.3f ulp, at most %.2f allowed", name,
                  (double)where, error, limit);
}

START_TEST(test_errors)
{
    float tiny = FLT_MIN;
    assert_error("exp", apply_exp, exp, tiny, 87.33654f, 1.5);
    assert_error("log", apply_log, log, tiny, FLT_MAX, 2.0);
    assert_error("tanh", apply_tanh, tanh, tiny, FLT_MAX, 2.0);
    assert_error("normal", apply_normal, normal, tiny, 2, 8.0);
    assert_error("normal", apply_normal, normal, 2, 13, 72.0);
    assert_error("density", apply_density, density, tiny, 2, 4.0);
    assert_error("density", apply_density, density, 2, 13, 68.0);
    assert_error("sigmoid", apply_sigmoid, sigmoid, tiny, 87.3f, 3.0);
    assert_error("softplus", apply_softplus, softplus, tiny, 87.3f, 3.0);
    assert_error("expm1_negative", apply_expm1_negative, expm1_negative, tiny, 100, 3.0);
    assert_error("cbrt", apply_cbrt, cbrt_of_size, tiny, FLT_MAX, 2.0);
}
END_TEST

START_TEST(test_exp_ends)
{
    for (float x = 87.3366f; x < 88.72283f; x += 0.0001f)
        ck_assert_double_le(error_in_ulp(vmath_exp(x), exp((double)x)), 1.5);
    ck_assert(isinf(vmath_exp(88.7229f)) && isinf(vmath_exp(1e30f)) && isinf(vmath_exp(INFINITY)));
    ck_assert(vmath_exp(-87.34f) == 0 && vmath_exp(-1e30f) == 0 && vmath_exp(-INFINITY) == 0);
    ck_assert(vmath_exp(0.0f) == 1 && vmath_exp(-0.0f) == 1);
    ck_assert(isnan(vmath_exp(NAN)));
}
END_TEST

START_TEST(test_other_ends)
{
    ck_assert(vmath_log(1.0f) == 0 && isinf(vmath_log(0.0f)) && vmath_log(0.0f) < 0);
    ck_assert(isinf(vmath_log(INFINITY)) && isnan(vmath_log(-1.0f)) && isnan(vmath_log(NAN)));
    ck_assert(vmath_tanh(INFINITY) == 1 && vmath_tanh(-INFINITY) == -1 && isnan(vmath_tanh(NAN)));
    ck_assert(vmath_tanh(0.0f) == 0);
    ck_assert(vmath_cbrt(0.0f) == 0 && vmath_cbrt(1e-40f) == 0 && isnan(vmath_cbrt(NAN)));
    ck_assert(apply_normal(INFINITY) == 1 && apply_normal(-INFINITY) == 0);
    ck_assert(apply_normal(1e30f) == 1 && apply_normal(-1e30f) == 0 && isnan(apply_normal(NAN)));
    ck_assert(apply_density(INFINITY) == 0 && isnan(apply_density(NAN)));
    ck_assert(vmath_sigmoid(INFINITY) == 1 && vmath_sigmoid(-INFINITY) == 0);
    ck_assert(vmath_sigmoid(0.0f) == 0.5f && isnan(vmath_sigmoid(NAN)));
    ck_assert(isinf(vmath_softplus(INFINITY)) && vmath_softplus(-INFINITY) == 0);
    ck_assert(vmath_softplus(100.0f) == 100 && isnan(vmath_softplus(NAN)));
    ck_assert(vmath_expm1_negative(-INFINITY) == -1 && isnan(vmath_expm1_negative(NAN)));
}
END_TEST

START_TEST(test_log_double)
{
    for (double x = 0x1p-1000; x < 0x1p1000; x *= 1.0009765) {
        double wanted = log(x);
        ck_assert_double_le(fabs(vmath_log_double(x) - wanted), 1e-15 * fmax(1, fabs(wanted)));
    }
    ck_assert(vmath_log_double(1) == 0 && isnan(vmath_log_double((double)NAN)));
    ck_assert(isinf(vmath_log_double(0)) && isinf(vmath_log_double((double)INFINITY)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmath");
    add_test(suite, test_errors);
    add_test(suite, test_exp_ends);
    add_test(suite, test_other_ends);
    add_test(suite, test_log_double);
    return run_suite(suite);
}
