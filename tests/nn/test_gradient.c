/* Every layer of layers.def against central differences, at every ISA level of this CPU: the
 * gradients of sum(y dy) with respect to x and to each trained tensor. Also what every layer owes
 * its neighbours: missing channels stay zero, everything is overwritten, padding of the arenas is
 * left alone, x and y are not read by backward unless announced, in place gives the same bits, a
 * repeat gives the same bits.
 *
 * A new layer is tested without a change here, with its default options (required ones by name, see
 * `samples`); the interesting options of a layer are worth a line in `variants`.
 *
 * Values are multiples of 2^-10 and steps are powers of two, so x + h v is exact in float. Distinct
 * levels 1/16 apart, and different in every window up to 5 x 5, keep relu and maxpool away from
 * their kinks. Differences at h and 2h are extrapolated (error h^4) and summed in double. */
#include "lockstep/cpu.h"
#include "lockstep/layer.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"
#include "lockstep/text.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEP 0x1p-8
#define TOLERANCE 5e-4 /* of the gradient's size, beside the noise of float forward passes */

static const struct {
    const char *option, *value;
} samples[] = { { "units", "6" },  { "features", "5" }, { "channels", "5" },
                { "kernel", "3" }, { "groups", "1" },   { "factor", "-1.75" } };

static const struct {
    const char *layer, *options;
    double rounding; /* of y, in units of a plain sum's; 0: 1 */
} variants[] = {
    { "adanorm", "{k: 0, scale: 2}", 0 },
    { "elu", "{alpha: 0.5}", 0 },
    { "groupnorm", "{groups: 3}", 0 },
    { "groupnorm", "{groups: 4, affine: false}", 0 },
    { "leaky_relu", "{slope: 0.3}", 0 },
    { "instancenorm", "{affine: true, eps: 0.1}", 0 },
    { "rmsnorm", "{affine: false}", 0 },
    { "softplus", "{beta: 3}", 0 },
    { "spectralnorm_dense", "{units: 3, power_iterations: 1000, bias: false}", 0 },
    { "weightnorm_dense", "{units: 17, bias: false}", 0 },
    { "attention", "{heads: 1, causal: true, bias: false}", 0 },
    { "attention", "{heads: 2, dropout: 0.25}", 0 },
    { "avgpool", "{kernel: 3, stride: 2, padding: 1}", 0 },
    { "batchnorm", "{eps: 0.1}", 0 },
    { "batchnorm", "{affine: false}", 0 },
    { "batchnorm", "{affine: bias}", 0 },
    { "conv2d", "{channels: 17, kernel: 3, padding: 1, method: direct}", 0 },
    { "conv2d", "{channels: 17, kernel: 3, padding: 1, method: winograd}", 8 },
    { "conv2d", "{channels: 4, kernel: 3, stride: 2, padding: 1, bias: false}", 0 },
    { "conv2d", "{channels: 33, kernel: 1}", 0 },
    { "dense", "{units: 17, bias: false}", 0 },
    { "dense", "{units: 37}", 0 },
    { "dropout", "{p: 0.25}", 0 },
    { "embedding", "{features: 67, scale: true}", 0 },
    { "gelu", "{approximate: tanh}", 0 },
    { "layernorm", "{affine: false}", 0 },
    { "layernorm", "{eps: 0.1}", 0 },
    { "maxpool", "{kernel: 3, stride: 2, padding: 1}", 0 },
    { "pool_positions", "{take: first}", 0 },
    { "pool_positions", "{take: last}", 0 },
    { "positional", "{type: sinusoidal}", 0 },
    { "rnn", "{units: 5, initial: learned, bias: false}", 0 },
    { "gru", "{units: 7, initial: learned, reverse: true}", 0 },
    { "gru", "{units: 5, return: last, bias: false}", 0 },
    { "lstm", "{units: 7, initial: learned, reverse: true}", 0 },
    { "lstm", "{units: 5, return: last, bias: false}", 0 },
};

/* With these options backward is on purpose not the whole derivative: adanorm stops the gradient
 * through phi, and a spectral norm that has not converged holds its singular vectors. */
static const struct {
    const char *layer, *options;
} stopped[] = {
    { "adanorm", "{}" },
    { "spectralnorm_dense", "{units: 6}" },
};

