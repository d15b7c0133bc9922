/* The loader: every sample exactly once, the same batch for any cut into lanes, exact short
 * batches, evaluation in file order, normalisation, and the messages of a wrong `data` section. */
#include "helpers.h"

#include <math.h>

static char folder[TEST_PATH];

static void setup(void)
{
    temp_create(folder);
}

static void teardown(void)
{
    temp_remove(folder);
}

/* An IDX set of (N, 2) features that spell the sample's number, so a batch tells what is in it. */
static void write_numbered(uint32_t train, uint32_t test)
{
    uint32_t counts[2] = { train, test };
    static const char *const names[2][2] = { { "images", "labels" },
                                             { "test_images", "test_labels" } };
    for (int split = 0; split < 2; split++) {
        uint32_t n = counts[split];
        uint8_t *body = calloc(n, 2), *out = malloc(2 * n + 64);
        char path[TEST_PATH];
        for (uint32_t i = 0; i < n; i++) {
            body[2 * i] = (uint8_t)(i & 255);
            body[2 * i + 1] = (uint8_t)(i >> 8);
        }
        write_bytes(join_path(path, folder, names[split][0]), out,
                    idx_bytes(out, 2, (uint32_t[2]){ n, 2 }, body, 2 * n));
        for (uint32_t i = 0; i < n; i++)
            body[i] = (uint8_t)(i % 7);
        write_bytes(join_path(path, folder, names[split][1]), out,
                    idx_bytes(out, 1, (uint32_t[1]){ n }, body, n));
        free(body);
        free(out);
    }
}

static void open_numbered(Fixture *f, const char *more, uint64_t seed, int batch, int lanes)
{
    char yaml[8 * TEST_PATH];
    snprintf(
        yaml, sizeof yaml,
        "data: {type: idx, classes: 7, normalize: none, train_images: %s/images, "
        "train_labels: %s/labels, test_images: %s/test_images, test_labels: %s/test_labels%s}\n",
        folder, folder, folder, folder, more);
    fixture_must(f, yaml, seed, batch, lanes);
}

/* The number that sample i of a batch spells. */
static int sample_number(const Batch *batch, int i)
{
    int number = (int)lrintf(batch->x[2 * i] * 255) + 256 * (int)lrintf(batch->x[2 * i + 1] * 255);
    ck_assert_int_eq(batch->labels[i], number % 7);
    return number;
}

/* Counts how often each sample comes in an epoch; returns the epoch's samples. */
static int count_epoch(Fixture *f, int64_t epoch, int *seen, int n)
{
    Loader *loader = &f->loader;
    int total = 0;
    memset(seen, 0, (size_t)n * sizeof *seen);
    for (int64_t s = 0; s < loader->steps_per_epoch; s++) {
        int64_t step = epoch * loader->steps_per_epoch + s;
        int in_step = 0;
        for (int lane = 0; lane < f->lanes.count; lane++) {
            const Batch *batch = loader_lane(loader, step, lane);
            for (int i = 0; i < batch->count; i++)
                seen[sample_number(batch, i)]++;
            in_step += batch->count;
        }
        ck_assert_int_eq(in_step, loader_batch_size(loader, step));
        total += in_step;
    }
    return total;
}

START_TEST(every_sample_once)
{
    static const uint32_t counts[] = { 1, 2, 3, 5, 16, 17, 60, 64, 65, 255, 256, 257, 601 };
    static const int cuts[][2] = { { 1, 1 }, { 2, 1 }, { 6, 2 }, { 8, 8 }, { 32, 4 }, { 96, 8 } };
    int seen[601];
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        write_numbered(counts[c], 2);
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            Fixture f;
            int n = (int)counts[c];
            open_numbered(&f, "", 5 + c, cuts[k][0], cuts[k][1]);
            ck_assert_int_eq(f.loader.steps_per_epoch, (n + cuts[k][0] - 1) / cuts[k][0]);
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                ck_assert_int_eq(count_epoch(&f, epoch, seen, n), n);
                for (int i = 0; i < n; i++)
                    ck_assert_int_eq(seen[i], 1);
            }
            fixture_close(&f);
        }
    }
}
END_TEST

