/* Slices of the parameter layout: who owns what, and how everybody gets everything. */
#include "world.h"

#include "lockstep/memory.h"

void slice_exchange_init(SliceExchange *exchange, Comm *comm, const Layout *layout,
                         const size_t *bounds)
{
    exchange->comm = comm;
    exchange->block_bounds = mem_array(size_t, comm->size + 1);
    exchange->float_bounds = mem_array(size_t, comm->size + 1);
    for (int rank = 0; rank < comm->size; rank++) {
        Slice slice = bounds ? layout_blocks(layout, (int)bounds[rank], (int)bounds[rank + 1])
                             : layout_slice(layout, rank, comm->size);
        expect((size_t)slice.first_block == exchange->block_bounds[rank]);
        expect(slice.lo == exchange->float_bounds[rank]);
        exchange->block_bounds[rank + 1] = (size_t)slice.last_block;
        exchange->float_bounds[rank + 1] = slice.hi;
    }
    expect(exchange->float_bounds[comm->size] == layout->n);
}

void slice_exchange_free(SliceExchange *exchange)
{
    mem_free(exchange->block_bounds);
    mem_free(exchange->float_bounds);
    *exchange = (SliceExchange){ 0 };
}

static void complete_blocks(void *context, void *array, size_t bytes)
{
    SliceExchange *exchange = context;
    comm_allgather(exchange->comm, array, exchange->block_bounds, bytes);
}

Exchange slice_exchange(SliceExchange *exchange)
{
    return (Exchange){ .complete = complete_blocks, .context = exchange };
}

void comm_publish(SliceExchange *exchange, float *arena)
{
    comm_allgather(exchange->comm, arena, exchange->float_bounds, sizeof *arena);
}
