/* A layer: one file in src/nn/layers, one line in src/nn/layers.def.
 *
 * Activations are float. A sample of shape (F) is stored as F floats, a sequence (T, F) as T rows
 * of F floats: layers that work on features see batch * shape_rows rows. An image (C, H, W) is
 * stored as nChw16c: (ceil(C/16), H, W, 16), channels of a block next to each other, missing
 * channels zero and kept zero by every layer. The batch is the outermost dimension. All pointers
 * are 64-byte aligned.
 *
 * Weights have the plain order a reader expects (dense (out, in), conv (OC, IC/groups, KH, KW));
 * layers pack what they need into their own memory when `begin_step` tells them that the weights
 * are new.
 *
 * Bits: forward and backward are pure functions of (weights, pass, x): the same for every rank
 * count. */
#ifndef LOCKSTEP_LAYER_H
#define LOCKSTEP_LAYER_H

#include "lockstep/batch.h"
#include "lockstep/config.h"
#include "lockstep/layout.h"
#include "lockstep/precision.h"

#define LAYER_MAX_TENSORS 6

/* relu, leaky_relu and maxpool are linear on either side of a kink. KEEP: they remember for every
 * value which side it is on; KEPT: they take those sides, whatever the values are now. So the
 * network is a smooth function around the weights of the pass that kept them, with the derivatives
 * that it has there. Only in networks that keep sides (ModelWish). */
typedef enum Sides { SIDES_OWN, SIDES_KEEP, SIDES_KEPT } Sides;

/* One lane's pass. */
typedef struct Pass {
    bool train;
    bool
        backward; /* an evaluation (not train) that a backward follows: layers keep what that needs,
                      statistics are the running ones and are taken as constants */
    bool steady;  /* a training pass that drops nothing at random */
    Sides sides;
    int batch;             /* B: samples of this micro-batch, >= 1 */
    uint64_t seed;         /* of the run */
    int64_t step;          /* 0-based optimizer step */
    int first_sample;      /* position of the lane's first sample in the global batch */
    int global_batch;      /* samples of the whole step */
    int lane_size;         /* samples of a full lane; first_sample is a multiple of it */
    const int32_t *tokens; /* (B, T) of this micro-batch, if the network's input is token ids */

    /* Targets of the whole step (batch.h), what the loss gradient is divided by: as many as samples
     * unless labels are per position or ignored. */
    int64_t global_targets;
} Pass;

/* Does a backward follow? Are values dropped at random? */
static inline bool pass_keeps(const Pass *pass)
{
    return pass->train || pass->backward;
}
static inline bool pass_drops(const Pass *pass)
{
    return pass->train && !pass->steady;
}

typedef struct Layer Layer;

/* How a tensor starts: `scheme` of initializer.h, or the layer's own constant. */
typedef struct LayerTensor {
    int index;               /* in the Layout */
    int fan_in, fan_out;     /* for the initialiser */
    const char *initializer; /* fixed ("zeros", "ones"), or NULL: the model's or layer's `init` */
    int groups;              /* output channels fall into so many independent groups; 0: one */
    bool frozen;             /* not trained: backward may leave its dw alone */
    bool tied;               /* an earlier layer's tensor (layer_share_tensor) */
    bool shared; /* a later layer is tied to it: dw holds that layer's part when backward is called,
                    to be added to; set by model_build */
    float *w, *dw; /* (padded) in the weight and gradient arenas; set by model_bind */
} LayerTensor;

/* Work of the nodes behind a layer that it does in its own pass while values are in registers, with
 * the bits they would have had: y = relu(f(x) + shortcut) or y = relu(f(x)) + shortcut, where f is
 * the layer by itself. The model sets add and relu before layer_allocate, the pointers before each
 * forward and backward. */
typedef enum Rectify {
    RECTIFY_NONE,
    RECTIFY_LAST, /* relu of all there is */
    RECTIFY_FIRST /* relu of f(x), then the shortcut is added */
} Rectify;

typedef struct LayerEpilogue {
    bool add;
    Rectify relu;
    const float *shortcut; /* forward, with add: shaped like y; may be y */
    const float *dy2;      /* backward: the gradient of y is dy + dy2; NULL: it is dy */
    float *dz; /* backward: a place for the gradient of f(x) + shortcut, shaped and stored like dy;
                  may be dy. Not NULL, and to be written, with dy2, with add and RECTIFY_LAST (the
                  shortcut's gradient), and with relu if the type masks_by_y. */
    struct Layer
        *pool; /* y is what this layer makes of f(x), and dy its gradient; or NULL. Not with
                           anything above. */
} LayerEpilogue;

