/* Augmentations against naive versions written here, for every value of the random words that
 * matters, and how often each outcome comes. */
#include "helpers.h"
#include "lockstep/random.h"

#include <math.h>

#define MAX_VALUES 1024

/* Runs augmentation `text`, e.g. "{crop: {pad: 2}}", on `sample`. */
static void apply(const char *text, const AugmentSample *sample)
{
    Config config;
    Err err;
    char yaml[256];
    snprintf(yaml, sizeof yaml, "%s", text);
    ck_assert_msg(config_parse(&config, "test.yaml", yaml, strlen(yaml), &err), "%s", err.text);
    ConfigNode *node = config.root->children[0];
    const AugmentType *type = augment_find(node->key);
    ck_assert_ptr_nonnull(type);
    void *options = mem_alloc(type->options_bytes);
    ck_assert_msg(options_read(&config, node, type->options, NULL, options, &err), "%s", err.text);
    ck_assert(!type->check || type->check(options, sample->shape, &err));
    type->apply(options, sample);
    options_free(type->options, options);
    mem_free(options);
    config_free(&config);
}

/* On x (C, H, W) with two random words. */
static void run(const char *text, Shape shape, uint32_t first, uint32_t second, const float *x,
                float *y)
{
    static float scratch[MAX_VALUES];
    size_t n = (size_t)(shape.dim[0] * shape.dim[1] * shape.dim[2]);
    memcpy(y, x, n * sizeof *y);
    apply(text, &(AugmentSample){
                    .shape = shape, .x = y, .scratch = scratch, .random = { first, second } });
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i + 1);
}

/* The word that makes outcome k of n: the middle of its share of 2^32. */
static uint32_t word_for(int k, int n)
{
    return (uint32_t)((((uint64_t)k << 32) + ((uint64_t)1 << 31)) / (uint64_t)n);
}

static const Shape shapes[] = {
    { .ndim = 3, .dim = { 1, 5, 7 } },
    { .ndim = 3, .dim = { 3, 6, 4 } },
    { .ndim = 3, .dim = { 2, 1, 6 } },
    { .ndim = 3, .dim = { 1, 6, 1 } },
};
#define SHAPES ((int)(sizeof shapes / sizeof *shapes))

/* Calls check(i, j, c, value) for every pixel of y. */
#define FOR_PIXELS(shape, c, i, j)                                                                 \
    for (int c = 0; c < (shape).dim[0]; c++)                                                       \
        for (int i = 0; i < (shape).dim[1]; i++)                                                   \
            for (int j = 0; j < (shape).dim[2]; j++)

static float at(const float *x, Shape shape, int c, int i, int j)
{
    return x[(c * shape.dim[1] + i) * shape.dim[2] + j];
}

START_TEST(flip)
{
    float x[MAX_VALUES], y[MAX_VALUES];
    fill(x, MAX_VALUES);
    for (int s = 0; s < SHAPES; s++)
        for (int way = 0; way < 8; way++) {
            Shape shape = shapes[s];
            bool vertical = way & 4; /* is the option on? */
            bool left = way & 1, up = vertical && way & 2;
            run(vertical ? "flip: {vertical: true}" : "flip: {}", shape,
                way & 1 ? 0x80000000u : 0x7fffffffu, way & 2 ? 0xffffffffu : 0, x, y);
            FOR_PIXELS(shape, c, i, j)
            {
                int row = up ? shape.dim[1] - 1 - i : i, column = left ? shape.dim[2] - 1 - j : j;
                ck_assert(at(y, shape, c, i, j) == at(x, shape, c, row, column));
            }
        }
    run("flip: {horizontal: false}", shapes[0], 0xffffffffu, 0xffffffffu, x, y);
    ck_assert(same_bits(x, y, 35));
}
END_TEST

/* In turns: the steady word says how the first epoch shows the image, the epoch's own word nothing,
 * and every epoch shows the other side. */
