/* Reading data files: plain, gzip (zlib) or xz (liblzma), told apart by their first bytes and never
 * by their name. */
#include "file.h"
#include "lockstep/dataset.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define INPUT_BYTES ((size_t)256 << 10)
#define XZ_MEMORY ((uint64_t)256 << 20) /* xz -9 needs 65 MiB; a header may ask for 4 GiB */

struct FileReader {
    char *path;
    int fd;
    size_t size;  /* on disk */
    size_t taken; /* bytes handed out */
    bool ended;   /* the packed stream's end was seen and checked */
    bool input_ended;
    uint8_t *input; /* INPUT_BYTES read ahead of a decoder */
    bool (*take)(FileReader *file, uint8_t *out, size_t n, size_t *got, Err *err);
    z_stream gzip;
    lzma_stream xz;
};

static bool read_some(FileReader *file, void *out, size_t n, size_t *got, Err *err)
{
    ssize_t done;
    do
        done = read(file->fd, out, n);
    while (done < 0 && errno == EINTR);
    *got = done < 0 ? 0 : (size_t)done;
    return done >= 0 || err_set(err, "%s: %s", file->path, strerror(errno));
}

static bool take_plain(FileReader *file, uint8_t *out, size_t n, size_t *got, Err *err)
{
    while (*got < n) {
        size_t done;
        if (!read_some(file, out + *got, n - *got, &done, err))
            return false;
        if (done == 0)
            break;
        *got += done;
    }
    return true;
}

/* After a gzip member's end: the next member begins (files may be concatenated) or the file is
 * over. */
static bool next_gzip_member(FileReader *file, Err *err)
{
    if (file->gzip.avail_in == 0) {
        size_t done;
        if (!read_some(file, file->input, INPUT_BYTES, &done, err))
            return false;
        file->gzip.next_in = file->input;
        file->gzip.avail_in = (uInt)done;
        if (done == 0) {
            file->ended = true;
            return true;
        }
    }
    if (file->gzip.next_in[0] != 0x1f)
        return err_set(err, "%s: bytes that are not gzip after the end of the gzip stream",
                       file->path);
    return inflateReset(&file->gzip) == Z_OK || err_set(err, "%s: gzip decoder failed", file->path);
}

static bool refill_gzip(FileReader *file, size_t unpacked, Err *err)
{
    if (file->gzip.avail_in > 0)
        return true;
    size_t done;
    if (!read_some(file, file->input, INPUT_BYTES, &done, err))
        return false;
    if (done == 0)
        return err_set(err, "%s: gzip stream is cut off after %zu unpacked bytes", file->path,
                       unpacked);
    file->gzip.next_in = file->input;
    file->gzip.avail_in = (uInt)done;
    return true;
}

static bool take_gzip(FileReader *file, uint8_t *out, size_t n, size_t *got, Err *err)
{
    z_stream *stream = &file->gzip;
    while (*got < n && !file->ended) {
        if (!refill_gzip(file, file->taken + *got, err))
            return false;
        size_t room = n - *got < (1u << 30) ? n - *got : (1u << 30);
        stream->next_out = out + *got;
        stream->avail_out = (uInt)room;
        int result = inflate(stream, Z_NO_FLUSH);
        *got += room - stream->avail_out;
        if (result == Z_STREAM_END) {
            if (!next_gzip_member(file, err))
                return false;
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return err_set(err, "%s: gzip stream is corrupt after %zu unpacked bytes: %s",
                           file->path, file->taken + *got,
                           stream->msg ? stream->msg : zError(result));
        }
    }
    return true;
}

static bool xz_failed(const FileReader *file, lzma_ret result, size_t unpacked, Err *err)
{
    if (result == LZMA_BUF_ERROR)
        return err_set(err, "%s: xz stream is cut off after %zu unpacked bytes", file->path,
                       unpacked);
    if (result == LZMA_MEMLIMIT_ERROR)
        return err_set(err, "%s: xz stream needs more than %u MiB of memory to unpack", file->path,
                       (unsigned)(XZ_MEMORY >> 20));
    if (result == LZMA_OPTIONS_ERROR)
        return err_set(err, "%s: xz stream uses options this liblzma does not know", file->path);
    return err_set(err, "%s: xz stream is corrupt after %zu unpacked bytes", file->path, unpacked);
}

static bool take_xz(FileReader *file, uint8_t *out, size_t n, size_t *got, Err *err)
{
    lzma_stream *stream = &file->xz;
    while (*got < n && !file->ended) {
        if (stream->avail_in == 0 && !file->input_ended) {
            size_t done;
            if (!read_some(file, file->input, INPUT_BYTES, &done, err))
                return false;
            stream->next_in = file->input;
            stream->avail_in = done;
            file->input_ended = done == 0;
        }
        stream->next_out = out + *got;
        stream->avail_out = n - *got;
        lzma_ret result = lzma_code(stream, file->input_ended ? LZMA_FINISH : LZMA_RUN);
        *got = n - stream->avail_out;
        if (result == LZMA_STREAM_END)
            file->ended = true;
        else if (result != LZMA_OK && (result != LZMA_BUF_ERROR || file->input_ended))
            return xz_failed(file, result, file->taken + *got, err);
    }
    return true;
}

