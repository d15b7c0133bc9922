/* CIFAR-10 and CIFAR-100, binary version (Krizhevsky 2009): records without a header, each the
 * label bytes and then 3 x 32 x 32 pixels (the red plane, the green, the blue).
 *
 *   CIFAR-10    label, 3072 pixels             data_batch_1.bin .. data_batch_5.bin, test_batch.bin
 *   CIFAR-100   coarse, fine, 3072 pixels      train.bin, test.bin */
#include "file.h"
#include "lockstep/dataset.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

#define PIXELS ((size_t)3 * 32 * 32)
#define MAX_RECORDS ((size_t)200000) /* a file; the real ones have at most 50,000 */
#define MAX_FILES 5

enum Labels { LABELS_FINE, LABELS_COARSE };

typedef struct CifarOptions {
    char *folder;
    int labels;
} CifarOptions;

typedef struct CifarFormat {
    const char *train[MAX_FILES + 1], *test[2]; /* end with NULL */
    size_t label_bytes, label_at;
    int classes;
} CifarFormat;

typedef struct CifarFile {
    uint8_t *data;
    size_t count; /* records */
} CifarFile;

static size_t record_bytes(const CifarFormat *format)
{
    return format->label_bytes + PIXELS;
}

static bool check_records(const CifarFormat *format, const char *path, const CifarFile *file,
                          Err *err)
{
    for (size_t i = 0; i < file->count; i++) {
        const uint8_t *record = file->data + i * record_bytes(format);
        if (record[format->label_at] >= format->classes)
            return err_set(err, "%s: label %d in record %zu, 0 .. %d expected", path,
                           record[format->label_at], i, format->classes - 1);
    }
    return true;
}

static bool read_records(const CifarFormat *format, const char *folder, const char *name,
                         CifarFile *file, Err *err)
{
    const char *const names[] = { name, NULL };
    char path[FILE_PATH];
    size_t bytes;
    if (!file_find(folder, names, path, err) ||
        !file_read(path, MAX_RECORDS * record_bytes(format), &file->data, &bytes, err))
        return false;
    if (bytes == 0 || bytes % record_bytes(format) != 0)
        return err_set(err, "%s: %zu bytes, a multiple of the record of %zu + 3 x 32 x 32 expected",
                       path, bytes, format->label_bytes);
    file->count = bytes / record_bytes(format);
    return check_records(format, path, file, err);
}

/* Records -> labels (N) and pixels (N, 3, 32, 32), files one after the other. */
static void join_files(const CifarFormat *format, const CifarFile *files, int count, Dataset *set)
{
    size_t total = 0;
    for (int f = 0; f < count; f++)
        total += files[f].count;
    set->shape = (Shape){ .ndim = 3, .dim = { 3, 32, 32 } };
    set->count = (int64_t)total;
    set->classes = format->classes;
    set->bytes = mem_alloc(total * PIXELS);
    set->labels = mem_array(int32_t, total);
    size_t at = 0;
    for (int f = 0; f < count; f++)
        for (size_t i = 0; i < files[f].count; i++, at++) {
            const uint8_t *record = files[f].data + i * record_bytes(format);
            set->labels[at] = record[format->label_at];
            memcpy(set->bytes + at * PIXELS, record + format->label_bytes, PIXELS);
        }
}

/* Files after the one that reaches the limit are not opened: unpacking one takes more than a
 * second. */
static bool load_split(const CifarFormat *format, const char *folder, const char *const *names,
                       int64_t limit, Dataset *set, Err *err)
{
    CifarFile files[MAX_FILES] = { { 0 } };
    int count = 0;
    int64_t samples = 0;
    bool ok = true;
    while (ok && names[count] && samples < limit) {
        ok = read_records(format, folder, names[count], &files[count], err);
        samples += (int64_t)files[count++].count;
    }
    if (ok)
        join_files(format, files, count, set);
    for (int f = 0; f < count; f++)
        mem_free(files[f].data);
    return ok;
}

static bool load_format(const CifarFormat *format, const char *folder,
                        const DatasetRequest *request, Dataset *train, Dataset *test, Err *err)
{
    return load_split(format, folder, format->train, request->train_limit, train, err) &&
           load_split(format, folder, format->test, request->test_limit, test, err);
}

static bool cifar10_load(const void *chosen, const DatasetRequest *request, Dataset *train,
                         Dataset *test, Err *err)
{
    static const CifarFormat format = {
        .train = { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                   "data_batch_5.bin" },
        .test = { "test_batch.bin" },
        .label_bytes = 1,
        .classes = 10,
    };
    const CifarOptions *o = chosen;
    return load_format(&format, o->folder, request, train, test, err);
}

static bool cifar100_load(const void *chosen, const DatasetRequest *request, Dataset *train,
                          Dataset *test, Err *err)
{
    const CifarOptions *o = chosen;
    bool fine = o->labels == LABELS_FINE;
    CifarFormat format = {
        .train = { "train.bin" },
        .test = { "test.bin" },
        .label_bytes = 2,
        .label_at = fine ? 1 : 0,
        .classes = fine ? 100 : 20,
    };
    return load_format(&format, o->folder, request, train, test, err);
}

static const Option cifar10_options[] = {
    { "folder", OPTION_STRING, OPTION_AT(CifarOptions, folder), 0, 0, NULL, NULL,
      "folder with data_batch_1.bin .. data_batch_5.bin and test_batch.bin, plain, .gz or .xz" },
    OPTION_END,
};

static const Option cifar100_options[] = {
    { "folder", OPTION_STRING, OPTION_AT(CifarOptions, folder), 0, 0, NULL, NULL,
      "folder with train.bin and test.bin, plain, .gz or .xz" },
    { "labels", OPTION_CHOICE, OPTION_AT(CifarOptions, labels), 0, 0, "fine|coarse", "fine",
      "100 classes or 20 superclasses" },
    OPTION_END,
};

const DatasetType dataset_cifar10 = {
    .name = "cifar10",
    .help = "CIFAR-10, binary version",
    .source = "Krizhevsky 2009",
    .options = cifar10_options,
    .options_bytes = sizeof(CifarOptions),
    .load = cifar10_load,
};

const DatasetType dataset_cifar100 = {
    .name = "cifar100",
    .help = "CIFAR-100, binary version",
    .source = "Krizhevsky 2009",
    .options = cifar100_options,
    .options_bytes = sizeof(CifarOptions),
    .load = cifar100_load,
};
