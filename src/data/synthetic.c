/* Data made up on the spot: no file, any size, every number a pure function of the seed.
 *
 *   classes   sample i of class c = i mod classes: prototype of c + noise. Features are floats: a
 *             normal prototype and normal noise. Images are bytes: 128 + 48 (prototype + noise), a
 *             prototype being a 4 x 4 grid of normals a channel, interpolated (so it survives small
 *             shifts).
 *   linear    x normal, y = W x / sqrt(F) + noise, W normal: regression with targets (K)
 *   teacher   x normal, y = V relu(W x / sqrt(F)) / sqrt(hidden) + noise, V and W normal
 *
 * Only +, -, *, / and sqrt are used, in a fixed order, so bits do not depend on the C library. */
#include "lockstep/dataset.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <math.h>
#include <string.h>

#define GRID 4
#define MAX_VALUES (1 << 24)

enum Kind { KIND_CLASSES, KIND_LINEAR, KIND_TEACHER };

/* First argument of the random keys. */
enum Stream { STREAM_PROTOTYPE, STREAM_TRAIN, STREAM_TEST, STREAM_WEIGHTS };

typedef struct SyntheticOptions {
    int kind;
    OptionFloats shape;
    int classes, outputs, hidden;
    int64_t train, test;
    double noise;
    int64_t outlier;
    double outlier_value;
} SyntheticOptions;

static const Option options[] = {
    { "kind", OPTION_CHOICE, OPTION_AT(SyntheticOptions, kind), 0, 0, "classes|linear|teacher",
      "classes", "noisy class prototypes, or regression on a linear map or a two-layer network" },
    { "shape", OPTION_FLOATS, OPTION_AT(SyntheticOptions, shape), 1, 65536, NULL, "[3, 32, 32]",
      "of a sample: [C, H, W] or [F]" },
    { "classes", OPTION_INT, OPTION_AT(SyntheticOptions, classes), 2, 1e6, NULL, "10",
      "classes (kind: classes)" },
    { "outputs", OPTION_INT, OPTION_AT(SyntheticOptions, outputs), 1, 65536, NULL, "1",
      "target values a sample (kind: linear, teacher)" },
    { "hidden", OPTION_INT, OPTION_AT(SyntheticOptions, hidden), 1, 65536, NULL, "32",
      "hidden units of the teacher" },
    { "train", OPTION_INT, OPTION_AT(SyntheticOptions, train), 1, 1e8, NULL, "2048",
      "training samples" },
    { "test", OPTION_INT, OPTION_AT(SyntheticOptions, test), 1, 1e8, NULL, "512", "test samples" },
    { "noise", OPTION_FLOAT, OPTION_AT(SyntheticOptions, noise), 0, 1e6, NULL, "1",
      "standard deviation; prototypes and clean targets have about 1" },
    { "outlier", OPTION_INT, OPTION_AT(SyntheticOptions, outlier), -1, 1e8, NULL, "-1",
      "number of a training sample all of whose features are outlier_value, to try what a loss or "
      "gradient that is not finite does (train.on_diverged); -1: none" },
    { "outlier_value", OPTION_FLOAT, OPTION_AT(SyntheticOptions, outlier_value), -3e38, 3e38, NULL,
      "3e38", "see outlier" },
    OPTION_END,
};

static Shape sample_shape(const OptionFloats *shape)
{
    if (shape->count == 1)
        return (Shape){ .ndim = 1, .dim = { (int)shape->value[0], 1, 1 } };
    return (Shape){ .ndim = 3,
                    .dim = { (int)shape->value[0], (int)shape->value[1], (int)shape->value[2] } };
}

static bool check(const void *chosen, Err *err)
{
    const SyntheticOptions *o = chosen;
    if (o->shape.count != 1 && o->shape.count != 3)
        return err_set(err, "shape: %d dimensions, [C, H, W] or [F] expected", o->shape.count);
    double values = 1;
    for (int i = 0; i < o->shape.count; i++) {
        if (o->shape.value[i] != floor(o->shape.value[i]))
            return err_set(err, "shape: %g is not a whole number", o->shape.value[i]);
        values *= o->shape.value[i];
    }
    if (values > MAX_VALUES)
        return err_set(err, "shape: %.0f values a sample, at most %d", values, MAX_VALUES);
    if (o->shape.count == 3 && o->shape.value[0] > DATASET_MAX_CHANNELS)
        return err_set(err, "shape: %.0f channels, at most %d", o->shape.value[0],
                       DATASET_MAX_CHANNELS);
    if (o->shape.count == 3 && o->outlier >= 0)
        return err_set(err, "outlier: images have none, shape: [F] expected");
    if (o->shape.count == 3 && o->kind != KIND_CLASSES)
        return err_set(err, "kind: linear and teacher make features, shape: [F] expected");
    return true;
}

