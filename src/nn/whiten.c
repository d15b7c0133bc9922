/* A first convolution whose outputs are uncorrelated and of the same size on the training images
 * (Page 2018; with both signs of each filter: Jordan 2024). Its filters are the eigenvectors of the
 * second moments of image patches. All sums are double and in one order, so whoever computes them
 * from the same images has the same bits. */
#include "whiten.h"
#include "dot.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 5000, SWEEPS = 60 };

/* ---- moments ---- */

/* Where the values of the patch at (0, 0) lie in an image (C, H, W). */
static void patch_offsets(Shape image, int kernel_h, int kernel_w, int *offset)
{
    for (int c = 0; c < image.dim[0]; c++)
        for (int i = 0; i < kernel_h; i++)
            for (int j = 0; j < kernel_w; j++)
                *offset++ = (c * image.dim[1] + i) * image.dim[2] + j;
}

/* sum (n, n), the lower triangle, += p p^T over the patches of image x: `down` x `right` places,
 * rows of the image `width` apart. */
static void add_patches(const double *x, const int *offset, int n, int down, int right, int width,
                        double *sum)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            for (int top = 0; top < down; top++)
                sum[i * n + j] +=
                    dot(x + offset[i] + top * width, x + offset[j] + top * width, (size_t)right);
}

double *whiten_moments(const SampleSource *source, Shape image, int kernel_h, int kernel_w)
{
    int n = image.dim[0] * kernel_h * kernel_w;
    expect(image.ndim == 3 && n <= WHITEN_MAX_VALUES && source->count > 0);
    int down = image.dim[1] - kernel_h + 1, right = image.dim[2] - kernel_w + 1;
    int offset[WHITEN_MAX_VALUES];
    patch_offsets(image, kernel_h, kernel_w, offset);
    int64_t samples = source->count < SAMPLES ? source->count : SAMPLES;
    size_t values = shape_values(image);
    float *sample = mem_array(float, values);
    double *x = mem_array(double, values), *sum = mem_array(double, n *n);
    for (int64_t s = 0; s < samples; s++) {
        source->read(source->context, s * source->count / samples, sample);
        for (size_t i = 0; i < values; i++)
            x[i] = (double)sample[i];
        add_patches(x, offset, n, down, right, image.dim[2], sum);
    }
    double patches = (double)samples * down * right;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            sum[j * n + i] = sum[i * n + j] = sum[i * n + j] / patches;
    mem_free(sample);
    mem_free(x);
    return sum;
}

/* ---- eigenvectors: cyclic Jacobi (Golub and Van Loan, section 8.5) ---- */

/* Rows p and q of m (n, n): (p, q) <- (c p - s q, s p + c q). */
static void rotate_rows(double *m, int n, int p, int q, double c, double s)
{
    for (int k = 0; k < n; k++) {
        double a = m[p * n + k], b = m[q * n + k];
        m[p * n + k] = c * a - s * b;
        m[q * n + k] = s * a + c * b;
    }
}

static void rotate_columns(double *m, int n, int p, int q, double c, double s)
{
    for (int k = 0; k < n; k++) {
        double a = m[k * n + p], b = m[k * n + q];
        m[k * n + p] = c * a - s * b;
        m[k * n + q] = s * a + c * b;
    }
}

/* One rotation that makes a[p][q] zero; the rows of v turn along. */
static void annihilate(double *a, double *v, int n, int p, int q)
{
    double off = a[p * n + q];
    if (off == 0)
        return;
    double theta = (a[q * n + q] - a[p * n + p]) / (2 * off);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    rotate_rows(a, n, p, q, c, s);
    rotate_columns(a, n, p, q, c, s);
    a[p * n + q] = a[q * n + p] = 0;
    rotate_rows(v, n, p, q, c, s);
}

static double off_diagonal(const double *a, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            sum += a[i * n + j] * a[i * n + j];
    return sum;
}

/* Symmetric a (n, n) becomes diagonal, its eigenvalues; row i of v (n, n) the eigenvector of the
 * i-th. The sum of squares beside the diagonal falls quadratically: a dozen sweeps are enough. */
static void eigenvectors(double *a, double *v, int n)
{
    double size = off_diagonal(a, n);
    for (int i = 0; i < n; i++) {
        size += a[i * n + i] * a[i * n + i];
        v[i * n + i] = 1;
    }
    for (int sweep = 0; sweep < SWEEPS && off_diagonal(a, n) > 1e-30 * size; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                annihilate(a, v, n, p, q);
}

/* order[i]: the eigenvector with the i-th largest eigenvalue; equal ones as they come. */
static void sort_descending(const double *a, int n, int *order)
{
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k > 0 && a[order[k - 1] * n + order[k - 1]] < a[i * n + i]; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

/* The sign that makes the largest entry positive. */
static double sign_of(const double *vector, int n)
{
    int largest = 0;
    for (int i = 1; i < n; i++)
        if (fabs(vector[i]) > fabs(vector[largest]))
            largest = i;
    return vector[largest] < 0 ? -1 : 1;
}

void whiten_fill(const double *moments, int n, int filters, double eps, double gain, float *w)
{
    expect(n <= WHITEN_MAX_VALUES && filters <= 2 * n);
    double *a = mem_array(double, n *n), *v = mem_array(double, n *n);
    int order[WHITEN_MAX_VALUES];
    memcpy(a, moments, (size_t)n * (size_t)n * sizeof *a);
    eigenvectors(a, v, n);
    sort_descending(a, n, order);
    for (int f = 0; f < filters; f++) {
        int i = order[f % n];
        const double *vector = v + i * n;
        double scale = gain * sign_of(vector, n) / sqrt(fmax(a[i * n + i], 0) + eps);
        for (int k = 0; k < n; k++)
            w[f * n + k] = (float)((f < n ? scale : -scale) * vector[k]);
    }
    mem_free(a);
    mem_free(v);
}