/* Does y stay as it is when x is multiplied by a positive number (but for eps)? CHANNELS: also when
 * a number is added to a channel of it. */
typedef enum Normalizes { NORMALIZES_NOTHING, NORMALIZES_SAMPLES, NORMALIZES_CHANNELS } Normalizes;

typedef struct LayerType {
    const char *name;    /* "dense" */
    const char *help;    /* one line */
    const char *formula; /* "y = x W^T + b" */
    const char *source;  /* paper, or NULL */
    const Option *options;
    size_t options_bytes;

    /* Checks options against layer->in, sets layer->out, adds tensors to the layout
     * (layer_add_tensor), sets flops. The error says what the layer needs; the caller adds its name
     * and input shape. */
    bool (*plan)(Layer *layer, Layout *layout, Err *err);

    /* The lanes of the coming training have lane_size samples: checks what depends on it (a ghost
     * batch must divide a lane) and remembers it. After plan, before allocate; the caller adds the
     * layer's name. Not called: a lane is max_batch samples. NULL: nothing depends on it. */
    bool (*check_lane)(Layer *layer, int lane_size, Err *err);

    /* Allocates what the layer keeps (saved values, packed weights, scratch) for batches of up to
     * max_batch samples. NULL: nothing. Memory of layer->state is freed by `release`. */
    void (*allocate)(Layer *layer, int max_batch);
    void (*release)(Layer *layer);

    /* Floats that forward, backward and begin_step may use at layer->scratch. One buffer serves all
     * layers of a model, so nothing in it lives from one call to the next. NULL: none. */
    size_t (*scratch)(const Layer *layer, int max_batch);

    /* The weights are new: pack them. A step of global_batch samples follows (0: evaluation, -1:
     * evaluation with backward); a layer whose statistics decay depends on it sets
     * layout->tensors[...].keep. NULL: nothing to do. */
    void (*begin_step)(Layer *layer, Layout *layout, int global_batch);

    /* x -> y. `y` is not x unless in_place. */
    void (*forward)(Layer *layer, const Pass *pass, const float *x, float *y);

    /* dy -> dx (NULL for the first layer of a net: not wanted) and the layer's dw, which it
     * overwrites (=, not +=, unless the tensor is shared) completely, padding and frozen tensors
     * excluded. Not called if nothing in the layer or before it is trained; running statistics
     * count as trained. x and y are what forward saw and gave, NULL where the type does not keep
     * them. dx may be dy if in_place or dx_over_dy. */
    void (*backward)(Layer *layer, const Pass *pass, const float *x, const float *y,
                     const float *dy, float *dx);

    /* forward and backward of one plane (H, W, 16) of a batch of images, number `plane` of batch *
     * blocks, so that a layer with fuses_pool can hand over planes that are in the cache. NULL: it
     * has to be the whole batch. */
    void (*forward_plane)(const Layer *layer, size_t plane, const float *x, float *y);
    void (*backward_plane)(const Layer *layer, size_t plane, const float *dy, float *dx);

    bool in_place;   /* y may be x, and dx may be dy (element-wise, backward without x) */
    bool dx_over_dy; /* dx may be dy, and epilogue.dz */
    bool keep_x;     /* backward reads x */
    bool keep_y;     /* backward reads y */

    /* What the type takes over (LayerEpilogue). With add and RECTIFY_LAST, and with any relu if
     * masks_by_y, backward gets y as if it were kept: the gradient passes where y > 0. */
    bool fuses_add, fuses_relu, fuses_dy2, fuses_pool;
    bool masks_by_y;
    bool is_relu;       /* y = relu(x): neighbours may take it over */
    bool relu_commutes; /* relu(f(x)) = f(relu(x)), bit for bit */

    /* The input is token ids (pass->tokens; x is NULL and no data gradient is asked for), which
     * other types refuse; and whether a tensor of the type may be shared. */
    bool takes_tokens, shares;

    /* What model_scale_invariant goes by. */
    Normalizes normalizes;
    bool linear;      /* y = W x, and a bias if there is a second tensor; W is the first tensor */
    bool homogeneous; /* f(a x) = a f(x) for a > 0 */
} LayerType;

enum LayerTrainable { TRAINABLE_ALL, TRAINABLE_NONE, TRAINABLE_BIAS };