/* grid (4, 4) -> plane (H, W), bilinear, corner on corner. */
static void interpolate(const float *grid, int height, int width, float *plane)
{
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++) {
            float y = height > 1 ? (float)((GRID - 1) * i) / (float)(height - 1) : 0;
            float x = width > 1 ? (float)((GRID - 1) * j) / (float)(width - 1) : 0;
            int row = y < GRID - 1 ? (int)y : GRID - 2, column = x < GRID - 1 ? (int)x : GRID - 2;
            float down = y - (float)row, right = x - (float)column;
            const float *g = grid + row * GRID + column;
            float above = g[0] * (1 - right) + g[1] * right;
            float below = g[GRID] * (1 - right) + g[GRID + 1] * right;
            plane[i * width + j] = above * (1 - down) + below * down;
        }
}

static void make_prototype(RandomKey key, Shape shape, size_t n, float *prototype)
{
    if (shape.ndim == 1) {
        random_fill_normal(key, 0, prototype, n);
        return;
    }
    for (int c = 0; c < shape.dim[0]; c++) {
        float grid[GRID * GRID];
        random_fill_normal(key, (uint64_t)c * GRID * GRID, grid, GRID * GRID);
        interpolate(grid, shape.dim[1], shape.dim[2],
                    prototype + (size_t)c * (size_t)shape.dim[1] * (size_t)shape.dim[2]);
    }
}

/* The sum of a random word's four bytes has mean 510 and standard deviation 147.8: nearly normal
 * and a tenth of a normal number's price. */
static void make_image(RandomKey key, const float *prototype, double noise, size_t n,
                       uint32_t *words, uint8_t *image)
{
    random_fill_words(key, 0, words, n);
    float scale = (float)(noise * 48 / 147.801);
    for (size_t i = 0; i < n; i++) {
        uint32_t w = words[i];
        int sum = (int)((w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24));
        float value = 128 + 48 * prototype[i] + scale * (float)(sum - 510);
        image[i] = value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5f);
    }
}

static void make_features(RandomKey key, const float *prototype, double noise, size_t n, float *x)
{
    random_fill_normal(key, 0, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] = prototype[i] + (float)noise * x[i];
}

/* prototypes (classes, n) -> samples and labels */
static void make_classes(const SyntheticOptions *o, uint64_t seed, enum Stream split,
                         const float *prototypes, Dataset *set)
{
    size_t n = dataset_sample_size(set), count = (size_t)set->count;
    set->classes = o->classes;
    set->labels = mem_array(int32_t, count);
    if (set->shape.ndim == 3)
        set->bytes = mem_alloc(count * n);
    else
        set->values = mem_array(float, count *n);
    uint32_t *words = mem_array(uint32_t, n);
    for (size_t i = 0; i < count; i++) {
        RandomKey key = random_key(seed, RANDOM_SYNTHETIC, split, i);
        size_t label = i % (size_t)o->classes;
        const float *prototype = prototypes + label * n;
        set->labels[i] = (int32_t)label;
        if (set->bytes)
            make_image(key, prototype, o->noise, n, words, set->bytes + i * n);
        else
            make_features(key, prototype, o->noise, n, set->values + i * n);
    }
    mem_free(words);
}

/* w (rows, columns) times x, by 1 / sqrt(columns) */
static void apply_map(const float *w, size_t rows, size_t columns, const float *x, float *y)
{
    double factor = 1 / sqrt((double)columns);
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < columns; c++)
            sum += (double)w[r * columns + c] * (double)x[c];
        y[r] = (float)(sum * factor);
    }
}

/* The function that made the targets: `layers` is 1 (linear) or 2 (relu in between). */
typedef struct Teacher {
    size_t inputs, hidden, outputs;
    int layers;
    float *w[2]; /* linear: (outputs, inputs); teacher: (hidden, inputs), (outputs, hidden) */
    float *h;    /* (hidden) */
} Teacher;

