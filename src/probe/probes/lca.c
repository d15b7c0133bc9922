/* Loss change allocation along a run: which tensors bring the loss down, step by step. */
#include "lockstep/probe.h"

#include "lockstep/checkpoint.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATH_RUN, PATH_DESCENT, PATH_LINE };

typedef struct LcaOptions {
    int path;
    int64_t steps;
    double lr;
    char *to;
} LcaOptions;

static const Option options[] = {
    { "path", OPTION_CHOICE, OPTION_AT(LcaOptions, path), 0, 0, "run|descent|line", "run",
      "steps of the run itself from the checkpoint on; gradient descent on the samples; a straight "
      "line to other weights" },
    { "steps", OPTION_INT, OPTION_AT(LcaOptions, steps), 1, 1000000, NULL, "10",
      "steps, or pieces of the line" },
    { "lr", OPTION_FLOAT, OPTION_AT(LcaOptions, lr), 0, 1e9, NULL, "0",
      "of descent; 0: the schedule's" },
    { "to", OPTION_STRING, OPTION_AT(LcaOptions, to), 0, 0, NULL, "final",
      "where the line ends: init, final, best, latest, step-N or a weights file" },
    OPTION_END,
};

static void write_rows(Probe *probe, const Allocation *a, int64_t step)
{
    const Space *space = &probe->landscape.space;
    for (int t = 0; t < space->layout->count; t++)
        if (space_trains(space, t))
            found_row(probe->findings, "%lld,%s,%.9g,%.9g", (long long)step,
                      space->layout->tensors[t].name, layout_tensor_sum(space->layout, t, a->piece),
                      a->loss);
}

/* ---- paths ---- */

static bool walk_run(Probe *probe, Allocation *a, Err *err)
{
    const LcaOptions *o = probe->options;
    Trainer *t = probe->trainer;
    if (probe->step + o->steps > t->steps)
        return err_set(err,
                       "probe lca: %s is at step %lld of %lld, there are no %lld steps behind it: "
                       "give an earlier --checkpoint, or fewer steps",
                       probe->checkpoint, (long long)probe->step, (long long)t->steps,
                       (long long)o->steps);
    for (int64_t i = 0; i < o->steps; i++) {
        StepOutcome outcome = trainer_step(t);
        if (outcome != STEP_OK && outcome != STEP_SKIPPED)
            return err_set(err, "probe lca: step %lld: the loss or the gradient is not finite",
                           (long long)t->step + 1);
        allocation_extend(a, t->w);
        write_rows(probe, a, t->step);
    }
    return true;
}

static bool walk_down(Probe *probe, Allocation *a)
{
    const LcaOptions *o = probe->options;
    Space *space = &probe->landscape.space;
    double lr = o->lr > 0 ? o->lr : probe_lr(probe);
    float *w = space_vector(space);
    memcpy(w, a->at, space->layout->n * sizeof *w);
    for (int64_t i = 1; i <= o->steps; i++) {
        space_add(space, w, -lr, a->g[2]);
        space_share(space, w);
        allocation_extend(a, w);
        write_rows(probe, a, i);
    }
    mem_free(w);
    return true;
}

static bool walk_line(Probe *probe, Allocation *a, Err *err)
{
    const LcaOptions *o = probe->options;
    const Layout *layout = probe->landscape.space.layout;
    float *from = space_vector(&probe->landscape.space);
    float *to = space_vector(&probe->landscape.space), *w = space_vector(&probe->landscape.space);
    memcpy(from, a->at, layout->n * sizeof *from);
    bool ok = probe_weights(probe, o->to, to, err);
    for (int64_t i = 1; ok && i <= o->steps; i++) {
        double at = (double)i / (double)o->steps;
        for (size_t k = 0; k < layout->n; k++)
            w[k] = (float)((1 - at) * (double)from[k] + at * (double)to[k]);
        allocation_extend(a, w);
        write_rows(probe, a, i);
    }
    mem_free(from);
    mem_free(to);
    mem_free(w);
    return ok;
}

/* ---- what is found ---- */

/* Per tensor, over the whole path: its sum, and how many of its parameters have helped. */
static void report(Probe *probe, const Allocation *a)
{
    Space *space = &probe->landscape.space;
    const Layout *layout = space->layout;
    double *sums = mem_array(double, 2 * layout->blocks), helped = 0; /* sum, how many helped */
    for (int b = space->slice.first_block; b < space->slice.last_block; b++) {
        LayoutBlock block = layout_block(layout, b);
        for (size_t i = block.offset; i < block.offset + block.n; i++) {
            sums[2 * b] += a->sums[i];
            sums[2 * b + 1] += a->sums[i] < 0;
        }
    }
    exchange_complete(slice_exchange(&space->exchange), sums, 2 * sizeof *sums);
    for (int b = 0; b < layout->blocks; b++)
        helped += sums[2 * b + 1];
    Findings *f = probe->findings;
    found(f, "loss_change", a->loss - a->start, "");
    found(f, "allocated", a->total, "sum over parameters");
    found(f, "error", a->total - (a->loss - a->start), "of the integral, by Simpson's rule");
    found(f, "helped", helped / (double)layout->trained, "share of parameters below zero");
    for (int t = 0; t < layout->count; t++) {
        double sum = 0;
        const LayoutTensor *tensor = &layout->tensors[t];
        for (int b = tensor->first_block; b < tensor->first_block + tensor->blocks; b++)
            sum += sums[2 * b];
        if (space_trains(space, t))
            found(f, tensor->name, sum, "");
    }
    mem_free(sums);
}

static bool run(Probe *probe, Err *err)
{
    const LcaOptions *o = probe->options;
    Allocation a;
    allocation_init(&a, &probe->landscape, probe->landscape.w);
    found_columns(probe->findings, "step,tensor,change,loss");
    bool ok = o->path == PATH_RUN       ? walk_run(probe, &a, err)
              : o->path == PATH_DESCENT ? walk_down(probe, &a)
                                        : walk_line(probe, &a, err);
    if (ok)
        report(probe, &a);
    allocation_free(&a);
    return ok;
}

extern const ProbeType probe_lca;
const ProbeType probe_lca = {
    .name = "lca",
    .help = "loss change allocation: what each tensor does to the loss along a path",
    .formula = "sum over steps of change (g(start) + 4 g(middle) + g(end)) / 6",
    .source = "Lan et al. 2019",
    .options = options,
    .options_bytes = sizeof(LcaOptions),
    .samples = 2048,
    .resumes = true,
    .run = run,
};
