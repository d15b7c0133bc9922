/* What the files of the probes share: probes.c has the memory, probes_step.c
 * measures, probes_record.c makes numbers of it. */
#ifndef LOCKSTEP_TRAIN_PROBES_PARTS_H
#define LOCKSTEP_TRAIN_PROBES_PARTS_H

#include "probes.h"

#include "lockstep/noise.h"

/* Sums over a block, completed over ranks: before the update w, w0 the start values, g as the
 * optimizer takes it, u what the update adds to w; g' and u' of the step before. */
typedef enum ProbeSum {
    SUM_WW, /* |w|^2 */
    SUM_UU, /* |u|^2 */
    SUM_GG, /* |g|^2 */
    SUM_DD, /* |w + u - w0|^2 */
    SUM_GD, /* g (w - w0) */
    SUM_UU_BEFORE,
    SUM_GG_BEFORE,
    SUM_U_U, /* u u' */
    SUM_G_G, /* g g' */
    PROBE_SUMS
} ProbeSum;

typedef struct BlockSums {
    double of[PROBE_SUMS];
} BlockSums;

#define PROBE_ROWS 16   /* quantities of a tensor, at most */
#define PROBE_VALUES 32 /* of a record, at most */

/* What a checkpoint keeps beside arenas; all doubles. */
typedef struct ProbeState {
    double captured;   /* steps done when last_update and last_gradient were kept; 0: never */
    double start[2];   /* digest of the start values, high and low half */
    NoiseMean noise[]; /* (tensors + 1): the last is of all tensors */
} ProbeState;

struct Probes {
    const ProbeSettings *settings;
    bool due, captures; /* this step is probed; the next is, and wants this one's update */
    bool follows;       /* the last step's update and gradient are kept */
    bool lanes;         /* gradients of lanes are being measured */
    int lane;           /* under way */
    int *nodes;      /* (tensors): when its gradient is final, where lanes travel early; or NULL */
    bool *seen;      /* (tensors): of this lane */
    double *lane_sq; /* (lanes, tensors): |h|^2, h a lane's share of the mean gradient */
    bool blocks;     /* blocks are looked at in probed steps */
    size_t before_floats;
    float *before;                      /* w of a block, or of a tensor that is never cut */
    float *scratch;                     /* (LAYOUT_BLOCK) */
    float *start;                       /* w0 of the slice; or NULL */
    bool start_known;                   /* and it is where the run began */
    double start_digest[2];             /* as in ProbeState */
    float *last_update, *last_gradient; /* of the slice; or NULL */
    BlockSums *sums;                    /* (blocks) */
    bool *invariant;                    /* (tensors): without a scale */
    ProbeState *state;
    size_t state_values;
    void (*updated)(void *listener, LayoutBlock block); /* who else listens */
    void *listener;
    double inside; /* seconds spent in the optimizer's pass */
    int64_t count;
    size_t bytes;
    ProbeRecord record;
    ProbeValue values[PROBE_VALUES];
    ProbeRow *rows; /* (tensors, PROBE_ROWS) */
};

static inline bool is_probed(const Layout *layout, int tensor)
{
    return !(layout->tensors[tensor].flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN));
}

/* The record of the step that is done, from sums that are complete on every rank. */
void probes_make_record(Trainer *trainer);

#endif