struct Layer {
    const LayerType *type;
    char name[64]; /* unique path, e.g. "block1.body.2.conv2d", or the config's `name` */
    int index;     /* number of the layer in the net: key of its random numbers */
    Shape in, out;
    void *options; /* type->options_bytes */
    LayerTensor tensors[LAYER_MAX_TENSORS];
    int tensor_count;
    double flops; /* forward, per sample, 2 per multiply-add */
    int max_batch;
    bool first;          /* no data gradient will be asked for */
    bool keeps_sides;    /* Pass.sides may be other than SIDES_OWN */
    Precision precision; /* of its matrix products; types without such products ignore it */
    LayerEpilogue epilogue;
    int tokens;       /* T of pass->tokens; 0: the network's input is not token ids */
    bool zero_init;   /* zero_gamma: this norm's gain starts at 0 (last norm of a residual body) */
    char *init;       /* initialiser asked for by this layer's config, or NULL; owned */
    int trainable;    /* which tensors are trained: enum LayerTrainable */
    double lr_factor; /* of its tensors */
    float *scratch;   /* of the model; see LayerType.scratch */
    float *own_scratch;       /* without a model; owned */
    void *state;              /* private to the type */
    size_t state_bytes_total; /* memory the layer keeps beside its options; set by allocate */
};

/* What a layer is created for. */
typedef struct LayerPlace {
    const char *name;
    int index;
    Shape in;
    bool first; /* no data gradient will be asked for */
    Precision precision;
    int tokens; /* T of pass->tokens; 0: the network's input is not token ids */
} LayerPlace;

/* A layer from its options (`node` may be a map, a scalar for the first option, or null for the
 * defaults): reads them, plans, adds its tensors to the layout. NULL and err if the options or the
 * shape do not fit. Freed with layer_free (NULL is fine). */
Layer *layer_create(const LayerType *type, const Config *config, ConfigNode *node,
                    const LayerPlace *place, Layout *layout, Err *err);
void layer_free(Layer *layer);

/* Everything a layer keeps, for batches of up to max_batch samples. `scratch`: see LayerType; NULL:
 * the layer gets a buffer of its own. Once, after the layout is sealed and lanes are checked. */
void layer_allocate(Layer *layer, int max_batch, float *scratch);

/* Does backward read y for a fused relu, and write epilogue.dz? Does it read y at all? */
bool layer_masks_by_y(const Layer *layer);
bool layer_keeps_y(const Layer *layer);

/* {name, init, trainable, lr_factor}: options that every layer has. name is read by the model. */
extern const Option layer_common_options[];
extern const Option layer_no_options[]; /* an empty table, for types without options */

/* Floats stored per sample (images padded to whole channel blocks), and the number of values. */
size_t shape_stored(Shape shape);
size_t shape_values(Shape shape);
char *shape_text(Shape shape, char *buffer, size_t size); /* "(64, 8, 8)" */
int shape_blocks(Shape shape);                            /* ceil(C / 16) of an image */
int shape_rows(Shape shape);     /* of a sample: T of a sequence, 1 of features */
int shape_features(Shape shape); /* F of features or of a sequence */
bool shape_equal(Shape a, Shape b);

/* One sample between plain (C, H, W) and stored (C/16, H, W, 16) order; missing channels are
 * written as zeros. Features are copied. */
void shape_pack(Shape shape, const float *plain, float *stored);
void shape_unpack(Shape shape, const float *stored, float *plain);

/* Adds "<layer>.<name>" to the layout; returns the index into layer->tensors. Trained tensors of
 * two and more dimensions get decay and adaptation, tensors of one dimension only what `flags`
 * says; a parameter that the layer's `trainable` leaves out is frozen. */
int layer_add_tensor(Layer *layer, Layout *layout, const char *name, int ndim, const int *shape,
                     unsigned flags, int fan_in, int fan_out, const char *initializer);

/* Makes an earlier layer's tensor, found by its full name ("tokens.weight"), one of this layer's
 * too: both work on the same weights, and their gradients are added. The shape must be (rows,
 * columns); the error names what was found. */
bool layer_share_tensor(Layer *layer, const Layout *layout, const char *name, int rows, int columns,
                        Err *err);

/* The registry, at the ISA level in use. */
const LayerType *layer_find(const char *name); /* NULL if there is none */
const LayerType *const *layer_all(int *count);

#endif
