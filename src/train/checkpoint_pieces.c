/* What a trainer saves, as one list of tensors that is the same on every rank: the network's by
 * their plain names in one file, the optimizer's state in another. */
#include "checkpoint_parts.h"
#include "compression.h"
#include "local.h"
#include "probes.h"

#include "lockstep/memory.h"
#include "lockstep/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little-endian");

const char *const checkpoint_files[CHECKPOINT_FILES] = { "model.safetensors",
                                                         "optimizer.safetensors" };

static void add(Pieces *pieces, Piece piece)
{
    mem_grow(&pieces->piece, pieces->count, &pieces->capacity, sizeof piece);
    piece.item = tensor_type_bytes(piece.type);
    piece.offset = pieces->data_bytes[piece.file];
    pieces->data_bytes[piece.file] += piece.total * piece.item;
    pieces->piece[pieces->count++] = piece;
}

/* The part of a tensor that lies in the slice, of which `data` are the floats. */
static void set_part(Piece *piece, const LayoutTensor *tensor, Slice slice, float *data)
{
    size_t lo = slice.lo > tensor->offset ? slice.lo : tensor->offset;
    size_t end = tensor->offset + tensor->n, hi = slice.hi < end ? slice.hi : end;
    piece->total = tensor->n;
    if (lo >= hi)
        return;
    piece->first = lo - tensor->offset;
    piece->count = hi - lo;
    piece->data = (char *)(data + (lo - slice.lo));
}

static void set_shape(Piece *piece, const LayoutTensor *tensor)
{
    piece->ndim = tensor->ndim;
    for (int i = 0; i < tensor->ndim; i++)
        piece->shape[i] = tensor->shape[i];
}

static void add_model(Pieces *pieces, Trainer *t)
{
    for (int i = 0; i < t->model.layout.count; i++) {
        const LayoutTensor *tensor = &t->model.layout.tensors[i];
        Piece piece = { .type = "F32", .file = FILE_MODEL };
        snprintf(piece.name, sizeof piece.name, "%s", tensor->name);
        set_shape(&piece, tensor);
        set_part(&piece, tensor, t->slice, t->w + t->slice.lo);
        add(pieces, piece);
    }
}

/* Floats of a parameter have the parameter's shape, everything else is a row. */
static Piece state_piece(const Layout *layout, const OptimizerPiece *state)
{
    static const char *const types[] = {
        [BUFFER_FLOAT] = "F32", [BUFFER_DOUBLE] = "F64", [BUFFER_INT64] = "I64"
    };
    Piece piece = { .type = types[state->type],
                    .file = FILE_OPTIMIZER,
                    .ndim = 1,
                    .shape = { (int64_t)state->total },
                    .total = state->total,
                    .first = state->first,
                    .count = state->count,
                    .replicated = state->replicated,
                    .data = state->data };
    snprintf(piece.name, sizeof piece.name, "%s", state->name);
    if (state->type == BUFFER_FLOAT && state->tensor >= 0 &&
        layout->tensors[state->tensor].n == state->total)
        set_shape(&piece, &layout->tensors[state->tensor]);
    return piece;
}

static void add_optimizer(Pieces *pieces, Trainer *t)
{
    OptimizerPiece state;
    for (int i = 0; optimizer_piece(&t->optimizer, i, &state); i++)
        add(pieces, state_piece(&t->model.layout, &state));
}

/* What one rank has of a lane; the others know its name and shape. */
static void add_single(Pieces *pieces, Piece piece, int lane, const char *name, bool here)
{
    int length = snprintf(piece.name, sizeof piece.name, "lane%d/%s", lane, name);
    expect(length > 0 && (size_t)length < sizeof piece.name);
    piece.single = true;
    piece.replicated = false;
    piece.first = 0;
    piece.count = here ? piece.total : 0;
    piece.data = here ? piece.data : NULL;
    add(pieces, piece);
}

