/* What the files that write and read checkpoints share. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_CHECKPOINT_PARTS_H
#define LOCKSTEP_TRAIN_CHECKPOINT_PARTS_H

#include "lockstep/checkpoint.h"

#include <jansson.h>

#define CHECKPOINT_PATH 4096

/* ---- tensor_file.c: safetensors files of any content ---- */

#define TENSOR_MAX_DIMS 8

typedef struct TensorEntry {
    const char *name; /* borrowed from the header */
    const char *type; /* "F32"; borrowed */
    size_t item;      /* bytes of an element */
    int ndim;
    int64_t shape[TENSOR_MAX_DIMS];
    uint64_t total;      /* elements */
    uint64_t begin, end; /* bytes from the start of the data */
} TensorEntry;

typedef struct TensorFile {
    char *path; /* owned */
    int fd;
    uint64_t bytes, data_start; /* of the file; where its data begin */
    uint64_t header_digest;     /* XXH3 of everything before the data */
    json_t *header;
    TensorEntry *entries; /* in the order of their data */
    size_t count;
} TensorFile;

/* Checks the header against the file's size: every type, shape and offset, and that the tensors
 * cover the data without overlap, gap or rest. Messages begin with the path. After an error there
 * is nothing to close. */
bool tensor_file_open(TensorFile *file, const char *path, Err *err);
void tensor_file_close(TensorFile *file);
const TensorEntry *tensor_file_find(const TensorFile *file, const char *name); /* or NULL */

/* Elements [first, first + count) of an entry. */
bool tensor_file_read(const TensorFile *file, const TensorEntry *entry, uint64_t first,
                      uint64_t count, void *out, Err *err);

/* "F32" -> 4; 0: not a type of the format. */
size_t tensor_type_bytes(const char *type);

/* The digest of a tensor: XXH3-64 of each run of 4,096 elements, seeded with the run's number, all
 * of them XORed. So whoever holds some of the runs knows its part of it. `first` is a multiple of
 * 4,096. */
#define DIGEST_RUN 4096
uint64_t tensor_digest(const void *data, size_t item, uint64_t first, uint64_t count);

/* Of a whole entry, read in pieces. */
bool tensor_file_digest(const TensorFile *file, const TensorEntry *entry, uint64_t *digest,
                        Err *err);

/* ---- checkpoint_pieces.c: what a trainer saves ---- */

#define PROBE_PREFIX "probe/" /* of names that only probes know */
enum { FILE_MODEL, FILE_OPTIMIZER, CHECKPOINT_FILES };
extern const char *const checkpoint_files[CHECKPOINT_FILES];

/* A tensor of a checkpoint, the same list on every rank; of each a rank holds some elements, none
 * or all. Of what several ranks hold, each writes its share. */
typedef struct Piece {
    char name[192];
    const char *type; /* of the format */
    size_t item;      /* bytes of an element */
    int file;
    int ndim;
    int64_t shape[LAYOUT_MAX_DIMS];
    uint64_t total, first, count; /* elements; what this rank holds */
    uint64_t mine_first, mine;    /* elements; what this rank writes of that */
    bool replicated;              /* every rank holds all of it */
    bool single;                  /* one rank holds all of it, the others nothing */
    bool optional;                /* may be missing in a file: another session's probes */
    char *data;                   /* borrowed: element `first` */
    uint64_t offset;              /* bytes from the start of its file's data */
} Piece;

typedef struct Pieces {
    Piece *piece;
    size_t count, capacity;
    uint64_t data_bytes[CHECKPOINT_FILES];
    size_t mine; /* bytes that this rank writes */
} Pieces;

/* Of a trainer that has done so many steps: lanes with weights of their own are saved once they
 * have parted. */
void pieces_collect(Pieces *pieces, Trainer *trainer, int64_t done);
void pieces_free(Pieces *pieces);

/* The first element that this rank writes. */
char *piece_mine(const Piece *piece);

/* All that comes before the data of a file: length, JSON, blanks up to a multiple of 8. Freed with
 * mem_free. */
char *pieces_header(const Pieces *pieces, int file, int64_t step, uint64_t digest, size_t *bytes);

/* ---- checkpoint_state.c: state.json ---- */

typedef struct CheckpointState {
    json_t *root; /* owned; everything else is read from it */
    int64_t step, samples, number;
    uint64_t digest, trajectory;
    Tally epoch_tally;
    History history;
    Recovery recovery;
    const char *config; /* resolved, as YAML; borrowed */
} CheckpointState;

/* One line of text about the program and the CPU that settings do not say and bits depend on. */
typedef struct Identity {
    const char *key;
    char value[64];
} Identity;
enum { IDENTITIES = 5 };
void state_identity(const Trainer *trainer, Identity identity[IDENTITIES]);

/* Where the trainer stands now, without the files. */
json_t *state_root(const Trainer *trainer, int64_t number);

/* The whole file with its checksum, mem_alloc'ed; adds the files to root. `digests`: of every
 * piece. */
char *state_text(json_t *root, const Pieces *pieces, const uint64_t *digests, char *const headers[],
                 const size_t *header_bytes, size_t *bytes);

/* Checks checksum and fields. `path` is for messages. After an error there is nothing to free. */
bool state_parse(CheckpointState *state, const char *path, const char *text, size_t bytes,
                 Err *err);
void state_free(CheckpointState *state);
bool state_read(CheckpointState *state, const char *folder, Err *err);

/* What is recorded about file `name`: NULL if nothing is. */
const json_t *state_file(const CheckpointState *state, const char *name);
bool state_hex(const json_t *object, const char *key, uint64_t *value);

/* ---- checkpoint_folder.c ---- */

/* Steps of the checkpoints in RUN/ckpt, newest first; mem_alloc'ed. Temporary folders are not
 * among them. */
int64_t *checkpoint_list(const char *run, size_t *count);
char *checkpoint_path(char path[CHECKPOINT_PATH], const char *run, int64_t step);

/* Everything in a checkpoint against its digests. Messages name the file. */
bool checkpoint_verify(const char *folder, CheckpointState *state, Err *err);

/* Moves a folder aside and empties it, so that a half-removed one is not taken for a whole one. */
bool checkpoint_remove(const char *folder, Err *err);

/* Removes what interrupted writers have left behind; with `unused` also what was set aside. */
void checkpoint_clean(const char *run, bool unused);

/* Of a run that goes on from `step`, what lies beyond it: damaged ones, and those of a future that
 * will not be. They are kept under another name. */
void checkpoint_set_aside(const char *run, int64_t step);

/* The files `latest` and `best` hold a checkpoint's name; -1: there is none. */
bool pointer_write(const char *run, const char *pointer, int64_t step, Err *err);
int64_t pointer_read(const char *run, const char *pointer);

/* Removes what checkpoint.keep, keep_every and `best` do not keep. With a plan, as many
 * of those that were due by checkpoint.every stay whatever else there is: a rollback goes back to
 * one of them. */
void checkpoint_prune(const char *run, const CheckpointSettings *settings, const BatchPlan *plan);

bool folder_sync(const char *path, Err *err);

/* ---- checkpoint_write.c ---- */

/* The trainer stands where this checkpoint has left it: no need to write it again. */
void checkpointer_resumed(Checkpointer *checkpointer, int64_t step);

/* ---- checkpoint_changes.c ---- */

/* Differences between the checkpoint's settings, data and machine and the trainer's that change
 * the trajectory and are not in `allow`: false, and err lists them. */
bool changes_check(const Trainer *trainer, const CheckpointState *state, const char *allow,
                   Err *err);

#endif
