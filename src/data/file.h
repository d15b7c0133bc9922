/* A data file as a stream of bytes: plain, gzip or xz, told apart by the first bytes. Memory grows
 * with what really comes out of the stream, never with what a header promises. */
#ifndef LOCKSTEP_DATA_FILE_H
#define LOCKSTEP_DATA_FILE_H

#include "lockstep/error.h"

#include <stddef.h>
#include <stdint.h>

#define FILE_PATH 4096

typedef struct FileReader FileReader;

/* NULL and a message for anything but a readable regular file with something in it. */
FileReader *file_open(const char *path, Err *err);
void file_close(FileReader *file); /* NULL is fine */

/* Up to n bytes into `out`; *got < n only at the end of the file. Errors: a broken stream. */
bool file_take(FileReader *file, void *out, size_t n, size_t *got, Err *err);

/* Up to n bytes into new memory (mem_alloc'ed, owned by the caller, NULL after an error). */
bool file_take_new(FileReader *file, size_t n, uint8_t **data, size_t *got, Err *err);

/* Bytes that follow the ones taken so far: exact for a plain file; of a packed one only 1 (there is
 * more) or 0 is known. Reading to the end is also what checks a packed stream's check sum. */
bool file_rest(FileReader *file, size_t *bytes, bool *exact, Err *err);

/* The first of `names` (NULL-terminated) in `folder` that exists, as it is or with .gz or .xz at
 * its end, into `path` (FILE_PATH bytes). */
bool file_find(const char *folder, const char *const *names, char *path, Err *err);

#endif