static const Shape shapes[] = {
    { .ndim = 1, .dim = { 1, 1, 1 } },  { .ndim = 1, .dim = { 7, 1, 1 } },
    { .ndim = 1, .dim = { 33, 1, 1 } }, { .ndim = 2, .dim = { 1, 9, 1 } },
    { .ndim = 2, .dim = { 5, 3, 1 } },  { .ndim = 2, .dim = { 4, 35, 1 } },
    { .ndim = 2, .dim = { 5, 6, 1 } },  { .ndim = 3, .dim = { 1, 5, 4 } },
    { .ndim = 3, .dim = { 3, 5, 6 } },  { .ndim = 3, .dim = { 16, 4, 5 } },
    { .ndim = 3, .dim = { 19, 4, 3 } }, { .ndim = 1, .dim = { 6, 1, 1 }, .vocabulary = 7 },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- numbers ---- */

static RandomKey test_key(uint64_t a, uint64_t b)
{
    return random_key(7, RANDOM_TEST, a, b);
}

/* Level of value (c, p) of sample b, see above; p = h W + w. */
static float level(Shape shape, size_t b, size_t i)
{
    size_t W = shape.ndim == 3 ? (size_t)shape.dim[2] : 1;
    size_t pixels = shape.ndim == 3 ? W * (size_t)shape.dim[1] : 1;
    size_t c = i / pixels, h = i % pixels / W, w = i % W;
    uint64_t start = random_word(test_key(1, b), c);
    double base = (double)((17 * h + 29 * w + start) % 64) - 31.5;
    double jitter = (double)random_below(test_key(2, b), i, 16) - 7.5;
    return (float)(base / 16 + jitter * 0x1p-11);
}

static float sign(uint64_t stream, uint64_t i)
{
    return random_word(test_key(stream, 3), i) & 1 ? 1.0f : -1.0f;
}

/* ---- one layer under test ---- */

typedef struct Rig {
    Config config;
    Layout layout;
    Layer *layer;
    Pass pass;
    size_t x_floats, y_floats; /* of the batch, stored; no x if the input is tokens */
    int32_t *tokens;           /* (B, T), or NULL */
    float *x, *y, *dy, *dx, *w, *dw;
    float *high, *low; /* y at both ends of a step */
    double rounding;   /* of y, see variants */
} Rig;

static void bind(Rig *rig)
{
    for (int i = 0; i < rig->layer->tensor_count; i++) {
        LayerTensor *tensor = &rig->layer->tensors[i];
        tensor->w = rig->w + rig->layout.tensors[tensor->index].offset;
        tensor->dw = rig->dw + rig->layout.tensors[tensor->index].offset;
    }
}

static void set_weights(Rig *rig)
{
    for (int i = 0; i < rig->layout.count; i++) {
        const LayoutTensor *tensor = &rig->layout.tensors[i];
        for (size_t k = 0; k < tensor->n; k++) {
            double u = random_below(test_key(4, (uint64_t)i), k, 1024) - 511.5;
            bool statistic = tensor->flags & LAYOUT_STATISTIC;
            rig->w[tensor->offset + k] = statistic ? 1 : (float)(u / 512);
        }
    }
}

static void set_batch(Rig *rig)
{
    Shape in = rig->layer->in, out = rig->layer->out;
    float *plain = mem_array(float, shape_values(in) + shape_values(out));
    for (size_t b = 0; b < (size_t)rig->pass.batch; b++) {
        for (size_t i = 0; i < shape_values(in); i++)
            plain[i] = level(in, b, i);
        if (rig->x)
            shape_pack(in, plain, rig->x + b * shape_stored(in));
        for (size_t i = 0; i < shape_values(out); i++)
            plain[i] = (float)random_normal(test_key(5, b), i);
        shape_pack(out, plain, rig->dy + b * shape_stored(out));
    }
    mem_free(plain);
}

static void set_tokens(Rig *rig)
{
    Shape in = rig->layer->in;
    size_t count = (size_t)rig->pass.batch * shape_values(in);
    rig->tokens = mem_array(int32_t, count);
    for (size_t i = 0; i < count; i++)
        rig->tokens[i] = (int32_t)random_below(test_key(8, 0), i, (uint32_t)in.vocabulary);
    rig->pass.tokens = rig->tokens;
}

static void allocate(Rig *rig)
{
    Layer *layer = rig->layer;
    size_t batch = (size_t)rig->pass.batch, n = rig->layout.n;
    if (layer->in.vocabulary > 0)
        set_tokens(rig);
    else
        rig->x_floats = shape_stored(layer->in) * batch;
    rig->y_floats = shape_stored(layer->out) * batch;
    rig->x = rig->tokens ? NULL : mem_array(float, rig->x_floats);
    rig->dx = rig->tokens ? NULL : mem_array(float, rig->x_floats);
    rig->y = mem_array(float, rig->y_floats);
    rig->dy = mem_array(float, rig->y_floats);
    rig->high = mem_array(float, rig->y_floats);
    rig->low = mem_array(float, rig->y_floats);
    rig->w = mem_array(float, n);
    rig->dw = mem_array(float, n);
    layer_allocate(layer, rig->pass.batch, NULL);
}

static void rig_free(Rig *rig)
{
    float *arrays[] = { rig->x, rig->dx, rig->y, rig->dy, rig->high, rig->low, rig->w, rig->dw };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
    mem_free(rig->tokens);
    layer_free(rig->layer);
    layout_free(&rig->layout);
    config_free(&rig->config);
    *rig = (Rig){ 0 };
}

/* False if the layer does not take the shape. */
static bool rig_init(Rig *rig, const char *type, const char *options, Shape in, int batch)
{
    char text[256];
    Err err;
    *rig = (Rig){ .pass = { .train = true,
                            .batch = batch,
                            .seed = 3,
                            .step = 5,
                            .first_sample = 2 * batch,
                            .global_batch = 4 * batch,
                            .lane_size = batch } };
    snprintf(text, sizeof text, "options: %s\n", options);
    ck_assert_msg(config_parse(&rig->config, "test", text, strlen(text), &err), "%s", err.text);
    rig->layer =
        layer_create(layer_find(type), &rig->config, config_get(rig->config.root, "options"),
                     &(LayerPlace){ .name = "layer", .index = 1, .in = in }, &rig->layout, &err);
    if (!rig->layer) {
        ck_assert_ptr_nonnull(strstr(err.text, "layer layer gets "));
        rig_free(rig);
        return false;
    }
    layout_seal(&rig->layout);
    allocate(rig);
    set_weights(rig);
    set_batch(rig);
    bind(rig);
    return true;
}

static void run_forward(Rig *rig, float *y)
{
    Layer *layer = rig->layer;
    if (layer->type->begin_step)
        layer->type->begin_step(layer, &rig->layout, rig->pass.global_batch);
    layer->type->forward(layer, &rig->pass, rig->x, y);
}

/* ---- differences ---- */

/* A direction in the space of x (tensor < 0) or of a tensor: +-1 everywhere, or one coordinate. */
typedef struct Direction {
    float *point;
    size_t n;
    float *v;
} Direction;

static void move(const Direction *direction, float step)
{
    for (size_t i = 0; i < direction->n; i++)
        direction->point[i] += step * direction->v[i];
}

static double central_difference(Rig *rig, const Direction *direction, double step)
{
    float h = (float)step;
    move(direction, h);
    run_forward(rig, rig->high);
    move(direction, -2 * h);
    run_forward(rig, rig->low);
    move(direction, h);
    double sum = 0;
    for (size_t i = 0; i < rig->y_floats; i++)
        sum += ((double)rig->high[i] - (double)rig->low[i]) * (double)rig->dy[i];
    return sum / (2 * step);
}

static double numeric(Rig *rig, const Direction *direction)
{
    return (4 * central_difference(rig, direction, STEP) -
            central_difference(rig, direction, 2 * STEP)) /
           3;
}

static double norm(const float *a, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)a[i];
    return sqrt(sum);
}

