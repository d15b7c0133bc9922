/* The copies and additions of a plan. A fold runs in tiles that stay in the L1 cache, so each sum
 * is read once and one is written. One float addition has one result, with or without vectors. */
#include "plan_run.h"

#include "collectives/builder.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <string.h>

void plan_memory_init(PlanMemory *memory, const Plan *plan)
{
    memory->scratch = mem_array(float, plan->scratch);
    memory->tiles = mem_array(float, (size_t)plan->tiles *PLAN_TILE);
}

void plan_memory_free(PlanMemory *memory)
{
    mem_free(memory->scratch);
    mem_free(memory->tiles);
}

float *plan_place(const PlanMemory *memory, Place place)
{
    switch (place.kind) {
    case PLACE_INPUT:
        return memory->inputs[place.index] + place.offset;
    case PLACE_OUTPUT:
        return memory->output + place.offset;
    case PLACE_SCRATCH:
        return memory->scratch + place.offset;
    case PLACE_TILE:
        break;
    }
    return memory->tiles + (size_t)place.index * PLAN_TILE;
}

void plan_copies(const Plan *plan, int round, const PlanMemory *memory)
{
    for (int i = plan->rounds[round].copies; i < plan->rounds[round + 1].copies; i++) {
        const PlanCopy *copy = &plan->copies[i];
        float *to = plan_place(memory, copy->to);
        const float *from = plan_place(memory, copy->from);
        if (to != from)
            memcpy(to, from, copy->n * sizeof *to);
    }
}

static bool is_aligned(const float *x)
{
    return (uintptr_t)x % (LAYOUT_ALIGN * sizeof *x) == 0;
}

static void add(const Wire *wire, float *out, const float *left, const float *right, size_t n)
{
    if (wire) {
        kernels()->wire_add(wire, out, left, right, n);
        return;
    }
    if (n % LAYOUT_ALIGN == 0 && is_aligned(out) && is_aligned(left) && is_aligned(right)) {
        kernels()->add(out, left, right, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = left[i] + right[i];
}

/* Floats at `at` of a place; a tile is the same for every `at`. */
static float *part(const PlanMemory *memory, Place place, size_t at)
{
    return plan_place(memory, place) + (place.kind == PLACE_TILE ? 0 : at);
}

static void run_fold(const PlanAdd *adds, int count, const PlanMemory *memory)
{
    size_t n = adds[0].n;
    for (size_t at = 0; at < n; at += PLAN_TILE)
        for (int i = 0; i < count; i++)
            add(memory->wire, part(memory, adds[i].out, at), part(memory, adds[i].left, at),
                part(memory, adds[i].right, at), n - at < PLAN_TILE ? n - at : PLAN_TILE);
}

void plan_adds(const Plan *plan, int round, const PlanMemory *memory)
{
    int last = plan->rounds[round + 1].adds;
    for (int first = plan->rounds[round].adds, end; first < last; first = end) {
        for (end = first + 1; end < last && plan->adds[end].fold == plan->adds[first].fold;)
            end++;
        run_fold(&plan->adds[first], end - first, memory);
    }
}
