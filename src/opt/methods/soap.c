/* SOAP: Adam in the eigenbasis of Shampoo's preconditioners, Vyas et al. 2025, in the form of the
 * official program: the first gradient only sets the bases up; every `period` steps they make one
 * power iteration, brought back to orthogonality by QR, columns ordered by eigenvalue; the mean
 * goes with the basis, the second moment is only reordered; eps is not corrected; decay follows the
 * step. Tensors of one dimension are Adam's (`vectors`: they have a basis too), as are dimensions
 * above max_dim. Bases are in double. */
#include "../modes.h"
#include "lockstep/cpu.h"
#include "lockstep/lapack.h"
#include "lockstep/optimizer.h"
#include "lockstep/vmath.h"

#include <math.h>
#include <string.h>

typedef struct SoapOptions {
    double beta1, beta2, shampoo_beta, eps;
    int64_t period, max_dim;
    bool vectors, normalize, bias_correction;
} SoapOptions;

static const Option options[] = {
    { "beta1", OPTION_FLOAT, OPTION_AT(SoapOptions, beta1), 0, 0.9999999, NULL, "0.95",
      "decay of the mean of gradients" },
    { "beta2", OPTION_FLOAT, OPTION_AT(SoapOptions, beta2), 0, 0.9999999, NULL, "0.95",
      "decay of the mean of squared gradients" },
    { "shampoo_beta", OPTION_FLOAT, OPTION_AT(SoapOptions, shampoo_beta), -1, 0.9999999, NULL, "-1",
      "decay of the preconditioners; -1: beta2" },
    { "eps", OPTION_FLOAT, OPTION_AT(SoapOptions, eps), 1e-30, 1, NULL, "1e-8",
      "added to the root of the second moment" },
    { "period", OPTION_INT, OPTION_AT(SoapOptions, period), 1, 1e9, NULL, "10",
      "steps between new bases" },
    { "max_dim", OPTION_INT, OPTION_AT(SoapOptions, max_dim), 1, 32000, NULL, "1024",
      "dimensions above this keep their own basis" },
    { "vectors", OPTION_BOOL, OPTION_AT(SoapOptions, vectors), 0, 0, NULL, "false",
      "tensors of one dimension have a preconditioner too" },
    { "normalize", OPTION_BOOL, OPTION_AT(SoapOptions, normalize), 0, 0, NULL, "false",
      "divide every tensor's step by its root mean square" },
    { "bias_correction", OPTION_BOOL, OPTION_AT(SoapOptions, bias_correction), 0, 0, NULL, "true",
      "multiply the rate by sqrt(1 - beta2^t) / (1 - beta1^t)" },
    OPTION_END,
};

enum { MEAN, SQUARE }; /* states, both in the rotated basis */

static bool has_basis(const SoapOptions *o, const LayoutTensor *shape, int d)
{
    return (shape->ndim > 1 || o->vectors) && shape->shape[d] <= o->max_dim;
}

static int buffers(const void *options_pointer, const LayoutTensor *shape, OptimizerBuffer *list)
{
    static const char *const grams[] = { "gram_0", "gram_1", "gram_2", "gram_3" };
    static const char *const bases[] = { "basis_0", "basis_1", "basis_2", "basis_3" };
    int count = 0;
    for (int d = 0; d < shape->ndim; d++) {
        size_t n = (size_t)shape->shape[d] * (size_t)shape->shape[d];
        if (!has_basis(options_pointer, shape, d))
            continue;
        list[count++] = (OptimizerBuffer){ grams[d], BUFFER_DOUBLE, n };
        list[count++] = (OptimizerBuffer){ bases[d], BUFFER_DOUBLE, n };
    }
    return count;
}

static size_t largest_basis(const SoapOptions *o, const LayoutTensor *shape)
{
    int largest = 0;
    for (int d = 0; d < shape->ndim; d++)
        if (has_basis(o, shape, d) && shape->shape[d] > largest)
            largest = shape->shape[d];
    return (size_t)largest;
}

/* Three tensors in double; two squares, values, LAPACK's; an order. */
static size_t scratch(const void *options_pointer, const LayoutTensor *shape)
{
    size_t n = largest_basis(options_pointer, shape);
    return sizeof(double) * (3 * shape->padded + 2 * n * n + 2 * n + lapack_scratch((int)n));
}

