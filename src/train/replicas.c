/* The replica check, and what it says when it fails: the tensor, the rank, both digests, and
 * whether the optimizer's state has gone astray as well. */
#include "replicas.h"
#include "checkpoint_parts.h"

#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define FLIPPED UINT32_C(0x400000) /* the highest bit of a float's fraction */

/* What a rank says of its host's, or its own, copy of the weights. */
typedef struct Copy {
    uint64_t written, now; /* digests: when they were written, and as they lie in memory */
} Copy;

struct Replicas {
    Copy *copies;   /* (ranks) */
    size_t *bounds; /* (ranks + 1): 0, 1, 2, ... */
    uint64_t *now;  /* (blocks): digests of the weights as they lie in memory */
    int flip_tensor;
    double seconds; /* that the checks have taken */
    int64_t checks;
};

bool replicas_init(Trainer *t, Err *err)
{
    const CommSettings *s = &t->settings->comm;
    const Layout *layout = &t->model.layout;
    size_t ranks = (size_t)comm_size(t->comm);
    Replicas *r = t->replicas = mem_new(Replicas);
    r->copies = mem_array(Copy, ranks);
    r->bounds = mem_array(size_t, ranks + 1);
    r->now = mem_array(uint64_t, layout->blocks);
    for (size_t rank = 0; rank <= ranks; rank++)
        r->bounds[rank] = rank;
    if (s->inject_flip_rank < 0)
        return true;
    if (s->inject_flip_rank >= comm_size(t->comm))
        return err_set(err, "comm.inject_flip_rank: %d found, there are %d ranks",
                       s->inject_flip_rank, comm_size(t->comm));
    r->flip_tensor = *s->inject_flip_tensor ? layout_find(layout, s->inject_flip_tensor) : 0;
    return r->flip_tensor >= 0 ||
           err_set(err, "comm.inject_flip_tensor: there is no tensor %s", s->inject_flip_tensor);
}

void replicas_free(Replicas *r)
{
    if (!r)
        return;
    mem_free(r->copies);
    mem_free(r->bounds);
    mem_free(r->now);
    mem_free(r);
}

bool replicas_reported(const Trainer *t)
{
    bool same = true;
    for (int lane = 0; lane < t->lanes.count; lane++)
        same = same && t->reports[lane].digest == t->reports[0].digest;
    return same || t->settings->comm.check_every.value <= 0;
}

bool replicas_due(const Trainer *t)
{
    return batch_plan_due(&t->loader.plan, t->step, t->settings->comm.check_every);
}

void replicas_inject(Trainer *t)
{
    const CommSettings *s = &t->settings->comm;
    if (s->inject_flip_rank < 0 || t->step != s->inject_flip_step)
        return;
    const LayoutTensor *tensor = &t->model.layout.tensors[t->replicas->flip_tensor];
    if (comm_rank(t->comm) == s->inject_flip_rank) {
        float *w = t->w + tensor->offset + tensor->n / 2;
        uint32_t bits;
        memcpy(&bits, w, sizeof bits);
        bits ^= FLIPPED;
        memcpy(w, &bits, sizeof bits);
    }
    comm_barrier(t->comm); /* nobody reads it before it is wrong */
}

/* ---- which copy, which tensor ---- */

static bool is_replicated(const Trainer *t)
{
    return t->settings->comm.update == UPDATE_REPLICATED;
}

/* Ranks of a host, or of a domain, share one copy, if they may share memory; else everybody has
 * one. Copies go by the number of their first rank. */
static int copy_of(const Trainer *t, int rank)
{
    bool shared = t->shared || (t->group != t->comm && !is_replicated(t));
    return shared ? t->first_ranks[rank] : rank;
}

/* Has each copy an optimizer's state? Where the update is shared out over all ranks, there is
 * one. */
static bool has_states(const Trainer *t)
{
    return t->group != t->comm || is_replicated(t);
}

/* The first rank of its copy speaks for it. */
static bool speaks(const Trainer *t, int rank)
{
    for (int other = 0; other < rank; other++)
        if (copy_of(t, other) == copy_of(t, rank))
            return false;
    return true;
}

