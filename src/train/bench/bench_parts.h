/* What `bench step` and `bench kernels` share: a stopwatch for code that can be repeated, the
 * machine's limits, rates as text; and how a group of kernels reports. Private to src/train. */
#ifndef LOCKSTEP_TRAIN_BENCH_PARTS_H
#define LOCKSTEP_TRAIN_BENCH_PARTS_H

#include "lockstep/cpu.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- timing.c ---- */

typedef struct Timing {
    double median, min, max; /* seconds of a call */
    int repeats;
} Timing;

/* Calls run(context) for about `seconds`, at least a few times, after calls that do not count. A
 * repeat is as many calls as the clock needs. With `less` (or NULL), which does a part of
 * the work and is called in turn with run, the times are those of the rest. */
Timing bench_time(double seconds, void (*run)(void *context), void (*less)(void *context),
                  void *context);

/* Sorts the values and returns the middle one. */
double bench_median(double *values, int count);

/* ---- limits.c ---- */

#define MEMORY_LEVELS 5

/* Bandwidth of passes over three arrays that take `bytes` together; bytes a second. */
typedef struct MemoryLimit {
    const char *name; /* "12 MB" */
    size_t bytes;
    double copy, triad, update;
} MemoryLimit;

/* What one core can do: the best of a few tries. */
typedef struct Limits {
    Isa isa;                 /* the level in use */
    double flops[ISA_COUNT]; /* a second, per level; 0: not on this CPU */
    MemoryLimit memory[MEMORY_LEVELS];
} Limits;

void limits_measure(Limits *limits);
double limits_peak(const Limits *limits); /* FLOP/s at the level in use */

/* Bandwidth over arrays beyond those levels. */
MemoryLimit limits_measure_memory(const char *name, size_t bytes);

/* The level in which `bytes` bytes fit, and its bandwidth: of update if the pass writes where it
 * reads, else the better one of copy and triad. */
const MemoryLimit *limits_memory(const Limits *limits, size_t bytes);
double limits_bandwidth(const MemoryLimit *memory, bool in_place);

void limits_print(const Limits *limits);
json_t *limits_json(const Limits *limits); /* owned by the caller */

/* Prints the object on the standard output and frees it. */
void bench_print_json(json_t *object);

/* ---- kernels_report.c ---- */

typedef struct KernelBench KernelBench;

/* What a call does. Zeros: not counted. */
typedef struct KernelWork {
    double flops, bytes, elements;
    size_t footprint;          /* bytes of all arrays; 0: as many as `bytes` */
    const MemoryLimit *memory; /* to compare with; NULL: the level that holds the footprint */
    bool in_place;             /* the pass writes where it reads */
    bool nanoseconds;          /* per element rather than elements per second */
} KernelWork;

/* Whether the kernel `name` of `group` is asked for: only then it is prepared and measured. */
bool kernel_wanted(KernelBench *bench, const char *group, const char *name);

/* Whether the filter has this text: for what is too large to be measured unasked. */
bool kernel_named(const KernelBench *bench, const char *text);

/* Measures run (less `less`, see bench_time) and reports it as "name part". */
void kernel_measure(KernelBench *bench, const char *part, const KernelWork *work,
                    void (*run)(void *context), void (*less)(void *context), void *context);

/* n normal random numbers, a pattern that repeats; mem_alloc'ed. */
float *kernel_numbers(size_t n);

/* The groups, one file each. */
void kernels_products(KernelBench *bench);
void kernels_layers(KernelBench *bench);
void kernels_losses(KernelBench *bench);
void kernels_updates(KernelBench *bench);
void kernels_arrays(KernelBench *bench);

#endif