START_TEST(flip_alternates)
{
    Shape shape = shapes[1];
    float x[MAX_VALUES], y[MAX_VALUES], scratch[MAX_VALUES];
    fill(x, MAX_VALUES);
    for (uint32_t way = 0; way < 16; way++)
        for (int64_t epoch = 0; epoch < 4; epoch++) {
            uint32_t noise = way & 4 ? 0xffffffffu : 0;
            bool left = (way & 1) ^ (epoch & 1), up = way & 8 && ((way >> 1 & 1) ^ (epoch & 1));
            memcpy(y, x, sizeof x);
            AugmentSample sample = { .shape = shape,
                                     .x = y,
                                     .scratch = scratch,
                                     .random = { noise, noise },
                                     .epoch = epoch,
                                     .steady = { way << 31, way >> 1 << 31 } };
            apply(way & 8 ? "flip: {alternate: true, vertical: true}" : "flip: {alternate: true}",
                  &sample);
            FOR_PIXELS(shape, c, i, j)
            {
                int row = up ? shape.dim[1] - 1 - i : i, column = left ? shape.dim[2] - 1 - j : j;
                ck_assert(at(y, shape, c, i, j) == at(x, shape, c, row, column));
            }
        }
}
END_TEST

/* Over epochs of a loader: half of the images are mirrored in the first, each is mirrored in every
 * other one. */
START_TEST(flip_alternates_over_epochs)
{
    enum { TRAIN = 400, N = 16, EPOCHS = 4 };
    static float seen[EPOCHS][TRAIN * N];
    Fixture f;
    fixture_must(&f,
                 "data: {type: synthetic, shape: [1, 4, 4], train: 400, test: 1, augment: [flip: "
                 "{alternate: true}]}",
                 3, TRAIN, 1);
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        const Batch *batch = loader_lane(&f.loader, epoch, 0);
        for (int64_t i = 0; i < TRAIN; i++)
            memcpy(seen[epoch] + loader_sample(&f.loader, epoch, i) * N, batch->x + i * N,
                   N * sizeof(float));
    }
    int mirrored = 0;
    for (int64_t i = 0; i < TRAIN; i++) {
        float x[N];
        loader_train_sample(&f.loader, i, x);
        mirrored += !same_bits(x, seen[0] + i * N, N);
        ck_assert(same_bits(x, seen[0] + i * N, N) != same_bits(x, seen[1] + i * N, N));
    }
    for (int epoch = 2; epoch < EPOCHS; epoch++)
        ck_assert(same_bits(seen[epoch], seen[epoch - 2], TRAIN * N));
    ck_assert_double_eq_tol(mirrored, TRAIN / 2, 5 * 0.5 * sqrt(TRAIN));
    fixture_close(&f);
}
END_TEST

START_TEST(crop_with_zeros)
{
    float x[MAX_VALUES], y[MAX_VALUES];
    fill(x, MAX_VALUES);
    for (int s = 0; s < SHAPES; s++)
        for (int pad = 1; pad <= 4; pad++) {
            Shape shape = shapes[s];
            char text[64];
            snprintf(text, sizeof text, "crop: %d", pad);
            if (pad > shape.dim[1] || pad > shape.dim[2])
                continue;
            for (int down = 0; down <= 2 * pad; down++)
                for (int right = 0; right <= 2 * pad; right++) {
                    run(text, shape, word_for(down, 2 * pad + 1), word_for(right, 2 * pad + 1), x,
                        y);
                    FOR_PIXELS(shape, c, i, j)
                    {
                        int row = i + down - pad, column = j + right - pad;
                        bool inside =
                            row >= 0 && row < shape.dim[1] && column >= 0 && column < shape.dim[2];
                        float wanted = inside ? at(x, shape, c, row, column) : 0;
                        ck_assert(at(y, shape, c, i, j) == wanted);
                    }
                }
        }
}
END_TEST

/* The padded image is built in full, mirrored around its border pixels, and then cut. */
START_TEST(crop_with_reflection)
{
    enum { PAD = 3, H = 5, W = 7 };
    Shape shape = { .ndim = 3, .dim = { 2, H, W } };
    float x[MAX_VALUES], y[MAX_VALUES];
    float padded[2][H + 2 * PAD][W + 2 * PAD];
    static const int row_of[H + 2 * PAD] = { 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1 };
    static const int column_of[W + 2 * PAD] = { 3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 5, 4, 3 };
    fill(x, MAX_VALUES);
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < H + 2 * PAD; i++)
            for (int j = 0; j < W + 2 * PAD; j++)
                padded[c][i][j] = at(x, shape, c, row_of[i], column_of[j]);
    for (int down = 0; down <= 2 * PAD; down++)
        for (int right = 0; right <= 2 * PAD; right++) {
            run("crop: {pad: 3, fill: reflect}", shape, word_for(down, 2 * PAD + 1),
                word_for(right, 2 * PAD + 1), x, y);
            FOR_PIXELS(shape, c, i, j)
            ck_assert(at(y, shape, c, i, j) == padded[c][i + down][j + right]);
        }
}
END_TEST

