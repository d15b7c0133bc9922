/* Mean squared error: a sample's loss is the mean over its outputs, so that the mean over samples
 * is PyTorch's mean over all elements. */
#include "lockstep/cpu.h"
#include "lockstep/loss.h"

static Tally evaluate(const Loss *loss, const Pass *pass, const Batch *batch, const float *y,
                      float *dy)
{
    size_t F = (size_t)loss->outputs * (size_t)loss->rows, n = F * (size_t)pass->batch;
    float scale = (float)(2.0 / ((double)F * (double)pass->global_targets));
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        float difference = y[i] - batch->targets[i];
        sum += (double)difference * (double)difference;
        if (dy)
            dy[i] = scale * difference;
    }
    return (Tally){ .loss = sum / (double)F, .count = pass->batch };
}

extern const LossType ISA_NAME(loss_mse);
const LossType ISA_NAME(loss_mse) = {
    .name = "mse",
    .help = "mean squared error, for targets that are numbers",
    .formula = "l = mean over outputs of (y - t)^2",
    .options = layer_no_options,
    .evaluate = evaluate,
};
