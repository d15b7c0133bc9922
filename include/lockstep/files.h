/* Paths and whole files, for those who write run and study folders. */
#ifndef LOCKSTEP_FILES_H
#define LOCKSTEP_FILES_H

#include "lockstep/error.h"

#include <stddef.h>

/* "folder/name", mem_alloc'ed. */
char *path_join(const char *folder, const char *name);

/* The folder and all above it that are missing. Fine if it is there. */
bool folder_make(const char *path, Err *err);

/* Replaces the file by way of path.tmp, fsync and rename: whole or not at all. */
bool file_replace(const char *path, const void *data, size_t bytes, Err *err);

/* A text file of at most `limit` bytes, NUL-terminated, mem_alloc'ed. The message begins with
 * path. */
bool file_text(const char *path, size_t limit, char **text, size_t *bytes, Err *err);

#endif
