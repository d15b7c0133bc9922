/* global_avgpool: the mean of each channel over the whole image; (C, H, W) becomes features (C).
 * Lin et al. 2013, section 3.2 */
#include "../image.h"
#include "lockstep/cpu.h"

static const Option global_avgpool_options[] = { OPTION_END };

static bool plan(Layer *layer, Layout *layout, Err *err)
{
    (void)layout;
    if (layer->in.ndim != 3)
        return err_set(err, "it needs an image (C, H, W)");
    layer->out = (Shape){ .ndim = 1, .dim = { layer->in.dim[0], 1, 1 } };
    layer->flops = (double)shape_values(layer->in);
    return true;
}

/* One block of one sample: its plane in x, its features in y and how many there are. */
typedef struct BlockPlace {
    size_t plane, feature;
    int channels;
} BlockPlace;

static BlockPlace block_place(const Layer *layer, int sample, int block)
{
    size_t blocks = (size_t)shape_blocks(layer->in), C = (size_t)layer->in.dim[0];
    return (BlockPlace){
        .plane = ((size_t)sample * blocks + (size_t)block) * plane_floats(layer->in),
        .feature = (size_t)sample * C + (size_t)block * CHANNEL_BLOCK,
        .channels = least(CHANNEL_BLOCK, (int)C - block * CHANNEL_BLOCK),
    };
}

static void forward(Layer *layer, const Pass *pass, const float *x, float *y)
{
    size_t pixels = plane_floats(layer->in) / CHANNEL_BLOCK;
    for (int n = 0; n < pass->batch; n++)
        for (int block = 0; block < shape_blocks(layer->in); block++) {
            BlockPlace place = block_place(layer, n, block);
            double sum[CHANNEL_BLOCK] = { 0 };
            run_sum(x + place.plane, pixels, CHANNEL_BLOCK, CHANNEL_BLOCK, sum);
            for (int c = 0; c < place.channels; c++)
                y[place.feature + (size_t)c] = (float)(sum[c] / (double)pixels);
        }
}

static void backward(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx)
{
    (void)x;
    (void)y;
    if (!dx)
        return;
    size_t floats = plane_floats(layer->in);
    float share = 1 / (float)(floats / CHANNEL_BLOCK);
    for (int n = 0; n < pass->batch; n++)
        for (int block = 0; block < shape_blocks(layer->in); block++) {
            BlockPlace place = block_place(layer, n, block);
            float pixel[CHANNEL_BLOCK] = { 0 };
            for (int c = 0; c < place.channels; c++)
                pixel[c] = dy[place.feature + (size_t)c] * share;
            for (size_t i = 0; i < floats; i += CHANNEL_BLOCK)
                memcpy(dx + place.plane + i, pixel, sizeof pixel);
        }
}

extern const LayerType ISA_NAME(layer_global_avgpool);
const LayerType ISA_NAME(layer_global_avgpool) = {
    .name = "global_avgpool",
    .help = "mean of each channel over the whole image",
    .formula = "y[c] = mean over h, w of x[c, h, w]",
    .source = "Lin et al. 2013",
    .options = global_avgpool_options,
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .homogeneous = true,
};
