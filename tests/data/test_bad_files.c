/* Bad data files of every kind: the exact message is asserted. Each test starts from a good set in
 * a temporary folder and spoils one file. */
#include "helpers.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[TEST_PATH];

static void setup(void)
{
    temp_create(folder);
    write_idx_set(folder, 12, 6, 4, 5, 3);
}

static void teardown(void)
{
    temp_remove(folder);
}

/* Loads `data: {type: TYPE, folder: FOLDER MORE}` and compares the message; "@" in `wanted` stands
 * for the folder. */
static void expect_message(const char *type, const char *more, const char *wanted)
{
    char yaml[2 * TEST_PATH], text[4 * TEST_PATH] = "";
    snprintf(yaml, sizeof yaml, "data: {type: %s, folder: %s%s}\n", type, folder, more);
    for (; *wanted; wanted++) {
        size_t used = strlen(text);
        if (*wanted == '@')
            snprintf(text + used, sizeof text - used, "%s", folder);
        else
            snprintf(text + used, sizeof text - used, "%c", *wanted);
    }
    Fixture f;
    size_t blocks = mem_use().blocks;
    ck_assert_msg(!fixture_open(&f, yaml, 1, 4, 1), "no error; wanted: %s", text);
    ck_assert_str_eq(f.err.text, text);
    ck_assert(f.loader.data_error);
    fixture_close(&f);
    ck_assert_uint_eq(mem_use().blocks, blocks);
}

static void bad_idx(const char *wanted)
{
    expect_message("idx", "", wanted);
}

static void remove_file(const char *name)
{
    char path[TEST_PATH];
    ck_assert_int_eq(unlink(join_path(path, folder, name)), 0);
}

static void put(const char *name, const uint8_t *data, size_t bytes)
{
    char path[TEST_PATH];
    write_bytes(join_path(path, folder, name), data, bytes);
}

/* The training images' file as it was written. */
static size_t good_images(uint8_t out[16 + 240])
{
    uint8_t body[240];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = pattern(i);
    return idx_bytes(out, 3, (uint32_t[3]){ 12, 4, 5 }, body, sizeof body);
}

static void put_images(int ndim, const uint32_t *dim, size_t bytes)
{
    uint8_t out[512], body[400] = { 0 };
    put("train-images-idx3-ubyte", out, idx_bytes(out, ndim, dim, body, bytes));
}

START_TEST(idx_folder_is_missing)
{
    Fixture f;
    ck_assert(!fixture_open(&f, "data: {type: idx, folder: no/such/folder}\n", 1, 4, 1));
    ck_assert_str_eq(f.err.text, "no/such/folder: there is no such folder");
    fixture_close(&f);
}
END_TEST

START_TEST(fashion_folder_is_missing)
{
    Fixture f;
    ck_assert(!fixture_open(&f, "data: {type: idx, folder: no/fashion-mnist}\n", 1, 4, 1));
    ck_assert_str_eq(f.err.text, "no/fashion-mnist: there is no such folder; `apt-get install "
                                 "dataset-fashion-mnist` puts Fashion-MNIST into "
                                 "/usr/share/datasets/fashion-mnist");
    fixture_close(&f);
}
END_TEST

START_TEST(idx_folder_is_a_file)
{
    char path[TEST_PATH], yaml[2 * TEST_PATH], wanted[2 * TEST_PATH];
    join_path(path, folder, "t10k-images-idx3-ubyte");
    snprintf(yaml, sizeof yaml, "data: {type: idx, folder: %s}\n", path);
    snprintf(wanted, sizeof wanted, "%s: a folder is wanted, this is a file", path);
    Fixture f;
    ck_assert(!fixture_open(&f, yaml, 1, 4, 1));
    ck_assert_str_eq(f.err.text, wanted);
    fixture_close(&f);
}
END_TEST

START_TEST(idx_training_images_are_missing)
{
    remove_file("train-images-idx3-ubyte");
    bad_idx("@: no file train-images-idx3-ubyte, train-images.idx3-ubyte (nor with .gz or .xz) "
            "there");
}
END_TEST

START_TEST(idx_test_images_are_missing)
{
    remove_file("t10k-images-idx3-ubyte");
    bad_idx("@: no file t10k-images-idx3-ubyte, t10k-images.idx3-ubyte (nor with .gz or .xz) "
            "there");
}
END_TEST

START_TEST(idx_named_file_is_missing)
{
    expect_message("idx", ", test_labels: no/labels", "no/labels: No such file or directory");
}
END_TEST

