/* Gradient centralisation (Yong et al. 2020): from each output's part of a weight's gradient, its
 * mean is taken away. Biases and gains stay as they are. With radam and lookahead it is Ranger. */
#include "../rows.h"
#include "lockstep/cpu.h"

typedef struct CentralizeOptions {
    bool conv_only;
} CentralizeOptions;

static const Option options[] = {
    { "conv_only", OPTION_BOOL, OPTION_AT(CentralizeOptions, conv_only), 0, 0, NULL, "false",
      "only tensors of more than two dimensions; false: of two and more" },
    OPTION_END,
};

static void gradient_tensor(const void *options_pointer, const TensorStep *step,
                            const OptimizerTensor *tensor, float *g)
{
    const CentralizeOptions *o = options_pointer;
    (void)step;
    if (tensor->shape->ndim < (o->conv_only ? 3 : 2))
        return;
    size_t rows = row_count(tensor->shape), n = tensor->shape->n / rows;
    for (size_t r = 0; r < rows; r++, g += n) {
        float mean = (float)(row_sum(g, n) / (double)n);
        for (size_t i = 0; i < n; i++)
            g[i] -= mean;
    }
}

extern const WrapperType ISA_NAME(wrapper_centralize);
const WrapperType ISA_NAME(wrapper_centralize) = {
    .name = "centralize",
    .help = "gradient centralisation: each output's weights get a gradient of mean 0",
    .formula = "g[r] -= mean(g[r]) for every row r of a tensor of two and more dimensions",
    .source = "Yong et al. 2020",
    .options = options,
    .options_bytes = sizeof(CentralizeOptions),
    .gradient_tensor = gradient_tensor,
};
