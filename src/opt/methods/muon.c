/* Muon: momentum whose matrix is replaced by the nearest (nearly) orthogonal one, by five steps of
 * a Newton-Schulz iteration that are all matrix products. Jordan et al. 2024. Kernels are matrices
 * (out, in * kh * kw). Tensors of one dimension, and whatever a group takes away (embeddings, the
 * last layer), are for AdamW: here an AdamW with rates of its own is built in for the former. The
 * iteration runs in fp32; the original's is in bf16. */
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"
#include "lockstep/matmul.h"
#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

#include <math.h>
#include <string.h>

typedef struct MuonOptions {
    double momentum, eps, aux_lr, aux_beta1, aux_beta2, aux_eps;
    int64_t steps;
    bool nesterov;
    int scale;
} MuonOptions;

enum { SCALE_MATRIX, SCALE_LAST_DIMS, SCALE_RMS, SCALE_NONE };

static const Option options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(MuonOptions, momentum), 0, 0.9999999, NULL, "0.95",
      "decay of the mean of gradients" },
    { "nesterov", OPTION_BOOL, OPTION_AT(MuonOptions, nesterov), 0, 0, NULL, "true",
      "orthogonalise (1 - momentum) g + momentum m instead of m" },
    { "steps", OPTION_INT, OPTION_AT(MuonOptions, steps), 1, 100, NULL, "5",
      "Newton-Schulz iterations" },
    { "eps", OPTION_FLOAT, OPTION_AT(MuonOptions, eps), 1e-30, 1, NULL, "1e-7",
      "added to the norm that the matrix is divided by at first" },
    { "scale", OPTION_CHOICE, OPTION_AT(MuonOptions, scale), 0, 0, "matrix|last_dims|rms|none",
      "matrix",
      "the step is multiplied by sqrt(max(1, rows / columns)) of the matrix, or of the tensor's "
      "last two dimensions (the official program: 1 for square kernels), or by 0.2 "
      "sqrt(max(rows, columns)) (Moonlight: AdamW's lr and weight_decay fit)" },
    { "aux_lr", OPTION_FLOAT, OPTION_AT(MuonOptions, aux_lr), 0, 1e9, NULL, "0.0003",
      "lr of tensors of one dimension, by AdamW; the schedule multiplies it too" },
    { "aux_beta1", OPTION_FLOAT, OPTION_AT(MuonOptions, aux_beta1), 0, 0.9999999, NULL, "0.9",
      "their decay of the mean of gradients" },
    { "aux_beta2", OPTION_FLOAT, OPTION_AT(MuonOptions, aux_beta2), 0, 0.9999999, NULL, "0.95",
      "their decay of the mean of squared gradients" },
    { "aux_eps", OPTION_FLOAT, OPTION_AT(MuonOptions, aux_eps), 1e-30, 1, NULL, "1e-10",
      "added to the root of their corrected second moment" },
    OPTION_END,
};

typedef struct Matrix {
    int rows, columns, small; /* small: the smaller of both */
} Matrix;

static Matrix matrix_of(const LayoutTensor *shape)
{
    int rows = shape->shape[0], columns = (int)(shape->n / (size_t)rows);
    return (Matrix){ rows, columns, rows < columns ? rows : columns };
}