/* The rank whose copy is as most are; the lowest such rank. */
static int usual_rank(const Trainer *t)
{
    const Copy *copies = t->replicas->copies;
    int ranks = comm_size(t->comm), best = 0, most = 0;
    for (int rank = 0; rank < ranks; rank++) {
        int votes = 0;
        for (int other = 0; other < ranks; other++)
            votes += speaks(t, other) && copies[other].written == copies[rank].written;
        if (votes > most) {
            best = rank;
            most = votes;
        }
    }
    return best;
}

/* The one to be named: its copy has changed in memory, or else is not as most are. -1: none. */
static int wrong_rank(const Trainer *t, int usual)
{
    const Copy *copies = t->replicas->copies;
    int ranks = comm_size(t->comm);
    for (int rank = 0; rank < ranks; rank++)
        if (copies[rank].now != copies[rank].written)
            return rank;
    for (int rank = 0; rank < ranks; rank++)
        if (copies[rank].written != copies[usual].written)
            return rank;
    return -1;
}

typedef struct Finding {
    char tensor[96], host[96];
    uint64_t found, wanted; /* digests of the tensor */
    int others;             /* tensors that differ as well */
    bool optimizer;         /* its state differs too */
    char state[192];        /* the first piece of it that does */
} Finding;

static uint64_t tensor_blocks(const LayoutTensor *tensor, const uint64_t *digests)
{
    return XXH3_64bits(digests + tensor->first_block, (size_t)tensor->blocks * sizeof *digests);
}

/* The first tensor, in the order of the arena, whose block digests differ. */
static Finding compare_blocks(const Layout *layout, const uint64_t *found, const uint64_t *wanted)
{
    Finding finding = { .others = -1 };
    for (int i = 0; i < layout->count; i++) {
        const LayoutTensor *tensor = &layout->tensors[i];
        uint64_t a = tensor_blocks(tensor, found), b = tensor_blocks(tensor, wanted);
        if (a == b)
            continue;
        if (finding.others++ < 0) {
            snprintf(finding.tensor, sizeof finding.tensor, "%s", tensor->name);
            finding.found = a;
            finding.wanted = b;
        }
    }
    return finding;
}

/* Digest of each piece, as far as this rank holds it. */
static uint64_t *piece_digests(const Pieces *pieces)
{
    uint64_t *digests = mem_array(uint64_t, pieces->count);
    for (size_t i = 0; i < pieces->count; i++) {
        const Piece *piece = &pieces->piece[i];
        if (piece->count > 0)
            digests[i] = tensor_digest(piece->data, piece->item, piece->first, piece->count);
    }
    return digests;
}

/* Of piece `index`, on the copy of `rank`: of what its ranks hold, each once. all: (ranks,
 * count). */
static uint64_t copy_digest(const Trainer *t, const Pieces *pieces, const uint64_t *all, int rank,
                            size_t index)
{
    uint64_t digest = 0;
    if (pieces->piece[index].replicated)
        return all[(size_t)rank * pieces->count + index];
    for (int other = 0; other < comm_size(t->comm); other++)
        if (copy_of(t, other) == copy_of(t, rank))
            digest ^= all[(size_t)other * pieces->count + index];
    return digest;
}

/* Rank 0 learns whether the optimizer's states of two copies differ. Collective. */
static void compare_state(Trainer *t, int wrong, int usual, Finding *finding)
{
    if (copy_of(t, wrong) == copy_of(t, usual) || !has_states(t))
        return;
    Pieces pieces;
    pieces_collect(&pieces, t, t->step);
    uint64_t *mine = piece_digests(&pieces), *all = NULL;
    size_t ranks = (size_t)comm_size(t->comm), count = pieces.count;
    if (comm_rank(t->comm) == 0)
        all = mem_array(uint64_t, ranks * count);
    comm_gather(t->comm, mine, all, count * sizeof *mine);
    for (size_t i = 0; all && i < count && !finding->optimizer; i++)
        if (pieces.piece[i].file == FILE_OPTIMIZER && !pieces.piece[i].single &&
            copy_digest(t, &pieces, all, wrong, i) != copy_digest(t, &pieces, all, usual, i)) {
            finding->optimizer = true;
            snprintf(finding->state, sizeof finding->state, "%s", pieces.piece[i].name);
        }
    mem_free(all);
    mem_free(mine);
    pieces_free(&pieces);
}

/* ---- the message ---- */