START_TEST(dropped_batch_changes)
{
    enum { N = 101, BATCH = 32, EPOCHS = 40 };
    int seen[N], dropped[N] = { 0 }, ever = 0;
    Fixture f;
    write_numbered(N, 2);
    open_numbered(&f, ", last_batch: drop", 3, BATCH, 4);
    ck_assert_int_eq(f.loader.steps_per_epoch, 3);
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        ck_assert_int_eq(count_epoch(&f, epoch, seen, N), 96);
        for (int i = 0; i < N; i++) {
            ck_assert_int_le(seen[i], 1);
            dropped[i] += 1 - seen[i];
        }
    }
    for (int i = 0; i < N; i++)
        ever += dropped[i] > 0;
    ck_assert_int_gt(ever, 60); /* 200 drops over 101 samples hit 87 of them on average */
    fixture_close(&f);
}
END_TEST

START_TEST(order_depends_on_seed_and_epoch_only)
{
    enum { N = 200 };
    Fixture a, b, plain;
    write_numbered(N, 2);
    open_numbered(&a, "", 1, 8, 1);
    open_numbered(&b, "", 2, 20, 4);
    open_numbered(&plain, ", shuffle: false", 1, 8, 1);
    int same_epoch = 0, same_seed = 0;
    for (int64_t i = 0; i < N; i++) {
        same_epoch += loader_sample(&a.loader, 0, i) == loader_sample(&a.loader, 1, i);
        same_seed += loader_sample(&a.loader, 0, i) == loader_sample(&b.loader, 0, i);
        ck_assert_int_eq(loader_sample(&plain.loader, i % 3, i), i);
    }
    ck_assert_int_lt(same_epoch, 12); /* one on average, Poisson: p(12) < 1e-9 */
    ck_assert_int_lt(same_seed, 12);
    fixture_close(&b);
    open_numbered(&b, "", 1, 20, 4); /* another batch and lane count: the same order */
    for (int64_t i = 0; i < N; i++)
        ck_assert_int_eq(loader_sample(&a.loader, 5, i), loader_sample(&b.loader, 5, i));
    fixture_close(&a);
    fixture_close(&b);
    fixture_close(&plain);
}
END_TEST

#define AUGMENTED                                                                                  \
    "data: {type: synthetic, shape: [3, 9, 8], train: 45, test: 5, classes: 4,"                    \
    " augment: [{flip: {vertical: true}}, {crop: {pad: 2}}, {cutout: {size: 3}},"                  \
    " {crop: {pad: 1, fill: reflect}}]}\n"

/* The whole batch of a step as one array, lanes taken from the last to the first. */
static int gather_step(Fixture *f, int64_t step, float *x, int32_t *labels)
{
    int total = 0;
    size_t n = f->loader.sample_size;
    for (int lane = f->lanes.count - 1; lane >= 0; lane--) {
        const Batch *batch = loader_lane(&f->loader, step, lane);
        size_t at = (size_t)lanes_offset(&f->lanes, lane), count = (size_t)batch->count;
        memcpy(x + at * n, batch->x, count * n * sizeof *x);
        if (count)
            memcpy(labels + at, batch->labels, count * sizeof *labels);
        total += batch->count;
    }
    return total;
}

START_TEST(batch_is_the_same_for_any_lanes)
{
    enum { BATCH = 16, N = 3 * 9 * 8 };
    static float wanted[BATCH * N], got[BATCH * N];
    int32_t wanted_labels[BATCH], got_labels[BATCH];
    Fixture one;
    fixture_must(&one, AUGMENTED, 11, BATCH, 1);
    for (int lanes = 2; lanes <= BATCH; lanes *= 2) {
        Fixture f;
        fixture_must(&f, AUGMENTED, 11, BATCH, lanes);
        for (int64_t step = 7; step >= 0; step--) { /* three steps an epoch; the last has 13 */
            int count = gather_step(&one, step, wanted, wanted_labels);
            ck_assert_int_eq(count, step % 3 == 2 ? 13 : 16);
            ck_assert_int_eq(gather_step(&f, step, got, got_labels), count);
            ck_assert(same_bits(got, wanted, (size_t)count * N));
            ck_assert_mem_eq(got_labels, wanted_labels, (size_t)count * sizeof *got_labels);
        }
        fixture_close(&f);
    }
    fixture_close(&one);
}
END_TEST

/* The same sample in two epochs, where it may stand anywhere: augmented differently, but always the
 * same way in the same epoch, and untouched without augmentation. */
