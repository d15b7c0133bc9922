/* The machine's limits: multiply-adds in registers at each ISA level, bytes from each level of the
 * memory. A limit is the best of a few tries: what the machine can do, not what it did while
 * disturbed. */
#include "bench_parts.h"

#include "lockstep/clock.h"
#include "lockstep/kernels.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <math.h>
#include <stdlib.h>

#define LIMIT_SECONDS 0.02
#define PEAK_TRIES 5
#define PEAK_ROUNDS 500000

static const struct {
    const char *name;
    size_t
        floats; /* of each of the three arrays; the first levels fit in the caches of most CPUs */
} levels[MEMORY_LEVELS] = {
    { "24 KB", 2048 },
    { "768 KB", 65536 },
    { "12 MB", (size_t)1 << 20 },
    { "48 MB", (size_t)4 << 20 },
    { "192 MB", (size_t)16 << 20 },
};

static double measure_flops(Isa isa)
{
    double best = 0;
    float sink;
    for (int i = 0; i < PEAK_TRIES; i++) {
        double start = clock_seconds();
        double flops = peak_kernels(isa)->multiply_adds(PEAK_ROUNDS, &sink);
        best = fmax(best, flops / (clock_seconds() - start));
    }
    return best;
}

typedef struct Arrays {
    const PeakKernels *kernels;
    float *y, *a, *b;
    size_t n;
    double bytes; /* of the last call */
} Arrays;

static void copy(void *context)
{
    Arrays *arrays = context;
    arrays->bytes = arrays->kernels->copy(arrays->y, arrays->a, arrays->n);
}

static void triad(void *context)
{
    Arrays *arrays = context;
    arrays->bytes = arrays->kernels->triad(arrays->y, arrays->a, arrays->b, arrays->n);
}

static void update(void *context)
{
    Arrays *arrays = context;
    arrays->bytes = arrays->kernels->update(arrays->y, arrays->a, arrays->n);
}

static double measure_bytes(Arrays *arrays, void (*pass)(void *))
{
    Timing time = bench_time(LIMIT_SECONDS, pass, NULL, arrays);
    return arrays->bytes / time.min;
}

/* Passes over `memory`, 3 * floats. */
static MemoryLimit measure_level(const char *name, size_t floats, float *memory)
{
    Arrays arrays = { .kernels = peak_kernels(cpu_isa()),
                      .y = memory,
                      .a = memory + floats,
                      .b = memory + 2 * floats,
                      .n = floats };
    return (MemoryLimit){ .name = name,
                          .bytes = 3 * floats * sizeof(float),
                          .copy = measure_bytes(&arrays, copy),
                          .triad = measure_bytes(&arrays, triad),
                          .update = measure_bytes(&arrays, update) };
}

MemoryLimit limits_measure_memory(const char *name, size_t bytes)
{
    size_t floats = bytes / (3 * sizeof(float)) / 16 * 16;
    float *memory = mem_array(float, 3 * floats);
    MemoryLimit limit = measure_level(name, floats, memory);
    mem_free(memory);
    return limit;
}

void limits_measure(Limits *limits)
{
    *limits = (Limits){ .isa = cpu_isa() };
    for (Isa isa = ISA_V2; isa <= cpu_isa_best(); isa++)
        limits->flops[isa] = measure_flops(isa);
    size_t most = levels[MEMORY_LEVELS - 1].floats;
    float *memory = mem_array(float, 3 * most);
    for (int i = 0; i < MEMORY_LEVELS; i++)
        limits->memory[i] = measure_level(levels[i].name, levels[i].floats, memory);
    mem_free(memory);
}

double limits_peak(const Limits *limits)
{
    return limits->flops[limits->isa];
}

const MemoryLimit *limits_memory(const Limits *limits, size_t bytes)
{
    int level = 0;
    while (level < MEMORY_LEVELS - 1 && limits->memory[level].bytes < bytes)
        level++;
    return &limits->memory[level];
}

double limits_bandwidth(const MemoryLimit *memory, bool in_place)
{
    return in_place ? memory->update : fmax(memory->copy, memory->triad);
}

void limits_print(const Limits *limits)
{
    log_out("limits of one core: multiply-adds in registers, GFLOP/s");
    for (Isa isa = ISA_V2; isa < ISA_COUNT; isa++)
        if (limits->flops[isa] > 0)
            log_out("  %-10s %8.1f%s", cpu_isa_name(isa), 1e-9 * limits->flops[isa],
                    isa == limits->isa ? "  in use" : "");
    log_out("passes over three arrays, GB/s %8s %8s %8s", "copy", "triad", "update");
    for (int i = 0; i < MEMORY_LEVELS; i++) {
        const MemoryLimit *memory = &limits->memory[i];
        log_out("  %-28s %8.1f %8.1f %8.1f", memory->name, 1e-9 * memory->copy,
                1e-9 * memory->triad, 1e-9 * memory->update);
    }
}

json_t *limits_json(const Limits *limits)
{
    json_t *peaks = json_object(), *memory = json_array();
    for (Isa isa = ISA_V2; isa < ISA_COUNT; isa++)
        if (limits->flops[isa] > 0)
            json_object_set_new(peaks, cpu_isa_name(isa), json_real(1e-9 * limits->flops[isa]));
    for (int i = 0; i < MEMORY_LEVELS; i++) {
        const MemoryLimit *level = &limits->memory[i];
        json_array_append_new(memory, json_pack("{s:s, s:I, s:f, s:f, s:f}", "name", level->name,
                                                "bytes", (json_int_t)level->bytes,
                                                "copy_gb_per_second", 1e-9 * level->copy,
                                                "triad_gb_per_second", 1e-9 * level->triad,
                                                "update_gb_per_second", 1e-9 * level->update));
    }
    return json_pack("{s:f, s:o, s:o}", "peak_gflops", 1e-9 * limits_peak(limits),
                     "peak_gflops_by_isa", peaks, "memory", memory);
}

void bench_print_json(json_t *object)
{
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    expect(text);
    log_out("%s", text);
    free(text);
    json_decref(object);
}
