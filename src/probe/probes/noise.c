/* The simple noise scale of a whole set: how large a batch is until its gradient is more signal
 * than noise. */
#include "lockstep/probe.h"

typedef struct NoiseOptions {
    int64_t group;
} NoiseOptions;

static const Option options[] = {
    { "group", OPTION_INT, OPTION_AT(NoiseOptions, group), 1, 1 << 20, NULL, "1",
      "samples whose gradients are looked at together: 1, or up to a lane's for speed; divides the "
      "samples" },
    OPTION_END,
};

static bool run(Probe *probe, Err *err)
{
    const NoiseOptions *o = probe->options;
    if (!probe_check_group(probe, o->group, err))
        return false;
    SampleNoise noise = landscape_noise(&probe->landscape, (int)o->group);
    Findings *f = probe->findings;
    found(f, "gradient_squares", noise.gradient_squares, "|g|^2");
    found(f, "trace", noise.trace, "of the covariance of a sample's gradient");
    found(f, "noise_scale", noise.simple, "samples: trace / |g|^2");
    found(f, "noise_scale_unbiased", noise.unbiased, "samples: trace / (|g|^2 - trace / n)");
    return true;
}

extern const ProbeType probe_noise;
const ProbeType probe_noise = {
    .name = "noise",
    .help = "simple noise scale of the gradient over many samples",
    .formula = "B = tr C / |g|^2",
    .source = "McCandlish et al. 2018",
    .options = options,
    .options_bytes = sizeof(NoiseOptions),
    .samples = 4096,
    .run = run,
};
