# Sourced by launch/local and the tests: what Open MPI 4.1 and 5.0 need to start ranks on one
# machine. Variables instead of options, since the two versions disagree about options. A value that
# is already set is kept.

# Root is refused by default; containers have no other user.
: "${OMPI_ALLOW_RUN_AS_ROOT:=1}" "${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:=1}"

# Ranks talk through shared memory: without tcp no rank listens on the network, and 5.0 does not
# complain about interfaces. After tcp comes Debian's own default, which this variable replaces.
: "${OMPI_MCA_pml:=ob1}" "${OMPI_MCA_btl:=^tcp,uct,openib,ofi}"
: "${OMPI_MCA_oob_tcp_if_include:=lo}" # 4.1; told the same, 5.0's daemon finds no interface at all

# Reading another process's memory (CMA) is forbidden in many containers, and slower than copying.
: "${OMPI_MCA_btl_vader_single_copy_mechanism:=none}" # 4.1
: "${OMPI_MCA_smsc:=^cma,xpmem,knem}"                 # 5.0

# hwloc: its graphics plugin looks for X servers on localhost (5 seconds a start where that name
# does not resolve); without /sys, as in a bare chroot, it complains and works.
: "${HWLOC_COMPONENTS:=-gl}" "${HWLOC_HIDE_ERRORS:=2}"

export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_pml OMPI_MCA_btl \
    OMPI_MCA_oob_tcp_if_include OMPI_MCA_btl_vader_single_copy_mechanism OMPI_MCA_smsc \
    HWLOC_COMPONENTS HWLOC_HIDE_ERRORS
