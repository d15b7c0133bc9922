/* Optimizers by themselves: one update of ten million parameters, norms included; of some also one
 * of a hundred million, in memory instead of caches, if the filter asks for them. */
#include "bench_parts.h"

#include "lockstep/memory.h"
#include "lockstep/optimizer.h"

#include <stdio.h>

enum { TENSORS = 10, SIDE = 1024 };
#define LARGE "105 M" /* parameters: ten times as many */

typedef struct UpdateBench {
    Optimizer optimizer;
    Rates rates;
    float *w, *g;
} UpdateBench;

static void update(void *context)
{
    UpdateBench *b = context;
    b->rates.step++;
    bool finite =
        optimizer_step(&b->optimizer, &b->rates, b->w, gradient_at(b->g), (Exchange){ 0 });
    expect(finite);
}

static void measure(KernelBench *bench, const char *type, const Layout *layout,
                    const MemoryLimit *memory)
{
    Err err;
    char text[64];
    Config config;
    UpdateBench b = { .rates = { .lr = 1e-3 } };
    int length = snprintf(text, sizeof text, "optimizer: %s\n", type);
    bool ok =
        config_parse(&config, "bench", text, (size_t)length, &err) &&
        optimizer_init(&b.optimizer, &config, config_get(config.root, "optimizer"), layout, &err);
    expect(ok);
    optimizer_own(&b.optimizer, layout_slice(layout, 0, 1));
    b.w = kernel_numbers(layout->n);
    b.g = kernel_numbers(layout->n);
    double n = (double)layout->n, floats = optimizer_floats(&b.optimizer);
    KernelWork work = { .bytes = n * floats * sizeof(float),
                        .elements = n,
                        .footprint = layout->n * (size_t)(2 + optimizer_states(&b.optimizer)) *
                                     sizeof(float),
                        .memory = memory,
                        .in_place = true,
                        .nanoseconds = true };
    kernel_measure(bench, "", &work, update, NULL, &b);
    optimizer_free(&b.optimizer);
    config_free(&config);
    mem_free(b.w);
    mem_free(b.g);
}

static void make_layout(Layout *layout, int tensors)
{
    char name[32];
    *layout = (Layout){ 0 };
    for (int i = 0; i < tensors; i++) {
        snprintf(name, sizeof name, "tensor%d", i);
        layout_add(layout, name, 2, (int[]){ SIDE, SIDE }, LAYOUT_DECAY | LAYOUT_ADAPT);
    }
    layout_seal(layout);
}

static void measure_large(KernelBench *bench)
{
    static const char *const types[] = { "adamw", "lamb", "lars", "sgd" };
    char name[96];
    Layout layout;
    make_layout(&layout, 10 * TENSORS);
    MemoryLimit memory = { .bytes = 0 };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(name, sizeof name, "%s, " LARGE " parameters", types[i]);
        if (!kernel_wanted(bench, "optimizers", name))
            continue;
        if (memory.bytes == 0)
            memory = limits_measure_memory("1.3 GB", 3 * layout.n * sizeof(float));
        measure(bench, types[i], &layout, &memory);
    }
    layout_free(&layout);
}

void kernels_updates(KernelBench *bench)
{
    int count;
    char name[96];
    Layout layout;
    const OptimizerType *const *types = optimizer_all(&count);
    make_layout(&layout, TENSORS);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s, %.3g M parameters", types[i]->name,
                 1e-6 * (double)layout.n);
        if (kernel_wanted(bench, "optimizers", name))
            measure(bench, types[i]->name, &layout, NULL);
    }
    layout_free(&layout);
    if (kernel_named(bench, LARGE))
        measure_large(bench);
}
