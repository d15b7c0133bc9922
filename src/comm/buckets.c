/* What travels between hosts at once: the arena cut into buckets from its end, where backward
 * begins. */
#include "lockstep/reducer.h"

static int lowest_stage(const Layout *layout, const int *stages, const SumBucket *bucket)
{
    int lowest = -1;
    for (int t = 0; t < layout->count; t++) {
        const LayoutTensor *tensor = &layout->tensors[t];
        bool inside = tensor->offset < bucket->hi && tensor->offset + tensor->padded > bucket->lo;
        if (inside && (lowest < 0 || stages[t] < lowest))
            lowest = stages[t];
    }
    return lowest < 0 ? 0 : lowest;
}

int reducer_cut(const Layout *layout, size_t bytes, const int *stages, SumBucket *buckets)
{
    size_t lines = bytes / (LAYOUT_ALIGN * sizeof(float));
    size_t floats = (lines > 0 ? lines : 1) * LAYOUT_ALIGN;
    size_t start = layout_statistics(layout); /* those of early layers are final late */
    const size_t lo[] = { 0, start }, hi[] = { start, layout->n };
    int count = 0;
    for (int part = 0; part < 2; part++)
        for (size_t end = hi[part], begin; end > lo[part]; end = begin, count++) {
            begin = end - lo[part] > floats ? end - floats : lo[part];
            if (!buckets)
                continue;
            buckets[count] = (SumBucket){ .lo = begin, .hi = end };
            if (stages)
                buckets[count].stage = lowest_stage(layout, stages, &buckets[count]);
        }
    return count;
}
