/* TensorBoard event files: framing, checksums and protobuf fields, decoded here by independent
 * code. The checksum is computed bit by bit and is itself checked against published values. */
#include "support.h"

#include "lockstep/run.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static uint32_t crc32c(const unsigned char *data, size_t bytes)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < 8 * bytes; i++) {
        uint32_t bit = (uint32_t)(data[i / 8] >> (i % 8) & 1) ^ (crc & 1);
        crc = crc >> 1 ^ (bit ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static uint32_t masked(const unsigned char *data, size_t bytes)
{
    uint32_t crc = crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* RFC 3720, section B.4, and the check value of the CRC catalogue. */
START_TEST(test_checksum_of_the_test)
{
    unsigned char data[32];
    ck_assert_uint_eq(crc32c((const unsigned char *)"123456789", 9), 0xe3069283u);
    memset(data, 0, sizeof data);
    ck_assert_uint_eq(crc32c(data, sizeof data), 0x8a9136aau);
    memset(data, 0xff, sizeof data);
    ck_assert_uint_eq(crc32c(data, sizeof data), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)i;
    ck_assert_uint_eq(crc32c(data, sizeof data), 0x46dd794eu);
}
END_TEST

typedef struct Event {
    double wall_time;
    int64_t step;
    char version[64], tag[256];
    float value;
    bool has_value;
} Event;

static uint64_t varint(const unsigned char **next)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        unsigned char byte = *(*next)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
}

/* Length-delimited text into `text`; *next moves behind it. */
static void take_text(const unsigned char **next, char *text, size_t size)
{
    uint64_t length = varint(next);
    ck_assert_uint_lt(length, size);
    memcpy(text, *next, length);
    text[length] = '\0';
    *next += length;
}

static void decode_value(const unsigned char *next, const unsigned char *end, Event *event)
{
    while (next < end) {
        uint64_t field = varint(&next);
        if (field == (1 << 3 | 2)) {
            take_text(&next, event->tag, sizeof event->tag);
        } else {
            ck_assert_uint_eq(field, 2 << 3 | 5);
            memcpy(&event->value, next, 4);
            event->has_value = true;
            next += 4;
        }
    }
    ck_assert_ptr_eq(next, end);
}

static void decode_summary(const unsigned char *next, const unsigned char *end, Event *event)
{
    ck_assert_uint_eq(varint(&next), 1 << 3 | 2);
    uint64_t length = varint(&next);
    ck_assert_ptr_eq(next + length, end);
    decode_value(next, end, event);
}

static Event decode_event(const unsigned char *next, const unsigned char *end)
{
    Event event = { 0 };
    while (next < end) {
        uint64_t field = varint(&next);
        if (field == (1 << 3 | 1)) {
            memcpy(&event.wall_time, next, 8);
            next += 8;
        } else if (field == (2 << 3 | 0)) {
            event.step = (int64_t)varint(&next);
        } else if (field == (3 << 3 | 2)) {
            take_text(&next, event.version, sizeof event.version);
        } else {
            ck_assert_uint_eq(field, 5 << 3 | 2);
            uint64_t length = varint(&next);
            decode_summary(next, next + length, &event);
            next += length;
        }
    }
    ck_assert_ptr_eq(next, end);
    return event;
}

/* Checks the frame at *next and decodes what it holds. */
static Event take_record(const unsigned char **next, const unsigned char *end)
{
    uint64_t length;
    uint32_t head_crc, crc;
    ck_assert_int_ge(end - *next, 16);
    memcpy(&length, *next, 8);
    memcpy(&head_crc, *next + 8, 4);
    ck_assert_uint_eq(head_crc, masked(*next, 8));
    ck_assert_uint_le(length, (uint64_t)(end - *next) - 16);
    const unsigned char *data = *next + 12;
    memcpy(&crc, data + length, 4);
    ck_assert_uint_eq(crc, masked(data, length));
    *next = data + length + 4;
    return decode_event(data, data + length);
}

/* The one event file in the folder, freed with free. */
static unsigned char *read_events(const char *folder, size_t *bytes)
{
    char path[TEST_PATH] = "";
    DIR *directory = opendir(folder);
    struct dirent *entry;
    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.') {
            ck_assert_str_eq(path, "");
            ck_assert_int_eq(strncmp(entry->d_name, "events.out.tfevents.1", 21), 0);
            ck_assert_ptr_nonnull(strchr(entry->d_name + 21, '.'));
            join_path(path, folder, entry->d_name);
        }
    closedir(directory);
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    *bytes = (size_t)status.st_size;
    return (unsigned char *)read_text(path);
}