static double cost(const void *options_pointer, const LayoutTensor *shape)
{
    const SoapOptions *o = options_pointer;
    double flops = 0;
    for (int d = 0; d < shape->ndim; d++) {
        double n = shape->shape[d];
        if (has_basis(o, shape, d))
            flops += 6 * n * (double)shape->n + 6 * n * n * n / (double)o->period;
    }
    return flops;
}

/* ---- bases: rows of `basis` are the vectors, so rotating is a product with it ---- */

typedef struct Room {
    double *g, *x, *y; /* tensors */
    double *square, *values;
} Room;

/* x rotated along every dimension with a basis, or back; the result is in the room's x or y. */
static double *rotate(const SoapOptions *o, const OptimizerTensor *t, bool back, double *x,
                      double *y)
{
    int buffer = 1;
    for (int d = 0; d < t->shape->ndim; d++) {
        if (!has_basis(o, t->shape, d))
            continue;
        mode_multiply(mode_of(t->shape, d), x, t->buffer[buffer], back, y);
        double *swap = x;
        x = y;
        y = swap;
        buffer += 2;
    }
    return x;
}

/* Eigenvectors of the first mean, largest eigenvalue first. */
static void first_basis(int n, const double *gram, const Room *room, double *basis)
{
    size_t square = (size_t)n * (size_t)n;
    memcpy(room->square, gram, square * sizeof *gram);
    for (int i = 0; i < n; i++)
        room->square[i * n + i] += 1e-30;
    bool ok = lapack_eigen(n, room->square, room->values, room->values + n);
    for (int i = 0; i < n; i++) /* unit matrix: not finite, the run has diverged */
        for (int k = 0; k < n; k++)
            basis[i * n + k] = ok ? room->square[(n - 1 - i) * n + k] : i == k;
}

/* The rank of each row by its estimated eigenvalue v^T gram v, largest first; of equal ones the
 * first comes first. */
static void order_rows(int n, const double *gram, const double *basis, const Room *room,
                       double *order)
{
    gemm_double(false, false, n, n, n, 1, basis, n, gram, n, 0, room->square, n);
    for (int i = 0; i < n; i++) {
        room->values[i] = 0;
        for (int k = 0; k < n; k++)
            room->values[i] += room->square[i * n + k] * basis[i * n + k];
    }
    for (int i = 0; i < n; i++) {
        int rank = 0;
        for (int k = 0; k < n; k++)
            rank += room->values[k] > room->values[i] ||
                    (!(room->values[k] < room->values[i]) && k < i);
        order[rank] = i;
    }
}

/* Elements of the second moment along the dimension, in the new order. */
static void reorder_squares(const OptimizerTensor *t, Mode m, const double *order, double *copy)
{
    float *v = t->state[SQUARE];
    for (size_t i = 0; i < t->shape->n; i++)
        copy[i] = (double)v[i];
    for (int a = 0; a < m.A; a++)
        for (int d = 0; d < m.D; d++)
            for (int c = 0; c < m.C; c++)
                v[((ptrdiff_t)a * m.D + d) * m.C + c] =
                    (float)copy[((ptrdiff_t)a * m.D + (int)order[d]) * m.C + c];
}

/* One power iteration of the ordered basis, made orthogonal again. */
static void next_basis(const OptimizerTensor *t, Mode m, const double *gram, const Room *room,
                       double *basis)
{
    int n = m.D;
    size_t square = (size_t)n * (size_t)n;
    double *sorted = room->square + square, *order = room->values + n;
    order_rows(n, gram, basis, room, order);
    reorder_squares(t, m, order, room->y);
    for (int i = 0; i < n; i++)
        memcpy(sorted + (ptrdiff_t)i * n, basis + (ptrdiff_t)order[i] * n,
               (size_t)n * sizeof *sorted);
    gemm_double(false, false, n, n, n, 1, sorted, n, gram, n, 0, room->square, n);
    if (lapack_orthogonal(n, room->square, order + n))
        memcpy(basis, room->square, square * sizeof *basis);
}

static void new_bases(const SoapOptions *o, const TensorStep *step, const OptimizerTensor *t,
                      const Room *room)
{
    int buffer = 0;
    const double beta = o->shampoo_beta >= 0 ? o->shampoo_beta : o->beta2;
    for (int d = 0; d < t->shape->ndim; d++) {
        if (!has_basis(o, t->shape, d))
            continue;
        Mode mode = mode_of(t->shape, d);
        double *gram = t->buffer[buffer++], *basis = t->buffer[buffer++];
        mode_gram(mode, room->g, beta, 1 - beta, gram);
        if (step->t == 1)
            first_basis(mode.D, gram, room, basis);
        else if ((step->t - 1) % o->period == 0)
            next_basis(t, mode, gram, room, basis);
    }
}

