/* What `bench step` prints: layers, phases, memory, against the limits of a core. */
#include "step_parts.h"

#include "lockstep/bf16.h"
#include "lockstep/log.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

#define NAME_COLUMNS 26

static const char *const phase_names[PHASE_COUNT] = {
    [PHASE_LOAD] = "load",       [PHASE_FORWARD] = "forward",   [PHASE_BACKWARD] = "backward",
    [PHASE_FOLD] = "fold lanes", [PHASE_EXCHANGE] = "exchange", [PHASE_UPDATE] = "update",
    [PHASE_DIGEST] = "digest",   [PHASE_PROBE] = "probe",
};

/* ---- what a node does for a sample ---- */

typedef struct NodeWork {
    double flops, bytes;
} NodeWork;

/* Layers that compute less than this for each value they read or write wait for memory; a share of
 * the peak of multiply-adds would say nothing about them. */
#define COMPUTE_BOUND 16

static bool computes(const Layer *layer)
{
    if (!layer)
        return false;
    double values = (double)shape_values(layer->in) + (double)shape_values(layer->out);
    return layer->flops >= COMPUTE_BOUND * values;
}

static double stored_bytes(Shape shape)
{
    return (double)shape_stored(shape) * sizeof(float);
}

/* Each activation read or written once; token ids are as long as floats. */
static NodeWork forward_work(const ModelNode *node)
{
    if (node->alias)
        return (NodeWork){ 0 };
    if (computes(node->layer))
        return (NodeWork){ .flops = node->layer->flops };
    double in = node->layer ? stored_bytes(node->layer->in) : 2 * stored_bytes(node->shape);
    return (NodeWork){ .bytes = in + stored_bytes(node->shape) };
}

/* Backward of a layer with weights computes two products of forward's size, one if it is the first.
 * Other layers read dy and what they keep, and write dx; sums of gradients where a buffer has
 * several readers come on top. */
static NodeWork backward_work(const Model *model, int i)
{
    const ModelNode *node = &model->nodes[i];
    const ModelFlow *flow = &model->plan.flow[i];
    const Layer *layer = node->layer;
    if (!node->backward)
        return (NodeWork){ 0 };
    if (computes(layer))
        return (NodeWork){ .flops =
                               layer->flops * (layer->tensor_count > 0 && !layer->first ? 2 : 1) };
    NodeWork work = { 0 };
    double in = stored_bytes(layer ? layer->in : node->shape), out = stored_bytes(node->shape);
    if (layer)
        work.bytes = out + (layer->type->keep_x ? in : 0) + (layer->type->keep_y ? out : 0) +
                     (flow->dx[0] >= 0 ? in : 0);
    for (int side = 0; side < 2; side++)
        work.bytes += flow->old[side] >= 0 ? 3 * in : 0;
    return work;
}

/* ---- the table ---- */

static double per_second(double work, const StepBench *r, double seconds)
{
    return seconds > 0 ? work * r->rank_samples / seconds : 0;
}

static double peak_percent(const StepBench *r, double flops_per_second)
{
    return 100 * flops_per_second / limits_peak(&r->limits);
}

/* Of passes that read from and write to the memory: more than 100 came from a cache. */
static double bandwidth_percent(const StepBench *r, double bytes_per_second)
{
    const MemoryLimit *memory = &r->limits.memory[MEMORY_LEVELS - 1];
    return 100 * bytes_per_second / limits_bandwidth(memory, false);
}

/* "123.4 GFLOP/s 56 %" or "12.3 GB/s 80 %"; blank for a node that does nothing. */
static char *rate_text(char text[32], const StepBench *r, NodeWork work, double seconds)
{
    double flops = per_second(work.flops, r, seconds), bytes = per_second(work.bytes, r, seconds);
    text[0] = '\0';
    if (flops > 0)
        snprintf(text, 32, "%.1f GFLOP/s %3.0f %%", 1e-9 * flops, peak_percent(r, flops));
    else if (bytes > 0)
        snprintf(text, 32, "%.1f GB/s    %3.0f %%", 1e-9 * bytes, bandwidth_percent(r, bytes));
    return text;
}

/* The end of a path says more than its beginning. */
static const char *name_end(const Layer *layer)
{
    const char *name = layer ? layer->name : "(add)";
    size_t length = strlen(name);
    return name + (length > NAME_COLUMNS ? length - NAME_COLUMNS : 0);
}

/* Seconds of the forward phase outside the layers. */
static double loss_seconds(const Trainer *t, const StepBench *r)
{
    double seconds = r->phases[PHASE_FORWARD];
    for (int i = 0; i < t->model.count; i++)
        seconds -= r->times[i].forward;
    return seconds;
}

static void print_layers(const Trainer *t, const StepBench *r)
{
    log_out("%-26s %-14s %10s %20s %10s %20s %7s", "layer", "output", "forward ms",
            "of peak or memory", "backward", "of peak or memory", "share");
    for (int i = 0; i < t->model.count; i++) {
        const ModelNode *node = &t->model.nodes[i];
        double forward = r->times[i].forward, backward = r->times[i].backward;
        char shape[64], forward_rate[32], backward_rate[32];
        log_out("%-26s %-14s %10.3f %20s %10.3f %20s %6.1f%%", name_end(node->layer),
                shape_text(node->shape, shape, sizeof shape), 1e3 * forward / (double)r->steps,
                rate_text(forward_rate, r, forward_work(node), forward),
                1e3 * backward / (double)r->steps,
                rate_text(backward_rate, r, backward_work(&t->model, i), backward),
                100 * (forward + backward) / r->seconds);
    }
    double loss = loss_seconds(t, r);
    log_out("%-26s %-14s %10.3f %20s %10s %20s %6.1f%%", "(loss, packing of weights)", "",
            1e3 * loss / (double)r->steps, "", "", "", 100 * loss / r->seconds);
}

