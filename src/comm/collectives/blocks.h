/* The binary tree of blocks of members that halving and doubling go by: halves of halves. */
#ifndef LOCKSTEP_COMM_BLOCKS_H
#define LOCKSTEP_COMM_BLOCKS_H

#include "builder.h"

#define BLOCK_LEVELS 32 /* log2 of an int, and one */

typedef struct Block {
    int first, last; /* members */
} Block;

bool block_has(Block block, int member);
Block block_half(Block block, bool right);

/* The blocks that `member` is in, from the root down to itself; returns how many. */
int block_path(int member, int members, Block path[BLOCK_LEVELS]);

/* The subtrees that the members of a block have together, folded; `nodes` has room for theirs. */
int block_nodes(const CollectiveShape *shape, const int *firsts, Block block, Subtree *nodes);

#endif
