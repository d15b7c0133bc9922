/* Where the time of a training step goes. */
#include "lockstep/bench.h"
#include "lockstep/bf16.h"
#include "lockstep/clock.h"
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_STEPS 3
#define MIN_STEPS 5
#define NAME_COLUMNS 26
#define TRIAD_FLOATS ((size_t)16 << 20) /* 64 MB an array: more than most caches hold */

typedef struct Limits {
    double flops, bytes; /* a second, of one core */
} Limits;

typedef struct BenchResult {
    int64_t steps, samples; /* of the whole job */
    double seconds;         /* of the steps together */
    double phases[PHASE_COUNT];
    ModelTimes *times;   /* per node */
    double rank_samples; /* trained on by this rank */
    Limits limits;
} BenchResult;

static const char *const phase_names[PHASE_COUNT] = {
    [PHASE_LOAD] = "load",       [PHASE_FORWARD] = "forward",   [PHASE_BACKWARD] = "backward",
    [PHASE_FOLD] = "fold lanes", [PHASE_EXCHANGE] = "exchange", [PHASE_UPDATE] = "update",
    [PHASE_DIGEST] = "digest",
};

/* Best of a few tries: a limit is what the machine can do, not what it did while disturbed. */
static Limits measure_limits(void)
{
    Limits limits = { 0 };
    float *arrays = mem_array(float, 3 * TRIAD_FLOATS), sink;
    for (int i = 0; i < 5; i++) {
        double start = clock_seconds();
        double flops = peak_kernels()->multiply_adds(1000000, &sink);
        limits.flops = fmax(limits.flops, flops / (clock_seconds() - start));
        start = clock_seconds();
        double bytes = peak_kernels()->triad(arrays, arrays + TRIAD_FLOATS,
                                             arrays + 2 * TRIAD_FLOATS, TRIAD_FLOATS);
        limits.bytes = fmax(limits.bytes, bytes / (clock_seconds() - start));
    }
    mem_free(arrays);
    return limits;
}

/* Samples that this rank's lanes hold in a step. */
static double rank_samples(const Trainer *t, int64_t step)
{
    double samples = 0;
    int batch = loader_batch_size(&t->loader, step);
    for (int lane = t->lanes.first; lane < t->lanes.last; lane++)
        samples += lanes_samples(&t->lanes, lane, batch);
    return samples;
}

static bool run_steps(Trainer *t, double seconds, BenchResult *result)
{
    for (int i = 0; i < WARM_STEPS; i++)
        if (trainer_step(t) == STEP_DIVERGED)
            return false;
    t->model.times = result->times;
    memset(t->seconds, 0, sizeof t->seconds);
    int64_t samples = t->samples;
    double start = clock_seconds();
    bool more = true;
    while (more && !t->stop) {
        result->rank_samples += rank_samples(t, t->step);
        if (trainer_step(t) == STEP_DIVERGED)
            return false;
        result->steps++;
        result->seconds = clock_seconds() - start;
        more = result->steps < MIN_STEPS || result->seconds < seconds;
        comm_broadcast(t->comm, &more, sizeof more, 0); /* clocks differ, decisions must not */
    }
    t->model.times = NULL;
    result->samples = t->samples - samples;
    memcpy(result->phases, t->seconds, sizeof t->seconds);
    return true;
}

/* Backward of a layer with weights computes two products of forward's size, one if it is the
 * first. */
static double backward_flops(const Layer *layer)
{
    return layer->flops * (layer->tensor_count > 0 && !layer->first ? 2 : 1);
}

static double rate(double flops, double samples, double seconds)
{
    return seconds > 0 ? flops * samples / seconds : 0;
}

/* Layers that compute less than this on each value wait for memory; a share of the peak of
 * multiply-adds would say nothing about them. */
#define COMPUTE_BOUND 16

static bool computes(const Layer *layer)
{
    return layer && layer->flops >= COMPUTE_BOUND * (double)shape_values(layer->out);
}

/* "12.3 (56 %)": GFLOP/s and the share of the peak; blank for a layer that hardly computes. */
static char *rate_text(char text[32], double flops_per_second, double peak)
{
    if (flops_per_second <= 0)
        return strcpy(text, "");
    snprintf(text, 32, "%.1f (%.0f %%)", 1e-9 * flops_per_second, 100 * flops_per_second / peak);
    return text;
}

