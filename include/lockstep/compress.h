/* Compressed gradients with error feedback (docs/compression.md). What a lane sends is less than
 * its gradient; what is left out stays in the lane's error memory and is added to its next
 * gradient:
 *
 *   m = gradient + error        of one lane
 *   sent = decode(encode(m))    the lane tree adds these, whoever computed the lane and wherever
 *   error = m - sent
 *
 * Errors belong to lanes, not to ranks, so nothing depends on ranks and hosts. Between hosts the
 * encoded gradient of every lane travels; on a host nothing does.
 *
 * A compressor is one file in src/comm/compress and one line in src/comm/compressors.def. Running
 * statistics and small tensors travel whole. */
#ifndef LOCKSTEP_COMPRESS_H
#define LOCKSTEP_COMPRESS_H

#include "lockstep/comm.h"
#include "lockstep/config.h"

typedef struct Compressor {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;

    /* Bytes of an encoded tensor of n values; n values at m are encoded, and what is left out stays
     * in m; values [first, first + n) of the tensor, decoded. NULL: the compressor needs all lanes
     * at once (low_rank.h). */
    size_t (*bytes)(const void *options, size_t n);
    void (*encode)(const void *options, size_t n, float *m, void *code);
    void (*decode)(const void *options, size_t size, const void *code, size_t first, size_t n,
                   float *y);
    int (*rank)(const void *options); /* of a low-rank compressor */
} Compressor;

typedef struct Compression {
    const Compressor *type; /* NULL: none */
    void *options;
    int64_t whole; /* tensors of fewer values travel as they are */
    uint64_t seed;
} Compression;

const Compressor *compressor_find(const char *name);
const Compressor *const *compressor_all(int *count);
extern const Option compression_common_options[]; /* {type, whole} */

/* Reads {type: ..., options} or just a compressor's name; NULL or null: none. */
bool compression_init(Compression *compression, const Config *config, ConfigNode *node,
                      uint64_t seed, Err *err);
void compression_free(Compression *compression);

/* For the reducers that are made from now on; borrowed; NULL: none. All ranks alike. */
void comm_set_compression(Comm *comm, const Compression *compression);

#endif
