/* Weights as safetensors: what is written reads back with the same bits, the bytes are those of the
 * format, and every way in which a file can be wrong has its message. */
#include "support.h"

#include "lockstep/memory.h"
#include "lockstep/weights.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[TEST_PATH], path[TEST_PATH];
static Layout layout;
static float *arena; /* layout.n */

/* The statistic comes second but lies last in the arena. */
static void setup(void)
{
    layout = (Layout){ 0 };
    layout_add(&layout, "a.weight", 2, (int[]){ 2, 3 }, LAYOUT_DECAY);
    layout_add(&layout, "bn.mean", 1, (int[]){ 5 }, LAYOUT_STATISTIC);
    layout_add(&layout, "a.bias", 1, (int[]){ 3 }, 0);
    layout_seal(&layout);
    arena = mem_array(float, layout.n);
    for (int i = 0; i < layout.count; i++)
        for (size_t k = 0; k < layout.tensors[i].n; k++)
            arena[layout.tensors[i].offset + k] = (float)(100 * i + (int)k) + 0.1f;
    temp_create(folder);
    join_path(path, folder, "w.safetensors");
}

static void teardown(void)
{
    temp_remove(folder);
    mem_free(arena);
    layout_free(&layout);
}

/* ---- right files ---- */

START_TEST(test_round_trip)
{
    Err err;
    WeightsInfo info;
    char temporary[TEST_PATH];
    setup();
    ck_assert(weights_write(path, &layout, arena, 1234, &err));
    float *found = mem_array(float, layout.n);
    ck_assert_msg(weights_read(path, &layout, found, &info, &err), "%s", err.text);
    ck_assert(same_bits(arena, found, layout.n));
    ck_assert_int_eq(info.step, 1234);
    ck_assert_uint_eq(info.digest, weights_digest(&layout, arena));
    ck_assert(access(join_path(temporary, folder, "w.safetensors.tmp"), F_OK) != 0);
    mem_free(found);
    teardown();
}
END_TEST

/* Byte for byte, but for the digest and the version. */
START_TEST(test_bytes)
{
    static const char tensors[] =
        "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"bn.mean\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[24,44]},"
        "\"a.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[44,56]}}";
    Err err;
    uint64_t length;
    char digest[64];
    setup();
    ck_assert(weights_write(path, &layout, arena, 7, &err));
    char *file = read_text(path);
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    memcpy(&length, file, 8);
    ck_assert_uint_eq(length % 8, 0);
    ck_assert_uint_eq((uint64_t)status.st_size, 8 + length + 56);
    snprintf(digest, sizeof digest, "\"step\":\"7\",\"digest\":\"%016llx\"",
             (unsigned long long)weights_digest(&layout, arena));
    char *header = strndup(file + 8, length);
    ck_assert_int_eq(strncmp(header, "{\"__metadata__\":{\"format\":\"lockstep\",", 37), 0);
    ck_assert_ptr_nonnull(strstr(header, digest));
    char *found = strstr(header, tensors);
    ck_assert_ptr_nonnull(found);
    found += strlen(tensors);
    ck_assert_uint_eq(strspn(found, " "), strlen(found));
    ck_assert_int_eq(memcmp(file + 8 + length, arena, 24), 0);
    ck_assert_int_eq(memcmp(file + 8 + length + 24, arena + layout.tensors[1].offset, 20), 0);
    ck_assert_int_eq(memcmp(file + 8 + length + 44, arena + layout.tensors[2].offset, 12), 0);
    free(header);
    free(file);
    teardown();
}
END_TEST

START_TEST(test_digest_sees_every_float_and_no_padding)
{
    setup();
    uint64_t digest = weights_digest(&layout, arena);
    for (size_t i = 0; i < layout.n; i++) {
        bool inside = false;
        for (int k = 0; k < layout.count; k++)
            inside |= i - layout.tensors[k].offset < layout.tensors[k].n;
        float saved = arena[i];
        arena[i] += 1;
        ck_assert_int_eq(weights_digest(&layout, arena) != digest, inside);
        arena[i] = saved;
    }
    teardown();
}
END_TEST

/* ---- wrong files ---- */

/* A file with this header text and `bytes` of data. */
static void write_file(const char *header, size_t data_bytes)
{
    uint64_t length = strlen(header);
    size_t bytes = 8 + (size_t)length + data_bytes;
    unsigned char *file = mem_alloc(bytes);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, (size_t)length);
    write_bytes(path, file, bytes);
    mem_free(file);
}

/* The message without the path in front. */
static const char *message(void)
{
    static Err err;
    float *found = mem_array(float, layout.n);
    bool ok = weights_read(path, &layout, found, NULL, &err);
    mem_free(found);
    if (ok)
        return "no error";
    ck_assert_int_eq(strncmp(err.text, path, strlen(path)), 0);
    ck_assert_int_eq(strncmp(err.text + strlen(path), ": ", 2), 0);
    return err.text + strlen(path) + 2;
}

