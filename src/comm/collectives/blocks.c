/* Blocks of members, halves of halves. */
#include "blocks.h"

#include <string.h>

bool block_has(Block block, int member)
{
    return member >= block.first && member < block.last;
}

Block block_half(Block block, bool right)
{
    int middle = block.first + (block.last - block.first + 1) / 2;
    return right ? (Block){ middle, block.last } : (Block){ block.first, middle };
}

int block_path(int member, int members, Block path[BLOCK_LEVELS])
{
    int levels = 0;
    path[levels++] = (Block){ 0, members };
    while (path[levels - 1].last - path[levels - 1].first > 1) {
        Block block = path[levels - 1];
        path[levels++] = block_half(block, block_has(block_half(block, true), member));
    }
    return levels;
}

int block_nodes(const CollectiveShape *shape, const int *firsts, Block block, Subtree *nodes)
{
    int first = firsts[block.first], count = firsts[block.last] - first;
    memcpy(nodes, shape->subtrees + first, (size_t)count * sizeof *nodes);
    return fold_nodes(nodes, count);
}
