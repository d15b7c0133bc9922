/* Shampoo: every dimension of a tensor has a preconditioner, the inverse root of the mean of G G^T
 * along it. Gupta et al. 2018, with an exponential mean, grafting and exponent -1 / (2 k), k the
 * number of preconditioned dimensions, as in Anil et al. 2020 (Distributed Shampoo). Grafting: the
 * direction is Shampoo's, the norm that of another method's step. Roots are found by LAPACK's
 * eigenvalues in double. Tensors of one dimension, and dimensions above max_dim, have none. */
#include "../modes.h"
#include "lockstep/cpu.h"
#include "lockstep/lapack.h"
#include "lockstep/optimizer.h"

#include <math.h>
#include <string.h>

typedef struct ShampooOptions {
    double momentum, beta2, eps, graft_eps;
    int64_t start, period, max_dim;
    bool nesterov, grad_averaging;
    int graft, decay;
} ShampooOptions;

enum { GRAFT_SGD, GRAFT_ADAGRAD, GRAFT_RMSPROP, GRAFT_NONE };
enum { SHAMPOO_L2, SHAMPOO_DECOUPLED };

static const Option options[] = {
    { "momentum", OPTION_FLOAT, OPTION_AT(ShampooOptions, momentum), 0, 0.9999999, NULL, "0.9",
      "share of the velocity that survives a step" },
    { "nesterov", OPTION_BOOL, OPTION_AT(ShampooOptions, nesterov), 0, 0, NULL, "false",
      "step along d + momentum * v" },
    { "grad_averaging", OPTION_BOOL, OPTION_AT(ShampooOptions, grad_averaging), 0, 0, NULL, "false",
      "the step enters the velocity times 1 - momentum; false: times 1" },
    { "beta2", OPTION_FLOAT, OPTION_AT(ShampooOptions, beta2), 0, 1, NULL, "0.95",
      "decay of the preconditioners; 1: sums, as in the first paper" },
    { "eps", OPTION_FLOAT, OPTION_AT(ShampooOptions, eps), 1e-30, 1e6, NULL, "1e-6",
      "preconditioners begin as eps times the unit matrix" },
    { "start", OPTION_INT, OPTION_AT(ShampooOptions, start), 1, 1e12, NULL, "10",
      "first step that is preconditioned" },
    { "period", OPTION_INT, OPTION_AT(ShampooOptions, period), 1, 1e9, NULL, "10",
      "steps between inverse roots" },
    { "max_dim", OPTION_INT, OPTION_AT(ShampooOptions, max_dim), 1, 32000, NULL, "1024",
      "dimensions above this have no preconditioner" },
    { "graft", OPTION_CHOICE, OPTION_AT(ShampooOptions, graft), 0, 0, "sgd|adagrad|rmsprop|none",
      "sgd", "whose step gives the norm" },
    { "graft_eps", OPTION_FLOAT, OPTION_AT(ShampooOptions, graft_eps), 1e-30, 1, NULL, "1e-8",
      "added to the roots of adagrad and rmsprop" },
    { "decay", OPTION_CHOICE, OPTION_AT(ShampooOptions, decay), 0, 0, "l2|decoupled", "l2",
      "l2: weight_decay * w joins the gradient; decoupled: w shrinks by lr * weight_decay" },
    OPTION_END,
};

enum { MOMENTUM, SQUARE }; /* states */

static unsigned state_mask(const void *options_pointer)
{
    const ShampooOptions *o = options_pointer;
    bool squares = o->graft == GRAFT_ADAGRAD || o->graft == GRAFT_RMSPROP;
    return 1u << MOMENTUM | (squares ? 1u << SQUARE : 0);
}

static bool is_preconditioned(const ShampooOptions *o, const LayoutTensor *shape, int d)
{
    return shape->ndim > 1 && shape->shape[d] <= o->max_dim;
}

static int order_of(const ShampooOptions *o, const LayoutTensor *shape)
{
    int order = 0;
    for (int d = 0; d < shape->ndim; d++)
        order += is_preconditioned(o, shape, d);
    return order;
}

/* Of each preconditioned dimension the mean and its inverse root. */
static int buffers(const void *options_pointer, const LayoutTensor *shape, OptimizerBuffer *list)
{
    static const char *const means[] = { "gram_0", "gram_1", "gram_2", "gram_3" };
    static const char *const roots[] = { "root_0", "root_1", "root_2", "root_3" };
    int count = 0;
    for (int d = 0; d < shape->ndim; d++) {
        size_t n = (size_t)shape->shape[d] * (size_t)shape->shape[d];
        if (!is_preconditioned(options_pointer, shape, d))
            continue;
        list[count++] = (OptimizerBuffer){ means[d], BUFFER_DOUBLE, n };
        list[count++] = (OptimizerBuffer){ roots[d], BUFFER_DOUBLE, n };
    }
    return count;
}

static size_t largest_dim(const LayoutTensor *shape)
{
    int largest = 0;
    for (int d = 0; d < shape->ndim; d++)
        largest = shape->shape[d] > largest ? shape->shape[d] : largest;
    return (size_t)largest;
}

/* Three tensors in double, two squares, eigenvalues and LAPACK's. */
static size_t square_room(const ShampooOptions *o, const LayoutTensor *shape)
{
    size_t n = largest_dim(shape);
    n = n > (size_t)o->max_dim ? (size_t)o->max_dim : n;
    return (2 * n * n + n + lapack_scratch((int)n) + 7) / 8 * 8;
}

static size_t scratch(const void *options_pointer, const LayoutTensor *shape)
{
    return sizeof(double) * (3 * shape->padded + square_room(options_pointer, shape));
}

