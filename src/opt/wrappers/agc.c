/* Adaptive gradient clipping (Brock et al. 2021): an output's gradient is at most a share of its
 * weights, norm against norm. Before clip_norm. A tensor of one dimension is one output. */
#include "../rows.h"
#include "lockstep/cpu.h"

#include <fnmatch.h>
#include <math.h>

typedef struct AgcOptions {
    double max, eps;
    char *skip;
} AgcOptions;

static const Option options[] = {
    { "max", OPTION_FLOAT, OPTION_AT(AgcOptions, max), 1e-30, 1e30, NULL, "0.01",
      "largest |g| / |w| of an output" },
    { "eps", OPTION_FLOAT, OPTION_AT(AgcOptions, eps), 1e-30, 1e30, NULL, "1e-3",
      "smallest |w|, so that weights of zero can move" },
    { "skip", OPTION_STRING, OPTION_AT(AgcOptions, skip), 0, 0, NULL, "",
      "tensors that are not clipped, a pattern with * and ?; the paper leaves out the last layer" },
    OPTION_END,
};

static void gradient_tensor(const void *options_pointer, const TensorStep *step,
                            const OptimizerTensor *tensor, float *g)
{
    const AgcOptions *o = options_pointer;
    const float *w = tensor->w;
    (void)step;
    if (*o->skip && fnmatch(o->skip, tensor->shape->name, 0) == 0)
        return;
    size_t rows = row_count(tensor->shape), n = tensor->shape->n / rows;
    for (size_t r = 0; r < rows; r++, g += n, w += n) {
        double norm = sqrt(row_squares(g, n));
        double most = o->max * fmax(sqrt(row_squares(w, n)), o->eps);
        if (norm <= most)
            continue;
        const float scale = (float)(most / norm);
        for (size_t i = 0; i < n; i++)
            g[i] *= scale;
    }
}

extern const WrapperType ISA_NAME(wrapper_agc);
const WrapperType ISA_NAME(wrapper_agc) = {
    .name = "agc",
    .help = "adaptive clipping: an output's gradient is at most a share of its weights",
    .formula = "g[r] *= min(1, max max(|w[r]|, eps) / |g[r]|) for every row r",
    .source = "Brock et al. 2021",
    .options = options,
    .options_bytes = sizeof(AgcOptions),
    .gradient_tensor = gradient_tensor,
};
