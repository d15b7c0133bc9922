/* Initial weights. Number i of a tensor is a function of (seed, tensor, i) alone. */
#include "lockstep/initializer.h"
#include "dot.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "lockstep/text.h"
#include "whiten.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum Family { NORMAL, UNIFORM, TRUNCATED, ORTHOGONAL, CONSTANT, DIRAC, WHITEN } Family;

/* What the variance is divided by. */
typedef enum Fan { FAN_IN, FAN_OUT, FAN_BOTH, FAN_NONE } Fan;

typedef struct Scheme {
    const char *name;
    Family family;
    double variance; /* std = sqrt(variance / fan); CONSTANT: the value */
    Fan fan;
    bool argument; /* "(number)" follows: std, value or eps */
} Scheme;

static const Scheme schemes[] = {
    { "he_normal", NORMAL, 2, FAN_IN, false },
    { "he_uniform", UNIFORM, 2, FAN_IN, false },
    { "he_truncated", TRUNCATED, 2, FAN_IN, false },
    { "he_normal_out", NORMAL, 2, FAN_OUT, false },
    { "he_uniform_out", UNIFORM, 2, FAN_OUT, false },
    { "he_truncated_out", TRUNCATED, 2, FAN_OUT, false },
    { "xavier_normal", NORMAL, 2, FAN_BOTH, false },
    { "xavier_uniform", UNIFORM, 2, FAN_BOTH, false },
    { "xavier_truncated", TRUNCATED, 2, FAN_BOTH, false },
    { "lecun_normal", NORMAL, 1, FAN_IN, false },
    { "lecun_uniform", UNIFORM, 1, FAN_IN, false },
    { "lecun_truncated", TRUNCATED, 1, FAN_IN, false },
    { "torch", UNIFORM, 1.0 / 3, FAN_IN, false },
    { "orthogonal", ORTHOGONAL, 1, FAN_NONE, false },
    { "dirac", DIRAC, 1.0 / 3, FAN_IN, false },
    { "whiten", WHITEN, 1, FAN_NONE, true },
    { "normal", NORMAL, 1, FAN_NONE, true },
    { "uniform", UNIFORM, 1, FAN_NONE, true },
    { "truncated", TRUNCATED, 1, FAN_NONE, true },
    { "constant", CONSTANT, 1, FAN_NONE, true },
    { "zeros", CONSTANT, 0, FAN_NONE, false },
    { "ones", CONSTANT, 1, FAN_NONE, false },
};
enum { SCHEME_COUNT = sizeof schemes / sizeof *schemes };

const InitializerInfo *initializer_all(void)
{
    static const InitializerInfo infos[] = {
        { "he_normal", "N(0, 2 / fan_in), for relu (He et al. 2015)" },
        { "he_uniform", "uniform with that variance" },
        { "he_truncated", "normal cut at 2 sigma, rescaled to that variance" },
        { "he_normal_out", "N(0, 2 / fan_out)" },
        { "he_uniform_out", "uniform with that variance" },
        { "he_truncated_out", "truncated normal with that variance" },
        { "xavier_normal", "N(0, 2 / (fan_in + fan_out)), for tanh (Glorot and Bengio 2010)" },
        { "xavier_uniform", "uniform with that variance" },
        { "xavier_truncated", "truncated normal with that variance" },
        { "lecun_normal", "N(0, 1 / fan_in) (LeCun et al. 1998)" },
        { "lecun_uniform", "uniform with that variance" },
        { "lecun_truncated", "truncated normal with that variance" },
        { "torch", "uniform in +-1 / sqrt(fan_in): PyTorch's default" },
        { "orthogonal", "rows or columns orthonormal, whichever are fewer (Saxe et al. 2014)" },
        { "dirac", "filter i of a convolution passes channel i on; filters without one as torch "
                   "(Zagoruyko and Komodakis 2017)" },
        { "whiten(eps)",
          "for the first convolution: eigenvectors of patches of the training images "
          "over sqrt(eigenvalue + eps), then the same negated (Page 2018)" },
        { "normal(std)", "N(0, std^2)" },
        { "uniform(std)", "uniform with standard deviation std" },
        { "truncated(std)", "truncated normal with standard deviation std" },
        { "constant(value)", "one value" },
        { "zeros", "0" },
        { "ones", "1" },
        { NULL, NULL },
    };
    return infos;
}

/* ---- spelling ---- */

typedef struct Parsed {
    const Scheme *scheme;
    double argument, gain;
} Parsed;