static void print_memory(const StepMemory *memory)
{
    const double sizes[] = { memory->weights,     memory->gradients, memory->optimizer,
                             memory->activations, memory->layers,    memory->data,
                             memory->peak };
    char texts[sizeof sizes / sizeof *sizes][32];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        text_bytes(texts[i], sizeof texts[i], sizes[i]);
    log_out("memory a rank: weights %s%s, gradients %s, optimizer state %s, activations %s, "
            "layers' own "
            "%s, data %s; process at most %s",
            texts[0], memory->shared ? " (one copy for the host)" : "", texts[1], texts[2],
            texts[3], texts[4], texts[5], texts[6]);
}

void step_print(const Trainer *t, const StepBench *r)
{
    const MemoryLimit *memory = &r->limits.memory[MEMORY_LEVELS - 1];
    double exposed = r->phases[PHASE_EXCHANGE];
    print_layers(t, r);
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        log_out("%-26s %-14s %10.3f ms %5.1f%%", phase_names[phase], "",
                1e3 * r->phases[phase] / (double)r->steps, 100 * r->phases[phase] / r->seconds);
    double rate = (double)r->samples / r->seconds;
    log_out("%lld steps of %.3f ms, %.*f samples/s on %d rank(s); times are rank 0's, a step",
            (long long)r->steps, 1e3 * r->seconds / (double)r->steps, rate < 1000 ? 1 : 0, rate,
            comm_size(t->comm));
    log_out(
        "exposed reduction: %.3f ms a step (%.1f %%), waiting for other ranks included: %.3f ms "
        "for their backward",
        1e3 * exposed / (double)r->steps, 100 * exposed / r->seconds,
        1e3 * r->waited / (double)r->steps);
    print_memory(&r->memory);
    log_out("limits of one core: %.0f GFLOP/s (multiply-adds in registers), %.1f GB/s (passes over "
            "%s; more than 100 %% came from a cache)",
            1e-9 * limits_peak(&r->limits), 1e-9 * limits_bandwidth(memory, false), memory->name);
}

/* ---- JSON ---- */

static void add_rates(json_t *layer, const StepBench *r, const char *pass, NodeWork work,
                      double seconds)
{
    char key[64];
    double flops = per_second(work.flops, r, seconds), bytes = per_second(work.bytes, r, seconds);
    const struct {
        const char *name;
        double value;
    } rates[] = { { "gflops", 1e-9 * flops },
                  { "peak_percent", peak_percent(r, flops) },
                  { "gb_per_second", 1e-9 * bytes },
                  { "bandwidth_percent", bandwidth_percent(r, bytes) } };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        snprintf(key, sizeof key, "%s_%s", pass, rates[i].name);
        if (rates[i].value > 0)
            json_object_set_new(layer, key, json_real(rates[i].value));
    }
}

static json_t *layers_json(const Trainer *t, const StepBench *r)
{
    json_t *layers = json_array();
    for (int i = 0; i < t->model.count; i++) {
        const ModelNode *node = &t->model.nodes[i];
        double forward = r->times[i].forward, backward = r->times[i].backward;
        json_t *layer = json_pack(
            "{s:s, s:f, s:f, s:f}", "layer", node->layer ? node->layer->name : "add", "forward_ms",
            1e3 * forward / (double)r->steps, "backward_ms", 1e3 * backward / (double)r->steps,
            "forward_flop", node->layer ? node->layer->flops : 0.0);
        add_rates(layer, r, "forward", forward_work(node), forward);
        add_rates(layer, r, "backward", backward_work(&t->model, i), backward);
        json_array_append_new(layers, layer);
    }
    return layers;
}

static json_t *phases_json(const StepBench *r)
{
    json_t *phases = json_object();
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        json_object_set_new(phases, phase_names[phase],
                            json_real(1e3 * r->phases[phase] / (double)r->steps));
    return phases;
}

static json_t *memory_json(const StepMemory *memory)
{
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights_shared", memory->shared,
                     "weights", (json_int_t)memory->weights, "gradients",
                     (json_int_t)memory->gradients, "optimizer_state",
                     (json_int_t)memory->optimizer, "activations", (json_int_t)memory->activations,
                     "layers", (json_int_t)memory->layers, "data", (json_int_t)memory->data,
                     "process_peak", (json_int_t)memory->peak);
}

void step_print_json(const Trainer *t, const StepBench *r)
{
    double exposed = r->phases[PHASE_EXCHANGE];
    json_t *all = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:I, s:f, s:f}", "name", t->settings->name, "ranks",
        comm_size(t->comm), "isa", cpu_isa_name(cpu_isa()), "blas_core", cpu_blas_core(),
        "products", t->settings->compute.precision == PRECISION_BF16 ? bf16_kernel() : "fp32",
        "steps", (json_int_t)r->steps, "step_ms", 1e3 * r->seconds / (double)r->steps,
        "samples_per_second", (double)r->samples / r->seconds);
    json_object_set_new(all, "exposed_reduction_ms", json_real(1e3 * exposed / (double)r->steps));
    json_object_set_new(all, "exposed_reduction_percent", json_real(100 * exposed / r->seconds));
    json_object_set_new(all, "waiting_ms", json_real(1e3 * r->waited / (double)r->steps));
    json_object_set_new(all, "phases_ms", phases_json(r));
    json_object_set_new(all, "loss_and_packing_ms",
                        json_real(1e3 * loss_seconds(t, r) / (double)r->steps));
    json_object_set_new(all, "memory_bytes", memory_json(&r->memory));
    json_object_set_new(all, "limits", limits_json(&r->limits));
    json_object_set_new(all, "layers", layers_json(t, r));
    bench_print_json(all);
}