START_TEST(augmentation_belongs_to_epoch_and_sample)
{
    enum { TRAIN = 45, N = 3 * 9 * 8 };
    static float first[TRAIN * N], second[TRAIN * N];
    Fixture f;
    fixture_must(&f, AUGMENTED, 4, 45, 1);
    for (int64_t epoch = 0; epoch < 2; epoch++) {
        const Batch *batch = loader_lane(&f.loader, epoch, 0);
        for (int64_t i = 0; i < TRAIN; i++) {
            int64_t index = loader_sample(&f.loader, epoch, i);
            memcpy((epoch ? second : first) + index * N, batch->x + i * N, N * sizeof(float));
        }
    }
    int changed = 0;
    for (size_t i = 0; i < TRAIN; i++)
        changed += !same_bits(first + i * N, second + i * N, N);
    ck_assert_int_gt(changed, 40);
    fixture_close(&f);
    fixture_must(&f, AUGMENTED, 4, 9, 1);
    for (int64_t step = 0; step < 5; step++) {
        const Batch *batch = loader_lane(&f.loader, step, 0);
        for (int64_t i = 0; i < 9; i++) {
            int64_t index = loader_sample(&f.loader, 0, step * 9 + i);
            ck_assert(same_bits(first + index * N, batch->x + i * N, N));
        }
    }
    fixture_close(&f);
}
END_TEST

START_TEST(evaluation_is_in_file_order)
{
    static const uint32_t counts[] = { 1, 7, 8, 9, 64, 65 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        Fixture f;
        write_numbered(20, counts[c]);
        open_numbered(&f, "", 1, 16, 2);
        int number = 0;
        ck_assert_int_eq(loader_chunks(&f.loader), (counts[c] + 7) / 8);
        for (int64_t chunk = 0; chunk < loader_chunks(&f.loader); chunk++) {
            const Batch *batch = loader_chunk(&f.loader, chunk);
            ck_assert_int_le(batch->count, 8);
            for (int i = 0; i < batch->count; i++)
                ck_assert_int_eq(sample_number(batch, i), number++);
        }
        ck_assert_int_eq(number, (int)counts[c]);
        fixture_close(&f);
    }
}
END_TEST

/* Views of test images against indices written here; labels and counts are those of the chunk. */
START_TEST(views_of_test_images)
{
    enum { C = 3, H = 9, W = 8, N = C * H * W };
    static const View views[] = { { false, 0, 0 }, { true, 0, 0 },  { false, -1, -1 },
                                  { false, 1, 1 }, { true, -1, 0 }, { true, 0, 2 },
                                  { false, 3, -7 } };
    static const int beyond[] = { 7, 6, 5, 4, 3, 2, 1 }; /* what lies at -7 .. -1 */
    static float plain[4 * N];
    Fixture f;
    fixture_must(&f, AUGMENTED, 4, 4, 1);
    for (size_t v = 0; v < sizeof views / sizeof *views; v++)
        for (int64_t chunk = 0; chunk < 2; chunk++) {
            const Batch *batch = loader_chunk(&f.loader, chunk);
            int count = batch->count, label = batch->labels[0];
            memcpy(plain, batch->x, (size_t)count * N * sizeof *plain);
            batch = loader_chunk_view(&f.loader, chunk, views[v]);
            ck_assert(batch->count == count && batch->labels[0] == label);
            for (int i = 0; i < count * N; i++) {
                int row = i / W % H + views[v].down, column = i % W + views[v].right;
                row = row < 0 ? beyond[row + 7] : row < H ? row : H - 1 - (row - (H - 1));
                column = column < 0 ? beyond[column + 7] : column < W ? column : 2 * W - 2 - column;
                column = views[v].mirror ? W - 1 - column : column;
                ck_assert(batch->x[i] == plain[i / (H * W) * (H * W) + row * W + column]);
            }
        }
    fixture_close(&f);
}
END_TEST

START_TEST(training_samples_without_augmentation)
{
    enum { N = 3 * 9 * 8 };
    float x[N];
    Fixture with, without;
    fixture_must(&with, AUGMENTED, 4, 45, 1);
    fixture_must(&without,
                 "data: {type: synthetic, shape: [3, 9, 8], train: 45, test: 5, classes: 4}", 4, 45,
                 1);
    const Batch *batch = loader_lane(&without.loader, 0, 0);
    for (int64_t i = 0; i < 45; i++) {
        loader_train_sample(&with.loader, loader_sample(&without.loader, 0, i), x);
        ck_assert(same_bits(x, batch->x + i * N, N));
    }
    fixture_close(&with);
    fixture_close(&without);
}
END_TEST