#define A "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define M "\"bn.mean\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[24,44]}"
#define B "\"a.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[44,56]}"
#define A_WITH(type, shape, offsets)                                                               \
    "{\"a.weight\":{\"dtype\":" type ",\"shape\":" shape ",\"data_offsets\":" offsets "}," M "," B \
    "}"

typedef struct Wrong {
    const char *header;
    size_t data_bytes;
    const char *message;
} Wrong;

static const Wrong wrong[] = {
    { "{" A "," M "," B "}", 56, "no error" },
    { "{" B "," M "," A "}   ", 56, "no error" },
    { "{" A "," M "," B "}", 55,
      "tensor a.bias: data_offsets [44, 56] do not lie in the 55 bytes of data" },
    { "{" A "," M "," B "}", 60, "60 bytes of data found, 56 expected" },
    { "{" A "," B "}", 36, "tensor bn.mean is missing" },
    { "{" A "," M "," B ",\"c\\n\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 56,
      "tensor \"c\\x0a\" is not in the network" },
    { A_WITH("\"F16\"", "[2,3]", "[0,24]"), 56, "tensor a.weight: dtype F16 found, F32 expected" },
    { A_WITH("32", "[2,3]", "[0,24]"), 56, "tensor a.weight: no dtype" },
    { A_WITH("\"F32\"", "[3,2]", "[0,24]"), 56,
      "tensor a.weight: shape (3, 2) found, (2, 3) expected" },
    { A_WITH("\"F32\"", "[6]", "[0,24]"), 56, "tensor a.weight: shape (6) found, (2, 3) expected" },
    { A_WITH("\"F32\"", "[]", "[0,24]"), 56, "tensor a.weight: shape () found, (2, 3) expected" },
    { A_WITH("\"F32\"", "[2,-3]", "[0,24]"), 56,
      "tensor a.weight: shape[1] is not a whole number" },
    { A_WITH("\"F32\"", "[2,3.0]", "[0,24]"), 56,
      "tensor a.weight: shape[1] is not a whole number" },
    { A_WITH("\"F32\"", "{}", "[0,24]"), 56,
      "tensor a.weight: shape is not a list of at most 8 numbers" },
    { A_WITH("\"F32\"", "[1,1,1,1,1,1,1,2,3]", "[0,24]"), 56,
      "tensor a.weight: shape is not a list of at most 8 numbers" },
    { A_WITH("\"F32\"", "[2,3]", "[0]"), 56,
      "tensor a.weight: data_offsets is not a pair of whole numbers" },
    { A_WITH("\"F32\"", "[2,3]", "[\"0\",24]"), 56,
      "tensor a.weight: data_offsets is not a pair of whole numbers" },
    { A_WITH("\"F32\"", "[2,3]", "null"), 56,
      "tensor a.weight: data_offsets is not a pair of whole numbers" },
    { A_WITH("\"F32\"", "[2,3]", "[-8,16]"), 56,
      "tensor a.weight: data_offsets [-8, 16] do not lie in the 56 bytes of data" },
    { A_WITH("\"F32\"", "[2,3]", "[24,0]"), 56,
      "tensor a.weight: data_offsets [24, 0] do not lie in the 56 bytes of data" },
    { A_WITH("\"F32\"", "[2,3]", "[9223372036854775783,9223372036854775807]"), 56,
      "tensor a.weight: data_offsets [9223372036854775783, 9223372036854775807] do not lie in the "
      "56 "
      "bytes of data" },
    { A_WITH("\"F32\"", "[2,3]", "[0,20]"), 56,
      "tensor a.weight: 20 bytes found by data_offsets [0, 20], 24 expected" },
    { A_WITH("\"F32\"", "[2,3]", "[4,28]"), 56,
      "tensor a.weight: data begin at byte 4, 0 expected: tensors leave a gap" },
    { A_WITH("\"F32\"", "[2,3]", "[32,56]"), 56,
      "tensor bn.mean: data begin at byte 24, 0 expected: tensors leave a gap" },
    { "{" A ",\"bn.mean\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[20,40]}," B "}", 56,
      "tensor bn.mean: data begin at byte 20, 24 expected: tensors overlap" },
    { "{\"a.weight\":7," M "," B "}", 56, "tensor a.weight: no dtype" },
    { "{\"__metadata__\":7," A "," M "," B "}", 56, "__metadata__ is not an object of strings" },
    { "{\"__metadata__\":{\"step\":7}," A "," M "," B "}", 56,
      "__metadata__.step is not a string" },
    { "[]", 56, "header is not a JSON object" },
};

START_TEST(test_wrong_headers)
{
    setup();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_file(wrong[i].header, wrong[i].data_bytes);
        ck_assert_str_eq(message(), wrong[i].message);
    }
    teardown();
}
END_TEST