/* Rounding of y (half an ulp, a few times) seen through dy and divided by the step. */
static double noise(const Rig *rig)
{
    double sum = 0;
    for (size_t i = 0; i < rig->y_floats; i++)
        sum += pow((double)rig->y[i] * (double)rig->dy[i], 2);
    return rig->rounding * 2 * 0x1p-24 * sqrt(sum) / STEP;
}

/* |numeric - analytic| relative to what is allowed. `size`: of the gradient along such a direction.
 * */
static double misfit(Rig *rig, const Direction *direction, const float *gradient, double size)
{
    double analytic = 0;
    for (size_t i = 0; i < direction->n; i++)
        analytic += (double)gradient[i] * (double)direction->v[i];
    double allowed = TOLERANCE * size + noise(rig) + 2e-5;
    return fabs(numeric(rig, direction) - analytic) / allowed;
}

/* The largest misfit over a few dense directions and a few coordinates. `mask`: 1 where the point
 * may be moved. */
static double worst_misfit(Rig *rig, float *point, const float *mask, const float *gradient,
                           size_t n)
{
    enum { DENSE = 3, COORDINATES = 8 };
    Direction direction = { point, n, mem_array(float, n) };
    double size = norm(gradient, n), worst = 0;
    for (uint64_t k = 0; k < DENSE; k++) {
        for (size_t i = 0; i < n; i++)
            direction.v[i] = mask[i] * sign(10 + k, i);
        worst = fmax(worst, misfit(rig, &direction, gradient, size));
    }
    for (uint64_t k = 0; k < COORDINATES; k++) {
        size_t i = random_below(test_key(6, n), k, (uint32_t)n);
        memset(direction.v, 0, n * sizeof *direction.v);
        direction.v[i] = mask[i];
        double own = fabs((double)gradient[i]) + size / sqrt((double)n);
        worst = fmax(worst, misfit(rig, &direction, gradient, own));
    }
    mem_free(direction.v);
    return worst;
}

