/* A loss: one file in src/nn/losses, one line in src/nn/losses.def. */
#ifndef LOCKSTEP_LOSS_H
#define LOCKSTEP_LOSS_H

#include "lockstep/layer.h"

typedef struct Loss Loss;

typedef struct LossType {
    const char *name, *help, *formula, *source;
    const Option *options;
    size_t options_bytes;
    bool wants_labels; /* class numbers; otherwise targets of the output's shape */

    /* y (B, R, F) network outputs: B samples of `rows` rows. Returns sums over the targets. If dy
     * (B, R, F) is not NULL it is set to the gradient of (sum of the losses) /
     * pass->global_targets; dy may be y if in_place. Labels out of range are refused by data. */
    Tally (*evaluate)(const Loss *loss, const Pass *pass, const Batch *batch, const float *y,
                      float *dy);

    bool in_place;
} LossType;

struct Loss {
    const LossType *type;
    void *options;
    int rows;    /* R: positions per sample, 1 unless the output is a sequence */
    int outputs; /* F: classes or target values per row */
};

const LossType *loss_find(const char *name);
const LossType *const *loss_all(int *count);

extern const Option loss_common_options[]; /* {type}, for `lockstep list` */

/* Reads {type: ..., options} or just the type's name (NULL node: softmax_cross_entropy), for a
 * network with this output. */
bool loss_init(Loss *loss, const Config *config, ConfigNode *node, Shape output, Err *err);
void loss_free(Loss *loss);

#endif