static double cost(const void *options_pointer, const LayoutTensor *shape)
{
    const ShampooOptions *o = options_pointer;
    double flops = 0;
    for (int d = 0; d < shape->ndim; d++) {
        double n = shape->shape[d];
        if (is_preconditioned(o, shape, d))
            flops += 4 * n * (double)shape->n + 25 * n * n * n / (double)o->period;
    }
    return flops;
}

/* root = s^(-1 / (2 order)): s = V^T diag(values) V, rows of V the eigenvectors. */
static void inverse_root(int n, const double *s, int order, double *room, double *root)
{
    size_t square = (size_t)n * (size_t)n;
    double *vectors = room, *scaled = room + square, *values = scaled + square;
    memcpy(vectors, s, square * sizeof *s);
    if (!lapack_eigen(n, vectors, values, values + n))
        return; /* not finite: the run has diverged, the old root does no harm */
    for (int i = 0; i < n; i++) {
        double value = values[i] > 1e-30 ? values[i] : 1e-30;
        double factor = pow(value, -0.5 / order);
        for (int k = 0; k < n; k++)
            scaled[i * n + k] = factor * vectors[i * n + k];
    }
    gemm_double(true, false, n, n, n, 1, vectors, n, scaled, n, 0, root, n);
}

static double norm_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* Means and roots are brought up to date; x (the gradient) becomes the preconditioned one. Returns
 * where it is: x or y. */
static double *precondition(const ShampooOptions *o, const TensorStep *step,
                            const OptimizerTensor *t, double *x, double *y, double *room)
{
    const double *gradient = x;
    int order = order_of(o, t->shape), buffer = 0;
    double *from = x, *to = y, *spare = room;
    room += t->shape->padded;
    for (int d = 0; d < t->shape->ndim; d++) {
        Mode mode = mode_of(t->shape, d);
        if (!is_preconditioned(o, t->shape, d))
            continue;
        double *gram = t->buffer[buffer++], *root = t->buffer[buffer++];
        for (int i = 0; step->t == 1 && i < mode.D; i++)
            gram[i * mode.D + i] = o->eps;
        mode_gram(mode, gradient, o->beta2, o->beta2 < 1 ? 1 - o->beta2 : 1, gram);
        if (step->t < o->start)
            continue;
        if (step->t == o->start || step->t % o->period == 0)
            inverse_root(mode.D, gram, order, room, root);
        mode_multiply(mode, from, root, false, to);
        from = to; /* x stays: all dimensions learn from the raw gradient */
        to = to == y ? spare : y;
    }
    return from;
}

/* The norm of the step that is grafted: that of g, or of g over a root of squares. */
static double graft_norm(const ShampooOptions *o, const OptimizerTensor *t, const double *g)
{
    if (o->graft == GRAFT_SGD)
        return norm_of(g, t->shape->n);
    double sum = 0;
    float *v = t->state[SQUARE];
    double keep = o->graft == GRAFT_ADAGRAD ? 1 : o->beta2;
    double take = o->graft == GRAFT_ADAGRAD ? 1 : 1 - o->beta2;
    for (size_t i = 0; i < t->shape->n; i++) {
        v[i] = (float)(keep * (double)v[i] + take * g[i] * g[i]);
        double u = g[i] / (sqrt((double)v[i]) + o->graft_eps);
        sum += u * u;
    }
    return sqrt(sum);
}

static void update_tensor(const void *options_pointer, const TensorStep *step,
                          const OptimizerTensor *t)
{
    const ShampooOptions *o = options_pointer;
    double *g = t->scratch, *y = g + t->shape->padded, *room = y + t->shape->padded;
    size_t n = t->shape->n;
    const double l2 = o->decay == SHAMPOO_L2 ? step->weight_decay : 0;
    const double shrink = o->decay == SHAMPOO_L2 ? 0 : step->lr * step->weight_decay;
    for (size_t i = 0; i < n; i++)
        g[i] = step->scale * (double)t->g[i] + l2 * (double)t->w[i];
    const double *u = precondition(o, step, t, g, y, room);
    double factor = 1;
    if (o->graft != GRAFT_NONE && !(u == g && o->graft == GRAFT_SGD))
        factor = graft_norm(o, t, g) / (norm_of(u, n) + 1e-16);
    const double mu = optimizer_momentum(step, o->momentum);
    const double gain = o->grad_averaging ? 1 - mu : 1;
    float *v = t->state[MOMENTUM];
    for (size_t i = 0; i < n; i++) {
        double d = gain * factor * u[i];
        v[i] = (float)(mu * (double)v[i] + d);
        double along = o->nesterov ? d + mu * (double)v[i] : (double)v[i];
        t->w[i] = (float)((double)t->w[i] * (1 - shrink) - step->lr * along);
    }
}

extern const OptimizerType ISA_NAME(optimizer_shampoo);
const OptimizerType ISA_NAME(optimizer_shampoo) = {
    .name = "shampoo",
    .help = "a preconditioner for every dimension, with the norm of another method's step (lr 0.1, "
            "no weight_decay, no clip_norm)",
    .formula = "S_d = b2 S_d + (1 - b2) G_d G_d^T for each dimension d of k; "
               "U = G x_d S_d^(-1 / (2 k)); U *= |graft| / |U|; v = mu v + U; w -= lr v",
    .source = "Gupta et al. 2018; Anil et al. 2020",
    .options = options,
    .options_bytes = sizeof(ShampooOptions),
    .states = 2,
    .state_names = { "momentum", "square" },
    .default_lr = 0.1,
    .clip_epsilon = 1e-6,
    .state_mask = state_mask,
    .update_tensor = update_tensor,
    .buffers = buffers,
    .scratch = scratch,
    .cost = cost,
};