/* The JSON library's own words follow ours. */
START_TEST(test_broken_json)
{
    static const char *const headers[] = { "", "{", "{" A "," M "," A "," B "}",
                                           "{" A "," M "," B "}x", "\xff{}" };
    setup();
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        write_file(headers[i], 56);
        ck_assert_int_eq(strncmp(message(), "header is not JSON: ", 20), 0);
    }
    teardown();
}
END_TEST

START_TEST(test_wrong_lengths)
{
    static const unsigned char cut[12] = { 200, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ' };
    unsigned char huge[12];
    setup();
    write_bytes(path, cut, 0);
    ck_assert_str_eq(message(), "0 bytes found: too short for a safetensors file");
    write_bytes(path, cut, 7);
    ck_assert_str_eq(message(), "7 bytes found: too short for a safetensors file");
    write_bytes(path, cut, 12);
    ck_assert_str_eq(message(), "header of 200 bytes announced, 4 bytes follow (at most 104857600 "
                                "are read): not a safetensors file, or cut off");
    memset(huge, 0xff, sizeof huge);
    write_bytes(path, huge, 12);
    ck_assert_str_eq(message(),
                     "header of 18446744073709551615 bytes announced, 4 bytes follow (at most "
                     "104857600 are read): not a safetensors file, or cut off");
    teardown();
}
END_TEST

START_TEST(test_no_file)
{
    setup();
    ck_assert_str_eq(message(), "No such file or directory");
    ck_assert_int_eq(mkdir(path, 0777), 0);
    ck_assert_str_eq(message(), "not a regular file");
    teardown();
}
END_TEST

/* Every single flipped bit of the data is found. */
START_TEST(test_flipped_bit)
{
    Err err;
    char wanted[256], recorded[17];
    setup();
    ck_assert(weights_write(path, &layout, arena, 1, &err));
    snprintf(recorded, sizeof recorded, "%016llx",
             (unsigned long long)weights_digest(&layout, arena));
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    size_t bytes = (size_t)status.st_size;
    char *file = read_text(path);
    for (size_t bit = 8 * (bytes - 56); bit < 8 * bytes; bit += 37) {
        file[bit / 8] = (char)(file[bit / 8] ^ 1 << bit % 8);
        write_bytes(path, file, bytes);
        file[bit / 8] = (char)(file[bit / 8] ^ 1 << bit % 8);
        snprintf(wanted, sizeof wanted, "but %s is recorded: the file is damaged", recorded);
        const char *found = message();
        ck_assert_int_eq(strncmp(found, "digest ", 7), 0);
        ck_assert_ptr_nonnull(strstr(found, wanted));
    }
    free(file);
    teardown();
}
END_TEST

/* Any prefix of a good file is refused without a crash. */
START_TEST(test_truncated)
{
    Err err;
    setup();
    ck_assert(weights_write(path, &layout, arena, 1, &err));
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    for (off_t bytes = status.st_size - 1; bytes >= 0; bytes--) {
        ck_assert_int_eq(truncate(path, bytes), 0);
        ck_assert_str_ne(message(), "no error");
    }
    teardown();
}
END_TEST

/* ---- a disk that is full ---- */

START_TEST(test_full_disk_keeps_the_old_file)
{
    Err err;
    char wanted[TEST_PATH + 64], temporary[TEST_PATH];
    struct rlimit limit, small;
    setup();
    ck_assert(weights_write(path, &layout, arena, 1, &err));
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){ .rlim_cur = 100, .rlim_max = limit.rlim_max };
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool ok = weights_write(path, &layout, arena, 2, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, before);
    ck_assert(!ok);
    snprintf(wanted, sizeof wanted, "%s: cannot write: File too large", path);
    ck_assert_str_eq(err.text, wanted);
    ck_assert_str_eq(message(), "no error");
    ck_assert(access(join_path(temporary, folder, "w.safetensors.tmp"), F_OK) != 0);
    teardown();
}
END_TEST

START_TEST(test_cannot_write)
{
    Err err;
    setup();
    ck_assert(!weights_write("/nowhere/w", &layout, arena, 1, &err));
    ck_assert_str_eq(err.text, "/nowhere/w: cannot write: No such file or directory");
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights");
    add_test(suite, test_round_trip);
    add_test(suite, test_bytes);
    add_test(suite, test_digest_sees_every_float_and_no_padding);
    add_test(suite, test_wrong_headers);
    add_test(suite, test_broken_json);
    add_test(suite, test_wrong_lengths);
    add_test(suite, test_no_file);
    add_test(suite, test_flipped_bit);
    add_test(suite, test_truncated);
    add_test(suite, test_full_disk_keeps_the_old_file);
    add_test(suite, test_cannot_write);
    return run_suite(suite);
}
