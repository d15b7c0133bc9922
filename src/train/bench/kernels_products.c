/* Matrix products by themselves, at the shapes of dense layers and of attention. */
#include "bench_parts.h"

#include "lockstep/gemm.h"
#include "lockstep/matmul.h"
#include "lockstep/memory.h"

#include <stdio.h>

/* C (M, N) = op(A) (M, K) op(B) (K, N), `count` products one behind the other. */
typedef struct Product {
    bool trans_a, trans_b;
    int M, N, K, count;
    const float *a, *b;
    float *c, *scratch;
} Product;

static void run_openblas(void *context)
{
    const Product *p = context;
    size_t a = (size_t)p->M * (size_t)p->K, b = (size_t)p->K * (size_t)p->N;
    size_t c = (size_t)p->M * (size_t)p->N;
    for (size_t i = 0; i < (size_t)p->count; i++)
        gemm(p->trans_a, p->trans_b, p->M, p->N, p->K, 1, p->a + i * a, p->trans_a ? p->M : p->K,
             p->b + i * b, p->trans_b ? p->K : p->N, 0, p->c + i * c, p->N);
}

static void run_own(void *context)
{
    const Product *p = context;
    size_t a = (size_t)p->M * (size_t)p->K, b = (size_t)p->K * (size_t)p->N;
    size_t c = (size_t)p->M * (size_t)p->N;
    for (size_t i = 0; i < (size_t)p->count; i++)
        matmul(&(Matmul){ .M = p->M,
                          .N = p->N,
                          .K = p->K,
                          .a = p->a + i * a,
                          .a_step = (size_t)(p->trans_a ? p->M : p->K),
                          .a_turned = p->trans_a,
                          .b = p->b + i * b,
                          .b_step = (size_t)(p->trans_b ? p->K : p->N),
                          .b_turned = p->trans_b,
                          .c = p->c + i * c,
                          .c_step = (size_t)p->N },
               p->scratch);
}

/* Every way to compute a product: all shapes are measured with each. */
static const struct {
    const char *name;
    void (*run)(void *context);
} methods[] = {
    { "OpenBLAS", run_openblas },
    { "own", run_own },
};

/* A dense layer's: Y (B, O) = X (B, I) W^T (O, I), dX = dY W, dW = dY^T X. */
static const struct {
    const char *name;
    int B, I, O;
} dense[] = {
    { "MLP", 64, 784, 1024 },   { "MLP", 256, 1024, 1024 }, { "MLP", 1024, 1024, 1024 },
    { "MLP", 256, 1024, 10 },   { "GPT", 2048, 256, 768 },  { "GPT", 2048, 384, 1536 },
    { "GPT", 2048, 512, 2048 }, { "GPT", 2048, 2048, 512 }, { "head", 2048, 256, 8192 },
};

/* Attention's, for `heads` heads of `width` values over T positions. */
static const struct {
    int T, width, heads;
} attention[] = { { 128, 64, 32 }, { 256, 64, 32 } };

static void measure(KernelBench *bench, const char *part, Product product,
                    void (*run)(void *context))
{
    size_t M = (size_t)product.M, N = (size_t)product.N, K = (size_t)product.K;
    size_t count = (size_t)product.count;
    float *a = kernel_numbers(count * M * K), *b = kernel_numbers(count * K * N);
    float *c = mem_array(float, count *M *N);
    product.a = a;
    product.b = b;
    product.c = c;
    product.scratch = mem_array(float, matmul_scratch(product.M, product.K));
    KernelWork work = { .flops = 2 * (double)M * (double)N * (double)K * (double)count };
    kernel_measure(bench, part, &work, run, NULL, &product);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(product.scratch);
}

static void measure_dense(KernelBench *bench, int B, int I, int O, void (*run)(void *context))
{
    measure(bench, "forward", (Product){ .trans_b = true, .M = B, .N = O, .K = I, .count = 1 },
            run);
    measure(bench, "data gradient", (Product){ .M = B, .N = I, .K = O, .count = 1 }, run);
    measure(bench, "weight gradient",
            (Product){ .trans_a = true, .M = O, .N = I, .K = B, .count = 1 }, run);
}

static void measure_attention(KernelBench *bench, int T, int width, int heads,
                              void (*run)(void *context))
{
    measure(bench, "Q K^T",
            (Product){ .trans_b = true, .M = T, .N = T, .K = width, .count = heads }, run);
    measure(bench, "P V", (Product){ .M = T, .N = width, .K = T, .count = heads }, run);
    measure(bench, "P^T dO",
            (Product){ .trans_a = true, .M = T, .N = width, .K = T, .count = heads }, run);
}

void kernels_products(KernelBench *bench)
{
    char name[96];
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        for (size_t i = 0; i < sizeof dense / sizeof *dense; i++) {
            int B = dense[i].B, I = dense[i].I, O = dense[i].O;
            snprintf(name, sizeof name, "%s %s %d x %d b%d", methods[m].name, dense[i].name, I, O,
                     B);
            if (kernel_wanted(bench, "matrix products", name))
                measure_dense(bench, B, I, O, methods[m].run);
        }
        for (size_t i = 0; i < sizeof attention / sizeof *attention; i++) {
            int T = attention[i].T, width = attention[i].width, heads = attention[i].heads;
            snprintf(name, sizeof name, "%s attention T%d dh%d x %d", methods[m].name, T, width,
                     heads);
            if (kernel_wanted(bench, "matrix products", name))
                measure_attention(bench, T, width, heads, methods[m].run);
        }
    }
}