static bool unknown_scheme(const char *word, Err *err)
{
    const char *names[SCHEME_COUNT];
    for (int i = 0; i < SCHEME_COUNT; i++)
        names[i] = schemes[i].name;
    const char *nearest = text_nearest(word, names, SCHEME_COUNT);
    err_set(err, "unknown initialiser \"%.60s\"", word);
    if (err && nearest)
        text_append(err->text, sizeof err->text, "; did you mean \"%s\"?", nearest);
    for (int i = 0; err && i < SCHEME_COUNT; i++)
        text_append(err->text, sizeof err->text, "%s%s", i == 0 ? " (initialisers: " : ", ",
                    names[i]);
    if (err)
        text_append(err->text, sizeof err->text, ")");
    return false;
}

static bool finite_number(const char *text, double *value)
{
    return text_to_double(text, value) && isfinite(*value);
}

/* "name", "name(number)", either followed by "*gain". */
static bool parse(const char *text, Parsed *parsed, Err *err)
{
    char word[80];
    double gain = 1, argument = 1;
    if ((size_t)snprintf(word, sizeof word, "%s", text) >= sizeof word)
        return err_set(err, "unknown initialiser \"%.60s...\"", text);
    char *star = strchr(word, '*');
    if (star) {
        *star = '\0';
        if (!finite_number(star + 1, &gain))
            return err_set(err, "initialiser \"%s\": a number is wanted after \"*\"", text);
    }
    char *open = strchr(word, '(');
    if (open) {
        char *close = strchr(open, ')');
        *open = '\0';
        if (!close || close[1])
            return err_set(err, "initialiser \"%s\": \"name(number)\" is wanted", text);
        *close = '\0';
        if (!finite_number(open + 1, &argument))
            return err_set(err, "initialiser \"%s\": a number is wanted in the brackets", text);
    }
    const Scheme *scheme = schemes;
    while (scheme < schemes + SCHEME_COUNT && strcmp(scheme->name, word) != 0)
        scheme++;
    if (scheme == schemes + SCHEME_COUNT)
        return unknown_scheme(word, err);
    if (scheme->argument && !open)
        return err_set(err, "initialiser \"%s\" wants a number: \"%s(0.02)\"", text, word);
    if (!scheme->argument && open)
        return err_set(err, "initialiser \"%s\": %s takes no number in brackets", text, word);
    if (scheme->family == WHITEN && argument <= 0)
        return err_set(err, "initialiser \"%s\": a number above 0 is wanted in the brackets", text);
    *parsed = (Parsed){ scheme, argument, gain };
    return true;
}

bool initializer_check(const char *scheme, Err *err)
{
    Parsed parsed;
    return parse(scheme, &parsed, err);
}

bool initializer_wants_moments(const char *scheme)
{
    Parsed parsed;
    return parse(scheme, &parsed, NULL) && parsed.scheme->family == WHITEN;
}

/* ---- numbers ---- */

static double fan(const Scheme *scheme, const InitializerInput *input)
{
    switch (scheme->fan) {
    case FAN_IN:
        return input->fan_in;
    case FAN_OUT:
        return input->fan_out;
    case FAN_BOTH:
        return (double)input->fan_in + input->fan_out;
    case FAN_NONE:
        break;
    }
    return 1;
}

/* Draws number `attempt` of every element: attempts are streams of their own. */
static RandomKey key_of(const InitializerInput *input, uint64_t attempt)
{
    return random_key(input->seed, RANDOM_INIT, attempt, input->tensor);
}

static void fill_normal(const InitializerInput *input, double std, float *w, size_t n)
{
    random_fill_normal(key_of(input, 0), 0, w, n);
    for (size_t i = 0; i < n; i++)
        w[i] = (float)(std * (double)w[i]);
}

static void fill_uniform(const InitializerInput *input, double std, float *w, size_t n)
{
    uint32_t words[256];
    double bound = sqrt(3.0) * std;
    for (size_t done = 0; done < n;) {
        size_t count = n - done < 256 ? n - done : 256;
        random_fill_words(key_of(input, 0), done, words, count);
        for (size_t i = 0; i < count; i++)
            w[done + i] = (float)(bound * (((double)words[i] + 0.5) * 0x1p-31 - 1));
        done += count;
    }
}

#define TRUNCATED_STD 0.87962566103423978 /* of N(0, 1) cut at +-2 */