static bool start_decoder(FileReader *file, Err *err)
{
    uint8_t magic[6] = { 0 };
    if (pread(file->fd, magic, sizeof magic, 0) < 0)
        return err_set(err, "%s: %s", file->path, strerror(errno));
    file->take = take_plain;
    if (magic[0] == 0x1f && magic[1] == 0x8b) {
        file->take = take_gzip;
        if (inflateInit2(&file->gzip, 15 + 16) != Z_OK) /* 32 KiB window, gzip wrapper only */
            return err_set(err, "%s: gzip decoder failed", file->path);
    } else if (memcmp(magic,
                      "\xfd"
                      "7zXZ",
                      sizeof magic) == 0) { /* with its final zero */
        file->take = take_xz;
        if (lzma_stream_decoder(&file->xz, XZ_MEMORY, LZMA_CONCATENATED) != LZMA_OK)
            return err_set(err, "%s: xz decoder failed", file->path);
    }
    if (file->take != take_plain)
        file->input = mem_alloc(INPUT_BYTES);
    return true;
}

static bool open_regular(FileReader *file, Err *err)
{
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (file->fd < 0 || fstat(file->fd, &status) != 0)
        return err_set(err, "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return err_set(err, "%s: %s, a data file is wanted", file->path,
                       S_ISDIR(status.st_mode) ? "is a folder" : "is not a regular file");
    if (status.st_size == 0)
        return err_set(err, "%s: the file is empty", file->path);
    file->size = (size_t)status.st_size;
    return true;
}

FileReader *file_open(const char *path, Err *err)
{
    FileReader *file = mem_new(FileReader);
    file->path = mem_string(path);
    file->fd = -1;
    if (open_regular(file, err) && start_decoder(file, err))
        return file;
    file_close(file);
    return NULL;
}

void file_close(FileReader *file)
{
    if (!file)
        return;
    if (file->take == take_gzip)
        inflateEnd(&file->gzip);
    if (file->take == take_xz)
        lzma_end(&file->xz);
    if (file->fd >= 0)
        close(file->fd);
    mem_free(file->input);
    mem_free(file->path);
    mem_free(file);
}

bool file_take(FileReader *file, void *out, size_t n, size_t *got, Err *err)
{
    *got = 0;
    bool ok = file->take(file, out, n, got, err);
    file->taken += *got;
    return ok;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Doubles the memory until n bytes are there or the stream ends. Usual files unpack to two to four
 * times their size. */
bool file_take_new(FileReader *file, size_t n, uint8_t **data, size_t *got, Err *err)
{
    size_t plain = file->size > file->taken ? file->size - file->taken : 0;
    size_t capacity = file->take == take_plain ? plain : 4 * file->size + 65536;
    capacity = smaller(capacity, n);
    *data = mem_alloc(capacity);
    *got = 0;
    for (;;) {
        size_t done;
        if (!file_take(file, *data + *got, capacity - *got, &done, err)) {
            mem_free(*data);
            *data = NULL;
            return false;
        }
        *got += done;
        if (*got < capacity || capacity == n || file->take == take_plain)
            return true;
        size_t more = smaller(n, 2 * capacity);
        uint8_t *grown = mem_alloc(more);
        memcpy(grown, *data, *got);
        mem_free(*data);
        *data = grown;
        capacity = more;
    }
}

bool file_rest(FileReader *file, size_t *bytes, bool *exact, Err *err)
{
    *exact = file->take == take_plain;
    if (*exact) {
        *bytes = file->size > file->taken ? file->size - file->taken : 0;
        return true;
    }
    uint8_t byte;
    return file_take(file, &byte, 1, bytes, err);
}

bool file_read(const char *path, size_t limit, uint8_t **data, size_t *bytes, Err *err)
{
    *data = NULL;
    *bytes = 0;
    FileReader *file = file_open(path, err);
    if (!file)
        return false;
    size_t rest = 0;
    bool exact;
    bool ok = file_take_new(file, limit, data, bytes, err) && file_rest(file, &rest, &exact, err);
    if (ok && rest > 0)
        ok = err_set(err, "%s: at most %zu bytes expected, found more", path, limit);
    if (!ok) {
        mem_free(*data);
        *data = NULL;
        *bytes = 0;
    }
    file_close(file);
    return ok;
}

static bool names_missing(const char *folder, const char *const *names, Err *err)
{
    char list[512] = "";
    for (int i = 0; names[i]; i++)
        text_append(list, sizeof list, "%s%s", i ? ", " : "", names[i]);
    return err_set(err, "%s: no file %s (nor with .gz or .xz) there", folder, list);
}

bool file_find(const char *folder, const char *const *names, char *path, Err *err)
{
    static const char *const endings[] = { "", ".gz", ".xz" };
    struct stat status;
    if (stat(folder, &status) != 0)
        return err_set(err, "%s: %s", folder,
                       errno == ENOENT ? "there is no such folder" : strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return err_set(err, "%s: a folder is wanted, this is a file", folder);
    for (int i = 0; names[i]; i++)
        for (int k = 0; k < 3; k++) {
            int length = snprintf(path, FILE_PATH, "%s/%s%s", folder, names[i], endings[k]);
            if (length < FILE_PATH && access(path, F_OK) == 0)
                return true;
        }
    return names_missing(folder, names, err);
}