/* ---- the step ---- */

/* Moments in the basis; returns Adam's direction back in the tensor's own. */
static const double *direction(const SoapOptions *o, const TensorStep *step,
                               const OptimizerTensor *t, const Room *room)
{
    size_t n = t->shape->n;
    float *m = t->state[MEAN], *v = t->state[SQUARE];
    const double beta1 = optimizer_momentum(step, o->beta1), beta2 = o->beta2;
    memcpy(room->x, room->g, n * sizeof *room->x);
    double *g = rotate(o, t, false, room->x, room->y);
    for (size_t i = 0; i < n; i++) {
        m[i] = (float)(beta1 * (double)m[i] + (1 - beta1) * g[i]);
        v[i] = (float)(beta2 * (double)v[i] + (1 - beta2) * g[i] * g[i]);
        g[i] = (double)m[i] / (sqrt((double)v[i]) + o->eps);
    }
    return rotate(o, t, true, g, g == room->x ? room->y : room->x);
}

/* The mean leaves the old basis before the bases change, and enters the new one. */
static void rotate_mean(const SoapOptions *o, const OptimizerTensor *t, bool back, const Room *room)
{
    float *m = t->state[MEAN];
    for (size_t i = 0; i < t->shape->n; i++)
        room->x[i] = (double)m[i];
    const double *x = rotate(o, t, back, room->x, room->y);
    for (size_t i = 0; i < t->shape->n; i++)
        m[i] = (float)x[i];
}

static void move(const SoapOptions *o, const TensorStep *step, const OptimizerTensor *t,
                 const double *u)
{
    double rate = step->lr, size = 0;
    size_t n = t->shape->n;
    if (o->bias_correction)
        rate *=
            sqrt(1 - vmath_power(o->beta2, step->t - 1)) / (1 - vmath_power(o->beta1, step->t - 1));
    for (size_t i = 0; o->normalize && i < n; i++)
        size += u[i] * u[i];
    if (o->normalize)
        rate /= 1e-30 + sqrt(size / (double)n);
    const double shrink = step->lr * step->weight_decay;
    for (size_t i = 0; i < n; i++)
        t->w[i] = (float)(((double)t->w[i] - rate * u[i]) * (1 - shrink));
}

static void update_tensor(const void *options_pointer, const TensorStep *step,
                          const OptimizerTensor *t)
{
    const SoapOptions *o = options_pointer;
    size_t padded = t->shape->padded, n = largest_basis(o, t->shape);
    double *start = t->scratch, *squares = start + 3 * padded;
    const Room room = { start, start + padded, start + 2 * padded, squares, squares + 2 * n * n };
    bool turns = step->t > 1 && (step->t - 1) % o->period == 0;
    for (size_t i = 0; i < t->shape->n; i++)
        room.g[i] = step->scale * (double)t->g[i];
    if (step->t > 1)
        move(o, step, t, direction(o, step, t, &room));
    if (turns)
        rotate_mean(o, t, true, &room);
    new_bases(o, step, t, &room);
    if (turns)
        rotate_mean(o, t, false, &room);
}

extern const OptimizerType ISA_NAME(optimizer_soap);
const OptimizerType ISA_NAME(optimizer_soap) = {
    .name = "soap",
    .help = "Adam in the eigenbasis of Shampoo's preconditioners (lr 0.003, weight_decay 0.01, no "
            "clip_norm)",
    .formula = "S_d = b S_d + (1 - b) G_d G_d^T; Q_d its eigenvectors; G' = G x_d Q_d^T; "
               "m, v of G' as Adam; w -= lr (m' / (sqrt(v) + eps)) x_d Q_d; w -= lr wd w",
    .source = "Vyas et al. 2025",
    .options = options,
    .options_bytes = sizeof(SoapOptions),
    .states = 2,
    .state_names = { "mean", "square" },
    .default_lr = 0.003,
    .default_weight_decay = 0.01,
    .clip_epsilon = 1e-6,
    .update_tensor = update_tensor,
    .buffers = buffers,
    .scratch = scratch,
    .cost = cost,
};
