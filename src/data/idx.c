/* IDX files, the format of MNIST and Fashion-MNIST (LeCun et al. 1998): a big-endian header
 * 0, 0, element type, number of dimensions, then each dimension as 32 bits, then the elements.
 * Samples are unsigned bytes of shape (N, H, W), (N, C, H, W) or (N, F); labels are (N). */
#include "file.h"
#include "lockstep/dataset.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

#define FASHION_FOLDER "/usr/share/datasets/fashion-mnist"
#define UINT8_ELEMENTS 0x08
#define MAX_SAMPLES INT32_MAX
#define MAX_SIDE 65536
#define MAX_VALUES (1 << 28) /* of a sample; layers count in ints */

typedef struct IdxOptions {
    char *folder, *train_images, *train_labels, *test_images, *test_labels;
    int classes;
} IdxOptions;

static const Option options[] = {
    { "folder", OPTION_STRING, OPTION_AT(IdxOptions, folder), 0, 0, NULL, FASHION_FOLDER,
      "folder with the four files under their usual names, plain, .gz or .xz" },
    { "train_images", OPTION_STRING, OPTION_AT(IdxOptions, train_images), 0, 0, NULL, "",
      "file; default: train-images-idx3-ubyte in folder" },
    { "train_labels", OPTION_STRING, OPTION_AT(IdxOptions, train_labels), 0, 0, NULL, "",
      "file; default: train-labels-idx1-ubyte in folder" },
    { "test_images", OPTION_STRING, OPTION_AT(IdxOptions, test_images), 0, 0, NULL, "",
      "file; default: t10k-images-idx3-ubyte in folder" },
    { "test_labels", OPTION_STRING, OPTION_AT(IdxOptions, test_labels), 0, 0, NULL, "",
      "file; default: t10k-labels-idx1-ubyte in folder" },
    { "classes", OPTION_INT, OPTION_AT(IdxOptions, classes), 0, 1e9, NULL, "0",
      "number of classes; 0: the largest training label + 1" },
    OPTION_END,
};

typedef struct IdxHeader {
    int ndim;
    uint32_t dim[4];
    size_t bytes; /* of the elements: the product of dim */
} IdxHeader;

static char *dims_text(const IdxHeader *header, char *buffer, size_t size)
{
    buffer[0] = '\0';
    for (int i = 0; i < header->ndim; i++)
        text_append(buffer, size, "%s%u", i ? " x " : "", header->dim[i]);
    return buffer;
}

static bool check_dims(const char *path, IdxHeader *header, Err *err)
{
    char text[64];
    header->bytes = 1;
    for (int i = 0; i < header->ndim; i++) {
        uint32_t limit = i == 0 ? MAX_SAMPLES : MAX_SIDE;
        if (header->dim[i] == 0)
            return err_set(err, "%s: dimension %d of %s is zero", path, i + 1,
                           dims_text(header, text, sizeof text));
        if (header->dim[i] > limit)
            return err_set(err, "%s: dimension %d of %s is larger than %u", path, i + 1,
                           dims_text(header, text, sizeof text), limit);
        if (__builtin_mul_overflow(header->bytes, header->dim[i], &header->bytes) ||
            header->bytes > SIZE_MAX / 8)
            return err_set(err, "%s: %s elements are too many", path,
                           dims_text(header, text, sizeof text));
    }
    size_t values = header->bytes / header->dim[0];
    return values <= MAX_VALUES || err_set(err, "%s: %zu values a sample, at most %d are supported",
                                           path, values, MAX_VALUES);
}

/* Four bytes of the header, big-endian. */
static bool take_word(FileReader *file, const char *path, uint32_t *word, Err *err)
{
    uint8_t b[4];
    size_t got;
    if (!file_take(file, b, sizeof b, &got, err))
        return false;
    if (got < sizeof b)
        return err_set(err, "%s: the file ends inside its IDX header", path);
    *word = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return true;
}

static bool read_header(FileReader *file, const char *path, bool labels, IdxHeader *header,
                        Err *err)
{
    uint32_t magic = 0;
    if (!take_word(file, path, &magic, err))
        return false;
    if (magic >> 16 != 0)
        return err_set(err, "%s: not an IDX file: it starts with 0x%08x, 0x%08x expected", path,
                       magic, labels ? 0x801u : 0x803u);
    if (magic >> 8 != UINT8_ELEMENTS)
        return err_set(err, "%s: IDX element type 0x%02x, unsigned bytes (0x08) expected", path,
                       magic >> 8);
    header->ndim = (int)(magic & 0xff);
    if (labels && header->ndim != 1)
        return err_set(err, "%s: %d dimensions, labels have 1", path, header->ndim);
    if (!labels && (header->ndim < 2 || header->ndim > 4))
        return err_set(err,
                       "%s: %d dimensions, samples have 2 (N, F), 3 (N, H, W) or 4 (N, C, H, W)",
                       path, header->ndim);
    for (int i = 0; i < header->ndim; i++)
        if (!take_word(file, path, &header->dim[i], err))
            return false;
    return check_dims(path, header, err);
}

static bool wrong_size(const char *path, const IdxHeader *header, const char *found, Err *err)
{
    char text[64];
    return err_set(err, "%s: %zu bytes expected for %s, found %s", path, header->bytes,
                   dims_text(header, text, sizeof text), found);
}

/* The elements, exactly as many as the header says. */
static bool read_body(FileReader *file, const char *path, const IdxHeader *header, uint8_t **body,
                      Err *err)
{
    size_t got, rest;
    bool exact;
    char found[32] = "more";
    if (!file_take_new(file, header->bytes, body, &got, err))
        return false;
    if (got < header->bytes) {
        snprintf(found, sizeof found, "%zu", got);
        return wrong_size(path, header, found, err);
    }
    if (!file_rest(file, &rest, &exact, err))
        return false;
    if (rest == 0)
        return true;
    if (exact)
        snprintf(found, sizeof found, "%zu", got + rest);
    return wrong_size(path, header, found, err);
}