/* The end of a path says more than its beginning. */
static const char *name_end(const Layer *layer)
{
    const char *name = layer ? layer->name : "(add)";
    size_t length = strlen(name);
    return name + (length > NAME_COLUMNS ? length - NAME_COLUMNS : 0);
}

static void print_layers(const Trainer *t, const BenchResult *r)
{
    log_out("%-26s %-14s %10s %16s %10s %16s %7s", "layer", "output", "forward ms", "GFLOP/s",
            "backward", "GFLOP/s", "share");
    for (int i = 0; i < t->model.count; i++) {
        const ModelNode *node = &t->model.nodes[i];
        double flops = computes(node->layer) ? node->layer->flops : 0;
        double back = computes(node->layer) ? backward_flops(node->layer) : 0;
        char shape[64], forward_rate[32], backward_rate[32];
        log_out("%-26s %-14s %10.3f %16s %10.3f %16s %6.1f%%", name_end(node->layer),
                shape_text(node->shape, shape, sizeof shape),
                1e3 * r->times[i].forward / (double)r->steps,
                rate_text(forward_rate, rate(flops, r->rank_samples, r->times[i].forward),
                          r->limits.flops),
                1e3 * r->times[i].backward / (double)r->steps,
                rate_text(backward_rate, rate(back, r->rank_samples, r->times[i].backward),
                          r->limits.flops),
                100 * (r->times[i].forward + r->times[i].backward) / r->seconds);
    }
}

static void print_table(const Trainer *t, const BenchResult *r)
{
    print_layers(t, r);
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        log_out("%-26s %-14s %10.3f ms %5.1f%%", phase_names[phase], "",
                1e3 * r->phases[phase] / (double)r->steps, 100 * r->phases[phase] / r->seconds);
    log_out("%lld steps of %.3f ms, %.0f samples/s on %d rank(s); times are rank 0's, a step",
            (long long)r->steps, 1e3 * r->seconds / (double)r->steps,
            (double)r->samples / r->seconds, comm_size(t->comm));
    log_out("limits of one core: %.0f GFLOP/s (multiply-adds in registers), %.1f GB/s (triad, 3 x "
            "64 MB)",
            1e-9 * r->limits.flops, 1e-9 * r->limits.bytes);
}

static void print_json(const Trainer *t, const BenchResult *r)
{
    json_t *layers = json_array(), *phases = json_object();
    for (int i = 0; i < t->model.count; i++) {
        const Layer *layer = t->model.nodes[i].layer;
        json_array_append_new(
            layers, json_pack("{s:s, s:f, s:f, s:f}", "layer", layer ? layer->name : "add",
                              "forward_ms", 1e3 * r->times[i].forward / (double)r->steps,
                              "backward_ms", 1e3 * r->times[i].backward / (double)r->steps,
                              "forward_flop", layer ? layer->flops : 0.0));
    }
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        json_object_set_new(phases, phase_names[phase],
                            json_real(1e3 * r->phases[phase] / (double)r->steps));
    json_t *all = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:o, s:o}", "name", t->settings->name,
        "ranks", comm_size(t->comm), "isa", cpu_isa_name(cpu_isa()), "blas_core", cpu_blas_core(),
        "products", t->settings->compute.precision == PRECISION_BF16 ? bf16_kernel() : "fp32",
        "steps", (json_int_t)r->steps, "step_ms", 1e3 * r->seconds / (double)r->steps,
        "samples_per_second", (double)r->samples / r->seconds, "peak_gflops",
        1e-9 * r->limits.flops, "triad_gb_per_second", 1e-9 * r->limits.bytes, "phases_ms", phases,
        "layers", layers);
    char *text = json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    expect(text);
    log_out("%s", text);
    free(text);
    json_decref(all);
}

bool bench_step(Trainer *t, double seconds, bool json)
{
    BenchResult result = { .times = mem_array(ModelTimes, t->model.count) };
    result.limits = measure_limits();
    bool ok = run_steps(t, seconds, &result);
    if (ok && comm_rank(t->comm) == 0) {
        if (json)
            print_json(t, &result);
        else
            print_table(t, &result);
    }
    mem_free(result.times);
    return ok;
}