START_TEST(idx_file_is_unreadable)
{
    char path[TEST_PATH];
    ck_assert_int_eq(chmod(join_path(path, folder, "train-labels-idx1-ubyte"), 0), 0);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    bool root = geteuid() == 0; /* whom no mode stops */
    bool able = !root || seteuid(65534) == 0;
    if (able &&
        eaccess(folder, X_OK) == 0) /* else nobody is not known, or TMPDIR is closed to it */
        bad_idx("@/train-labels-idx1-ubyte: Permission denied");
    if (root && able)
        ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(idx_file_is_a_folder)
{
    char path[TEST_PATH];
    remove_file("train-images-idx3-ubyte");
    ck_assert_int_eq(mkdir(join_path(path, folder, "train-images-idx3-ubyte"), 0700), 0);
    bad_idx("@/train-images-idx3-ubyte: is a folder, a data file is wanted");
}
END_TEST

START_TEST(idx_file_is_a_pipe)
{
    char path[TEST_PATH];
    remove_file("train-images-idx3-ubyte");
    ck_assert_int_eq(mkfifo(join_path(path, folder, "train-images-idx3-ubyte"), 0600), 0);
    bad_idx("@/train-images-idx3-ubyte: is not a regular file, a data file is wanted");
}
END_TEST

START_TEST(idx_file_is_empty)
{
    put("train-images-idx3-ubyte", NULL, 0);
    bad_idx("@/train-images-idx3-ubyte: the file is empty");
}
END_TEST

START_TEST(idx_header_is_cut_off)
{
    uint8_t good[256];
    good_images(good);
    for (size_t bytes = 1; bytes < 16; bytes++) {
        put("train-images-idx3-ubyte", good, bytes);
        bad_idx("@/train-images-idx3-ubyte: the file ends inside its IDX header");
    }
}
END_TEST

START_TEST(idx_body_is_cut_off)
{
    put_images(3, (uint32_t[3]){ 12, 4, 5 }, 100);
    bad_idx("@/train-images-idx3-ubyte: 240 bytes expected for 12 x 4 x 5, found 100");
    put_images(3, (uint32_t[3]){ 12, 4, 5 }, 0);
    bad_idx("@/train-images-idx3-ubyte: 240 bytes expected for 12 x 4 x 5, found 0");
}
END_TEST

START_TEST(idx_file_is_too_long)
{
    put_images(3, (uint32_t[3]){ 12, 4, 5 }, 241);
    bad_idx("@/train-images-idx3-ubyte: 240 bytes expected for 12 x 4 x 5, found 241");
}
END_TEST

START_TEST(idx_magic_is_wrong)
{
    put("train-images-idx3-ubyte", (const uint8_t *)"\x89PNG\r\n\x1a\n", 8);
    bad_idx("@/train-images-idx3-ubyte: not an IDX file: it starts with 0x89504e47, 0x00000803 "
            "expected");
    write_idx_set(folder, 12, 6, 4, 5, 3);
    put("t10k-labels-idx1-ubyte", (const uint8_t *)"0 1 2 0 1 2\n", 12);
    bad_idx("@/t10k-labels-idx1-ubyte: not an IDX file: it starts with 0x30203120, 0x00000801 "
            "expected");
}
END_TEST

START_TEST(idx_elements_are_floats)
{
    uint8_t good[256];
    size_t bytes = good_images(good);
    good[2] = 0x0d;
    put("train-images-idx3-ubyte", good, bytes);
    bad_idx("@/train-images-idx3-ubyte: IDX element type 0x0d, unsigned bytes (0x08) expected");
}
END_TEST

START_TEST(idx_dimensions_are_wrong)
{
    uint8_t good[256];
    size_t bytes = good_images(good);
    for (int ndim = 0; ndim < 256; ndim++) {
        char wanted[256];
        if (ndim >= 2 && ndim <= 4)
            continue;
        good[3] = (uint8_t)ndim;
        put("train-images-idx3-ubyte", good, bytes);
        snprintf(wanted, sizeof wanted,
                 "@/train-images-idx3-ubyte: %d dimensions, samples have 2 (N, F), 3 (N, H, W) or "
                 "4 (N, C, H, W)",
                 ndim);
        bad_idx(wanted);
    }
}
END_TEST

START_TEST(idx_labels_are_images)
{
    expect_message("idx", ", train_labels: tests-have-no-such-file",
                   "tests-have-no-such-file: No such file or directory");
    uint8_t good[256];
    put("train-labels-idx1-ubyte", good, good_images(good));
    bad_idx("@/train-labels-idx1-ubyte: 3 dimensions, labels have 1");
}
END_TEST

START_TEST(idx_dimension_is_zero)
{
    put_images(3, (uint32_t[3]){ 12, 0, 5 }, 0);
    bad_idx("@/train-images-idx3-ubyte: dimension 2 of 12 x 0 x 5 is zero");
    put_images(3, (uint32_t[3]){ 0, 4, 5 }, 0);
    bad_idx("@/train-images-idx3-ubyte: dimension 1 of 0 x 4 x 5 is zero");
}
END_TEST

START_TEST(idx_dimension_is_huge)
{
    put_images(3, (uint32_t[3]){ 12, 4294967295u, 5 }, 240);
    bad_idx("@/train-images-idx3-ubyte: dimension 2 of 12 x 4294967295 x 5 is larger than 65536");
    put_images(3, (uint32_t[3]){ 2147483648u, 4, 5 }, 240);
    bad_idx("@/train-images-idx3-ubyte: dimension 1 of 2147483648 x 4 x 5 is larger than "
            "2147483647");
    put_images(4, (uint32_t[4]){ 2147483647u, 65536, 65536, 65536 }, 240);
    bad_idx("@/train-images-idx3-ubyte: 2147483647 x 65536 x 65536 x 65536 elements are too many");
    put_images(3, (uint32_t[3]){ 12, 65536, 65536 }, 240);
    bad_idx("@/train-images-idx3-ubyte: 4294967296 values a sample, at most 268435456 are "
            "supported");
    put_images(3, (uint32_t[3]){ 2147483647u, 65536, 4096 }, 240); /* must not be allocated */
    bad_idx("@/train-images-idx3-ubyte: 576460752034988032 bytes expected for 2147483647 x 65536 x "
            "4096, found 240");
}
END_TEST

START_TEST(idx_has_too_many_channels)
{
    put_images(4, (uint32_t[4]){ 12, 17, 1, 1 }, 204);
    bad_idx("@/train-images-idx3-ubyte: 17 channels, at most 16 are supported");
}
END_TEST

START_TEST(idx_counts_differ)
{
    uint8_t out[64];
    put("train-labels-idx1-ubyte", out,
        idx_bytes(out, 1, (uint32_t[1]){ 11 }, (uint8_t[11]){ 0 }, 11));
    bad_idx("@/train-labels-idx1-ubyte: 11 labels for the 12 samples of "
            "@/train-images-idx3-ubyte");
}
END_TEST

START_TEST(idx_label_is_out_of_range)
{
    uint8_t out[64], labels[6] = { 0, 1, 2, 2, 3, 0 };
    put("t10k-labels-idx1-ubyte", out, idx_bytes(out, 1, (uint32_t[1]){ 6 }, labels, 6));
    bad_idx("@/t10k-labels-idx1-ubyte: label 3 at index 4, 0 .. 2 expected");
    expect_message("idx", ", classes: 2",
                   "@/train-labels-idx1-ubyte: label 2 at index 2, 0 .. 1 expected");
}
END_TEST

START_TEST(idx_shapes_differ)
{
    uint8_t out[512], body[180] = { 0 };
    put("t10k-images-idx3-ubyte", out, idx_bytes(out, 3, (uint32_t[3]){ 6, 5, 4 }, body, 120));
    bad_idx("@/train-images-idx3-ubyte, @/t10k-images-idx3-ubyte: training samples have shape "
            "(1, 4, 5), test samples (1, 5, 4); the same is wanted");
    put("t10k-images-idx3-ubyte", out, idx_bytes(out, 2, (uint32_t[2]){ 6, 20 }, body, 120));
    bad_idx("@/train-images-idx3-ubyte, @/t10k-images-idx3-ubyte: training samples have shape "
            "(1, 4, 5), test samples (20); the same is wanted");
}
END_TEST

/* The training images packed, `change`d, in place of the plain ones; returns the packed length. */
static size_t pack_images(size_t (*pack)(uint8_t *, const uint8_t *, size_t), uint8_t out[2000])
{
    uint8_t good[256];
    return pack(out, good, good_images(good));
}

START_TEST(gzip_check_sum_is_wrong)
{
    uint8_t packed[2000];
    size_t bytes = pack_images(gzip_bytes, packed);
    packed[bytes - 8] ^= 1;
    put("train-images-idx3-ubyte", packed, bytes);
    bad_idx("@/train-images-idx3-ubyte: gzip stream is corrupt after 256 unpacked bytes: incorrect "
            "data check");
}
END_TEST

START_TEST(gzip_header_is_wrong)
{
    uint8_t packed[2000];
    size_t bytes = pack_images(gzip_bytes, packed);
    packed[2] = 7;
    put("train-images-idx3-ubyte", packed, bytes);
    bad_idx("@/train-images-idx3-ubyte: gzip stream is corrupt after 0 unpacked bytes: unknown "
            "compression method");
}
END_TEST

START_TEST(gzip_is_cut_off)
{
    uint8_t packed[2000];
    size_t bytes = pack_images(gzip_bytes, packed);
    put("train-images-idx3-ubyte", packed, bytes - 1); /* only the check at the end is cut */
    bad_idx("@/train-images-idx3-ubyte: gzip stream is cut off after 256 unpacked bytes");
    put("train-images-idx3-ubyte", packed, 5);
    bad_idx("@/train-images-idx3-ubyte: gzip stream is cut off after 0 unpacked bytes");
}
END_TEST

START_TEST(gzip_has_a_tail)
{
    uint8_t packed[2000];
    size_t bytes = pack_images(gzip_bytes, packed);
    packed[bytes] = 'x';
    put("train-images-idx3-ubyte", packed, bytes + 1);
    bad_idx("@/train-images-idx3-ubyte: bytes that are not gzip after the end of the gzip stream");
}
END_TEST

/* 100 MB of zeros in 100 kB behind an honest header: unpacking stops at the header's size. */
START_TEST(gzip_bomb)
{
    size_t n = 100 << 20;
    uint8_t *plain = calloc(n, 1), *packed = malloc(2 * n + 1000);
    good_images(plain);
    size_t bytes = gzip_bytes(packed, plain, n);
    put("train-images-idx3-ubyte", packed, bytes);
    size_t before = mem_use().peak_bytes;
    bad_idx("@/train-images-idx3-ubyte: 240 bytes expected for 12 x 4 x 5, found more");
    ck_assert_uint_lt(mem_use().peak_bytes - before, 4 << 20);

    char path[TEST_PATH], wanted[2 * TEST_PATH];
    uint8_t *data;
    size_t got;
    Err err;
    ck_assert(
        !file_read(join_path(path, folder, "train-images-idx3-ubyte"), 1000, &data, &got, &err));
    snprintf(wanted, sizeof wanted, "%s: at most 1000 bytes expected, found more", path);
    ck_assert_str_eq(err.text, wanted);
    free(plain);
    free(packed);
}
END_TEST

/* A header that promises 8 GB before a stream that holds 240 bytes: little memory is taken. */
START_TEST(gzip_promises_too_much)
{
    uint8_t plain[256], packed[2000];
    good_images(plain);
    plain[4] = 25; /* 25 * 2^24 + 12 images */
    put("train-images-idx3-ubyte", packed, gzip_bytes(packed, plain, sizeof plain));
    size_t before = mem_use().peak_bytes;
    bad_idx("@/train-images-idx3-ubyte: 8388608240 bytes expected for 419430412 x 4 x 5, found "
            "240");
    ck_assert_uint_lt(mem_use().peak_bytes - before, 4 << 20);
}
END_TEST

START_TEST(xz_is_corrupt)
{
    uint8_t packed[2000];
    size_t bytes = pack_images(xz_bytes, packed);
    packed[bytes - 28] ^= 1; /* in the CRC64, 8 bytes before the index and the footer of 12 each */
    put("train-images-idx3-ubyte", packed, bytes);
    bad_idx("@/train-images-idx3-ubyte: xz stream is corrupt after 256 unpacked bytes");
}
END_TEST

START_TEST(xz_is_cut_off)
{
    uint8_t packed[2000];
    size_t bytes = pack_images(xz_bytes, packed);
    put("train-images-idx3-ubyte", packed, bytes - 4);
    bad_idx("@/train-images-idx3-ubyte: xz stream is cut off after 256 unpacked bytes");
    put("train-images-idx3-ubyte", packed, 20);
    bad_idx("@/train-images-idx3-ubyte: xz stream is cut off after 0 unpacked bytes");
}
END_TEST

/* ---- CIFAR ---- */

#define RECORD 3073

static void write_cifar10(void)
{
    static const char *const names[] = { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                         "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin" };
    uint8_t *records = malloc(4 * RECORD);
    for (size_t i = 0; i < 4 * RECORD; i++)
        records[i] = i % RECORD ? pattern(i) : (uint8_t)(i / RECORD);
    for (int f = 0; f < 6; f++)
        put(names[f], records, 4 * RECORD);
    free(records);
}

START_TEST(cifar_size_is_wrong)
{
    write_cifar10();
    uint8_t *records = calloc(4 * RECORD + 1, 1);
    static const size_t sizes[] = { 1, RECORD - 1, RECORD + 1, 4 * RECORD - 7 };
    for (size_t i = 0; i < 4; i++) {
        char wanted[256];
        put("data_batch_3.bin", records, sizes[i]);
        snprintf(wanted, sizeof wanted,
                 "@/data_batch_3.bin: %zu bytes, a multiple of the record of 1 + 3 x 32 x 32 "
                 "expected",
                 sizes[i]);
        expect_message("cifar10", "", wanted);
    }
    put("data_batch_3.bin", records, 0);
    expect_message("cifar10", "", "@/data_batch_3.bin: the file is empty");
    free(records);
}
END_TEST

START_TEST(cifar_label_is_out_of_range)
{
    write_cifar10();
    uint8_t *records = calloc(4 * RECORD, 1);
    records[2 * RECORD] = 10;
    put("test_batch.bin", records, 4 * RECORD);
    expect_message("cifar10", "", "@/test_batch.bin: label 10 in record 2, 0 .. 9 expected");
    free(records);
}
END_TEST

START_TEST(cifar_files_are_missing)
{
    write_cifar10();
    remove_file("data_batch_2.bin");
    expect_message("cifar10", "", "@: no file data_batch_2.bin (nor with .gz or .xz) there");
    write_cifar10();
    remove_file("test_batch.bin");
    expect_message("cifar10", "", "@: no file test_batch.bin (nor with .gz or .xz) there");
    expect_message("cifar100", "", "@: no file train.bin (nor with .gz or .xz) there");
}
END_TEST

START_TEST(cifar_xz_is_cut_off)
{
    write_cifar10();
    uint8_t *records = malloc(4 * RECORD), *packed = malloc(10 * RECORD);
    for (size_t i = 0; i < 4 * RECORD; i++)
        records[i] = i % RECORD ? pattern(i) : 0;
    size_t bytes = xz_bytes(packed, records, 4 * RECORD);
    remove_file("data_batch_4.bin");
    put("data_batch_4.bin.xz", packed, bytes - 30);
    expect_message("cifar10", "",
                   "@/data_batch_4.bin.xz: xz stream is cut off after 12292 unpacked bytes");
    free(records);
    free(packed);
}
END_TEST

START_TEST(cifar100_label_is_out_of_range)
{
    uint8_t *records = calloc(2 * (RECORD + 1), 1);
    put("test.bin", records, 2 * (RECORD + 1));
    records[RECORD + 1] = 19;
    records[RECORD + 2] = 100;
    put("train.bin", records, 2 * (RECORD + 1));
    expect_message("cifar100", "", "@/train.bin: label 100 in record 1, 0 .. 99 expected");
    records[RECORD + 1] = 20;
    put("train.bin", records, 2 * (RECORD + 1));
    expect_message("cifar100", ", labels: coarse",
                   "@/train.bin: label 20 in record 1, 0 .. 19 expected");
    free(records);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        idx_folder_is_missing,
        fashion_folder_is_missing,
        idx_folder_is_a_file,
        idx_training_images_are_missing,
        idx_test_images_are_missing,
        idx_named_file_is_missing,
        idx_file_is_unreadable,
        idx_file_is_a_folder,
        idx_file_is_a_pipe,
        idx_file_is_empty,
        idx_header_is_cut_off,
        idx_body_is_cut_off,
        idx_file_is_too_long,
        idx_magic_is_wrong,
        idx_elements_are_floats,
        idx_dimensions_are_wrong,
        idx_labels_are_images,
        idx_dimension_is_zero,
        idx_dimension_is_huge,
        idx_has_too_many_channels,
        idx_counts_differ,
        idx_label_is_out_of_range,
        idx_shapes_differ,
        gzip_check_sum_is_wrong,
        gzip_header_is_wrong,
        gzip_is_cut_off,
        gzip_has_a_tail,
        gzip_bomb,
        gzip_promises_too_much,
        xz_is_corrupt,
        xz_is_cut_off,
        cifar_size_is_wrong,
        cifar_label_is_out_of_range,
        cifar_files_are_missing,
        cifar_xz_is_cut_off,
        cifar100_label_is_out_of_range,
    };
    Suite *suite = suite_create("bad data files");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 0);
    tcase_add_checked_fixture(all, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(all, tests[i]);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
