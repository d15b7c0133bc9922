/* Optimizers by themselves: one update of ten million parameters, norms included. */
#include "bench_parts.h"

#include "lockstep/memory.h"
#include "lockstep/optimizer.h"

#include <stdio.h>

enum { TENSORS = 10, SIDE = 1024 };

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

/* Floats that an update reads and writes for each parameter if nothing stays in the cache: w and
 * the states both ways and g; what norms want beforehand; the direction's pass over all of them. */
static int floats_moved(const Optimizer *optimizer)
{
    int states = optimizer_states(optimizer);
    if (optimizer->needs & OPTIMIZER_NORM_U)
        return (2 + 2 * states) + (2 + states);
    return 3 + 2 * states + ((optimizer->needs & OPTIMIZER_NORM_W) != 0) +
           ((optimizer->needs & OPTIMIZER_NORM_G) != 0);
}

static void measure(KernelBench *bench, const char *type, const Layout *layout)
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
    double n = (double)layout->n, floats = floats_moved(&b.optimizer);
    KernelWork work = { .bytes = n * floats * sizeof(float),
                        .elements = n,
                        .footprint = layout->n * (size_t)(2 + optimizer_states(&b.optimizer)) *
                                     sizeof(float),
                        .in_place = true,
                        .nanoseconds = true };
    kernel_measure(bench, "", &work, update, NULL, &b);
    optimizer_free(&b.optimizer);
    config_free(&config);
    mem_free(b.w);
    mem_free(b.g);
}

void kernels_updates(KernelBench *bench)
{
    int count;
    char name[96];
    Layout layout = { 0 };
    const OptimizerType *const *types = optimizer_all(&count);
    for (int i = 0; i < TENSORS; i++) {
        snprintf(name, sizeof name, "tensor%d", i);
        layout_add(&layout, name, 2, (int[]){ SIDE, SIDE }, LAYOUT_DECAY | LAYOUT_ADAPT);
    }
    layout_seal(&layout);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s, %.3g M parameters", types[i]->name,
                 1e-6 * (double)layout.n);
        if (kernel_wanted(bench, "optimizers", name))
            measure(bench, types[i]->name, &layout);
    }
    layout_free(&layout);
}
