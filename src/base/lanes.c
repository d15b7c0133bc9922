/* Lanes: who computes which part of the global batch, and the binary tree over which everything
 * that lanes produce is added. The shape of that tree is decided here and nowhere else. */
#include "lockstep/lanes.h"

#include <stdint.h>

static bool is_power_of_two(int number)
{
    return number > 0 && (number & (number - 1)) == 0;
}

bool lanes_init(Lanes *lanes, int batch, int count, int rank, int ranks, Err *err)
{
    expect(rank >= 0 && rank < ranks);
    if (!is_power_of_two(count))
        return err_set(err, "train.lanes: %d found, a power of two wanted", count);
    if (batch < 1 || batch % count != 0)
        return err_set(err, "train.batch: %d found, a multiple of the %d lanes wanted", batch,
                       count);
    if (ranks > count)
        return err_set(
            err,
            "%d ranks for %d lanes: start at most %d ranks, or set train.lanes to a power "
            "of two of at least %d (this changes the results)",
            ranks, count, count, ranks);
    *lanes = (Lanes){
        .count = count,
        .batch = batch,
        .size = batch / count,
        .rank = rank,
        .ranks = ranks,
        .first = lanes_first(count, rank, ranks),
        .last = lanes_first(count, rank + 1, ranks),
    };
    return true;
}

int lanes_first(int count, int rank, int ranks)
{
    return (int)((int64_t)rank * count / ranks);
}

int lanes_offset(const Lanes *lanes, int lane)
{
    return lane * lanes->size;
}

int lanes_samples(const Lanes *lanes, int lane, int batch)
{
    int rest = batch - lanes_offset(lanes, lane);
    if (rest < 0)
        return 0;
    return rest < lanes->size ? rest : lanes->size;
}

bool lanes_siblings(Subtree left, Subtree right)
{
    return left.width == right.width && left.first + left.width == right.first &&
           left.first % (2 * left.width) == 0;
}

int lanes_subtrees(int first, int last, Subtree subtrees[64])
{
    int depth = 0;
    for (int lane = first; lane < last; lane++) {
        subtrees[depth++] = (Subtree){ .first = lane, .width = 1 };
        while (depth > 1 && lanes_siblings(subtrees[depth - 2], subtrees[depth - 1]))
            subtrees[--depth - 1].width *= 2;
    }
    return depth;
}

double lanes_tree_sum(double *values, int count)
{
    for (int width = 1; width < count; width *= 2)
        for (int left = 0; left + width < count; left += 2 * width)
            values[left] += values[left + width];
    return count > 0 ? values[0] : 0;
}
