/* Weights as safetensors: a little-endian u64 with the header's length, a JSON header, raw float32
 * data (docs/formats.md). Other tools read these files, and this reader takes any file that holds
 * exactly the layout's tensors as F32. Not collective. */
#ifndef LOCKSTEP_WEIGHTS_H
#define LOCKSTEP_WEIGHTS_H

#include "lockstep/error.h"
#include "lockstep/layout.h"

#include <stdint.h>

typedef struct WeightsInfo {
    int64_t step;    /* steps done; -1: not recorded */
    uint64_t digest; /* layout digest of all tensors */
} WeightsInfo;

/* Digest of a whole arena (layout_digest over every block). */
uint64_t weights_digest(const Layout *layout, const float *arena);

/* Writes all tensors of `arena` in the layout's order to path, by way of path.tmp, fsync and
 * rename: the file under its name is always whole. */
bool weights_write(const char *path, const Layout *layout, const float *arena, int64_t step,
                   Err *err);

/* Fills `arena` from the file and `info` (may be NULL). Everything is checked against the layout
 * and the file's size before a float is read; a recorded digest must be that of the tensors. After
 * an error the arena's contents are undefined. The padding between tensors is not touched. */
bool weights_read(const char *path, const Layout *layout, float *arena, WeightsInfo *info,
                  Err *err);

#endif