/* ---- what is checked ---- */

static void fill(float *a, float value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i] = value;
}

/* Poisons everything that must be overwritten or must not be read, then runs forward and backward.
 * */
static void run(Rig *rig)
{
    const LayerType *type = rig->layer->type;
    fill(rig->y, NAN, rig->y_floats);
    fill(rig->dx, NAN, rig->x_floats);
    fill(rig->dw, NAN, rig->layout.n);
    run_forward(rig, rig->y);
    type->backward(rig->layer, &rig->pass, type->keep_x ? rig->x : NULL,
                   type->keep_y ? rig->y : NULL, rig->dy, rig->dx);
}

/* Missing channels are zero in y and dx: packing what was unpacked changes nothing. */
static bool padding_is_zero(Shape shape, const float *a, int batch)
{
    size_t stored = shape_stored(shape);
    float *plain = mem_array(float, shape_values(shape)), *again = mem_array(float, stored);
    bool ok = true;
    for (size_t b = 0; b < (size_t)batch; b++) {
        shape_unpack(shape, a + b * stored, plain);
        shape_pack(shape, plain, again);
        for (size_t i = 0; i < stored; i++)
            ok &= again[i] == a[b * stored + i];
    }
    mem_free(plain);
    mem_free(again);
    return ok;
}

/* Own floats finite, padding still NaN. */
static bool gradient_is_complete(const Layout *layout, const float *dw)
{
    bool ok = true;
    for (int i = 0; i < layout->count; i++) {
        const LayoutTensor *tensor = &layout->tensors[i];
        for (size_t k = 0; k < tensor->padded; k++)
            ok &= (bool)isfinite(dw[tensor->offset + k]) == (k < tensor->n);
    }
    return ok;
}

static double check_differences(Rig *rig)
{
    Shape in = rig->layer->in;
    float *mask = mem_array(float, rig->x_floats + rig->layout.n);
    float *ones = mem_array(float, shape_values(in));
    fill(ones, 1, shape_values(in));
    for (size_t b = 0; rig->x && b < (size_t)rig->pass.batch; b++)
        shape_pack(in, ones, mask + b * shape_stored(in));
    double worst = rig->x ? worst_misfit(rig, rig->x, mask, rig->dx, rig->x_floats) : 0;
    fill(mask, 1, rig->x_floats + rig->layout.n);
    for (int i = 0; i < rig->layout.count; i++) {
        const LayoutTensor *tensor = &rig->layout.tensors[i];
        if (!(tensor->flags & LAYOUT_STATISTIC))
            worst = fmax(worst, worst_misfit(rig, rig->w + tensor->offset, mask,
                                             rig->dw + tensor->offset, tensor->n));
    }
    mem_free(mask);
    mem_free(ones);
    return worst;
}

static void check_repeat(Rig *rig, const char *what)
{
    size_t n = rig->layout.n;
    float *dx = mem_array(float, rig->x_floats), *dw = mem_array(float, n);
    memcpy(dx, rig->dx, rig->x_floats * sizeof *dx);
    memcpy(dw, rig->dw, n * sizeof *dw);
    memcpy(rig->high, rig->y, rig->y_floats * sizeof *rig->y);
    run(rig);
    ck_assert_msg(same_bits(rig->y, rig->high, rig->y_floats) &&
                      same_bits(rig->dx, dx, rig->x_floats) && same_bits(rig->dw, dw, n),
                  "%s: a repeat has other bits", what);
    mem_free(dx);
    mem_free(dw);
}

static void check_in_place(Rig *rig, const char *what)
{
    const LayerType *type = rig->layer->type;
    if (!type->in_place)
        return;
    memcpy(rig->high, rig->x, rig->x_floats * sizeof *rig->x);
    memcpy(rig->low, rig->dy, rig->x_floats * sizeof *rig->dy);
    type->forward(rig->layer, &rig->pass, rig->high, rig->high);
    type->backward(rig->layer, &rig->pass, NULL, type->keep_y ? rig->high : NULL, rig->low,
                   rig->low);
    ck_assert_msg(!type->keep_x && same_bits(rig->high, rig->y, rig->y_floats) &&
                      same_bits(rig->low, rig->dx, rig->x_floats),
                  "%s: in place has other bits", what);
}

