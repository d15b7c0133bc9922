/* What the fuzz targets share: see fuzz.h. */
#include "fuzz.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char folder[FUZZ_PATH];

/* A reader may refuse its input, but not end the program. */
static void not_an_end(int code)
{
    fprintf(stderr, "the program would have ended with exit code %d\n", code);
    abort();
}

void fuzz_start(const FuzzTarget *target)
{
    error_set_exits(not_an_end, not_an_end);
    log_set_level(LOG_QUIET);
    if (target->start)
        target->start();
}

void fuzz_run(const FuzzTarget *target, const uint8_t *data, size_t bytes)
{
    size_t blocks = mem_use().blocks;
    target->run(data, bytes);
    expect(mem_use().blocks == blocks);
}

bool fuzz_told(bool ok, const Err *err)
{
    if (ok)
        return true;
    size_t bytes = strnlen(err->text, sizeof err->text), length;
    expect(bytes > 0 && bytes < sizeof err->text);
    for (size_t i = 0; i < bytes; i += length) {
        uint32_t code = 0;
        length = text_utf8(err->text + i, bytes - i, &code);
        bool shown = length > 0 && (code >= 0x20 || code == '\n') && code != 0x7f;
        if (!shown)
            fprintf(stderr, "byte %zu of the message: %s\n", i, err->text);
        expect(shown);
    }
    return false;
}

FuzzFile fuzz_file(void)
{
    FuzzFile file = { .fd = memfd_create("fuzz", 0) };
    expect(file.fd >= 0);
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

void fuzz_fill(const FuzzFile *file, const void *data, size_t bytes)
{
    expect(bytes == 0 || pwrite(file->fd, data, bytes, 0) == (ssize_t)bytes);
    expect(ftruncate(file->fd, (off_t)bytes) == 0);
}

static void remove_folder(void)
{
    char command[FUZZ_PATH + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s: cannot be removed\n", folder);
}

const char *fuzz_folder(void)
{
    if (*folder)
        return folder;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/lockstep-fuzz.XXXXXX", parent ? parent : "/tmp");
    expect(mkdtemp(folder));
    atexit(remove_folder);
    return folder;
}

void fuzz_link(const FuzzFile *file, const char *name)
{
    char path[2 * FUZZ_PATH];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    expect(symlink(file->path, path) == 0);
}

char *fuzz_text(const uint8_t *data, size_t bytes)
{
    char *text = mem_alloc(bytes + 1);
    if (bytes > 0)
        memcpy(text, data, bytes);
    return text;
}

uint8_t fuzz_byte(const uint8_t **data, size_t *bytes)
{
    if (*bytes == 0)
        return 0;
    *bytes -= 1;
    return *(*data)++;
}