/* After an error *body may still be set: owned by the caller either way. */
static bool read_idx(const char *path, bool labels, IdxHeader *header, uint8_t **body, Err *err)
{
    *body = NULL;
    FileReader *file = file_open(path, err);
    bool ok = file && read_header(file, path, labels, header, err) &&
              read_body(file, path, header, body, err);
    file_close(file);
    return ok;
}

static Shape sample_shape(const IdxHeader *header)
{
    int dim[4] = { 0 };
    for (int i = 0; i < header->ndim; i++)
        dim[i] = (int)header->dim[i];
    if (header->ndim == 2)
        return (Shape){ .ndim = 1, .dim = { dim[1], 1, 1 } };
    if (header->ndim == 3)
        return (Shape){ .ndim = 3, .dim = { 1, dim[1], dim[2] } };
    return (Shape){ .ndim = 3, .dim = { dim[1], dim[2], dim[3] } };
}

static bool read_samples(const char *path, Dataset *set, Err *err)
{
    IdxHeader header = { 0 };
    if (!read_idx(path, false, &header, &set->bytes, err))
        return false;
    set->shape = sample_shape(&header);
    set->count = header.dim[0];
    if (set->shape.ndim == 3 && set->shape.dim[0] > DATASET_MAX_CHANNELS)
        return err_set(err, "%s: %d channels, at most %d are supported", path, set->shape.dim[0],
                       DATASET_MAX_CHANNELS);
    return true;
}

static bool read_labels(const char *path, const char *samples_path, Dataset *set, Err *err)
{
    IdxHeader header = { 0 };
    uint8_t *body;
    bool ok = read_idx(path, true, &header, &body, err);
    if (ok && header.dim[0] != set->count)
        ok = err_set(err, "%s: %u labels for the %lld samples of %s", path, header.dim[0],
                     (long long)set->count, samples_path);
    if (ok) {
        set->labels = mem_array(int32_t, header.dim[0]);
        for (size_t i = 0; i < header.dim[0]; i++)
            set->labels[i] = body[i];
    }
    mem_free(body);
    return ok;
}

static bool check_labels(const char *path, const Dataset *set, Err *err)
{
    for (int64_t i = 0; i < set->count; i++)
        if (set->labels[i] >= set->classes)
            return err_set(err, "%s: label %d at index %lld, 0 .. %d expected", path,
                           set->labels[i], (long long)i, set->classes - 1);
    return true;
}

static int largest_label(const Dataset *set)
{
    int largest = 0;
    for (int64_t i = 0; i < set->count; i++)
        if (set->labels[i] > largest)
            largest = set->labels[i];
    return largest;
}

/* Where a file is: as the option says, or under its usual name in the folder. */
static bool locate(const char *option, const char *folder, const char *const *names, char *path,
                   Err *err)
{
    if (option && *option) {
        if (snprintf(path, FILE_PATH, "%s", option) >= FILE_PATH)
            return err_set(err, "a file name of more than %d bytes", FILE_PATH - 1);
        return true;
    }
    if (file_find(folder, names, path, err))
        return true;
    size_t length = strlen(folder), hint = strlen("fashion-mnist");
    if (err && length >= hint && strcmp(folder + length - hint, "fashion-mnist") == 0)
        text_append(
            err->text, sizeof err->text,
            "; `apt-get install dataset-fashion-mnist` puts Fashion-MNIST into " FASHION_FOLDER);
    return false;
}

typedef char Path[FILE_PATH];

static bool locate_all(const IdxOptions *o, Path paths[4], Err *err)
{
    static const char *const names[4][3] = {
        { "train-images-idx3-ubyte", "train-images.idx3-ubyte", NULL },
        { "train-labels-idx1-ubyte", "train-labels.idx1-ubyte", NULL },
        { "t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", NULL },
        { "t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte", NULL },
    };
    const char *given[4] = { o->train_images, o->train_labels, o->test_images, o->test_labels };
    for (int i = 0; i < 4; i++)
        if (!locate(given[i], o->folder, names[i], paths[i], err))
            return false;
    return true;
}

static bool load_all(const IdxOptions *o, Path paths[4], Dataset *train, Dataset *test, Err *err)
{
    if (!locate_all(o, paths, err) || !read_samples(paths[0], train, err) ||
        !read_labels(paths[1], paths[0], train, err) || !read_samples(paths[2], test, err) ||
        !read_labels(paths[3], paths[2], test, err))
        return false;
    if (!dataset_check_pair(train, test, err))
        return err_prefix(err, "%s, %s: ", paths[0], paths[2]);
    train->classes = test->classes = o->classes ? o->classes : largest_label(train) + 1;
    return check_labels(paths[1], train, err) && check_labels(paths[3], test, err);
}

static bool load(const void *chosen, const DatasetRequest *request, Dataset *train, Dataset *test,
                 Err *err)
{
    (void)request; /* whole files are read and checked; they are quick */
    Path *paths = mem_array(Path, 4);
    bool ok = load_all(chosen, paths, train, test, err);
    mem_free(paths);
    return ok;
}

const DatasetType dataset_idx = {
    .name = "idx",
    .help = "IDX files of bytes: MNIST, Fashion-MNIST and the like",
    .source = "LeCun et al. 1998",
    .options = options,
    .options_bytes = sizeof(IdxOptions),
    .load = load,
};