/* Weights and state of a lane that has its own. */
static void add_lane(Pieces *pieces, Trainer *t, int lane)
{
    const Layout *layout = &t->model.layout;
    float *w = local_lane_weights(t, lane);
    Optimizer *own = local_lane_optimizer(t, lane);
    OptimizerPiece state;
    for (int i = 0; i < layout->count; i++) {
        const LayoutTensor *tensor = &layout->tensors[i];
        Piece piece = { .type = "F32",
                        .file = FILE_OPTIMIZER,
                        .total = tensor->n,
                        .data = w ? (char *)(w + tensor->offset) : NULL };
        set_shape(&piece, tensor);
        add_single(pieces, piece, lane, tensor->name, w != NULL);
    }
    for (int i = 0; optimizer_piece(own ? own : &t->optimizer, i, &state); i++)
        add_single(pieces, state_piece(layout, &state), lane, state.name, own != NULL);
}

/* What a schedule has seen. */
static void add_schedule(Pieces *pieces, Trainer *t)
{
    Piece piece = { .name = "schedule/state",
                    .type = "F64",
                    .file = FILE_OPTIMIZER,
                    .ndim = 1,
                    .shape = { SCHEDULE_STATES },
                    .total = SCHEDULE_STATES,
                    .count = SCHEDULE_STATES,
                    .replicated = true,
                    .data = (char *)t->schedule.state.value };
    add(pieces, piece);
}

/* The scale of gradients in fp16, where it is found from step to step. */
static void add_wire(Pieces *pieces, Trainer *t)
{
    Piece piece = { .name = "wire/scale",
                    .type = "F64",
                    .file = FILE_OPTIMIZER,
                    .ndim = 1,
                    .shape = { 1 },
                    .total = 1,
                    .count = 1,
                    .replicated = true,
                    .data = (char *)&t->wire_scale };
    if (compression_scales(t))
        add(pieces, piece);
}

/* Error memories of lanes, and what else compressed gradients go on from. */
static void add_compression(Pieces *pieces, Trainer *t)
{
    ReducerState state;
    for (int i = 0; t->reducer && reducer_state(t->reducer, i, &state); i++) {
        Piece piece = { .type = "F32",
                        .file = FILE_OPTIMIZER,
                        .ndim = 1,
                        .shape = { (int64_t)state.n },
                        .total = state.n,
                        .count = state.data ? state.n : 0,
                        .replicated = state.everywhere,
                        .single = !state.everywhere,
                        .data = (char *)state.data };
        snprintf(piece.name, sizeof piece.name, "%s", state.name);
        add(pieces, piece);
    }
}

/* What probes of later steps go on from: scalars, and what was kept of the last step. */
static void add_probes(Pieces *pieces, Trainer *t, int64_t done)
{
    const Layout *layout = &t->model.layout;
    double *values;
    size_t count = probes_state(t, &values);
    const char *name;
    float *arena;
    Piece state = { .name = PROBE_PREFIX "state",
                    .type = "F64",
                    .file = FILE_OPTIMIZER,
                    .ndim = 1,
                    .shape = { (int64_t)count },
                    .total = count,
                    .count = count,
                    .replicated = true,
                    .optional = true,
                    .data = count > 0 ? (char *)values : NULL };
    if (count > 0)
        add(pieces, state);
    for (int k = 0; (arena = probes_arena(t, k, done, &name)) != NULL; k++)
        for (int i = 0; i < layout->count; i++) {
            const LayoutTensor *tensor = &layout->tensors[i];
            Piece piece = { .type = "F32", .file = FILE_OPTIMIZER, .optional = true };
            snprintf(piece.name, sizeof piece.name, PROBE_PREFIX "%s/%s", name, tensor->name);
            set_shape(&piece, tensor);
            set_part(&piece, tensor, t->slice, arena);
            add(pieces, piece);
        }
}