START_TEST(test_records)
{
    static const int64_t steps[] = { 0, 1, 127, 128, 300, (int64_t)1 << 40, INT64_MAX };
    char folder[TEST_PATH], long_tag[201];
    Err err;
    temp_create(folder);
    memset(long_tag, 't', 200);
    long_tag[200] = '\0';
    TensorBoard *board = tensorboard_open(folder, &err);
    ck_assert_ptr_nonnull(board);
    for (int i = 0; i < 7; i++)
        tensorboard_scalar(board, "train/loss", steps[i], 1.7e9 + i, 0.5 * i);
    tensorboard_scalar(board, long_tag, 8, 1.7e9, (double)NAN);
    ck_assert(tensorboard_close(board, &err));

    size_t bytes;
    unsigned char *file = read_events(folder, &bytes);
    const unsigned char *next = file, *end = file + bytes;
    Event event = take_record(&next, end);
    ck_assert_str_eq(event.version, "brain.Event:2");
    ck_assert(!event.has_value && event.step == 0 && event.wall_time > 1.6e9);
    for (int i = 0; i < 7; i++) {
        event = take_record(&next, end);
        ck_assert_str_eq(event.tag, "train/loss");
        ck_assert_int_eq(event.step, steps[i]);
        ck_assert(event.wall_time == 1.7e9 + i && event.value == 0.5f * (float)i);
    }
    event = take_record(&next, end);
    ck_assert_str_eq(event.tag, long_tag);
    ck_assert(isnan(event.value) && event.has_value);
    ck_assert_ptr_eq(next, end);
    free(file);
    temp_remove(folder);
}
END_TEST

/* More records than the buffer holds, none lost or torn. */
START_TEST(test_many_records)
{
    char folder[TEST_PATH];
    Err err;
    temp_create(folder);
    TensorBoard *board = tensorboard_open(folder, &err);
    for (int i = 1; i <= 1000; i++)
        tensorboard_scalar(board, "eval/accuracy", i, 1e9, i);
    ck_assert(tensorboard_close(board, &err));
    size_t bytes;
    unsigned char *file = read_events(folder, &bytes);
    const unsigned char *next = file;
    take_record(&next, file + bytes);
    for (int i = 1; i <= 1000; i++) {
        Event event = take_record(&next, file + bytes);
        ck_assert(event.step == i && event.value == (float)i);
    }
    ck_assert_ptr_eq(next, file + bytes);
    free(file);
    temp_remove(folder);
}
END_TEST

START_TEST(test_flush_reaches_the_file)
{
    char folder[TEST_PATH];
    Err err;
    size_t before, after;
    temp_create(folder);
    TensorBoard *board = tensorboard_open(folder, &err);
    free(read_events(folder, &before));
    tensorboard_scalar(board, "a", 1, 1e9, 1);
    tensorboard_flush(board);
    free(read_events(folder, &after));
    ck_assert_uint_gt(before, 0);
    ck_assert_uint_gt(after, before);
    ck_assert(tensorboard_close(board, &err));
    temp_remove(folder);
}
END_TEST

START_TEST(test_no_folder)
{
    Err err;
    ck_assert_ptr_null(tensorboard_open("/nowhere/tb", &err));
    ck_assert_int_eq(strncmp(err.text, "/nowhere/tb/events.out.tfevents.", 32), 0);
    ck_assert_ptr_nonnull(strstr(err.text, ": cannot write: No such file or directory"));
    ck_assert(tensorboard_close(NULL, &err));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensorboard");
    add_test(suite, test_checksum_of_the_test);
    add_test(suite, test_records);
    add_test(suite, test_many_records);
    add_test(suite, test_flush_reaches_the_file);
    add_test(suite, test_no_folder);
    return run_suite(suite);
}