static void fill_truncated(const InitializerInput *input, double std, float *w, size_t n)
{
    random_fill_normal(key_of(input, 0), 0, w, n);
    for (size_t i = 0; i < n; i++) {
        double z = (double)w[i];
        for (uint64_t attempt = 1; fabs(z) > 2; attempt++) /* one in 22 */
            z = random_normal(key_of(input, attempt), i);
        w[i] = (float)(std / TRUNCATED_STD * z);
    }
}

/* Makes `count` vectors of length n orthonormal: modified Gram-Schmidt, each vector twice, which is
 * enough (Giraud et al. 2005). From normal numbers this is uniform over orthogonal matrices,
 * because the triangular factor's diagonal is positive (Mezzadri 2007). */
static void orthonormalize(double *vectors, size_t count, size_t n)
{
    for (size_t v = 0; v < count; v++) {
        double *vector = vectors + v * n;
        for (size_t u = 0; u < 2 * v; u++) {
            const double *other = vectors + u % v * n;
            double along = dot(vector, other, n);
            for (size_t i = 0; i < n; i++)
                vector[i] -= along * other[i];
        }
        double scale = 1 / sqrt(dot(vector, vector, n));
        for (size_t i = 0; i < n; i++)
            vector[i] *= scale;
    }
}

static void fill_orthogonal(const InitializerInput *input, double gain, float *w, size_t n)
{
    size_t rows = (size_t)input->rows, columns = (size_t)input->columns;
    bool by_rows = rows <= columns;
    size_t count = by_rows ? rows : columns, length = by_rows ? columns : rows;
    double *vectors = mem_array(double, n);
    for (size_t i = 0; i < n; i++)
        vectors[i] = random_normal(key_of(input, 0), i);
    orthonormalize(vectors, count, length);
    for (size_t v = 0; v < count; v++)
        for (size_t i = 0; i < length; i++)
            w[by_rows ? v * columns + i : i * columns + v] =
                (float)(gain * vectors[v * length + i]);
    mem_free(vectors);
}

/* The middle tap of filter i of a group is 1 at channel i. */
static void fill_dirac(const InitializerInput *input, double std, double gain, float *w, size_t n)
{
    int height = input->kernel_h ? input->kernel_h : 1,
        width = input->kernel_w ? input->kernel_w : 1;
    int taps = height * width, middle = height / 2 * width + width / 2;
    int channels = input->columns / taps,
        filters = input->rows / (input->groups ? input->groups : 1);
    fill_uniform(input, std, w, n);
    for (int row = 0; row < input->rows; row++) {
        float *filter = w + (size_t)row * (size_t)input->columns;
        int channel = row % filters;
        if (channel >= channels)
            continue;
        memset(filter, 0, (size_t)input->columns * sizeof *filter);
        filter[channel * taps + middle] = (float)gain;
    }
}

static bool fill_whiten(const InitializerInput *input, double eps, double gain, float *w, Err *err)
{
    if (!input->moments)
        return err_set(err,
                       "whiten is for a convolution of one group that sees the training images "
                       "themselves, in patches of at most %d values",
                       WHITEN_MAX_VALUES);
    if (input->rows > 2 * input->columns)
        return err_set(err, "whiten makes at most %d filters of patches of %d values, not %d",
                       2 * input->columns, input->columns, input->rows);
    whiten_fill(input->moments, input->columns, input->rows, eps, gain, w);
    return true;
}

bool initializer_fill(const char *scheme, const InitializerInput *input, float *w, Err *err)
{
    Parsed parsed;
    if (!parse(scheme, &parsed, err))
        return false;
    size_t n = (size_t)input->rows * (size_t)input->columns;
    double scale = parsed.argument * parsed.gain;
    double std = scale * sqrt(parsed.scheme->variance / fan(parsed.scheme, input));
    switch (parsed.scheme->family) {
    case NORMAL:
        fill_normal(input, std, w, n);
        break;
    case UNIFORM:
        fill_uniform(input, std, w, n);
        break;
    case TRUNCATED:
        fill_truncated(input, std, w, n);
        break;
    case ORTHOGONAL:
        fill_orthogonal(input, scale, w, n);
        break;
    case CONSTANT:
        for (size_t i = 0; i < n; i++)
            w[i] = (float)(scale * parsed.scheme->variance);
        break;
    case DIRAC:
        fill_dirac(input, std, scale, w, n);
        break;
    case WHITEN:
        return fill_whiten(input, parsed.argument, parsed.gain, w, err);
    }
    return true;
}