static size_t round_up(size_t n)
{
    return (n + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
}

static int buffers(const void *options_pointer, const LayoutTensor *shape, OptimizerBuffer *list)
{
    (void)options_pointer;
    list[0] = (OptimizerBuffer){ "square", BUFFER_FLOAT, shape->n };
    return shape->ndim < 2; /* of AdamW */
}

/* Two matrices, two small squares, what products want. */
static size_t scratch(const void *options_pointer, const LayoutTensor *shape)
{
    (void)options_pointer;
    Matrix m = matrix_of(shape);
    size_t square = round_up((size_t)m.small * (size_t)m.small);
    return sizeof(float) *
           (2 * shape->padded + 2 * square + round_up(matmul_scratch(m.columns, m.rows)));
}

static double cost(const void *options_pointer, const LayoutTensor *shape)
{
    const MuonOptions *o = options_pointer;
    Matrix m = matrix_of(shape);
    double small = m.small;
    return shape->ndim < 2
               ? 0
               : (double)o->steps * (4 * small * (double)shape->n + 2 * small * small * small);
}

/* ---- orthogonalisation ---- */

typedef struct Room {
    float *x, *y, *a, *b, *products;
} Room;

static Room room_in(const OptimizerTensor *t, Matrix m)
{
    size_t n = t->shape->padded, square = round_up((size_t)m.small * (size_t)m.small);
    float *x = t->scratch;
    return (Room){ x, x + n, x + 2 * n, x + 2 * n + square, x + 2 * n + 2 * square };
}

/* a (small, small) = x x^T of a wide x, x^T x of a tall one. */
static void gram(const Room *r, Matrix m)
{
    bool wide = m.rows <= m.columns;
    Matmul product = { .M = m.small,
                       .N = m.small,
                       .K = wide ? m.columns : m.rows,
                       .a = r->x,
                       .a_step = (size_t)m.columns,
                       .a_turned = !wide,
                       .b = r->x,
                       .b_step = (size_t)m.columns,
                       .b_turned = wide,
                       .c = r->a,
                       .c_step = (size_t)m.small };
    matmul(&product, r->products);
}

/* c += a b; a and b symmetric or as they are stored. */
static void add_product(const float *a, int rows, int inner, const float *b, int columns, float *c)
{
    Matmul product = { .M = rows,
                       .N = columns,
                       .K = inner,
                       .a = a,
                       .a_step = (size_t)inner,
                       .b = b,
                       .b_step = (size_t)columns,
                       .c = c,
                       .c_step = (size_t)columns,
                       .end = { .add = true } };
    matmul(&product, NULL);
}

/* X = 3.4445 X - 4.7750 (X X^T) X + 2.0315 (X X^T)^2 X, all singular values to about 1; returns
 * where the result is. */
static float *orthogonalise(const MuonOptions *o, Room r, Matrix m, size_t n)
{
    const float p1 = 3.4445f, p3 = -4.7750f, p5 = 2.0315f;
    size_t square = (size_t)m.small * (size_t)m.small;
    for (int64_t step = 0; step < o->steps; step++) {
        gram(&r, m);
        for (size_t i = 0; i < square; i++)
            r.b[i] = 0;
        add_product(r.a, m.small, m.small, r.a, m.small, r.b); /* b = a a */
        for (size_t i = 0; i < square; i++)
            r.b[i] = p3 * r.a[i] + p5 * r.b[i];
        for (size_t i = 0; i < n; i++)
            r.y[i] = p1 * r.x[i];
        if (m.rows <= m.columns)
            add_product(r.b, m.small, m.small, r.x, m.columns, r.y);
        else
            add_product(r.x, m.rows, m.small, r.b, m.small, r.y);
        float *swap = r.x;
        r.x = r.y;
        r.y = swap;
    }
    return r.x;
}

static double step_scale(const MuonOptions *o, const LayoutTensor *shape, Matrix m)
{
    double rows = m.rows, columns = m.columns;
    if (o->scale == SCALE_RMS)
        return 0.2 * sqrt(fmax(rows, columns));
    if (o->scale == SCALE_LAST_DIMS) {
        rows = shape->shape[shape->ndim - 2];
        columns = shape->shape[shape->ndim - 1];
    }
    return o->scale == SCALE_NONE ? 1 : sqrt(fmax(1, rows / columns));
}

static void update_matrix(const MuonOptions *o, const TensorStep *step, const OptimizerTensor *t)
{
    Matrix m = matrix_of(t->shape);
    Room room = room_in(t, m);
    float *restrict mean = __builtin_assume_aligned(t->state[0], 64);
    float *restrict w = __builtin_assume_aligned(t->w, 64);
    const float *restrict g = __builtin_assume_aligned(t->g, 64);
    const double mu = optimizer_momentum(step, o->momentum);
    const float scale = (float)step->scale, keep = (float)mu, take = (float)(1 - mu);
    float *restrict x = room.x;
    for (size_t i = 0; i < t->shape->padded; i++) {
        float d = scale * g[i];
        mean[i] = keep * mean[i] + take * d;
        x[i] = o->nesterov ? take * d + keep * mean[i] : mean[i];
    }
    const float down = (float)(1 / (sqrt(kernels()->squares(x, t->shape->padded)) + o->eps));
    kernels()->scale(x, down, t->shape->padded);
    const float *u = orthogonalise(o, room, m, t->shape->n);
    const float move = (float)(step->lr * step_scale(o, t->shape, m));
    const float shrink = (float)(step->lr * step->weight_decay);
    for (size_t i = 0; i < t->shape->n; i++)
        w[i] = w[i] - shrink * w[i] - move * u[i];
}

/* ---- tensors of one dimension ---- */

enum { CONFIG_LR }; /* globals */

static void begin(const void *options_pointer, MethodStep *step)
{
    (void)options_pointer;
    step->scalars[CONFIG_LR] = step->base_lr;
}

static void update_vector(const MuonOptions *o, const TensorStep *step, const OptimizerTensor *t)
{
    float *restrict m = t->state[0], *restrict v = t->buffer[0], *restrict w = t->w;
    const float *restrict g = t->g;
    const double config_lr = step->globals[CONFIG_LR];
    const double lr = config_lr > 0 ? step->lr / config_lr * o->aux_lr : 0;
    const float scale = (float)step->scale, shrink = (float)(lr * step->weight_decay);
    const float beta1 = (float)o->aux_beta1, gain1 = (float)(1 - o->aux_beta1);
    const float beta2 = (float)o->aux_beta2, gain2 = (float)(1 - o->aux_beta2);
    const float rate = (float)(lr / (1 - vmath_power(o->aux_beta1, step->t)));
    const float correction = (float)(1 / sqrt(1 - vmath_power(o->aux_beta2, step->t)));
    const float eps = (float)o->aux_eps;
    for (size_t i = 0; i < t->shape->n; i++) {
        float d = scale * g[i];
        m[i] = beta1 * m[i] + gain1 * d;
        v[i] = beta2 * v[i] + gain2 * d * d;
        w[i] = w[i] - shrink * w[i] - rate * m[i] / (sqrtf(v[i]) * correction + eps);
    }
}

static void update_tensor(const void *options_pointer, const TensorStep *step,
                          const OptimizerTensor *t)
{
    const MuonOptions *o = options_pointer;
    if (t->shape->ndim < 2)
        update_vector(o, step, t);
    else
        update_matrix(o, step, t);
}

extern const OptimizerType ISA_NAME(optimizer_muon);
const OptimizerType ISA_NAME(optimizer_muon) = {
    .name = "muon",
    .help =
        "momentum, orthogonalised, for matrices and kernels; AdamW for tensors of one dimension "
        "(lr 0.02, no weight_decay, no clip_norm)",
    .formula = "m = mu m + (1 - mu) g; u = (1 - mu) g + mu m; X = u / |u|; 5 times: A = X X^T, "
               "X = 3.4445 X + (-4.7750 A + 2.0315 A A) X; "
               "w -= lr (sqrt(max(1, rows / columns)) X + wd w)",
    .source = "Jordan et al. 2024",
    .options = options,
    .options_bytes = sizeof(MuonOptions),
    .states = 1,
    .state_names = { "mean" },
    .default_lr = 0.02,
    .clip_epsilon = 1e-6,
    .begin = begin,
    .update_tensor = update_tensor,
    .buffers = buffers,
    .scratch = scratch,
    .cost = cost,
};
