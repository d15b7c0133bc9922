/* The table of costs in docs/optimizers.md: every optimizer of the registry at its defaults, asked
 * about one square matrix. */
#include "lockstep/list.h"
#include "lockstep/log.h"
#include "lockstep/optimizer.h"
#include "lockstep/text.h"

#include <string.h>

enum { SIDE = 512 };

/* "mean, square": states and buffers that the defaults use. */
static void state_names(const Optimizer *optimizer, char *text, size_t size)
{
    const OptimizerMethod *method = &optimizer->methods[0];
    const OptimizerType *type = method->type;
    OptimizerBuffer buffers[OPTIMIZER_MAX_BUFFERS];
    snprintf(text, size, "%s", "");
    for (int s = 0; s < type->states; s++)
        if (method->states & 1U << s)
            text_append(text, size, "%s%s", *text ? ", " : "", type->state_names[s]);
    int count =
        type->buffers ? type->buffers(method->options, optimizer->layout->tensors, buffers) : 0;
    for (int k = 0; k < count; k++)
        text_append(text, size, "%s%s", *text ? ", " : "", buffers[k].name);
}

/* "2 | 36"; of a method that works on whole tensors the work is what counts. */
static void traffic(const Optimizer *optimizer, char *text, size_t size)
{
    if (optimizer->type->update_tensor)
        snprintf(text, size, "whole | ");
    else
        snprintf(text, size, "%d | %zu", optimizer_passes(optimizer),
                 (size_t)optimizer_floats(optimizer) * sizeof(float));
}

/* Operations on a parameter. */
static double flops(const Optimizer *optimizer)
{
    const OptimizerType *type = optimizer->type;
    const LayoutTensor *matrix = &optimizer->layout->tensors[0];
    return type->cost ? type->cost(optimizer->options, matrix) / (double)matrix->n : type->flops;
}

static void print_row(const OptimizerType *type, const Layout *layout)
{
    Err err;
    Config config;
    Optimizer o;
    char text[64], states[256], moved[32];
    int length = snprintf(text, sizeof text, "optimizer: %s\n", type->name);
    bool ok = config_parse(&config, "list", text, (size_t)length, &err) &&
              optimizer_init(&o, &config, config_get(config.root, "optimizer"), layout, &err);
    expect(ok);
    optimizer_own(&o, layout_slice(layout, 0, 1));
    state_names(&o, states, sizeof states);
    double floats = (double)optimizer_bytes(&o) / (double)(layout->n * sizeof(float));
    traffic(&o, moved, sizeof moved);
    log_out("| %s | %.3g | %s | %s | %.5g | %s |", type->name, floats, states, moved, flops(&o),
            type->source);
    optimizer_free(&o);
    config_free(&config);
}

void list_optimizer_costs(void)
{
    int count;
    const OptimizerType *const *types = optimizer_all(&count);
    Layout layout = { 0 };
    layout_add(&layout, "matrix", 2, (int[]){ SIDE, SIDE }, LAYOUT_DECAY | LAYOUT_ADAPT);
    layout_seal(&layout);
    log_out("| name | state, floats | arrays | passes | bytes | FLOPs | source |\n"
            "|---|---|---|---|---|---|---|");
    for (int i = 0; i < count; i++)
        print_row(types[i], &layout);
    layout_free(&layout);
}
