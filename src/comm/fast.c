/* MPI's own sum, the one place in the program where it is allowed: for `reduce: fast`, which is
 * labelled as without the guarantee of equal bits, and as a mark to measure against. */
#include "world.h"

void comm_allreduce_fast(Comm *comm, float *x, size_t n)
{
    size_t most = comm->message_bytes / sizeof *x;
    for (size_t done = 0; done < n; done += most) {
        size_t part = n - done < most ? n - done : most;
        MPI_Allreduce(MPI_IN_PLACE, x + done, (int)part, MPI_FLOAT, MPI_SUM, comm->world);
    }
}
