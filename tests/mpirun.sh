# Sourced by tests/run (from the top folder) and tests/e2e/common.sh (which sets `here`): how tests
# start ranks on one machine. Open MPI's own needs are in launch/mpi.sh. More ranks than cores must
# yield while they wait, or every message costs a scheduler tick.
. "${here:-tests/e2e}/../../launch/mpi.sh"
export OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_orte_execute_quiet=1 # 4.1: no paragraphs about exit codes; 5.0 cannot be told

# mpi RANKS COMMAND...: 0 ranks means without mpirun. MPI_TIMEOUT seconds at most (default 120).
mpi()
{
    mpi_ranks=$1
    shift
    if [ "$mpi_ranks" -gt 0 ]; then
        set -- mpirun -n "$mpi_ranks" --oversubscribe --bind-to none "$@"
    fi
    timeout -k 5 "${MPI_TIMEOUT:-120}" "$@"
}