START_TEST(evaluation_is_not_augmented)
{
    Fixture with, without;
    fixture_must(&with, AUGMENTED, 4, 4, 1);
    fixture_must(&without,
                 "data: {type: synthetic, shape: [3, 9, 8], train: 45, test: 5, classes: 4}", 4, 4,
                 1);
    for (int64_t chunk = 0; chunk < 2; chunk++) {
        const Batch *a = loader_chunk(&with.loader, chunk);
        const Batch *b = loader_chunk(&without.loader, chunk);
        ck_assert_int_eq(a->count, chunk ? 1 : 4);
        ck_assert(same_bits(a->x, b->x, (size_t)a->count * 216));
    }
    fixture_close(&with);
    fixture_close(&without);
}
END_TEST

START_TEST(limits_cut_the_sets)
{
    enum { LIMIT = 10 };
    int seen[LIMIT];
    Fixture f;
    write_numbered(50, 20);
    open_numbered(&f, ", train_limit: 10, test_limit: 3", 1, 4, 2);
    ck_assert_int_eq(f.loader.train.count, LIMIT);
    ck_assert_int_eq(f.loader.test.count, 3);
    ck_assert_int_eq(count_epoch(&f, 0, seen, LIMIT), LIMIT); /* numbers 0 .. 9 only */
    fixture_close(&f);
    open_numbered(&f, ", train_limit: 1000", 1, 4, 2);
    ck_assert_int_eq(f.loader.train.count, 50);
    fixture_close(&f);
}
END_TEST

/* Two-pass mean and standard deviation of a channel in long double. */
static void naive_statistics(const Dataset *set, int channel, int channels, long double *mean,
                             long double *std)
{
    size_t n = dataset_sample_size(set), plane = n / (size_t)channels;
    long double sum = 0, squares = 0, count = (long double)set->count * (long double)plane;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < (size_t)set->count; i++)
            for (size_t k = 0; k < plane; k++) {
                long double value = set->bytes[i * n + (size_t)channel * plane + k] / 255.0L;
                if (pass == 0)
                    sum += value;
                else
                    squares += (value - sum / count) * (value - sum / count);
            }
    *mean = sum / count;
    *std = sqrtl(squares / count);
}