static Teacher make_teacher(const SyntheticOptions *o, uint64_t seed, size_t inputs)
{
    Teacher teacher = { .inputs = inputs,
                        .hidden = (size_t)o->hidden,
                        .outputs = (size_t)o->outputs,
                        .layers = o->kind == KIND_LINEAR ? 1 : 2 };
    size_t first = teacher.layers == 1 ? teacher.outputs : teacher.hidden;
    size_t sizes[2] = { first * inputs, teacher.outputs * teacher.hidden };
    for (int i = 0; i < teacher.layers; i++) {
        teacher.w[i] = mem_array(float, sizes[i]);
        random_fill_normal(random_key(seed, RANDOM_SYNTHETIC, STREAM_WEIGHTS, (uint64_t)i), 0,
                           teacher.w[i], sizes[i]);
    }
    teacher.h = mem_array(float, teacher.hidden);
    return teacher;
}

static void free_teacher(Teacher *teacher)
{
    mem_free(teacher->w[0]);
    mem_free(teacher->w[1]);
    mem_free(teacher->h);
}

static void teach(const Teacher *teacher, const float *x, float *y)
{
    if (teacher->layers == 1) {
        apply_map(teacher->w[0], teacher->outputs, teacher->inputs, x, y);
        return;
    }
    apply_map(teacher->w[0], teacher->hidden, teacher->inputs, x, teacher->h);
    for (size_t i = 0; i < teacher->hidden; i++)
        teacher->h[i] = teacher->h[i] > 0 ? teacher->h[i] : 0;
    apply_map(teacher->w[1], teacher->outputs, teacher->hidden, teacher->h, y);
}

static void make_regression(const SyntheticOptions *o, uint64_t seed, enum Stream split,
                            const Teacher *teacher, Dataset *set)
{
    size_t n = teacher->inputs, k = teacher->outputs, count = (size_t)set->count;
    set->target_size = o->outputs;
    set->values = mem_array(float, count *n);
    set->targets = mem_array(float, count *k);
    float *noise = mem_array(float, k);
    for (size_t i = 0; i < count; i++) {
        RandomKey key = random_key(seed, RANDOM_SYNTHETIC, split, i);
        float *x = set->values + i * n, *y = set->targets + i * k;
        random_fill_normal(key, 0, x, n);
        random_fill_normal(key, n, noise, k);
        teach(teacher, x, y);
        for (size_t j = 0; j < k; j++)
            y[j] += (float)o->noise * noise[j];
    }
    mem_free(noise);
}

static void load_classes(const SyntheticOptions *o, uint64_t seed, Dataset *train, Dataset *test)
{
    size_t n = dataset_sample_size(train), classes = (size_t)o->classes;
    float *prototypes = mem_array(float, classes *n);
    for (size_t c = 0; c < classes; c++)
        make_prototype(random_key(seed, RANDOM_SYNTHETIC, STREAM_PROTOTYPE, c), train->shape, n,
                       prototypes + c * n);
    make_classes(o, seed, STREAM_TRAIN, prototypes, train);
    make_classes(o, seed, STREAM_TEST, prototypes, test);
    mem_free(prototypes);
}

static void set_outlier(const SyntheticOptions *o, Dataset *train)
{
    size_t n = dataset_sample_size(train);
    for (size_t i = 0; o->outlier >= 0 && o->outlier < train->count && i < n; i++)
        train->values[(size_t)o->outlier * n + i] = (float)o->outlier_value;
}

static bool load(const void *chosen, const DatasetRequest *request, Dataset *train, Dataset *test,
                 Err *err)
{
    (void)err;
    const SyntheticOptions *o = chosen;
    train->shape = test->shape = sample_shape(&o->shape);
    train->count = o->train < request->train_limit ? o->train : request->train_limit;
    test->count = o->test < request->test_limit ? o->test : request->test_limit;
    if (o->kind == KIND_CLASSES) {
        load_classes(o, request->seed, train, test);
        set_outlier(o, train);
        return true;
    }
    Teacher teacher = make_teacher(o, request->seed, dataset_sample_size(train));
    make_regression(o, request->seed, STREAM_TRAIN, &teacher, train);
    make_regression(o, request->seed, STREAM_TEST, &teacher, test);
    set_outlier(o, train);
    free_teacher(&teacher);
    return true;
}

const DatasetType dataset_synthetic = {
    .name = "synthetic",
    .help = "made up from the seed: classes of images or features, or regression",
    .options = options,
    .options_bytes = sizeof(SyntheticOptions),
    .check = check,
    .load = load,
};
