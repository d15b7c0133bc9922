/* Passes over plain arrays by themselves: functions, random numbers, and what a step does with
 * whole arenas (adding gradients, norms, digests). */
#include "bench_parts.h"

#include "lockstep/kernels.h"
#include "lockstep/layout.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

enum { IN_CACHE = 2048, ARENA = 10 << 20 }; /* floats */

typedef struct ArrayBench {
    float *x, *y;
    size_t n;
    Layout layout;
    uint64_t *digests; /* per block of the layout */
    double sum;
} ArrayBench;

static void run_exp(void *context)
{
    ArrayBench *b = context;
    peak_kernels(cpu_isa())->exp(b->y, b->x, b->n);
}

static void run_log(void *context)
{
    ArrayBench *b = context;
    peak_kernels(cpu_isa())->log(b->y, b->x, b->n);
}

static void run_tanh(void *context)
{
    ArrayBench *b = context;
    peak_kernels(cpu_isa())->tanh(b->y, b->x, b->n);
}

static void run_normal_distribution(void *context)
{
    ArrayBench *b = context;
    peak_kernels(cpu_isa())->normal(b->y, b->x, b->n);
}

static void run_words(void *context)
{
    ArrayBench *b = context;
    random_fill_words(random_key(1, RANDOM_TEST, 0, 0), 0, (uint32_t *)(void *)b->y, b->n);
}

static void run_normal(void *context)
{
    ArrayBench *b = context;
    random_fill_normal(random_key(1, RANDOM_TEST, 0, 0), 0, b->y, b->n);
}

static void run_add(void *context)
{
    ArrayBench *b = context;
    kernels()->add(b->y, b->y, b->x, b->n);
}

static void run_squares(void *context)
{
    ArrayBench *b = context;
    b->sum += kernels()->squares(b->x, b->n);
}

static void run_digest(void *context)
{
    ArrayBench *b = context;
    layout_block_digests(&b->layout, layout_slice(&b->layout, 0, 1), b->x, b->digests);
}

static const struct {
    const char *group, *name;
    void (*run)(void *context);
    size_t n;
    int moved; /* floats read and written per element; 0: not what it waits for */
    bool in_place;
} cases[] = {
    { "functions", "exp", run_exp, IN_CACHE, 0, false },
    { "functions", "log", run_log, IN_CACHE, 0, false },
    { "functions", "tanh", run_tanh, IN_CACHE, 0, false },
    { "functions", "normal distribution", run_normal_distribution, IN_CACHE, 0, false },
    { "random numbers", "Philox words", run_words, IN_CACHE, 0, false },
    { "random numbers", "normal", run_normal, IN_CACHE, 0, false },
    { "arenas", "add a gradient (lane fold)", run_add, ARENA, 3, true },
    { "arenas", "squares (norm)", run_squares, ARENA, 1, false },
    { "arenas", "digest", run_digest, ARENA, 1, false },
};

static void measure(KernelBench *bench, size_t i)
{
    ArrayBench b = { .n = cases[i].n };
    b.x = kernel_numbers(b.n);
    b.y = mem_array(float, b.n);
    layout_add(&b.layout, "all", 1, (int[]){ (int)b.n }, 0);
    layout_seal(&b.layout);
    b.digests = mem_array(uint64_t, b.layout.blocks);
    double bytes = (double)b.n * cases[i].moved * sizeof(float);
    KernelWork work = { .bytes = bytes, .elements = (double)b.n, .in_place = cases[i].in_place };
    kernel_measure(bench, "", &work, cases[i].run, NULL, &b);
    layout_free(&b.layout);
    mem_free(b.digests);
    mem_free(b.x);
    mem_free(b.y);
}

void kernels_arrays(KernelBench *bench)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (kernel_wanted(bench, cases[i].group, cases[i].name))
            measure(bench, i);
}