START_TEST(normalisation_is_measured)
{
    Fixture f;
    fixture_must(&f, "data: {type: synthetic, shape: [3, 300, 301], train: 7, test: 2, classes: 3}",
                 1, 7, 1);
    const Batch *batch = loader_lane(&f.loader, 0, 0);
    for (int c = 0; c < 3; c++) {
        long double mean, std, sum = 0, squares = 0;
        naive_statistics(&f.loader.train, c, 3, &mean, &std);
        ck_assert(f.loader.mean[c] == (float)mean);
        ck_assert(f.loader.std[c] == (float)std);
        for (size_t i = 0; i < 7; i++)
            for (size_t k = 0; k < 90300; k++) {
                long double value = (long double)batch->x[i * 270900 + (size_t)c * 90300 + k];
                sum += value;
                squares += value * value;
            }
        ck_assert_double_lt(fabs((double)sum / 632100), 1e-6);
        ck_assert_double_lt(fabs((double)squares / 632100 - 1), 1e-6);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(normalisation_as_told)
{
    Fixture f;
    char text[256];
    write_numbered(30, 5);
    open_numbered(&f, "", 1, 4, 1);
    ck_assert(loader_chunk(&f.loader, 0)->x[2] == (float)(1 / 255.0));
    ck_assert_str_eq(loader_text(&f.loader, text, sizeof text), "normalize none");
    fixture_close(&f);

    const char *yaml = "data: {type: synthetic, shape: [2, 4, 4], train: 8, test: 2, mean: [0.5, "
                       "0.25], std: [0.5, 2], augment: [flip, {cutout: 2}]}";
    fixture_must(&f, yaml, 1, 8, 1);
    const Batch *batch = loader_chunk(&f.loader, 0);
    for (size_t i = 0; i < 32; i++) {
        double value = f.loader.test.bytes[i] / 255.0;
        ck_assert(batch->x[i] == (float)(i < 16 ? (value - 0.5) / 0.5 : (value - 0.25) / 2));
    }
    ck_assert_str_eq(loader_text(&f.loader, text, sizeof text),
                     "normalize mean 0.500000 0.250000, std 0.500000 2.000000; augment flip, "
                     "cutout");
    fixture_close(&f);
}
END_TEST

START_TEST(constant_images_become_zero)
{
    Fixture f;
    fixture_must(&f, "data: {type: synthetic, shape: [1, 1, 1], train: 1, test: 1}", 1, 1, 1);
    ck_assert_double_lt(fabs((double)loader_lane(&f.loader, 0, 0)->x[0]), 1e-6);
    fixture_close(&f);
}
END_TEST

START_TEST(features_are_normalised)
{
    Fixture f;
    fixture_must(&f, "data: {type: synthetic, shape: 50, train: 400, test: 10, noise: 3}", 1, 400,
                 1);
    const Batch *batch = loader_lane(&f.loader, 0, 0);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < 20000; i++) {
        sum += (double)batch->x[i];
        squares += (double)batch->x[i] * (double)batch->x[i];
    }
    ck_assert_double_lt(fabs(sum / 20000), 1e-6);
    ck_assert_double_lt(fabs(squares / 20000 - 1), 1e-6);
    fixture_close(&f);
}
END_TEST

/* Plain, gzip (in two members) and xz hold the same set; so do (N, H, W) and (N, 1, H, W). */
START_TEST(packing_does_not_matter)
{
    char path[TEST_PATH], yaml[4 * TEST_PATH];
    Fixture f;
    write_idx_set(folder, 30, 9, 7, 6, 5);
    snprintf(yaml, sizeof yaml, "data: {type: idx, folder: %s}\n", folder);
    fixture_must(&f, yaml, 1, 5, 1);
    uint64_t train = f.loader.train.digest, test = f.loader.test.digest;
    ck_assert_int_eq(f.loader.train.classes, 5);
    for (size_t i = 0; i < 30 * 42; i++)
        ck_assert_int_eq(f.loader.train.bytes[i], pattern(i));
    fixture_close(&f);

    uint8_t plain[16 + 30 * 42], packed[4 * sizeof plain];
    char *text = read_text(join_path(path, folder, "train-images-idx3-ubyte"));
    memcpy(plain, text, sizeof plain);
    free(text);
    ck_assert_int_eq(remove(path), 0);
    size_t bytes = gzip_bytes(packed, plain, 500);
    bytes += gzip_bytes(packed + bytes, plain + 500, sizeof plain - 500);
    write_bytes(join_path(path, folder, "train-images.idx3-ubyte.gz"), packed, bytes);
    fixture_must(&f, yaml, 1, 5, 1);
    ck_assert(f.loader.train.digest == train && f.loader.test.digest == test);
    fixture_close(&f);

    ck_assert_int_eq(remove(path), 0);
    bytes = xz_bytes(packed, plain, sizeof plain);
    write_bytes(join_path(path, folder, "train-images-idx3-ubyte.xz"), packed, bytes);
    fixture_must(&f, yaml, 1, 5, 1);
    ck_assert(f.loader.train.digest == train);
    fixture_close(&f);

    bytes = idx_bytes(packed, 4, (uint32_t[4]){ 30, 1, 7, 6 }, plain + 16, sizeof plain - 16);
    write_bytes(path, packed, bytes);
    fixture_must(&f, yaml, 1, 5, 1);
    ck_assert(f.loader.train.digest == train);
    fixture_close(&f);

    bytes = idx_bytes(packed, 4, (uint32_t[4]){ 15, 2, 7, 6 }, plain + 16, sizeof plain - 16);
    write_bytes(path, packed, bytes);
    ck_assert(!fixture_open(&f, yaml, 1, 5, 1)); /* 30 labels */
    fixture_close(&f);
}
END_TEST

#define RECORD 3073

/* Record i of file f holds label (f + i) mod 10 and pixels f, i, plane, position. */
static void fill_record(uint8_t *record, int file, int i)
{
    record[0] = (uint8_t)((file + i) % 10);
    for (int p = 0; p < 3072; p++)
        record[1 + p] = (uint8_t)(file * 40 + i * 7 + (p / 1024) * 3 + p % 1024 % 11);
}

START_TEST(cifar10_records)
{
    static const char *const names[] = { "data_batch_1.bin",    "data_batch_2.bin",
                                         "data_batch_3.bin",    "data_batch_4.bin.gz",
                                         "data_batch_5.bin.xz", "test_batch.bin" };
    static uint8_t records[3 * RECORD], packed[8 * RECORD];
    char path[TEST_PATH], yaml[2 * TEST_PATH];
    for (int file = 0; file < 6; file++) {
        for (int i = 0; i < 3; i++)
            fill_record(records + i * RECORD, file, i);
        join_path(path, folder, names[file]);
        if (file == 3)
            write_bytes(path, packed, gzip_bytes(packed, records, sizeof records));
        else if (file == 4)
            write_bytes(path, packed, xz_bytes(packed, records, sizeof records));
        else
            write_bytes(path, records, sizeof records);
    }
    Fixture f;
    snprintf(yaml, sizeof yaml, "data: {type: cifar10, folder: %s}\n", folder);
    fixture_must(&f, yaml, 1, 5, 1);
    ck_assert_int_eq(f.loader.train.count, 15);
    ck_assert_int_eq(f.loader.test.count, 3);
    ck_assert_int_eq(f.loader.train.classes, 10);
    for (int s = 0; s < 15; s++) {
        fill_record(records, s / 3, s % 3);
        ck_assert_int_eq(f.loader.train.labels[s], records[0]);
        ck_assert_mem_eq(f.loader.train.bytes + s * 3072, records + 1, 3072);
    }
    fixture_close(&f);

    ck_assert_int_eq(remove(join_path(path, folder, "data_batch_3.bin")), 0); /* not opened */
    snprintf(yaml, sizeof yaml, "data: {type: cifar10, folder: %s, train_limit: 5}\n", folder);
    fixture_must(&f, yaml, 1, 5, 1);
    ck_assert_int_eq(f.loader.train.count, 5);
    fixture_close(&f);
}
END_TEST

START_TEST(cifar100_labels)
{
    static uint8_t records[2 * (RECORD + 1)];
    char path[TEST_PATH], yaml[2 * TEST_PATH];
    records[0] = 19;
    records[1] = 99;
    records[RECORD + 1] = 3;
    records[RECORD + 2] = 42;
    records[RECORD + 3] = 200;
    write_bytes(join_path(path, folder, "train.bin"), records, sizeof records);
    write_bytes(join_path(path, folder, "test.bin"), records, sizeof records);
    for (int coarse = 0; coarse < 2; coarse++) {
        Fixture f;
        snprintf(yaml, sizeof yaml, "data: {type: cifar100, folder: %s, labels: %s}\n", folder,
                 coarse ? "coarse" : "fine");
        fixture_must(&f, yaml, 1, 2, 1);
        ck_assert_int_eq(f.loader.train.classes, coarse ? 20 : 100);
        ck_assert_int_eq(f.loader.train.labels[0], coarse ? 19 : 99);
        ck_assert_int_eq(f.loader.train.labels[1], coarse ? 3 : 42);
        ck_assert_int_eq(f.loader.train.bytes[3072], 200);
        fixture_close(&f);
    }
}
END_TEST

/* A wrong section: its message, and that nothing stays allocated. */
static void wrong_config(const char *section, const char *wanted)
{
    Fixture f;
    char yaml[1024];
    size_t blocks = mem_use().blocks;
    snprintf(yaml, sizeof yaml, "data: {%s}\n", section);
    ck_assert_msg(!fixture_open(&f, yaml, 1, 16, 4), "no error; wanted: %s", wanted);
    ck_assert_str_eq(f.err.text, wanted);
    ck_assert(!f.loader.data_error);
    fixture_close(&f);
    ck_assert_uint_eq(mem_use().blocks, blocks);
}

START_TEST(wrong_configs)
{
    static const char *const cases[][2] = {
        { "shuffle: true", "test.yaml:1:7: data: type: the name of a data set is wanted; see "
                           "`lockstep list datasets`" },
        { "type: sythetic",
          "test.yaml:1:14: data.type: unknown data set \"sythetic\"; did you mean "
          "\"synthetic\"? (data sets: cifar10, cifar100, idx, synthetic, text, tokens)" },
        { "type: synthetic, clases: 3",
          "test.yaml:1:25: data.clases: unknown option; did you mean \"classes\"? (options here: "
          "type, normalize, mean, std, shuffle, last_batch, augment, train_limit, test_limit, "
          "kind, "
          "shape, classes, outputs, hidden, train, test, noise, outlier, "
          "outlier_value)" },
        { "type: cifar10", "test.yaml:1:7: data: folder is missing; wanted: text" },
        { "type: synthetic, mean: 0.5",
          "test.yaml:1:7: data: 1 values of mean, 0 of std; as many of both are wanted" },
        { "type: synthetic, mean: 0.5, std: 1, normalize: none",
          "test.yaml:1:7: data: mean and std are given, but normalize is none" },
        { "type: synthetic, train: 4, test: 1, mean: 0.5, std: 1",
          "test.yaml:1:7: data: 1 values of mean and std, samples have 3 channels" },
        { "type: synthetic, std: [0]",
          "test.yaml:1:31: data.std[0]: 0 is out of range, wanted 1e-12 to 1e+30" },
        { "type: synthetic, train: 15, test: 1, last_batch: drop",
          "test.yaml:1:7: data: last_batch: drop leaves nothing of 15 samples in batches of 16" },
        { "type: synthetic, shape: [3, 4]",
          "test.yaml:1:7: data: shape: 2 dimensions, [C, H, W] or [F] expected" },
        { "type: synthetic, shape: 2.5", "test.yaml:1:7: data: shape: 2.5 is not a whole number" },
        { "type: synthetic, shape: [16, 65536, 65536]",
          "test.yaml:1:7: data: shape: 68719476736 values a sample, at most 16777216" },
        { "type: synthetic, shape: [17, 2, 2]",
          "test.yaml:1:7: data: shape: 17 channels, at most 16" },
        { "type: synthetic, kind: linear",
          "test.yaml:1:7: data: kind: linear and teacher make features, shape: [F] expected" },
        { "type: synthetic, augment: flip",
          "test.yaml:1:34: data.augment: a list is wanted, such as [flip, {crop: {pad: 4}}]" },
        { "type: synthetic, augment: [flop]",
          "test.yaml:1:35: data.augment[0]: unknown augmentation \"flop\"; did you mean \"flip\"? "
          "(augmentations: crop, cutout, flip)" },
        { "type: synthetic, augment: [flip, {corp: {pad: 4}}]",
          "test.yaml:1:42: data.augment[1].corp: unknown augmentation; did you mean \"crop\"? "
          "(augmentations: crop, cutout, flip)" },
        { "type: synthetic, augment: [{flip: {}, crop: {}}]",
          "test.yaml:1:35: data.augment[0]: a name or one {name: {options}} is wanted" },
        { "type: synthetic, augment: [{crop: {pad: 0}}]",
          "test.yaml:1:48: data.augment[0].crop.pad: 0 is out of range, wanted 1 to 4096" },
        { "type: synthetic, augment: [flip, flip, flip, flip, flip, flip, flip, flip, flip]",
          "test.yaml:1:34: data.augment: 9 augmentations, at most 8" },
        { "type: synthetic, train: 2, test: 1, shape: 5, augment: [flip]",
          "test.yaml:1:64: data.augment[0].flip: works on images (C, H, W), samples here have "
          "shape "
          "(5)" },
        { "type: synthetic, train: 2, test: 1, shape: [1, 4, 9], augment: [{crop: {pad: 5}}]",
          "test.yaml:1:79: data.augment[0].crop: pad: 5 is more than a side of 4" },
        { "type: synthetic, train: 2, test: 1, shape: [1, 4, 9], augment: [{crop: {pad: 4, fill: "
          "reflect}}]",
          "test.yaml:1:79: data.augment[0].crop: pad: 4 is too much to reflect a side of 4" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong_config(cases[i][0], cases[i][1]);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_sample_once,
        dropped_batch_changes,
        order_depends_on_seed_and_epoch_only,
        batch_is_the_same_for_any_lanes,
        augmentation_belongs_to_epoch_and_sample,
        evaluation_is_in_file_order,
        views_of_test_images,
        training_samples_without_augmentation,
        evaluation_is_not_augmented,
        limits_cut_the_sets,
        normalisation_is_measured,
        normalisation_as_told,
        constant_images_become_zero,
        features_are_normalised,
        packing_does_not_matter,
        cifar10_records,
        cifar100_labels,
        wrong_configs,
    };
    Suite *suite = suite_create("loader");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 0);
    tcase_add_checked_fixture(all, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(all, tests[i]);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