START_TEST(cutout)
{
    float x[MAX_VALUES], y[MAX_VALUES];
    fill(x, MAX_VALUES);
    for (int s = 0; s < SHAPES; s++)
        for (int size = 1; size <= 12; size++) {
            Shape shape = shapes[s];
            char text[64];
            snprintf(text, sizeof text, "cutout: {size: %d}", size);
            for (int row = 0; row < shape.dim[1]; row++)
                for (int column = 0; column < shape.dim[2]; column++) {
                    run(text, shape, word_for(row, shape.dim[1]), word_for(column, shape.dim[2]), x,
                        y);
                    FOR_PIXELS(shape, c, i, j)
                    {
                        int down = i - row + size / 2, right = j - column + size / 2;
                        bool cut = down >= 0 && down < size && right >= 0 && right < size;
                        ck_assert(at(y, shape, c, i, j) == (cut ? 0 : at(x, shape, c, i, j)));
                    }
                }
        }
}
END_TEST

/* How often the centre pixel of a 9 x 9 image comes from each of the 9 x 9 places under crop 4,
 * over 8,100 samples; and how often a flip changes the image. */
START_TEST(outcomes_are_even)
{
    enum { TRAIN = 8100, N = 81 };
    Fixture f;
    fixture_must(&f,
                 "data: {type: synthetic, shape: [1, 9, 9], train: 8100, test: 1, noise: 5,"
                 " augment: [crop, flip]}",
                 2, TRAIN, 1);
    /* Pixels that tell where they are. */
    for (size_t i = 0; i < (size_t)TRAIN * N; i++)
        f.loader.train.bytes[i] = (uint8_t)(i % N);
    for (int v = 0; v < 256; v++)
        f.loader.table[v] = (float)(v + 1);
    const Batch *batch = loader_lane(&f.loader, 0, 0);
    int hits[N] = { 0 }, flipped = 0;
    for (size_t i = 0; i < TRAIN; i++) {
        const float *x = batch->x + i * N;
        hits[(int)lrintf(x[40]) - 1]++;
        float left = x[39],
              right = x[41]; /* one may be padding, and a flip makes left the larger */
        flipped += left > x[40] || (right > 0 && right < x[40]);
    }
    double chi2 = 0;
    for (int k = 0; k < N; k++)
        chi2 += (hits[k] - 100.0) * (hits[k] - 100.0) / 100.0;
    ck_assert_double_lt(chi2, 133.5); /* 80 degrees of freedom, p = 1.6e-4 */
    ck_assert_double_eq_tol(flipped / (double)TRAIN, 0.5, 5 * 0.5 / sqrt(TRAIN));
    fixture_close(&f);
}
END_TEST

/* Two crops in a list draw different words: their shifts are not the same. */
START_TEST(positions_are_independent)
{
    enum { TRAIN = 500, N = 81 };
    Fixture f;
    fixture_must(&f,
                 "data: {type: synthetic, shape: [1, 9, 9], train: 500, test: 1,"
                 " augment: [{crop: 1}, {crop: 1}]}",
                 2, TRAIN, 1);
    for (size_t i = 0; i < (size_t)TRAIN * N; i++)
        f.loader.train.bytes[i] = (uint8_t)(i % N);
    for (int v = 0; v < 256; v++)
        f.loader.table[v] = (float)(v + 1);
    const Batch *batch = loader_lane(&f.loader, 0, 0);
    int odd = 0;
    for (size_t i = 0; i < TRAIN; i++) {
        int source = (int)lrintf(batch->x[i * N + 40]) - 1;
        odd += source % 9 % 2; /* the sum of two shifts is odd: 4 of 9 times; never if equal */
    }
    ck_assert_double_eq_tol(odd / 500.0, 4.0 / 9, 0.12);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("augment");
    add_test(suite, flip);
    add_test(suite, flip_alternates);
    add_test(suite, flip_alternates_over_epochs);
    add_test(suite, crop_with_zeros);
    add_test(suite, crop_with_reflection);
    add_test(suite, cutout);
    add_test(suite, outcomes_are_even);
    add_test(suite, positions_are_independent);
    return run_suite(suite);
}