static const char *state_says(const Trainer *t, const Finding *finding, int wrong, int usual)
{
    if (finding->optimizer)
        return "; the optimizer's state differs as well, first in ";
    bool compared = copy_of(t, wrong) != copy_of(t, usual) && has_states(t);
    return compared ? "; the optimizer's state is the same" : "";
}

static void describe(const Trainer *t, const Finding *finding, int wrong, int usual, Err *err)
{
    const Copy *copy = &t->replicas->copies[wrong];
    char *text = err->text;
    size_t size = sizeof err->text;
    bool memory = copy->now != copy->written;
    text[0] = '\0';
    if (memory)
        text_append(text, size,
                    "after step %lld weights have changed in memory: ", (long long)t->step);
    else
        text_append(text, size, "replicas differ after step %lld: ", (long long)t->step);
    text_append(text, size, "tensor %s on rank %d (host %d, %s): digest %016llx, ", finding->tensor,
                wrong, comm_host_index(t->comm, wrong), finding->host,
                (unsigned long long)finding->found);
    if (memory)
        text_append(text, size, "%016llx when it was written", (unsigned long long)finding->wanted);
    else
        text_append(text, size, "%016llx on rank %d (host %d)", (unsigned long long)finding->wanted,
                    usual, comm_host_index(t->comm, usual));
    if (finding->others > 0)
        text_append(text, size, "; %d more tensors differ", finding->others);
    text_append(text, size,
                "%s%s; no checkpoint of these weights was written: --resume goes on "
                "from the newest",
                state_says(t, finding, wrong, usual), finding->state);
}

/* Rank 0 learns all there is to say. Collective. */
static void explain(Trainer *t, int usual, int wrong, Err *err)
{
    Replicas *r = t->replicas;
    const Layout *layout = &t->model.layout;
    bool memory = r->copies[wrong].now != r->copies[wrong].written;
    Finding finding = { .others = 0 };
    if (memory)
        finding = compare_blocks(layout, r->now, t->digests);
    else { /* the usual digests, for all to compare */
        if (comm_rank(t->comm) == usual)
            memcpy(r->now, t->digests, (size_t)layout->blocks * sizeof *r->now);
        comm_broadcast(t->comm, r->now, (size_t)layout->blocks * sizeof *r->now, usual);
        finding = compare_blocks(layout, t->digests, r->now);
    }
    snprintf(finding.host, sizeof finding.host, "%.90s", comm_host(t->comm));
    comm_broadcast(t->comm, &finding, sizeof finding, wrong);
    compare_state(t, wrong, usual, &finding);
    describe(t, &finding, wrong, usual, err);
}

/* ---- the check ---- */

/* Of the weights as they lie in memory: each rank reads its share of a common copy, or all of its
 * own. */
static uint64_t memory_digest(Trainer *t)
{
    const Layout *layout = &t->model.layout;
    uint64_t *now = t->replicas->now;
    Slice slice = t->shared ? t->slice : layout_blocks(layout, 0, layout->blocks);
    layout_block_digests(layout, slice, t->w, now);
    if (t->shared)
        exchange_complete(t->exchange, now, sizeof *now);
    return layout_digest(layout, now);
}

void replicas_check(Trainer *t, Run *run)
{
    Replicas *r = t->replicas;
    Err err;
    if (t->settings->comm.check_every.value <= 0)
        return;
    double start = clock_seconds();
    r->copies[comm_rank(t->comm)] = (Copy){ t->digest, memory_digest(t) };
    comm_allgather(t->comm, r->copies, r->bounds, sizeof *r->copies);
    r->seconds += clock_seconds() - start;
    r->checks++;
    int usual = usual_rank(t), wrong = wrong_rank(t, usual);
    if (wrong < 0)
        return;
    explain(t, usual, wrong, &err);
    checkpointer_wait(t, run);
    die_all(EXIT_REPLICAS, "%s", err.text);
}

void replicas_say_cost(const Trainer *t)
{
    const Replicas *r = t->replicas;
    char each[32];
    if (r->checks > 0)
        log_verbose("replicas compared %lld times, %s each: %.3f %% of the time",
                    (long long)r->checks,
                    text_seconds(each, sizeof each, r->seconds / (double)r->checks),
                    100 * r->seconds / t->history.seconds);
}