/* Whole runs of a digest, about as many for each rank, of what all ranks hold. */
static void set_share(Piece *piece, bool everywhere, int rank, int ranks)
{
    uint64_t runs = (piece->total + DIGEST_RUN - 1) / DIGEST_RUN;
    uint64_t from = runs * (uint64_t)rank / (uint64_t)ranks * DIGEST_RUN;
    uint64_t to = runs * (uint64_t)(rank + 1) / (uint64_t)ranks * DIGEST_RUN;
    piece->mine_first = everywhere ? from : piece->first;
    piece->mine = everywhere ? (to < piece->total ? to : piece->total) - from : piece->count;
}

char *piece_mine(const Piece *piece)
{
    return piece->mine > 0 ? piece->data + (piece->mine_first - piece->first) * piece->item : NULL;
}

/* Every host, or domain, holds everything once; the ranks of rank 0's write it. */
static bool group_writes(const Trainer *t)
{
    return t->group == t->comm || t->first_ranks[comm_rank(t->comm)] == 0;
}

void pieces_collect(Pieces *pieces, Trainer *t, int64_t done)
{
    bool everywhere = t->settings->comm.update == UPDATE_REPLICATED;
    *pieces = (Pieces){ 0 };
    add_model(pieces, t);
    add_optimizer(pieces, t);
    add_schedule(pieces, t);
    add_wire(pieces, t);
    add_compression(pieces, t);
    add_probes(pieces, t, done);
    for (int lane = 0; local_has_begun(t, done) && lane < t->lanes.count; lane++)
        add_lane(pieces, t, lane);
    for (size_t i = 0; i < pieces->count; i++) {
        Piece *piece = &pieces->piece[i];
        bool shared = !piece->single && (everywhere || piece->replicated);
        set_share(piece, shared, comm_rank(t->comm), comm_size(t->comm));
        if (!group_writes(t) && !shared && !piece->single)
            piece->mine = 0;
        pieces->mine += piece->mine * piece->item;
    }
}

void pieces_free(Pieces *pieces)
{
    mem_free(pieces->piece);
    *pieces = (Pieces){ 0 };
}

static json_t *piece_value(const Piece *piece)
{
    json_t *shape = json_array();
    for (int i = 0; i < piece->ndim; i++)
        json_array_append_new(shape, json_integer(piece->shape[i]));
    json_int_t begin = (json_int_t)piece->offset;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", piece->type, "shape", shape, "data_offsets",
                     begin, begin + (json_int_t)(piece->total * piece->item));
}

/* A digest is recorded where weights_read looks for that of the whole network. */
static json_t *metadata_value(int file, int64_t step, uint64_t digest)
{
    char step_text[24], digest_text[17];
    snprintf(step_text, sizeof step_text, "%lld", (long long)step);
    snprintf(digest_text, sizeof digest_text, "%016llx", (unsigned long long)digest);
    json_t *metadata = json_pack("{s:s, s:s}", "format", "lockstep", "step", step_text);
    if (file == FILE_MODEL)
        json_object_set_new(metadata, "digest", json_string(digest_text));
    json_object_set_new(metadata, "version", json_string(version_string()));
    return metadata;
}

char *pieces_header(const Pieces *pieces, int file, int64_t step, uint64_t digest, size_t *bytes)
{
    json_t *header = json_object();
    json_object_set_new(header, "__metadata__", metadata_value(file, step, digest));
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->piece[i].file == file)
            json_object_set_new(header, pieces->piece[i].name, piece_value(&pieces->piece[i]));
    char *json = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    expect(json);
    size_t length = strlen(json);
    uint64_t padded = (length + 7) / 8 * 8;
    *bytes = sizeof padded + padded;
    char *text = mem_alloc(*bytes);
    memcpy(text, &padded, sizeof padded);
    memcpy(text + sizeof padded, json, length);
    memset(text + sizeof padded + length, ' ', padded - length);
    free(json);
    return text;
}
