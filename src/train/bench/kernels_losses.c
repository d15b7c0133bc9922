/* Losses with their gradients by themselves. */
#include "bench_parts.h"

#include "lockstep/loss.h"
#include "lockstep/memory.h"
#include "lockstep/random.h"

#include <stdio.h>
#include <string.h>

/* B rows of F outputs: ten classes, a thousand, a vocabulary. */
static const struct {
    const char *loss;
    int B, F;
} cases[] = {
    { "softmax_cross_entropy", 1024, 10 }, { "softmax_cross_entropy", 1024, 1000 },
    { "softmax_cross_entropy", 4096, 65 }, { "softmax_cross_entropy", 1024, 8192 },
    { "bce_with_logits", 4096, 256 },      { "mse", 4096, 256 },
};

typedef struct LossBench {
    Config config;
    Loss loss;
    Pass pass;
    Batch batch;
    float *y, *dy;
} LossBench;

static void evaluate(void *context)
{
    LossBench *b = context;
    b->loss.type->evaluate(&b->loss, &b->pass, &b->batch, b->y, b->dy);
}

static void measure(KernelBench *bench, const char *name, int B, int F)
{
    Err err;
    char text[64];
    size_t n = (size_t)B * (size_t)F;
    int length = snprintf(text, sizeof text, "loss: %s\n", name);
    LossBench b = { .pass = { .train = true, .batch = B, .global_batch = B, .global_targets = B } };
    bool ok = config_parse(&b.config, "bench", text, (size_t)length, &err) &&
              loss_init(&b.loss, &b.config, config_get(b.config.root, "loss"),
                        (Shape){ .ndim = 1, .dim = { F, 1, 1 } }, &err);
    expect(ok);
    int32_t *labels = mem_array(int32_t, B);
    for (int i = 0; i < B; i++)
        labels[i] =
            (int32_t)random_below(random_key(1, RANDOM_TEST, 0, 1), (uint64_t)i, (uint32_t)F);
    float *targets = mem_array(float, n);
    bool classes = b.loss.type->wants_labels;
    b.batch = (Batch){ .count = B,
                       .labels = classes ? labels : NULL,
                       .targets = classes ? NULL : targets };
    b.y = kernel_numbers(n);
    b.dy = mem_array(float, n);
    double arrays = classes ? 2 : 3;
    KernelWork work = { .bytes = arrays * (double)n * sizeof(float), .elements = (double)n };
    kernel_measure(bench, "", &work, evaluate, NULL, &b);
    loss_free(&b.loss);
    config_free(&b.config);
    mem_free(labels);
    mem_free(targets);
    mem_free(b.y);
    mem_free(b.dy);
}

void kernels_losses(KernelBench *bench)
{
    char name[96];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(name, sizeof name, "%s (%d) b%d", cases[i].loss, cases[i].F, cases[i].B);
        if (kernel_wanted(bench, "losses", name))
            measure(bench, cases[i].loss, cases[i].B, cases[i].F);
    }
}