static bool is_stopped(const char *type, const char *options)
{
    for (size_t i = 0; i < sizeof stopped / sizeof *stopped; i++)
        if (strcmp(type, stopped[i].layer) == 0 && strcmp(options, stopped[i].options) == 0)
            return true;
    return false;
}

static void check_layer(Rig *rig, bool differences, const char *what)
{
    run(rig);
    ck_assert_msg(gradient_is_complete(&rig->layout, rig->dw),
                  "%s: dw is not complete, or its padding was written", what);
    ck_assert_msg(padding_is_zero(rig->layer->out, rig->y, rig->pass.batch),
                  "%s: missing channels of y are not zero", what);
    ck_assert_msg(!rig->dx || padding_is_zero(rig->layer->in, rig->dx, rig->pass.batch),
                  "%s: missing channels of dx are not zero", what);
    check_in_place(rig, what);
    check_repeat(rig, what);
    double worst = differences ? check_differences(rig) : 0;
    ck_assert_msg(worst <= 1, "%s: a gradient is off by %.2f times what is allowed", what, worst);
}

/* On every shape that the layer takes; at least one. */
static void check_options(const char *type, const char *options, double rounding)
{
    char what[256], shape[48];
    int taken = 0;
    for (int i = 0; i < SHAPES; i++)
        for (int batch = 1; batch <= 3; batch += 2) {
            Rig rig;
            if (!rig_init(&rig, type, options, shapes[i], batch))
                continue;
            rig.rounding = rounding;
            snprintf(what, sizeof what, "%s %s on %s, batch %d, %s", type, options,
                     shape_text(shapes[i], shape, sizeof shape), batch, cpu_isa_name(cpu_isa()));
            check_layer(&rig, !is_stopped(type, options), what);
            rig_free(&rig);
            taken++;
        }
    ck_assert_msg(taken > 0, "%s %s takes none of the shapes", type, options);
}

/* "{units: 6}": the options without a default, with values by name. */
static void required_options(const LayerType *type, char *buffer, size_t size)
{
    int count = 0;
    snprintf(buffer, size, "{");
    for (const Option *option = type->options; option && option->name; option++) {
        const char *value = option->def ? NULL : "3";
        bool open = !option->def || !*option->def;
        for (size_t i = 0; open && i < sizeof samples / sizeof *samples; i++)
            if (strcmp(samples[i].option, option->name) == 0)
                value = samples[i].value;
        if (!value)
            continue;
        text_append(buffer, size, "%s%s: %s", count++ ? ", " : "", option->name, value);
    }
    text_append(buffer, size, "}");
}

static void check_all_layers(void)
{
    int count;
    const LayerType *const *types = layer_all(&count);
    for (int i = 0; i < count; i++) {
        char options[256];
        required_options(types[i], options, sizeof options);
        check_options(types[i]->name, options, 1);
    }
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        check_options(variants[i].layer, variants[i].options,
                      variants[i].rounding > 0 ? variants[i].rounding : 1);
}

static void check_level(const char *isa)
{
    Err err;
    if (!cpu_set_isa(isa, &err))
        return;
    check_all_layers();
    ck_assert(cpu_set_isa("auto", &err));
}

START_TEST(test_portable)
{
    check_level("v2");
}
END_TEST

START_TEST(test_avx2)
{
    check_level("v3");
}
END_TEST

START_TEST(test_avx512)
{
    check_level("v4");
}
END_TEST

/* The check itself: one element off by its own size in a hundred, or all of them by 1 %, is seen.
 * */
START_TEST(test_wrong_gradients_are_seen)
{
    Rig rig;
    ck_assert(rig_init(&rig, "dense", "{units: 6}", shapes[2], 3));
    run(&rig);
    ck_assert_double_le(check_differences(&rig), 1);
    float *dw = rig.layer->tensors[0].dw, right = dw[17];
    dw[17] *= 2;
    ck_assert_double_gt(check_differences(&rig), 1);
    dw[17] = right;
    for (size_t i = 0; i < rig.x_floats; i++)
        rig.dx[i] *= 1.01f;
    ck_assert_double_gt(check_differences(&rig), 1);
    rig_free(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradient");
    Err err;
    if (!cpu_blas_setup("auto", &err))
        return 1;
    add_test(suite, test_portable);
    add_test(suite, test_avx2);
    add_test(suite, test_avx512);
    add_test(suite, test_wrong_gradients_are_seen);
    return run_suite(suite);
}
